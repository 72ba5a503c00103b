//! What `runu-guest` promises, told with kernel files that are built here.

mod cards;
mod command_line;
mod detect;
mod elf_file;
mod hostile;
mod kernel_model;
mod plan;
mod real;
mod samples;
mod shares;
mod symbol;
mod unikraft_file;

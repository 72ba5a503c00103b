//! A program for Linux that guests run: it computes, allocates and prints, with the standard library and the C library.
//! What it prints is the same on every machine; its exit status is the number of its arguments.

use std::cell::Cell;
use std::collections::BTreeMap;

thread_local! {
    /// Data behind FS.
    static FACTOR: Cell<u32> = const { Cell::new(7) };
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    println!("arguments {arguments:?}");
    println!("variable {:?}", std::env::var("GREETING"));

    let numbers = (0..20_000_u64).map(|number| (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40, number));
    let tree: BTreeMap<u64, u64> = numbers.collect();
    println!("tree {} {:?} {:?}", tree.len(), tree.first_key_value(), tree.last_key_value());

    // More than the heap takes from `brk`, so that it is mapped.
    let roots: Vec<f64> = (0..100_000).map(|number| f64::from(number).sqrt()).collect();
    println!("roots {:.6}", roots.iter().sum::<f64>());

    FACTOR.set(FACTOR.get() * 6);
    println!("thread {}", FACTOR.get());

    let text = "unikernel ".repeat(1000);
    println!("text {} {}", text.len(), text.matches("kernel u").count());

    eprintln!("end");
    std::process::exit(i32::try_from(arguments.len()).unwrap_or(i32::MAX));
}

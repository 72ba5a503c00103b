//! A PC that QEMU emulates without KVM: slow, and the same everywhere.

use std::{
    io::{self, BufRead, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
};

/// QEMU's program.
const PROGRAM: &str = "qemu-system-x86_64";

/// A plain PC. Two processors on one thread, because QEMU's threads of several processors were seen to hang; `max` has
/// every feature that QEMU can emulate, nested AMD virtualisation among them.
const PC: &str = "-M pc,usb=off,vmport=off,smbus=off -accel tcg,thread=single,tb-size=256 -cpu max -smp 2 \
     -nodefaults -no-user-config -display none -serial stdio -no-reboot";

/// What makes a kernel boot fast and quietly on it: no wait for devices that are not there, no calibration against a clock
/// that the host may hold back, an end instead of a halt after a panic.
const WORDS: &str = "console=ttyS0 reboot=t panic=-1 quiet loglevel=3 mitigations=off nokaslr tsc=reliable \
     lpj=10000000 random.trust_cpu=on cryptomgr.notests";

/// What to boot.
pub(crate) struct Machine {
    /// The kernel, a bzImage.
    pub(crate) kernel: PathBuf,
    /// Its initramfs.
    pub(crate) initramfs: PathBuf,
    /// Words for its command line.
    pub(crate) words: String,
    /// MiB of memory.
    pub(crate) memory_mib: u32,
    /// Seconds after which it is killed.
    pub(crate) timeout_s: u32,
}

impl Machine {
    /// Whether QEMU is here, or why not.
    pub(crate) fn check() -> Result<(), String> {
        match Command::new(PROGRAM).arg("--version").stdout(Stdio::null()).status() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("{PROGRAM} does not work: {status}")),
            Err(error) => Err(format!("{PROGRAM} is not installed: {error}")),
        }
    }

    /// Boots it and reads its console to the end: that of the machine or of its time.
    pub(crate) fn run(&self, mut line: impl FnMut(&str)) -> io::Result<()> {
        let (reader, writer) = io::pipe()?;
        let mut child = {
            // timeout(1) kills even when nobody is left to wait here.
            let mut command = Command::new("timeout");
            command.args(["-k", "1", &self.timeout_s.to_string(), PROGRAM]).args(PC.split_whitespace());
            command.args(["-m", &self.memory_mib.to_string()]);
            command.arg("-kernel").arg(&self.kernel).arg("-initrd").arg(&self.initramfs);
            command.arg("-append").arg(format!("{WORDS} {}", self.words));
            // The pipe's ends for writing go away with the command: then it ends when the machine does.
            command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer).spawn()?
        };
        for bytes in BufReader::new(reader).split(b'\n') {
            line(String::from_utf8_lossy(&bytes?).trim_end_matches('\r'));
        }
        child.wait().map(drop)
    }
}

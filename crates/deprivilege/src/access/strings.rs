//! MOVS, STOS, LODS, SCAS, CMPS with their repeat prefixes.

use iced_x86::{Code, Register};
use runu_core::{GuestAddr, VirtAddr};

use crate::{
    cpu::flag,
    emulate::{Effect, Repeat, Step, Trap, truncate},
    paging::{self, Intent},
};

/// Bytes moved at once where source and destination are RAM.
const CHUNK: usize = 512;
/// Smallest page: a chunk stays within.
const PAGE: u64 = 4096;

impl Step<'_> {
    pub(super) fn string(&mut self) -> Result<Effect, Trap> {
        match self.insn.code() {
            Code::Movsb_m8_m8 => self.move_string(1),
            Code::Movsw_m16_m16 => self.move_string(2),
            Code::Movsd_m32_m32 => self.move_string(4),
            Code::Movsq_m64_m64 => self.move_string(8),
            Code::Stosb_m8_AL => self.store_string(1),
            Code::Stosw_m16_AX => self.store_string(2),
            Code::Stosd_m32_EAX => self.store_string(4),
            Code::Stosq_m64_RAX => self.store_string(8),
            Code::Lodsb_AL_m8 => self.load_string(1),
            Code::Lodsw_AX_m16 => self.load_string(2),
            Code::Lodsd_EAX_m32 => self.load_string(4),
            Code::Lodsq_RAX_m64 => self.load_string(8),
            Code::Scasb_AL_m8 => self.scan_string(1),
            Code::Scasw_AX_m16 => self.scan_string(2),
            Code::Scasd_EAX_m32 => self.scan_string(4),
            Code::Scasq_RAX_m64 => self.scan_string(8),
            Code::Cmpsb_m8_m8 => self.compare_strings(1),
            Code::Cmpsw_m16_m16 => self.compare_strings(2),
            Code::Cmpsd_m32_m32 => self.compare_strings(4),
            Code::Cmpsq_m64_m64 => self.compare_strings(8),
            _ => Err(self.unsupported("not a string instruction that is interpreted")),
        }
    }

    fn move_string(&mut self, size: u8) -> Result<Effect, Trap> {
        let mut repeat = Repeat::new(self, size);
        while repeat.goes_on(self) {
            let to = self.address(0, size.into())?;
            let from = self.address(1, size.into())?;
            let done = match self.move_chunk(&repeat, to, from, size)? {
                0 => {
                    // A fault of the destination must come before a device is read.
                    self.check_writable(to)?;
                    let value = paging::read_value(self.cpu, self.bus, from, size.into())?;
                    paging::write_value(self.cpu, self.bus, to, size.into(), value)?;
                    1
                }
                done => done,
            };
            repeat.advance_source(self, done);
            repeat.advance_destination(self, done);
            repeat.count(self, done);
        }
        Ok(repeat.effect(self))
    }

    /// Moves as many elements at once as RAM, pages and overlap allow; 0 if it must go one by one.
    fn move_chunk(&mut self, repeat: &Repeat, to: VirtAddr, from: VirtAddr, size: u8) -> Result<u64, Trap> {
        let has_base =
            self.insn.memory_segment() == Register::FS || self.insn.memory_segment() == Register::GS;
        let elements = self.chunk(repeat, to, size).min(self.chunk(repeat, from, size));
        if elements < 2 || has_base {
            return Ok(0);
        }
        let bytes = elements * u64::from(size);
        let source = paging::check(self.cpu, self.bus, from, Intent::Read)?.addr;
        let target = paging::check(self.cpu, self.bus, to, Intent::Write)?.addr;
        // A destination just behind its source repeats what it has written itself.
        let distance = target.0.wrapping_sub(source.0);
        if distance != 0 && distance < bytes {
            return Ok(0);
        }
        let mut buffer = [0; CHUNK];
        let Some(buffer) = usize::try_from(bytes).ok().and_then(|len| buffer.get_mut(..len)) else {
            return Ok(0);
        };
        let moved = self.bus.read_physical(source, buffer) && self.bus.write_physical(target, buffer);
        Ok(if moved { elements } else { 0 })
    }

    fn store_string(&mut self, size: u8) -> Result<Effect, Trap> {
        let value = self.register(accumulator(size.into()))?;
        let mut buffer = [0; CHUNK];
        for element in buffer.chunks_exact_mut(size.into()) {
            for (to, from) in element.iter_mut().zip(value.to_le_bytes()) {
                *to = from;
            }
        }
        let mut repeat = Repeat::new(self, size);
        while repeat.goes_on(self) {
            let to = self.address(0, size.into())?;
            let elements = self.chunk(&repeat, to, size);
            let stored = elements > 1 && {
                let target = paging::check(self.cpu, self.bus, to, Intent::Write)?.addr;
                self.fill(target, &buffer, elements * u64::from(size))
            };
            let done = if stored { elements } else { 1 };
            if !stored {
                paging::write_value(self.cpu, self.bus, to, size.into(), value)?;
            }
            repeat.advance_destination(self, done);
            repeat.count(self, done);
        }
        Ok(repeat.effect(self))
    }

    fn fill(&mut self, target: GuestAddr, buffer: &[u8], bytes: u64) -> bool {
        let part = usize::try_from(bytes).ok().and_then(|len| buffer.get(..len));
        part.is_some_and(|part| self.bus.write_physical(target, part))
    }

    /// How many elements from an address on fit into its page and a buffer. One when going backwards.
    fn chunk(&self, repeat: &Repeat, at: VirtAddr, size: u8) -> u64 {
        if self.regs.rflags & flag::DIRECTION != 0 {
            return 1;
        }
        let size = u64::from(size.max(1));
        let room = (PAGE - at.0 % PAGE) / size;
        repeat.batch(self).min(room).min(u64::try_from(CHUNK).unwrap_or(0) / size)
    }

    fn load_string(&mut self, size: u8) -> Result<Effect, Trap> {
        let mut repeat = Repeat::new(self, size);
        while repeat.goes_on(self) {
            let value = self.load(1, size.into())?;
            self.set_register(accumulator(size.into()), value)?;
            repeat.advance_source(self, 1);
            repeat.count(self, 1);
        }
        Ok(repeat.effect(self))
    }

    fn scan_string(&mut self, size: u8) -> Result<Effect, Trap> {
        let wanted = self.register(accumulator(size.into()))?;
        let mut repeat = Repeat::new(self, size);
        while repeat.goes_on(self) {
            let found = self.load(1, size.into())?;
            self.compare(wanted, found, size);
            repeat.advance_destination(self, 1);
            repeat.count(self, 1);
            self.end_on_zero_flag(&mut repeat);
        }
        Ok(repeat.effect(self))
    }

    /// The first operand is at RSI, the second at RDI.
    fn compare_strings(&mut self, size: u8) -> Result<Effect, Trap> {
        let mut repeat = Repeat::new(self, size);
        while repeat.goes_on(self) {
            let first = self.load(0, size.into())?;
            let second = self.load(1, size.into())?;
            self.compare(first, second, size);
            repeat.advance_source(self, 1);
            repeat.advance_destination(self, 1);
            repeat.count(self, 1);
            self.end_on_zero_flag(&mut repeat);
        }
        Ok(repeat.effect(self))
    }

    /// REPE goes on while elements are equal, REPNE while they differ.
    fn end_on_zero_flag(&self, repeat: &mut Repeat) {
        let equal = self.regs.rflags & flag::ZERO != 0;
        if self.insn.has_repne_prefix() == equal {
            repeat.end();
        }
    }

    /// Sets the status flags as CMP does (Intel SDM vol. 1, appendix A).
    fn compare(&mut self, a: u64, b: u64, size: u8) {
        let (a, b) = (truncate(a, size.into()), truncate(b, size.into()));
        let difference = truncate(a.wrapping_sub(b), size.into());
        let sign = 1_u64 << (8 * u32::from(size) - 1);
        let low_byte = difference & 0xff;
        let flags = [
            (flag::CARRY, a < b),
            (flag::PARITY, low_byte.count_ones().is_multiple_of(2)),
            (flag::ADJUST, (a ^ b ^ difference) & flag::ADJUST != 0),
            (flag::ZERO, difference == 0),
            (flag::SIGN, difference & sign != 0),
            (flag::OVERFLOW, (a ^ b) & (a ^ difference) & sign != 0),
        ];
        let set = flags.iter().filter(|(_, set)| *set).fold(0, |all, (flag, _)| all | flag);
        self.regs.rflags = self.regs.rflags & !flag::STATUS | set;
    }
}

/// AL, AX, EAX or RAX.
fn accumulator(size: usize) -> Register {
    match size {
        1 => Register::AL,
        2 => Register::AX,
        4 => Register::EAX,
        _ => Register::RAX,
    }
}

//! Port I/O. At CPL 0 every port is allowed.

use super::{Effect, Repeat, Step, Trap};
use crate::paging;
use iced_x86::Register;

impl Step<'_> {
    /// The port that operand `op` names: DX or an immediate byte.
    fn port(&mut self, op: u32) -> Result<u16, Trap> {
        Ok((self.operand(op)? & 0xffff) as u16)
    }

    pub(super) fn port_in(&mut self) -> Result<Effect, Trap> {
        let port = self.port(1)?;
        let to = self.insn.op0_register();
        let value = self.bus.port_in(port, port_width(to));
        self.set_register(to, value.into())?;
        Ok(Effect::Next)
    }

    pub(super) fn port_out(&mut self) -> Result<Effect, Trap> {
        let port = self.port(0)?;
        let from = self.insn.op1_register();
        let value = self.register(from)? & 0xffff_ffff;
        self.bus.port_out(port, port_width(from), value as u32);
        Ok(Effect::Next)
    }

    pub(super) fn ins(&mut self, size: u8) -> Result<Effect, Trap> {
        let port = self.port(1)?;
        let mut repeat = Repeat::new(self, size);
        while repeat.goes_on(self) {
            let at = self.address(0, size.into())?;
            // A page fault must come before the port is read: reading may consume a byte of the device.
            self.check_writable(at)?;
            let value = self.bus.port_in(port, size);
            paging::write_value(self.cpu, self.bus, at, size.into(), value.into())?;
            repeat.advance_destination(self, 1);
            repeat.count(self, 1);
        }
        Ok(repeat.effect(self))
    }

    pub(super) fn outs(&mut self, size: u8) -> Result<Effect, Trap> {
        let port = self.port(0)?;
        let mut repeat = Repeat::new(self, size);
        while repeat.goes_on(self) {
            let at = self.address(1, size.into())?;
            let value = paging::read_value(self.cpu, self.bus, at, size.into())? & 0xffff_ffff;
            self.bus.port_out(port, size, value as u32);
            repeat.advance_source(self, 1);
            repeat.count(self, 1);
        }
        Ok(repeat.effect(self))
    }
}

/// Width of a port access through AL, AX or EAX.
fn port_width(register: Register) -> u8 {
    match register {
        Register::AL => 1,
        Register::AX => 2,
        _ => 4,
    }
}

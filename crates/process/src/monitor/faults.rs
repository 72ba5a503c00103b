//! Signals: the real CPU faulted in translated code, or the timer interrupted it.
//!
//! Most faults are the first touch of an address: the guest's page there is mapped, with as much around it as the guest maps
//! alike. Some tell that an instruction needs other code. The rest are exceptions of the guest's own.

use std::ops::{ControlFlow, Range};

use runu_core::{End, GuestAddr, VirtAddr};
use runu_deprivilege::{
    emulate::Trap,
    exception::Exception,
    paging::{self, Intent, Translation},
    translate::Site,
};

use super::{Monitor, SITES_MAX, Stop, page_of};
use crate::{
    cache::Position,
    host::PAGE,
    layout::{self, Reach},
    shadow::{Rights, View},
    signal::{self, Frame},
};

impl Monitor {
    /// A fault or the timer interrupted translated code at `position`. Returns whether the guest was moved: if not,
    /// host code goes on where it was.
    pub(super) fn signal(
        &mut self,
        frame: &mut Frame<'_>,
        position: Position,
    ) -> Result<ControlFlow<()>, Stop> {
        self.counters.signals += 1;
        if frame.number() == libc::SIGALRM {
            self.armed = None;
            self.tick();
        } else if !(frame.number() == libc::SIGTRAP && self.stepping) {
            return self.fault(frame, position);
        }
        self.step(frame, position)
    }

    /// Goes on to the next boundary between instructions and delivers there what waits.
    fn step(&mut self, frame: &mut Frame<'_>, position: Position) -> Result<ControlFlow<()>, Stop> {
        if frame.number() == libc::SIGTRAP {
            self.hide_stepping(frame)?;
        }
        let interrupt = self.context.cpu.pending != 0 && self.context.cpu.interrupts != 0;
        let waits = interrupt || self.must_take_port_writes();
        if !waits && !self.stepping {
            return Ok(ControlFlow::Continue(()));
        }
        self.stepping = !position.boundary;
        frame.set_stepping(self.stepping);
        if self.stepping {
            // Flags that wait on the scratch stack would end the stepping when they are popped.
            if let Some(flags) = self.context.scratch.last_mut() {
                *flags |= signal::TRAP_FLAG;
            }
            return Ok(ControlFlow::Continue(()));
        }
        let before = (self.context.regs.rip, self.cache.moment());
        self.settle()?;
        // Host code goes on where it was, unless an interrupt was delivered or code has become stale, now or by the step that led
        // here: a block that began here would be one more for every moment at which a timer can come.
        let same =
            (self.context.regs.rip, self.cache.moment()) == before && !self.cache.is_stale(position.block);
        Ok(if same { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    }

    /// The step just made may have been a `pushfq` of the guest: it is not to see that it is being stepped.
    fn hide_stepping(&mut self, frame: &Frame<'_>) -> Result<(), Stop> {
        const PUSHFQ: u8 = 0x9c;
        let before = frame.rip().wrapping_sub(1);
        if !self.cache.starts_with(before, PUSHFQ) {
            return Ok(());
        }
        let context = &mut *self.context;
        let top = VirtAddr(frame.stack_pointer());
        let result = paging::read_value(&context.cpu, &mut self.board, top, 8).and_then(|flags| {
            paging::write_value(&context.cpu, &mut self.board, top, 8, flags & !signal::TRAP_FLAG)
        });
        // It has just been written to.
        result.map_err(|trap| End::MonitorFailed {
            reason: format!("flags just pushed cannot be changed: {trap}"),
        })?;
        self.forget_written()
    }

    fn fault(&mut self, frame: &mut Frame<'_>, position: Position) -> Result<ControlFlow<()>, Stop> {
        let raised = match frame.trap() {
            signal::trap::PAGE_FAULT => return self.page_fault(frame, position),
            signal::trap::GENERAL_PROTECTION => Exception::general_protection(0),
            signal::trap::STACK => Exception { vector: 12, error_code: Some(0), cr2: None },
            trap @ (signal::trap::DIVIDE
            | signal::trap::BOUND
            | signal::trap::INVALID_OPCODE
            | signal::trap::X87
            | signal::trap::SIMD) => Exception { vector: trap, error_code: None, cr2: None },
            trap => {
                let rip = VirtAddr(position.rip);
                let reason = format!("translated code for {rip} raised exception {trap}");
                return Err(End::MonitorFailed { reason });
            }
        };
        self.trap(Trap::Exception(raised))?;
        Ok(ControlFlow::Break(()))
    }

    fn page_fault(&mut self, frame: &mut Frame<'_>, position: Position) -> Result<ControlFlow<()>, Stop> {
        let host = frame.address();
        let va = layout::guest_of(host);
        let writes = frame.error_code() & signal::WRITE != 0;
        let intent = if writes { Intent::Write } else { Intent::Read };
        let found = match paging::check(&self.context.cpu, &mut self.board, VirtAddr(va), intent) {
            Ok(found) => found,
            Err(trap) => {
                self.trap(trap)?;
                return Ok(ControlFlow::Break(()));
            }
        };
        let page = page_of(found);
        let in_ram = self.board.memory.region_of(found.addr).is_some();
        match layout::reach(va) {
            Reach::Folded if in_ram && host == va => self.learn(position, Site::Folded),
            Reach::Out => self.learn(position, Site::OutOfReach),
            _ if !in_ram => self.learn(position, Site::OutOfReach),
            _ if writes && self.shadow.is_code(page) && self.shadow.is_mapped(layout::host_of(va)) => {
                let retired = self.forget_code(page)?;
                if retired.contains(&position.block) {
                    // The instruction may be changing what follows it: one step in the old code, then anew.
                    self.stepping = true;
                    frame.set_stepping(true);
                }
                Ok(ControlFlow::Continue(()))
            }
            _ => {
                self.map_around(va, found)?;
                Ok(ControlFlow::Continue(()))
            }
        }
    }

    /// The instruction at `position` needs other code.
    fn learn(&mut self, position: Position, site: Site) -> Result<ControlFlow<()>, Stop> {
        // Code of another block may still stand for what was known before.
        if self.sites.len() >= SITES_MAX {
            self.sites.clear();
        }
        let known = self.sites.entry(position.rip).or_default();
        if *known != Site::OutOfReach {
            *known = site;
        }
        self.cache.retire(position.block);
        Ok(ControlFlow::Break(()))
    }

    /// Maps the page around `va` and what the guest maps alike next to it.
    fn map_around(&mut self, va: u64, at: Translation) -> Result<(), Stop> {
        let Some(region) = self.board.memory.region_of(at.addr).copied() else { return Ok(()) };
        let found = Found { delta: at.addr.0.wrapping_sub(va), writable: at.writable };
        let limits = Limits {
            reachable: layout::reachable_around(va),
            ram: region.start.0..region.start.0 + region.len,
        };
        let start = va - (va % at.page_size).min(limits.below(va, found.delta));
        let end = va + (at.page_size - va % at.page_size).min(limits.above(va, found.delta));
        let mut run = start..end;
        if at.page_size > PAGE {
            self.extend(&mut run, found, &limits);
        } else {
            self.extend_small(&mut run, found, &limits);
        }
        let phys = run.start.wrapping_add(found.delta);
        let offset = region.file_offset + (phys - region.start.0);
        let rights = Rights { writable: at.writable, large: at.page_size > PAGE };
        let (at, len) = (layout::host_of(run.start), run.end - run.start);
        let view = View { at, len, phys: GuestAddr(phys), offset, rights };
        let mapped = self.shadow.map(&view, self.board.memory.file());
        mapped.map_err(|error| self.failed(error))
    }

    /// Large pages: as far as they go on alike, both ways.
    fn extend(&mut self, run: &mut Range<u64>, found: Found, limits: &Limits) {
        loop {
            let room = limits.above(run.end, found.delta);
            let Some(size) = self.alike(run.end, found).filter(|_| room > 0) else { break };
            run.end += (size - run.end % size).min(room);
        }
        loop {
            let room = limits.below(run.start, found.delta);
            let Some(size) = self.alike(run.start.wrapping_sub(1), found).filter(|_| room > 0) else { break };
            run.start -= ((run.start - 1) % size + 1).min(room);
        }
    }

    /// Small pages: a stretch upwards that is not mapped yet, a table's worth at most.
    fn extend_small(&mut self, run: &mut Range<u64>, found: Found, limits: &Limits) {
        for _ in 0..512 {
            let room = limits.above(run.end, found.delta);
            if room < PAGE
                || self.shadow.is_mapped(layout::host_of(run.end))
                || self.alike(run.end, found) != Some(PAGE)
            {
                break;
            }
            run.end += PAGE;
        }
    }

    /// Size of the page at `va` if it continues `found`: same distance to its memory, same rights.
    fn alike(&mut self, va: u64, found: Found) -> Option<u64> {
        let next = paging::check(&self.context.cpu, &mut self.board, VirtAddr(va), Intent::Read).ok()?;
        let same = next.addr.0 == va.wrapping_add(found.delta) && next.writable == found.writable;
        same.then_some(next.page_size)
    }
}

/// What a translation has in common with its neighbours.
#[derive(Clone, Copy)]
struct Found {
    /// Guest-physical less guest-virtual address, wrapping.
    delta: u64,
    writable: bool,
}

/// How far a mapping may reach.
struct Limits {
    /// Guest-virtual addresses that are reached in the same way.
    reachable: Range<u64>,
    /// Guest-physical addresses of one region of RAM.
    ram: Range<u64>,
}

impl Limits {
    /// Bytes from `va` up that are within the limits.
    fn above(&self, va: u64, delta: u64) -> u64 {
        let ram = self.ram.end.saturating_sub(va.wrapping_add(delta));
        self.reachable.end.saturating_sub(va).min(ram)
    }

    /// Bytes below `va` that are within the limits.
    fn below(&self, va: u64, delta: u64) -> u64 {
        let ram = va.wrapping_add(delta).saturating_sub(self.ram.start);
        va.saturating_sub(self.reachable.start).min(ram)
    }
}

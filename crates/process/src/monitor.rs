//! The monitor: what happens when guest code cannot go on by itself.
//!
//! Translated code comes here in two ways. An *exit* is a jump to the gate: a branch not yet linked, an instruction that
//! only the virtual CPU can do. A *signal* is a fault of the real CPU: guest memory not mapped yet, a write to a page
//! with translated code, a genuine exception of the guest. Either way the guest's state is taken to the [`Context`],
//! changed as the architecture says, and the guest goes on at the host code for its new instruction pointer.
//!
//! This file holds what both ways share; [`exits`], [`faults`] and [`doors`] are the ways.
//!
//! One thread runs everything. A signal that interrupts the monitor itself can only be the timer's and leaves a note.

pub(crate) mod doors;
mod exits;
mod faults;

use runu_core::{Bytes, Counters, End, Phases, VirtAddr};
use runu_deprivilege::{
    cpu::Cpu,
    cpuid::Host,
    emulate::Trap,
    exception::{self, Undelivered},
    lent::Loan,
    paging::{self, Intent, Translation},
    translate::{self, CodeSize, Conditions, PORT_WRITES, Site, Source},
};
use runu_machine::Power;
use rustc_hash::FxHashMap;

use crate::{
    board::Board,
    cache::Cache,
    finish,
    host::{PAGE, Timer},
    layout::{self, Context, PLACES},
    shadow::Shadow,
    signal,
};

/// How much of a page is offered to the translator at once: more than a block usually needs.
const WINDOW: usize = 256;
/// Bytes behind that for the last instruction: it has at most 15 (Intel SDM vol. 2 §2.3.11).
const OVERHANG: usize = 14;

/// Instructions remembered at most. A guest that makes up more learns some again.
const SITES_MAX: usize = 1 << 16;

/// Exceptions in a row without a guest instruction between that end the guest as stuck.
const FRUITLESS_MAX: u32 = 64;

/// Everything the monitor knows.
pub(crate) struct Monitor {
    pub(crate) context: &'static mut Context,
    pub(crate) board: Board,
    cache: Cache,
    shadow: Shadow,
    /// What has been learnt about instructions, by guest-virtual address.
    sites: FxHashMap<u64, Site>,
    host: Host,
    timer: Timer,
    armed: Option<u64>,
    /// The queue of writes to ports takes some, or is full of them.
    queueing: bool,
    /// Translated code is being stepped to the next instruction of the guest.
    stepping: bool,
    /// What the last exit lent: the guest is within an instruction.
    loan: Option<Loan>,
    pub(crate) counters: Counters,
    pub(crate) phases: Phases,
}

/// Why the guest cannot go on.
type Stop = End;
impl Monitor {
    /// `learned_memory` is how much it may keep of what it learns about the guest's code and page tables.
    pub(crate) fn new(
        context: &'static mut Context,
        board: Board,
        host: Host,
        timer: Timer,
        learned_memory: Option<Bytes>,
    ) -> Self {
        // Code is what is dearer to lose: a page that is not mapped any more costs one fault.
        let mappings = learned_memory.map(|bytes| Bytes(bytes.0 / 3));
        let code = learned_memory.map(|bytes| Bytes(bytes.0 - bytes.0 / 3));
        Monitor {
            context,
            board,
            cache: Cache::new(code),
            shadow: Shadow::new(mappings),
            sites: FxHashMap::default(),
            host,
            timer,
            armed: None,
            queueing: false,
            stepping: false,
            loan: None,
            counters: Counters::default(),
            phases: Phases::default(),
        }
    }

    // Going on.

    /// Makes the way back lead to the guest's next instruction.
    fn go_on(&mut self) {
        let result = self.settle().and_then(|()| self.translated());
        match result {
            Ok(host) => self.resume_at(host),
            Err(stop) => self.stop(stop),
        }
    }

    fn resume_at(&mut self, host: u64) {
        self.context.resume = host;
        self.context.far_resume = [layout::below_4g(host), u32::from(signal::USER32_CS)];
    }

    fn stop(&mut self, end: End) -> ! {
        self.take_port_writes();
        self.counters.translated = self.cache.translated;
        self.counters.mappings = self.shadow.made;
        finish(self, end)
    }

    fn size(&self) -> CodeSize {
        if self.context.cpu.long_mode_code() { CodeSize::Bits64 } else { CodeSize::Bits32 }
    }

    /// Host code for the guest's next instruction. Faults of fetching it go to the guest first.
    fn translated(&mut self) -> Result<u64, Stop> {
        for _ in 0..FRUITLESS_MAX {
            let (rip, size) = (self.context.regs.rip, self.size());
            if let Some(host) = self.cache.find(rip, size) {
                return Ok(host);
            }
            match self.translate(rip, size) {
                Ok(host) => return Ok(host),
                Err(trap) => self.trap(trap)?,
            }
        }
        Err(End::Crash { reason: "the guest's exception handlers cannot be executed".to_owned() })
    }

    fn translate(&mut self, rip: u64, size: CodeSize) -> Result<u64, Trap> {
        if self.cache.is_full() {
            self.forget_all_code();
        }
        let mut window = [0; WINDOW + OVERHANG];
        let left = usize::try_from(PAGE - rip % PAGE).unwrap_or(usize::MAX);
        let (near, far) = window.split_at_mut(left.min(WINDOW + OVERHANG));
        let found = self.fetch(rip, near)?;
        let (mut pages, mut page_size) = (vec![page_of(found)], found.page_size);
        let mut len = near.len();
        let overhang = far.len().min(OVERHANG);
        if let Some(far) = far.get_mut(..overhang).filter(|far| !far.is_empty())
            && let Ok(found) = self.fetch(rip.wrapping_add(left as u64), far)
        {
            len += overhang;
            pages.push(page_of(found));
            page_size = page_size.max(found.page_size);
        }
        let in_page = left.min(WINDOW);
        let sites = &self.sites;
        let source = Source {
            start: VirtAddr(rip),
            size,
            bytes: window.get(..len).unwrap_or_default(),
            in_page,
            site: &|at| sites.get(&at).copied().unwrap_or_default(),
            conditions: Conditions::of(&self.context.cpu),
            first_exit: self.cache.next_exit(),
        };
        let block = translate::translate(&PLACES, &source);
        if block.guest_len as usize <= left {
            pages.truncate(1);
        }
        for &page in &pages {
            self.shadow.set_code(page, true).map_err(host_failed)?;
        }
        Ok(self.cache.place(VirtAddr(rip), size, block, &pages, page_size))
    }

    /// Reads code, which lies in one page, and returns where it is.
    fn fetch(&mut self, rip: u64, into: &mut [u8]) -> Result<Translation, Trap> {
        let at = paging::check(&self.context.cpu, &mut self.board, VirtAddr(rip), Intent::Execute)?;
        if self.board.memory.read(at.addr, into).is_err() {
            return Err(Trap::Unsupported(format!("code outside RAM, at guest-physical {}", at.addr)));
        }
        Ok(at)
    }

    // Interrupts and time.

    /// Looks at devices and timers and delivers an interrupt if one waits and the guest takes it.
    fn settle(&mut self) -> Result<(), Stop> {
        self.take_port_writes();
        if let Some(power) = self.board.power.take() {
            return Err(match power {
                Power::Off => End::PowerOff,
                Power::Exit(code) => End::Exit { code },
                Power::Crash(reason) => End::Crash { reason: reason.to_owned() },
            });
        }
        if std::mem::take(&mut self.board.used) {
            self.board.after_use();
            self.look_at_devices();
        }
        if !self.board.written.is_empty() {
            self.forget_written()?;
        }
        if self.context.cpu.pending != 0 && self.context.cpu.interrupts != 0 {
            let vector = self.board.pc.acknowledge();
            self.counters.interrupts += 1;
            // A timer that goes on has a deadline again, and the guest need use no device before it: an 8259 can end
            // interrupts by itself.
            self.look_at_devices();
            let context = &mut *self.context;
            exception::interrupt(&mut context.cpu, &mut context.regs, &mut self.board, vector)
                .map_err(|why| self.undelivered(why))?;
            self.forget_written()?;
        }
        Ok(())
    }

    fn look_at_devices(&mut self) {
        self.context.cpu.pending = pending(&mut self.board);
        self.board.place_shortcuts();
        // What is queued must not wait for ever: it comes to the console together with what waits there.
        if !self.queueing && self.board.output_waits() {
            self.queueing = true;
            self.context.next_write = 1;
        }
        // A timer that fires too early is set anew then: cheaper than to set it for every change.
        let deadline = match self.holds_port_writes() {
            // They are about to be taken, and output with them: the guest is on its way to a boundary.
            true => self.board.timers_deadline(),
            false => self.board.deadline(),
        };
        if let Some(deadline) = deadline
            && self.armed.is_none_or(|armed| deadline < armed)
        {
            self.armed = Some(deadline);
            self.timer.set(deadline);
        }
    }

    /// Writes to ports that translated code has queued reach their devices. The guest must be at a boundary between instructions:
    /// on its way there it may be about to queue another.
    fn take_port_writes(&mut self) {
        if !self.must_take_port_writes() {
            return;
        }
        let end = match self.context.next_write {
            0 => PORT_WRITES,
            next => usize::from(next),
        };
        self.queueing = false;
        self.context.next_write = 0;
        let writes = self.context.writes.get(1..end).unwrap_or_default();
        if !writes.is_empty() {
            self.board.write_ports(writes);
            self.board.write_overdue();
        }
    }

    /// Whether the queue holds writes, or is open though no output waits: nothing would come for what it took.
    fn must_take_port_writes(&self) -> bool {
        self.holds_port_writes() || self.queueing && !self.board.output_waits()
    }

    fn holds_port_writes(&self) -> bool {
        self.queueing && self.context.next_write != 1
    }

    fn tick(&mut self) {
        self.board.tick();
        // Output comes together with what is queued of it.
        if !self.holds_port_writes() {
            self.board.write_overdue();
        }
        self.look_at_devices();
    }

    /// `hlt`: sleeps until an interrupt.
    fn halt(&mut self) -> Result<(), Stop> {
        if self.context.cpu.interrupts == 0 {
            let rip = VirtAddr(self.context.regs.rip);
            let reason = format!("the guest halted with interrupts off, before {rip}");
            return Err(End::Crash { reason });
        }
        self.board.pc.flush();
        while self.context.cpu.pending == 0 {
            self.board.sleep();
            self.tick();
        }
        self.forget_written()
    }

    // Exceptions.

    /// Lets the guest handle an exception, or says why nobody can.
    fn trap(&mut self, trap: Trap) -> Result<(), Stop> {
        let context = &mut *self.context;
        let result = match trap {
            Trap::Exception(raised) => {
                exception::raise(&mut context.cpu, &mut context.regs, &mut self.board, raised)
            }
            Trap::Unsupported(what) => Err(Undelivered::Unsupported(what)),
        };
        result.map_err(|why| self.undelivered(why))?;
        self.forget_written()
    }

    fn undelivered(&self, why: Undelivered) -> Stop {
        match why {
            Undelivered::Unsupported(what) => End::Unrepresentable { what, address: self.context.regs.rip },
            fault @ Undelivered::TripleFault { .. } => End::Crash { reason: fault.to_string() },
        }
    }

    // Code that changed.

    /// Pages that the monitor wrote on behalf of the guest: their code, if any, is stale.
    fn forget_written(&mut self) -> Result<(), Stop> {
        for page in std::mem::take(&mut self.board.written) {
            if self.shadow.is_code(page) {
                self.forget_code(page)?;
            }
        }
        Ok(())
    }

    fn forget_code(&mut self, page: u64) -> Result<Vec<u32>, Stop> {
        let retired = self.cache.retire_written(page);
        self.forget_sites(&retired);
        self.shadow.set_code(page, false).map_err(|error| self.failed(error))?;
        Ok(retired)
    }

    /// Throws all translations away, and what was learnt with them: it is learnt again at one fault each.
    fn forget_all_code(&mut self) {
        self.cache.clear();
        self.sites.clear();
    }

    /// Other code may come to stand where these blocks' was.
    fn forget_sites(&mut self, blocks: &[u32]) {
        if self.sites.is_empty() {
            return;
        }
        for address in blocks.iter().flat_map(|block| self.cache.instructions(*block)) {
            self.sites.remove(&address);
        }
    }

    fn failed(&self, error: std::io::Error) -> Stop {
        let rip = VirtAddr(self.context.regs.rip);
        End::MonitorFailed {
            reason: format!("cannot map guest memory for the instruction at {rip}: {error}"),
        }
    }
}

/// The guest-physical page that a translation leads to.
fn page_of(found: Translation) -> u64 {
    found.addr.align_down(PAGE).0
}

fn pending(board: &mut Board) -> u64 {
    if board.pc.interrupt_pending() { Cpu::PENDING } else { 0 }
}

fn host_failed(error: std::io::Error) -> Trap {
    Trap::Unsupported(format!("guest memory cannot be protected: {error}"))
}

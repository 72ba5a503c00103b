//! The monitor: what happens when guest code cannot go on by itself.
//!
//! Translated code comes here in two ways. An *exit* is a jump to the gate: a branch not yet linked, an instruction that
//! only the virtual CPU can do. A *signal* is a fault of the real CPU: guest memory not mapped yet, a write to a page
//! with translated code, a genuine exception of the guest. Either way the guest's state is taken to the [`Context`],
//! changed as the architecture says, and the guest goes on at the host code for its new instruction pointer.
//!
//! One thread runs everything. A signal that interrupts the monitor itself can only be the timer's and leaves a note.

use std::{
    ops::{ControlFlow, Range},
    ptr::null_mut,
    sync::atomic::{AtomicPtr, Ordering},
};

use iced_x86::Instruction;
use runu_core::{Counters, End, GuestAddr, Phases, VirtAddr};
use runu_deprivilege::{
    access,
    cpu::Registers,
    cpuid::Host,
    emulate::{self, Effect, Trap},
    exception::{self, Exception, Undelivered},
    paging::{self, Intent, Translation},
    translate::{self, CodeSize, Exit, Site, Source},
};
use runu_machine::Power;
use rustc_hash::FxHashMap;

use crate::{
    board::Board,
    cache::{Cache, Moment, Position},
    entry, finish,
    host::{self, PAGE, Timer},
    layout::{self, CODE, Context, PLACES, Reach},
    shadow::{Rights, Shadow},
    signal::{self, Frame},
};

/// How much of a page is offered to the translator at once: more than a block usually needs.
const WINDOW: usize = 256;
/// Bytes behind that for the last instruction: it has at most 15 (Intel SDM vol. 2 §2.3.11).
const OVERHANG: usize = 14;

/// Instructions remembered at most. A guest that makes up more learns some again.
const SITES_MAX: usize = 1 << 16;

/// CR0.TS: floating point is switched off (Intel SDM vol. 3 §2.5).
const CR0_TS: u64 = 1 << 3;

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
    /// Translated code is being stepped to the next instruction of the guest.
    stepping: bool,
    pub(crate) counters: Counters,
    pub(crate) phases: Phases,
}

/// The one monitor of this process.
static MONITOR: AtomicPtr<Monitor> = AtomicPtr::new(null_mut());

/// Why the guest cannot go on.
type Stop = End;

/// Where host code goes on behind an exit, unless code has become stale since.
#[derive(Clone, Copy)]
struct Resume {
    host: u64,
    moment: Moment,
}

impl Monitor {
    pub(crate) fn new(context: &'static mut Context, board: Board, host: Host, timer: Timer) -> Self {
        Monitor {
            context,
            board,
            cache: Cache::new(),
            shadow: Shadow::default(),
            sites: FxHashMap::default(),
            host,
            timer,
            armed: None,
            stepping: false,
            counters: Counters::default(),
            phases: Phases::default(),
        }
    }

    /// Enters the guest at the context's registers.
    pub(crate) fn enter(self) -> ! {
        let monitor = Box::leak(Box::new(self));
        MONITOR.store(monitor, Ordering::Release);
        monitor.go_on();
        // SAFETY: `go_on` set where to resume; start-up filled in the rest.
        unsafe { entry::leave() }
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
            inline_flags: self.context.cpu.kept_flags == 0,
            floating_point: self.context.cpu.cr0 & CR0_TS == 0,
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
        if let Some(power) = self.board.power.take() {
            return Err(match power {
                Power::Off => End::PowerOff,
                Power::Exit(code) => End::Exit { code },
                Power::Crash(reason) => End::Crash { reason: reason.to_owned() },
            });
        }
        if std::mem::take(&mut self.board.used) {
            self.look_at_devices();
        }
        if !self.board.written.is_empty() {
            self.forget_written()?;
        }
        if self.context.cpu.pending != 0 && self.context.cpu.interrupts != 0 {
            let vector = self.board.pc.acknowledge();
            self.counters.interrupts += 1;
            self.context.cpu.pending = pending(&self.board);
            let context = &mut *self.context;
            exception::interrupt(&mut context.cpu, &mut context.regs, &mut self.board, vector)
                .map_err(|why| self.undelivered(why))?;
            self.forget_written()?;
        }
        Ok(())
    }

    fn look_at_devices(&mut self) {
        self.context.cpu.pending = pending(&self.board);
        // A timer that fires too early is set anew then: cheaper than to set it for every change.
        if let Some(deadline) = self.board.deadline()
            && self.armed.is_none_or(|armed| deadline < armed)
        {
            self.armed = Some(deadline);
            self.timer.set(deadline);
        }
    }

    fn tick(&mut self) {
        self.board.tick();
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
        Ok(())
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

    // Exits.

    /// Translated code left through exit `number`.
    fn exit(&mut self, number: u32) -> Result<(), Stop> {
        self.counters.exits += 1;
        self.stepping = false;
        let Some((exit, block)) = self.cache.exit(number) else {
            return Err(End::MonitorFailed { reason: format!("translated code took unknown exit {number}") });
        };
        let moment = self.cache.moment();
        match exit {
            Exit::Direct { target, site } => {
                let site = block + u64::from(*site);
                self.context.regs.rip = target.0;
                let from = self.context.regs;
                let host = self.translated()?;
                // Only if fetching the target raised no exception and made nothing stale. A departure finds its own entry, which
                // leads to the new block by now.
                if self.context.regs == from && self.cache.moment() == moment && host + 1 != site {
                    self.cache.link(site, host);
                }
                self.resume_at(host);
            }
            Exit::Indirect => {
                self.restore(1 << 1 | 1 << 2);
                let target = self.context.target;
                self.context.regs.rip = target;
                let from = self.context.regs;
                let host = self.translated()?;
                if self.context.regs == from {
                    self.cache.remember_target(target, host);
                }
                self.resume_at(host);
            }
            Exit::Emulate { instruction, resume } => {
                let resume = Resume { host: block + u64::from(*resume), moment };
                let instruction = **instruction;
                self.emulate(&instruction, resume)?;
            }
            Exit::Access { instruction, resume } => {
                let resume = Resume { host: block + u64::from(*resume), moment };
                let instruction = **instruction;
                self.access(&instruction, resume)?;
            }
            Exit::Branch { instruction } => {
                let instruction = **instruction;
                self.context.regs.rip = instruction.ip();
                let context = &mut *self.context;
                if let Err(trap) =
                    translate::branch(&instruction, &mut context.cpu, &mut context.regs, &mut self.board)
                {
                    self.trap(trap)?;
                }
                self.go_on();
            }
            Exit::Enabled { next } => {
                self.context.regs.rip = next.0;
                self.go_on();
            }
            Exit::NotAvailable { at } => {
                self.context.regs.rip = at.0;
                self.trap(Trap::Exception(Exception { vector: 7, error_code: None, cr2: None }))?;
                self.go_on();
            }
            Exit::Undefined { at } => {
                self.context.regs.rip = at.0;
                self.trap(Trap::Exception(Exception::invalid_opcode()))?;
                self.go_on();
            }
            Exit::Fetch { at, missing } => {
                self.context.regs.rip = at.0;
                let missing = *missing;
                match paging::check(&self.context.cpu, &mut self.board, missing, Intent::Execute) {
                    Err(trap) => self.trap(trap)?,
                    // It can be fetched by now.
                    Ok(_) => self.retire_at(at.0),
                }
                self.go_on();
            }
        }
        Ok(())
    }

    fn retire_at(&mut self, rip: u64) {
        self.cache.retire_virtual(rip);
    }

    fn restore(&mut self, spilled: u16) {
        for (n, (register, slot)) in self.context.regs.gpr.iter_mut().zip(self.context.spills).enumerate() {
            if spilled & 1 << n != 0 {
                *register = slot;
            }
        }
    }

    fn emulate(&mut self, insn: &Instruction, resume: Resume) -> Result<(), Stop> {
        self.context.regs.rip = insn.ip();
        let context = &mut *self.context;
        let (flags, cr0) = (context.cpu.kept_flags, context.cpu.cr0);
        let result = emulate::emulate(insn, &mut context.cpu, &mut context.regs, &mut self.board, &self.host);
        let cpu = &self.context.cpu;
        if (flags == 0) != (cpu.kept_flags == 0) || (cr0 ^ cpu.cr0) & CR0_TS != 0 {
            // Code is translated for how these stand.
            self.forget_all_code();
        }
        self.carried_out(result, insn, resume)
    }

    fn access(&mut self, insn: &Instruction, resume: Resume) -> Result<(), Stop> {
        self.context.regs.rip = insn.ip();
        let context = &mut *self.context;
        let mut xmm = context.vectors();
        let result = access::access(insn, &mut context.cpu, &mut context.regs, &mut xmm, &mut self.board);
        context.set_vectors(&xmm);
        self.carried_out(result, insn, resume)
    }

    /// The virtual CPU did an instruction, or could not.
    fn carried_out(
        &mut self,
        result: Result<Effect, Trap>,
        insn: &Instruction,
        resume: Resume,
    ) -> Result<(), Stop> {
        let effect = match result {
            Ok(effect) => effect,
            Err(Trap::Unsupported(what)) => {
                return Err(End::Unrepresentable { what, address: insn.ip() });
            }
            Err(trap) => {
                self.trap(trap)?;
                self.go_on();
                return Ok(());
            }
        };
        let rip = self.context.regs.rip;
        match effect {
            // `sti; hlt` must find what is pending still pending: nothing else would end the halt.
            Effect::NextShadowed if self.next_is_halt() => {
                let host = self.translated()?;
                self.resume_at(host);
                return Ok(());
            }
            Effect::Next | Effect::NextShadowed => {
                self.settle()?;
                if self.context.regs.rip == rip && self.cache.moment() == resume.moment {
                    self.resume_at(resume.host);
                    return Ok(());
                }
            }
            Effect::Jump | Effect::Again => {}
            Effect::Halt => self.halt()?,
            Effect::FlushAll => {
                self.shadow.clear().map_err(|error| self.failed(error))?;
                self.forget_all_code();
            }
            Effect::FlushPage(va) => {
                let retired = self.cache.retire_virtual(va.0);
                self.forget_sites(&retired);
                if layout::reach(va.0) != Reach::Out {
                    self.shadow.unmap_around(layout::host_of(va.0)).map_err(|error| self.failed(error))?;
                }
            }
        }
        self.go_on();
        Ok(())
    }

    fn next_is_halt(&mut self) -> bool {
        const HLT: u8 = 0xf4;
        let mut byte = [0];
        self.fetch(self.context.regs.rip, &mut byte).is_ok() && byte == [HLT]
    }

    // Signals.

    /// A fault or the timer interrupted translated code at `position`. Returns whether the guest was moved: if not,
    /// host code goes on where it was.
    fn signal(&mut self, frame: &mut Frame<'_>, position: Position) -> Result<ControlFlow<()>, Stop> {
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
        let waits = self.context.cpu.pending != 0 && self.context.cpu.interrupts != 0;
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
        self.settle()?;
        Ok(ControlFlow::Break(()))
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
            Reach::Out => self.learn(position, Site::Interpreted),
            _ if !in_ram => self.learn(position, Site::Interpreted),
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
        if *known != Site::Interpreted {
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
        let (host, len) = (layout::host_of(run.start), run.end - run.start);
        let file = self.board.memory.file();
        let large = at.page_size > PAGE;
        let rights = Rights { writable: at.writable, large };
        let first = self.shadow.map(host, len, GuestAddr(phys), file, offset, rights);
        // A process has some 65,000 mappings (Linux Documentation/admin-guide/sysctl/vm.rst, max_map_count). Those that
        // the guest still uses come back when it touches them.
        let mapped = first.or_else(|_| {
            self.shadow.clear()?;
            self.shadow.map(host, len, GuestAddr(phys), file, offset, rights)
        });
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

/// The guest-physical page that a translation leads to.
fn page_of(found: Translation) -> u64 {
    found.addr.align_down(PAGE).0
}

fn pending(board: &Board) -> u8 {
    if board.pc.interrupt_pending() { 2 } else { 0 }
}

fn host_failed(error: std::io::Error) -> Trap {
    Trap::Unsupported(format!("guest memory cannot be protected: {error}"))
}

// Doors: called from `entry.rs`.

/// The monitor, for the doors.
///
/// # Safety
/// No other reference to it may be live: the caller interrupted translated code or came through the gate.
unsafe fn monitor() -> &'static mut Monitor {
    // SAFETY: set before the guest was entered, never freed; exclusive as the caller promises.
    unsafe { &mut *MONITOR.load(Ordering::Acquire) }
}

/// Translated code came through the gate.
pub(crate) extern "C" fn on_exit() {
    // SAFETY: translated code ran, so no Rust code holds the monitor.
    let monitor = unsafe { monitor() };
    let number = monitor.context.exit;
    if let Err(stop) = monitor.exit(number) {
        monitor.stop(stop);
    }
}

/// A signal came while the monitor ran; it is about to go back.
pub(crate) extern "C" fn on_noted_signal() {
    // SAFETY: the monitor's last call has returned.
    let monitor = unsafe { monitor() };
    if !monitor.context.take_signal() {
        return;
    }
    monitor.armed = None;
    monitor.tick();
    // Whatever led here left the guest's own instruction pointer in the context.
    if monitor.context.cpu.pending != 0 && monitor.context.cpu.interrupts != 0 {
        monitor.go_on();
    }
}

/// The kernel delivered a signal; `fs` is the FS base it interrupted. Returns the FS base to go back with.
pub(crate) extern "C" fn on_signal(
    number: i32,
    info: *mut libc::siginfo_t,
    context: *mut libc::ucontext_t,
    fs: u64,
) -> u64 {
    let _ = info;
    // SAFETY: the kernel passes a valid context of this signal, which nobody else uses.
    let mut frame = Frame::new(number, unsafe { &mut *context });
    if !CODE.contains(&frame.rip()) {
        return signal_in_monitor(&mut frame, fs);
    }
    // SAFETY: translated code was interrupted, so no Rust code holds the monitor.
    let monitor = unsafe { monitor() };
    let Some(position) = monitor.cache.position(frame.rip()) else {
        // On the few instructions that lead from a stale block or from 32-bit code to the gate.
        return signal_in_monitor(&mut frame, fs);
    };
    frame.save(&mut monitor.context.regs);
    let regs: Registers = monitor.context.regs;
    monitor.restore(position.spilled);
    monitor.context.regs.rip = position.rip;
    monitor.context.cpu.fs_base = fs;
    monitor.context.cpu.gs_base = host::gs_base();
    match monitor.signal(&mut frame, position) {
        Err(stop) => monitor.stop(stop),
        Ok(ControlFlow::Continue(())) => {
            monitor.context.regs = regs;
            fs
        }
        Ok(ControlFlow::Break(())) => {
            monitor.stepping = false;
            monitor.go_on();
            frame.load(&monitor.context.regs, monitor.context.resume, monitor.context.cpu.long_mode_code());
            host::set_gs_base(monitor.context.cpu.gs_base);
            monitor.context.cpu.fs_base
        }
    }
}

/// A signal interrupted the monitor itself.
fn signal_in_monitor(frame: &mut Frame<'_>, fs: u64) -> u64 {
    // SAFETY: the context is mapped before handlers are set; only its atomic note is touched.
    let context = unsafe { &*host::context() };
    match frame.number() {
        libc::SIGALRM => context.note_signal(),
        // Stepping left translated code: it ends at the way back.
        libc::SIGTRAP if frame.is_stepping() => {
            frame.set_stepping(false);
            context.note_signal();
        }
        number => {
            let reason = format!(
                "signal {number} in the monitor at {:#x}, address {:#x}",
                frame.rip(),
                frame.address()
            );
            crate::fail(reason);
        }
    }
    if entry::leaving().contains(&frame.rip()) {
        frame.restart(entry::leaving().start, context.host_stack);
        return context.host_fs;
    }
    fs
}

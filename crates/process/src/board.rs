//! What the virtual CPU is wired to: guest memory, the devices of a PC, the console.

use std::{cell::Cell, rc::Rc};

use runu_core::{GuestAddr, NetworkCard, Place, Plan};
use runu_deprivilege::{
    bus::Bus,
    translate::{PortRead, PortWrite},
};
use runu_machine::{
    Cards, Channel, ChannelError, Console, Disk, Foreseen, GuestMemory, Mac, Nanos, Narrow, Net, NineP, Pc,
    PortSize, Power, Relay, Shortcut, WallClock, Wire,
};

use crate::{
    descriptor,
    disk::DiskFile,
    host::{self, Watch},
    names::{self, Awaited, Sockets},
    wire::Plug,
};

/// The container's standard output as a console.
pub(crate) struct StandardOutput {
    first_output: Rc<Cell<u64>>,
    /// When what the serial port has collected is to be written at the latest; nothing has been collected if `None`.
    due: Rc<Cell<Option<u64>>>,
}

/// Descriptors of standard input and output.
const STDIN: i32 = 0;
const STDOUT: i32 = 1;

impl Console for StandardOutput {
    fn write(&mut self, mut bytes: &[u8]) {
        self.due.set(None);
        if self.first_output.get() == 0 {
            self.first_output.set(host::now());
        }
        while !bytes.is_empty() {
            match host::write(STDOUT, bytes) {
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => host::wait_writable(STDOUT),
                // Nobody reads any more, or the disk is full: a serial line loses what nobody takes.
                Err(_) => return,
            }
        }
    }
}

/// The container's standard input as a keyboard for the console.
struct StandardInput {
    /// It has ended, or cannot be read.
    ended: bool,
    /// When it was last looked at, in nanoseconds of `CLOCK_MONOTONIC`.
    looked: u64,
}

impl StandardInput {
    /// Kernels poll the line status for every character they send; looking costs a system call. So it is looked at no
    /// more than a thousand times a second, which no typist and hardly a pipe notices.
    const PAUSE_NS: u64 = 1_000_000;

    /// Takes what has arrived, if it is time to look.
    fn take(&mut self, pc: &mut Pc<StandardOutput>, now: u64) {
        if self.ended || now.saturating_sub(self.looked) < Self::PAUSE_NS {
            return;
        }
        self.looked = now;
        if pc.input_room() > 0 && host::is_readable(STDIN) {
            self.read(pc);
        }
    }

    /// Takes what has arrived: something has.
    fn read(&mut self, pc: &mut Pc<StandardOutput>) {
        let mut bytes = [0; 16];
        let room = pc.input_room().min(bytes.len());
        match host::read(STDIN, bytes.get_mut(..room).unwrap_or_default()) {
            Ok(0) => self.ended = true,
            Ok(len) => {
                pc.input(bytes.get(..len).unwrap_or_default());
            }
            Err(error) => self.ended = error.kind() != std::io::ErrorKind::Interrupted,
        }
    }
}

/// The socket to the server of a shared directory.
#[derive(Debug)]
struct ShareSocket {
    number: i32,
    /// It took not all that was to be sent.
    full: Rc<Cell<bool>>,
}

impl Channel for ShareSocket {
    fn send(&mut self, bytes: &[u8]) -> Result<usize, ChannelError> {
        let sent = through(host::send(self.number, bytes));
        self.full.set(sent == Err(ChannelError::Busy));
        sent
    }

    fn receive(&mut self, into: &mut [u8]) -> Result<usize, ChannelError> {
        through(host::receive(self.number, into))
    }
}

/// How many bytes went through a stream, or why none did.
fn through(result: std::io::Result<usize>) -> Result<usize, ChannelError> {
    match result {
        // The end of the stream.
        Ok(0) => Err(ChannelError::Lost),
        Ok(len) => Ok(len),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Err(ChannelError::Busy),
        Err(_) => Err(ChannelError::Lost),
    }
}

/// A shared directory's socket, and whether it is full.
struct Shared {
    number: i32,
    full: Rc<Cell<bool>>,
}

/// How long frames and answers wait at most while the guest is busy and uses devices: looking for them costs a system call.
const LOOK_PAUSE_NS: u64 = 20_000;

/// How long they wait at most while it is busy and uses none, in nanoseconds that it runs. Interrupting it whenever a frame
/// arrives would cost more than everything else that is done for the frame.
pub(crate) const LOOK_PERIOD_NS: u64 = 1_000_000;

/// The serial port's data.
const SERIAL: u16 = 0x3f8;

/// How long output without a line end waits for more: nobody notices, and a line costs one system call.
const OUTPUT_DELAY_NS: u64 = 5_000_000;

/// Ports of the serial port through which a kernel looks for input (16550: receiver buffer, interrupt identification,
/// line status).
const INPUT_PORTS: [u16; 3] = [SERIAL, 0x3fa, 0x3fd];

/// Guest memory and devices.
pub(crate) struct Board {
    pub(crate) memory: GuestMemory,
    pub(crate) pc: Pc<StandardOutput>,
    cards: Cards,
    /// When it was last looked for what comes from outside, in nanoseconds of `CLOCK_MONOTONIC`; `None` if nothing can.
    looked: Option<u64>,
    network: Option<i32>,
    /// A frame of the guest's waits until there is room for it outside.
    blocked: Rc<Cell<bool>>,
    /// The name server for which the network card stands in, if there is one.
    names: Option<Awaited>,
    shared: Vec<Shared>,
    input: StandardInput,
    /// What the guest asked of the power switch.
    pub(crate) power: Option<Power>,
    /// Guest-physical pages that the monitor wrote for the guest since they were last taken.
    pub(crate) written: Vec<u64>,
    /// The guest used a device: timers and interrupt lines may have changed.
    pub(crate) used: bool,
    /// When the first byte of output left, in nanoseconds of `CLOCK_MONOTONIC`; 0 before.
    pub(crate) first_output: Rc<Cell<u64>>,
    output_due: Rc<Cell<Option<u64>>>,
    /// A device that a console is written to was used, or input has come: shortcuts may have changed.
    console_used: bool,
}

impl Board {
    /// The devices of the plan.
    ///
    /// # Errors
    /// A machine has no slots for so many.
    pub(crate) fn new(memory: GuestMemory, plan: &Plan) -> Result<Self, String> {
        let unix_ns_at_zero = host::wall_clock().cast_signed() - host::now().cast_signed();
        let first_output = Rc::new(Cell::new(0));
        let due = Rc::new(Cell::new(None));
        let console = StandardOutput { first_output: Rc::clone(&first_output), due: Rc::clone(&due) };
        let blocked = Rc::new(Cell::new(false));
        let shared: Vec<Shared> = (descriptor::SHARE..)
            .take(plan.shares.len())
            .map(|number| Shared { number, full: Rc::default() })
            .collect();
        let names = plan.network.and_then(|card| card.name_server).map(|_| Awaited::default());
        let cards = cards(plan, &blocked, names.as_ref(), &shared)
            .ok_or("the plan has more devices than a machine has slots")?;
        let network = plan.network.map(|_| descriptor::NETWORK);
        Ok(Board {
            memory,
            cards,
            looked: (network.is_some() || !shared.is_empty()).then_some(0),
            network,
            blocked,
            names,
            shared,
            pc: Pc::new(console, WallClock { unix_ns_at_zero }),
            input: StandardInput { ended: false, looked: 0 },
            power: None,
            written: Vec::new(),
            used: false,
            first_output,
            output_due: due,
            console_used: true,
        })
    }
}

/// The cards of the plan in their slots, the network card first: kernels look no further than the first card that they
/// have no driver for. `blocked` will tell whether a frame waits for room on the wire.
fn cards(plan: &Plan, blocked: &Rc<Cell<bool>>, names: Option<&Awaited>, shared: &[Shared]) -> Option<Cards> {
    let mut cards = Cards::new(plan.boot);
    if let Some(card) = plan.network {
        let wire = Plug::new(card.wire, Rc::clone(blocked));
        match card.name_server.zip(names) {
            None => plug(wire, card, &mut cards)?,
            Some((address, awaited)) => {
                let mtu = card.mtu.min(USUAL_MTU);
                let relay = Relay::new(wire, Sockets(awaited.clone()), address, mtu);
                plug(relay, card, &mut cards)?
            }
        };
    }
    for (index, disk) in plan.disks.iter().enumerate() {
        let file = DiskFile(descriptor::disk(index)?);
        Disk::new(file, disk.size, disk.read_only, format!("disk{index}")).plug(&mut cards)?;
    }
    for (share, Shared { number, full }) in plan.shares.iter().zip(shared) {
        NineP::new(ShareSocket { number: *number, full: Rc::clone(full) }, &share.tag).plug(&mut cards)?;
    }
    Some(cards)
}

/// The longest packet of an Ethernet, in bytes, and so of every driver that is not told otherwise.
const USUAL_MTU: u16 = 1500;

/// Plugs the network card in. What a wire does not need costs its frames nothing.
fn plug<W: Wire + 'static>(wire: W, card: NetworkCard, cards: &mut Cards) -> Option<Place> {
    let NetworkCard { mac, mtu, .. } = card;
    match mtu < USUAL_MTU {
        true => Net::new(Narrow::new(wire, mtu), Mac(mac), mtu).plug(cards),
        false => Net::new(wire, Mac(mac), mtu).plug(cards),
    }
}

impl Board {
    /// When to call [`Board::tick`] and [`Board::write_overdue`] at the latest, in nanoseconds of `CLOCK_MONOTONIC`.
    pub(crate) fn deadline(&self) -> Option<u64> {
        [self.timers_deadline(), self.output_due.get()].into_iter().flatten().min()
    }

    /// When to call [`Board::tick`] at the latest.
    pub(crate) fn timers_deadline(&self) -> Option<u64> {
        self.pc.next_deadline().map(|at| at.0)
    }

    /// Whether output waits that will be written at [`Board::deadline`] at the latest.
    pub(crate) fn output_waits(&self) -> bool {
        self.output_due.get().is_some()
    }

    /// Bytes were written to ports before anything else that is done with devices from now on.
    pub(crate) fn write_ports(&mut self, writes: &[PortWrite]) {
        for write in writes {
            self.port_out(write.port, 1, write.value.into());
        }
        // Who writes need not come by to have it looked for what he is told.
        self.input.take(&mut self.pc, host::now());
    }

    /// Tells translated code which ports it can use by itself, if that has changed.
    pub(crate) fn place_shortcuts(&mut self) {
        if !std::mem::take(&mut self.console_used) {
            return;
        }
        for Shortcut { port, may_wait, reads } in self.pc.shortcuts() {
            let reads = match reads {
                Foreseen::Unknown => PortRead::Unknown,
                Foreseen::Always(value) => PortRead::Always(value),
                Foreseen::Once(value) => PortRead::Once(value),
            };
            host::place_port(port, may_wait, reads);
        }
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self) {
        let now = host::now();
        self.pc.tick(Nanos(now));
        self.look_if_time(now);
    }

    /// Writes the output that is due.
    pub(crate) fn write_overdue(&mut self) {
        if self.output_due.get().is_some_and(|due| due <= host::now()) {
            self.pc.flush();
            self.output_due.set(None);
        }
    }

    /// Sleeps until [`Board::deadline`], input, or a signal.
    pub(crate) fn sleep(&mut self) {
        let listens = !self.input.ended && self.pc.input_room() > 0;
        let typed = listens.then_some(STDIN);
        let mut watches = vec![Watch::new(typed, false), Watch::new(self.network, self.blocked.get())];
        if let Some(names) = &self.names {
            // Where nothing is awaited nobody looks, so what comes too late must not wake anybody.
            let awaits = names.answers.get();
            watches.extend(names::NUMBERS.map(|number| Watch::new(awaits.then_some(number), false)));
        }
        watches.extend(self.shared.iter().map(|shared| Watch::new(Some(shared.number), shared.full.get())));
        host::sleep_until(self.deadline(), &mut watches);
        let mut ready = watches.iter().map(Watch::is_ready);
        if ready.next() == Some(true) {
            self.input.read(&mut self.pc);
            self.console_used = true;
        }
        if ready.any(|ready| ready) {
            self.look_outside(host::now());
        }
    }

    /// The guest has used devices, for which it stands still anyway.
    pub(crate) fn after_use(&mut self) {
        if self.looked.is_none() {
            return;
        }
        match &self.names {
            Some(names) if names.ready.get() => self.look_outside(host::now()),
            _ => self.look_if_time(host::now()),
        }
    }

    /// Takes what has arrived from outside, if it is time to look.
    fn look_if_time(&mut self, now: u64) {
        if let Some(looked) = self.looked
            && now.saturating_sub(looked) >= LOOK_PAUSE_NS
        {
            self.look_outside(now);
        }
    }

    fn look_outside(&mut self, now: u64) {
        self.looked = Some(now);
        self.cards.poll(&self.memory);
        self.cards_used();
    }

    /// Cards may have changed their interrupt lines and written to memory.
    fn cards_used(&mut self) {
        self.used = true;
        for (line, level) in self.cards.lines() {
            self.pc.set_line(line, level);
        }
        self.written.append(&mut self.cards.take_written());
    }
}

impl Bus for Board {
    fn read_physical(&mut self, addr: GuestAddr, into: &mut [u8]) -> bool {
        self.memory.read(addr, into).is_ok()
    }

    fn write_physical(&mut self, addr: GuestAddr, from: &[u8]) -> bool {
        if self.memory.write(addr, from).is_err() {
            return false;
        }
        let first = addr.align_down(host::PAGE).0;
        let last = GuestAddr(addr.0 + (from.len() as u64).saturating_sub(1)).align_down(host::PAGE).0;
        for page in [first, last] {
            if self.written.last() != Some(&page) {
                self.written.push(page);
            }
        }
        true
    }

    fn read_device(&mut self, addr: GuestAddr, size: u8) -> u64 {
        let mut bytes = [0; 8];
        let into = bytes.get_mut(..usize::from(size)).unwrap_or_default();
        let found = self.cards.read_memory(addr, into) || self.pc.read_memory(addr, into, Nanos(host::now()));
        // An idle bus reads as all ones.
        if found { u64::from_le_bytes(bytes) } else { u64::MAX }
    }

    fn write_device(&mut self, addr: GuestAddr, size: u8, value: u64) {
        let bytes = value.to_le_bytes();
        let from = bytes.get(..usize::from(size)).unwrap_or_default();
        if self.cards.write_memory(addr, from, &self.memory) {
            self.cards_used();
        } else if self.pc.write_memory(addr, from, Nanos(host::now())) {
            self.used = true;
        }
    }

    fn port_in(&mut self, port: u16, size: u8) -> u32 {
        let Some(size) = port_size(size) else { return u32::MAX };
        self.used = true;
        if let Some(value) = self.cards.read_port(port, size) {
            self.cards_used();
            return value;
        }
        let now = host::now();
        self.console_used |= size != PortSize::Byte || Pc::<StandardOutput>::is_console(port);
        if INPUT_PORTS.contains(&port) {
            self.input.take(&mut self.pc, now);
        }
        self.pc.read(port, size, Nanos(now))
    }

    fn port_out(&mut self, port: u16, size: u8, value: u32) {
        let Some(size) = port_size(size) else { return };
        self.used = true;
        if self.cards.write_port(port, size, value, &self.memory) {
            self.cards_used();
            return;
        }
        let now = host::now();
        self.console_used |= size != PortSize::Byte || Pc::<StandardOutput>::is_console(port);
        if port == SERIAL && self.output_due.get().is_none() {
            // A line that ends at once takes the mark away again.
            self.output_due.set(Some(now + OUTPUT_DELAY_NS));
        }
        if let Some(power) = self.pc.write(port, size, value, Nanos(now)) {
            self.power.get_or_insert(power);
        }
    }

    fn apic_in(&mut self, msr: u32) -> Option<u64> {
        self.pc.read_msr(msr, Nanos(host::now()))
    }

    fn apic_out(&mut self, msr: u32, value: u64) -> bool {
        self.used = true;
        self.pc.write_msr(msr, value, Nanos(host::now()))
    }

    fn has_apic(&mut self) -> bool {
        self.pc.has_apic()
    }

    fn priority_class(&mut self) -> u8 {
        self.pc.priority_class()
    }

    fn set_priority_class(&mut self, class: u8) {
        self.used = true;
        self.pc.set_priority_class(class);
    }
}

fn port_size(bytes: u8) -> Option<PortSize> {
    match bytes {
        1 => Some(PortSize::Byte),
        2 => Some(PortSize::Word),
        4 => Some(PortSize::Dword),
        _ => None,
    }
}

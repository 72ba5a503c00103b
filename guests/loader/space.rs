//! The program's address space: RAM where it is, for this kernel, and the program's own memory, page by page.

use rt::boot::Boot;
use rt::cell::OneCpu;
use rt::paging::{self, Frames, Size, Tables, WRITABLE};
use rt::trap::{self, Frame};
use rt::{cpu, power, println};

use crate::image::{Image, STACK_LEN, STACK_TOP};

const PAGE: u64 = 0x1000;
/// Where mappings begin, one behind the other; no address is used twice.
const MAPPINGS: u64 = 0x10_0000_0000;

/// What there is to the program.
struct Space {
    image: Image,
    frames: Frames,
    tables: Tables,
    /// The end of its heap.
    heap: u64,
    /// The end of its mappings.
    mapped: u64,
}

static SPACE: OneCpu<Option<Space>> = OneCpu::new(None);

fn space() -> &'static mut Space {
    // SAFETY: every use is one call; page faults come from the program's accesses, and while this kernel touches the
    // program's memory it holds no reference.
    unsafe { SPACE.get().as_mut().expect("enter comes first") }
}

/// Makes and enters the address space.
pub(crate) fn enter(boot: &'static Boot, image: Image) {
    const PAGE_FAULT: u8 = 14;
    let mut frames = Frames::of(boot);
    let tables = Tables::new(&mut frames);
    let top = boot.ram().iter().map(|range| range.end).filter(|end| *end <= 1 << 30).max().unwrap_or(0);
    for page in 0..top.div_ceil(Size::Large.bytes()) {
        let address = page * Size::Large.bytes();
        tables.map(&mut frames, address, address, Size::Large, WRITABLE);
    }
    let heap = image.end().next_multiple_of(PAGE) + PAGE;
    // SAFETY: nothing uses it yet; all RAM is mapped where it is.
    unsafe {
        *SPACE.get() = Some(Space { image, frames, tables, heap, mapped: MAPPINGS });
        tables.load();
    }
    trap::on(PAGE_FAULT, Some(provide));
}

/// Gives the program the page that it has touched.
fn provide(fault: &mut Frame) {
    const PRESENT: u64 = 1;
    let address = cpu::read_cr2();
    let space = space();
    let page = address & !(PAGE - 1);
    if fault.error & PRESENT != 0 || !space.has(address) {
        println!("the program touches {address:#x} at {:#x}", fault.rip);
        power::crash();
    }
    let frame = space.frames.allocate(Size::Small);
    space.fill(page, frame);
    space.tables.map(&mut space.frames, page, frame, Size::Small, WRITABLE);
    paging::invalidate(page);
}

impl Space {
    /// Whether the program has memory there.
    fn has(&self, address: u64) -> bool {
        let file_page = |start: u64, len: u64| (start & !(PAGE - 1)..start + len).contains(&address);
        self.image.segments().any(|segment| file_page(segment.start, segment.len))
            || (self.image.end()..self.heap).contains(&address)
            || (MAPPINGS..self.mapped).contains(&address)
            || (STACK_TOP - STACK_LEN..STACK_TOP).contains(&address)
    }

    /// Puts into a frame what of the program's file lies in that page.
    fn fill(&self, page: u64, frame: u64) {
        for segment in self.image.segments() {
            let end = segment.start + segment.bytes.len() as u64;
            let (from, to) = (segment.start.max(page), end.min(page + PAGE));
            if from < to {
                let bytes = &segment.bytes[(from - segment.start) as usize..(to - segment.start) as usize];
                // SAFETY: a frame of ours, mapped where it is.
                unsafe {
                    core::ptr::copy_nonoverlapping(
                        bytes.as_ptr(),
                        (frame + from - page) as *mut u8,
                        bytes.len(),
                    );
                }
            }
        }
    }
}

/// Moves the end of the program's heap there, if that is where a heap can end; where it is.
pub(crate) fn set_heap_end(end: u64) -> u64 {
    let space = space();
    if (space.image.end()..space.image.end() + (1 << 30)).contains(&end) {
        space.heap = end;
    }
    space.heap
}

/// Makes room for a mapping of that many bytes; where.
pub(crate) fn map(len: u64) -> u64 {
    let space = space();
    let start = space.mapped;
    space.mapped += len.next_multiple_of(PAGE);
    start
}

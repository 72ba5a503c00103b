//! The interrupt controllers, after the Intel 8259A data sheet.
//!
//! Two devices can raise interrupts here: the serial port (IRQ 4, held high while data is there) and the timer (IRQ 0).
//! The rest is told by registers.

use super::Bench;

/// Non-specific end of interrupt.
const EOI: u8 = 0x20;

/// The serial port raises IRQ 4.
fn raise_4(bench: &mut Bench) {
    bench.outb(0x3f9, 1);
    assert_eq!(bench.pc.input(b"x"), 1);
}

/// The serial port's line goes low.
fn lower_4(bench: &mut Bench) {
    bench.inb(0x3f8);
}

/// The timer raises IRQ 0: mode 0, count 1.
fn raise_0(bench: &mut Bench) {
    bench.outb(0x43, 0x10);
    bench.outb(0x40, 1);
    bench.now.0 += 10_000;
    bench.pc.tick(bench.now);
}

fn in_service(bench: &mut Bench) -> u8 {
    bench.outb(0x20, 0x0b);
    bench.inb(0x20)
}

fn requests(bench: &mut Bench) -> u8 {
    bench.outb(0x20, 0x0a);
    bench.inb(0x20)
}

#[test]
fn interrupt_is_taken_into_service_until_its_end() {
    let mut bench = Bench::with_interrupts();
    raise_4(&mut bench);
    assert_eq!((requests(&mut bench), in_service(&mut bench)), (0x10, 0));

    assert_eq!(bench.interrupt(), Some(36));
    assert_eq!((requests(&mut bench), in_service(&mut bench)), (0, 0x10));

    bench.outb(0x20, EOI);
    assert_eq!((requests(&mut bench), in_service(&mut bench)), (0, 0));
}

#[test]
fn line_that_stays_high_is_one_edge() {
    let mut bench = Bench::with_interrupts();
    raise_4(&mut bench);
    bench.interrupt();
    bench.outb(0x20, EOI);
    assert_eq!(bench.interrupt(), None);

    lower_4(&mut bench);
    raise_4(&mut bench);
    assert_eq!(bench.interrupt(), Some(36));
}

#[test]
fn line_that_stays_high_in_level_mode_asks_again_after_its_end() {
    let mut bench = Bench::new();
    bench.init_pic(&[0x19, 32, 4, 1], &[0x11, 40, 2, 1]);
    // The timer's output is high, too, and in level mode that counts.
    bench.outb(0x21, 0x01);
    raise_4(&mut bench);

    assert_eq!(bench.interrupt(), Some(36));
    bench.outb(0x20, EOI);
    assert_eq!(bench.interrupt(), Some(36));
    bench.outb(0x20, EOI);
    lower_4(&mut bench);
    assert_eq!(bench.interrupt(), None);
}

#[test]
fn line_that_is_level_triggered_by_the_elcr_asks_again_after_its_end() {
    let mut bench = Bench::with_interrupts();
    bench.outb(0x4d0, 0xff);
    bench.outb(0x4d1, 0xff);
    assert_eq!(
        (bench.inb(0x4d0), bench.inb(0x4d1)),
        (0xf8, 0xde),
        "timer, keyboard, clock and FPU stay edges"
    );
    raise_4(&mut bench);

    bench.interrupt();
    bench.outb(0x20, EOI);

    assert_eq!(bench.interrupt(), Some(36));
}

#[test]
fn masked_interrupt_waits() {
    let mut bench = Bench::with_interrupts();
    bench.outb(0x21, 0xff);
    raise_4(&mut bench);
    assert_eq!((bench.interrupt(), bench.inb(0x21)), (None, 0xff));

    bench.outb(0x21, 0xef);
    assert_eq!(bench.interrupt(), Some(36));
}

#[test]
fn more_urgent_interrupt_comes_first_and_interrupts_a_less_urgent_one() {
    let mut bench = Bench::with_interrupts();
    raise_4(&mut bench);
    assert_eq!(bench.interrupt(), Some(36));

    raise_0(&mut bench);
    assert_eq!(bench.interrupt(), Some(32));
    assert_eq!(in_service(&mut bench), 0x11);

    bench.outb(0x20, EOI);
    assert_eq!(in_service(&mut bench), 0x10, "the end is that of the most urgent one");
}

#[test]
fn less_urgent_interrupt_waits_for_the_end_of_a_more_urgent_one() {
    let mut bench = Bench::with_interrupts();
    raise_0(&mut bench);
    assert_eq!(bench.interrupt(), Some(32));
    raise_4(&mut bench);
    assert_eq!(bench.interrupt(), None);

    bench.outb(0x20, EOI);
    assert_eq!(bench.interrupt(), Some(36));
}

#[test]
fn specific_end_is_that_of_the_named_interrupt() {
    let mut bench = Bench::with_interrupts();
    raise_4(&mut bench);
    bench.interrupt();
    raise_0(&mut bench);
    bench.interrupt();

    bench.outb(0x20, 0x64);

    assert_eq!(in_service(&mut bench), 0x01);
}

#[test]
fn rotation_makes_the_ended_interrupt_the_least_urgent() {
    let mut bench = Bench::with_interrupts();
    raise_0(&mut bench);
    bench.interrupt();
    bench.outb(0x20, 0xa0);

    raise_0(&mut bench);
    raise_4(&mut bench);

    assert_eq!((bench.interrupt(), bench.interrupt()), (Some(36), None));
    bench.outb(0x20, EOI);
    assert_eq!(bench.interrupt(), Some(32));
}

#[test]
fn set_priority_makes_the_named_input_the_least_urgent() {
    let mut bench = Bench::with_interrupts();
    bench.outb(0x20, 0xc3);
    raise_0(&mut bench);
    raise_4(&mut bench);

    assert_eq!(bench.interrupt(), Some(36));
}

#[test]
fn automatic_end_leaves_nothing_in_service() {
    let mut bench = Bench::new();
    bench.init_pic(&[0x11, 32, 4, 3], &[0x11, 40, 2, 1]);
    raise_4(&mut bench);

    assert_eq!((bench.interrupt(), in_service(&mut bench)), (Some(36), 0));
}

#[test]
fn automatic_end_with_rotation_makes_the_taken_interrupt_the_least_urgent() {
    let mut bench = Bench::new();
    bench.init_pic(&[0x11, 32, 4, 3], &[0x11, 40, 2, 1]);
    bench.outb(0x20, 0x80);
    raise_0(&mut bench);
    assert_eq!(bench.interrupt(), Some(32));

    raise_0(&mut bench);
    raise_4(&mut bench);

    assert_eq!((bench.interrupt(), bench.interrupt()), (Some(36), Some(32)));
}

#[test]
fn special_mask_lets_less_urgent_interrupts_through_a_masked_service() {
    let mut bench = Bench::with_interrupts();
    raise_0(&mut bench);
    bench.interrupt();
    raise_4(&mut bench);
    bench.outb(0x21, 0x01);
    assert_eq!(bench.interrupt(), None);

    bench.outb(0x20, 0x68);
    assert_eq!(bench.interrupt(), Some(36));

    bench.outb(0x20, 0x48);
    assert_eq!(in_service(&mut bench), 0x11);
}

#[test]
fn poll_takes_the_interrupt_by_a_read() {
    let mut bench = Bench::with_interrupts();
    bench.outb(0x20, 0x0c);
    assert_eq!(bench.inb(0x20), 0, "nothing asks");
    raise_4(&mut bench);

    bench.outb(0x20, 0x0c);

    assert_eq!(bench.inb(0x20), 0x84);
    assert_eq!((bench.interrupt(), in_service(&mut bench)), (None, 0x10));
}

#[test]
fn acknowledgement_of_nothing_is_the_spurious_interrupt_7() {
    let mut bench = Bench::with_interrupts();

    assert_eq!((bench.pc.acknowledge(), in_service(&mut bench)), (39, 0));
}

#[test]
fn initialization_forgets_edges_and_masks_and_keeps_the_level_of_lines() {
    let mut bench = Bench::with_interrupts();
    bench.outb(0x21, 0xff);
    raise_4(&mut bench);

    bench.init_pic(&[0x11, 0x50, 4, 1], &[0x11, 0x58, 2, 1]);
    assert_eq!((bench.inb(0x21), bench.interrupt()), (0, None), "the line is high, but that is no edge");

    lower_4(&mut bench);
    raise_4(&mut bench);
    assert_eq!(bench.interrupt(), Some(0x54));
}

#[test]
fn initialization_as_single_without_icw4_takes_two_words() {
    let mut bench = Bench::new();
    bench.outb(0x20, 0x12);
    bench.outb(0x21, 0x40);

    bench.outb(0x21, 0xaa);

    assert_eq!(bench.inb(0x21), 0xaa, "the third write is the mask");
}

#[test]
fn saved_masks_survive_unikrafts_initialization() {
    let mut bench = Bench::new();
    let masks = (bench.inb(0x21), bench.inb(0xa1));
    assert_eq!(masks, (0, 0), "everything is unmasked, as after a KVM reset");
    bench.outb(0x21, 0xb8);
    bench.outb(0xa1, 0x8f);

    bench.init_pic(&[0x11, 32, 4, 1, 0xb8], &[0x11, 40, 2, 1, 0x8f]);

    assert_eq!((bench.inb(0x21), bench.inb(0xa1)), (0xb8, 0x8f));
}

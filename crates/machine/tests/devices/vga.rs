//! The VGA registers.

use runu_machine::PortSize;

use super::Bench;

#[test]
fn cursor_position_is_kept_at_either_address() {
    let mut bench = Bench::new();
    for index in [0x3d4, 0x3b4] {
        bench.outb(index, 0x0e);
        bench.outb(index + 1, 0x12);
        bench.outb(index, 0x0f);
        bench.outb(index + 1, 0x34);

        bench.outb(index, 0x0e);
        assert_eq!((bench.inb(index), bench.inb(index + 1)), (0x0e, 0x12));
    }
}

#[test]
fn word_write_sets_index_and_data() {
    let mut bench = Bench::new();

    assert_eq!(bench.out(0x3d4, PortSize::Word, 0x560f), None);

    assert_eq!(bench.pc.read(0x3d4, PortSize::Word, bench.now), 0x560f);
}

#[test]
fn register_that_the_controller_lacks_reads_as_all_ones() {
    let mut bench = Bench::new();
    bench.outb(0x3d4, 0xff);
    bench.outb(0x3d5, 0);

    assert_eq!(bench.inb(0x3d5), 0xff);
}

#[test]
fn screen_is_a_colour_screen_until_it_is_told_otherwise() {
    let mut bench = Bench::new();
    assert_eq!(bench.inb(0x3cc) & 1, 1);

    bench.outb(0x3c2, 0x66);
    assert_eq!(bench.inb(0x3cc), 0x66);
}

//! The CMOS clock, Motorola MC146818 as in the IBM PC AT, and the battery-backed bytes behind it.
//!
//! It shows the host's time and cannot be set; it raises no interrupt. An update is never in progress, so reading it
//! takes one attempt; a guest that waits for the end of an update finds one at once (status C, bit 4).

use super::{Nanos, WallClock};

/// Register numbers (MC146818 data sheet, "Address map"; century: ACPI 6.5 §5.2.9, the FADT's usual value).
mod register {
    pub(super) const SECONDS: u8 = 0x00;
    pub(super) const MINUTES: u8 = 0x02;
    pub(super) const HOURS: u8 = 0x04;
    pub(super) const WEEKDAY: u8 = 0x06;
    pub(super) const DAY: u8 = 0x07;
    pub(super) const MONTH: u8 = 0x08;
    pub(super) const YEAR: u8 = 0x09;
    pub(super) const STATUS_A: u8 = 0x0a;
    pub(super) const STATUS_B: u8 = 0x0b;
    pub(super) const STATUS_C: u8 = 0x0c;
    pub(super) const STATUS_D: u8 = 0x0d;
    pub(super) const CENTURY: u8 = 0x32;
}

/// 32.768 kHz time base, 1024 Hz square wave; bit 7, update in progress, is clear.
const STATUS_A_VALUE: u8 = 0x26;
/// Status B: binary instead of BCD.
const BINARY: u8 = 1 << 2;
/// Status B: 24 hours instead of 12.
const HOURS_24: u8 = 1 << 1;
/// Status B: daylight saving, hours, BCD, and the bits a guest may keep there.
const STATUS_B_WRITABLE: u8 = 0b1000_1111;
/// Status C: an update has ended.
const UPDATE_ENDED: u8 = 1 << 4;
/// Status D: the battery is good.
const BATTERY_GOOD: u8 = 1 << 7;
/// Hours in 12-hour format: afternoon.
const AFTERNOON: u8 = 1 << 7;

const SIZE: usize = 128;

/// The CMOS clock and memory.
#[derive(Debug)]
pub(super) struct Cmos {
    clock: WallClock,
    index: u8,
    status_b: u8,
    memory: [u8; SIZE],
}

impl Cmos {
    pub(super) fn new(clock: WallClock) -> Self {
        Self { clock, index: 0, status_b: HOURS_24, memory: [0; SIZE] }
    }

    /// Port 0x70, write. Bit 7 masks the NMI, which never comes.
    pub(super) fn select(&mut self, index: u8) {
        self.index = index & 0x7f;
    }

    /// Port 0x71, read.
    pub(super) fn data(&self, now: Nanos) -> u8 {
        let time = || CivilTime::from_unix(self.clock.unix_seconds(now));
        match self.index {
            register::SECONDS => self.format(time().second),
            register::MINUTES => self.format(time().minute),
            register::HOURS => self.hours(time().hour),
            register::WEEKDAY => self.format(time().weekday),
            register::DAY => self.format(time().day),
            register::MONTH => self.format(time().month),
            register::YEAR => self.format(time().year_of_century),
            register::CENTURY => self.format(time().century),
            register::STATUS_A => STATUS_A_VALUE,
            register::STATUS_B => self.status_b,
            register::STATUS_C => UPDATE_ENDED,
            register::STATUS_D => BATTERY_GOOD,
            other => self.memory.get(usize::from(other)).copied().unwrap_or(0),
        }
    }

    /// Port 0x71, write. Time and status other than B stay what they are.
    pub(super) fn set_data(&mut self, value: u8) {
        match self.index {
            register::STATUS_B => self.status_b = value & STATUS_B_WRITABLE,
            other => {
                if let Some(byte) = self.memory.get_mut(usize::from(other)) {
                    *byte = value;
                }
            }
        }
    }

    fn hours(&self, hour: u8) -> u8 {
        if self.status_b & HOURS_24 != 0 {
            return self.format(hour);
        }
        let afternoon = if hour >= 12 { AFTERNOON } else { 0 };
        let hour = match hour % 12 {
            0 => 12,
            hour => hour,
        };
        self.format(hour) | afternoon
    }

    /// A number below 100 as the guest wants it.
    fn format(&self, number: u8) -> u8 {
        if self.status_b & BINARY != 0 { number } else { number / 10 * 16 + number % 10 }
    }
}

/// A point in UTC as the clock shows it.
#[derive(Debug, PartialEq, Eq)]
struct CivilTime {
    century: u8,
    year_of_century: u8,
    month: u8,
    day: u8,
    /// 1 is Sunday.
    weekday: u8,
    hour: u8,
    minute: u8,
    second: u8,
}

impl CivilTime {
    /// Days to date after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`: years are
    /// counted from March, so that the leap day is the last of its year.
    fn from_unix(seconds: u64) -> Self {
        let (days, of_day) = (seconds / 86_400, seconds % 86_400);
        let since_march_0000 = days + 719_468;
        let (era, of_era) = (since_march_0000 / 146_097, since_march_0000 % 146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        Self {
            century: byte(year / 100 % 100),
            year_of_century: byte(year % 100),
            month: byte(month),
            day: byte(day),
            // 1970-01-01 was a Thursday.
            weekday: byte((days + 4) % 7 + 1),
            hour: byte(of_day / 3600),
            minute: byte(of_day / 60 % 60),
            second: byte(of_day % 60),
        }
    }
}

/// A number that is known to be below 100.
fn byte(number: u64) -> u8 {
    u8::try_from(number).unwrap_or(0)
}

//! How generated events are written: JSON, UUIDs and times straight into a buffer, without formatting machinery.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::events::Random;

/// A JSON object that is being written, member by member.
pub(crate) struct Draft<'a> {
    pub(crate) out: &'a mut Vec<u8>,
    pub(crate) random: &'a mut Random,
    pub(crate) clock: &'a IsoClock,
}

impl Draft<'_> {
    fn name(&mut self, name: &str) {
        if self.out.last() != Some(&b'{') {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    /// A value as it is.
    pub(crate) fn raw(&mut self, name: &str, json: &[u8]) {
        self.name(name);
        self.out.extend_from_slice(json);
    }

    /// A string whose text needs no escaping any more.
    pub(crate) fn text(&mut self, name: &str, text: &str) {
        self.id(name, text.as_bytes());
    }

    /// A string of bytes that need no escaping.
    pub(crate) fn id(&mut self, name: &str, id: &[u8]) {
        self.name(name);
        self.out.push(b'"');
        self.out.extend_from_slice(id);
        self.out.push(b'"');
    }

    /// A string: the prefix, and a number below `limit`.
    pub(crate) fn numbered(&mut self, name: &str, prefix: &str, limit: u64) {
        let chosen = self.random.below(limit);
        self.name(name);
        self.out.push(b'"');
        self.out.extend_from_slice(prefix.as_bytes());
        number(self.out, chosen);
        self.out.push(b'"');
    }

    /// One of these strings.
    pub(crate) fn choice(&mut self, name: &str, choices: &[&str]) {
        let chosen = choices[self.random.below(choices.len() as u64) as usize];
        self.text(name, chosen);
    }

    /// A whole number in `from..from + width`.
    pub(crate) fn integer(&mut self, name: &str, from: u64, width: u64) {
        let chosen = from + self.random.below(width);
        self.name(name);
        number(self.out, chosen);
    }

    /// A number of hundredths below `limit` of them.
    pub(crate) fn decimal(&mut self, name: &str, limit: u64) {
        let chosen = self.random.below(limit);
        self.name(name);
        hundredths(self.out, chosen);
    }

    /// The time of the event, as ISO 8601.
    pub(crate) fn now(&mut self, name: &str) {
        let clock = self.clock;
        self.id(name, clock.text());
    }

    /// Begins an object inside.
    pub(crate) fn open(&mut self, name: &str) {
        self.raw(name, b"{");
    }

    /// Ends the object that was begun last.
    pub(crate) fn close(&mut self) {
        self.out.push(b'}');
    }
}

/// A number of hundredths as JavaScript writes it: without trailing zeros.
fn hundredths(out: &mut Vec<u8>, value: u64) {
    number(out, value / 100);
    let rest = value % 100;
    if rest > 0 {
        out.push(b'.');
        out.push(b'0' + (rest / 10) as u8);
        if !rest.is_multiple_of(10) {
            out.push(b'0' + (rest % 10) as u8);
        }
    }
}

pub(crate) fn number(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// A version 4 UUID of these bits.
pub(crate) fn uuid(high: u64, low: u64) -> [u8; 36] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let high = (high & !0xf000) | 0x4000;
    let low = (low & !(0b11 << 62)) | (0b10 << 62);
    let mut text = [b'-'; 36];
    for (bits, from, to) in [(high, 0, 8), (high, 9, 13), (high, 14, 18), (low, 19, 23), (low, 24, 36)] {
        // Where the group starts in its half, in hexadecimal digits.
        let before = match from {
            9 => 8,
            14 => 12,
            24 => 4,
            _ => 0,
        };
        for (at, place) in text[from..to].iter_mut().enumerate() {
            *place = HEX[(bits >> (60 - 4 * (before + at))) as usize & 15];
        }
    }
    text
}

/// Milliseconds since the epoch, now.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// The time as `2026-01-31T23:59:59.999Z`, written anew only as far as it changed.
#[derive(Debug)]
pub(crate) struct IsoClock {
    pub(crate) now_ms: u64,
    second: Option<u64>,
    text: [u8; 24],
}

impl Default for IsoClock {
    fn default() -> Self {
        Self { now_ms: 0, second: None, text: *b"1970-01-01T00:00:00.000Z" }
    }
}

impl IsoClock {
    pub(crate) fn set(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        let second = now_ms / 1000;
        if self.second != Some(second) {
            self.second = Some(second);
            self.write_second(second);
        }
        self.digits(20, 3, now_ms % 1000);
    }

    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    /// Days to a date by the civil calendar (Howard Hinnant's `civil_from_days`).
    fn write_second(&mut self, second: u64) {
        let days = second / 86_400 + 719_468;
        let era = days / 146_097;
        let day_of_era = days % 146_097;
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        let of_day = second % 86_400;
        for (at, width, value) in [
            (0, 4, year),
            (5, 2, month),
            (8, 2, day),
            (11, 2, of_day / 3600),
            (14, 2, of_day / 60 % 60),
            (17, 2, of_day % 60),
        ] {
            self.digits(at, width, value);
        }
    }

    fn digits(&mut self, at: usize, width: usize, mut value: u64) {
        for place in self.text[at..at + width].iter_mut().rev() {
            *place = b'0' + (value % 10) as u8;
            value /= 10;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_by_iso_8601() {
        let mut clock = IsoClock::default();
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_123, "2000-02-29T00:00:00.123Z"),
            (1_767_225_599_999, "2025-12-31T23:59:59.999Z"),
        ] {
            clock.set(ms);
            assert_eq!(std::str::from_utf8(clock.text()).unwrap(), text);
        }
    }
}

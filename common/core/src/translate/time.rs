//! Dates and times from ISO 8601 text, as RFC 3339 narrows it, in the proleptic Gregorian calendar.

/// A cursor over the text; every method says `None` where the text is not what it wants.
struct Text<'a>(&'a [u8]);

impl Text<'_> {
    fn take(&mut self, allowed: &[u8]) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        allowed.contains(first).then(|| self.0 = rest)?;
        Some(*first)
    }

    fn number(&mut self, digits: usize) -> Option<i64> {
        let (head, rest) = self.0.split_at_checked(digits)?;
        self.0 = rest;
        head.iter().try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0')))
    }

    fn below(&mut self, limit: i64) -> Option<i64> {
        self.number(2).filter(|value| *value < limit)
    }

    /// `YYYY-MM-DD`, or `±YYYYYY-MM-DD` as JavaScript writes far years: days since 1970-01-01.
    fn date(&mut self) -> Option<i64> {
        let year = match self.take(b"+-") {
            Some(b'-') => -self.number(6)?,
            Some(_) => self.number(6)?,
            None => self.number(4)?,
        };
        self.take(b"-")?;
        let month = self.number(2).filter(|month| (1..=12).contains(month))?;
        self.take(b"-")?;
        let day = self.number(2).filter(|day| (1..=days_in(year, month)).contains(day))?;
        Some(days(year, month, day))
    }

    /// `HH:MM:SS` and perhaps a fraction: nanoseconds of the day; digits behind the ninth are cut off.
    fn time(&mut self) -> Option<i64> {
        let hour = self.below(24)?;
        self.take(b":")?;
        let minute = self.below(60)?;
        self.take(b":")?;
        let second = self.below(60)?;
        let mut nanos = 0;
        if self.take(b".,").is_some() {
            let digits = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if digits == 0 {
                return None;
            }
            let used = digits.min(9);
            nanos = self.number(used)? * 10i64.pow(9 - used as u32);
            self.0 = &self.0[digits - used..];
        }
        Some(((hour * 60 + minute) * 60 + second) * 1_000_000_000 + nanos)
    }

    /// `Z`, `±HH:MM`, `±HHMM` or `±HH`: seconds east of Greenwich.
    fn offset(&mut self) -> Option<i64> {
        let sign = match self.take(b"Zz+-")? {
            b'+' => 1,
            b'-' => -1,
            _ => return Some(0),
        };
        let hours = self.below(24)?;
        let minutes = match (self.take(b":"), self.0.is_empty()) {
            (None, true) => 0,
            _ => self.below(60)?,
        };
        Some(sign * (hours * 60 + minutes) * 60)
    }
}

fn leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 (Hinnant, "chrono-compatible low-level date algorithms": years start in March).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// `2026-02-28`: days since the epoch.
pub(super) fn date(text: &[u8]) -> Option<i64> {
    let mut text = Text(text);
    text.date().filter(|_| text.0.is_empty())
}

/// `23:59:59.999`: nanoseconds since midnight.
pub(super) fn time(text: &[u8]) -> Option<i64> {
    let mut text = Text(text);
    text.time().filter(|_| text.0.is_empty())
}

/// What a timestamp's text means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instant {
    seconds: i64,
    nanos: i64,
}

impl Instant {
    /// In units of which a second has `per_second`, what is finer cut off towards the past; `None` where it overflows.
    pub(super) fn in_units(self, per_second: i64) -> Option<i64> {
        self.seconds.checked_mul(per_second)?.checked_add(self.nanos / (1_000_000_000 / per_second))
    }
}

/// `2026-02-28T23:59:59.999Z`; the offset must be there, or must not (`local`).
pub(super) fn timestamp(text: &[u8], local: bool) -> Option<Instant> {
    let mut text = Text(text);
    let days = text.date()?;
    text.take(b"Tt ")?;
    let nanos = text.time()?;
    let offset = if local { 0 } else { text.offset()? };
    let seconds = days * 86_400 + nanos / 1_000_000_000 - offset;
    text.0.is_empty().then_some(Instant { seconds, nanos: nanos % 1_000_000_000 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_what_the_calendar_says() {
        let millis = |text: &str| timestamp(text.as_bytes(), false)?.in_units(1000);
        assert_eq!(millis("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(millis("2026-02-16T10:20:30.123Z"), Some(1_771_237_230_123));
        assert_eq!(millis("2000-02-29T23:59:59.9999+00:00"), Some(951_868_799_999));
        assert_eq!(millis("1969-12-31T23:59:59.5Z"), Some(-500));
        assert_eq!(millis("2026-02-16T12:20:30.123+02:00"), Some(1_771_237_230_123));
        assert_eq!(millis("2026-02-16T05:50:30.123-0430"), Some(1_771_237_230_123));
        assert_eq!(millis("+275760-09-13T00:00:00.000Z"), Some(8_640_000_000_000_000));
        assert_eq!(timestamp(b"2026-02-16T10:20:30", true).and_then(|at| at.in_units(1)), Some(1_771_237_230));
    }

    #[test]
    fn what_is_no_date_is_refused() {
        let bad = ["2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01T00:00:60Z"];
        let worse = ["2026-01-01", "2026-01-01T00:00:00", "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00Z ", "", "x"];
        for text in bad.iter().chain(&worse) {
            assert_eq!(timestamp(text.as_bytes(), false), None, "{text}");
        }
        assert_eq!(timestamp(b"2026-01-01T00:00:00Z", true), None);
        assert_eq!(timestamp(b"9999-01-01T00:00:00Z", false).and_then(|at| at.in_units(1_000_000_000)), None);
        assert_eq!((date(b"1970-01-02"), date(b"1969-12-31"), date(b"2026-2-3")), (Some(1), Some(-1), None));
        assert_eq!((time(b"00:00:01.5"), time(b"00:00")), (Some(1_500_000_000), None));
    }
}

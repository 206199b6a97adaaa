//! Where a source partition starts when nothing is known about it, and the times that say so.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};

use crate::record::Offset;

/// Where a partition starts when it has no checkpoint yet. The choice is written as the first checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Start {
    /// At the oldest record that the source still has.
    #[default]
    Earliest,
    /// Behind the newest record. Never applies to partitions that are added to the topic later.
    Latest,
    /// At the first record whose timestamp is at or after this, in milliseconds since the epoch.
    Time(u64),
    /// At the offset given for each partition; partitions that are not listed start at the earliest record.
    Offsets(BTreeMap<u32, Offset>),
}

const EXPECTED: &str =
    "\"earliest\", \"latest\", a time such as \"2026-01-31T12:00:00Z\", or a table of partition = offset";

impl<'de> Deserialize<'de> for Start {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StartVisitor)
    }
}

struct StartVisitor;

impl<'de> Visitor<'de> for StartVisitor {
    type Value = Start;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(EXPECTED)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Start, E> {
        match text {
            "earliest" => Ok(Start::Earliest),
            "latest" => Ok(Start::Latest),
            time => unix_ms_of_rfc3339(time)
                .map(Start::Time)
                .ok_or_else(|| E::custom(format!("\"{text}\" is not a start: write {EXPECTED}"))),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Start, A::Error> {
        let mut offsets = BTreeMap::new();
        while let Some(partition) = map.next_key::<String>()? {
            let number = partition.parse().map_err(|_| {
                de::Error::custom(format!("\"{partition}\" is not a partition's number: write {EXPECTED}"))
            })?;
            offsets.insert(number, map.next_value()?);
        }
        Ok(Start::Offsets(offsets))
    }
}

/// Milliseconds since the epoch of an RFC 3339 time (`2026-01-31T12:00:00.250+01:00`), `None` where it is not one, or
/// is before the epoch.
pub fn unix_ms_of_rfc3339(text: &str) -> Option<u64> {
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        let digits = text.get(range)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let is = |at: usize, allowed: &str| text.as_bytes().get(at).is_some_and(|b| allowed.as_bytes().contains(b));
    if !(is(4, "-") && is(7, "-") && is(10, "Tt ") && is(13, ":") && is(16, ":")) {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let in_range = (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    let (fraction_ms, zone) = split_fraction(text.get(19..)?)?;
    let offset_minutes = zone_minutes(zone)?;
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3_600 + (minute - offset_minutes) * 60 + second;
    in_range.then(|| u64::try_from(seconds * 1000 + fraction_ms).ok())?
}

/// An RFC 3339 time in UTC with milliseconds.
pub fn rfc3339(unix_ms: u64) -> String {
    let (seconds, ms) = (unix_ms / 1000, unix_ms % 1000);
    let (days, in_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil_from_days(i64::try_from(days).unwrap_or(i64::MAX / 2));
    let (hour, minute, second) = (in_day / 3600, in_day / 60 % 60, in_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// The milliseconds of a fraction (".25" is 250; digits beyond the third are cut), and what follows it.
fn split_fraction(rest: &str) -> Option<(i64, &str)> {
    let Some(fraction) = rest.strip_prefix('.') else { return Some((0, rest)) };
    let end = fraction.find(|c: char| !c.is_ascii_digit())?;
    let digits = fraction.get(..end.min(3)).filter(|digits| !digits.is_empty())?;
    let ms = format!("{digits:0<3}").parse().ok()?;
    Some((ms, fraction.get(end..)?))
}

fn zone_minutes(zone: &str) -> Option<i64> {
    if zone == "Z" || zone == "z" {
        return Some(0);
    }
    let sign = match zone.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    let digits = |text: &str| (text.len() == 2).then(|| text.parse::<u8>().ok())?;
    let (hours, minutes) = (digits(hours)?, digits(minutes)?);
    (hours < 24 && minutes < 60).then(|| sign * (i64::from(hours) * 60 + i64::from(minutes)))
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if (year % 4 == 0 && year % 100 != 0) || year % 400 == 0 => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a date of the Gregorian calendar, counted in years that begin in March.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The inverse of [`days_from_civil`].
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written() {
        assert_eq!(unix_ms_of_rfc3339("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(unix_ms_of_rfc3339("2024-02-29T23:59:59.5+01:00"), Some(1_709_247_599_500));
        assert_eq!(unix_ms_of_rfc3339("2024-02-29T22:59:59.500Z"), Some(1_709_247_599_500));
        assert_eq!(rfc3339(1_709_247_599_500), "2024-02-29T22:59:59.500Z");
        for day in 0..40_000_u64 {
            let ms = day * 86_400_000 + 12_345_678;
            assert_eq!(unix_ms_of_rfc3339(&rfc3339(ms)), Some(ms));
        }
    }

    #[test]
    fn what_is_not_a_time_is_refused() {
        for text in [
            "",
            "yesterday",
            "2024-01-01",
            "2024-13-01T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:00:00",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00+1:00",
            "2024-01-01T00:00:00é",
            "1969-12-31T23:59:59Z",
            "2024-01-01T00:00:00.123",
        ] {
            assert_eq!(unix_ms_of_rfc3339(text), None, "{text}");
        }
    }
}

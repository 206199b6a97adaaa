//! Which records are compared: by time, by offsets, or all that there are.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use bridge_common::config::{Start, rfc3339};
use bridge_common::source::SourceError;
use bridge_common::source::kafka::KafkaTopic;
use clap::Args;

use crate::terminal::parse_time;

/// The range, as it is asked for on the command line.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct RangeArguments {
    /// Records from this time on, by the source's time stamps: RFC 3339, or how long ago ("90s", "15m", "6h", "2d")
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) since: Option<u64>,
    /// Records before this time; all there are now where it is left out
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) until: Option<u64>,
    /// All records that the source has, from where the configuration starts
    #[arg(long, conflicts_with = "since")]
    pub(crate) since_start: bool,
    /// Offsets of one partition, PARTITION=FROM-TO, TO not included ("3=100-250", "3=100-"); may be repeated for further
    /// partitions, and leaves others out
    #[arg(long, value_name = "RANGE", value_parser = parse_offsets, conflicts_with_all = ["since", "until", "since_start"])]
    pub(crate) offsets: Vec<Offsets>,
    /// Only this partition of the source; may be repeated
    #[arg(long, value_name = "N", conflicts_with = "offsets")]
    pub(crate) partition: Vec<u32>,
}

/// Offsets of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offsets {
    pub(crate) partition: u32,
    pub(crate) from: u64,
    /// Not included; `None`: to the end.
    pub(crate) to: Option<u64>,
}

/// What is compared of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resolved {
    pub(crate) range: Range<u64>,
    /// Where the partition ends now; this offset is not there yet.
    pub(crate) end: u64,
}

/// How far back is looked where nothing is said.
const HOUR_MS: u64 = 3_600_000;

impl RangeArguments {
    /// The time from which on records are compared; `None` where offsets are.
    pub(crate) fn since_ms(&self, now_ms: u64) -> Option<u64> {
        match (self.since, self.since_start || !self.offsets.is_empty()) {
            (Some(since_ms), _) => Some(since_ms),
            (None, true) => None,
            (None, false) => Some(now_ms.saturating_sub(HOUR_MS)),
        }
    }

    /// What is compared, in words.
    pub(crate) fn words(&self, now_ms: u64) -> String {
        let until = self.until.map_or_else(|| "now".to_owned(), rfc3339);
        match self.since_ms(now_ms) {
            Some(since_ms) => format!("{} to {until}", rfc3339(since_ms)),
            None if self.since_start => format!("the beginning to {until}"),
            None => "the given offsets".to_owned(),
        }
    }

    /// The offsets of a topic's partitions that are compared; partitions that are left out are not in it. Asks the brokers,
    /// and blocks.
    ///
    /// # Errors
    /// What the brokers say, or a partition that there is not.
    pub(crate) fn resolve(
        &self,
        topic: &KafkaTopic,
        start: &Start,
        now_ms: u64,
    ) -> Result<BTreeMap<u32, Resolved>, String> {
        let named = self.partition.iter().chain(self.offsets.iter().map(|offsets| &offsets.partition));
        if let Some(partition) = named.copied().find(|partition| *partition >= topic.partitions()) {
            let topic_name = topic.partition(0).topic;
            return Err(format!(
                "{topic_name} has {} partitions, and none with the number {partition}",
                topic.partitions()
            ));
        }
        self.named_once()?;
        let mut ranges = BTreeMap::new();
        for partition in 0..topic.partitions() {
            let is_left_out = !self.partition.is_empty() && !self.partition.contains(&partition);
            let offsets = self.offsets.iter().find(|offsets| offsets.partition == partition);
            if is_left_out || !self.offsets.is_empty() && offsets.is_none() {
                continue;
            }
            let (range, end) = self.resolve_one(topic, partition, offsets, now_ms)?;
            let first = first_mirrored(topic, partition, start).map_err(|error| super::words(&error))?;
            let from = range.start.max(first);
            ranges.insert(partition, Resolved { range: from..range.end.max(from), end });
        }
        Ok(ranges)
    }

    /// A partition has one range.
    fn named_once(&self) -> Result<(), String> {
        let mut named = BTreeSet::new();
        match self.offsets.iter().find(|offsets| !named.insert(offsets.partition)) {
            None => Ok(()),
            Some(Offsets { partition, .. }) => {
                Err(format!("--offsets names partition {partition} twice: run this once for each range"))
            }
        }
    }

    fn resolve_one(
        &self,
        topic: &KafkaTopic,
        partition: u32,
        offsets: Option<&Offsets>,
        now_ms: u64,
    ) -> Result<(Range<u64>, u64), String> {
        let words = |error: SourceError| super::words(&error);
        let (low, high) = topic.watermarks(partition).map_err(words)?;
        if let Some(offsets) = offsets {
            return Ok((offsets.within(low, high)?, high));
        }
        let at = |time_ms: u64| {
            let first = topic.first_since(partition, time_ms).map_err(words)?;
            Ok::<u64, String>(first.unwrap_or(high).clamp(low, high))
        };
        let from = self.since_ms(now_ms).map_or(Ok(low), at)?;
        let to = self.until.map_or(Ok(high), at)?;
        Ok((from..to, high))
    }
}

impl Offsets {
    /// The range, where the source has all of it. Offsets that are named must be there: a part of them would pass for the whole.
    fn within(&self, low: u64, high: u64) -> Result<Range<u64>, String> {
        let Self { partition, from, to } = *self;
        let to = to.unwrap_or(high.max(from));
        if from < low {
            let gone = to.min(low) - from;
            return Err(format!(
                "partition {partition}: {gone} of these offsets are gone from the source, which begins at {low}: ask for \
                 --offsets {partition}={low}-{}",
                to.max(low)
            ));
        }
        if to > high {
            return Err(format!(
                "partition {partition} ends at {high}: --offsets {partition}={}-{high}",
                from.min(high)
            ));
        }
        Ok(from..to)
    }
}

/// The first record that a bridge of this configuration mirrors, as far as the configuration says so.
fn first_mirrored(topic: &KafkaTopic, partition: u32, start: &Start) -> Result<u64, SourceError> {
    match start {
        Start::Earliest | Start::Latest => Ok(0),
        Start::Time(time_ms) => match topic.first_since(partition, *time_ms)? {
            Some(offset) => Ok(offset),
            None => topic.watermarks(partition).map(|(_, high)| high),
        },
        Start::Offsets(offsets) => Ok(offsets.get(&partition).copied().unwrap_or(0)),
    }
}

fn parse_offsets(text: &str) -> Result<Offsets, String> {
    let parsed = || {
        let (partition, range) = text.split_once('=')?;
        let (from, to) = range.split_once('-')?;
        let to = if to.is_empty() { None } else { Some(to.parse().ok()?) };
        Some(Offsets { partition: partition.parse().ok()?, from: from.parse().ok()?, to })
    };
    let offsets = parsed().ok_or_else(|| "write PARTITION=FROM-TO, such as 3=100-250, or 3=100-".to_owned())?;
    match offsets.to {
        Some(to) if to < offsets.from => Err(format!("{to} lies before {}", offsets.from)),
        _ => Ok(offsets),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_read_and_mistakes_explained() {
        assert_eq!(parse_offsets("3=100-250"), Ok(Offsets { partition: 3, from: 100, to: Some(250) }));
        assert_eq!(parse_offsets("3=100-"), Ok(Offsets { partition: 3, from: 100, to: None }));
        assert!(parse_offsets("3=250-100").unwrap_err().contains("before"));
        assert!(parse_offsets("100-250").is_err());
    }

    #[test]
    fn offsets_that_are_named_are_there_or_nothing_is_done() {
        let offsets = |text: &str| parse_offsets(text).unwrap();
        assert_eq!(offsets("2=100-200").within(50, 300), Ok(100..200));
        assert_eq!(offsets("2=100-").within(50, 300), Ok(100..300));
        assert_eq!(offsets("2=300-").within(50, 300), Ok(300..300));
        let gone = offsets("2=20-200").within(50, 300).unwrap_err();
        assert!(gone.contains("30 of these offsets are gone") && gone.contains("--offsets 2=50-200"), "{gone}");
        let all_gone = offsets("2=20-40").within(50, 300).unwrap_err();
        assert!(all_gone.contains("20 of these offsets are gone"), "{all_gone}");
        assert!(offsets("2=100-301").within(50, 300).unwrap_err().contains("ends at 300"));
        assert!(offsets("2=301-").within(50, 300).unwrap_err().contains("ends at 300"));
        let twice = RangeArguments { offsets: vec![offsets("2=1-2"), offsets("2=5-6")], ..RangeArguments::default() };
        assert!(twice.named_once().unwrap_err().contains("partition 2 twice"));
    }

    #[test]
    fn the_last_hour_is_compared_where_nothing_is_said() {
        let arguments = RangeArguments::default();
        assert_eq!(arguments.since_ms(HOUR_MS + 5), Some(5));
        assert_eq!(RangeArguments { since_start: true, ..arguments }.since_ms(HOUR_MS), None);
    }
}

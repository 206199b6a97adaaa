//! The line that comes every minute or so: what came of the records since the last one. Pure.

use std::collections::BTreeMap;

/// Counts over all partitions, those that came and went included, since the bridge started.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures {
    /// Taken from the source.
    pub received: u64,
    /// Confirmed by the target.
    pub published: u64,
    /// Confirmed by the dead-letter topic.
    pub dead_lettered: u64,
    /// Skipped, since the target holds them.
    pub suppressed: u64,
    /// Sent by a repair.
    pub repaired: u64,
    /// How many records took at most so many seconds from the source's stamp to the receipt; by bounds that rise.
    buckets: Vec<(f64, f64)>,
}

impl Figures {
    /// Reads the text of our own metrics.
    pub fn read(metrics: &str) -> Self {
        let sum = |name: &str| samples(metrics, name).fold(0.0, |sum, (_, value)| sum + value) as u64;
        let mut counts: BTreeMap<&str, f64> = BTreeMap::new();
        for (labels, count) in samples(metrics, "stream_bridge_end_to_end_seconds_bucket") {
            if let Some((bound, _)) = labels.split_once("le=\"").and_then(|(_, rest)| rest.split_once('"')) {
                *counts.entry(bound).or_default() += count;
            }
        }
        let bound = |text: &str| if text == "+Inf" { Some(f64::INFINITY) } else { text.parse().ok() };
        let mut buckets: Vec<(f64, f64)> = counts.into_iter().filter_map(|(le, n)| Some((bound(le)?, n))).collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        Self {
            received: sum("stream_bridge_records_received_total"),
            published: sum("stream_bridge_records_published_total"),
            dead_lettered: sum("stream_bridge_records_dead_lettered_total"),
            suppressed: sum("stream_bridge_records_suppressed_total"),
            repaired: sum("stream_bridge_records_repaired_total"),
            buckets,
        }
    }

    /// What came since `earlier`, of the same bridge.
    pub fn since(&self, earlier: &Self) -> Self {
        let before =
            |bound: f64| earlier.buckets.iter().find(|(other, _)| *other == bound).map_or(0.0, |found| found.1);
        Self {
            received: self.received.saturating_sub(earlier.received),
            published: self.published.saturating_sub(earlier.published),
            dead_lettered: self.dead_lettered.saturating_sub(earlier.dead_lettered),
            suppressed: self.suppressed.saturating_sub(earlier.suppressed),
            repaired: self.repaired.saturating_sub(earlier.repaired),
            buckets: self.buckets.iter().map(|(bound, n)| (*bound, (n - before(*bound)).max(0.0))).collect(),
        }
    }

    /// The milliseconds that 99 of 100 records did not exceed, linear within a bucket. `None` without records.
    pub fn p99_ms(&self) -> Option<u64> {
        let all = self.buckets.last().map(|(_, count)| *count).filter(|all| *all > 0.0)?;
        let (wanted, mut low, mut below) = (0.99 * all, 0.0, 0.0);
        for (bound, count) in &self.buckets {
            if *count >= wanted {
                let within = (wanted - below) / (count - below).max(1.0);
                let seconds = if bound.is_infinite() { low } else { low + (bound - low) * within };
                return Some((seconds * 1000.0).round() as u64);
            }
            (low, below) = (*bound, *count);
        }
        None
    }
}

/// The samples of one metric: the text of its labels and its value.
fn samples<'m>(metrics: &'m str, name: &'m str) -> impl Iterator<Item = (&'m str, f64)> {
    metrics.lines().filter_map(move |line| {
        let rest = line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' ']))?;
        let (labels, value) = rest.rsplit_once(' ')?;
        Some((labels, value.parse().ok()?))
    })
}

/// How things stand, beside the counts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Standing {
    /// Partitions that are here.
    pub partitions: u64,
    /// Those of them that mirror.
    pub running: u64,
    /// Those that wait for a person.
    pub stopped: u64,
    /// Records that are not settled yet.
    pub lag_records: u64,
    /// Age of the oldest of them, in seconds.
    pub lag_seconds: f64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn the_figures_are_those_of_the_bridges_own_metrics() {
        let metrics = Metrics::new("demo", "1");
        let partitions = [metrics.partition("kafka", "t", 0), metrics.partition("kafka", "t", 1)];
        for partition in &partitions {
            partition.received.increment(100);
            partition.published.increment(90);
            partition.suppressed.increment(7);
            partition.dead_lettered("not_json");
            partition.confirmed(300, 90);
        }
        drop(partitions);
        let first = Figures::read(&metrics.render_all());
        assert_eq!((first.received, first.published, first.dead_lettered, first.suppressed), (200, 180, 2, 14));
        assert_eq!(first.p99_ms(), Some(498), "within the bucket from 250 to 500 ms");
        metrics.partition("kafka", "t", 0).received.increment(5);
        let since = Figures::read(&metrics.render_all()).since(&first);
        assert_eq!((since.received, since.published, since.p99_ms()), (5, 0, None));
    }

    proptest! {
        #[test]
        fn the_quantile_lies_within_the_bounds(counts in prop::collection::vec(0_u32..1000, 1..12)) {
            let mut all = 0.0;
            let mut buckets: Vec<(f64, f64)> = Vec::new();
            for (place, count) in counts.iter().enumerate() {
                all += f64::from(*count);
                buckets.push((place as f64 + 1.0, all));
            }
            buckets.push((f64::INFINITY, all));
            let figures = Figures { buckets, ..Figures::default() };
            let p99_ms = figures.p99_ms();
            prop_assert_eq!(p99_ms.is_some(), all > 0.0);
            prop_assert!(p99_ms.is_none_or(|ms| ms <= counts.len() as u64 * 1000));
        }
    }
}

//! What `/metrics` of a bridge says, as far as operators look at it. Pure.

use std::collections::BTreeMap;

/// Counters of one replica, sums over its partitions, at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Figures {
    /// Taken from the source.
    pub(crate) received: f64,
    /// Confirmed by the target.
    pub(crate) published: f64,
    /// Confirmed by the dead-letter topic.
    pub(crate) dead_lettered: f64,
    /// From the source's stamp to the receipt: how many records took at most so many seconds.
    pub(crate) end_to_end: Buckets,
}

/// Cumulative counts by upper bound, rising.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Buckets(Vec<(f64, f64)>);

impl Figures {
    /// Reads Prometheus's text.
    pub(crate) fn parse(text: &str) -> Self {
        let sum = |name: &str| samples(text, name).fold(0.0, |sum, (_, value)| sum + value);
        Self {
            received: sum("stream_bridge_records_received_total"),
            published: sum("stream_bridge_records_published_total"),
            dead_lettered: sum("stream_bridge_records_dead_lettered_total"),
            end_to_end: Buckets::parse(text, "stream_bridge_end_to_end_seconds_bucket"),
        }
    }
}

/// The samples of one metric: the text of its labels and its value.
fn samples<'m>(text: &'m str, name: &'m str) -> impl Iterator<Item = (&'m str, f64)> {
    text.lines().filter_map(move |line| {
        let rest = line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' ']))?;
        let (labels, value) = rest.rsplit_once(' ')?;
        Some((labels, value.parse().ok()?))
    })
}

impl Buckets {
    fn parse(text: &str, name: &str) -> Self {
        let mut counts: BTreeMap<String, f64> = BTreeMap::new();
        for (labels, count) in samples(text, name) {
            if let Some((bound, _)) = labels.split_once("le=\"").and_then(|(_, rest)| rest.split_once('"')) {
                *counts.entry(bound.to_owned()).or_default() += count;
            }
        }
        let bound = |text: &str| if text == "+Inf" { Some(f64::INFINITY) } else { text.parse().ok() };
        let mut buckets: Vec<(f64, f64)> = counts.iter().filter_map(|(text, n)| Some((bound(text)?, *n))).collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        Self(buckets)
    }

    /// What has come since `earlier`, of the same bridge. One that was started again counts from 0.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let before = |bound: f64| earlier.0.iter().find(|(other, _)| *other == bound).map_or(0.0, |(_, count)| *count);
        Self(self.0.iter().map(|(bound, count)| (*bound, (count - before(*bound)).max(0.0))).collect())
    }

    /// Both together.
    pub(crate) fn add(&mut self, other: &Self) {
        for (bound, count) in &other.0 {
            match self.0.iter_mut().find(|(own, _)| own == bound) {
                Some((_, own)) => *own += count,
                None => self.0.push((*bound, *count)),
            }
        }
        self.0.sort_by(|a, b| a.0.total_cmp(&b.0));
    }

    /// The time that this share of the records did not exceed, in seconds: linear within its bucket, as Prometheus computes it.
    /// `None` without records.
    pub(crate) fn quantile(&self, share: f64) -> Option<f64> {
        let all = self.0.last().map(|(_, count)| *count).filter(|all| *all > 0.0)?;
        let (mut low, mut below) = (0.0, 0.0);
        for (bound, count) in &self.0 {
            if *count >= share * all {
                let within = (share * all - below) / (count - below).max(1.0);
                return Some(if bound.is_infinite() { low } else { low + (bound - low) * within });
            }
            (low, below) = (*bound, *count);
        }
        Some(low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP x\n\
        stream_bridge_records_received_total{stream=\"s\",partition=\"0\"} 10\n\
        stream_bridge_records_received_total{stream=\"s\",partition=\"1\"} 5\n\
        stream_bridge_records_received_total_more 99\n\
        stream_bridge_end_to_end_seconds_bucket{stream=\"s\",le=\"1\"} 50\n\
        stream_bridge_end_to_end_seconds_bucket{stream=\"s\",le=\"2\"} 100\n\
        stream_bridge_end_to_end_seconds_bucket{stream=\"s\",le=\"+Inf\"} 100\n";

    #[test]
    fn figures_are_sums_over_the_partitions() {
        let figures = Figures::parse(TEXT);
        assert_eq!((figures.received, figures.published), (15.0, 0.0));
        assert_eq!(figures.end_to_end.quantile(0.75), Some(1.5));
    }

    #[test]
    fn what_has_come_since_is_judged_alone() {
        let figures = Figures::parse(TEXT);
        assert_eq!(figures.end_to_end.since(&figures.end_to_end).quantile(0.99), None);
        let mut both = figures.end_to_end.clone();
        both.add(&figures.end_to_end);
        assert_eq!(both.quantile(0.5), Some(1.0));
    }
}

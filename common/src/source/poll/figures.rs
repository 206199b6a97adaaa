//! The figures of a record, what was observed at one poll, and what two polls make of it. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use super::quantile::Buckets;

/// A figure of a record, by the portal's name for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Figure {
    /// Messages that came into the broker.
    MessagesPerSecond,
    /// Milliseconds.
    P50LatencyMs,
    /// Milliseconds.
    P95LatencyMs,
    /// Milliseconds.
    P99LatencyMs,
    /// Resident memory of the server, in units of 1048576 bytes.
    MemoryUsageMb,
    /// CPU time of the server by time passed: 100 is one core in full use.
    CpuPercentage,
    /// Open connections.
    ConnectionCount,
    /// Seconds since the server started.
    Uptime,
    /// Partitions.
    PartitionCount,
    /// Brokers.
    BrokerCount,
}

impl Figure {
    /// All of them, in the order of the enum.
    pub(super) const ALL: [Figure; 10] = [
        Figure::MessagesPerSecond,
        Figure::P50LatencyMs,
        Figure::P95LatencyMs,
        Figure::P99LatencyMs,
        Figure::MemoryUsageMb,
        Figure::CpuPercentage,
        Figure::ConnectionCount,
        Figure::Uptime,
        Figure::PartitionCount,
        Figure::BrokerCount,
    ];

    /// The latencies, with the quantile that each is.
    pub(super) const LATENCIES: [(Figure, f64); 3] =
        [(Figure::P50LatencyMs, 0.5), (Figure::P95LatencyMs, 0.95), (Figure::P99LatencyMs, 0.99)];

    /// Its name in the record.
    pub(super) fn name(self) -> &'static str {
        match self {
            Figure::MessagesPerSecond => "messagesPerSecond",
            Figure::P50LatencyMs => "p50LatencyMs",
            Figure::P95LatencyMs => "p95LatencyMs",
            Figure::P99LatencyMs => "p99LatencyMs",
            Figure::MemoryUsageMb => "memoryUsageMb",
            Figure::CpuPercentage => "cpuPercentage",
            Figure::ConnectionCount => "connectionCount",
            Figure::Uptime => "uptime",
            Figure::PartitionCount => "partitionCount",
            Figure::BrokerCount => "brokerCount",
        }
    }

    /// Whether it counts things, and so is a whole number.
    fn is_count(self) -> bool {
        matches!(self, Figure::ConnectionCount | Figure::PartitionCount | Figure::BrokerCount)
    }

    /// The figure as JSON; `None` for what no such figure can be.
    fn json(self, value: f64) -> Option<Value> {
        if !value.is_finite() || value < 0.0 {
            return None;
        }
        if !self.is_count() {
            return serde_json::Number::from_f64(value).map(Value::Number);
        }
        // Above 2^53 a double no longer counts by ones.
        (value.fract() == 0.0 && value < 9e15).then_some(Value::from(value as u64))
    }
}

/// A counter as it was observed: one value per set of labels.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Counter {
    /// By the text of the labels.
    pub(super) series: BTreeMap<String, f64>,
    /// What the rate per second is multiplied by.
    pub(super) scale: f64,
}

/// What one poll of an endpoint that answered has found. Only what is there: nothing stands for something missing.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Observation {
    /// Figures that are there as they are.
    pub(super) values: BTreeMap<Figure, f64>,
    /// Figures that are the rate of a counter.
    pub(super) counters: BTreeMap<Figure, Counter>,
    /// Latencies that are a histogram.
    pub(super) latency: Option<Buckets>,
    /// What goes into `topicStats`.
    pub(super) stats: Map<String, Value>,
}

/// The figures of one record: only those that were measured.
pub(super) type Measured = BTreeMap<Figure, Value>;

/// What a poll measured. `before` is the poll before it and the time between the two, where that poll got an answer.
///
/// Invariant: a rate comes from two successive polls of one and the same server process and set of counters, none of
/// which went back. Otherwise it is missing: what happened in between cannot be known.
pub(super) fn measure(before: Option<(&Observation, Duration)>, now: &Observation) -> Measured {
    let mut measured = Measured::new();
    let mut put = |figure: Figure, value: Option<f64>| {
        if let Some(json) = value.and_then(|value| figure.json(value)) {
            measured.insert(figure, json);
        }
    };
    for (&figure, &value) in &now.values {
        put(figure, Some(value));
    }
    let Some((before, elapsed)) = before.filter(|(before, _)| !restarted(before, now)) else { return measured };
    for (figure, counter) in &now.counters {
        put(*figure, before.counters.get(figure).and_then(|before| rate(before, counter, elapsed)));
    }
    if let (Some(before), Some(buckets)) = (&before.latency, &now.latency) {
        let between = buckets.since(before);
        for (figure, quantile) in Figure::LATENCIES {
            put(figure, between.as_ref().and_then(|between| between.quantile(quantile)));
        }
    }
    measured
}

/// Whether the server was started anew between two polls; its counters may have passed their old values by now.
fn restarted(before: &Observation, now: &Observation) -> bool {
    match (before.values.get(&Figure::Uptime), now.values.get(&Figure::Uptime)) {
        // A second of tolerance: the clock that an uptime is reckoned by may be corrected.
        (Some(before), Some(now)) => now + 1.0 < *before,
        _ => false,
    }
}

/// The rate of a counter per second, over all its series. `None` when a series is new, gone, or went back.
fn rate(before: &Counter, now: &Counter, elapsed: Duration) -> Option<f64> {
    let same = now.series.len() == before.series.len() && !now.series.is_empty();
    if !same || elapsed < Duration::from_millis(1) {
        return None;
    }
    let mut more = 0.0;
    for (labels, value) in &now.series {
        let more_here = value - before.series.get(labels)?;
        if more_here.is_nan() || more_here < 0.0 {
            return None;
        }
        more += more_here;
    }
    Some(more / elapsed.as_secs_f64() * now.scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Duration = Duration::from_secs(10);

    fn counted(series: &[(&str, f64)]) -> Observation {
        let series = series.iter().map(|(labels, value)| ((*labels).to_owned(), *value)).collect();
        let counter = Counter { series, scale: 1.0 };
        Observation { counters: BTreeMap::from([(Figure::MessagesPerSecond, counter)]), ..Observation::default() }
    }

    fn rate_of(before: &Observation, now: &Observation) -> Option<f64> {
        measure(Some((before, TEN)), now).get(&Figure::MessagesPerSecond).and_then(Value::as_f64)
    }

    #[test]
    fn a_rate_needs_two_polls_of_the_same_counters() {
        let first = counted(&[("a", 100.0), ("b", 5.0)]);
        assert!(measure(None, &first).is_empty(), "missing at the first poll");
        assert_eq!(rate_of(&first, &counted(&[("a", 150.0), ("b", 5.0)])), Some(5.0));
        assert_eq!(rate_of(&first, &first), Some(0.0), "nothing came, and that was measured");
        assert_eq!(rate_of(&first, &counted(&[("a", 3.0), ("b", 500.0)])), None, "one of them was reset");
        assert_eq!(rate_of(&first, &counted(&[("a", 150.0)])), None, "one is gone");
        assert_eq!(rate_of(&first, &counted(&[("a", 150.0), ("c", 5.0)])), None, "one is another");
        assert_eq!(rate_of(&first, &counted(&[("a", f64::NAN), ("b", 5.0)])), None);
        assert_eq!(rate_of(&counted(&[]), &counted(&[])), None, "no counter at all");
    }

    #[test]
    fn a_restart_is_seen_by_the_uptime_where_the_counters_hide_it() {
        let mut before = counted(&[("a", 100.0)]);
        let mut now = counted(&[("a", 200.0)]);
        before.values.insert(Figure::Uptime, 500.0);
        now.values.insert(Figure::Uptime, 510.0);
        assert_eq!(rate_of(&before, &now), Some(10.0));
        now.values.insert(Figure::Uptime, 4.0);
        assert_eq!(rate_of(&before, &now), None);
    }

    #[test]
    fn what_no_such_figure_can_be_is_missing() {
        let of = |figure, value| {
            let now = Observation { values: BTreeMap::from([(figure, value)]), ..Observation::default() };
            measure(None, &now).remove(&figure)
        };
        assert_eq!(of(Figure::ConnectionCount, 3.0), Some(Value::from(3)));
        assert_eq!(of(Figure::MemoryUsageMb, 0.5), Some(Value::from(0.5)));
        for value in [f64::NAN, f64::INFINITY, -1.0] {
            assert_eq!(of(Figure::MemoryUsageMb, value), None);
        }
        assert_eq!(of(Figure::ConnectionCount, 2.5), None);
    }
}

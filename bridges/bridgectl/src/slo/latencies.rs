//! How long things took, as a distribution in bounded memory: milliseconds, exact below a thousand or so, then to 0.2%. Pure.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Values keep so many leading bits.
const BITS: u32 = 10;

/// A distribution of times.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Latencies {
    /// By the value, rounded down: at most some ten thousand of them.
    counts: BTreeMap<u64, u64>,
    count: u64,
    sum_ms: u64,
    max_ms: u64,
    /// Times that were negative, since clocks disagree: counted as 0.
    skewed: u64,
}

impl Latencies {
    /// What lay between two moments, in milliseconds since the epoch.
    pub(super) fn add(&mut self, from_ms: u64, to_ms: u64) {
        let ms = to_ms.saturating_sub(from_ms);
        *self.counts.entry(rounded(ms)).or_default() += 1;
        self.count += 1;
        self.sum_ms = self.sum_ms.saturating_add(ms);
        self.max_ms = self.max_ms.max(ms);
        self.skewed += u64::from(to_ms < from_ms);
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The time that this share of them did not exceed; `None` of none.
    pub(super) fn quantile(&self, share: f64) -> Option<u64> {
        let wanted = ((self.count as f64 * share).ceil() as u64).clamp(1, self.count.max(1));
        let mut below = 0;
        self.counts.iter().find_map(|(ms, count)| {
            below += count;
            (below >= wanted).then_some(*ms)
        })
    }

    /// A format that others read: fields are only added.
    pub(super) fn to_json(&self) -> Value {
        let mean = (self.count > 0).then(|| self.sum_ms as f64 / self.count as f64);
        json!({
            "count": self.count, "mean": mean, "p50": self.quantile(0.5), "p95": self.quantile(0.95),
            "p99": self.quantile(0.99), "max": (self.count > 0).then_some(self.max_ms), "skewed": self.skewed,
        })
    }
}

fn rounded(ms: u64) -> u64 {
    let beyond = (u64::BITS - ms.leading_zeros()).saturating_sub(BITS);
    ms >> beyond << beyond
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_values() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.quantile(0.5), None);
        (1..=100).for_each(|ms| latencies.add(1000, 1000 + ms));
        assert_eq!([0.0, 0.5, 0.99, 1.0].map(|share| latencies.quantile(share)), [1, 50, 99, 100].map(Some));
        assert_eq!((&latencies.to_json()["mean"], &latencies.to_json()["max"]), (&json!(50.5), &json!(100)));
    }

    #[test]
    fn memory_is_bounded_and_values_are_near() {
        let mut latencies = Latencies::default();
        let values = (0..200_000u64).map(|n| n * n * 97);
        values.clone().for_each(|ms| latencies.add(0, ms));
        assert!(latencies.counts.len() < 15_000, "{}", latencies.counts.len());
        for ms in values {
            assert!(rounded(ms) <= ms && (ms - rounded(ms)) as f64 <= ms as f64 * 0.002, "{ms}");
        }
    }

    #[test]
    fn clocks_that_disagree_are_said() {
        let mut latencies = Latencies::default();
        latencies.add(5, 3);
        assert_eq!((latencies.quantile(1.0), &latencies.to_json()["skewed"]), (Some(0), &json!(1)));
    }
}

//! Histograms of fixed buckets, counted where they are recorded.
//!
//! The exporter's own keep every single sample, with a time of its own, until the next scrape: at a million records a
//! second that is 24 MB and a twentieth of the CPU. Here a batch of any size is two additions.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use metrics::{Histogram, HistogramFn};

use super::names::{Kind, Metric};

/// One series: how many samples were in each bucket, and their sum.
struct Series {
    bounds: &'static [f64],
    /// One for each bound, and one for what is above all.
    counts: Vec<AtomicU64>,
    /// The bits of an `f64`.
    sum: AtomicU64,
}

impl Series {
    fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0f64.to_bits()) }
    }
}

impl HistogramFn for Series {
    fn record(&self, value: f64) {
        self.record_many(value, 1);
    }

    fn record_many(&self, value: f64, count: usize) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket].fetch_add(count as u64, Ordering::Relaxed);
        let more = |bits| Some((f64::from_bits(bits) + value * count as f64).to_bits());
        let _ = self.sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }
}

/// All histograms of a bridge: by the metric's name, then by the labels as they are rendered.
#[derive(Default)]
pub(super) struct Histograms {
    all: Mutex<BTreeMap<&'static str, BTreeMap<String, Arc<Series>>>>,
}

impl Histograms {
    /// The handle of one series, new or the one that is there. `labels`: `name="value",...`.
    ///
    /// # Panics
    /// For a metric of another kind.
    pub(super) fn handle(&self, metric: Metric, labels: String) -> Histogram {
        let Kind::Histogram(buckets) = metric.kind else { panic!("{} is no histogram", metric.name) };
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let series = all.entry(metric.name).or_default().entry(labels);
        Histogram::from_arc(Arc::clone(series.or_insert_with(|| Arc::new(Series::new(buckets.bounds())))))
    }

    /// Appends the text for Prometheus: buckets count all that is at or below their bound.
    pub(super) fn render(&self, metrics: &[Metric], text: &mut String) {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        for metric in metrics {
            let Some(by_labels) = all.get(metric.name) else { continue };
            let (name, help) = (metric.name, metric.help);
            // Writing to a String does not fail.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} histogram");
            for (labels, series) in by_labels {
                let mut below = 0;
                for (place, count) in series.counts.iter().enumerate() {
                    below += count.load(Ordering::Relaxed);
                    let bound = series.bounds.get(place).map_or("+Inf".to_owned(), f64::to_string);
                    let _ = writeln!(text, "{name}_bucket{{{labels},le=\"{bound}\"}} {below}");
                }
                let sum = f64::from_bits(series.sum.load(Ordering::Relaxed));
                let _ = writeln!(text, "{name}_sum{{{labels}}} {sum}\n{name}_count{{{labels}}} {below}");
            }
            text.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::END_TO_END_SECONDS;

    #[test]
    fn many_samples_of_one_value_are_counted_at_once_and_buckets_hold_all_below_them() {
        let histograms = Histograms::default();
        let handle = histograms.handle(END_TO_END_SECONDS, "stream=\"s\"".to_owned());
        handle.record_many(0.25, 1_000_000);
        handle.record(0.251);
        handle.record(1e9);
        // The same series, by another handle.
        histograms.handle(END_TO_END_SECONDS, "stream=\"s\"".to_owned()).record(0.0);
        let mut text = String::new();
        histograms.render(&[END_TO_END_SECONDS], &mut text);
        let line = |series: &str| text.lines().find_map(|line| line.strip_prefix(series)).map(str::trim);
        let name = "stream_bridge_end_to_end_seconds";
        assert_eq!(line(&format!("{name}_bucket{{stream=\"s\",le=\"0.125\"}}")), Some("1"), "{text}");
        assert_eq!(
            line(&format!("{name}_bucket{{stream=\"s\",le=\"0.25\"}}")),
            Some("1000001"),
            "a bound is in its bucket"
        );
        assert_eq!(line(&format!("{name}_bucket{{stream=\"s\",le=\"0.5\"}}")), Some("1000002"));
        assert_eq!(line(&format!("{name}_bucket{{stream=\"s\",le=\"86400\"}}")), Some("1000002"));
        assert_eq!(line(&format!("{name}_bucket{{stream=\"s\",le=\"+Inf\"}}")), Some("1000003"));
        assert_eq!(line(&format!("{name}_count{{stream=\"s\"}}")), Some("1000003"));
        assert_eq!(line(&format!("{name}_sum{{stream=\"s\"}}")), Some("1000250000.251"));
    }
}

//! The handles of one source partition.

use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};

use super::*;
use crate::lane::StopCause;
use crate::status::PartitionState;

/// The handles of one source partition, looked up once. Its series vanish from `/metrics` when the last clone is
/// dropped: a partition that was revoked is another instance's to report. When it comes back, counters go on.
#[derive(Clone)]
pub struct PartitionMetrics {
    /// [`RECEIVED`]
    pub received: Counter,
    /// [`RECEIVED_BYTES`]
    pub received_bytes: Counter,
    /// [`PUBLISHED`]
    pub published: Counter,
    /// [`PUBLISHED_BYTES`]
    pub published_bytes: Counter,
    /// [`SUPPRESSED`]
    pub suppressed: Counter,
    /// [`TWINS`]
    pub twins: Counter,
    /// [`REPAIRED`]
    pub repaired: Counter,
    /// [`GAP_OFFSETS`]
    pub gap_offsets: Counter,
    /// [`REOPENED`]
    pub reopened: Counter,
    /// [`LAG_RECORDS`]
    pub lag_records: Gauge,
    /// [`LAG_SECONDS`]
    pub lag_seconds: Gauge,
    /// [`IN_FLIGHT_BYTES`]
    pub in_flight_bytes: Gauge,
    /// [`POSITION`]
    pub position: Gauge,
    /// [`SOURCE_END`]
    pub source_end: Gauge,
    /// [`LAST_RECEIPT`]
    pub last_receipt: Gauge,
    end_to_end: Histogram,
    publish: Histogram,
    states: [(PartitionState, Gauge); PartitionState::ALL.len()],
    causes: [(StopCause, Gauge); StopCause::ALL.len()],
    shown: Arc<Shown>,
}

/// Keeps the series of a partition visible.
struct Shown {
    metrics: Metrics,
    labels: [(&'static str, String); 3],
    rendered: String,
}

impl PartitionMetrics {
    pub(super) fn new(metrics: &Metrics, source: &str, topic: &str, partition: u32) -> Self {
        let labels = [("source", source.to_owned()), ("topic", topic.to_owned()), ("partition", partition.to_string())];
        let borrowed: Vec<(&'static str, &str)> = labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let counter = |metric| metrics.counter(metric, &borrowed);
        let gauge = |metric| metrics.gauge(metric, &borrowed);
        let state = |state: PartitionState| {
            let with_state: Vec<_> = borrowed.iter().copied().chain([("state", state.name())]).collect();
            (state, metrics.gauge(PARTITION_STATE, &with_state))
        };
        let cause = |cause: StopCause| {
            let with_cause: Vec<_> = borrowed.iter().copied().chain([("cause", cause.name())]).collect();
            (cause, metrics.gauge(STOP_CAUSE, &with_cause))
        };
        let rendered = format!("source=\"{source}\",topic=\"{topic}\",partition=\"{partition}\"");
        *metrics.lock().partitions.entry(rendered.clone()).or_default() += 1;
        Self {
            received: counter(RECEIVED),
            received_bytes: counter(RECEIVED_BYTES),
            published: counter(PUBLISHED),
            published_bytes: counter(PUBLISHED_BYTES),
            suppressed: counter(SUPPRESSED),
            twins: counter(TWINS),
            repaired: counter(REPAIRED),
            gap_offsets: counter(GAP_OFFSETS),
            reopened: counter(REOPENED),
            lag_records: gauge(LAG_RECORDS),
            lag_seconds: gauge(LAG_SECONDS),
            in_flight_bytes: gauge(IN_FLIGHT_BYTES),
            position: gauge(POSITION),
            source_end: gauge(SOURCE_END),
            last_receipt: gauge(LAST_RECEIPT),
            end_to_end: metrics.histogram(END_TO_END_SECONDS, &borrowed),
            publish: metrics.histogram(PUBLISH_SECONDS, &borrowed),
            states: PartitionState::ALL.map(state),
            causes: StopCause::ALL.map(cause),
            shown: Arc::new(Shown { metrics: metrics.clone(), labels, rendered }),
        }
    }

    /// A batch got its receipt `elapsed` after it was sent. Once per batch.
    pub fn batch_published(&self, elapsed: Duration) {
        self.publish.record(elapsed.as_secs_f64());
    }

    /// `records` records of about the same source stamp got their receipt `since_stamp_ms` after it. Call it once per
    /// batch, with its oldest record: a call per record costs more than the record's translation. A stamp in the future
    /// (clocks differ) counts as 0.
    pub fn confirmed(&self, since_stamp_ms: i64, records: usize) {
        let seconds = Duration::from_millis(u64::try_from(since_stamp_ms).unwrap_or(0)).as_secs_f64();
        self.end_to_end.record_many(seconds, records);
    }

    /// A dead letter was confirmed. `reason` is one of the reasons that the dead-letter envelope knows.
    pub fn dead_lettered(&self, reason: &'static str) {
        let labels = self.shown.labels.iter().map(|(name, value)| (*name, value.as_str()));
        let labels: Vec<_> = labels.chain([("reason", reason)]).collect();
        self.shown.metrics.counter(DEAD_LETTERED, &labels).increment(1);
    }

    /// The partition is now in this state.
    pub fn state(&self, now: PartitionState) {
        for (state, gauge) in &self.states {
            gauge.set(if *state == now { 1.0 } else { 0.0 });
        }
    }

    /// What the partition is stopped by; `None` while it is not.
    pub fn stopped_by(&self, now: Option<StopCause>) {
        for (cause, gauge) in &self.causes {
            gauge.set(if Some(*cause) == now { 1.0 } else { 0.0 });
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some(living) = self.metrics.lock().partitions.get_mut(&self.rendered) {
            *living = living.saturating_sub(1);
        }
    }
}

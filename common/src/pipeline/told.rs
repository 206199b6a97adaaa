//! What a partition tells those who watch: its line on the status board, and its metrics.

use std::time::{Duration, Instant};

use super::Shared;
use super::batch::Sent;
use super::batches::{Batches, Counts};
use super::flow::now_ms;
use crate::dead_letter::Reason;
use crate::lane::{Partition, PhaseName, Stop, StopCause};
use crate::logging::events;
use crate::logging::trace_context::trace_id;
use crate::metrics::{Metrics, PartitionMetrics};
use crate::record::{Offset, Record, SourcePartition};
use crate::status::{LaneStatus, PartitionHandle, PartitionState, Totals};

/// How often a partition tells how things are.
const REPORT: Duration = Duration::from_millis(500);

/// Transactions that are open for less are told to nobody.
const HELD: Duration = Duration::from_secs(5);

/// What one partition tells.
pub(super) struct Told {
    all: Metrics,
    metrics: PartitionMetrics,
    handle: PartitionHandle,
    totals: Totals,
    /// Why it is in its state, or what went wrong last.
    pub(super) reason: Option<String>,
    /// The reason is one that the source's client deals with.
    is_transient: bool,
    held_since: Option<Instant>,
    /// What the source's last failure is, in case it stops the partition, and what has stopped it.
    source_cause: StopCause,
    stop_cause: StopCause,
    /// Since when something is wrong, as the log was told.
    troubled_since: Option<Instant>,
    source_name: String,
    source: SourcePartition,
    producer_name: String,
    reported: Instant,
}

impl Told {
    pub(super) fn new(shared: &Shared, source_name: &str, source: &SourcePartition, producer_name: &str) -> Self {
        let SourcePartition { topic, partition, .. } = source;
        Self {
            all: shared.metrics.clone(),
            metrics: shared.metrics.partition(source_name, topic, *partition),
            handle: shared.board.partition(source_name, topic, *partition, Instant::now()),
            totals: Totals::default(),
            reason: None,
            is_transient: false,
            held_since: None,
            source_cause: StopCause::Source,
            stop_cause: StopCause::Source,
            troubled_since: None,
            source_name: source_name.to_owned(),
            source: source.clone(),
            producer_name: producer_name.to_owned(),
            reported: Instant::now(),
        }
    }

    /// The partition could take records, but some of those that share its keys (`dedupe.key`) were not read back yet: so
    /// many of so many were.
    pub(super) fn gate(&mut self, shut: Option<(usize, usize)>) {
        const WAITS: &str = "nothing is taken before every partition of every source is open here (dedupe.key)";
        let waits = self.reason.as_ref().is_some_and(|reason| reason.starts_with(WAITS));
        match shut {
            Some((opened, wanted)) if waits || self.reason.is_none() => {
                self.reason = Some(format!("{WAITS}: {opened} of {wanted} are"));
            }
            None if waits => self.reason = None,
            _ => {}
        }
    }

    /// What the source's client deals with by itself is shown until records come again.
    pub(super) fn transient(&mut self, error: Option<String>, comes: bool) {
        if error.is_some() {
            (self.reason, self.is_transient) = (error, true);
        } else if comes && std::mem::take(&mut self.is_transient) {
            self.reason = None;
        }
    }

    /// So many offsets cannot be read, since a transaction of a publisher is open: shown once it has lasted.
    pub(super) fn held_back(&mut self, offsets: u64) {
        const WAITS: &str = "waits for the end of an open transaction";
        let waits = self.reason.as_ref().is_some_and(|reason| reason.starts_with(WAITS));
        match (offsets, self.held_since) {
            (0, _) => {
                self.held_since = None;
                if waits {
                    self.reason = None;
                }
            }
            (_, None) => self.held_since = Some(Instant::now()),
            (_, Some(since)) if since.elapsed() >= HELD && (waits || self.reason.is_none()) => {
                let seconds = since.elapsed().as_secs();
                self.reason = Some(format!(
                    "{WAITS} of a publisher since {seconds} s: it and what came after, {offsets} offsets, cannot be read yet"
                ));
            }
            _ => {}
        }
    }

    /// The source has failed in this way.
    pub(super) fn source_says(&mut self, cause: StopCause) {
        self.source_cause = cause;
    }

    /// The partition is stopped.
    pub(super) fn stopped(&mut self, stop: &Stop) {
        self.troubled(stop.to_string());
        self.stop_cause = match stop.cause() {
            StopCause::Source => self.source_cause,
            other => other,
        };
    }

    /// Something is wrong, and the log was told: it will hear when that is over.
    pub(super) fn troubled(&mut self, reason: String) {
        self.reason = Some(reason);
        self.troubled_since.get_or_insert_with(Instant::now);
    }

    /// The partition mirrors again after something was wrong, if something was.
    fn recovered(&mut self, position: Option<Offset>) {
        let Some(since) = self.troubled_since.take() else { return };
        let SourcePartition { topic, partition, .. } = &self.source;
        let (event, source) = (events::PARTITION_RECOVERED, &self.source_name);
        let after_seconds = (since.elapsed().as_secs_f64() * 10.0).round() / 10.0;
        tracing::info!(event, source, topic, partition, position, after_seconds, "it mirrors again");
    }

    /// The partition is being opened again.
    pub(super) fn reopened(&self) {
        self.metrics.reopened.increment(1);
    }

    /// The source has no more what lay from here to there, and goes on without; `lost` of these offsets are not in the target.
    pub(super) fn passed_over(&mut self, from: Offset, oldest: Offset, lost: u64) {
        self.totals.gap_offsets += lost;
        self.metrics.gap_offsets.increment(lost);
        self.reason = Some(format!("passed over offsets {from} to {}, which were gone from the source", oldest - 1));
    }

    /// Records were taken from the source.
    pub(super) fn count(&mut self, counts: Counts) {
        let Counts { received, received_bytes, suppressed, twins } = counts;
        self.totals.received += received;
        self.totals.suppressed += suppressed;
        self.metrics.received.increment(received);
        self.metrics.received_bytes.increment(received_bytes);
        self.metrics.suppressed.increment(suppressed);
        self.metrics.twins.increment(twins);
    }

    /// A batch is stored.
    pub(super) fn confirm(&mut self, sent: &Sent) {
        let now_ms = now_ms();
        self.handle.receipt(Instant::now(), now_ms);
        self.metrics.last_receipt.set(now_ms as f64 / 1000.0);
        self.metrics.batch_published(sent.at.elapsed());
        self.metrics.published_bytes.increment(sent.bytes as u64);
        let records = u64::from(sent.records);
        if sent.causes.is_empty() {
            self.totals.published += records;
            self.metrics.published.increment(records);
        } else {
            self.totals.dead_lettered += records;
            sent.causes.iter().for_each(|cause| self.metrics.dead_lettered(cause));
        }
        if sent.is_repair {
            self.totals.repaired += records;
            self.metrics.repaired.increment(records);
        }
        if let Some(stamp_ms) = sent.oldest_stamp_ms {
            let since_ms = i64::try_from(now_ms).unwrap_or(i64::MAX) - i64::try_from(stamp_ms).unwrap_or(i64::MAX);
            self.metrics.confirmed(since_ms, sent.records as usize);
        }
    }

    /// Whether it is time for the next report.
    pub(super) fn is_due(&self) -> bool {
        self.reported.elapsed() >= REPORT
    }

    /// Tells how things are.
    pub(super) fn report(&mut self, core: &Partition, source_end: Option<Offset>, batches: &mut Batches) {
        self.reported = Instant::now();
        if batches.drift.records() > 0 || !batches.drift.is_empty() {
            let drift = std::mem::take(&mut batches.drift);
            for (field, offset) in self.handle.checked(&drift, now_ms()) {
                let SourcePartition { topic, partition, .. } = &self.source;
                let (event, source) = (events::CONTRACT_DRIFT, &self.source_name);
                tracing::warn!(
                    event,
                    source,
                    topic,
                    partition,
                    offset,
                    field,
                    "a field that the contract lacks came first"
                );
            }
            drift.counts().for_each(|(field, times)| self.all.drifted(field, times));
            if drift.other() > 0 {
                self.all.drifted("other", drift.other());
            }
        }
        let state = state(core.phase_name());
        let position = core.position();
        if state == PartitionState::Running && self.reason.is_none() {
            self.recovered(position);
        }
        let lag_records = position.zip(source_end).map(|(position, end)| end.saturating_sub(position));
        let stamp_ms = batches.oldest_stamp_ms().or(batches.newest_stamp_ms);
        let lag_seconds = match lag_records {
            Some(0) => Some(0.0),
            Some(_) => stamp_ms.map(|stamp_ms| now_ms().saturating_sub(stamp_ms) as f64 / 1000.0),
            None => None,
        };
        let lanes: Vec<LaneStatus> = core.lanes().into_iter().map(lane).collect();
        self.handle.update(Instant::now(), |status| {
            status.state = state;
            status.reason.clone_from(&self.reason);
            status.producer_name.clone_from(&self.producer_name);
            status.position = position;
            status.source_end = source_end.or(status.source_end);
            status.lag_records = lag_records.or(status.lag_records);
            status.lag_seconds = lag_seconds.or(status.lag_seconds);
            status.totals = self.totals;
            status.lanes = lanes;
        });
        self.metrics.state(state);
        self.metrics.stopped_by((state == PartitionState::Stopped).then_some(self.stop_cause));
        self.metrics.in_flight_bytes.set(core.in_flight_bytes() as f64);
        position.inspect(|position| self.metrics.position.set(*position as f64));
        source_end.inspect(|end| self.metrics.source_end.set(*end as f64));
        lag_records.inspect(|lag| self.metrics.lag_records.set(*lag as f64));
        lag_seconds.inspect(|lag| self.metrics.lag_seconds.set(*lag));
    }
}

fn state(phase: PhaseName) -> PartitionState {
    match phase {
        PhaseName::WaitingForName => PartitionState::WaitingForName,
        PhaseName::Opening => PartitionState::Opening,
        PhaseName::Running => PartitionState::Running,
        PhaseName::Draining => PartitionState::Draining,
        PhaseName::Closed => PartitionState::Paused,
        PhaseName::Stopped => PartitionState::Stopped,
    }
}

fn lane((target, last_sequence_id, batches, bytes): (String, Option<Offset>, usize, usize)) -> LaneStatus {
    LaneStatus {
        target,
        last_sequence_id,
        batches_in_flight: u32::try_from(batches).unwrap_or(u32::MAX),
        bytes_in_flight: bytes as u64,
    }
}

/// A record cannot be translated or published. Said when that is decided: what is read again is said again.
pub(super) fn unfit(source: &SourcePartition, record: &Record<'_>, reason: Reason<'_>) {
    let (cause, trace_id) = (reason.cause(), trace_id(record.headers));
    let (field, detail) = match reason {
        Reason::Untranslatable(error) => {
            (Some(error.path.as_str()).filter(|path| !path.is_empty()), error.detail.to_string())
        }
        Reason::TooLarge { limit_bytes } => (None, format!("it does not fit into a message of {limit_bytes} bytes")),
    };
    let SourcePartition { topic, partition, .. } = source;
    let (event, offset) = (events::DEAD_LETTER, record.offset);
    tracing::warn!(event, topic, partition, offset, cause, field, trace_id, "a record becomes a dead letter: {detail}");
}

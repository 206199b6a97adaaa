//! The flow of one assigned partition.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka::consumer::{CommitMode, Consumer};

use super::bulk::{Buffer, Popped, Queue};
use super::context::Held;
use super::control::Control;
use super::faults;
use super::group::run_blocking;
use crate::logging::events;
use crate::record::{Header, Offset, Record, SourcePartition};
use crate::source::{SourceError, Stamp, Start, Taken};

/// How long ago something was taken when the brokers are asked where the partition ends: fetches tell otherwise.
const END_AGE: Duration = Duration::from_secs(5);

/// Reads one assigned partition. Dropping it gives the partition up.
pub struct PartitionReader {
    partition: SourcePartition,
    control: Arc<Control>,
    /// The next offset to be consumed; `None` while not started.
    position: Option<Offset>,
    /// The queue may hold something of which no wake-up will tell.
    more: bool,
    /// Where the brokers said last that nothing more can be read.
    end: Option<Offset>,
    /// An error found behind records that were still to be counted: the next take gives it.
    fault: Option<SourceError>,
    skipped: u64,
    /// When the end was last told by a fetch, or asked for.
    end_told: Instant,
    buffer: Buffer,
    headers: Vec<Header<'static>>,
    _held: Held,
}

impl fmt::Debug for PartitionReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PartitionReader({} at {:?})", self.partition, self.position)
    }
}

impl PartitionReader {
    pub(super) fn new(partition: SourcePartition, queue: Arc<Queue>, held: Held, timeout: Duration) -> Self {
        let control = Control::new(partition.clone(), queue, timeout);
        PartitionReader {
            partition,
            control: Arc::new(control),
            position: None,
            more: false,
            end: None,
            fault: None,
            skipped: 0,
            end_told: Instant::now(),
            buffer: Buffer::default(),
            headers: Vec::new(),
            _held: held,
        }
    }

    /// Which partition this is.
    pub fn partition(&self) -> &SourcePartition {
        &self.partition
    }

    /// Turns a start into an offset. For partitions without a checkpoint only.
    ///
    /// # Errors
    /// [`SourceError::Unavailable`] while the brokers do not answer.
    pub async fn resolve(&mut self, start: Start) -> Result<Offset, SourceError> {
        let control = Arc::clone(&self.control);
        run_blocking(move || control.ask().resolve(start)).await
    }

    /// The group's committed offset, if it has one. Nothing starts from it; it tells that there was a checkpoint.
    ///
    /// # Errors
    /// [`SourceError::Unavailable`] while the brokers do not answer.
    pub async fn committed(&mut self) -> Result<Option<Offset>, SourceError> {
        let control = Arc::clone(&self.control);
        run_blocking(move || control.ask().committed()).await
    }

    /// The oldest offset of the partition and its end, as the brokers have them now.
    ///
    /// # Errors
    /// [`SourceError::Unavailable`] while the brokers do not answer.
    pub async fn watermarks(&mut self) -> Result<(Offset, Offset), SourceError> {
        let control = Arc::clone(&self.control);
        run_blocking(move || control.ask().watermarks()).await
    }

    /// Starts reading at `offset`, or starts again there: what was fetched before is never shown after.
    ///
    /// # Errors
    /// [`SourceError::Gap`] and [`SourceError::WentBack`] when `offset` is not in the partition,
    /// [`SourceError::Revoked`], [`SourceError::Unavailable`]. The reader is stopped then; call again.
    pub async fn start_at(&mut self, offset: Offset) -> Result<(), SourceError> {
        (self.position, self.end, self.fault) = (None, None, None);
        self.control.end.store(0, Ordering::Relaxed);
        let control = Arc::clone(&self.control);
        let ticket = control.ticket();
        run_blocking(move || control.start(ticket, offset)).await?;
        self.position = Some(offset);
        self.more = true;
        Ok(())
    }

    /// Stops reading and fetching; [`PartitionReader::position`] stays. [`PartitionReader::start_at`] goes on.
    /// What was fetched and not yet taken is thrown away, and read again then.
    ///
    /// # Errors
    /// [`SourceError::Revoked`], [`SourceError::Unavailable`].
    pub async fn stop(&mut self) -> Result<(), SourceError> {
        let control = Arc::clone(&self.control);
        let ticket = control.ticket();
        run_blocking(move || control.while_ours(ticket, |control, _| control.pause())).await
    }

    /// Waits until there may be something to take: records, the end of the partition, an error, or the revoke.
    /// May be dropped and called again at any time.
    pub async fn ready(&mut self) {
        if !self.more && self.fault.is_none() {
            self.control.queue.wake().notified().await;
        }
    }

    /// Shows up to `max` records to `visit`, without waiting.
    /// Invariant: their offsets are at or above the start and strictly rise.
    ///
    /// # Errors
    /// What stops this partition: [`SourceError::OutOfRange`], [`SourceError::Truncated`], [`SourceError::Revoked`],
    /// [`SourceError::NotStarted`], [`SourceError::UnknownTopic`], [`SourceError::Denied`]. No record has been shown by
    /// a call that fails.
    pub fn take(&mut self, max: usize, visit: &mut dyn FnMut(Record<'_>)) -> Result<Taken, SourceError> {
        if let Some(fault) = self.fault.take() {
            self.position = None;
            return Err(fault);
        }
        let Some(start) = self.position else {
            // Stops `ready` from spinning; the wake-up of a later start is not lost, since a start sets `more`.
            self.more = false;
            return Err(SourceError::NotStarted { partition: self.partition.clone() });
        };
        let Some(batch) = self.control.queue.pop(max, &mut self.buffer) else {
            self.more = true;
            return Err(SourceError::Revoked { partition: self.partition.clone() });
        };
        let mut taken = Taken { drained: batch.len() < max, ..Taken::default() };
        self.more = !taken.drained;
        let mut next = start;
        let (fault, partition) = (&mut self.fault, &self.partition);
        let (skipped, position) = (&mut self.skipped, &mut self.position);
        let (mut shown, mut end) = (None, self.end);
        batch.each(&mut self.headers, |popped| {
            match popped {
                // After a rebalance some of the batch that was in hand comes again.
                Popped::Record(record, _) if record.offset < next => *skipped += 1,
                Popped::Record(record, epoch) => {
                    next = record.offset + 1;
                    taken.records += 1;
                    taken.leader_epoch = epoch.or(taken.leader_epoch);
                    shown = epoch.map(|epoch| (next, epoch));
                    visit(record);
                    // Not before the visitor has it: a visitor that panics has not consumed the record.
                    *position = Some(next);
                }
                Popped::End { offset } => {
                    next = next.max(u64::try_from(offset).unwrap_or(0));
                    *position = Some(next);
                    end = *position;
                }
                Popped::Fault { code, reason } => match faults::of_partition(partition, next, code, reason) {
                    error @ SourceError::Unavailable { .. } => taken.transient = Some(error),
                    error => {
                        *fault = Some(error);
                        return ControlFlow::Break(());
                    }
                },
            }
            ControlFlow::Continue(())
        });
        self.end = end;
        let mut state = self.control.queue.state();
        state.position = self.position;
        state.shown = shown.or(state.shown);
        drop(state);
        if taken.records > 0 {
            self.end_told = Instant::now();
        }
        debug_assert!(self.position >= Some(start), "a position never goes back but by a start");
        match self.fault.take() {
            Some(fault) if taken.records == 0 => {
                self.position = None;
                Err(fault)
            }
            later => {
                self.fault = later;
                Ok(taken)
            }
        }
    }

    /// The next offset to be consumed: everything below it has been shown, or is no record. `None` before the start and
    /// after an error.
    pub fn position(&self) -> Option<Offset> {
        self.position
    }

    /// The end of the partition as of the last fetch, or of the last answer to [`PartitionReader::look_at_end`], as far as it
    /// can be read: what lies behind the beginning of an open transaction cannot ([`PartitionReader::held_back`]). Asks nobody.
    pub fn high_watermark(&self) -> Option<Offset> {
        let fetched = self.control.queue.cached_high_watermark().map(|end| self.last_stable(end).unwrap_or(end));
        // The brokers name the end that can be read.
        fetched.max(Some(self.control.end.load(Ordering::Relaxed)).filter(|end| *end > 0))
    }

    /// How many offsets at the end cannot be read, since a transaction is open.
    pub fn held_back(&self) -> u64 {
        let end = self.control.queue.cached_high_watermark();
        end.and_then(|end| Some(end - self.last_stable(end)?)).unwrap_or(0)
    }

    /// Where an open transaction begins: the brokers gave everything before, called it the end, and have more.
    fn last_stable(&self, end: Offset) -> Option<Offset> {
        let position = self.position.filter(|position| self.end == Some(*position) && *position < end)?;
        self.control.queue.is_empty().then_some(position)
    }

    /// Asks the brokers where the partition ends, without waiting for the answer, where nothing was taken for a while:
    /// librdkafka fetches nothing while its queue is full or the partition paused, and a lag would stand still.
    pub fn look_at_end(&mut self) {
        if self.end_told.elapsed() < END_AGE.max(self.control.timeout) {
            return;
        }
        self.end_told = Instant::now();
        let control = Arc::clone(&self.control);
        tokio::spawn(run_blocking(move || {
            // Without an answer what is known stays; the next question comes in its time.
            let (_, end) = control.ask().watermarks()?;
            control.end.store(end, Ordering::Relaxed);
            Ok(())
        }));
    }

    /// How many offsets lie between `position` (the checkpoint's, or this reader's) and the end as of the last fetch.
    pub fn lag(&self, position: Offset) -> Option<u64> {
        Some(self.high_watermark()?.saturating_sub(position))
    }

    /// How many records came again after a rebalance, and were dropped.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Mirrors the checkpoint to the group's committed offset, for lag tools. Does not wait; a failure is only counted
    /// ([`super::KafkaGroup::commits_failed`]).
    pub fn commit(&self, offset: Offset) {
        let committed = self.control.list(offset).and_then(|list| {
            let state = self.control.queue.state();
            if state.ours { self.control.queue.consumer().commit(&list, CommitMode::Async) } else { Ok(()) }
        });
        if let Err(error) = committed {
            tracing::debug!(event = events::DETAIL, partition = %self.partition, offset, "the group's committed offset was not moved: {error}");
        }
    }

    /// Reads the stamp of the record at `offset`, or of the next one that exists, up to the end; `None` where there is
    /// none. Reading stands elsewhere afterwards: call [`PartitionReader::start_at`].
    ///
    /// # Errors
    /// As [`PartitionReader::start_at`] and [`PartitionReader::take`]; [`SourceError::Unavailable`] when nothing comes
    /// in time.
    pub async fn stamp_at(&mut self, offset: Offset) -> Result<Option<Stamp>, SourceError> {
        self.start_at(offset).await?;
        // Asked after the start, which waits a little for an end that lies before the offset.
        let (_, end) = self.watermarks().await?;
        let patience = self.control.timeout;
        let found = tokio::time::timeout(patience, self.first_stamp(end)).await;
        self.position = None;
        found.unwrap_or_else(|_| {
            let (what, reason) = (format!("reading {} at {offset}", self.partition), "nothing came in time".into());
            Err(SourceError::Unavailable { what, reason })
        })
    }

    async fn first_stamp(&mut self, end: Offset) -> Result<Option<Stamp>, SourceError> {
        while self.position < Some(end) {
            self.ready().await;
            if self.control.queue.is_revoking() {
                return Err(SourceError::Revoked { partition: self.partition.clone() });
            }
            let mut stamp = None;
            let taken = self.take(1, &mut |record| {
                let (offset, timestamp_ms) = (record.offset, record.timestamp_ms);
                stamp = Some(Stamp { offset, timestamp_ms, leader_epoch: None });
            })?;
            if let Some(stamp) = stamp {
                return Ok(Some(Stamp { leader_epoch: taken.leader_epoch, ..stamp }));
            }
        }
        Ok(None)
    }
}

//! The reader of a source partition, and the moments at which it is busy: starting and stopping ask the brokers, so they
//! run in a task of their own, which has the reader meanwhile.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::pace::Pace;
use crate::checkpoint::Stamp;
use crate::logging::events;
use crate::record::{Offset, SourcePartition};
use crate::retry::Retry;
use crate::source::{Reader, SourceError, Start};

/// What a job of the reader came to.
pub(super) enum Done {
    /// Reading from this offset.
    Started(Offset),
    /// Not reading any more, or not yet.
    Stopped,
    /// Where a partition without a checkpoint starts, and what the source remembers of its position.
    Resolved { offset: Offset, committed: Option<Offset> },
    /// It cannot start at this offset.
    Failed(Offset, SourceError),
}

/// The reader comes back from its job.
pub(super) type Back = (Reader, Done);

enum Slot {
    /// At hand, not reading.
    Idle(Reader),
    /// At hand, reading.
    Reading(Reader),
    /// In a job.
    Away,
}

/// Holds the reader between its jobs.
/// Invariant: records are taken only from a reader that was started by the newest request.
pub(super) struct Reading {
    slot: Slot,
    /// Where reading was asked for; `None` where it was not, or no longer.
    wanted: Option<Offset>,
    /// A record to recognise the source by, before it is read.
    check: Option<Stamp>,
    commit: Option<Offset>,
    /// What was settled while the reader was in a job.
    settled: Option<Offset>,
    resolve: Option<Start>,
    pace: Pace,
    back: mpsc::UnboundedSender<Back>,
}

impl Reading {
    pub(super) fn new(reader: Reader, back: mpsc::UnboundedSender<Back>) -> Self {
        let slot = Slot::Idle(reader);
        let pace = Pace::default();
        Self { slot, wanted: None, check: None, commit: None, settled: None, resolve: None, pace, back }
    }

    /// The reader, while records may be taken from it.
    pub(super) fn reader(&mut self) -> Option<&mut Reader> {
        match &mut self.slot {
            Slot::Reading(reader) if self.wanted.is_some() => Some(reader),
            _ => None,
        }
    }

    /// Waits until the source may have records, or for ever where none are wanted now. May be dropped and called again.
    pub(super) async fn ready(&mut self) {
        let next_look = self.pace.next_look(Instant::now());
        let Some(reader) = self.reader() else { return std::future::pending().await };
        if let Some(at) = next_look {
            tokio::time::sleep_until(at.into()).await;
        }
        reader.ready().await;
        if reader.tells_of_each() {
            self.pace.saw(Instant::now());
        }
    }

    /// The end of the source partition as far as it is known; it is looked for where no fetch tells.
    pub(super) fn source_end(&mut self) -> Option<Offset> {
        match &mut self.slot {
            Slot::Idle(reader) | Slot::Reading(reader) => {
                reader.look_at_end();
                reader.high_watermark()
            }
            Slot::Away => None,
        }
    }

    /// How many offsets at the source's end wait for the end of a transaction.
    pub(super) fn held_back(&self) -> u64 {
        match &self.slot {
            Slot::Reading(reader) => reader.held_back(),
            Slot::Idle(_) | Slot::Away => 0,
        }
    }

    /// Asks for the offset of a start.
    pub(super) fn resolve(&mut self, start: Start) {
        self.resolve = Some(start);
        self.go_on();
    }

    /// Asks for records from `offset` on; with `check`, only if the source still has that record.
    pub(super) fn start(&mut self, offset: Offset, check: Option<Stamp>) {
        self.wanted = Some(offset);
        // A check that was asked for and has not begun is still owed.
        self.check = check.or(self.check.take());
        // Whatever it reads now is not from there.
        self.slot = match std::mem::replace(&mut self.slot, Slot::Away) {
            Slot::Reading(reader) => Slot::Idle(reader),
            other => other,
        };
        self.go_on();
    }

    /// Asks for no more records.
    pub(super) fn stop(&mut self) {
        self.wanted = None;
        self.resolve = None;
        self.go_on();
    }

    /// Mirrors the position to the source.
    pub(super) fn commit(&mut self, offset: Offset) {
        match &self.slot {
            Slot::Idle(reader) | Slot::Reading(reader) => reader.commit(offset),
            Slot::Away => self.commit = Some(offset),
        }
    }

    /// Everything below this position is settled.
    pub(super) fn settled(&mut self, position: Offset) {
        match &mut self.slot {
            Slot::Idle(reader) | Slot::Reading(reader) => reader.settled(position),
            Slot::Away => self.settled = Some(position),
        }
    }

    /// The reader is back from a job. Gives what the flow must hear of it.
    pub(super) fn back(&mut self, (mut reader, done): Back) -> Option<Done> {
        if let Some(offset) = self.commit.take() {
            reader.commit(offset);
        }
        // One that was started anew has other numbers, above all before, and acknowledges by those.
        if let Some(position) = self.settled.take().filter(|_| matches!(done, Done::Stopped)) {
            reader.settled(position);
        }
        if let Done::Failed(offset, _) = &done {
            // Whoever hears of it decides: started again by itself, it would fail again, or start without its check.
            self.wanted = self.wanted.filter(|wanted| wanted != offset);
        }
        // Started elsewhere than it was asked for since: it has to start again.
        let is_reading = matches!(done, Done::Started(offset) if self.wanted.is_none_or(|wanted| wanted == offset));
        self.slot = if is_reading { Slot::Reading(reader) } else { Slot::Idle(reader) };
        let heard = match done {
            Done::Started(_) | Done::Stopped => None,
            other => Some(other),
        };
        // Asked for something else meanwhile?
        self.go_on();
        heard
    }

    /// Sends the reader into the job that brings it to what is wanted.
    fn go_on(&mut self) {
        let slot = std::mem::replace(&mut self.slot, Slot::Away);
        let back = self.back.clone();
        match (slot, self.wanted) {
            (Slot::Idle(mut reader), _) if self.resolve.is_some() => {
                let start = self.resolve.take().unwrap_or(Start::Earliest);
                tokio::spawn(async move {
                    let (offset, committed) = resolve(&mut reader, start).await;
                    let _ = back.send((reader, Done::Resolved { offset, committed }));
                });
            }
            (Slot::Idle(reader), Some(offset)) => {
                let check = self.check.take();
                tokio::spawn(async move {
                    let _ = back.send(start(reader, offset, check).await);
                });
            }
            (Slot::Reading(mut reader), None) => {
                tokio::spawn(async move {
                    // A pause that fails leaves records in librdkafka's bounded queue; the next start drops them.
                    let _ = reader.stop().await;
                    let _ = back.send((reader, Done::Stopped));
                });
            }
            (as_wanted, _) => self.slot = as_wanted,
        }
    }
}

async fn resolve(reader: &mut Reader, start: Start) -> (Offset, Option<Offset>) {
    let mut retry = Retry::for_brokers();
    loop {
        let resolved = async { Ok((reader.resolve(start).await?, reader.committed().await?)) };
        match resolved.await {
            Ok(resolved) => return resolved,
            Err(error) => {
                let error: SourceError = error;
                let SourcePartition { topic, partition, .. } = reader.partition();
                tracing::warn!(event = events::SOURCE_TROUBLE, topic, partition, "{error}");
                tokio::time::sleep(retry.next_pause()).await;
            }
        }
    }
}

/// Starts to read; tries again while the source does not answer, but not for ever in here: the flow may want something
/// else meanwhile.
async fn start(mut reader: Reader, offset: Offset, check: Option<Stamp>) -> Back {
    let mut retry = Retry::new(Duration::from_millis(100), Duration::from_secs(1));
    loop {
        match start_once(&mut reader, offset, check).await {
            Ok(()) => return (reader, Done::Started(offset)),
            Err(error) if error.is_transient() && retry.attempts() < 5 => {
                tokio::time::sleep(retry.next_pause()).await;
            }
            Err(error) => return (reader, Done::Failed(offset, error)),
        }
    }
}

async fn start_once(reader: &mut Reader, offset: Offset, check: Option<Stamp>) -> Result<(), SourceError> {
    if let Some(known) = check {
        match reader.stamp_at(known.offset).await {
            Ok(Some(found)) if found.offset == known.offset && found.timestamp_ms != Some(known.timestamp_ms) => {
                return Err(SourceError::Replaced {
                    partition: reader.partition().clone(),
                    offset: known.offset,
                    known_ms: known.timestamp_ms,
                    found_ms: found.timestamp_ms,
                });
            }
            // Purged or compacted away: nothing to compare, and a gap is found by the start itself.
            Ok(_) | Err(SourceError::Gap { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    reader.start_at(offset).await
}

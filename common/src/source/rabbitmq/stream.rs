//! The reader of a stream: offsets, like a Kafka partition's.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lapin::types::AMQPValue;
use tokio::task::JoinHandle;

use super::link::Link;
use super::session::{Ack, Next, Session};
use super::{declare, ends, record};
use crate::record::{Offset, Record, SourcePartition};
use crate::source::{SourceError, Stamp, Start, Taken};

/// Reads one stream. Acknowledgements only make room for more deliveries; where it goes on, the checkpoint says.
pub struct StreamReader {
    partition: SourcePartition,
    link: Arc<Link>,
    reading: Option<Box<Reading>>,
    position: Option<Offset>,
    /// The end as of the last look.
    end: Arc<AtomicU64>,
    /// Offsets between a start and the first record there that were found to be no records.
    hole: Option<(Offset, Offset)>,
}

/// What one start reads.
struct Reading {
    session: Session,
    /// No record has been seen since the start.
    fresh: bool,
    /// Found behind records that were still shown: the next take gives it.
    fault: Option<SourceError>,
    _looker: Looker,
}

/// The task that looks for the end; it ends with what it belongs to.
struct Looker(JoinHandle<()>);

impl Drop for Looker {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl fmt::Debug for StreamReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamReader({} at {:?})", self.partition, self.position)
    }
}

impl StreamReader {
    pub(super) fn new(partition: SourcePartition, link: Arc<Link>) -> Self {
        StreamReader { partition, link, reading: None, position: None, end: Arc::default(), hole: None }
    }

    /// Which stream this is.
    pub fn partition(&self) -> &SourcePartition {
        &self.partition
    }

    /// Turns a start into an offset. A time gives the beginning of its chunk, which may be earlier.
    ///
    /// # Errors
    /// [`SourceError::Unavailable`], [`SourceError::Denied`].
    pub async fn resolve(&mut self, start: Start) -> Result<Offset, SourceError> {
        let queue = &self.partition.topic;
        declare::prepare(&self.link, queue).await?;
        match start {
            Start::Offset(offset) => Ok(offset),
            Start::Earliest => Ok(ends::ends(&self.link, queue).await?.map_or(0, |ends| ends.first)),
            Start::Latest => Ok(ends::end(&self.link, queue).await?.unwrap_or(0)),
            Start::TimeMs(ms) => match ends::first_from(&self.link, queue, AMQPValue::Timestamp(ms / 1000)).await? {
                Some((offset, _)) => Ok(offset),
                None => Ok(ends::end(&self.link, queue).await?.unwrap_or(0)),
            },
        }
    }

    /// The stamp of the record at `offset`, or of the next one; its time is the sender's AMQP time stamp, to the second,
    /// and `None` where the sender gave none. Call [`StreamReader::start_at`] afterwards.
    ///
    /// # Errors
    /// As [`StreamReader::resolve`].
    pub async fn stamp_at(&mut self, offset: Offset) -> Result<Option<Stamp>, SourceError> {
        let queue = &self.partition.topic;
        declare::prepare(&self.link, queue).await?;
        if ends::end(&self.link, queue).await?.is_none_or(|end| offset >= end) {
            return Ok(None);
        }
        let found = ends::first_from(&self.link, queue, at(offset)).await?;
        Ok(found.map(|(offset, seconds)| Stamp {
            offset,
            timestamp_ms: seconds.map(|seconds| seconds.saturating_mul(1000)),
            leader_epoch: None,
        }))
    }

    /// Starts reading at `offset`, or starts again there.
    ///
    /// # Errors
    /// [`SourceError::Gap`] and [`SourceError::WentBack`] when `offset` is not in the stream,
    /// [`SourceError::Unavailable`], [`SourceError::Denied`]. The reader is stopped then; call again.
    pub async fn start_at(&mut self, offset: Offset) -> Result<(), SourceError> {
        self.position = None;
        if let Some(before) = self.reading.take() {
            before.session.close(&self.link).await;
        }
        let queue = &self.partition.topic;
        declare::prepare(&self.link, queue).await?;
        let ends = ends::ends(&self.link, queue).await?;
        self.check(offset, ends)?;
        self.end.store(ends.map_or(offset, |ends| ends.end), Ordering::Relaxed);
        let arguments = ends::starting(at(offset));
        let session = Session::open(&self.link, queue, self.link.settings.prefetch, false, arguments).await?;
        let looker = Looker(tokio::spawn(look(Arc::clone(&self.link), queue.clone(), Arc::clone(&self.end))));
        self.reading = Some(Box::new(Reading { session, fresh: true, fault: None, _looker: looker }));
        self.position = Some(offset);
        Ok(())
    }

    /// A start below the stream's first record would silently begin there, and one beyond its end wait in silence.
    fn check(&self, offset: Offset, ends: Option<ends::Ends>) -> Result<(), SourceError> {
        let partition = self.partition.clone();
        match ends {
            Some(ends) if offset < ends.first => Err(SourceError::Gap { partition, from: offset, oldest: ends.first }),
            Some(ends) if offset > ends.end => {
                Err(SourceError::WentBack { partition, position: offset, end: ends.end })
            }
            // A stream never gets empty again. But a slow server looks the same for a while, and the first record of a
            // stream that was recreated tells the two apart.
            None if offset > 0 => Err(SourceError::Unavailable {
                what: format!("starting stream {} at {offset}", partition.topic),
                reason: "it shows no record at all: the server is slow, or the stream was recreated (then set \
                         source.<name>.generation to start a new sequence)"
                    .to_owned(),
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// Stops reading; [`StreamReader::start_at`] goes on.
    ///
    /// # Errors
    /// None.
    pub async fn stop(&mut self) -> Result<(), SourceError> {
        if let Some(reading) = self.reading.take() {
            reading.session.close(&self.link).await;
        }
        Ok(())
    }

    /// Waits until there may be something to take. May be dropped and called again at any time.
    pub async fn ready(&mut self) {
        match &mut self.reading {
            Some(reading) if reading.fault.is_some() => {}
            Some(reading) => reading.session.ready().await,
            // Not before a start.
            None => std::future::pending().await,
        }
    }

    /// Shows up to `max` records, without waiting.
    /// Invariant: their offsets are at or above the start and strictly rise.
    ///
    /// # Errors
    /// [`SourceError::Unavailable`] when the channel or the connection has ended: start again.
    /// [`SourceError::NotStarted`]. No record has been shown by a call that fails.
    pub fn take(&mut self, max: usize, visit: &mut dyn FnMut(Record<'_>)) -> Result<Taken, SourceError> {
        let Some(mut next) = self.position else {
            return Err(SourceError::NotStarted { partition: self.partition.clone() });
        };
        let Some(reading) = &mut self.reading else { return Ok(Taken { drained: true, ..Taken::default() }) };
        let (mut taken, mut newest) = (Taken::default(), None);
        while taken.records < max && !taken.drained && reading.fault.is_none() {
            let delivery = match reading.session.next() {
                Next::Delivery(delivery) => delivery,
                Next::Empty => {
                    taken.drained = true;
                    continue;
                }
                Next::Over(error) => {
                    reading.fault = Some(error);
                    continue;
                }
            };
            let Some(offset) = ends::offset_of(&delivery) else {
                reading.fault = Some(without_offset(&self.partition));
                continue;
            };
            if reading.fresh && offset > next && self.hole != Some((next, offset)) {
                // Purged since the start looked, or no records: the next start knows.
                self.hole = Some((next, offset));
                reading.fault = Some(not_there(&self.partition, next, offset));
                continue;
            }
            reading.fresh = false;
            newest = Some(delivery.delivery_tag);
            if offset >= next {
                record::show(&delivery, offset, self.link.settings.key.as_ref(), visit);
                next = offset + 1;
                taken.records += 1;
            }
        }
        if let Some(tag) = newest {
            reading.session.tell(Ack::UpTo(tag));
        }
        self.position = Some(next);
        match reading.fault.take() {
            Some(fault) if taken.records == 0 => {
                (self.reading, self.position) = (None, None);
                Err(fault)
            }
            later => {
                reading.fault = later;
                Ok(taken)
            }
        }
    }

    /// The next offset to be shown. `None` before the start and after an error.
    pub fn position(&self) -> Option<Offset> {
        self.position
    }

    /// The end of the stream as of the last look.
    pub fn high_watermark(&self) -> Option<Offset> {
        Some(self.end.load(Ordering::Relaxed).max(self.position?))
    }

    /// Nothing: the checkpoint alone says where it goes on.
    pub fn commit(&self, _offset: Offset) {}
}

/// An offset as the argument wants it: anything but a signed 64-bit integer is refused.
fn at(offset: Offset) -> AMQPValue {
    AMQPValue::LongLongInt(i64::try_from(offset).unwrap_or(i64::MAX))
}

fn without_offset(partition: &SourcePartition) -> SourceError {
    let key = "source.<name>.queue_type".to_owned();
    SourceError::Setting { key, reason: format!("{} gives no offsets: it is no stream", partition.topic) }
}

fn not_there(partition: &SourcePartition, asked: Offset, found: Offset) -> SourceError {
    SourceError::Unavailable {
        what: format!("starting stream {} at {asked}", partition.topic),
        reason: format!("it begins at {found}: looking again"),
    }
}

/// Looks now and then where the stream ends, for the lag.
async fn look(link: Arc<Link>, queue: String, end: Arc<AtomicU64>) {
    let mut interval = tokio::time::interval(link.settings.look_interval);
    // The start has just looked.
    interval.tick().await;
    loop {
        interval.tick().await;
        if let Ok(Some(found)) = ends::end(&link, &queue).await {
            end.store(found, Ordering::Relaxed);
        }
    }
}

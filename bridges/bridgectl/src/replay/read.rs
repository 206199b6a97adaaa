//! Reads chosen records of one source partition, and makes their messages.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_common::pipeline::{Destination, Maker, Workshop};
use bridge_common::pulsar::OutgoingMessage;
use bridge_common::source::SourceError;
use bridge_common::source::kafka::Window;

use crate::verify::{Desk, Part, blocking};

/// How long nothing may come.
const PATIENCE: Duration = Duration::from_secs(30);
/// Fetched records that wait to be taken.
const QUEUE_BYTES: u64 = 16 << 20;
/// Records that are taken at once.
const TAKE_RECORDS: usize = 500;

/// A message that is to be published.
#[derive(Debug, Clone)]
pub(super) struct Ready {
    pub(super) id: u64,
    /// The topic partition that it belongs to.
    pub(super) topic: String,
    pub(super) is_dead_letter: bool,
    pub(super) key: Option<Vec<u8>>,
    pub(super) event_time_ms: Option<u64>,
    pub(super) value: Option<Vec<u8>>,
    /// Where every record keeps its own schema: that one's version.
    pub(super) schema_version: Option<Arc<[u8]>>,
    pub(super) properties: Vec<(String, String)>,
}

impl Ready {
    pub(super) fn message(&self) -> OutgoingMessage<'_> {
        OutgoingMessage {
            sequence_id: self.id,
            key: self.key.as_deref(),
            event_time_ms: self.event_time_ms,
            value: self.value.as_deref(),
        }
    }

    /// About what it takes in a batch.
    pub(super) fn bytes(&self) -> usize {
        let properties: usize = self.properties.iter().map(|(name, value)| name.len() + value.len() + 16).sum();
        properties + self.key.as_ref().map_or(0, Vec::len) + self.value.as_ref().map_or(0, Vec::len) + 64
    }
}

/// A partition being read.
pub(super) struct Records<'d> {
    desk: &'d Desk,
    part: &'d Part,
    workshop: &'d Workshop,
    window: Window,
    maker: Maker,
    max_message_bytes: usize,
}

impl<'d> Records<'d> {
    /// From this offset on, made by this workshop, for a broker that takes messages of so many bytes.
    pub(super) async fn open(
        desk: &'d Desk,
        part: &'d Part,
        workshop: &'d Workshop,
        from: u64,
        max_message_bytes: usize,
    ) -> Result<Self, String> {
        let kafka = &desk.kafka[part.kafka];
        let (topic, number) = (Arc::clone(&kafka.topic), part.source.partition);
        let window =
            blocking(move || topic.read(&[(number, from)], QUEUE_BYTES).map_err(|error| error.to_string())).await?;
        let maker = workshop.maker(&kafka.table, part.source.clone(), max_message_bytes);
        Ok(Self { desk, part, workshop, window, maker, max_message_bytes })
    }

    /// The offset that comes next.
    pub(super) fn position(&self) -> u64 {
        self.window.position(0)
    }

    /// The records at these offsets that `is_wanted`, and that the source still has. Reads from where it stands.
    pub(super) async fn read(
        &mut self,
        range: Range<u64>,
        mut is_wanted: impl FnMut(u64) -> bool,
    ) -> Result<Vec<Ready>, String> {
        let mut ready = Vec::new();
        let mut heard = Instant::now();
        while self.position() < range.end {
            let max = usize::try_from(range.end - self.position()).unwrap_or(TAKE_RECORDS).min(TAKE_RECORDS);
            let mut missing = None;
            let (maker, desk, part, workshop) = (&mut self.maker, self.desk, self.part, self.workshop);
            let table = &desk.kafka[part.kafka].table;
            let before = self.window.position(0);
            let shown = self.window.show(0, max, &mut |record| {
                if missing.is_some() || !range.contains(&record.offset) || !is_wanted(record.offset) {
                    return;
                }
                missing = maker.missing(record.value).map(|schema| (record.offset, schema));
                if missing.is_some() {
                    return;
                }
                let made = maker.make(record);
                let mut properties = Vec::new();
                made.properties(&mut |name, value| properties.push((name.to_owned(), value.to_owned())));
                ready.push(Ready {
                    id: record.offset,
                    topic: workshop.topic_of(table, &part.source, &made),
                    is_dead_letter: made.destination == Destination::DeadLetters,
                    key: made.message.key.map(<[u8]>::to_vec),
                    event_time_ms: made.message.event_time_ms,
                    value: made.message.value.map(<[u8]>::to_vec),
                    schema_version: made.schema_version.clone(),
                    properties,
                });
            });
            shown.map_err(|error| error.to_string())?;
            if let Some((offset, schema)) = missing {
                workshop.learn(table, schema).await?;
                *self = Self::open(desk, part, workshop, offset, self.max_message_bytes).await?;
            } else if self.window.position(0) > before {
                heard = Instant::now();
            } else if heard.elapsed() > PATIENCE {
                return Err(format!("{}: Kafka gave nothing for {} s", part.source, PATIENCE.as_secs()));
            } else {
                match self.window.serve(Duration::ZERO) {
                    Ok(()) | Err(SourceError::Unavailable { .. }) => {}
                    Err(error) => return Err(error.to_string()),
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        Ok(ready)
    }
}

//! A name on a topic partition, held: batches go out under it in order, and every receipt is awaited.

use std::time::{Duration, Instant};

use bridge_common::pipeline::REPLAYED;
use bridge_common::pulsar::{
    BatchBuilder, Client, Compression, Error, Opened, ProducerEvent, ReaderStart, SchemaInfo, Seal,
};
use tokio::sync::mpsc;

use super::read::Ready;
use crate::terminal::now_ms;
use crate::verify::EntryReader;

/// How long a receipt may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a name that is held, or what was pushed under it, is asked for again.
const ATTEMPTS: u32 = 40;
const PAUSE: Duration = Duration::from_millis(500);
/// Bytes of a batch, before compression.
const BATCH_BYTES: usize = 512 * 1024;
/// Batches without a receipt, where nothing is said.
const IN_FLIGHT: usize = 16;
/// How much earlier than this run something may have been pushed that was not seen yet: clocks differ.
const MARGIN_SECONDS: u64 = 600;

/// A name, held.
pub(super) struct Held {
    client: Client,
    topic: String,
    name: String,
    schema: Option<SchemaInfo>,
    opened: Opened,
    events: mpsc::UnboundedReceiver<(u64, ProducerEvent)>,
    in_flight: usize,
    /// Batches without a receipt at most. With one, what is stored after an error is always the first part of what was sent.
    pub(super) in_flight_max: usize,
    /// What every message carries as the name of this replay.
    pub(super) replay: String,
    pub(super) compression: Compression,
}

impl Held {
    /// Takes the name; waits where a process that has just died still holds it.
    pub(super) async fn open(
        client: &Client,
        topic: &str,
        name: &str,
        schema: Option<&SchemaInfo>,
        replay: &str,
    ) -> Result<Self, String> {
        let (opened, events) = take(client, topic, name, schema).await?;
        Ok(Self {
            client: client.clone(),
            topic: topic.to_owned(),
            name: name.to_owned(),
            schema: schema.cloned(),
            opened,
            events,
            in_flight: 0,
            in_flight_max: IN_FLIGHT,
            replay: replay.to_owned(),
            compression: Compression::Lz4,
        })
    }

    /// The highest sequence id that was ever pushed under the name, as the broker knows.
    pub(super) fn last(&self) -> Option<u64> {
        self.opened.last_sequence_id
    }

    /// What the topic's broker takes at most for a message.
    pub(super) fn max_message_bytes(&self) -> usize {
        self.opened.max_message_bytes
    }

    /// Whether the name is still held, as far as is known here.
    pub(super) fn is_open(&self) -> bool {
        self.opened.producer.is_open()
    }

    /// The ids that were stored under the name, from so long ago on, or from the beginning where the last of them lies further
    /// back; waits until everything that was pushed under it is among them. Some may be given more than once. Nothing was sent
    /// yet.
    pub(super) async fn stored(&mut self, start: ReaderStart, mut each: impl FnMut(u64)) -> Result<(), String> {
        let mut highest = None;
        for attempt in 0..ATTEMPTS {
            let start = start_of(attempt, start);
            let (mut reader, end) = EntryReader::open(&self.client, &self.topic, start).await?;
            while end.is_some() && reader.last() < end {
                let entry = reader.next(true).await?;
                if entry.producer_name != self.name {
                    continue;
                }
                let batch = entry.batch().map_err(|error| format!("{}: {error}", self.topic))?;
                for id in batch.sequence_ids() {
                    let id = id.map_err(|error| format!("{}: {error}", self.topic))?;
                    highest = highest.max(Some(id));
                    each(id);
                }
            }
            if self.last() <= highest {
                return Ok(());
            }
            // Pushed and not stored yet, or never: an opening says anew what was pushed.
            tokio::time::sleep(PAUSE).await;
            self.reopen().await?;
        }
        Err(format!("{} on {}: what was pushed earlier is not there yet: run this again later", self.name, self.topic))
    }

    /// From when on what an earlier run has pushed can lie, when it was not there as this run began.
    pub(super) fn start(began: Instant) -> ReaderStart {
        let ago = began.elapsed().as_secs() + MARGIN_SECONDS;
        u32::try_from(ago).map_or(ReaderStart::Earliest, ReaderStart::SecondsAgo)
    }

    /// Closes the name and takes it again: the broker then tells what it knows of it.
    pub(super) async fn reopen(&mut self) -> Result<(), String> {
        let _ = tokio::time::timeout(PATIENCE, self.opened.producer.close()).await;
        (self.opened, self.events) = take(&self.client, &self.topic, &self.name, self.schema.as_ref()).await?;
        Ok(())
    }

    /// Publishes messages with rising ids, above all that were sent before. Does not wait for the last receipts.
    pub(super) async fn publish(&mut self, ready: &[Ready]) -> Result<(), String> {
        let mut builder = BatchBuilder::new();
        for ready in ready {
            if !builder.is_empty() && builder.len_bytes() + ready.bytes() > BATCH_BYTES {
                self.send(&mut builder).await?;
            }
            let own = [(REPLAYED, self.replay.as_str())];
            let properties = ready.properties.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            builder.push(&ready.message(), own.into_iter().chain(properties));
        }
        if builder.is_empty() { Ok(()) } else { self.send(&mut builder).await }
    }

    async fn send(&mut self, builder: &mut BatchBuilder) -> Result<(), String> {
        while self.in_flight >= self.in_flight_max {
            self.receipt().await?;
        }
        let seal = Seal {
            producer_name: &self.name,
            producer_id: self.opened.producer.id(),
            publish_time_ms: now_ms(),
            compression: self.compression,
            schema_version: self.opened.schema_version.as_deref(),
        };
        let frame = builder.seal(&seal).map_err(|error| format!("{}: {error}", self.name))?;
        self.opened.producer.send(&frame).map_err(|error| format!("{} on {}: {error}", self.name, self.topic))?;
        self.in_flight += 1;
        Ok(())
    }

    /// Awaits the next receipt. Whatever else comes leaves the outcome unknown; the next run finds out.
    async fn receipt(&mut self) -> Result<(), String> {
        let unknown = |what: &str| {
            format!("{} on {}: {what}: run this again, it goes on from what is there", self.name, self.topic)
        };
        match tokio::time::timeout(PATIENCE, self.events.recv()).await {
            Ok(Some((_, ProducerEvent::Receipt { message_id: Some(_), .. }))) => {
                self.in_flight -= 1;
                Ok(())
            }
            Ok(Some((_, event))) => Err(unknown(&format!("the broker answered {event:?}"))),
            Ok(None) => Err(unknown("the connection was lost")),
            Err(_) => Err(unknown("no receipt came")),
        }
    }

    /// Awaits all receipts.
    pub(super) async fn settle(&mut self) -> Result<(), String> {
        while self.in_flight > 0 {
            self.receipt().await?;
        }
        Ok(())
    }

    /// Gives the name back. A connection that is gone has given it back, too.
    pub(super) async fn close(self) {
        let _ = tokio::time::timeout(PATIENCE, self.opened.producer.close()).await;
    }
}

/// Where an attempt reads from: once from the beginning, for a run that was killed long ago. What is under way comes behind
/// that, so that all others look no further back than was asked for.
fn start_of(attempt: u32, start: ReaderStart) -> ReaderStart {
    if attempt == 1 { ReaderStart::Earliest } else { start }
}

type Taken = (Opened, mpsc::UnboundedReceiver<(u64, ProducerEvent)>);

async fn take(client: &Client, topic: &str, name: &str, schema: Option<&SchemaInfo>) -> Result<Taken, String> {
    let mut attempt = 0;
    loop {
        let (out, events) = mpsc::unbounded_channel();
        match client.open_producer(topic, name, schema, out, 0).await {
            Ok(opened) => return Ok((opened, events)),
            Err(Error::Busy { .. } | Error::Retryable { .. }) if attempt < ATTEMPTS => attempt += 1,
            Err(Error::Busy { .. }) => return Err(format!("{name} is held on {topic}: another replay is at it")),
            Err(error) => return Err(error.to_string()),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_early_run_has_pushed_is_looked_for_from_the_beginning_once() {
        let recent = ReaderStart::SecondsAgo(600);
        let starts: Vec<ReaderStart> = (0..4).map(|attempt| start_of(attempt, recent)).collect();
        assert_eq!(starts, [recent, ReaderStart::Earliest, recent, recent]);
    }
}

//! Publishing under a name that is held: batches go out in order, and every receipt is awaited.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_common::pipeline::REPLAYED;
use bridge_common::pulsar::{BatchBuilder, Client, Compression, ReaderStart, SchemaInfo};

use super::read::Ready;
use crate::held::Held;
use crate::topic::Pass;

/// How often what was pushed under a name is asked for again.
const ATTEMPTS: u32 = 40;
const PAUSE: Duration = Duration::from_millis(500);
/// Bytes of a batch, before compression.
const BATCH_BYTES: usize = 512 * 1024;
/// Batches without a receipt, where nothing is said.
const IN_FLIGHT: usize = 16;
/// How much earlier than this run something may have been pushed that was not seen yet: clocks differ.
const MARGIN_SECONDS: u64 = 600;

/// A name, held, and how it is published under.
pub(super) struct Publisher {
    client: Client,
    topic: String,
    name: String,
    schema: Option<SchemaInfo>,
    held: Held,
    /// Batches without a receipt at most. With one, what is stored after an error is always the first part of what was sent.
    pub(super) in_flight_max: usize,
    /// What every message carries as the name of this replay.
    pub(super) replay: String,
    pub(super) compression: Compression,
}

impl Publisher {
    /// Takes the name; waits where a process that has just died still holds it.
    pub(super) async fn open(
        client: &Client,
        topic: &str,
        name: &str,
        schema: Option<&SchemaInfo>,
        replay: &str,
    ) -> Result<Self, String> {
        let held = take(client, topic, name, schema).await?;
        Ok(Self {
            client: client.clone(),
            topic: topic.to_owned(),
            name: name.to_owned(),
            schema: schema.cloned(),
            held,
            in_flight_max: IN_FLIGHT,
            replay: replay.to_owned(),
            compression: Compression::Lz4,
        })
    }

    /// The highest sequence id that was ever pushed under the name, as the broker knows.
    pub(super) fn last(&self) -> Option<u64> {
        self.held.last()
    }

    /// What the topic's broker takes at most for a message.
    pub(super) fn max_message_bytes(&self) -> usize {
        self.held.max_message_bytes()
    }

    /// The ids that were stored under the name, from so long ago on, or from the beginning where the last of them lies further
    /// back; waits until everything that was pushed under it is among them. Some may be given more than once. Nothing was sent
    /// yet.
    pub(super) async fn stored(mut self, start: ReaderStart, mut each: impl FnMut(u64)) -> Result<Self, String> {
        let mut highest = None;
        for attempt in 0..ATTEMPTS {
            let mut pass = Pass::begin(&self.client, &self.topic, start_of(attempt, start)).await?;
            while let Some(entry) = pass.next().await? {
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
                return Ok(self);
            }
            // Pushed and not stored yet, or never: an opening says anew what was pushed.
            tokio::time::sleep(PAUSE).await;
            self = self.reopened().await?;
        }
        Err(format!("{} on {}: what was pushed earlier is not there yet: run this again later", self.name, self.topic))
    }

    /// From when on what an earlier run has pushed can lie, when it was not there as this run began.
    pub(super) fn start(began: Instant) -> ReaderStart {
        let ago = began.elapsed().as_secs() + MARGIN_SECONDS;
        u32::try_from(ago).map_or(ReaderStart::Earliest, ReaderStart::SecondsAgo)
    }

    /// Closes the name and takes it again: the broker then tells what it knows of it.
    pub(super) async fn reopened(self) -> Result<Self, String> {
        let Self { client, topic, name, schema, held, in_flight_max, replay, compression } = self;
        held.close().await;
        let held = take(&client, &topic, &name, schema.as_ref()).await?;
        Ok(Self { client, topic, name, schema, held, in_flight_max, replay, compression })
    }

    /// Publishes messages with rising ids, above all that were sent before. Does not wait for the last receipts.
    pub(super) async fn publish(&mut self, ready: &[Ready]) -> Result<(), String> {
        let mut builder = BatchBuilder::new();
        let mut version: Option<Arc<[u8]>> = None;
        for ready in ready {
            // A batch has values of one schema.
            let is_other = ready.schema_version != version;
            if !builder.is_empty() && (is_other || builder.len_bytes() + ready.bytes() > BATCH_BYTES) {
                self.send(&mut builder, version.as_deref()).await?;
            }
            version.clone_from(&ready.schema_version);
            let own = [(REPLAYED, self.replay.as_str())];
            let properties = ready.properties.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            builder.push(&ready.message(), own.into_iter().chain(properties));
        }
        if builder.is_empty() { Ok(()) } else { self.send(&mut builder, version.as_deref()).await }
    }

    async fn send(&mut self, builder: &mut BatchBuilder, version: Option<&[u8]>) -> Result<(), String> {
        while self.held.in_flight() >= self.in_flight_max {
            self.receipt().await?;
        }
        self.held.send(builder, self.compression, version)
    }

    /// Awaits the next receipt. Whatever else comes leaves the outcome unknown; the next run finds out.
    async fn receipt(&mut self) -> Result<(), String> {
        let again = |problem: String| format!("{problem}: run this again, it goes on from what is there");
        match self.held.receipt().await.map_err(again)? {
            Some(_) => Ok(()),
            None => Err(again(format!("{} on {}: the broker calls a batch a duplicate", self.name, self.topic))),
        }
    }

    /// Awaits all receipts.
    pub(super) async fn settle(&mut self) -> Result<(), String> {
        while self.held.in_flight() > 0 {
            self.receipt().await?;
        }
        Ok(())
    }

    /// Gives the name back.
    pub(super) async fn close(self) {
        self.held.close().await;
    }
}

/// Takes a name that another replay may hold.
pub(super) async fn take(
    client: &Client,
    topic: &str,
    name: &str,
    schema: Option<&SchemaInfo>,
) -> Result<Held, String> {
    let held = Held::take(client, topic, name, schema).await?;
    held.ok_or_else(|| format!("{name} is held on {topic}: another replay is at it, or a `checkpoint set`"))
}

/// Where an attempt reads from: once from the beginning, for a run that was killed long ago. What is under way comes behind
/// that, so that all others look no further back than was asked for.
fn start_of(attempt: u32, start: ReaderStart) -> ReaderStart {
    if attempt == 1 { ReaderStart::Earliest } else { start }
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

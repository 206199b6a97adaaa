//! Dead letters, translated again by the present contract and configuration.

use std::collections::HashMap;
use std::sync::Arc;

use bridge_common::config::Config;
use bridge_common::pipeline::{Maker, Workshop};
use bridge_common::pulsar::{Client, Compression};
use bridge_common::record::{Header, Record, SourcePartition};

use super::letter::Letter;
use super::publish::Message;
use crate::topic::{max_message_bytes, partition_names};

/// What a redriven message says beside what a bridge's says: its coordinates, and that it came again.
const MORE_BYTES: usize = 1024;

/// A dead letter with what its record holds.
pub(super) struct Whole {
    pub(super) letter: Letter,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Vec<(String, Option<Vec<u8>>)>,
}

/// What becomes of one.
pub(super) enum Became {
    /// A message of the target, or of a route.
    Message(Message),
    /// Still a dead letter, of this cause.
    Unfit(String),
}

/// The translation of one stream.
pub(super) struct Again {
    workshop: Workshop,
    limit_bytes: usize,
    makers: HashMap<SourcePartition, Maker>,
}

impl Again {
    /// Asks Pulsar for the topics' partitions, and what a message may take. Publishes nothing.
    pub(super) async fn new(config: &Config, contract: Option<&str>, client: &Client) -> Result<Self, String> {
        let workshop = Workshop::new(config, contract, client).await?;
        let (topic, partitions) = workshop.topics().into_iter().next().ok_or("the stream has no target")?;
        let topic = partition_names(&topic, partitions).swap_remove(0);
        let limit_bytes = max_message_bytes(client, &topic).await?.saturating_sub(MORE_BYTES);
        Ok(Self { workshop, limit_bytes, makers: HashMap::new() })
    }

    pub(super) fn compression(&self) -> Compression {
        self.workshop.compression()
    }

    /// The topics that records may go to, each with its number of partitions.
    pub(super) fn topics(&self) -> Vec<(String, u32)> {
        self.workshop.topics()
    }

    /// What identifies its event over all sources, as far as that can be told without asking anybody.
    pub(super) fn key(&mut self, whole: &Whole) -> Option<String> {
        let (_, maker) = maker(&self.workshop, &mut self.makers, &whole.letter.source, self.limit_bytes).ok()?;
        let headers = headers(whole);
        let record = record(whole, &headers);
        if maker.missing(record.value).is_some() {
            return None;
        }
        maker.make(&record).idempotency_key().map(str::to_owned)
    }

    /// Translates it.
    ///
    /// # Errors
    /// When that cannot be told now: the configuration has no such source, or a registry does not answer.
    pub(super) async fn translate(&mut self, whole: &Whole) -> Result<Became, String> {
        let source = &whole.letter.source;
        let (table, maker) = maker(&self.workshop, &mut self.makers, source, self.limit_bytes)?;
        let headers = headers(whole);
        let record = record(whole, &headers);
        self.workshop.teach(table, maker, record.value).await?;
        let made = maker.make(&record);
        if let Some(unfit) = made.unfit() {
            return Ok(Became::Unfit(unfit.cause.to_owned()));
        }
        let mut properties = Vec::new();
        made.properties(&mut |name, value| properties.push((name.to_owned(), value.to_owned())));
        Ok(Became::Message(Message {
            topic: self.workshop.topic_of(table, source, &made),
            body: made.message.value.map(<[u8]>::to_vec),
            properties,
            key: made.idempotency_key().map(str::to_owned),
            schema: self.workshop.schema(table).cloned().map(Arc::new),
            schema_version: made.schema_version.clone(),
        }))
    }
}

/// Partitions whose translation is kept; with more of them all are made anew.
const MAKERS_MAX: usize = 4_096;

fn maker<'m>(
    workshop: &'m Workshop,
    makers: &'m mut HashMap<SourcePartition, Maker>,
    source: &SourcePartition,
    limit_bytes: usize,
) -> Result<(&'m str, &'m mut Maker), String> {
    let table = workshop.source_of(&source.topic);
    let table = table.ok_or_else(|| format!("the configuration has no source {}", source.topic))?;
    if makers.len() >= MAKERS_MAX {
        makers.clear();
    }
    let fresh = || workshop.maker(table, source.clone(), limit_bytes);
    Ok((table, makers.entry(source.clone()).or_insert_with(fresh)))
}

fn headers(whole: &Whole) -> Vec<Header<'_>> {
    whole.headers.iter().map(|(name, value)| Header { name, value: value.as_deref() }).collect()
}

fn record<'r>(whole: &'r Whole, headers: &'r [Header<'r>]) -> Record<'r> {
    Record {
        offset: whole.letter.offset,
        timestamp_ms: whole.letter.timestamp_ms,
        key: whole.key.as_deref(),
        value: whole.value.as_deref(),
        headers,
    }
}

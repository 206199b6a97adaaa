//! What a bridge of a configuration makes of a record, made by whoever asks: to compare it with what the target holds, or to
//! publish it once more. Beside the running bridge, and by the same translation, headers, identities and dead letters.

use std::sync::Arc;

use super::again::routing;
use super::appending::{route, size_as_dead_letter, size_beside_body};
use super::batches::BATCH_OVERHEAD_BYTES;
use super::identity::Identity;
use super::sources::{SourceSettings, Target};
use super::translator;
use crate::config::Config;
use crate::dead_letter::{DeadLetter, Origin, Reason};
use crate::headers;
use crate::lane::{Numbering, Routing};
use crate::pulsar::{Client, Compression, OutgoingMessage, SchemaInfo, SchemaKind};
use crate::record::{Coordinates, Record, SourcePartition};
use crate::translate::{Contract, Drift, JsonPath, JsonPlan, SchemaId, TranslateError, Translator};

/// The property of a message that `bridgectl replay` has published: the name of that replay. An on-wire format.
pub const REPLAYED: &str = "bridge.replayed";

/// In place of the contract of a stream that has none: nothing is translated by it.
const NO_CONTRACT: &str = r#"{"type": "record", "name": "None", "fields": []}"#;

/// What is needed to make messages of a stream's records.
#[derive(Debug)]
pub struct Workshop {
    stream: String,
    contract: Option<String>,
    plan: Option<Arc<JsonPlan>>,
    digest: bool,
    routing: Routing,
    route_fields: Arc<Vec<Option<JsonPath>>>,
    schema: Option<SchemaInfo>,
    compression: Compression,
    sources: Vec<Arc<SourceSettings>>,
}

impl Workshop {
    /// For a stream with this contract, if it has one.
    ///
    /// # Errors
    /// What is wrong with the contract or the configuration.
    pub async fn new(config: &Config, contract: Option<&str>, client: &Client) -> Result<Self, String> {
        let parsed = Contract::parse(contract.unwrap_or(NO_CONTRACT)).map_err(|error| error.to_string())?;
        let parsed = Arc::new(parsed);
        let plan = match config.has_contract() {
            false => None,
            true => Some(JsonPlan::compile(&parsed, config.contract.on_unknown_field).map_err(|e| e.to_string())?),
        };
        let routing = routing(config, client).await?;
        let target = Target { client, partitions: routing.partitions };
        let sources: Result<Vec<_>, String> = config
            .source
            .iter()
            .map(|(name, source)| SourceSettings::new(name, source, config, &parsed, &target).map_err(|p| p.text))
            .map(|settings| settings.map(Arc::new))
            .collect();
        Ok(Self {
            stream: config.stream.name.clone(),
            contract: config.has_contract().then(|| parsed.fingerprint().to_owned()),
            plan: plan.map(Arc::new),
            digest: config.target.digest,
            route_fields: Arc::new(routing.routes.iter().map(|route| JsonPath::parse(&route.field).ok()).collect()),
            routing,
            schema: config.has_contract().then(|| SchemaInfo {
                name: parsed.name().to_owned(),
                kind: SchemaKind::Avro,
                data: parsed.schema_json().as_bytes().to_vec(),
                properties: Vec::new(),
            }),
            compression: super::start::compression(config),
            sources: sources?,
        })
    }

    /// The name of the producer of a partition's lanes.
    ///
    /// # Panics
    /// Where the configuration has no source of this name.
    pub fn producer_name(&self, source_name: &str, source: &SourcePartition) -> String {
        self.settings(source_name).producer_name(&self.stream, source)
    }

    /// The schema of what goes to the target; `None` where it has none, or each message its own.
    pub fn schema(&self) -> Option<&SchemaInfo> {
        self.schema.as_ref()
    }

    /// How batches are compressed.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// The topic partition that a message of this partition goes to.
    ///
    /// # Panics
    /// Where the configuration has no source of this name.
    pub fn topic_of(&self, source_name: &str, source: &SourcePartition, made: &Made<'_>) -> String {
        let number = self.settings(source_name).routing_number(source);
        let lane = match made.destination {
            Destination::Target => self.routing.lane(None, number, made.message.key),
            Destination::Route(route) => self.routing.lane(Some(route), number, made.message.key),
            Destination::DeadLetters => self.routing.dead_letter_lane(),
        };
        self.routing.lanes(number)[lane.0].clone()
    }

    /// A maker for one partition of the source of this name, in topics whose brokers take messages of this size.
    ///
    /// # Panics
    /// Where the configuration has no source of this name.
    pub fn maker(&self, source_name: &str, source: SourcePartition, max_message_bytes: usize) -> Maker {
        let settings = Arc::clone(self.settings(source_name));
        let translator = translator(&settings, self.plan.as_ref());
        Maker {
            stream: self.stream.clone(),
            contract: self.contract.clone(),
            is_digested: self.digest || settings.numbering == Numbering::Counter,
            routing: self.routing.clone(),
            route_fields: Arc::clone(&self.route_fields),
            limit_bytes: max_message_bytes.saturating_sub(BATCH_OVERHEAD_BYTES),
            settings,
            source,
            translator,
            drift: Drift::new(),
            body: Vec::new(),
        }
    }

    /// Learns a schema that [`Maker::missing`] has asked for; once, without trying again.
    ///
    /// # Errors
    /// What is in the way.
    ///
    /// # Panics
    /// As [`Workshop::maker`].
    pub async fn learn(&self, source_name: &str, id: SchemaId) -> Result<(), String> {
        match &self.settings(source_name).schemas {
            Some(schemas) => schemas.learn(id).await,
            None => Ok(()),
        }
    }

    fn settings(&self, source_name: &str) -> &Arc<SourceSettings> {
        let found = self.sources.iter().find(|settings| settings.name == source_name);
        found.expect("the names are the configuration's")
    }
}

/// Makes messages of the records of one source partition. Keeps memory to use again.
#[derive(Debug)]
pub struct Maker {
    stream: String,
    contract: Option<String>,
    is_digested: bool,
    routing: Routing,
    route_fields: Arc<Vec<Option<JsonPath>>>,
    limit_bytes: usize,
    settings: Arc<SourceSettings>,
    source: SourcePartition,
    translator: Translator,
    drift: Drift,
    body: Vec<u8>,
}

/// What is made of a record.
#[derive(Debug)]
pub struct Made<'m> {
    /// Where it goes.
    pub destination: Destination,
    /// The message, its properties left out.
    pub message: OutgoingMessage<'m>,
    /// What identifies the event, where the configuration asks for that: the hash of its idempotency key.
    pub key_hash: Option<u128>,
    identity: Identity<'m>,
    letter: Option<DeadLetter<'m>>,
    record: &'m Record<'m>,
}

/// Where a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// To the target.
    Target,
    /// To the topic of this route, by its place in the order of their names.
    Route(usize),
    /// To the dead letters.
    DeadLetters,
}

impl Made<'_> {
    /// Calls `put` for each property, in order.
    pub fn properties(&self, put: &mut dyn FnMut(&str, &str)) {
        self.identity.properties(put);
        match &self.letter {
            Some(letter) => letter.properties.iter().for_each(|(name, value)| put(name, value)),
            None => headers::properties(self.record.headers, put),
        }
    }

    /// Whether the properties that identify the event are among them.
    pub fn has_identity(&self) -> (bool, bool) {
        (self.identity.key.is_some(), self.identity.sha256.is_some())
    }
}

impl Maker {
    /// The partition.
    pub fn source(&self) -> &SourcePartition {
        &self.source
    }

    /// The schema that must be learned before this body can be judged.
    pub fn missing(&mut self, body: Option<&[u8]>) -> Option<SchemaId> {
        body.and_then(|body| self.translator.missing(body))
    }

    /// Makes the message of a record, or its dead letter. Nothing may be [`Maker::missing`].
    pub fn make<'m>(&'m mut self, record: &'m Record<'m>) -> Made<'m> {
        self.body.clear();
        let coordinates = Coordinates { source: &self.source, offset: record.offset };
        let translated = match record.value {
            None => Ok(()),
            Some(value) => self.translator.translate(value, &coordinates, &mut self.body, &mut self.drift),
        };
        let limit_bytes = self.limit_bytes;
        let too_large = Reason::TooLarge { limit_bytes };
        let identity = match (&self.settings.identity, self.is_digested) {
            (None, false) => Identity::default(),
            (by, digested) => Identity::of(record, by.as_ref(), digested),
        };
        match translated {
            Err(error) if size_as_dead_letter(record) <= limit_bytes => self.dead(record, identity, &error),
            Err(_) => self.letter(record, identity, too_large),
            Ok(()) if self.body.len() + size_beside_body(record) > limit_bytes => {
                self.letter(record, identity, too_large)
            }
            Ok(()) => {
                let route = route(record, &self.routing, &self.route_fields);
                let message = OutgoingMessage {
                    sequence_id: record.offset,
                    key: record.key,
                    event_time_ms: record.timestamp_ms,
                    value: record.value.map(|_| self.body.as_slice()),
                };
                let destination = route.map_or(Destination::Target, Destination::Route);
                Made { destination, message, key_hash: identity.key_hash(), identity, letter: None, record }
            }
        }
    }

    fn dead<'m>(&'m self, record: &'m Record<'m>, identity: Identity<'m>, error: &TranslateError) -> Made<'m> {
        self.letter(record, identity, Reason::Untranslatable(error))
    }

    fn letter<'m>(&'m self, record: &'m Record<'m>, identity: Identity<'m>, reason: Reason<'_>) -> Made<'m> {
        let origin = Origin { stream: &self.stream, source: &self.source, contract: self.contract.as_deref() };
        let letter = DeadLetter::new(origin, record, reason);
        let message = OutgoingMessage {
            sequence_id: record.offset,
            key: record.key.filter(|_| letter.key.is_some()),
            event_time_ms: letter.event_time_ms,
            value: Some(letter.body),
        };
        Made {
            destination: Destination::DeadLetters,
            message,
            key_hash: identity.key_hash(),
            identity,
            letter: Some(letter),
            record,
        }
    }
}

//! What a bridge of a configuration makes of a record, made by whoever asks: to compare it with what the target holds, or to
//! publish it once more, be it from its source or from the dead letters. Beside the running bridge, and by the same translation, headers, identities and dead letters.

use std::sync::Arc;

use super::appending::{route, size_as_dead_letter, size_beside_body};
use super::batches::BATCH_OVERHEAD_BYTES;
use super::identity::Identity;
use super::sources::{SourceSettings, Target};
use super::translator;
use crate::config::{Config, Source};
use crate::dead_letter::{CAUSE, DETAIL, DeadLetter, FIELD, Origin, Reason};
use crate::headers;
use crate::lane::{Numbering, Route, Routing};
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
    schema: Option<Arc<SchemaInfo>>,
    compression: Compression,
    sources: Vec<Arc<SourceSettings>>,
    /// The Kafka topic, or the queues, of each.
    topics: Vec<Vec<String>>,
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
        let topics = config.source.iter().map(|(name, source)| topics(name, source)).collect();
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
            schema: config.has_contract().then(|| {
                let data = parsed.schema_json().as_bytes().to_vec();
                let name = parsed.name().to_owned();
                Arc::new(SchemaInfo { name, kind: SchemaKind::Avro, data, properties: Vec::new() })
            }),
            compression: super::start::compression(config),
            sources: sources?,
            topics,
        })
    }

    /// The name of the producer of a partition's lanes.
    ///
    /// # Panics
    /// Where the configuration has no source of this name.
    pub fn producer_name(&self, source_name: &str, source: &SourcePartition) -> String {
        self.settings(source_name).producer_name(&self.stream, source)
    }

    /// The name of the source that a Kafka topic or a queue belongs to; `None` where the configuration has none.
    pub fn source_of(&self, topic: &str) -> Option<&str> {
        let at = self.topics.iter().position(|topics| topics.iter().any(|other| other == topic))?;
        Some(&self.sources[at].name)
    }

    /// The schema of what goes to the target from this source; `None` where it has none, or each message its own
    /// ([`Made::schema_version`]).
    ///
    /// # Panics
    /// Where the configuration has no source of this name.
    pub fn schema(&self, source_name: &str) -> Option<&SchemaInfo> {
        self.settings(source_name).schema.as_deref().or(self.schema.as_deref())
    }

    /// The topics, without their partitions, that records may go to, each with its number of partitions.
    pub fn topics(&self) -> Vec<(String, u32)> {
        let routes = self.routing.routes.iter().map(|route| (route.topic.clone(), route.partitions));
        let mut topics: Vec<_> =
            std::iter::once((self.routing.topic.clone(), self.routing.partitions)).chain(routes).collect();
        topics.sort();
        topics.dedup_by(|a, b| a.0 == b.0);
        topics
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

    /// Lets a maker of this source know every schema that a value needs, so that [`Maker::make`] can follow at once.
    ///
    /// # Errors
    /// As [`Workshop::learn`].
    pub async fn teach(&self, source_name: &str, maker: &mut Maker, value: Option<&[u8]>) -> Result<(), String> {
        // Asked again once it is learned: that is how the maker gets it.
        while let Some(schema) = maker.missing(value) {
            self.learn(source_name, schema).await?;
        }
        Ok(())
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
    /// Where every record keeps its own schema: the version that this one is of the target's.
    pub schema_version: Option<Arc<[u8]>>,
    identity: Identity<'m>,
    letter: Option<DeadLetter<'m>>,
    record: &'m Record<'m>,
}

/// Why a record is a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unfit<'m> {
    /// The name of the cause, as in `bridge.cause`.
    pub cause: &'m str,
    /// The path of the field; empty where the cause is about none.
    pub field: &'m str,
    /// What was expected and found, without content.
    pub detail: &'m str,
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

    /// What identifies the event over all sources, where something does.
    pub fn idempotency_key(&self) -> Option<&str> {
        self.identity.key.as_deref()
    }

    /// Why it is a dead letter; `None` where it is none.
    pub fn unfit(&self) -> Option<Unfit<'_>> {
        let letter = self.letter.as_ref()?;
        let find = |wanted: &str| letter.properties.iter().find(|(name, _)| name == wanted).map(|(_, value)| &**value);
        let cause = find(CAUSE).unwrap_or_default();
        Some(Unfit { cause, field: find(FIELD).unwrap_or_default(), detail: find(DETAIL).unwrap_or_default() })
    }
}

impl Maker {
    /// The partition.
    pub fn source(&self) -> &SourcePartition {
        &self.source
    }

    /// The schema that must be learned before this body can be judged.
    pub fn missing(&mut self, body: Option<&[u8]>) -> Option<SchemaId> {
        let body = body?;
        self.translator.missing(body).or_else(|| {
            let versions = self.settings.schemas.as_ref()?.versions.as_ref()?;
            self.translator.writer_schema_of(body).filter(|id| versions.get(*id).is_none())
        })
    }

    fn schema_version(&self, body: Option<&[u8]>) -> Option<Arc<[u8]>> {
        let versions = self.settings.schemas.as_ref()?.versions.as_ref()?;
        versions.get(self.translator.writer_schema_of(body?)?)
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
                let (key_hash, schema_version) = (identity.key_hash(), self.schema_version(record.value));
                Made { destination, message, key_hash, schema_version, identity, letter: None, record }
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
            schema_version: None,
            identity,
            letter: Some(letter),
            record,
        }
    }
}

fn topics(name: &str, source: &Source) -> Vec<String> {
    match source {
        Source::Kafka(kafka) => vec![kafka.topic.clone()],
        Source::Rabbitmq(rabbitmq) => rabbitmq.queue_names().into_iter().map(str::to_owned).collect(),
        Source::Poll(_) => vec![name.to_owned()],
    }
}

async fn routing(config: &Config, client: &Client) -> Result<Routing, String> {
    let partitions = async |topic: &str| client.partitions(topic).await.map_err(|error| error.to_string());
    let topic = config.target.topic.to_string();
    let mut routes = Vec::new();
    for route in config.route.values() {
        let topic = route.topic.to_string();
        let partitions = partitions(&topic).await?;
        routes.push(Route { field: route.field.clone(), equals: route.equals.clone(), topic, partitions });
    }
    Ok(Routing {
        partition_by: config.target.partition_by(),
        partitions: partitions(&topic).await?,
        topic,
        dead_letters: config.dead_letter_topic().to_string(),
        routes,
    })
}

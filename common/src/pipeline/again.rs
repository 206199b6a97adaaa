//! Records translated once more, outside of a running bridge: by the present contract, routing and settings, and by the same
//! code. For what an operator redrives, replays or compares.

use std::sync::Arc;

use super::appending::{MESSAGE_OVERHEAD_BYTES, route, size_beside_body};
use super::batches::BATCH_OVERHEAD_BYTES;
pub use super::identity::IDEMPOTENCY_KEY;
use super::identity::Identity;
use super::sources::{SourceSettings, Target};
use super::translator;
use crate::config::{Config, Source};
use crate::dead_letter::TOO_LARGE;
use crate::headers;
use crate::lane::{Numbering, Route, Routing};
use crate::pulsar::{Client, Compression, SchemaInfo, SchemaKind};
use crate::record::{Coordinates, Record, SourcePartition};
use crate::translate::{Contract, Drift, JsonPath, JsonPlan, Translator};

/// Where nothing is translated there is no contract, and this one is not used.
const NO_CONTRACT: &str = r#"{"type":"record","name":"None","fields":[]}"#;

/// What becomes of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Became {
    /// A message of the target or of a route.
    Message(Message),
    /// Still a dead letter.
    Unfit {
        /// The name of the cause, as in `bridge.cause`.
        cause: &'static str,
        /// The path of the field; empty where the cause is about none.
        field: String,
        /// What was expected and found, without content.
        detail: String,
    },
}

/// A message as a bridge would publish it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The topic, with its partition where it has several.
    pub topic: String,
    /// The body; `None` is a null value.
    pub body: Option<Vec<u8>>,
    /// What identifies the record, where something does, and its headers.
    pub properties: Vec<(String, String)>,
    /// What identifies the event over all sources, where something does.
    pub key: Option<String>,
}

/// One source of the stream.
struct Of {
    settings: SourceSettings,
    /// Its Kafka topic, or its queues.
    topics: Vec<String>,
    translator: Translator,
}

/// The translation of one stream.
pub struct Again {
    stream: String,
    sources: Vec<Of>,
    routing: Routing,
    route_fields: Vec<Option<JsonPath>>,
    digest: bool,
    compression: Compression,
    schema: Option<SchemaInfo>,
    drift: Drift,
}

impl Again {
    /// By a configuration and the text of its contract (`None` where nothing is translated). Asks Pulsar for the topics' partitions.
    ///
    /// # Errors
    /// What is wrong with the configuration, or Pulsar's answer.
    pub async fn new(config: &Config, contract: Option<&str>, client: &Client) -> Result<Self, String> {
        let contract = Contract::parse(contract.unwrap_or(NO_CONTRACT)).map_err(|error| error.to_string())?;
        let contract = Arc::new(contract);
        let plan = JsonPlan::compile(&contract, config.contract.on_unknown_field).map_err(|error| error.to_string())?;
        let plan = config.has_contract().then(|| Arc::new(plan));
        let routing = routing(config, client).await?;
        let target = Target { client, partitions: routing.partitions };
        let mut sources = Vec::new();
        for (name, source) in &config.source {
            let settings = SourceSettings::new(name, source, config, &contract, &target);
            let settings = settings.map_err(|problem| problem.text)?;
            let translator = translator(&settings, plan.as_ref());
            sources.push(Of { settings, topics: topics(name, source), translator });
        }
        let schema = SchemaInfo {
            name: contract.name().to_owned(),
            kind: SchemaKind::Avro,
            data: contract.schema_json().as_bytes().to_vec(),
            properties: Vec::new(),
        };
        Ok(Self {
            stream: config.stream.name.clone(),
            sources,
            route_fields: routing.routes.iter().map(|route| JsonPath::parse(&route.field).ok()).collect(),
            routing,
            digest: config.target.digest,
            compression: super::start::compression(config),
            schema: config.has_contract().then_some(schema),
            drift: Drift::new(),
        })
    }

    /// The schema of what is published; `None` where it has none, or each message its own.
    pub fn schema(&self) -> Option<&SchemaInfo> {
        self.schema.as_ref()
    }

    /// How batches are compressed.
    pub fn compression(&self) -> Compression {
        self.compression
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

    /// The name of a source partition: its producer's, and the key of its checkpoint. `None` where the configuration has no
    /// such source.
    pub fn producer_name(&self, source: &SourcePartition) -> Option<String> {
        let of = self.sources.iter().find(|of| of.topics.contains(&source.topic))?;
        Some(of.settings.producer_name(&self.stream, source))
    }

    /// Translates a record, for brokers that take messages of so many bytes.
    ///
    /// # Errors
    /// When that cannot be told now: the configuration has no such source, or a registry does not answer.
    pub async fn translate(
        &mut self,
        source: &SourcePartition,
        record: &Record<'_>,
        max_message_bytes: usize,
    ) -> Result<Became, String> {
        let of = self.sources.iter_mut().find(|of| of.topics.contains(&source.topic));
        let of = of.ok_or_else(|| format!("the configuration has no source {}", source.topic))?;
        if let (Some(value), Some(schemas)) = (record.value, &of.settings.schemas)
            && let Some(id) = of.translator.missing(value)
        {
            let answer = schemas.fetch_once(id).await?;
            schemas.known.install(id, answer);
        }
        let mut body = Vec::new();
        let coordinates = Coordinates { source, offset: record.offset };
        let translated = match record.value {
            Some(value) => of.translator.translate(value, &coordinates, &mut body, &mut self.drift),
            None => Ok(()),
        };
        if let Err(error) = translated {
            return Ok(Became::Unfit { cause: error.cause.as_str(), field: error.path, detail: error.detail });
        }
        let limit_bytes = max_message_bytes.saturating_sub(BATCH_OVERHEAD_BYTES);
        // What a message says beside what a bridge writes: its coordinates, and that it came again.
        if body.len() + size_beside_body(record) + MESSAGE_OVERHEAD_BYTES > limit_bytes {
            let detail = format!("the record does not fit into a message of {limit_bytes} bytes");
            return Ok(Became::Unfit { cause: TOO_LARGE, field: String::new(), detail });
        }
        let is_counted = of.settings.numbering == Numbering::Counter;
        let identity = Identity::of(record, of.settings.identity.as_ref(), self.digest || is_counted);
        let mut properties = Vec::new();
        let mut put = |name: &str, value: &str| properties.push((name.to_owned(), value.to_owned()));
        identity.properties(&mut put);
        headers::properties(record.headers, put);
        let number = of.settings.routing_number(source);
        let lane = self.routing.lane(route(record, &self.routing, &self.route_fields), number, record.key);
        Ok(Became::Message(Message {
            topic: self.routing.lanes(number)[lane.0].clone(),
            body: record.value.map(|_| body),
            properties,
            key: identity.key.map(std::borrow::Cow::into_owned),
        }))
    }
}

impl std::fmt::Debug for Again {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Again").field("stream", &self.stream).field("routing", &self.routing).finish_non_exhaustive()
    }
}

fn topics(name: &str, source: &Source) -> Vec<String> {
    match source {
        Source::Kafka(kafka) => vec![kafka.topic.clone()],
        Source::Rabbitmq(rabbitmq) => rabbitmq.queue_names().into_iter().map(str::to_owned).collect(),
        Source::Poll(_) => vec![name.to_owned()],
    }
}

pub(super) async fn routing(config: &Config, client: &Client) -> Result<Routing, String> {
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

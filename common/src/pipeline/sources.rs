//! The sources of a bridge: what the flows of each have to know, joining it, and leaving it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::identity::IdentityBy;
use super::membership::Membership;
use super::schemas::{Schemas, Versions, mirrored};
use super::start::Problem;
use crate::config::{self, Config, Format, IdempotencyKey, KafkaSource, OnGap, QueueType, RabbitmqSource, Source};
use crate::lane::{Numbering, Reach};
use crate::pulsar::{Client, SchemaInfo};
use crate::record::SourcePartition;
use crate::registry::Registry;
use crate::retry::Retry;
use crate::source::Start;
use crate::translate::{AvroPlan, AvroSchemas, Contract, OnUnknownField, WriterSchema};

/// How long what was stored of a queue is looked for after its acknowledgement: an acknowledgement can be lost with the
/// node that has not written it yet.
const REACH_MS: u64 = 120_000;

/// What is the same for all partitions of one `[source.<name>]`.
#[derive(Debug)]
pub(crate) struct SourceSettings {
    pub(crate) name: String,
    pub(crate) generation: u32,
    pub(crate) on_gap: OnGap,
    pub(crate) start: config::Start,
    pub(crate) format: Format,
    /// Whether its partitions have numbers of their own, as Kafka's have.
    pub(crate) has_partitions: bool,
    /// Whether the source has offsets, or its records are counted.
    pub(crate) numbering: Numbering,
    /// How far the marks stay behind.
    pub(crate) reach: Reach,
    /// What identifies a record, where something has to.
    pub(crate) identity: Option<IdentityBy>,
    /// What its values are translated by, where they are Avro.
    pub(crate) avro: Option<Avro>,
    /// Whether fields of Avro values that the contract lacks are looked for.
    pub(crate) counts_drift: bool,
    /// Where the schemas are that its values name.
    pub(crate) schemas: Option<Arc<Schemas>>,
    /// The schema of all its values, where they stay under their own.
    pub(crate) schema: Option<Arc<SchemaInfo>>,
}

/// What the values of a source are translated by, and what that needs.
#[derive(Default)]
struct Values {
    avro: Option<Avro>,
    schemas: Option<Arc<Schemas>>,
    schema: Option<Arc<SchemaInfo>>,
}

/// What Avro values are translated by.
#[derive(Debug)]
pub(crate) enum Avro {
    /// All of them were written under one schema.
    Given(Arc<AvroPlan>),
    /// Each names its schema.
    Registered(Arc<AvroSchemas>),
}

impl SourceSettings {
    pub(super) fn new(
        name: &str,
        source: &Source,
        config: &Config,
        contract: &Arc<Contract>,
        target: &Target<'_>,
    ) -> Result<Self, Problem> {
        let dedupe = config.dedupe.key.as_deref().map(IdentityBy::parse).transpose().map_err(Problem::config)?;
        let window_ms = u64::from(config.dedupe.window_seconds) * 1000;
        let reach = dedupe.as_ref().map_or_else(Reach::default, |_| Reach { ms: window_ms, records: 0 });
        let Values { avro, schemas, schema } = values(name, source, config, contract, target)?;
        let settings = Self {
            name: name.to_owned(),
            generation: 0,
            on_gap: OnGap::default(),
            start: config::Start::default(),
            format: source.format(),
            has_partitions: matches!(source, Source::Kafka(_)),
            numbering: Numbering::Offsets,
            reach,
            identity: dedupe.clone(),
            avro,
            counts_drift: !config.is_mirror() && config.contract.on_unknown_field != OnUnknownField::Ignore,
            schemas,
            schema,
        };
        Ok(match source {
            Source::Kafka(KafkaSource { generation, on_gap, start, .. }) => {
                Self { generation: *generation, on_gap: *on_gap, start: start.clone(), ..settings }
            }
            Source::Rabbitmq(rabbitmq) => Self::of_rabbitmq(rabbitmq, dedupe, settings, config),
            // What was polled is nowhere to be read again: nothing can be recognised, and nothing has to be.
            Source::Poll(_) => Self { numbering: Numbering::Counter, reach: Reach { records: 1, ..reach }, ..settings },
        })
    }

    fn of_rabbitmq(rabbitmq: &RabbitmqSource, dedupe: Option<IdentityBy>, settings: Self, config: &Config) -> Self {
        let (generation, on_gap, start) = (rabbitmq.generation, rabbitmq.on_gap, rabbitmq.start.clone());
        let settings = Self { generation, on_gap, start, ..settings };
        if rabbitmq.queue_type == QueueType::Stream {
            return settings;
        }
        let identity = rabbitmq.idempotency_key.as_ref().map(|key| match key {
            IdempotencyKey::MessageId => IdentityBy::message_id(),
            IdempotencyKey::Header(name) => IdentityBy::Header(name.clone()),
            IdempotencyKey::Json(path) => IdentityBy::Json(path.clone()),
        });
        let records = u64::from(rabbitmq.prefetch.unwrap_or_else(|| prefetch(config)));
        Self {
            numbering: Numbering::Counter,
            reach: Reach { records, ms: settings.reach.ms.max(REACH_MS) },
            // `at_least_once`: nothing is recognised. By the digest alone another message of the same content, sent after
            // the first was acknowledged, would be taken for it, and lost.
            identity: dedupe.or(identity),
            ..settings
        }
    }

    /// The name of a source partition: its producer's on every topic, and the key of its checkpoint. An on-wire format.
    pub(crate) fn producer_name(&self, stream: &str, source: &SourcePartition) -> String {
        let SourcePartition { cluster_id, topic, partition } = source;
        let name = format!("bridge/{stream}/{cluster_id}/{topic}/{partition}");
        match self.generation {
            0 => name,
            generation => format!("{name}/g{generation}"),
        }
    }

    /// What decides the target partition of a source partition. Queues have no numbers: theirs is made of the name (CRC-32C), so
    /// that it does not depend on what else is configured.
    pub(crate) fn routing_number(&self, source: &SourcePartition) -> u32 {
        match self.has_partitions {
            true => source.partition,
            false => crc32c::crc32c(source.topic.as_bytes()),
        }
    }

    /// Where a partition without a checkpoint starts. One that was added to the topic after the stream was first started
    /// (then with `source_partitions`) is read from its beginning, or its first records would be lost.
    pub(crate) fn start_of(&self, partition: u32, source_partitions: u32) -> Start {
        match &self.start {
            config::Start::Earliest => Start::Earliest,
            config::Start::Latest if partition >= source_partitions => Start::Earliest,
            config::Start::Latest => Start::Latest,
            config::Start::Time(time_ms) => Start::TimeMs(*time_ms),
            config::Start::Offsets(offsets) => offsets.get(&partition).copied().map_or(Start::Earliest, Start::Offset),
        }
    }
}

/// The target, as far as the values depend on it.
pub(super) struct Target<'t> {
    pub(super) client: &'t Client,
    /// How many partitions it has; 0 where it is not partitioned.
    pub(super) partitions: u32,
}

fn values(
    name: &str,
    source: &Source,
    config: &Config,
    contract: &Arc<Contract>,
    target: &Target<'_>,
) -> Result<Values, Problem> {
    let is_mirror = config.is_mirror();
    let schemas = match is_mirror {
        true => AvroSchemas::mirror(),
        false => AvroSchemas::to_contract(Arc::clone(contract), config.contract.on_unknown_field),
    };
    match source.format() {
        Format::Json | Format::Bytes => Ok(Values::default()),
        Format::Avro => {
            let writer = Arc::new(given_schema(name, source)?);
            let plan = schemas.compile(Arc::clone(&writer)).map_err(|error| wrong_schema(name, &error))?;
            if let Some(never) = plan.never() {
                let problem = format!("its records can never be the contract's: {never}");
                return Err(wrong_schema(name, &problem));
            }
            let schema = is_mirror.then(|| Arc::new(mirrored(&writer)));
            Ok(Values { avro: Some(Avro::Given(Arc::new(plan))), schema, ..Values::default() })
        }
        Format::ConfluentAvro => {
            let registry = Registry::new(&config.registry).map_err(Problem::config)?;
            let known = Arc::new(schemas);
            let topic = match target.partitions {
                0 => config.target.topic.to_string(),
                _ => config.target.topic.partition(0),
            };
            let versions = is_mirror.then(|| Arc::new(Versions::new(target.client.clone(), topic)));
            let schemas = Some(Arc::new(Schemas { registry, known: Arc::clone(&known), versions }));
            Ok(Values { avro: Some(Avro::Registered(known)), schemas, schema: None })
        }
    }
}

fn given_schema(name: &str, source: &Source) -> Result<WriterSchema, Problem> {
    let file = source.schema_file().ok_or_else(|| wrong_schema(name, &"format = \"avro\" needs one"))?;
    let text =
        std::fs::read_to_string(file).map_err(|error| wrong_schema(name, &format!("{}: {error}", file.display())))?;
    WriterSchema::parse(&text, &[]).map_err(|error| wrong_schema(name, &error))
}

fn wrong_schema(name: &str, problem: &dyn std::fmt::Display) -> Problem {
    Problem::config(format!("source.{name}.schema_file: {problem}"))
}

/// Deliveries of a queue that are under way at once, where nothing is set: records of some KiB fill half the memory then.
pub(super) fn prefetch(config: &Config) -> u16 {
    u16::try_from(config.limits.memory_mib.saturating_mul(64)).unwrap_or(u16::MAX).clamp(256, 10_000)
}

/// A source of a running bridge.
pub(super) struct Joined {
    pub(super) settings: Arc<SourceSettings>,
    /// `None` once it was left for good, and while it is joined again.
    pub(super) membership: Option<Membership>,
    /// Since when it is being joined again.
    pub(super) rejoining_since: Option<Instant>,
    /// How many partitions it had when it was joined last.
    partition_count: usize,
    /// Another instance has our identity as a static member: this one goes on without it until it is started again. What is
    /// said about it.
    pub(super) lost_identity: Option<String>,
    task_name: String,
    rejoins: Retry,
    last_rejoin: Option<Instant>,
    last_fenced: Option<Instant>,
}

/// A source that has worked for so long is joined again at once.
const WORKED: Duration = Duration::from_secs(300);

impl Joined {
    pub(super) fn new(settings: Arc<SourceSettings>, membership: Membership) -> Self {
        let task_name = format!("source.{}", settings.name);
        let partition_count = membership.partition_count() as usize;
        let rejoins = Retry::for_brokers();
        Self {
            settings,
            membership: Some(membership),
            rejoining_since: None,
            partition_count,
            lost_identity: None,
            task_name,
            rejoins,
            last_rejoin: None,
            last_fenced: None,
        }
    }

    /// It was fenced as a static member. Once, that may be an earlier membership of its own, after an outage; when it soon
    /// happens again, another instance lives under the same identity, and each would fence the other for ever: so it gives
    /// the identity up, and says so.
    pub(super) fn fenced(&mut self, said: &str) {
        let again = self.last_fenced.replace(Instant::now()).is_some_and(|last| last.elapsed() < WORKED);
        if again {
            self.lost_identity = Some(format!("{said}; going on as a member without an identity until the next start"));
        }
    }

    /// How long to wait before it is joined again.
    pub(super) fn rejoin_pause(&mut self) -> Duration {
        if self.last_rejoin.is_none_or(|last| last.elapsed() > WORKED) {
            self.rejoins = Retry::for_brokers();
        }
        self.last_rejoin = Some(Instant::now());
        self.rejoins.next_pause()
    }

    /// How many partitions it had when it was joined; none once it was left for good. While it is joined again they count:
    /// they will have to be read back as any others.
    pub(super) fn partition_count(&self) -> usize {
        if self.membership.is_some() || self.rejoining_since.is_some() { self.partition_count } else { 0 }
    }

    /// It was joined again.
    pub(super) fn rejoined(&mut self, membership: Membership) {
        self.partition_count = membership.partition_count() as usize;
        self.membership = Some(membership);
    }

    /// What `/livez` calls its task.
    pub(super) fn task_name(&self) -> &str {
        &self.task_name
    }
}

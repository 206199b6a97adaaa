//! What a comparison works with, found out before anything is read: the source's partitions and their ranges, the topics of
//! the target, who writes there.

use std::sync::Arc;

use bridge_common::config::{Config, KafkaSource, QueueType, Source, Start};
use bridge_common::pipeline::Workshop;
use bridge_common::pulsar::{Client, ClientConfig};
use bridge_common::record::SourcePartition;
use bridge_common::source::kafka::{KafkaSettings, KafkaTopic};

use super::content::Content;
use super::facts::Place;
use super::names::Names;
use super::range::RangeArguments;
use super::words;
use crate::terminal::now_ms;
use crate::topic::{max_message_bytes, partition_names};

/// One topic partition of the target.
#[derive(Debug, Clone)]
pub(crate) struct TopicPartition {
    pub(crate) name: String,
    pub(crate) place: Place,
}

/// A Kafka topic of the configuration.
#[derive(Debug)]
pub(crate) struct Kafka {
    /// The name of its table, `[source.<name>]`.
    pub(crate) table: String,
    pub(crate) config: KafkaSource,
    pub(crate) topic: Arc<KafkaTopic>,
}

/// One source partition that is compared.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// The place of its topic in [`Desk::kafka`].
    pub(crate) kafka: usize,
    pub(crate) source: SourcePartition,
    /// The name of its lanes' producers.
    pub(crate) name: String,
    /// The offsets that are compared, the last not included.
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// Where the source partition ended when this was asked for; this offset was not there yet.
    pub(crate) source_end: u64,
}

/// A source that cannot be read a second time.
#[derive(Debug, Clone)]
pub(crate) struct Unreadable {
    /// The queue, or the name of the table where it is polled.
    pub(crate) name: String,
    pub(crate) kind: UnreadableKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnreadableKind {
    /// A queue gives each message once.
    Queue,
    /// A RabbitMQ stream; it could be read again, and is not.
    Stream,
    /// What was polled is nowhere.
    Polled,
}

/// Everything that is needed to compare.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) config: Config,
    pub(crate) client: Client,
    pub(crate) workshop: Arc<Workshop>,
    pub(crate) kafka: Vec<Kafka>,
    pub(crate) parts: Vec<Part>,
    pub(crate) unreadable: Vec<Unreadable>,
    /// All partitions of all topics that the stream goes to.
    pub(crate) topics: Vec<TopicPartition>,
    /// The place of each route's topic among the distinct ones.
    pub(crate) routes: Vec<u8>,
    /// What the brokers take at most for a message.
    pub(crate) max_message_bytes: usize,
    /// Some partition may begin behind the source's first record, where only the target knows.
    pub(crate) starts_late: bool,
    /// What is compared, in words, and the time it begins with, if it is one.
    pub(crate) range: String,
    pub(crate) since_ms: Option<u64>,
    pub(crate) now_ms: u64,
}

impl Desk {
    /// Asks the servers what there is. Each question is bounded in time.
    pub(crate) async fn open(config: Config, contract: Option<String>, range: &RangeArguments) -> Result<Self, String> {
        let now_ms = now_ms();
        let client = Client::new(ClientConfig::of(&config.pulsar)).map_err(|error| error.to_string())?;
        let (topics, routes) = topics(&config, &client).await?;
        // Also tells whether the target is there, before anything else is asked.
        let max_message_bytes = max_message_bytes(&client, &topics[0].name).await;
        let max_message_bytes =
            max_message_bytes.map_err(|error| format!("{error}. Is the target there? `bridgectl check` tells more"))?;
        let workshop = Workshop::new(&config, contract.as_deref(), &client).await?;
        let (mut kafka, mut parts, mut unreadable) = (Vec::new(), Vec::new(), Vec::new());
        for (table, source) in &config.source {
            match source {
                Source::Kafka(source) => {
                    let topic = open_topic(&config, source).await?;
                    let (asked, range, start) = (Arc::clone(&topic), range.clone(), source.start.clone());
                    let ranges = blocking(move || range.resolve(&asked, &start, now_ms)).await?;
                    parts.extend(ranges.into_iter().map(|(partition, super::range::Resolved { range, end })| {
                        let source = topic.partition(partition);
                        let name = workshop.producer_name(table, &source);
                        Part { kafka: kafka.len(), source, name, from: range.start, to: range.end, source_end: end }
                    }));
                    kafka.push(Kafka { table: table.clone(), config: source.clone(), topic });
                }
                Source::Rabbitmq(source) => {
                    let kind = match source.queue_type {
                        QueueType::Stream => UnreadableKind::Stream,
                        _ => UnreadableKind::Queue,
                    };
                    let queues = source.queue_names().into_iter();
                    unreadable.extend(queues.map(|name| Unreadable { name: name.to_owned(), kind }));
                }
                Source::Poll(_) => unreadable.push(Unreadable { name: table.clone(), kind: UnreadableKind::Polled }),
            }
        }
        // Offsets that the operator names must be there.
        let starts_late = range.offsets.is_empty() && kafka.iter().any(|kafka| kafka.config.start == Start::Latest);
        Ok(Self {
            client,
            workshop: Arc::new(workshop),
            kafka,
            parts,
            unreadable,
            topics,
            routes,
            max_message_bytes,
            starts_late,
            range: range.words(now_ms),
            since_ms: range.since_ms(now_ms),
            now_ms,
            config,
        })
    }

    pub(crate) fn names(&self) -> Names {
        let partitions: Vec<String> = self.parts.iter().map(|part| part.name.clone()).collect();
        let unreadable = self.unreadable.iter().map(|source| source.name.clone()).collect();
        Names::new(&self.config.stream.name, &partitions, unreadable)
    }

    pub(crate) fn content(&self) -> Content {
        Content::new(self.config.dedupe.key.is_some(), self.config.target.digest)
    }

    /// Whether messages are also known by what identifies their events.
    pub(crate) fn has_keys(&self) -> bool {
        self.config.dedupe.key.is_some() || self.unreadable.iter().any(|source| source.kind == UnreadableKind::Queue)
    }
}

/// Asks Kafka for a topic of the configuration, as nobody's member of its group.
///
/// # Errors
/// What Kafka says, and where it was asked.
pub(crate) async fn open_topic(config: &Config, source: &KafkaSource) -> Result<Arc<KafkaTopic>, String> {
    let settings = KafkaSettings::from_config(config, source).map_err(|error| error.to_string())?;
    let settings = KafkaSettings { group_instance_id: None, ..settings };
    let brokers = settings.brokers.clone();
    let opened = blocking(move || KafkaTopic::open(settings).map(Arc::new).map_err(|error| words(&error))).await;
    opened.map_err(|problem| format!("{problem} (kafka.brokers is {brokers})"))
}

/// Runs what blocks beside the runtime's own thread.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?
}

/// All topic partitions of the target, the routes and the dead letters, and the place of each route's topic.
async fn topics(config: &Config, client: &Client) -> Result<(Vec<TopicPartition>, Vec<u8>), String> {
    let mut distinct = vec![config.target.topic.to_string()];
    let mut routes = Vec::new();
    for route in config.route.values() {
        let topic = route.topic.to_string();
        let known = distinct.iter().position(|other| *other == topic);
        let place = known.unwrap_or_else(|| {
            distinct.push(topic);
            distinct.len() - 1
        });
        routes.push(u8::try_from(place).map_err(|_| "more than 255 topics are more than verify compares".to_owned())?);
    }
    let mut all = Vec::new();
    for (topic, place) in distinct.iter().zip(0..) {
        let place = Place::Topic(place);
        let partitions = client.partitions(topic).await.map_err(|error| error.to_string())?;
        all.extend(partition_names(topic, partitions).into_iter().map(|name| TopicPartition { name, place }));
    }
    all.push(TopicPartition { name: config.dead_letter_topic().to_string(), place: Place::DeadLetters });
    Ok((all, routes))
}

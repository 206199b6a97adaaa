//! The checker: reads all that the sources of a bridge hold (of a queue: what was published to it) and all that its target,
//! routes and dead letters hold in Pulsar, by clients that are not the bridge's, and says what is missing, doubled, out of
//! order, different, in the wrong topic, or nobody's.

use std::path::PathBuf;
use std::sync::Arc;

use crate::Result;
use crate::assess::assess;
use crate::expect::Rules;
use crate::oracle::Oracle;
pub use crate::report::{Counts, Lanes, Parity};
use crate::source_reader::{self, SourceRecords};
use crate::target_reader::{self, Names, SourceName};

/// What to compare.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the records came from.
    pub sources: Vec<Source>,
    /// Pulsar's binary address.
    pub pulsar_url: String,
    /// The target topic.
    pub target: String,
    /// In which of its partitions (and in which of a route's) records are expected.
    pub placement: Placement,
    /// Records that belong elsewhere; in the order of their names.
    pub routes: Vec<Route>,
    /// The dead-letter topic.
    pub dead_letters: String,
    /// The file with the contract.
    pub contract: PathBuf,
    /// The path in the event of what identifies it over all sources: each arrives once.
    pub dedupe: Option<String>,
    /// Whether every message must carry the SHA-256 of its source's bytes; those from queues always must.
    pub digest: bool,
    /// Records whose translation is larger belong in the dead letters.
    pub max_message_bytes: usize,
    /// Whether messages of producers other than the bridge are none of our business.
    pub allow_other_writers: bool,
    /// Whether the bridge has sources that nobody can read again, such as polled ones: their messages are not compared.
    pub allow_other_sources: bool,
    /// How many copies of a message that was published several times may be missing: where a redelivery falls between
    /// two copies, nobody can tell the second from the first (see the README's table of queues).
    pub copies_in_doubt: usize,
    /// Whether the source may have lost what it was mirrored from, to retention or compaction: what the target has besides is
    /// no finding.
    pub forgets: bool,
    /// The generation of the source's lanes; messages of others are none of our business.
    pub generation: u32,
    /// How many findings to name.
    pub named: usize,
}

/// Where in a partitioned topic the records of a Kafka partition are expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Those of partition p in partition p mod n.
    BySource,
    /// In any: those that are in one partition are in the source's order there. For records that went by their keys, and
    /// where the routing has changed.
    Anywhere,
}

/// A source of the bridge.
#[derive(Debug, Clone)]
pub enum Source {
    /// A Kafka topic.
    Kafka {
        /// Kafka's bootstrap servers.
        brokers: String,
        /// The topic.
        topic: String,
    },
    /// RabbitMQ queues that one publisher feeds.
    Queue {
        /// The queues; several are partitions of one source.
        queues: Vec<String>,
        /// What was published to them.
        journal: PathBuf,
        /// What identifies an event.
        identity: Identity,
        /// Whether the messages must be in the order in which they were published: of a stream, or of a queue from which
        /// nothing was delivered twice.
        ordered: bool,
    },
}

/// What identifies an event of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// Nothing: a stream has offsets.
    None,
    /// A header, or a property by its name as a header: `amqp.message-id`.
    Header(String),
    /// A path into the body.
    Json(String),
}

/// A route by an event's field.
#[derive(Debug, Clone)]
pub struct Route {
    /// Its name.
    pub name: String,
    /// The path of the field.
    pub field: String,
    /// The texts that go this way.
    pub equals: Vec<String>,
    /// The topic.
    pub topic: String,
}

impl Source {
    /// What it is called in findings.
    pub(crate) fn name(&self) -> String {
        match self {
            Source::Kafka { topic, .. } => topic.clone(),
            Source::Queue { queues, .. } => queues.join("+"),
        }
    }
}

impl Settings {
    /// A Kafka topic, the usual dead-letter topic and limits.
    pub fn new(brokers: &str, topic: &str, pulsar_url: &str, target: &str, contract: impl Into<PathBuf>) -> Self {
        let kafka = Source::Kafka { brokers: brokers.to_owned(), topic: topic.to_owned() };
        Self::of(vec![kafka], pulsar_url, target, contract)
    }

    /// These sources, the usual dead-letter topic and limits.
    pub fn of(sources: Vec<Source>, pulsar_url: &str, target: &str, contract: impl Into<PathBuf>) -> Self {
        Self {
            sources,
            pulsar_url: pulsar_url.to_owned(),
            target: target.to_owned(),
            placement: Placement::BySource,
            routes: Vec::new(),
            dead_letters: format!("{target}-dead-letters"),
            contract: contract.into(),
            dedupe: None,
            copies_in_doubt: 0,
            digest: false,
            max_message_bytes: 5 << 20,
            allow_other_writers: false,
            allow_other_sources: false,
            forgets: false,
            generation: 0,
            named: 20,
        }
    }

    /// Adds a route; they are kept in the order of their names.
    pub fn with_route(mut self, name: &str, field: &str, equals: &[&str], topic: &str) -> Self {
        self.routes.push(Route {
            name: name.to_owned(),
            field: field.to_owned(),
            equals: equals.iter().map(|text| (*text).to_owned()).collect(),
            topic: topic.to_owned(),
        });
        self.routes.sort_by(|a, b| a.name.cmp(&b.name));
        self
    }

    /// How the target tells whose a message is, and what it must carry.
    fn names(&self, derives: bool) -> Names {
        let name = |source: &Source| match source {
            Source::Kafka { topic, .. } => SourceName {
                topics: vec![topic.clone()],
                is_queue: false,
                has_digest: self.digest,
                has_identity: self.dedupe.is_some(),
            },
            Source::Queue { queues, identity, .. } => SourceName {
                topics: queues.clone(),
                is_queue: true,
                has_digest: self.digest || *identity != Identity::None,
                has_identity: self.dedupe.is_some() || *identity != Identity::None,
            },
        };
        Names { sources: self.sources.iter().map(name).collect(), generation: self.generation, derives }
    }

    /// The target, the routes, and last the dead letters: what each is called, and the topic.
    pub(crate) fn topics(&self) -> Vec<(String, String)> {
        let routes = self.routes.iter().map(|route| (format!("route {}", route.name), route.topic.clone()));
        let mut topics = vec![("target".to_owned(), self.target.clone())];
        topics.extend(routes);
        topics.push(("dead letters".to_owned(), self.dead_letters.clone()));
        topics
    }
}

/// Reads everything and compares. An error is a failure to read; what does not match is in the result.
pub async fn check(settings: &Settings) -> Result<Parity> {
    let oracle = Oracle::from_file(&settings.contract)?;
    let names = Arc::new(settings.names(oracle.derives()));
    let rules = Arc::new(Rules::new(oracle, settings));
    let sources = async {
        let mut all: Vec<SourceRecords> = Vec::new();
        for source in &settings.sources {
            all.push(source_reader::read(source, &rules).await?);
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(all)
    };
    let topics = async {
        let mut all = Vec::new();
        for (_, topic) in settings.topics() {
            all.push(target_reader::read(&settings.pulsar_url, &topic, &names).await?);
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(all)
    };
    let (sources, topics) = tokio::join!(sources, topics);
    Ok(assess(settings, &sources?, &topics?))
}

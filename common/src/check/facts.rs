//! What is known of the servers: fetched in `fetch`, judged in `verdict`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::config::TopicName;

/// A fact, or why it is not known.
pub type Told<T> = Result<T, String>;

/// What a Pulsar topic is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The target, or a route's.
    Target,
    /// The dead letters.
    DeadLetters,
    /// The checkpoints.
    Checkpoints,
}

/// A Pulsar cluster, as far as one stream sees it.
#[derive(Debug, Clone, Default)]
pub struct PulsarFacts {
    /// Whether a broker answers at `pulsar.url`.
    pub binary: Option<Told<()>>,
    /// Whether the admin API answers; `None` where there is no URL.
    pub admin: Option<Told<()>>,
    /// By namespace.
    pub namespaces: BTreeMap<String, NamespaceFacts>,
    /// The target first.
    pub topics: Vec<TopicFacts>,
    /// The broker's own settings, by their names.
    pub broker: Option<Told<Value>>,
}

/// A namespace.
#[derive(Debug, Clone)]
pub struct NamespaceFacts {
    /// Its own rule about topics that spring into being; `Null`: the broker's holds.
    pub auto_creation: Told<Value>,
    /// Its own retention; `Null`: the broker's holds.
    pub retention: Told<Value>,
    /// Its publish rate; `Null`: none.
    pub publish_rate: Told<Value>,
}

/// A topic.
#[derive(Debug, Clone)]
pub struct TopicFacts {
    /// Its name.
    pub topic: TopicName,
    /// What it is for.
    pub role: Role,
    /// Its partitions: 0 where it is not partitioned, `None` where there is no such topic.
    pub partitions: Told<Option<u32>>,
    /// What holds for it, by the admin API's names. Empty without an admin API.
    pub policies: BTreeMap<&'static str, Told<Value>>,
    /// Whether the broker deduplicates.
    pub deduplicates: Told<bool>,
    /// Its schemas, where it should have one.
    pub schema: Option<Told<SchemaFacts>>,
    /// Whether we may write to it; `None`: not tried, since it is not known to exist.
    pub may_produce: Option<Told<()>>,
    /// Whether we may read it; `None` as above.
    pub may_consume: Option<Told<()>>,
    /// What the broker takes at most.
    pub max_message_bytes: Option<u64>,
}

/// The schemas of a topic.
#[derive(Debug, Clone)]
pub struct SchemaFacts {
    /// All versions, the newest last: number, kind and definition.
    pub versions: Vec<(i64, String, String)>,
    /// Whether the topic's own policy takes the contract; `Err` where the broker did not say.
    pub takes_contract: Told<bool>,
}

/// A Kafka topic.
#[derive(Debug, Clone)]
pub struct KafkaFacts {
    /// The topic.
    pub topic: String,
    /// The group.
    pub group: String,
    /// Its partitions; `None` where there is no such topic.
    pub partitions: Told<Option<u32>>,
    /// Its settings by their names.
    pub settings: Told<BTreeMap<String, String>>,
    /// Whether it may be read.
    pub may_read: Option<Told<()>>,
    /// Whether the group may be looked at.
    pub may_group: Option<Told<()>>,
}

/// A RabbitMQ cluster, as far as one source sees it.
#[derive(Debug, Clone)]
pub struct RabbitFacts {
    /// The server's version over AMQP.
    pub amqp: Told<String>,
    /// By queue: whether it is there, as AMQP says. Empty where nothing answers.
    pub declared: BTreeMap<String, Told<bool>>,
    /// What the management API shows; `None` where there is no URL.
    pub management: Option<Told<ManagementFacts>>,
}

/// What the management API shows.
#[derive(Debug, Clone, Default)]
pub struct ManagementFacts {
    /// The server's version.
    pub version: String,
    /// The queues that are there.
    pub queues: BTreeMap<String, Value>,
    /// The exchanges that are there, of all that are named anywhere.
    pub exchanges: BTreeMap<String, Value>,
    /// The bindings of a pair of exchange and queue.
    pub bindings: BTreeMap<(String, String), Vec<Value>>,
    /// The user's permissions in the vhost: `configure`, `write`, `read`, as regular expressions.
    pub permissions: Option<Told<Value>>,
}

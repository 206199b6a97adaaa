//! A Kafka cluster as an endpoint: what its own protocol tells. There is no latency, memory, CPU or uptime in it, and no
//! count of connections.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::metadata::Metadata;
use rdkafka::{ClientConfig, Offset as KafkaOffset, TopicPartitionList};
use serde_json::{Map, Value, json};

use super::KafkaAccess;
use super::figures::{Counter, Figure, Observation};
use crate::source::SourceError;

/// Of how many partitions the ends and the lag are asked for. Beyond it they are missing.
const MOST_PARTITIONS: usize = 5_000;
/// What is left for the next question at the least.
const LEAST_PATIENCE: Duration = Duration::from_millis(100);

/// The ends of all partitions, by topic and partition.
type Ends = BTreeMap<(String, i32), i64>;

/// The cluster.
#[derive(Clone)]
pub(super) struct KafkaEndpoint {
    clients: Arc<Mutex<Clients>>,
    timeout: Duration,
}

/// The clients; each has connections of its own.
struct Clients {
    config: ClientConfig,
    asking: BaseConsumer,
    /// librdkafka tells the committed offsets of a client's own group only. None of these joins its group.
    groups: BTreeMap<String, BaseConsumer>,
    groups_max: usize,
}

impl KafkaEndpoint {
    /// Opens the connections in the background.
    ///
    /// # Errors
    /// [`SourceError::Setting`] when librdkafka refuses a setting.
    pub(super) fn new(access: &KafkaAccess, groups_max: u32, timeout: Duration) -> Result<Self, SourceError> {
        let mut config = ClientConfig::new();
        for (key, value) in &access.properties {
            config.set(key, value);
        }
        config
            .set("bootstrap.servers", &access.brokers)
            .set("client.id", &access.client_id)
            .set("enable.auto.commit", "false")
            .set("allow.auto.create.topics", "false")
            .set_log_level(RDKafkaLogLevel::Critical);
        config.remove("group.instance.id");
        let groups_max = groups_max as usize;
        let asking = config.create().map_err(|error| {
            let key = match &error {
                KafkaError::ClientConfig(_, _, key, _) => format!("kafka.properties.{key}"),
                _ => "kafka".to_owned(),
            };
            SourceError::Setting { key, reason: error.to_string() }
        })?;
        let clients = Clients { config, asking, groups: BTreeMap::new(), groups_max };
        Ok(Self { clients: Arc::new(Mutex::new(clients)), timeout })
    }

    /// Asks once.
    ///
    /// # Errors
    /// librdkafka's words, when no broker answers.
    pub(super) async fn observe(&self) -> Result<Observation, String> {
        let (clients, deadline) = (Arc::clone(&self.clients), Instant::now() + self.timeout);
        let asked = tokio::task::spawn_blocking(move || match clients.try_lock() {
            Ok(mut clients) => clients.observe(deadline),
            Err(TryLockError::WouldBlock) => Err("the poll before has not ended yet".to_owned()),
            Err(TryLockError::Poisoned(clients)) => PoisonError::into_inner(clients).observe(deadline),
        });
        asked.await.map_err(|error| format!("the poll broke off: {error}"))?
    }
}

impl Clients {
    fn observe(&mut self, deadline: Instant) -> Result<Observation, String> {
        let metadata = self.asking.fetch_metadata(None, left(deadline)).map_err(|error| error.to_string())?;
        let topics = partitions(&metadata);
        let count: usize = topics.values().sum();
        let mut observed = Observation::default();
        observed.values.insert(Figure::BrokerCount, metadata.brokers().len() as f64);
        observed.values.insert(Figure::PartitionCount, count as f64);
        observed.stats.insert("topics".to_owned(), json!(topics.len()));
        if count > MOST_PARTITIONS {
            return Ok(observed);
        }
        let Some(ends) = self.ends(&topics, deadline) else { return Ok(observed) };
        if ends.len() == count {
            let series = ends.iter().map(|((topic, partition), end)| (format!("{topic}/{partition}"), *end as f64));
            let counter = Counter { series: series.collect(), scale: 1.0 };
            observed.counters.insert(Figure::MessagesPerSecond, counter);
        }
        self.groups(&ends, deadline, &mut observed.stats);
        Ok(observed)
    }

    /// The ends of all partitions that have a leader, with one question per broker; `None` where nobody answers it.
    fn ends(&self, topics: &BTreeMap<String, usize>, deadline: Instant) -> Option<Ends> {
        let mut asked = TopicPartitionList::new();
        for (topic, partitions) in topics {
            for partition in 0..*partitions as i32 {
                // As a time, the end's -1 asks for the latest offset.
                asked.add_partition_offset(topic, partition, KafkaOffset::End).ok()?;
            }
        }
        let told = self.asking.offsets_for_times(asked, patience(deadline)?).ok()?;
        let end = |element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
            element.error().ok()?;
            match element.offset() {
                KafkaOffset::Offset(end) => Some(((element.topic().to_owned(), element.partition()), end)),
                _ => None,
            }
        };
        Some(told.elements().iter().filter_map(end).collect())
    }

    /// The lag of the groups, as far as the time and the bound allow. What is left out is counted.
    fn groups(&mut self, ends: &Ends, deadline: Instant, stats: &mut Map<String, Value>) {
        let listed = patience(deadline).and_then(|left| self.asking.client().fetch_group_list(None, left).ok());
        let Some(listed) = listed else { return };
        let mut names: Vec<String> = listed.groups().iter().map(|group| group.name().to_owned()).collect();
        let all = names.len();
        names.sort();
        names.truncate(self.groups_max);
        self.groups.retain(|name, _| names.binary_search(name).is_ok());
        let mut told = Map::new();
        for name in &names {
            let Some(left) = patience(deadline) else { break };
            if let Some(lag) = self.lag(name, ends, left) {
                told.insert(name.clone(), lag);
            }
        }
        stats.insert("groupsOmitted".to_owned(), json!(all - told.len()));
        stats.insert("groups".to_owned(), Value::Object(told));
    }

    /// How far a group's committed offsets are behind the ends, over the partitions for which it has committed any.
    fn lag(&mut self, group: &str, ends: &Ends, patience: Duration) -> Option<Value> {
        if !self.groups.contains_key(group) {
            let client = self.config.clone().set("group.id", group).create().ok()?;
            self.groups.insert(group.to_owned(), client);
        }
        let mut asked = TopicPartitionList::new();
        for (topic, partition) in ends.keys() {
            asked.add_partition(topic, *partition);
        }
        let committed = self.groups.get(group)?.committed_offsets(asked, patience).ok()?;
        let (mut partitions, mut lag) = (0, 0);
        for element in committed.elements() {
            let KafkaOffset::Offset(offset) = element.offset() else { continue };
            element.error().ok()?;
            let end = ends.get(&(element.topic().to_owned(), element.partition()))?;
            partitions += 1;
            lag += (end - offset).max(0);
        }
        Some(json!({ "lag": lag, "partitions": partitions }))
    }
}

/// The partitions of each topic that is not Kafka's own.
fn partitions(metadata: &Metadata) -> BTreeMap<String, usize> {
    let theirs = metadata.topics().iter().filter(|topic| !topic.name().starts_with("__"));
    theirs.map(|topic| (topic.name().to_owned(), topic.partitions().len())).collect()
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(LEAST_PATIENCE)
}

/// How long the next question may take; `None`: there is no time left for it.
fn patience(deadline: Instant) -> Option<Duration> {
    Some(deadline.saturating_duration_since(Instant::now())).filter(|left| *left >= LEAST_PATIENCE)
}

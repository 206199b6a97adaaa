//! What a Kafka source is told, and how librdkafka is told.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use super::super::SourceError;
use crate::config::{Config, ConfigError, KafkaSection, KafkaSource, SaslMechanism, read_secret};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// Settings of librdkafka that `properties` may not touch: exactly-once rests on each of them.
const FIXED: [&str; 9] = [
    "auto.offset.reset",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "group.id",
    "group.protocol",
    "isolation.level",
    "partition.assignment.strategy",
    "auto.commit.enable",
];

/// A Kafka source, complete.
#[derive(Debug, Clone)]
pub struct KafkaSettings {
    /// `host:port,...`
    pub brokers: String,
    /// The topic.
    pub topic: String,
    /// The stream's name: the client id is `bridge-<stream>`.
    pub stream: String,
    /// The consumer group's name.
    pub group_id: String,
    /// Makes the membership static: a restart within the session time-out keeps its partitions and causes no rebalance.
    pub group_instance_id: Option<String>,
    /// How much memory the fetched and not yet taken records of all partitions may use.
    pub queue_bytes: u64,
    /// How long a revoke waits for the pipeline to drain. Below `max.poll.interval.ms`, which is five minutes.
    pub revoke_deadline: Duration,
    /// The broker answers a fetch when it has so many bytes...
    pub fetch_min_bytes: u32,
    /// ...or after this time. Longer costs latency, shorter costs requests on an idle topic.
    pub fetch_wait_max_ms: u32,
    /// How long a question to the brokers may take.
    pub request_timeout: Duration,
    /// How often the topic is looked at for added partitions.
    pub metadata_refresh: Duration,
    /// Further settings of librdkafka by its own names, TLS and SASL among them. They win over all but the ones that
    /// exactly-once rests on, which are refused.
    pub properties: BTreeMap<String, String>,
}

impl KafkaSettings {
    /// The settings of a stream's topic, everything else at its default.
    pub fn new(brokers: impl Into<String>, topic: impl Into<String>, stream: impl Into<String>) -> Self {
        let stream = stream.into();
        KafkaSettings {
            brokers: brokers.into(),
            topic: topic.into(),
            group_id: format!("bridge-{stream}"),
            stream,
            group_instance_id: None,
            queue_bytes: 16 * MIB,
            revoke_deadline: Duration::from_secs(30),
            fetch_min_bytes: 64 * KIB as u32,
            fetch_wait_max_ms: 5,
            request_timeout: Duration::from_secs(10),
            metadata_refresh: Duration::from_secs(10),
            properties: BTreeMap::new(),
        }
    }

    /// The settings of a configured source; memory, deadlines and a static identity are the caller's.
    ///
    /// # Errors
    /// When the password's file cannot be read.
    pub fn from_config(config: &Config, source: &KafkaSource) -> Result<Self, ConfigError> {
        let section = &config.kafka;
        let mut settings = Self::new(&section.brokers, &source.topic, &config.stream.name);
        settings.group_id = config.group_of(source);
        settings.properties = client_properties(section)?;
        settings.properties.insert("session.timeout.ms".to_owned(), section.session_timeout_ms.to_string());
        Ok(settings)
    }

    /// What any client of this source needs.
    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", format!("bridge-{}", self.stream))
            .set("reconnect.backoff.ms", "100")
            .set("reconnect.backoff.max.ms", "5000")
            .set_log_level(RDKafkaLogLevel::Warning);
        config
    }

    /// A client that only asks questions, before the group is joined.
    pub(crate) fn probe(&self) -> Result<ClientConfig, SourceError> {
        self.with_properties(self.client())
    }

    /// The group's consumer for a topic of so many partitions.
    pub(super) fn consumer(&self, partitions: u32) -> Result<ClientConfig, SourceError> {
        let memory = Memory::share(self.queue_bytes, partitions);
        let mut config = self.client();
        config
            .set("group.id", &self.group_id)
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            .set("allow.auto.create.topics", "false")
            .set("topic.metadata.refresh.interval.ms", self.metadata_refresh.as_millis().to_string())
            .set("fetch.queue.backoff.ms", "5")
            .set("fetch.error.backoff.ms", "100")
            .set("fetch.min.bytes", self.fetch_min_bytes.to_string())
            .set("fetch.wait.max.ms", self.fetch_wait_max_ms.to_string())
            .set("fetch.message.max.bytes", memory.fetch_bytes.to_string())
            .set("fetch.max.bytes", memory.response_bytes.to_string())
            .set("queued.min.messages", memory.queued_messages.to_string())
            .set("queued.max.messages.kbytes", memory.queued_kib.to_string());
        if let Some(id) = &self.group_instance_id {
            config.set("group.instance.id", id);
        }
        self.with_properties(config)
    }

    fn with_properties(&self, mut config: ClientConfig) -> Result<ClientConfig, SourceError> {
        for (key, value) in &self.properties {
            if FIXED.contains(&key.as_str()) {
                let reason = "exactly-once rests on the bridge's own choice: remove it".to_owned();
                return Err(SourceError::Setting { key: key.clone(), reason });
            }
            config.set(key, value);
        }
        Ok(config)
    }
}

/// Further settings, TLS and SASL among them, by librdkafka's names.
///
/// # Errors
/// When the password's file cannot be read.
pub fn client_properties(section: &KafkaSection) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut properties = section.properties.clone();
    let mut set = |key: &str, value: String| properties.insert(key.to_owned(), value);
    let password = read_secret(section.sasl.password.as_ref(), section.sasl.password_file.as_deref())?;
    let mechanism = match section.sasl.mechanism {
        SaslMechanism::None => None,
        SaslMechanism::Plain => Some("PLAIN"),
        SaslMechanism::ScramSha256 => Some("SCRAM-SHA-256"),
        SaslMechanism::ScramSha512 => Some("SCRAM-SHA-512"),
    };
    let protocol = match (section.tls.enabled, mechanism.is_some()) {
        (false, false) => None,
        (true, false) => Some("ssl"),
        (false, true) => Some("sasl_plaintext"),
        (true, true) => Some("sasl_ssl"),
    };
    if let Some(protocol) = protocol {
        set("security.protocol", protocol.to_owned());
    }
    if let Some(mechanism) = mechanism {
        set("sasl.mechanism", mechanism.to_owned());
        set("sasl.username", section.sasl.username.clone().unwrap_or_default());
        set("sasl.password", password.map(|password| password.expose().to_owned()).unwrap_or_default());
    }
    let files = [
        ("ssl.ca.location", &section.tls.ca_file),
        ("ssl.certificate.location", &section.tls.certificate_file),
        ("ssl.key.location", &section.tls.key_file),
    ];
    for (key, file) in files.into_iter().filter_map(|(key, file)| file.as_ref().map(|file| (key, file))) {
        set(key, file.display().to_string());
    }
    Ok(properties)
}

/// The memory budget as librdkafka's settings. It bounds each partition's queue alone, and checks before a fetch only:
/// a queue may hold its bound and one fetch more. A single record larger than a fetch still comes, whole.
///
/// librdkafka counts bodies and keys. What else it keeps of each record is more than a small record itself, so their number
/// is bounded, too.
#[derive(Debug, PartialEq, Eq)]
struct Memory {
    queued_kib: u64,
    queued_messages: u64,
    fetch_bytes: u64,
    response_bytes: u64,
}

impl Memory {
    /// The least that a partition can work with.
    const FLOOR: u64 = 128 * KIB;
    /// What a small record takes in a queue, with what librdkafka keeps beside it (about 400 bytes).
    const SMALL_RECORD: u64 = 800;

    fn share(budget: u64, partitions: u32) -> Memory {
        let share = (budget / u64::from(partitions.max(1))).max(Self::FLOOR);
        let fetch_bytes = (share / 8).clamp(Self::FLOOR / 2, MIB);
        Memory {
            queued_kib: (share - fetch_bytes) / KIB,
            queued_messages: (share / Self::SMALL_RECORD).min(20_000),
            fetch_bytes,
            response_bytes: budget.clamp(fetch_bytes.max(MIB), 50 * MIB),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_all_partitions_stays_within_the_budget() {
        for partitions in [1, 3, 10, 20, 100] {
            let memory = Memory::share(16 * MIB, partitions);
            let all = u64::from(partitions) * (memory.queued_kib * KIB + memory.fetch_bytes);
            assert!(all <= 16 * MIB, "{partitions} partitions: {memory:?} make {all}");
            assert!(memory.queued_kib > 0 && memory.fetch_bytes >= 64 * KIB, "{memory:?}");
            assert!(u64::from(partitions) * memory.queued_messages * 800 <= 16 * MIB, "{partitions}: {memory:?}");
            assert!(memory.queued_messages >= 100, "enough to work with: {memory:?}");
        }
    }

    #[test]
    fn what_exactly_once_rests_on_cannot_be_overridden() {
        let mut settings = KafkaSettings::new("127.0.0.1:1", "t", "s");
        settings.properties.insert("isolation.level".into(), "read_uncommitted".into());
        let Err(SourceError::Setting { key, .. }) = settings.consumer(1) else { panic!("accepted") };
        assert_eq!(key, "isolation.level");
    }

    #[test]
    fn other_properties_win() {
        let mut settings = KafkaSettings::new("127.0.0.1:1", "t", "s");
        settings.properties.insert("session.timeout.ms".into(), "6000".into());
        let config = settings.consumer(1).expect("good settings");
        assert_eq!(config.get("session.timeout.ms"), Some("6000"));
        assert_eq!(config.get("group.id"), Some("bridge-s"));
        assert_eq!(config.get("auto.offset.reset"), Some("error"));
    }
}

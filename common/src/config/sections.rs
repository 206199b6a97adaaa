//! The sections of the configuration. Each key's doc comment is its reference.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};

use super::choices::*;
use super::source::Source;
use super::target::*;
use super::{RabbitmqSection, Secret, TopicName, UnroutableSection};

/// Everything that one bridge is told.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Which stream this is.
    pub stream: StreamSection,
    /// The Kafka cluster, shared by all sources of kind `kafka`.
    #[serde(default)]
    pub kafka: KafkaSection,
    /// The RabbitMQ cluster, shared by all sources of kind `rabbitmq`.
    #[serde(default)]
    pub rabbitmq: RabbitmqSection,
    /// The Pulsar cluster.
    #[serde(default)]
    pub pulsar: PulsarSection,
    /// The schema registry, for sources that carry schema ids.
    #[serde(default)]
    pub registry: RegistrySection,
    /// The sources, by names of your choice (lower-case letters, digits and `_`).
    pub source: BTreeMap<String, Source>,
    /// What the target promises.
    #[serde(default)]
    pub contract: ContractSection,
    /// Where the records go.
    pub target: TargetSection,
    /// Other targets for some of the records, by names of your choice; the first in the order of the names that fits is taken.
    #[serde(default)]
    pub route: BTreeMap<String, RouteSection>,
    /// What makes two records the same event, where several sources may bring it.
    #[serde(default)]
    pub dedupe: DedupeSection,
    /// Where the records go that can never be translated or published.
    #[serde(default)]
    pub dead_letters: DeadLettersSection,
    /// What a bridge may use at most.
    #[serde(default)]
    pub limits: LimitsSection,
    /// The bridge's own HTTP.
    #[serde(default)]
    pub http: HttpSection,
    /// What is written to standard error.
    #[serde(default)]
    pub log: LogSection,
    /// When a bridge calls itself unready.
    #[serde(default)]
    pub health: HealthSection,
    /// How a bridge stops.
    #[serde(default)]
    pub shutdown: ShutdownSection,
    /// What `bridgectl` needs to know to operate this bridge.
    #[serde(default)]
    pub fleet: FleetSection,
    /// What `bridgectl setup` creates; a running bridge does not read it.
    #[serde(default)]
    pub setup: SetupSection,
}

/// `[stream]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StreamSection {
    /// The stream's name: part of the Kafka group, the producer names and all metrics. Changing it starts a new sequence.
    pub name: String,
    /// True: the bridge runs, owns its partitions and answers on HTTP, but reads nothing until it is restarted with false.
    #[serde(default)]
    pub paused: bool,
}

/// `[kafka]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaSection {
    /// Bootstrap servers, `host:port`, separated by commas.
    pub brokers: String,
    /// Milliseconds after which the group gives a dead bridge's partitions away. 1000 to 3600000, within the broker's own range.
    pub session_timeout_ms: u32,
    /// What the name of a stream's consumer group begins with: the group of `[stream] name = "jobs"` is `bridge-jobs`, or whatever
    /// an access list allows. A changed name is a new group, which goes on where the checkpoints say: nothing is published twice. Change it
    /// while no instance runs (both groups would be given all partitions), and keep the old group until the new one has committed. Letters, digits, '.', '_' and '-', 100 at most.
    pub group_prefix: String,
    /// A stable name for static group membership (a pod's name): a restart within the session time-out keeps its
    /// partitions. Unset: dynamic membership. Must differ between the instances of one bridge; the member that reads
    /// `[source.NAME]` has `<instance_id>.NAME` as its `group.instance.id`. Letters, digits, '.', '_' and '-', 200 at most.
    pub instance_id: Option<String>,
    /// TLS towards the brokers.
    pub tls: TlsSection,
    /// SASL towards the brokers.
    pub sasl: SaslSection,
    /// Further librdkafka settings, as they are (`"socket.keepalive.enable" = "true"`). Settings that the exactly-once rules depend on are
    /// refused here.
    pub properties: BTreeMap<String, String>,
}

impl Default for KafkaSection {
    fn default() -> Self {
        Self {
            brokers: "127.0.0.1:9092".to_owned(),
            session_timeout_ms: 15_000,
            group_prefix: "bridge-".to_owned(),
            instance_id: None,
            tls: TlsSection::default(),
            sasl: SaslSection::default(),
            properties: BTreeMap::new(),
        }
    }
}

/// `[kafka.tls]`, `[pulsar.tls]`, `[registry.tls]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSection {
    /// Kafka only: speak TLS. Pulsar and the registry say it by the scheme of their URL.
    pub enabled: bool,
    /// PEM file of the certificate authorities to trust. Unset: those of the system.
    pub ca_file: Option<PathBuf>,
    /// PEM file of the client's certificate chain, for mutual TLS. Needs `key_file`.
    pub certificate_file: Option<PathBuf>,
    /// PEM file of the client's private key. Needs `certificate_file`.
    pub key_file: Option<PathBuf>,
}

/// `[kafka.sasl]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SaslSection {
    /// `none`, `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
    #[serde(deserialize_with = "choice")]
    pub mechanism: SaslMechanism,
    /// The user.
    pub username: Option<String>,
    /// The password; from the environment only.
    pub password: Option<Secret>,
    /// The file that holds the password.
    pub password_file: Option<PathBuf>,
}

/// `[pulsar]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PulsarSection {
    /// The service URL: `pulsar://host:port`, or `pulsar+ssl://host:port`.
    pub url: String,
    /// The admin URL (`http://` or `https://`). Empty: the bridge never uses the admin API, and `target.deduplication` must be `asserted`.
    pub admin_url: String,
    /// TLS towards Pulsar, for both URLs.
    pub tls: TlsSection,
    /// How to log in, for both URLs.
    pub auth: PulsarAuthSection,
}

impl Default for PulsarSection {
    fn default() -> Self {
        Self {
            url: "pulsar://127.0.0.1:6650".to_owned(),
            admin_url: "http://127.0.0.1:8080".to_owned(),
            tls: TlsSection::default(),
            auth: PulsarAuthSection::default(),
        }
    }
}

/// `[pulsar.auth]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PulsarAuthSection {
    /// `none`, `token` or `oauth2`.
    #[serde(deserialize_with = "choice")]
    pub kind: PulsarAuthKind,
    /// The token; from the environment only.
    pub token: Option<Secret>,
    /// The file that holds the token; read again at every connection.
    pub token_file: Option<PathBuf>,
    /// OAuth2: the issuer's URL.
    pub issuer_url: Option<String>,
    /// OAuth2: the JSON file with `client_id` and `client_secret`.
    pub credentials_file: Option<PathBuf>,
    /// OAuth2: the audience.
    pub audience: Option<String>,
    /// OAuth2: the scope.
    pub scope: Option<String>,
}

/// `[registry]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RegistrySection {
    /// The URL of a Confluent-compatible schema registry. Empty: none.
    pub url: String,
    /// The user, for basic authentication.
    pub username: Option<String>,
    /// The password; from the environment only.
    pub password: Option<Secret>,
    /// The file that holds the password.
    pub password_file: Option<PathBuf>,
    /// TLS towards the registry.
    pub tls: TlsSection,
}

/// `[limits]`
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSection {
    /// MiB of records held at once, read or in flight, over all partitions. 8 to 65536.
    pub memory_mib: u32,
    /// KiB of records in one batch, before compression. 1 to 4096, and at most a quarter of `memory_mib`.
    pub batch_kib: u32,
    /// Batches in flight per lane. 1 to 1000.
    pub in_flight: u32,
    /// Bytes of records published per second over all partitions. 0: as fast as it goes.
    pub bytes_per_second: u64,
}

impl Default for LimitsSection {
    fn default() -> Self {
        Self { memory_mib: 32, batch_kib: 256, in_flight: 16, bytes_per_second: 0 }
    }
}

/// `[http]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HttpSection {
    /// Address and port of `/metrics`, `/livez`, `/readyz`, `/status` and the controls. Port 0: any free one.
    #[serde(deserialize_with = "address")]
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// The file that holds the bearer token for `POST /pause`, `/resume` and `/drain`. Unset: they are refused.
    pub token_file: Option<PathBuf>,
}

impl Default for HttpSection {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 9464)), token_file: None }
    }
}

/// `[log]`
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogSection {
    /// How lines are written. `--log-format` wins.
    #[serde(deserialize_with = "choice")]
    pub format: LogFormat,
    /// The least important lines that are written. `RUST_LOG` (`bridge_common::pipeline=debug,warn`) wins; libraries are never heard below `info`.
    #[serde(deserialize_with = "choice")]
    pub level: LogLevel,
    /// Seconds between two lines that sum up what came of the records. 5 to 86400; 0: none.
    pub summary_seconds: u32,
    /// Seconds within which the same event of the same partition is written once, with a count of what was held back. 1 to 3600.
    pub repeat_seconds: u32,
}

impl Default for LogSection {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: LogLevel::Info, summary_seconds: 60, repeat_seconds: 30 }
    }
}

/// `[health]`
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HealthSection {
    /// Seconds of lag without any receipt after which `/readyz` fails. 5 to 3600.
    pub stall_seconds: u32,
}

impl Default for HealthSection {
    fn default() -> Self {
        Self { stall_seconds: 60 }
    }
}

/// `[shutdown]`
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ShutdownSection {
    /// Seconds from SIGTERM to the exit at the latest, drained or not. 1 to 600; keep it below what the orchestrator grants.
    pub deadline_seconds: u32,
}

impl Default for ShutdownSection {
    fn default() -> Self {
        Self { deadline_seconds: 25 }
    }
}

/// `[fleet]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FleetSection {
    /// Where `bridgectl` finds this bridge's HTTP: a URL for each replica (a list, or separated by commas), or one whose host has
    /// an address for each. Unset: `http://` and `http.listen`.
    #[serde(deserialize_with = "list")]
    #[schemars(schema_with = "super::schema::list")]
    pub url: Vec<String>,
    /// The topic that keeps who changed what and when, one for the whole fleet. Unset: `bridge-operations` beside the target.
    pub operations_topic: Option<TopicName>,
}

/// `[setup]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SetupSection {
    /// Namespaces to create, besides the target's own: `tenant/namespace`, a list or separated by commas.
    #[serde(deserialize_with = "list")]
    #[schemars(schema_with = "super::schema::list")]
    pub namespaces: Vec<String>,
    /// Partitions of the target when it is created. 1 to 10000. An existing topic's count is never changed.
    pub partitions: u32,
    /// Days that the target keeps its messages. -1: for ever.
    pub retention_days: i32,
    /// GiB that each partition of the target keeps at most; what is older goes first. -1: no limit.
    pub retention_gib: i32,
    /// Days that the dead-letter topic keeps its messages. -1: for ever.
    pub dead_letters_retention_days: i32,
    /// Whether a namespace of these topics that has no retention of its own is given one, as long as the target or the dead letters are kept,
    /// without a limit of size. Pulsar may pass over a topic's own policies while it loads the topic, and then deletes what
    /// only those keep (apache/pulsar issues 20968 and 26137): the namespace's holds then. It holds for all topics there
    /// that have none of their own; false where those must not be kept.
    pub namespace_retention: bool,
    /// RabbitMQ: exchanges whose unroutable messages are caught.
    pub unroutable: Vec<UnroutableSection>,
    /// How the broker checks a new version of the target's schema against the earlier ones. Unset: `"BACKWARD_TRANSITIVE"`; in mirror mode
    /// `"ALWAYS_COMPATIBLE"`, since the registry has judged the writers' schemas already.
    #[serde(deserialize_with = "some_choice")]
    pub schema_compatibility: Option<SchemaCompatibility>,
}

impl Default for SetupSection {
    fn default() -> Self {
        Self {
            namespaces: Vec::new(),
            partitions: 1,
            retention_days: 30,
            retention_gib: -1,
            dead_letters_retention_days: 90,
            namespace_retention: true,
            unroutable: Vec::new(),
            schema_compatibility: None,
        }
    }
}

/// An address with its port; names are not looked up.
fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    let wrong =
        |_| de::Error::custom(format!("\"{text}\" is not an address: write IP:port, such as \"127.0.0.1:9464\""));
    text.parse().map_err(wrong)
}

/// A list, or one text with commas: an environment variable can only be the latter.
pub(super) fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum List {
        Many(Vec<String>),
        One(String),
    }
    Ok(match List::deserialize(deserializer)? {
        List::Many(items) => items,
        List::One(text) => text.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect(),
    })
}

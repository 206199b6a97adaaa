//! The choices that sections offer by name.

use schemars::JsonSchema;
use serde::de::{self, IntoDeserializer};
use serde::{Deserialize, Deserializer, Serialize};

/// How to log in to Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
pub enum SaslMechanism {
    /// No SASL.
    #[default]
    #[serde(rename = "none")]
    None,
    /// User and password in the clear: only over TLS.
    #[serde(rename = "PLAIN")]
    Plain,
    /// Challenge and response with SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// Challenge and response with SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

/// How to log in to Pulsar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PulsarAuthKind {
    /// Not at all, or by the client's certificate alone.
    #[default]
    None,
    /// A token (JWT).
    Token,
    /// OAuth2 client credentials.
    OAuth2,
}

/// What to do about records that the source no longer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnGap {
    /// Stop the partition and name the missing range.
    #[default]
    Stop,
    /// Record the gap and go on.
    Continue,
}

/// What a source's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// JSON, translated to Avro under the contract.
    #[default]
    Json,
    /// Avro with the id of its schema in front, as Confluent's serialisers write it; the registry knows the schema.
    #[serde(rename = "confluent-avro")]
    ConfluentAvro,
    /// Avro as it is, all by one schema that is given.
    Avro,
    /// Bytes, passed as they are, without a schema.
    Bytes,
}

/// What becomes of Avro values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ContractMode {
    /// They are translated: the target has the contract's schema only.
    #[default]
    Contract,
    /// They stay as they were written, under the schema they were written with.
    Mirror,
}

/// How a target partition is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PartitionBy {
    /// Source partition modulo target partitions: keeps the order of the whole source partition.
    #[default]
    Source,
    /// The record's key, as Pulsar's own producers do it: keeps the order of each key.
    Key,
}

/// How batches are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// LZ4: the least CPU in all.
    #[default]
    Lz4,
    /// Zstandard, level 1: about half the bytes for 10% more CPU.
    Zstd,
    /// None: costs the broker several times its CPU.
    None,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The least important lines that are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What stops something.
    Error,
    /// And what a person may want to know of.
    Warn,
    /// And what happens in a bridge's life, with the summary.
    #[default]
    Info,
    /// And what helps to find a fault.
    Debug,
    /// All.
    Trace,
}

/// What the bridge promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Guarantee {
    /// Every record once; needs deduplication on the target.
    #[default]
    ExactlyOnce,
    /// Every record at least once: runs without deduplication too.
    AtLeastOnce,
}

/// How the bridge knows that the target deduplicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Deduplication {
    /// It asks the admin API at start, and refuses to run without.
    #[default]
    Required,
    /// You vouch for it: for bridges without rights on the admin API.
    Asserted,
}

/// Pulsar's strategies for a new version of a schema, by Pulsar's own names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SchemaCompatibility {
    /// Readers with the new schema can read everything that is retained: the topic holds several versions, and whoever
    /// replays it reads them all with the newest one.
    #[default]
    BackwardTransitive,
    /// Readers with any earlier schema can read what the new one writes, too.
    FullTransitive,
    /// Readers with the new schema can read the version before.
    Backward,
    /// Readers with any earlier schema can read what the new one writes.
    ForwardTransitive,
    /// Readers with the earlier schema can read what the new one writes.
    Forward,
    /// `BACKWARD` and `FORWARD`.
    Full,
    /// Every version is taken: for `contract.mode = "mirror"`, where the registry has judged the writers' schemas already, and
    /// the order in which the target meets them is not the order in which they were registered.
    AlwaysCompatible,
}

impl SchemaCompatibility {
    /// Pulsar's own name.
    pub fn name(self) -> &'static str {
        match self {
            Self::BackwardTransitive => "BACKWARD_TRANSITIVE",
            Self::FullTransitive => "FULL_TRANSITIVE",
            Self::Backward => "BACKWARD",
            Self::ForwardTransitive => "FORWARD_TRANSITIVE",
            Self::Forward => "FORWARD",
            Self::Full => "FULL",
            Self::AlwaysCompatible => "ALWAYS_COMPATIBLE",
        }
    }
}

/// As [`choice`], for a key without a default of its own.
pub(super) fn some_choice<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    choice(deserializer).map(Some)
}

/// One of an enum's names. Goes by serde's own deserialiser of names, since its error lists what is allowed.
pub(super) fn choice<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    let name = String::deserialize(deserializer)?;
    T::deserialize(IntoDeserializer::<de::value::Error>::into_deserializer(name)).map_err(de::Error::custom)
}

//! What the target is promised, where records go, and where they go that cannot: `[contract]`, `[target]`, `[route.<name>]`,
//! `[dedupe]`, `[dead_letters]`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::TopicName;
use super::choices::*;
use super::sections::list;
use crate::lane::{self, KeyHash};
use crate::translate::OnUnknownField;

/// `[contract]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ContractSection {
    /// An Avro schema file that replaces the contract compiled into the binary. Unset: the compiled one.
    pub file: Option<PathBuf>,
    /// JSON fields that the contract does not know: `"count"` them as drift, make the record a `"dead-letter"`, or `"ignore"` them.
    #[serde(deserialize_with = "choice")]
    pub on_unknown_field: OnUnknownField,
    /// `"contract"`: everything is published under the contract; `"mirror"`: Avro values stay as they were written, and each writer's
    /// schema becomes a version of the target's.
    #[serde(deserialize_with = "choice")]
    pub mode: ContractMode,
}

/// `[target]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TargetSection {
    /// The topic: `persistent://tenant/namespace/name`.
    pub topic: TopicName,
    /// `"source"`: source partition modulo target partitions, which keeps the order of the whole source partition. `"key"`: the key's
    /// hash modulo target partitions, as Pulsar's own producers do it, which keeps the order of each key; records without a key go as
    /// with `"source"`.
    #[serde(default, deserialize_with = "choice")]
    pub partition_by: PartitionBy,
    /// With `partition_by = "key"`, Pulsar's name for the hash: `"java-string"` (`JavaStringHash`, the Java client's default, and what is
    /// taken where this is unset), or `"murmur3"` (`Murmur3_32Hash`).
    #[serde(default, deserialize_with = "some_choice")]
    pub key_hash: Option<KeyHash>,
    /// `"lz4"`, `"zstd"` or `"none"`.
    #[serde(default, deserialize_with = "choice")]
    pub compression: Compression,
    /// `"exactly-once"`, or `"at-least-once"`, which runs without deduplication too.
    #[serde(default, deserialize_with = "choice")]
    pub guarantee: Guarantee,
    /// `"required"`: asked of the admin API at start; `"asserted"`: you vouch for it.
    #[serde(default, deserialize_with = "choice")]
    pub deduplication: Deduplication,
    /// True: every message carries the SHA-256 of the source's bytes (`bridge.sha256`), so that an auditor can compare without
    /// trusting the bridge. Always so for records from RabbitMQ queues.
    #[serde(default)]
    pub digest: bool,
}

impl TargetSection {
    /// What decides the target partition of a record.
    pub fn partition_by(&self) -> lane::PartitionBy {
        match self.partition_by {
            PartitionBy::Source => lane::PartitionBy::Source,
            PartitionBy::Key => lane::PartitionBy::Key { key_hash: self.key_hash.unwrap_or_default() },
        }
    }
}

/// `[route.<name>]`: records with a certain field go to another topic, instead of the target.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteSection {
    /// The JSON field, by its path (`event_type`, `payload.severity`).
    pub field: String,
    /// The text, or one of the texts, that the field must have.
    #[serde(deserialize_with = "list")]
    #[schemars(schema_with = "super::schema::list")]
    pub equals: Vec<String>,
    /// The topic: `persistent://tenant/namespace/name`.
    pub topic: TopicName,
}

/// `[dedupe]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DedupeSection {
    /// What identifies an event over all sources of this bridge: the path of a JSON field (`event_id`), or `header:<name>`. Unset: nothing
    /// does, and every record is published.
    pub key: Option<String>,
    /// How long a key is remembered, in seconds. 1 to 86400.
    pub window_seconds: u32,
    /// How many keys are remembered at most; the oldest are forgotten first. 1000 to 50000000.
    pub window_records: u32,
}

impl Default for DedupeSection {
    fn default() -> Self {
        Self { key: None, window_seconds: 600, window_records: 1_000_000 }
    }
}

/// `[dead_letters]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeadLettersSection {
    /// The topic. Unset: the target's name with `-dead-letters`.
    pub topic: Option<TopicName>,
    /// The share of dead letters among recent records above which a partition stops instead of emptying the stream into the
    /// dead-letter topic. Above 0, up to 1; 1 never stops.
    pub max_ratio: f64,
}

impl Default for DeadLettersSection {
    fn default() -> Self {
        Self { topic: None, max_ratio: 0.5 }
    }
}

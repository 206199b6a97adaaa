//! What a stream's configuration wants to be there.

use std::collections::BTreeMap;

use bridge_common::admin::TopicPolicy;
use bridge_common::config::{Config, TopicName};
use bridge_common::translate::Contract;
use serde_json::{Value, json};

/// Bytes of backlog after which the broker compacts the checkpoints by itself: a reader at start never reads much more.
const COMPACT_CHECKPOINTS_BYTES: u64 = 8 << 20;

/// All that one stream needs in Pulsar.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wanted {
    /// Each with how long it is to keep what is in it; `None`: that is not the bridge's business.
    pub(super) namespaces: BTreeMap<String, Option<Value>>,
    pub(super) topics: BTreeMap<TopicName, WantedTopic>,
}

/// One topic.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct WantedTopic {
    /// `None`: not partitioned.
    pub(super) partitions: Option<u32>,
    pub(super) policies: BTreeMap<TopicPolicy, Value>,
    /// The Avro schema's text, exactly as the bridge names it when it writes: another text would be another version.
    pub(super) schema: Option<String>,
}

/// Derives it from the configuration and the contract.
///
/// # Errors
/// When the contract is none.
pub(super) fn wanted(config: &Config, contract: Option<&str>) -> Result<Wanted, String> {
    let parsed =
        |text| Contract::parse(text).map_err(|error| format!("the contract of {}: {error}", config.stream.name));
    let contract = contract.map(parsed).transpose()?;
    let contract = contract.as_ref().map(Contract::schema_json);
    let (target, dead_letters, checkpoints, operations) =
        (config.target.topic.clone(), config.dead_letter_topic(), config.checkpoint_topic(), config.operations_topic());
    let mut topics = BTreeMap::from([
        (target, target_topic(config, contract)),
        (dead_letters, dead_letter_topic(config)),
        (checkpoints, checkpoint_topic()),
        (operations, operations_topic()),
    ]);
    for route in config.route.values() {
        topics.entry(route.topic.clone()).or_insert_with(|| target_topic(config, contract));
    }
    let keeps = config.namespace_retention_days().map(|days| retention(days, -1));
    let mut namespaces: BTreeMap<_, _> = config.setup.namespaces.iter().map(|name| (name.clone(), None)).collect();
    namespaces.extend(topics.keys().map(|topic| (topic.full_namespace(), keeps.clone())));
    Ok(Wanted { namespaces, topics })
}

fn target_topic(config: &Config, contract: Option<&str>) -> WantedTopic {
    let setup = &config.setup;
    let mut policies = BTreeMap::from([
        (TopicPolicy::Deduplication, json!(true)),
        (TopicPolicy::Retention, retention(setup.retention_days, setup.retention_gib)),
        (TopicPolicy::InactiveTopics, never_cleaned_up()),
    ]);
    // In mirror mode the bridge brings the schemas, as it meets them.
    if contract.is_some() || config.is_mirror() {
        policies.insert(TopicPolicy::SchemaCompatibility, json!(config.schema_compatibility().name()));
    }
    WantedTopic { partitions: Some(setup.partitions), policies, schema: contract.map(str::to_owned) }
}

/// Not partitioned: what should never be many, and each bridge partition holds one producer on it.
fn dead_letter_topic(config: &Config) -> WantedTopic {
    let policies = BTreeMap::from([
        (TopicPolicy::Deduplication, json!(true)),
        (TopicPolicy::Retention, retention(config.setup.dead_letters_retention_days, -1)),
        (TopicPolicy::InactiveTopics, never_cleaned_up()),
    ]);
    WantedTopic { partitions: None, policies, schema: None }
}

/// Retention without limit keeps the ledgers, compaction keeps them readable in one go. Deduplication is on: whoever takes
/// a partition over learns from it whether a checkpoint of the holder before may still be under way.
fn checkpoint_topic() -> WantedTopic {
    let policies = BTreeMap::from([
        (TopicPolicy::Deduplication, json!(true)),
        (TopicPolicy::Retention, retention(-1, -1)),
        (TopicPolicy::InactiveTopics, never_cleaned_up()),
        (TopicPolicy::CompactionThreshold, json!(COMPACT_CHECKPOINTS_BYTES)),
    ]);
    WantedTopic { partitions: None, policies, schema: None }
}

/// Never compacted, and kept for ever: who changed what is worth most long afterwards.
fn operations_topic() -> WantedTopic {
    let policies = BTreeMap::from([
        (TopicPolicy::Deduplication, json!(true)),
        (TopicPolicy::Retention, retention(-1, -1)),
        (TopicPolicy::InactiveTopics, never_cleaned_up()),
    ]);
    WantedTopic { partitions: None, policies, schema: None }
}

fn retention(days: i32, gib: i32) -> Value {
    let minutes = if days < 0 { -1 } else { i64::from(days) * 24 * 60 };
    let mib = if gib < 0 { -1 } else { i64::from(gib) * 1024 };
    json!({ "retentionTimeInMinutes": minutes, "retentionSizeInMB": mib })
}

/// A topic without producers and subscriptions would be deleted, and with it what deduplication remembers.
fn never_cleaned_up() -> Value {
    json!({
        "inactiveTopicDeleteMode": "delete_when_no_subscriptions",
        "maxInactiveDurationSeconds": 60,
        "deleteWhileInactive": false,
    })
}

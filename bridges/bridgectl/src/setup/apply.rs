//! Looking at Pulsar, and changing it.

use std::time::Duration;

use bridge_common::admin::{Admin, AdminError, TopicPolicy, default_retention};
use bridge_common::config::TopicName;
use serde_json::Value;

use super::plan::{Change, Observed, ObservedNamespace, ObservedTopic, plan};
use super::wanted::{Wanted, WantedTopic};

/// How often it is looked whether the changes are in effect, and the pause between: ten seconds in all.
const LOOKS: u32 = 40;
const PAUSE: Duration = Duration::from_millis(250);

/// Reads what is there of what is wanted. Changes nothing.
pub(super) async fn observe(admin: &Admin, wanted: &Wanted) -> Result<Observed, AdminError> {
    let mut observed = Observed::default();
    for (namespace, keeps) in &wanted.namespaces {
        let (tenant, _) = namespace.split_once('/').unwrap_or((namespace, ""));
        if !admin.namespaces(tenant).await?.contains(namespace) {
            continue;
        }
        let auto_creation = admin.auto_topic_creation(namespace).await?;
        let retention = match keeps {
            Some(_) => own_retention(admin, namespace).await?,
            None => None,
        };
        observed.namespaces.insert(namespace.clone(), ObservedNamespace { auto_creation, retention });
    }
    let wants = |(name, keeps): (&String, &Option<Value>)| {
        keeps.is_some() && observed.namespaces.get(name).is_none_or(|there| there.retention.is_none())
    };
    if wanted.namespaces.iter().any(wants) {
        // Not every role is told, and whoever stands between may have another answer: then nothing rests on it.
        observed.broker_retention = admin.broker_settings().await.ok().as_ref().and_then(default_retention);
    }
    for (topic, want) in &wanted.topics {
        if observed.namespaces.contains_key(&topic.full_namespace())
            && let Some(there) = observe_topic(admin, topic, want).await?
        {
            observed.topics.insert(topic.clone(), there);
        }
    }
    Ok(observed)
}

async fn own_retention(admin: &Admin, namespace: &str) -> Result<Option<Value>, AdminError> {
    Ok(Some(admin.namespace_policy(namespace, "retention").await?).filter(|own| !own.is_null()))
}

/// Looks again, directly before: what somebody else has set meanwhile is theirs.
async fn keep_in_namespace(admin: &Admin, namespace: &str, to: &Value) -> Result<(), AdminError> {
    match own_retention(admin, namespace).await? {
        Some(_) => Ok(()),
        None => admin.set_namespace_retention(namespace, to).await,
    }
}

async fn observe_topic(
    admin: &Admin,
    topic: &TopicName,
    want: &WantedTopic,
) -> Result<Option<ObservedTopic>, AdminError> {
    let Some(partitions) = admin.partitions(topic).await? else { return Ok(None) };
    let mut there = ObservedTopic { partitions, ..ObservedTopic::default() };
    for policy in want.policies.keys() {
        if let Some(value) = admin.topic_policy(topic, *policy).await? {
            there.policies.insert(*policy, value);
        }
    }
    if !there.policies.contains_key(&TopicPolicy::Retention) {
        let kept = admin.effective_policy(topic, TopicPolicy::Retention.name()).await?;
        there.kept = Some(kept).filter(|kept| !kept.is_null());
    }
    if let Some(contract) = &want.schema {
        there.schemas = admin.schema_versions(topic).await?.into_iter().map(|it| (it.kind, it.data)).collect();
        // The broker takes an earlier version without a word: whether it goes with the newer ones must be asked.
        there.takes_contract = match there.contract_is_earlier(contract) {
            true => admin.takes_avro_schema(topic, contract).await?,
            false => true,
        };
    }
    Ok(Some(there))
}

/// Does one thing.
pub(super) async fn carry_out(admin: &Admin, change: &Change) -> Result<(), AdminError> {
    match change {
        Change::CreateNamespace(namespace) => admin.create_namespace(namespace).await,
        Change::ForbidAutoCreation { namespace, .. } => admin.forbid_auto_topic_creation(namespace).await,
        Change::KeepInNamespace { namespace, to } => keep_in_namespace(admin, namespace, to).await,
        Change::CreateTopic { topic, partitions } => admin.create_topic(topic, *partitions).await,
        Change::SetPolicy { topic, policy, to, .. } => admin.set_topic_policy(topic, *policy, to).await,
        Change::UploadSchema { topic, schema, .. } => admin.upload_avro_schema(topic, schema).await,
    }
}

/// Looks until nothing is left to do, and the brokers really deduplicate where they should.
pub(super) async fn wait_until_in_effect(admin: &Admin, wanted: &Wanted) -> Result<(), AdminError> {
    let mut missing = String::new();
    for _ in 0..LOOKS {
        missing = not_in_effect(admin, wanted).await?;
        if missing.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(AdminError::Setting(format!(
        "the broker accepted the changes, but they are not in effect after {} s: {missing}. Are topicLevelPoliciesEnabled and systemTopicEnabled on in broker.conf? If so, the broker has passed over the policies as it loaded the topic: unload it (pulsar-admin topics unload)",
        (PAUSE * LOOKS).as_secs()
    )))
}

async fn not_in_effect(admin: &Admin, wanted: &Wanted) -> Result<String, AdminError> {
    let open = plan(wanted, &observe(admin, wanted).await?).changes;
    // A schema is there when its upload was answered, in whatever version the broker takes it for.
    if let Some(change) = open.iter().find(|change| !matches!(change, Change::UploadSchema { .. })) {
        return Ok(change.to_string());
    }
    for (topic, want) in &wanted.topics {
        let should = want.policies.get(&TopicPolicy::Deduplication) == Some(&true.into());
        if should && !admin.deduplicates(topic).await? {
            return Ok(format!("{topic} does not deduplicate"));
        }
    }
    Ok(String::new())
}

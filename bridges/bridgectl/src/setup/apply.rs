//! Looking at Pulsar, and changing it.

use std::time::Duration;

use bridge_common::admin::{Admin, AdminError, default_retention};
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
    for namespace in wanted.namespaces.keys() {
        let (tenant, _) = namespace.split_once('/').unwrap_or((namespace, ""));
        if admin.namespaces(tenant).await?.contains(namespace) {
            let there = ObservedNamespace {
                auto_creation: admin.auto_topic_creation(namespace).await?,
                retention: Some(admin.namespace_policy(namespace, "retention").await?).filter(|own| !own.is_null()),
            };
            observed.namespaces.insert(namespace.clone(), there);
        }
    }
    observed.broker_retention = broker_retention(admin).await?;
    for (topic, want) in &wanted.topics {
        if observed.namespaces.contains_key(&topic.full_namespace())
            && let Some(there) = observe_topic(admin, topic, want).await?
        {
            observed.topics.insert(topic.clone(), there);
        }
    }
    Ok(observed)
}

/// What the broker keeps where neither topic nor namespace says so. Not every role is told.
async fn broker_retention(admin: &Admin) -> Result<Option<Value>, AdminError> {
    match admin.broker_settings().await {
        Ok(settings) => Ok(Some(default_retention(&settings))),
        Err(AdminError::Unauthorised { .. }) => Ok(None),
        Err(error) => Err(error),
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
        Change::KeepInNamespace { namespace, to, .. } => admin.set_namespace_retention(namespace, to).await,
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
        "the broker accepted the changes, but they are not in effect after {} s: {missing}. Are topicLevelPoliciesEnabled and systemTopicEnabled on in broker.conf?",
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
        let should = want.policies.get(&bridge_common::admin::TopicPolicy::Deduplication) == Some(&true.into());
        if should && !admin.deduplicates(topic).await? {
            return Ok(format!("{topic} does not deduplicate"));
        }
    }
    Ok(String::new())
}

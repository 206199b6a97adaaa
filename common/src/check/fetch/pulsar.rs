//! Pulsar: over the admin API what is set, over the binary protocol what may be done.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::super::facts::{NamespaceFacts, PulsarFacts, Role, SchemaFacts, Told, TopicFacts};
use super::PATIENCE;
use crate::admin::{Admin, AdminError};
use crate::config::{Config, TopicName};
use crate::pulsar::{Client, ClientConfig, Error, ReaderStart, Refusal};

/// What is asked of every topic.
const POLICIES: &[&str] = &[
    "retention",
    "backlogQuotaMap",
    "messageTTL",
    "inactiveTopicPolicies",
    "maxProducers",
    "publishRate",
    "maxMessageSize",
];

const NO_ADMIN: &str = "only the admin API shows it, and pulsar.admin_url is empty";

/// Everything about the topics of one stream. `contract` is the plain schema that the target should take.
pub(in super::super) async fn pulsar(config: &Config, contract: Option<&str>) -> PulsarFacts {
    let (binary, admin) = tokio::join!(connect(config), open_admin(config));
    let mut facts =
        PulsarFacts { binary: Some(binary.as_ref().map(drop).map_err(Clone::clone)), ..PulsarFacts::default() };
    let admin = match admin {
        None => None,
        Some(Ok(admin)) => {
            facts.admin = Some(Ok(()));
            Some(admin)
        }
        Some(Err(why)) => {
            facts.admin = Some(Err(why));
            None
        }
    };
    if let Some(admin) = &admin {
        facts.broker = Some(told(admin.broker_settings().await));
        for name in topics(config).iter().map(|(topic, _)| topic.full_namespace()).collect::<BTreeSet<_>>() {
            let auto_creation = match admin.namespace_policy(&name, "autoTopicCreation").await {
                // Then the topics in it are missing as well, which is told of each.
                Err(AdminError::NotFound { .. }) => continue,
                answer => told(answer),
            };
            let publish_rate = told(admin.namespace_policy(&name, "publishRate").await);
            let retention = told(admin.namespace_policy(&name, "retention").await);
            facts.namespaces.insert(name, NamespaceFacts { auto_creation, retention, publish_rate });
        }
    }
    let mut asked = JoinSet::new();
    for (index, (topic, role)) in topics(config).into_iter().enumerate() {
        let (admin, client) = (admin.clone(), binary.as_ref().ok().cloned());
        let wants_schema = role == Role::Target && config.has_schema();
        let contract = contract.map(str::to_owned);
        asked.spawn(async move {
            let mut there = of_topic(admin.as_ref(), topic, role).await;
            if let (Some(admin), true, Ok(Some(_))) = (&admin, wants_schema, &there.partitions) {
                there.schema = Some(schema(admin, &there.topic, contract.as_deref()).await);
            }
            if let (Some(client), Ok(Some(partitions))) = (&client, &there.partitions) {
                let partition = if *partitions > 0 { there.topic.partition(0) } else { there.topic.to_string() };
                try_rights(client, &partition, &mut there).await;
            }
            (index, there)
        });
    }
    let mut found: Vec<_> = asked.join_all().await;
    found.sort_by_key(|(index, _)| *index);
    facts.topics = found.into_iter().map(|(_, topic)| topic).collect();
    facts
}

/// All topics that a bridge of this stream writes to, the target first, each once.
fn topics(config: &Config) -> Vec<(TopicName, Role)> {
    let mut topics = vec![(config.target.topic.clone(), Role::Target)];
    for route in config.route.values() {
        if !topics.iter().any(|(topic, _)| *topic == route.topic) {
            topics.push((route.topic.clone(), Role::Target));
        }
    }
    topics.push((config.dead_letter_topic(), Role::DeadLetters));
    topics.push((config.checkpoint_topic(), Role::Checkpoints));
    topics
}

fn told<T>(answer: Result<T, AdminError>) -> Told<T> {
    answer.map_err(|error| error.to_string())
}

async fn connect(config: &Config) -> Told<Client> {
    let settings =
        ClientConfig { connect_timeout: PATIENCE, operation_timeout: PATIENCE, ..ClientConfig::of(&config.pulsar) };
    let client = Client::new(settings).map_err(|error| error.to_string())?;
    client.connect().await.map_err(|error| error.to_string())?;
    Ok(client)
}

/// A client whose first question was answered, if only by a refusal to this role.
async fn open_admin(config: &Config) -> Option<Told<Admin>> {
    if config.pulsar.admin_url.is_empty() {
        return None;
    }
    Some(
        async {
            let admin = told(Admin::with_timeout(&config.pulsar, PATIENCE))?;
            match admin.clusters().await {
                Ok(_) | Err(AdminError::Unauthorised { status: 403, .. }) => Ok(admin),
                Err(error) => Err(error.to_string()),
            }
        }
        .await,
    )
}

async fn of_topic(admin: Option<&Admin>, topic: TopicName, role: Role) -> TopicFacts {
    let mut facts = TopicFacts {
        topic,
        role,
        partitions: Err(NO_ADMIN.to_owned()),
        policies: BTreeMap::new(),
        deduplicates: Err(NO_ADMIN.to_owned()),
        schema: None,
        may_produce: None,
        may_consume: None,
        max_message_bytes: None,
    };
    let Some(admin) = admin else { return facts };
    facts.partitions = match admin.partitions(&facts.topic).await {
        // No such namespace.
        Err(AdminError::NotFound { .. }) => Ok(None),
        answer => told(answer),
    };
    if !matches!(facts.partitions, Ok(Some(_))) {
        return facts;
    }
    facts.deduplicates = told(admin.deduplicates(&facts.topic).await);
    let further = match role {
        Role::Target => Some("schemaCompatibilityStrategy"),
        Role::Checkpoints => Some("compactionThreshold"),
        Role::DeadLetters => None,
    };
    for name in POLICIES.iter().copied().chain(further) {
        facts.policies.insert(name, told::<Value>(admin.effective_policy(&facts.topic, name).await));
    }
    facts
}

async fn schema(admin: &Admin, topic: &TopicName, contract: Option<&str>) -> Told<SchemaFacts> {
    let versions = told(admin.schema_versions(topic).await)?;
    let takes_contract = match contract {
        Some(contract) if !versions.is_empty() => told(admin.takes_avro_schema(topic, contract).await),
        _ => Ok(true),
    };
    let versions = versions.into_iter().map(|it| (it.version, it.kind, it.data)).collect();
    Ok(SchemaFacts { versions, takes_contract })
}

/// Opens a producer under a name that nothing else has and a reader that leaves no subscription, and closes them: nothing
/// is stored.
async fn try_rights(client: &Client, partition: &str, facts: &mut TopicFacts) {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    let name = format!("bridge-check/{}/{}", std::process::id(), since.as_nanos());
    let (events, _ignored) = mpsc::unbounded_channel();
    facts.may_produce = Some(match client.open_producer(partition, &name, None, events, 0).await {
        Ok(opened) => {
            facts.max_message_bytes = u64::try_from(opened.max_message_bytes).ok();
            opened.producer.close().await.map_err(|error| error.to_string())
        }
        // Rights come before schemas: a broker that wants a schema has let us in.
        Err(Error::Refused { refusal: Refusal::IncompatibleSchema, .. }) => Ok(()),
        Err(error) => Err(error.to_string()),
    });
    facts.may_consume = Some(match client.open_reader(partition, ReaderStart::Latest, false).await {
        Ok(reader) => reader.close().await.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    });
}

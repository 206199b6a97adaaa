//! Kafka, as a client that joins no group and commits nothing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::super::facts::{KafkaFacts, Told};
use super::{PATIENCE, words};
use crate::config::{Config, KafkaSource};
use crate::source::kafka::KafkaSettings;

/// What matters of a topic's settings.
const SETTINGS: &[&str] = &["cleanup.policy", "retention.ms", "retention.bytes", "max.message.bytes"];
/// How long the consumer is asked at a time.
const STEP: Duration = Duration::from_millis(100);

/// Everything about one source's topic.
pub(in super::super) async fn kafka(config: &Config, source: &KafkaSource) -> KafkaFacts {
    let (topic, group) = (source.topic.clone(), config.group_of(source));
    let unknown = |why: String| KafkaFacts {
        topic: source.topic.clone(),
        group: config.group_of(source),
        partitions: Err(why),
        settings: Err(String::new()),
        may_read: None,
        may_group: None,
    };
    let client = match KafkaSettings::from_config(config, source).map_err(|error| error.to_string()) {
        Ok(settings) => settings.probe().map_err(words),
        Err(why) => Err(why),
    };
    let mut client = match client {
        Ok(client) => client,
        Err(why) => return unknown(why),
    };
    client.set_log_level(RDKafkaLogLevel::Critical).remove("group.instance.id");
    let admin = client.clone();
    let asked = tokio::task::spawn_blocking(move || ask(client, topic, group)).await;
    let mut facts = match asked {
        Ok(facts) => facts,
        Err(error) => return unknown(format!("the question broke off: {error}")),
    };
    if matches!(facts.partitions, Ok(Some(_))) {
        facts.settings = settings(&admin, &facts.topic).await;
    }
    facts
}

fn ask(mut client: ClientConfig, topic: String, group: String) -> KafkaFacts {
    client
        .set("group.id", &group)
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("allow.auto.create.topics", "false");
    let mut facts = KafkaFacts {
        topic,
        group,
        partitions: Ok(None),
        settings: Err(String::new()),
        may_read: None,
        may_group: None,
    };
    let consumer: BaseConsumer = match client.create() {
        Ok(consumer) => consumer,
        Err(error) => {
            facts.partitions = Err(error.to_string());
            return facts;
        }
    };
    facts.partitions = partitions(&consumer, &facts.topic);
    if matches!(facts.partitions, Ok(Some(_))) {
        facts.may_read = Some(may_read(&consumer, &facts.topic));
        facts.may_group = Some(may_group(&consumer, &facts.topic));
    }
    facts
}

fn partitions(consumer: &BaseConsumer, topic: &str) -> Told<Option<u32>> {
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).map_err(|error| error.to_string())?;
    let there = metadata.topics().iter().find(|there| there.name() == topic && there.error().is_none());
    let count = there.map_or(0, |there| there.partitions().len());
    Ok(u32::try_from(count).ok().filter(|count| *count > 0))
}

/// Reads at the end of a partition until it is told that there is nothing, or is refused.
fn may_read(consumer: &BaseConsumer, topic: &str) -> Told<()> {
    let mut partitions = TopicPartitionList::new();
    let assigned = partitions.add_partition_offset(topic, 0, Offset::End).and_then(|()| consumer.assign(&partitions));
    assigned.map_err(|error| error.to_string())?;
    let deadline = Instant::now() + PATIENCE;
    let mut last = None;
    while Instant::now() < deadline {
        match consumer.poll(STEP) {
            Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => return Ok(()),
            Some(Err(error)) if is_refusal(&error) => return Err(error.to_string()),
            Some(Err(error)) => last = Some(error.to_string()),
            None => {}
        }
    }
    Err(last.unwrap_or_else(|| format!("no answer within {PATIENCE:?}")))
}

fn is_refusal(error: &KafkaError) -> bool {
    let code = error.rdkafka_error_code();
    matches!(code, Some(RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::UnknownTopicOrPartition))
}

fn may_group(consumer: &BaseConsumer, topic: &str) -> Told<()> {
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition(topic, 0);
    consumer.committed_offsets(partitions, PATIENCE).map(drop).map_err(|error| error.to_string())
}

async fn settings(client: &ClientConfig, topic: &str) -> Told<BTreeMap<String, String>> {
    let admin: AdminClient<DefaultClientContext> = client.create().map_err(|error| error.to_string())?;
    let options = AdminOptions::new().request_timeout(Some(PATIENCE));
    let asked = [ResourceSpecifier::Topic(topic)];
    let described = tokio::time::timeout(PATIENCE, admin.describe_configs(&asked, &options)).await;
    let described =
        described.map_err(|_| format!("no answer within {PATIENCE:?}"))?.map_err(|error| error.to_string())?;
    let topic = described.into_iter().next().ok_or("an empty answer")?.map_err(|code| code.to_string())?;
    let of_interest = topic.entries.into_iter().filter(|entry| SETTINGS.contains(&entry.name.as_str()));
    Ok(of_interest.filter_map(|entry| Some((entry.name, entry.value?))).collect())
}

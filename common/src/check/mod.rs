//! `check`: what stands in the way of a bridge, found before it runs, and while it runs. It changes nothing.
//!
//! `fetch` asks the servers that the configuration names, all at once and each for a bounded time; `verdict` turns the facts
//! into findings, by pure functions; a [`Report`] shows them.

mod facts;
mod fetch;
mod finding;
mod report;
mod verdict;

#[cfg(any(feature = "kafka", feature = "rabbitmq"))]
use std::sync::Arc;
use std::time::Duration;

#[cfg(any(feature = "kafka", feature = "rabbitmq"))]
use tokio::task::JoinSet;

pub use facts::*;
pub use finding::{Finding, Severity};
pub use report::Report;
#[cfg(feature = "rabbitmq")]
pub use verdict::queue::{WantedQueue, problems as queue_problems};
#[cfg(feature = "rabbitmq")]
pub use verdict::rabbitmq::wanted_queues;
#[cfg(any(feature = "kafka", feature = "rabbitmq", feature = "poll"))]
pub(crate) use verdict::schema::difference;

use crate::config::{Config, Deduplication, Guarantee, Source};
use crate::translate::Contract;
use verdict::schema::Promise;
use verdict::topic::Wants;

/// What one server may take in all. Each single question is bounded by less.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks all servers of a stream, and judges. `contract` is the contract's text, `None` where none is needed.
///
/// # Errors
/// When the contract is none.
pub async fn check(config: &Config, contract: Option<&str>) -> Result<Vec<Finding>, String> {
    let contract = contract.filter(|_| config.has_contract());
    let contract = contract.map(Contract::parse).transpose().map_err(|error| format!("the contract: {error}"))?;
    let contract = contract.map(|contract| contract.schema_json().to_owned());
    let (pulsar, kafka, rabbitmq, others) = tokio::join!(
        tokio::time::timeout(PATIENCE, fetch::pulsar::pulsar(config, contract.as_deref())),
        all_of_kafka(config),
        all_of_rabbitmq(config),
        all_others(config)
    );
    let kafka_facts: Vec<_> = kafka.iter().filter_map(|(_, facts)| facts.as_ref().ok()).collect();
    let mut found = Vec::new();
    for (name, facts) in &kafka {
        match facts {
            Ok(facts) => found.extend(verdict::kafka::topic(facts)),
            Err(why) => found.push(unanswered(name, why)),
        }
    }
    found.extend(rabbitmq);
    found.extend(others);
    let promise =
        Promise { contract, strategy: config.schema_compatibility().name(), stream: config.stream.name.clone() };
    match pulsar {
        Ok(facts) => found.extend(of_pulsar(config, &facts, &kafka_facts, &promise)),
        Err(_) => found.push(unanswered("Pulsar", &format!("no answer within {PATIENCE:?}"))),
    }
    Ok(found)
}

fn unanswered(on: &str, why: &str) -> Finding {
    Finding::error("server.answers", on, format!("gives no answer: {why}"), "See that it runs and can be reached")
}

/// Judges Pulsar, and what Kafka holds against it.
fn of_pulsar(config: &Config, facts: &PulsarFacts, kafka: &[&KafkaFacts], promise: &Promise) -> Vec<Finding> {
    let wants = Wants {
        stream: config.stream.name.clone(),
        exactly_once: config.target.guarantee == Guarantee::ExactlyOnce,
        asserted: config.target.deduplication == Deduplication::Asserted,
        partitions: config.setup.partitions,
        source_partitions: source_partitions(config, kafka),
        namespace_retention_days: config.namespace_retention_days(),
    };
    let mut found = verdict::topic::servers(&config.pulsar, facts);
    let namespaces = facts.namespaces.iter();
    found.extend(
        namespaces.flat_map(|(name, it)| verdict::namespace::namespace(name, it, facts.broker.as_ref(), &wants)),
    );
    let is_silent = matches!(facts.admin, Some(Err(_)));
    for topic in facts.topics.iter().filter(|_| !is_silent) {
        found.extend(verdict::topic::topic(topic, &wants));
        if matches!(topic.partitions, Ok(Some(_))) {
            found.extend(verdict::schema::schema(topic, promise));
            found.extend(kafka.iter().filter_map(|source| verdict::kafka::retention(source, topic)));
            found.extend(kafka.iter().filter_map(|source| verdict::kafka::largest_record(source, topic)));
        }
    }
    found
}

/// The partitions of all sources together, where all are known.
fn source_partitions(config: &Config, kafka: &[&KafkaFacts]) -> Option<u32> {
    let mut sum = 0;
    for source in config.source.values() {
        sum += match source {
            Source::Kafka(source) => {
                let facts = kafka.iter().find(|facts| facts.topic == source.topic)?;
                facts.partitions.as_ref().ok().copied().flatten()?
            }
            Source::Rabbitmq(source) => u32::try_from(source.queue_names().len()).ok()?,
            Source::Poll(_) => 1,
        };
    }
    Some(sum)
}

type OfKafka = Vec<(String, Told<KafkaFacts>)>;

#[cfg(feature = "kafka")]
async fn all_of_kafka(config: &Config) -> OfKafka {
    let shared = Arc::new(config.clone());
    let mut asked = JoinSet::new();
    for source in config.source.values() {
        let Source::Kafka(source) = source else { continue };
        let (config, source) = (Arc::clone(&shared), source.clone());
        asked.spawn(async move {
            let facts = tokio::time::timeout(PATIENCE, fetch::kafka::kafka(&config, &source)).await;
            let name = format!("Kafka topic {}", source.topic);
            (name, facts.map_err(|_| format!("no answer within {PATIENCE:?}")))
        });
    }
    let mut all = asked.join_all().await;
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

#[cfg(not(feature = "kafka"))]
async fn all_of_kafka(config: &Config) -> OfKafka {
    without(config, |source| matches!(source, Source::Kafka(_))).map(|(name, why)| (name, Err(why))).collect()
}

#[cfg(feature = "rabbitmq")]
async fn all_of_rabbitmq(config: &Config) -> Vec<Finding> {
    let shared = Arc::new(config.clone());
    let mut asked = JoinSet::new();
    for (index, source) in config.source.values().filter_map(Source::rabbitmq).enumerate() {
        let (config, source) = (Arc::clone(&shared), source.clone());
        asked.spawn(async move {
            let found = match tokio::time::timeout(PATIENCE, fetch::rabbitmq::rabbitmq(&config, &source)).await {
                Ok(facts) => verdict::rabbitmq::source(&facts, &source),
                Err(_) => vec![unanswered("RabbitMQ", &format!("no answer within {PATIENCE:?}"))],
            };
            (index, found)
        });
    }
    let mut by_source = asked.join_all().await;
    by_source.sort_by_key(|(index, _)| *index);
    let mut all: Vec<Finding> = Vec::new();
    for finding in by_source.into_iter().flat_map(|(_, found)| found) {
        // Several sources share the server.
        if !all.contains(&finding) {
            all.push(finding);
        }
    }
    all
}

#[cfg(not(feature = "rabbitmq"))]
async fn all_of_rabbitmq(config: &Config) -> Vec<Finding> {
    let of_rabbitmq = without(config, |source| matches!(source, Source::Rabbitmq(_)));
    of_rabbitmq.map(|(name, why)| unanswered(&name, &why)).collect()
}

/// Sources of a kind that this binary was built without.
#[cfg(not(all(feature = "kafka", feature = "rabbitmq", feature = "poll")))]
fn without(config: &Config, is_kind: fn(&Source) -> bool) -> impl Iterator<Item = (String, String)> {
    let why = "this program was built without that kind of source";
    config
        .source
        .iter()
        .filter(move |(_, source)| is_kind(source))
        .map(move |(name, _)| (format!("source {name}"), why.to_owned()))
}

async fn all_others(config: &Config) -> Vec<Finding> {
    #[cfg(feature = "poll")]
    let (registry, endpoints) = tokio::join!(fetch::http::registry(config), fetch::http::endpoints(config));
    #[cfg(not(feature = "poll"))]
    let (registry, endpoints) = (
        fetch::http::registry(config).await,
        without(config, |source| matches!(source, Source::Poll(_))).map(|(name, why)| unanswered(&name, &why)),
    );
    registry.into_iter().chain(endpoints).collect()
}

//! Asking bridges and brokers, all at once and each for a bounded time: whoever does not answer is named, and never waited
//! for longer.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use bridge_common::checkpoint::{self, Listed};
use bridge_common::config::{Config, KafkaSource, QueueType, RabbitmqSource, Source};
use bridge_common::management::Management;
use bridge_common::pulsar::{Client, ClientConfig};
use bridge_common::source::kafka::{Ends, Look};
use serde_json::Value;

use super::facts::{Facts, Said, SourceFacts};
use super::figures::Figures;
use crate::checkpoint::Name;
use crate::dead_letters;
use crate::replicas::{Replica, reachable, replicas};
use crate::terminal::now_ms;

/// What one broker may take in all.
const PATIENCE: Duration = Duration::from_secs(5);

/// What one look may take: Kafka is asked twice, where a bridge is dead.
const LOOK: Duration = Duration::from_secs(12);

/// One stream's bridge, looked at again and again.
pub(super) struct Watched {
    config: Config,
    client: Client,
    /// What each replica has said last, and when.
    before: HashMap<String, (Figures, Instant)>,
}

impl Watched {
    pub(super) fn new(config: Config) -> Result<Self, String> {
        let client = Client::new(ClientConfig::of(&config.pulsar)).map_err(|error| error.to_string())?;
        Ok(Self { config, client, before: HashMap::new() })
    }

    /// Notes the figures of now, so that the next look tells what has changed.
    pub(super) async fn prepared(mut self) -> Self {
        for (name, replica) in reachable(&self.config).await {
            if let Ok((200, text)) = replica.get("metrics").await {
                self.before.insert(name, (Figures::parse(&text), Instant::now()));
            }
        }
        self
    }

    /// Everything there is to know.
    pub(super) async fn looked(mut self) -> (Self, Facts) {
        let config = self.config.clone();
        let (said, brokers) =
            tokio::join!(self.replicas(), tokio::time::timeout(LOOK, of_brokers(&config, &self.client)));
        let (sources, silent) = brokers.unwrap_or_else(|_| {
            (Vec::new(), vec![format!("the brokers of {}: no answer within {} s", config.stream.name, LOOK.as_secs())])
        });
        let replicas = said.into_iter().map(|(name, said, figures)| {
            if let Some(figures) = figures {
                self.before.insert(name.clone(), (figures, Instant::now()));
            }
            (name, said)
        });
        let replicas: Vec<_> = replicas.collect();
        let is_dead = replicas.iter().all(|(_, said): &(String, Result<Said, String>)| said.is_err());
        let dead_letters = match is_dead {
            // In the time there is, or not at all: a topic of millions takes longer.
            true => tokio::time::timeout(PATIENCE, dead_letters::unsettled(&config, &self.client)).await,
            false => Ok(Err(String::new())),
        };
        let dead_letters = dead_letters.ok().and_then(Result::ok);
        let has_all_sources = has_all(&config, &sources);
        (self, Facts { stream: config.stream.name, replicas, sources, has_all_sources, dead_letters, silent })
    }

    async fn replicas(&self) -> Vec<(String, Result<Said, String>, Option<Figures>)> {
        let mut asked = tokio::task::JoinSet::new();
        for (index, (name, replica)) in replicas(&self.config).await.into_iter().enumerate() {
            let before = self.before.get(&name).cloned();
            asked.spawn(async move {
                let said = match replica {
                    Ok(replica) => said(&replica, before).await,
                    Err(problem) => Err(problem),
                };
                let figures = said.as_ref().ok().map(|said| said.figures.clone());
                (index, (name, said, figures))
            });
        }
        let mut all = asked.join_all().await;
        all.sort_by_key(|(index, _)| *index);
        all.into_iter().map(|(_, one)| one).collect()
    }
}

async fn said(replica: &Replica, before: Option<(Figures, Instant)>) -> Result<Said, String> {
    let (status, ready, metrics) = tokio::join!(replica.get("status"), replica.get("readyz"), replica.get("metrics"));
    let (code, status) = status?;
    let status: Value =
        serde_json::from_str(&status).map_err(|_| format!("/status answers {code}, and is no bridge's"))?;
    let (code, unready) = ready?;
    Ok(Said {
        status,
        unready: (code != 200).then_some(unready),
        figures: Figures::parse(&metrics?.1),
        before: before.map(|(figures, at)| (figures, at.elapsed().as_secs_f64())),
    })
}

/// What the sources hold beyond the checkpoints, and which brokers did not answer.
async fn of_brokers(config: &Config, client: &Client) -> (Vec<SourceFacts>, Vec<String>) {
    let prefix = format!("bridge/{}/", config.stream.name);
    let topic = config.checkpoint_topic().to_string();
    let kafka = kafka_sources(config);
    let (checkpoints, ends, queues) = tokio::join!(
        tokio::time::timeout(PATIENCE, checkpoint::list(client, &topic, &prefix)),
        ends(config, &kafka),
        queues(config)
    );
    let mut silent = Vec::new();
    let checkpoints = match checkpoints {
        Ok(Ok(listed)) => Some(listed),
        Ok(Err(error)) => {
            silent.push(format!("Pulsar {}: {error}", config.pulsar.url));
            None
        }
        Err(_) => {
            silent.push(format!("Pulsar {}: no answer within {} s", config.pulsar.url, PATIENCE.as_secs()));
            None
        }
    };
    let mut sources = Vec::new();
    for (source, ends) in kafka.iter().zip(ends) {
        match (ends, &checkpoints) {
            (Ok(ends), Some(listed)) => sources.push(behind(config, source, &ends, listed).await),
            (Ok(_), None) => {}
            (Err(problem), _) => silent.push(format!("Kafka {}: {problem}", config.kafka.brokers)),
        }
    }
    match queues {
        Ok(queues) => sources.extend(queues),
        Err(problem) => silent.push(format!("RabbitMQ: {problem}")),
    }
    (sources, silent)
}

/// Whether the brokers told how far behind every source is. Of streams and of what is polled none can tell.
fn has_all(config: &Config, sources: &[SourceFacts]) -> bool {
    let is_there = |name: &str| sources.iter().any(|source| source.name == name);
    config.source.values().all(|source| match source {
        Source::Kafka(kafka) => is_there(&kafka.topic),
        Source::Rabbitmq(rabbitmq) => rabbitmq.queue_names().into_iter().all(is_there),
        Source::Poll(_) => false,
    })
}

fn kafka_sources(config: &Config) -> Vec<KafkaSource> {
    let kafka = config.source.values().filter_map(|source| match source {
        Source::Kafka(kafka) => Some(kafka.clone()),
        _ => None,
    });
    kafka.collect()
}

async fn ends(config: &Config, sources: &[KafkaSource]) -> Vec<Result<Vec<Ends>, String>> {
    let mut all = Vec::new();
    for source in sources {
        let look = Look::new(config, source);
        all.push(blocking(move || look?.ends(PATIENCE)).await);
    }
    all
}

/// librdkafka blocks: away from what must stay awake, and not waited for beyond its own bound.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    match tokio::time::timeout(PATIENCE * 2, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(done)) => done,
        Ok(Err(error)) => Err(format!("the question broke off: {error}")),
        Err(_) => Err(format!("no answer within {} s", (PATIENCE * 2).as_secs())),
    }
}

/// From the checkpoints to the ends; a partition without a checkpoint is behind by all it has.
async fn behind(
    config: &Config,
    source: &KafkaSource,
    ends: &[Ends],
    listed: &BTreeMap<String, Listed>,
) -> SourceFacts {
    let positions = positions(source, listed);
    let from = |ends: &Ends| positions.get(&ends.partition).map_or(ends.low, |position| (*position).max(ends.low));
    let behind: BTreeMap<u32, u64> =
        ends.iter().map(|ends| (ends.partition, ends.high.saturating_sub(from(ends)))).collect();
    let lagging: Vec<(u32, u64)> =
        ends.iter().filter(|ends| behind[&ends.partition] > 0).map(|ends| (ends.partition, from(ends))).collect();
    let mut facts = SourceFacts { name: source.topic.clone(), behind, oldest_seconds: None };
    if !lagging.is_empty() {
        let look = Look::new(config, source);
        // Half of what is left; those whose records do not come in time are left out.
        let stamps = blocking(move || look?.stamps(&lagging, PATIENCE / 2)).await;
        let oldest = stamps.ok().and_then(|stamps| stamps.into_values().min());
        facts.oldest_seconds = oldest.map(|stamp| now_ms().saturating_sub(stamp) as f64 / 1000.0);
    }
    facts
}

/// The position of each partition: of the newest entry, where clusters had the same topic.
fn positions(source: &KafkaSource, listed: &BTreeMap<String, Listed>) -> BTreeMap<u32, u64> {
    let mut newest: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    for (name, entry) in listed {
        let Some(name) = Name::parse(name) else { continue };
        if name.topic != source.topic || name.generation != source.generation {
            continue;
        }
        let found = newest.entry(name.partition).or_default();
        *found = (*found).max((entry.written_ms, entry.stored.checkpoint.position));
    }
    newest.into_iter().map(|(partition, (_, position))| (partition, position)).collect()
}

/// How full the queues are: what was not acknowledged waits there. Streams keep what was read, and are left out.
async fn queues(config: &Config) -> Result<Vec<SourceFacts>, String> {
    let is_queue = |source: &&RabbitmqSource| source.queue_type != QueueType::Stream;
    let names: Vec<&str> = config
        .source
        .values()
        .filter_map(Source::rabbitmq)
        .filter(is_queue)
        .flat_map(RabbitmqSource::queue_names)
        .collect();
    if names.is_empty() || config.rabbitmq.management_url.expose().is_empty() {
        return Ok(Vec::new());
    }
    let management = Management::with_timeout(&config.rabbitmq, PATIENCE)?;
    let mut facts = Vec::new();
    for name in names {
        if let Some(queue) = management.get("queues", &[name]).await? {
            let behind = BTreeMap::from([(0, queue["messages"].as_u64().unwrap_or_default())]);
            facts.push(SourceFacts { name: name.to_owned(), behind, oldest_seconds: None });
        }
    }
    Ok(facts)
}

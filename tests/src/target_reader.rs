//! Reads a Pulsar topic to its end by the `pulsar` crate's consumer: another implementation than the bridge's.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use pulsar::consumer::{InitialPosition, Message as PulsarMessage};
use pulsar::proto::MessageIdData;
use pulsar::{Consumer, ConsumerOptions, Pulsar, SubType, TokioExecutor};

use crate::Result;
use crate::expect::{HEAD_BYTES, IDENTITY, SHA256, dead_letter_digest};
use crate::groups::Lane;
use crate::oracle::{Content, Digest, derived, digest};

/// How long no message may come before the end is reached.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long to wait after a reader that was closed while it was opened.
const BETWEEN_TRIES: Duration = Duration::from_millis(200);
/// Messages that are asked for at once.
const PERMITS: u32 = 10_000;
/// Properties with this prefix are the bridge's own, and not the record's,
const OWN_PREFIX: &str = "bridge.";
/// but for these: headers that cannot be properties as they are.
const ENCODED_PREFIX: &str = "bridge.header.";
/// The property of a note about a dead letter: what became of it.
const SETTLED: &str = "bridge.settled";
/// Headers that RabbitMQ adds to deliveries, and no publisher.
const ADDED_BY_RABBITMQ: [&str; 3] = ["x-delivery-count", "x-stream-offset", "x-death"];

/// What a topic holds, by its partitions.
#[derive(Debug, Default, Clone)]
pub(crate) struct TargetMessages {
    /// How many partitions the topic has; 0 for a topic without.
    pub(crate) partitions: u32,
    /// The messages of each partition, in order.
    pub(crate) messages: Vec<(u32, Vec<Message>)>,
    /// How many messages came from other producers, by producer name.
    pub(crate) strangers: BTreeMap<String, u64>,
}

/// One message, as little as is needed of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message {
    /// The source and source partition that its producer's name claims; `None` for a stranger.
    pub(crate) lane: Option<Lane>,
    /// Whether a repair lane wrote it.
    pub(crate) repaired: bool,
    /// Of body, key, event time and properties.
    pub(crate) digest: Digest,
    /// Of the body, and the SHA-256 that it came with where there must be one: how a dead letter is known.
    pub(crate) body_digest: Digest,
    /// The same of the body's first bytes.
    pub(crate) head_digest: Digest,
}

/// How to tell whose a message is.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// The sources, in the order of the settings.
    pub(crate) sources: Vec<SourceName>,
    /// The generation of their lanes.
    pub(crate) generation: u32,
    /// Whether the first field may be derived from coordinates.
    pub(crate) derives: bool,
}

/// What a source's lanes are called, and what their messages carry.
#[derive(Debug)]
pub(crate) struct SourceName {
    /// Its Kafka topic, or its queues.
    pub(crate) topics: Vec<String>,
    /// Whether nobody knows its offsets, and its queues count as one.
    pub(crate) is_queue: bool,
    /// Whether the SHA-256 of the source's bytes must be there.
    pub(crate) has_digest: bool,
    /// Whether what identifies the event must be there.
    pub(crate) has_identity: bool,
}

type Client = Pulsar<TokioExecutor>;
type Reader = Consumer<Vec<u8>, TokioExecutor>;

/// Reads every partition of the topic from its beginning to its last message as of now. Lanes are told by producer
/// names `bridge/<stream>/<cluster>/<source topic>/<partition>`.
pub(crate) async fn read(url: &str, topic: &str, sources: &Arc<Names>) -> Result<TargetMessages> {
    let client: Client = Pulsar::builder(url, TokioExecutor).build().await?;
    let partitions = client.lookup_partitioned_topic_number(topic).await?;
    let names: Vec<(u32, String)> = match partitions {
        0 => vec![(0, topic.to_owned())],
        count => (0..count).map(|partition| (partition, format!("{topic}-partition-{partition}"))).collect(),
    };
    let mut tasks = Vec::new();
    for (partition, name) in names {
        let (client, sources) = (client.clone(), Arc::clone(sources));
        let task = tokio::spawn(async move { read_partition(&client, &name, &sources).await });
        tasks.push((partition, task));
    }
    let mut all = TargetMessages { partitions, ..TargetMessages::default() };
    for (partition, task) in tasks {
        let (messages, strangers) = task.await??;
        all.messages.push((partition, messages));
        for (name, count) in strangers {
            *all.strangers.entry(name).or_default() += count;
        }
    }
    Ok(all)
}

async fn reader(client: &Client, topic: &str) -> Result<Reader> {
    // Not durable: the check leaves nothing behind. The place before the first message is -1:-1.
    let beginning = MessageIdData { ledger_id: u64::MAX, entry_id: u64::MAX, ..MessageIdData::default() };
    let options = ConsumerOptions::default()
        .durable(false)
        .with_initial_position(InitialPosition::Earliest)
        .starting_on_message(beginning);
    let reader = client
        .consumer()
        .with_topic(topic)
        .with_subscription(format!("parity-checker-{}", std::process::id()))
        .with_subscription_type(SubType::Exclusive)
        .with_options(options)
        .with_batch_size(PERMITS)
        .build()
        .await
        .map_err(|error| format!("cannot read {topic}: {error}"))?;
    Ok(reader)
}

/// A reader, and the last message there is. A topic that moves, or is loaded again, closes the readers it has just
/// got: then there is another try.
async fn opened(client: &Client, topic: &str) -> Result<(Reader, MessageIdData)> {
    let begun = Instant::now();
    loop {
        let mut reader = reader(client, topic).await?;
        match reader.get_last_message_id().await {
            Ok(mut last) => return Ok((reader, last.pop().ok_or("no last message id")?)),
            Err(error) if begun.elapsed() > PATIENCE => return Err(format!("the end of {topic}: {error}").into()),
            Err(_) => tokio::time::sleep(BETWEEN_TRIES).await,
        }
    }
}

async fn read_partition(
    client: &Client,
    topic: &str,
    sources: &Names,
) -> Result<(Vec<Message>, BTreeMap<String, u64>)> {
    let mut messages = Vec::new();
    let mut strangers = BTreeMap::new();
    // Dead letters that were redriven: their records are expected in the target now.
    let mut settled = HashSet::new();
    let (mut reader, last) = opened(client, topic).await?;
    // -1 as an entry is the broker's way to say that there is none.
    let mut done = last.entry_id == u64::MAX || last.ledger_id == u64::MAX;
    let mut read_to = None;
    while !done {
        let next = tokio::time::timeout(PATIENCE, reader.next()).await;
        let message = next
            .map_err(|_| format!("{topic}: no message for {PATIENCE:?} after {} of them", messages.len()))?
            .ok_or_else(|| format!("{topic}: the consumer ended after {} messages", messages.len()))??;
        // A consumer that the broker closed begins anew, at the beginning: what was read is not read twice.
        let place = place(&message);
        if read_to >= Some(place) {
            continue;
        }
        read_to = Some(place);
        done = is_last(&message, &last);
        if parse_lane(&message.metadata().producer_name).is_some_and(|lane| lane.generation != sources.generation) {
            continue;
        }
        let note = property(&message, SETTLED);
        if let Some(note) = note {
            settled.extend((note != "pending").then(|| dead_letter(&message)).flatten());
            continue;
        }
        let digested = digested(&message, sources);
        if digested.lane.is_none() {
            *strangers.entry(message.metadata().producer_name.clone()).or_default() += 1;
        }
        messages.push((digested, dead_letter(&message)));
    }
    reader.close().await?;
    let is_left = |letter: &Option<DeadLetter>| letter.as_ref().is_none_or(|letter| !settled.contains(letter));
    let messages = messages.into_iter().filter(|(_, letter)| is_left(letter)).map(|(message, _)| message);
    Ok((messages.collect(), strangers))
}

/// What names the record of a dead letter: its source's topic, partition and offset.
type DeadLetter = (String, String, String);

fn dead_letter(message: &PulsarMessage<Vec<u8>>) -> Option<DeadLetter> {
    // What was redriven names its record as well, and is none any more.
    let is_one = property(message, "bridge.cause").is_some() || property(message, SETTLED).is_some();
    let part = |name: &str| property(message, &format!("bridge.source.{name}")).map(str::to_owned);
    is_one.then(|| Some((part("topic")?, part("partition")?, part("offset")?))).flatten()
}

fn property<'m>(message: &'m PulsarMessage<Vec<u8>>, name: &str) -> Option<&'m str> {
    let properties = &message.metadata().properties;
    properties.iter().find(|property| property.key == name).map(|property| property.value.as_str())
}

/// Where a message lies: ledger, entry, place in the batch.
fn place(message: &PulsarMessage<Vec<u8>>) -> (u64, u64, i32) {
    let id = message.message_id();
    (id.ledger_id, id.entry_id, id.batch_index.unwrap_or(-1).max(0))
}

fn is_last(message: &PulsarMessage<Vec<u8>>, last: &MessageIdData) -> bool {
    let id = message.message_id();
    let in_batch = message.metadata().num_messages_in_batch.unwrap_or(1);
    (id.ledger_id, id.entry_id) >= (last.ledger_id, last.entry_id)
        && id.batch_index.unwrap_or(-1).max(0) + 1 >= in_batch
}

fn digested(message: &PulsarMessage<Vec<u8>>, names: &Names) -> Message {
    let metadata = message.metadata();
    let body = message.payload.data.as_slice();
    // A key that cannot be decoded is a key unlike any other.
    let key = message.key_bytes().unwrap_or_else(|error| Some(error.to_string().into_bytes()));
    let lane = parse_lane(&metadata.producer_name);
    let source = lane.as_ref().and_then(|lane| names.find(lane.topic));
    let (has_digest, has_identity) = source.map_or((false, false), |(_, name)| (name.has_digest, name.has_identity));
    let underived = lane.as_ref().filter(|_| names.derives).zip(source);
    let underived = underived.and_then(|(lane, (_, name))| underive(body, lane.coordinates, name.is_queue));
    let body_as_expected = underived.as_deref().unwrap_or(body);
    let content = Content {
        // The crate does not tell a null value from an empty one; no record under a contract is empty.
        body: (!body.is_empty()).then_some(body_as_expected),
        key: key.as_deref(),
        event_time: metadata.event_time.unwrap_or_default(),
    };
    let is_wanted = |name: &str| match name {
        SHA256 => has_digest,
        IDENTITY => has_identity,
        _ if name.starts_with(OWN_PREFIX) => name.starts_with(ENCODED_PREFIX),
        _ => !ADDED_BY_RABBITMQ.contains(&name),
    };
    let properties = metadata.properties.iter().map(|property| (property.key.as_str(), property.value.as_bytes()));
    let sha256 = metadata.properties.iter().find(|property| has_digest && property.key == SHA256);
    let sha256 = sha256.map(|property| property.value.as_str());
    Message {
        lane: lane.as_ref().zip(source).map(|(lane, (at, name))| (at, if name.is_queue { 0 } else { lane.partition })),
        repaired: lane.as_ref().is_some_and(|lane| lane.is_repair),
        digest: digest(content, properties.filter(|(name, _)| is_wanted(name)).collect()),
        body_digest: dead_letter_digest(body, sha256),
        head_digest: dead_letter_digest(&body[..HEAD_BYTES.min(body.len())], sha256),
    }
}

impl Names {
    fn find(&self, topic: &str) -> Option<(usize, &SourceName)> {
        self.sources.iter().enumerate().find(|(_, source)| source.topics.iter().any(|name| name == topic))
    }
}

/// What the name of a lane's producer says.
#[derive(Debug, PartialEq, Eq)]
struct LaneName<'a> {
    /// The Kafka topic or the queue.
    topic: &'a str,
    partition: i32,
    generation: u32,
    /// Whether its order is not claimed: what was repaired, or redriven.
    is_repair: bool,
    /// Cluster, topic and partition, as they stand in ids that are derived from them.
    coordinates: &'a str,
}

/// Reads `bridge/<stream>/<cluster>/<topic>/<partition>[/g<generation>]`, and `/repair/<ids>` or `/redrive/<offset>` behind it.
fn parse_lane(producer_name: &str) -> Option<LaneName<'_>> {
    let (_stream, coordinates) = producer_name.strip_prefix("bridge/")?.split_once('/')?;
    let mut parts = coordinates.splitn(4, '/');
    let (cluster, topic, partition) = (parts.next()?, parts.next()?, parts.next()?);
    let rest = parts.next().unwrap_or_default();
    let is_repair = rest.split('/').any(|part| matches!(part, "repair" | "redrive"));
    let generation = rest.split('/').next().and_then(|part| part.strip_prefix('g')?.parse().ok()).unwrap_or(0);
    let length = cluster.len() + topic.len() + partition.len() + 2;
    let partition = partition.parse().ok()?;
    Some(LaneName { topic, partition, generation, is_repair, coordinates: &coordinates[..length] })
}

/// The body with the placeholder in place of an id that was derived from these coordinates; `None` where its first field
/// is another text.
fn underive(body: &[u8], coordinates: &str, is_queue: bool) -> Option<Vec<u8>> {
    let (length, start) = avro_long(body)?;
    let end = start.checked_add(usize::try_from(length).ok()?)?;
    let id = std::str::from_utf8(body.get(start..end)?).ok()?;
    let offset: u64 = id.strip_prefix(coordinates)?.strip_prefix('/')?.parse().ok()?;
    let placeholder = derived((!is_queue).then_some(offset));
    // Shorter than 64 bytes: its length is one byte.
    let mut changed = vec![(placeholder.len() as u8) << 1];
    changed.extend_from_slice(placeholder.as_bytes());
    changed.extend_from_slice(&body[end..]);
    Some(changed)
}

/// An Avro long at the beginning, and how many bytes it takes.
fn avro_long(bytes: &[u8]) -> Option<(i64, usize)> {
    let mut value = 0u64;
    for (at, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f).checked_shl(7 * at as u32)?;
        if byte & 0x80 == 0 {
            return Some(((value >> 1) as i64 ^ -((value & 1) as i64), at + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_are_told_by_their_names() {
        let lane = |generation, is_repair| {
            Some(LaneName { topic: "jobs", partition: 7, generation, is_repair, coordinates: "c1/jobs/7" })
        };
        assert_eq!(parse_lane("bridge/job-lifecycle/c1/jobs/7"), lane(0, false));
        assert_eq!(parse_lane("bridge/job-lifecycle/c1/jobs/7/repair/10-20"), lane(0, true));
        assert_eq!(parse_lane("bridge/job-lifecycle/c1/jobs/7/redrive/10"), lane(0, true));
        assert_eq!(parse_lane("bridge/job-lifecycle/c1/jobs/7/g2"), lane(2, false));
        assert_eq!(parse_lane("bridge/job-lifecycle/c1/jobs/7/g2/repair/10-20"), lane(2, true));
        assert_eq!(
            parse_lane("bridge/s/bridges@localhost/a.queue/0").unwrap().coordinates,
            "bridges@localhost/a.queue/0"
        );
        assert_eq!(parse_lane("bridge/job-lifecycle/dedupe"), None);
        assert_eq!(parse_lane("standalone-0-12"), None);
    }

    #[test]
    fn derived_ids_are_known_by_their_coordinates() {
        let body = |id: &str| [&[(id.len() as u8) << 1], id.as_bytes(), b"rest"].concat();
        let changed = |id: &str, is_queue| underive(&body(id), "c1/jobs/7", is_queue);
        assert_eq!(changed("c1/jobs/7/123", false), Some(body("<derived>/123")));
        assert_eq!(changed("c1/jobs/7/123", true), Some(body("<derived>")));
        for other in ["c1/jobs/8/123", "c1/jobs/7/x", "c1/jobs/7", "an-id"] {
            assert_eq!(changed(other, true), None, "{other}");
        }
        assert_eq!(underive(&[200, 1, b'a'], "c1/jobs/7", true), None);
        assert_eq!(avro_long(&[0xac, 0x02]), Some((150, 2)));
    }
}

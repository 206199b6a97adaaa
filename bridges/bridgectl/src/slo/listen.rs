//! Readers of the target, and consumers of the source beside them: what they see goes into one channel.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bridge_common::config::{Config, KafkaSource};
use bridge_common::dead_letter::REDRIVEN;
use bridge_common::pulsar::{Client, Entry, ReaderStart};
use bridge_common::record::Offset;
use bridge_common::source::kafka::Look;
use tokio::sync::mpsc;

use super::account::{Arrived, Kind, Place};
use crate::checkpoint::Name;
use crate::terminal::now_ms;
use crate::topic::{EntryReader, end_of};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long Kafka's may: as long as `verify` waits for it.
const KAFKA_PATIENCE: Duration = Duration::from_secs(10);

/// What was seen, or why no more will be.
#[derive(Debug)]
pub(super) enum Seen {
    Arrived(Vec<Arrived>),
    Consumed {
        place: Place,
        offset: Offset,
        stamp_ms: Option<u64>,
        read_ms: u64,
    },
    /// A reader has come to the end of what it was to read.
    Ended,
    Failed(String),
}

/// Tells what comes in a topic from now on, until nobody listens; also where its broker lets go of it meanwhile.
pub(super) async fn follow(
    client: &Client,
    topic: &str,
    prefix: String,
    is_dead_letters: bool,
    out: mpsc::Sender<Seen>,
) -> Result<(), String> {
    // A place in the topic, not its end: a reader that is opened again before it has read anything goes on there.
    let end = end_of(client, topic).await?;
    let start = end.map_or(ReaderStart::Earliest, ReaderStart::At);
    let opening = tokio::time::timeout(PATIENCE, EntryReader::open(client, topic, start)).await;
    let (mut reader, _) = opening.map_err(|_| format!("{topic}: no answer within {} s", PATIENCE.as_secs()))??;
    tokio::spawn(async move {
        loop {
            let seen = match reader.next(false).await {
                Ok(entry) if Some(entry.id) <= end => continue,
                Ok(entry) => arrived(&entry, &prefix, is_dead_letters, Some(now_ms())).map(Seen::Arrived),
                Err(problem) => Err(problem),
            };
            let is_last = seen.is_err();
            if out.send(seen.unwrap_or_else(Seen::Failed)).await.is_err() || is_last {
                return;
            }
        }
    });
    Ok(())
}

/// The messages of an entry that a bridge of this stream has written; none of other writers'.
pub(super) fn arrived(
    entry: &Entry,
    prefix: &str,
    is_dead_letters: bool,
    read_ms: Option<u64>,
) -> Result<Vec<Arrived>, String> {
    let name = entry.producer_name.as_str();
    let (lane, kind) = match (name.split_once("/repair/"), name.split_once("/redrive/")) {
        (Some((lane, _)), _) => (lane, Kind::Repaired),
        (_, Some((lane, _))) => (lane, Kind::Redriven),
        _ => (name, Kind::Mirrored),
    };
    let Some(parsed) = Name::parse(lane).filter(|_| name.starts_with(prefix)) else { return Ok(Vec::new()) };
    let kind = match (is_dead_letters, kind) {
        // Notes about what was redriven.
        (true, Kind::Redriven) => return Ok(Vec::new()),
        (true, _) => Kind::DeadLetter,
        (false, kind) => kind,
    };
    let broken = |error| format!("entry {}: {error}", entry.id);
    let mut found = Vec::new();
    for message in entry.batch().map_err(broken)?.messages() {
        let message = message.map_err(broken)?;
        debug_assert!(kind != Kind::Redriven || message.properties().any(|(name, _)| name == REDRIVEN));
        found.push(Arrived {
            place: (parsed.topic.clone(), parsed.partition),
            offset: message.sequence_id,
            stamp_ms: message.event_time_ms,
            published_ms: entry.broker_time_ms.unwrap_or(entry.publish_time_ms),
            read_ms,
            kind,
        });
    }
    Ok(found)
}

/// Consumes a source beside its bridge, in a thread of its own, from its end on; tells how far that was at the beginning.
pub(super) async fn consume(
    config: &Config,
    source: &KafkaSource,
    stop: Arc<AtomicBool>,
    out: mpsc::Sender<Seen>,
) -> Result<(), String> {
    let look = Look::new(config, source)?;
    let topic = source.topic.clone();
    let asked = tokio::task::spawn_blocking(move || look.ends(KAFKA_PATIENCE).map(|ends| (look, ends))).await;
    let asked = asked.map_err(|error| format!("the question broke off: {error}")).flatten();
    let (look, ends) = asked.map_err(|problem| unanswered(&topic, &problem, &config.kafka.brokers))?;
    let from: Vec<(u32, Offset)> = ends.iter().map(|ends| (ends.partition, ends.high)).collect();
    std::thread::spawn(move || {
        let done = look.follow(&from, &mut |seen| {
            if let Some(seen) = seen {
                let place = (topic.clone(), seen.partition);
                let (offset, stamp_ms) = (seen.offset, seen.timestamp_ms);
                let told = out.blocking_send(Seen::Consumed { place, offset, stamp_ms, read_ms: now_ms() });
                return told.is_ok() && !stop.load(Ordering::Relaxed);
            }
            !stop.load(Ordering::Relaxed) && !out.is_closed()
        });
        let _ = out.blocking_send(done.map_or_else(Seen::Failed, |()| Seen::Ended));
    });
    Ok(())
}

/// That Kafka did not answer: where it was asked, and what to look at.
fn unanswered(topic: &str, problem: &str, brokers: &str) -> String {
    format!("{topic}: {problem}: are the brokers up, and the address right? (kafka.brokers is {brokers})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_kafka_was_asked_is_said() {
        let said = unanswered("jobs", "Local: Broker transport failure", "k1:9092");
        assert!(said.starts_with("jobs: Local: Broker") && said.ends_with("(kafka.brokers is k1:9092)"), "{said}");
    }
}

//! `--to`: a window of the source, published to another topic in the order of each source partition. Each has a producer name of
//! its own, with the replay's name in it and the source's offsets as sequence ids; whoever goes on after a kill reads back what
//! is there, and waits until what was pushed is seen.

use std::ops::Range;
use std::sync::Arc;

use bridge_common::admin::Admin;
use bridge_common::config::{TopicName, rfc3339};
use bridge_common::pipeline::Workshop;
use bridge_common::pulsar::ReaderStart;
use serde_json::{Value, json};

use super::publish::{Publisher, take};
use super::read::Records;
use super::{Pace, ReplayArguments, ask, say};
use crate::audit::{self, Operation};
use crate::held::Held;
use crate::terminal::{Progress, now_ms};
use crate::verify::{self, Desk, Part};

/// Offsets that are read at a time.
const STEP: usize = 2_000;

/// What was done.
#[derive(Debug, Default)]
struct Done {
    published: u64,
    /// By an earlier run of this replay.
    were_there: u64,
    /// What cannot be translated, and is left out.
    unfit: u64,
}

/// Asks, and publishes.
pub(super) async fn run(desk: &Arc<Desk>, arguments: &ReplayArguments, topic: &str) -> Result<(), String> {
    let target = desk.config.target.topic.to_string();
    let routes = desk.config.route.values().map(|route| route.topic.to_string());
    let own =
        routes.chain([target, desk.config.dead_letter_topic().to_string(), desk.config.checkpoint_topic().to_string()]);
    if own.into_iter().any(|own| own == topic) {
        return Err(format!("{topic} is the stream's own: --missing publishes into it what it lacks"));
    }
    let partitions = desk.client.partitions(topic).await.map_err(|error| error.to_string())?;
    let id = arguments.id.clone().unwrap_or_else(|| verify::file_time(desk.now_ms));
    let offsets: u64 = desk.parts.iter().map(|part| part.to - part.from).sum();
    let stream = &desk.config.stream.name;
    let mut document = json!({
        "version": 1, "kind": "replay-to", "stream": stream, "range": desk.range, "topic": topic, "id": id, "offsets": offsets,
        "published": 0,
    });
    if offsets == 0 || arguments.dry_run {
        say(arguments, &document, &format!("{offsets} records at most; nothing was published"));
        return Ok(());
    }
    let unsafe_topic = forgets(desk, topic).await;
    unsafe_topic.iter().for_each(|warning| eprintln!("WARNING: {warning}"));
    document["warnings"] = json!(unsafe_topic);
    let what = format!("{offsets} records of {stream} at most are published to {topic}.");
    ask(what, arguments.yes).await?;
    eprintln!("should it be interrupted: bridgectl replay {stream} --to {topic} --id {id}{}", window(desk, arguments));
    let detail = json!({"topic": topic, "id": id, "range": desk.range, "offsets": offsets, "rate": arguments.rate});
    let work = async {
        let mut done = Done::default();
        let lock = lock(desk, &id).await?;
        let result = publish(desk, arguments, topic, partitions, &id, &mut done).await;
        lock.close().await;
        let Done { published, were_there, unfit } = done;
        let document = json!({"published": published, "were_there": were_there, "not_translated": unfit});
        result.map(|()| document).map_err(|problem| format!("{problem} ({published} were published)"))
    };
    let result =
        audit::record(&desk.config, &arguments.log, Operation::new("replay --to", stream, detail), work).await?;
    let text = format!(
        "{} records published to {topic}, {} were there, {} cannot be translated and were left out",
        result["published"], result["were_there"], result["not_translated"]
    );
    if let (Value::Object(document), Value::Object(result)) = (&mut document, result) {
        document.extend(result);
    }
    say(arguments, &document, &text);
    Ok(())
}

/// A topic without a subscription and without retention is emptied, and deleted, minutes later: whoever is to read it finds
/// nothing. The warning, where that is so or cannot be told.
async fn forgets(desk: &Desk, topic: &str) -> Vec<String> {
    let asked = async {
        let admin = Admin::new(&desk.config.pulsar).map_err(|error| error.to_string())?;
        let topic: TopicName = topic.parse()?;
        let retention = admin.effective_policy(&topic, "retention").await.map_err(|error| error.to_string())?;
        let stats = admin.stats(&topic).await.map_err(|error| error.to_string())?;
        let minutes = retention["retentionTimeInMinutes"].as_i64().unwrap_or(0);
        let is_read = stats["subscriptions"].as_object().is_some_and(|subscriptions| !subscriptions.is_empty());
        Ok::<bool, String>(minutes == 0 && !is_read)
    };
    match asked.await {
        Ok(false) => Vec::new(),
        Ok(true) => vec![format!(
            "{topic} has no retention and no subscription: Pulsar deletes what is published there, and the topic, within minutes. \
             Subscribe first, or set a retention"
        )],
        Err(problem) => vec![format!("whether {topic} keeps what is published there could not be asked: {problem}")],
    }
}

/// One at a time of one name: two would not double anything, but each would wait for the other at every partition.
async fn lock(desk: &Desk, id: &str) -> Result<Held, String> {
    let name = format!("bridge/{}/replay/{id}", desk.config.stream.name);
    take(&desk.client, &desk.config.checkpoint_topic().to_string(), &name, None).await
}

/// The same window, as it is asked for at another time.
fn window(desk: &Desk, arguments: &ReplayArguments) -> String {
    let range = &arguments.range;
    let mut text: String = range.partition.iter().map(|partition| format!(" --partition {partition}")).collect();
    if range.offsets.is_empty() {
        text += &match desk.since_ms {
            Some(since_ms) => format!(" --since {}", rfc3339(since_ms)),
            None => " --since-start".to_owned(),
        };
        // What comes later belongs to no replay that was begun before.
        return text + &format!(" --until {}", rfc3339(range.until.unwrap_or(desk.now_ms)));
    }
    for part in &desk.parts {
        text += &format!(" --offsets {}={}-{}", part.source.partition, part.from, part.to);
    }
    text
}

async fn publish(
    desk: &Desk,
    arguments: &ReplayArguments,
    topic: &str,
    partitions: u32,
    id: &str,
    done: &mut Done,
) -> Result<(), String> {
    let all: u64 = desk.parts.iter().map(|part| part.to - part.from).sum();
    let other = workshop_for(desk, topic).await?;
    let workshop = other.as_ref().unwrap_or(&desk.workshop);
    let (mut pace, mut progress, mut before) = (Pace::new(arguments.rate), Progress::new("replaying:"), 0);
    let step = pace.slice(STEP) as u64;
    for part in desk.parts.iter().filter(|part| part.to > part.from) {
        let topic = match partitions {
            0 => topic.to_owned(),
            partitions => format!("{topic}-partition-{}", part.source.partition % partitions),
        };
        let name = format!("{}/replay/{id}", part.name);
        let replay = format!("{id}-{}", now_ms());
        let schema = workshop.schema(&desk.kafka[part.kafka].table);
        let mut held = Publisher::open(&desk.client, &topic, &name, schema, &replay).await?;
        held.compression = workshop.compression();
        // Invariant: what is stored under the name has no holes, so that a rerun may begin behind the highest.
        held.in_flight_max = 1;
        let from = match held.last() {
            None => {
                held = refuse_unknown(held, &topic).await?;
                part.from
            }
            Some(_) => {
                let mut there = There { range: part.from..part.to, ..There::default() };
                held = held.stored(ReaderStart::Earliest, |id| there.see(id)).await?;
                done.were_there += there.count;
                refuse_other_window(desk, part, workshop, &there, (id, held.max_message_bytes())).await?;
                there.highest.map_or(part.from, |highest| highest + 1).max(part.from)
            }
        };
        let mut is_checked = held.last().is_some();
        let mut records = Records::open(desk, part, workshop, from, held.max_message_bytes()).await?;
        while records.position() < part.to {
            let start = records.position();
            let mut ready = records.read(start..part.to.min(start + step), |_| true).await?;
            let count = ready.len();
            ready.retain(|ready| !ready.is_dead_letter);
            done.unfit += (count - ready.len()) as u64;
            held.publish(&ready).await?;
            if !is_checked && !ready.is_empty() {
                is_checked = true;
                held = must_deduplicate(held, &topic).await?;
            }
            done.published += ready.len() as u64;
            progress.at(before + records.position() - part.from, Some(all));
            pace.published(ready.len() as u64).await;
        }
        held.settle().await?;
        held.close().await;
        before += part.to - part.from;
    }
    Ok(())
}

/// What is stored under a name.
#[derive(Debug, Default)]
struct There {
    /// The window that is asked for.
    range: Range<u64>,
    lowest: Option<u64>,
    highest: Option<u64>,
    /// How many of them lie in the window.
    count: u64,
}

impl There {
    /// One of them, in the order of the topic; some are seen again.
    fn see(&mut self, id: u64) {
        if self.highest < Some(id) {
            self.highest = Some(id);
            self.count += u64::from(self.range.contains(&id));
        }
        self.lowest = Some(self.lowest.map_or(id, |lowest| lowest.min(id)));
    }
}

/// Sequence ids only rise: what lies below the first that is stored can never be published under this name. Nothing of it may be
/// wanted, or the name was used for another window.
async fn refuse_other_window(
    desk: &Desk,
    part: &Part,
    workshop: &Workshop,
    there: &There,
    (id, max_message_bytes): (&str, usize),
) -> Result<(), String> {
    let end = there.lowest.unwrap_or(part.from).min(part.to);
    let mut records = Records::open(desk, part, workshop, part.from, max_message_bytes).await?;
    while records.position() < end {
        let start = records.position();
        let ready = records.read(start..end.min(start + STEP as u64), |_| true).await?;
        if let Some(wanted) = ready.iter().find(|ready| !ready.is_dead_letter) {
            return Err(format!(
                "--id {id} was used for another window of {}: offset {} is not there, and lies below what is. Take another --id",
                part.source, wanted.id
            ));
        }
    }
    Ok(())
}

/// Where every record keeps its own schema, it is to be a version of this topic's: its own workshop asks for that.
async fn workshop_for(desk: &Desk, topic: &str) -> Result<Option<Workshop>, String> {
    if !desk.config.is_mirror() {
        return Ok(None);
    }
    let mut config = desk.config.clone();
    config.target.topic = topic.parse()?;
    Workshop::new(&config, None, &desk.client).await.map(Some)
}

/// The broker knows nothing of the name. Where the topic holds something of it all the same, nothing tells what else was pushed.
async fn refuse_unknown(held: Publisher, topic: &str) -> Result<Publisher, String> {
    let mut has_some = false;
    let held = held.stored(ReaderStart::Earliest, |_| has_some = true).await?;
    match has_some {
        false => Ok(held),
        true => Err(format!(
            "{topic} holds records of this replay, and the broker does not know their producer any more: without deduplication, or hours \
             later, nothing can go on exactly once. Take another --id, and a topic that is empty"
        )),
    }
}

/// Without deduplication a kill would leave doubles, or holes: found out after the first batch.
async fn must_deduplicate(mut held: Publisher, topic: &str) -> Result<Publisher, String> {
    held.settle().await?;
    let held = held.reopened().await?;
    match held.last() {
        Some(_) => Ok(held),
        None => Err(format!(
            "{topic} has no deduplication, and this could not go on exactly once: turn it on for the topic or its namespace"
        )),
    }
}

//! Publishing one record that was a dead letter, exactly once, by the protocol of repairs: a name of its own is taken on the
//! dead-letter topic (who holds it redrives this record) and on the target; a note in the dead-letter topic says where it goes and
//! from where it has to be looked for; only then it is sent; then a note says that it is there.
//!
//! ```text
//!  hold <name>/redrive/<offset> on the dead-letter topic
//!  pending before? ──> hold the name where it said, look there from its mark on ──> found: note "redriven"
//!  hold the name on the target ──> note "pending" ──receipt──> send ──receipt──> note "redriven"
//! ```
//! Invariant: a record is sent only by a producer that was open before its note "pending" was written, and after that note is
//! stored. Whoever comes next finds the note, takes the name in that topic, which ends an earlier holder, and looks.

use std::sync::Arc;
use std::time::Duration;

use bridge_common::dead_letter as names;
use bridge_common::pulsar::{Client, Compression, OutgoingMessage, ReaderStart, SchemaInfo};
use bridge_common::record::MessageId;

use super::letter::{Letter, Settled, State};
use crate::held::Held;
use crate::terminal::now_ms;
use crate::topic::{Pass, messages};

/// How often what was pushed and is not there is looked for again.
const LOOKS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(500);

/// What all records of one run share.
#[derive(Debug, Clone)]
pub(super) struct Bench {
    pub(super) client: Client,
    /// The dead-letter topic, and its end when its notes were read.
    pub(super) topic: String,
    pub(super) read_to: Option<MessageId>,
    pub(super) stream: String,
    pub(super) compression: Compression,
}

/// What is to be published of a record: by the present contract and configuration.
#[derive(Debug)]
pub(super) struct Message {
    /// The topic, with its partition where it has several.
    pub(super) topic: String,
    /// `None` is a null value.
    pub(super) body: Option<Vec<u8>>,
    pub(super) properties: Vec<(String, String)>,
    /// What identifies the event over all sources, where something does.
    pub(super) key: Option<String>,
    /// The schema of the target; `None` where it has none, or the record keeps its own, of this version.
    pub(super) schema: Option<Arc<SchemaInfo>>,
    pub(super) schema_version: Option<Arc<[u8]>>,
}

/// One record to be published.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) letter: Letter,
    /// What was noted of it before.
    pub(super) before: Option<Settled>,
    pub(super) message: Message,
    pub(super) key: Option<Vec<u8>>,
    /// The end of the message's topic when this run began: what this run sends is not before it.
    pub(super) mark: Option<MessageId>,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    /// It was sent, and has its receipt.
    Published,
    /// An earlier attempt had sent it.
    WasThere,
}

/// Publishes it, or finds it.
///
/// # Errors
/// When the outcome is unknown, or could not be told: the next run goes on from the notes.
pub(super) async fn publish(bench: &Bench, job: &Job) -> Result<Done, String> {
    let name = job.letter.redrive_name();
    let mut notes = take(bench, &bench.topic, &name, None).await?;
    let done = settle(bench, job, &name, &mut notes).await;
    notes.close().await;
    done
}

/// Notes that the same event is in this topic by another source.
pub(super) async fn note_twin(
    bench: &Bench,
    letter: &Letter,
    before: Option<&Settled>,
    topic: &str,
) -> Result<(), String> {
    let mut notes = take(bench, &bench.topic, &letter.redrive_name(), None).await?;
    let last = before.map_or(0, |before| before.last_sequence_id).max(notes.last().unwrap_or(0));
    let noted = note(bench, letter, &mut notes, last + 1, "twin", topic, None).await;
    notes.close().await;
    noted
}

/// The name on the dead-letter topic is held: nobody else redrives this record.
async fn settle(bench: &Bench, job: &Job, name: &str, notes: &mut Held) -> Result<Done, String> {
    let before = newest_note(bench, job, notes).await?;
    let mut last = before.as_ref().map_or(0, |before| before.last_sequence_id).max(notes.last().unwrap_or(0));
    let mut write = async |notes: &mut Held, state: &str, topic: &str, mark: Option<MessageId>| {
        last += 1;
        note(bench, &job.letter, notes, last, state, topic, mark).await
    };
    // Kept open until the new note is stored: an earlier holder must not send any more.
    let mut earlier = None;
    match before {
        Some(Settled { state: State::Pending(mark), topic, .. }) => {
            let held = take(bench, &topic, name, job.message.schema.as_deref()).await?;
            let (held, is_there) = look_for(bench, &topic, mark, name, job, held).await?;
            if is_there {
                held.close().await;
                write(notes, "redriven", &topic, None).await?;
                return Ok(Done::WasThere);
            }
            earlier = Some((topic, held));
        }
        Some(_) => return Ok(Done::WasThere),
        None => {}
    }
    let topic = &job.message.topic;
    let (mut target, earlier) = match earlier {
        Some((place, held)) if place == *topic => (held, None),
        other => (take(bench, topic, name, job.message.schema.as_deref()).await?, other),
    };
    let mut mark = job.mark;
    if earlier.is_none() && before_is_unknown(&target, job) {
        // The target knows the name, and no note does: they were lost. Everything is looked through.
        mark = None;
        let is_there;
        (target, is_there) = look_for(bench, topic, None, name, job, target).await?;
        if is_there {
            target.close().await;
            write(notes, "redriven", topic, None).await?;
            return Ok(Done::WasThere);
        }
    }
    write(notes, "pending", topic, mark).await?;
    if let Some((_, held)) = earlier {
        held.close().await;
    }
    let sent = send(bench, job, &mut target).await?;
    let (target, is_there) = match sent {
        true => (target, true),
        // "A duplicate": only what is stored tells.
        false => look_for(bench, topic, mark, name, job, target).await?,
    };
    target.close().await;
    if !is_there {
        return Err(format!(
            "{}: {topic}: the broker calls it a duplicate, and it is not there: run this again",
            job.letter.position()
        ));
    }
    write(notes, "redriven", topic, None).await?;
    Ok(Done::Published)
}

fn before_is_unknown(target: &Held, job: &Job) -> bool {
    job.before.is_none() && target.last().is_some()
}

/// What is noted by now: more than was read, where the broker knows of more.
async fn newest_note(bench: &Bench, job: &Job, notes: &Held) -> Result<Option<Settled>, String> {
    let mut newest = job.before.clone();
    for _ in 0..LOOKS {
        let known = newest.as_ref().map_or(0, |note| note.last_sequence_id);
        if notes.last().is_none_or(|last| last <= known) {
            return Ok(newest);
        }
        let start = bench.read_to.map_or(ReaderStart::Earliest, ReaderStart::At);
        let mut pass = Pass::begin(&bench.client, &bench.topic, start).await?;
        while let Some(entry) = pass.next().await? {
            messages(&entry, |message| {
                if let Some((key, settled)) = Settled::of(&entry, message)
                    && key == job.letter.key()
                {
                    newest = Some(settled);
                }
            })?;
        }
        tokio::time::sleep(PAUSE).await;
    }
    // It was pushed, and never stored. Nothing was sent on the strength of it: that waits for the note's receipt.
    Ok(newest)
}

/// Whether what this name sent is in a topic, from a mark on. What was pushed and may still be under way is waited for.
async fn look_for(
    bench: &Bench,
    topic: &str,
    mark: Option<MessageId>,
    name: &str,
    job: &Job,
    mut held: Held,
) -> Result<(Held, bool), String> {
    for _ in 0..LOOKS {
        let start = mark.map_or(ReaderStart::Earliest, ReaderStart::At);
        let mut pass = Pass::begin(&bench.client, topic, start).await?;
        while let Some(entry) = pass.next().await? {
            if entry.producer_name == name {
                return Ok((held, true));
            }
        }
        if held.last().is_none() {
            return Ok((held, false));
        }
        tokio::time::sleep(PAUSE).await;
        // An opening says anew what was pushed.
        held.close().await;
        held = take(bench, topic, name, job.message.schema.as_deref()).await?;
    }
    Err(format!(
        "{}: {topic}: an earlier attempt has pushed it, and it is not there yet: run this again later",
        job.letter.position()
    ))
}

/// Sends the message. `false`: the broker calls it a duplicate.
async fn send(bench: &Bench, job: &Job, target: &mut Held) -> Result<bool, String> {
    let Job { letter, message, key, .. } = job;
    let outgoing = OutgoingMessage {
        sequence_id: letter.offset,
        key: key.as_deref(),
        event_time_ms: letter.timestamp_ms,
        value: message.body.as_deref(),
    };
    let own = coordinates(&bench.stream, letter);
    let own = own.iter().map(|(name, value)| (*name, value.as_str()));
    let rest = message.properties.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let properties: Vec<_> = [(names::REDRIVEN, "true")].into_iter().chain(own).chain(rest).collect();
    let version = message.schema_version.as_deref();
    let sent = target.send_one(&outgoing, &properties, bench.compression, version).await;
    sent.map(|receipt| receipt.is_some()).map_err(|problem| format!("{problem}: run this again"))
}

/// Writes a note behind the dead letters.
async fn note(
    bench: &Bench,
    letter: &Letter,
    notes: &mut Held,
    sequence_id: u64,
    state: &str,
    topic: &str,
    mark: Option<MessageId>,
) -> Result<(), String> {
    let outgoing = OutgoingMessage { sequence_id, key: None, event_time_ms: Some(now_ms()), value: None };
    let own = coordinates(&bench.stream, letter);
    let mark = mark.map_or_else(|| "earliest".to_owned(), |mark| mark.to_string());
    let mut properties = vec![(names::SETTLED, state), (names::SETTLED_TOPIC, topic)];
    if state == "pending" {
        properties.push((names::SETTLED_MARK, &mark));
    }
    properties.extend(own.iter().map(|(name, value)| (*name, value.as_str())));
    match notes.send_one(&outgoing, &properties, Compression::None, None).await? {
        Some(_) => Ok(()),
        None => {
            Err(format!("{}: the note in {} has an id that was used: run this again", letter.position(), bench.topic))
        }
    }
}

fn coordinates(stream: &str, letter: &Letter) -> [(&'static str, String); 5] {
    [
        (names::STREAM, stream.to_owned()),
        (names::CLUSTER, letter.source.cluster_id.clone()),
        (names::TOPIC, letter.source.topic.clone()),
        (names::PARTITION, letter.source.partition.to_string()),
        (names::OFFSET, letter.offset.to_string()),
    ]
}

/// Takes a name that another redrive may hold.
async fn take(bench: &Bench, topic: &str, name: &str, schema: Option<&SchemaInfo>) -> Result<Held, String> {
    let held = Held::take(&bench.client, topic, name, schema).await?;
    held.ok_or_else(|| format!("{name} is held on {topic}: another redrive is at it"))
}

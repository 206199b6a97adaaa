//! `verify --reread`: a consumer that goes back gets the same again. Every partition of the target is read twice from the same
//! time, and once more from the message that came first, to the same end; each reading makes a chain of digests over
//! everything a consumer sees, order included.

use std::sync::Arc;

use bridge_common::config::rfc3339;
use bridge_common::digest::{hex, sha256};
use bridge_common::pulsar::{Entry, ReaderStart};
use bridge_common::record::MessageId;
use serde_json::{Value, json};

use super::content::Content;
use super::desk::Desk;
use super::{VerifyArguments, reread_page};
use crate::terminal;
use crate::topic::Pass;

/// What one reading gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reading {
    messages: u64,
    first: Option<MessageId>,
    last: Option<MessageId>,
    chain: [u8; 32],
}

/// Three readings of one topic partition.
pub(super) struct Row {
    topic: String,
    readings: Vec<Reading>,
}

impl Row {
    pub(super) fn is_same(&self) -> bool {
        self.readings.windows(2).all(|pair| pair[0] == pair[1])
    }

    pub(super) fn topic(&self) -> &str {
        &self.topic
    }

    /// Of each reading: how many messages, the first, the last, and the chain.
    pub(super) fn readings(&self) -> impl Iterator<Item = [String; 4]> {
        let place = |id: Option<MessageId>| id.map_or_else(|| "-".to_owned(), |id| id.to_string());
        let words = move |reading: &Reading| {
            [reading.messages.to_string(), place(reading.first), place(reading.last), hex(&reading.chain)]
        };
        self.readings.iter().map(words)
    }
}

/// Reads all partitions; whether every reading of each gave the same.
pub(crate) async fn run(desk: &Arc<Desk>, arguments: &VerifyArguments) -> Result<bool, String> {
    let mut rows = Vec::new();
    for topic in &desk.topics {
        // The place of one moment: the second reading does not ask for so many seconds before a later one.
        let start = match desk.since_ms {
            None => ReaderStart::Earliest,
            Some(since_ms) => seconds_since(since_ms),
        };
        let (first, end) = read(desk, &topic.name, start, None).await?;
        let start = match desk.since_ms {
            None => ReaderStart::Earliest,
            Some(since_ms) => seconds_since(since_ms),
        };
        let (second, _) = read(desk, &topic.name, start, end).await?;
        let mut readings = vec![first.clone(), second];
        if let Some(id) = first.first {
            readings.push(read(desk, &topic.name, ReaderStart::At(id), end).await?.0);
        }
        rows.push(Row { topic: topic.name.clone(), readings });
    }
    let is_same = rows.iter().all(Row::is_same);
    let document = json(desk, &rows, is_same);
    let stream = &desk.config.stream.name;
    let name = format!("reread-{stream}-{}", super::file_time(desk.now_ms));
    let page = reread_page::html(stream, &desk.range, &rfc3339(desk.now_ms), &rows, is_same);
    let kept = super::keep(&arguments.output, &name, &[("json", format!("{document:#}\n")), ("html", page)]);
    terminal::say(&match arguments.json {
        true => format!("{document:#}\n"),
        false => text(desk, &rows, is_same),
    });
    super::say_where(kept);
    Ok(is_same)
}

/// By the second: the broker counts back from its own now.
fn seconds_since(since_ms: u64) -> ReaderStart {
    let ago = terminal::now_ms().saturating_sub(since_ms).div_ceil(1000);
    u32::try_from(ago).map_or(ReaderStart::Earliest, ReaderStart::SecondsAgo)
}

/// Reads to `end`, or to the end there is now, which it gives.
async fn read(
    desk: &Desk,
    topic: &str,
    start: ReaderStart,
    end: Option<MessageId>,
) -> Result<(Reading, Option<MessageId>), String> {
    let mut pass = match end {
        Some(end) => Pass::to(&desk.client, topic, start, end).await?,
        None => Pass::begin(&desk.client, topic, start).await?,
    };
    let end = end.or(pass.end());
    let mut reading = Reading { messages: 0, first: None, last: None, chain: [0; 32] };
    let mut chain = Chain { content: Content::new(true, true), text: Vec::new() };
    while let Some(entry) = pass.next().await? {
        // By time, the readings may begin in different seconds: what counts is from the same publish time on.
        if desk.since_ms.is_some_and(|since_ms| reading.first.is_none() && entry.publish_time_ms < since_ms) {
            continue;
        }
        reading.first = reading.first.or(Some(entry.id));
        reading.last = Some(entry.id);
        reading.messages += u64::from(entry.count);
        reading.chain = chain.link(&reading.chain, &entry).map_err(|problem| format!("{topic}: {problem}"))?;
    }
    Ok((reading, end))
}

struct Chain {
    content: Content,
    text: Vec<u8>,
}

impl Chain {
    /// The chain with one more entry: its place, its producer, and each message with its id and content.
    fn link(&mut self, before: &[u8; 32], entry: &Entry) -> Result<[u8; 32], String> {
        self.text.clear();
        self.text.extend_from_slice(before);
        self.text.extend_from_slice(&entry.id.ledger.to_be_bytes());
        self.text.extend_from_slice(&entry.id.entry.to_be_bytes());
        self.text.extend_from_slice(&(entry.producer_name.len() as u64).to_be_bytes());
        self.text.extend_from_slice(entry.producer_name.as_bytes());
        // What is encrypted or in chunks is the same when its place and its producer are.
        let Ok(batch) = entry.batch() else { return Ok(sha256(&self.text)) };
        for message in batch.messages() {
            let message = message.map_err(|error| format!("entry {}: {error}", entry.id))?;
            self.text.extend_from_slice(&message.sequence_id.to_be_bytes());
            let digest = self.content.of_message(&message);
            self.text.extend_from_slice(&digest);
        }
        Ok(sha256(&self.text))
    }
}

fn text(desk: &Desk, rows: &[Row], is_same: bool) -> String {
    let mut text = format!(
        "{}: {}, read twice from the same time, once from the first message\n",
        desk.config.stream.name, desk.range
    );
    for row in rows {
        let first = &row.readings[0];
        let from = first.first.map_or_else(|| "-".to_owned(), |id| id.to_string());
        let to = first.last.map_or_else(|| "-".to_owned(), |id| id.to_string());
        let verdict = if row.is_same() { "the same" } else { "NOT THE SAME" };
        text += &format!(
            "  {}: {} messages, {from} to {to}, chain {}: {verdict}\n",
            row.topic,
            first.messages,
            &hex(&first.chain)[..16]
        );
    }
    let total: u64 = rows.iter().map(|row| row.readings[0].messages).sum();
    let verdict = if is_same { "THE SAME SEQUENCE" } else { "ANOTHER SEQUENCE" };
    text + &format!("{verdict}: {total} messages of {} topic partitions\n", rows.len())
}

fn json(desk: &Desk, rows: &[Row], is_same: bool) -> Value {
    let reading = |reading: &Reading| {
        json!({
            "messages": reading.messages,
            "first": reading.first.map(|id| id.to_string()),
            "last": reading.last.map(|id| id.to_string()),
            "chain": hex(&reading.chain),
        })
    };
    let row = |row: &Row| {
        let readings: Vec<Value> = row.readings.iter().map(reading).collect();
        json!({"target_topic": row.topic, "same": row.is_same(), "readings": readings})
    };
    json!({
        "version": super::report::VERSION,
        "kind": "reread",
        "stream": desk.config.stream.name,
        "verdict": if is_same { "same" } else { "different" },
        "range": desk.range,
        "began": rfc3339(desk.now_ms),
        "topics": rows.iter().map(row).collect::<Vec<_>>(),
    })
}

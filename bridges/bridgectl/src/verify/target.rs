//! The target's side: a task for each topic partition, which takes entries apart and tells the comparisons what is there.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bridge_common::dead_letter::{OMITTED, REDRIVEN};
use bridge_common::headers;
use bridge_common::pipeline::{IDEMPOTENCY_KEY, Maker, REPLAYED, SHA256};
use bridge_common::pulsar::{Entry, Message, ReaderStart};
use bridge_common::recall;
use bridge_common::record::{Header, Record};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;

use super::content::Content;
use super::engine::{LastWord, Shared, Told};
use super::facts::{At, Digest, Mark, Observed, Place, Topic};
use super::keys::Keyed;
use super::names::{Names, Owner, is_redrive};
use crate::topic::EntryReader;

/// How long the comparison is waited for, before it is asked again.
const WAIT: Duration = Duration::from_millis(1);

/// The tasks; dropped, they end.
pub(crate) struct Tasks {
    _tasks: JoinSet<()>,
}

impl Tasks {
    pub(crate) fn start(shared: &Arc<Shared>, start: ReaderStart, tell: &UnboundedSender<Told>) -> Self {
        let mut tasks = JoinSet::new();
        for topic in 0..shared.desk.topics.len() {
            let (shared, tell) = (Arc::clone(shared), tell.clone());
            tasks.spawn(async move {
                let mut last_word = LastWord::of(&tell);
                let reading = Reading::new(&shared, topic);
                if let Err(problem) = reading.read(start, &tell).await {
                    last_word.say(Told::Failed(problem));
                }
            });
        }
        Self { _tasks: tasks }
    }
}

/// One topic partition being read.
struct Reading<'r> {
    shared: &'r Shared,
    topic: usize,
    names: Names,
    content: Content,
    has_keys: bool,
    /// Translate dead letters again, by source partition.
    makers: HashMap<usize, Maker>,
    batch: Vec<Observed>,
    keyed: Vec<Keyed>,
}

impl<'r> Reading<'r> {
    fn new(shared: &'r Shared, topic: usize) -> Self {
        let desk = &shared.desk;
        Self {
            shared,
            topic,
            names: desk.names(),
            content: desk.content(),
            has_keys: desk.has_keys(),
            makers: HashMap::new(),
            batch: Vec::new(),
            keyed: Vec::new(),
        }
    }

    async fn read(mut self, start: ReaderStart, tell: &UnboundedSender<Told>) -> Result<(), String> {
        let topic = &self.shared.desk.topics[self.topic].name;
        let (reader, mut end) = EntryReader::open(&self.shared.desk.client, topic, start).await?;
        let mut reader = reader.among(self.shared.desk.topics.len());
        loop {
            if end.is_none_or(|end| reader.last().is_some_and(|last| last >= end)) {
                end = None;
                if tell.send(Told::Reached).is_err() {
                    return Ok(());
                }
                break;
            }
            let entry = reader.next(true).await?;
            self.take(&entry).await?;
        }
        debug_assert!(end.is_none(), "the end was reached");
        // What comes from here on was on its way when the source's end was asked for, or is newer.
        loop {
            let entry = reader.next(false).await?;
            self.take(&entry).await?;
        }
    }

    async fn take(&mut self, entry: &Entry) -> Result<(), String> {
        self.shared.target_messages.fetch_add(u64::from(entry.count), Ordering::Relaxed);
        match self.names.owner(&entry.producer_name) {
            Owner::Partition(part, mark) => self.take_ours(entry, part, mark).await,
            Owner::Unreadable(source) => self.take_unreadable(entry, source),
            Owner::Elsewhere => {
                self.shared.elsewhere().add(&entry.producer_name, u64::from(entry.count));
                Ok(())
            }
            Owner::Foreign => {
                self.shared.foreign().add(&entry.producer_name, u64::from(entry.count));
                Ok(())
            }
        }
    }

    async fn take_ours(&mut self, entry: &Entry, part: usize, mark: Mark) -> Result<(), String> {
        let place = self.place();
        if mark == Mark::Redriven && place == Place::DeadLetters {
            // A note that the dead letter is settled.
            return Ok(());
        }
        // A source that is behind catches up; the comparison sees to it that one side can always go on.
        while !self.shared.comparison(part).may_read().1 {
            tokio::time::sleep(WAIT).await;
        }
        let (low, high) = (entry.sequence_id, entry.highest_sequence_id);
        let range = self.shared.comparison(part).range.clone();
        // Behind the source's end every message counts.
        let is_known = high < self.shared.desk.parts[part].source_end;
        let is_outside = high < range.start || low >= range.end && is_known;
        self.batch.clear();
        self.keyed.clear();
        if is_outside && !self.has_keys {
            // Enough to know how far back the lane was read.
            let at = self.at(entry, 0);
            self.batch.push(Observed { id: low, place, digest: Digest::default(), at, mark });
        } else {
            let batch = entry.batch().map_err(|error| self.broken(entry, &error))?;
            for (message, index) in batch.messages().zip(0..) {
                let message = message.map_err(|error| self.broken(entry, &error))?;
                let digest = match place {
                    Place::DeadLetters => self.digest_of_dead(&message, part).await?,
                    Place::Topic(_) => self.content.of_message(&message),
                };
                let at = self.at(entry, index);
                let is_marked = [Mark::Lane, Mark::Copied].contains(&mark);
                let mark = if is_marked { mark } else { marked(&message, mark) };
                self.batch.push(Observed { id: message.sequence_id, place, digest, at, mark });
                self.note_key(entry, &message, None, at);
            }
        }
        let mut comparison = self.shared.comparison(part);
        self.batch.iter().for_each(|observed| comparison.observe(observed));
        drop(comparison);
        self.add_keys();
        Ok(())
    }

    /// Messages of a source that cannot be read twice: what identifies them is looked at.
    fn take_unreadable(&mut self, entry: &Entry, source: usize) -> Result<(), String> {
        self.keyed.clear();
        let is_dead = self.place() == Place::DeadLetters;
        if is_dead && is_redrive(&entry.producer_name) {
            // A note that the dead letter is settled.
            return Ok(());
        }
        if self.shared.desk.since_ms.is_some_and(|since_ms| entry.publish_time_ms < since_ms) {
            return Ok(());
        }
        let batch = entry.batch().map_err(|error| self.broken(entry, &error))?;
        let mut without_key = 0;
        for (message, index) in batch.messages().zip(0..) {
            let message = message.map_err(|error| self.broken(entry, &error))?;
            let has_key = self.note_key(entry, &message, Some(source), self.at(entry, index));
            without_key += u64::from(!has_key);
        }
        {
            let mut keys = self.shared.keys();
            let tally = &mut keys.found.tallies[source];
            tally.messages += u64::from(entry.count);
            tally.dead_letters += if is_dead { u64::from(entry.count) } else { 0 };
            tally.without_key += without_key;
        }
        self.add_keys();
        Ok(())
    }

    fn place(&self) -> Place {
        self.shared.desk.topics[self.topic].place
    }

    /// Whether the message has a key. Noted are those of messages in the target and the topics of routes: a dead letter is no
    /// twin of an event, and what is redriven from it no double.
    fn note_key(&mut self, entry: &Entry, message: &Message<'_>, source: Option<usize>, at: At) -> bool {
        if !self.has_keys {
            return false;
        }
        let find = |wanted: &str| message.properties().find(|(name, _)| *name == wanted).map(|(_, value)| value);
        let Some(key) = find(IDEMPOTENCY_KEY) else { return false };
        if self.place() == Place::DeadLetters {
            return true;
        }
        let hash = match (self.shared.desk.config.dedupe.key.is_some(), find(SHA256)) {
            (false, Some(sha256)) => recall::hash_key(format!("{sha256}{key}").as_bytes()),
            _ => recall::hash_key(key.as_bytes()),
        };
        let (published_ms, sequence_id) = (entry.publish_time_ms, message.sequence_id);
        self.keyed.push(Keyed { source, hash, published_ms, sequence_id, at });
        true
    }

    fn add_keys(&self) {
        if !self.keyed.is_empty() {
            let mut keys = self.shared.keys();
            self.keyed.iter().for_each(|keyed| keys.add(keyed));
        }
    }

    fn at(&self, entry: &Entry, index: u32) -> At {
        let topic = Topic::try_from(self.topic).unwrap_or(Topic::MAX);
        At { topic, ledger: entry.id.ledger, entry: entry.id.entry, index }
    }

    /// A dead letter is the record as it came: what is compared is what would be made of it now, as of the source's.
    async fn digest_of_dead(&mut self, message: &Message<'_>, part: usize) -> Result<Digest, String> {
        let is_whole = !message.properties().any(|(name, _)| name == OMITTED);
        let Some(owned) = headers::headers(message.properties()).filter(|_| is_whole) else {
            return Ok(self.content.of_message(message));
        };
        let headers: Vec<Header<'_>> =
            owned.iter().map(|(name, value)| Header { name, value: value.as_deref() }).collect();
        let record = Record {
            offset: message.sequence_id,
            timestamp_ms: message.event_time_ms,
            key: message.key.as_deref(),
            value: (!message.null_value).then_some(message.value),
            headers: &headers,
        };
        let desk = &self.shared.desk;
        let source = &desk.parts[part];
        let table = &desk.kafka[source.kafka].table;
        let maker = self
            .makers
            .entry(part)
            .or_insert_with(|| desk.workshop.maker(table, source.source.clone(), desk.max_message_bytes));
        desk.workshop.teach(table, maker, record.value).await?;
        Ok(self.content.of_made(&maker.make(&record)))
    }

    fn broken(&self, entry: &Entry, error: &dyn std::fmt::Display) -> String {
        format!("entry {} of {}: {error}", entry.id, self.shared.desk.topics[self.topic].name)
    }
}

/// What a message that did not come by its lane says of itself.
fn marked(message: &Message<'_>, otherwise: Mark) -> Mark {
    let mut names = message.properties().map(|(name, _)| name);
    match names.find(|name| [REPLAYED, REDRIVEN].contains(name)) {
        Some(REPLAYED) => Mark::Replayed,
        Some(_) => Mark::Redriven,
        None => otherwise,
    }
}

//! Reading a dead-letter topic, from its beginning to the end that it has now.

use std::collections::HashMap;
use std::time::Duration;

use bridge_common::pulsar::{Client, Entry, Error, Message, Reader, ReaderStart, Refusal};
use bridge_common::record::MessageId;

use super::letter::{Key, Letter, Settled};
use crate::terminal::Progress;

/// How long an answer, or the next entry, may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// The notes about dead letters: the newest of each.
pub(super) type Notes = HashMap<Key, Settled>;

/// Opens a reader, within bounded time.
pub(super) async fn open(client: &Client, topic: &str, start: ReaderStart) -> Result<Reader, String> {
    let opening = tokio::time::timeout(PATIENCE, client.open_reader(topic, start, false)).await;
    match opening.map_err(|_| format!("{topic}: no answer within {} s", PATIENCE.as_secs()))? {
        Err(Error::Refused { refusal: Refusal::TopicNotFound, .. }) => {
            Err(format!("{topic} is not there: `bridgectl setup` creates it"))
        }
        opened => opened.map_err(|error| error.to_string()),
    }
}

/// The id of a topic's newest entry; `None` where it is empty.
pub(crate) async fn end_of(client: &Client, topic: &str) -> Result<Option<MessageId>, String> {
    let reader = open(client, topic, ReaderStart::Latest).await?;
    let asked = tokio::time::timeout(PATIENCE, reader.last_message_id()).await;
    asked.map_err(|_| format!("{topic}: no answer within {} s", PATIENCE.as_secs()))?.map_err(|error| error.to_string())
}

/// One reading of a topic, from a place to the end that the topic has when it begins.
pub(crate) struct Pass {
    reader: Reader,
    topic: String,
    end: Option<MessageId>,
}

impl Pass {
    pub(crate) async fn begin(client: &Client, topic: &str, start: ReaderStart) -> Result<Self, String> {
        let reader = open(client, topic, start).await?;
        let end = tokio::time::timeout(PATIENCE, reader.last_message_id()).await;
        let end = end.map_err(|_| format!("{topic}: no answer within {} s", PATIENCE.as_secs()))?;
        Ok(Self { reader, topic: topic.to_owned(), end: end.map_err(|error| error.to_string())? })
    }

    /// The next entry; `None` behind the last one.
    pub(crate) async fn next(&mut self) -> Result<Option<Entry>, String> {
        let Some(end) = self.end else { return Ok(None) };
        let entry = tokio::time::timeout(PATIENCE, self.reader.next()).await;
        let entry = entry.map_err(|_| format!("{}: nothing came for {} s", self.topic, PATIENCE.as_secs()))?;
        let entry = entry.map_err(|error| error.to_string())?;
        if entry.id >= end {
            self.end = None;
        }
        Ok(Some(entry))
    }
}

/// Gives every message of an entry.
pub(super) fn messages(entry: &Entry, mut each: impl FnMut(&Message<'_>)) -> Result<(), String> {
    let broken = |error| format!("entry {}: {error}", entry.id);
    for message in entry.batch().map_err(broken)?.messages() {
        each(&message.map_err(broken)?);
    }
    Ok(())
}

/// The notes of a topic, and how many dead letters `wanted` fits.
pub(super) async fn notes(client: &Client, topic: &str, mut wanted: impl FnMut(&Letter)) -> Result<Notes, String> {
    let (mut notes, mut count) = (Notes::new(), 0);
    let mut progress = Progress::new("reading the dead letters:");
    let mut pass = Pass::begin(client, topic, ReaderStart::Earliest).await?;
    while let Some(entry) = pass.next().await? {
        messages(&entry, |message| {
            count += 1;
            if let Some((key, settled)) = Settled::of(&entry, message) {
                notes.insert(key, settled);
            } else if let Some(letter) = Letter::of(&entry, message) {
                wanted(&letter);
            }
        })?;
        progress.at(count, None);
    }
    Ok(notes)
}

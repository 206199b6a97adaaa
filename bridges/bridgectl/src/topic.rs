//! Reading topics: on and on, also when a broker lets go of one in between, or once, to the end that it has now.

use std::time::{Duration, Instant};

use bridge_common::pulsar::{Client, Entry, Error, Message, Reader, ReaderStart, Refusal};
use bridge_common::record::MessageId;
use bridge_common::retry::Retry;

/// How long a broker may be silent, or away, before it is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Messages, and bytes over all readers of a run, that are asked for ahead.
const AHEAD_MESSAGES: usize = 20_000;
const AHEAD_BYTES: usize = 24 << 20;

/// A reader that is opened again where it stood.
pub(crate) struct EntryReader {
    client: Client,
    topic: String,
    start: ReaderStart,
    reader: Reader,
    last: Option<MessageId>,
    /// Bytes that it asks for ahead.
    ahead_bytes: usize,
}

impl EntryReader {
    /// Opens it; gives the newest entry that is ahead of it, too.
    ///
    /// # Errors
    /// What the broker says. A topic that is not there is none of a stream that was never set up.
    pub(crate) async fn open(
        client: &Client,
        topic: &str,
        start: ReaderStart,
    ) -> Result<(Self, Option<MessageId>), String> {
        let (reader, end) = open(client, topic, start).await?;
        let (client, topic) = (client.clone(), topic.to_owned());
        Ok((Self { client, topic, start, reader, last: None, ahead_bytes: 0 }, end))
    }

    /// For one of so many that read at once: more is asked for ahead, since much is to be read.
    pub(crate) fn among(mut self, readers: usize) -> Self {
        self.ahead_bytes = (AHEAD_BYTES / readers.max(1)).min(8 << 20);
        self.reader.set_ahead(AHEAD_MESSAGES, self.ahead_bytes);
        self
    }

    /// The entry that was read last.
    pub(crate) fn last(&self) -> Option<MessageId> {
        self.last
    }

    /// The next entry. Where one `must_come`, it is waited for so long only.
    pub(crate) async fn next(&mut self, must_come: bool) -> Result<Entry, String> {
        loop {
            let next = match must_come {
                false => Ok(self.reader.next().await),
                true => tokio::time::timeout(PATIENCE, self.reader.next()).await,
            };
            match next {
                Err(_) => return Err(format!("{}: nothing came for {} s", self.topic, PATIENCE.as_secs())),
                // A reader that was opened again begins with what was read already.
                Ok(Ok(entry)) if Some(entry.id) <= self.last => {}
                Ok(Ok(entry)) => {
                    self.last = Some(entry.id);
                    return Ok(entry);
                }
                Ok(Err(error @ (Error::Config(_) | Error::Refused { .. } | Error::Protocol { .. }))) => {
                    return Err(error.to_string());
                }
                Ok(Err(error)) => self.open_again(&error).await?,
            }
        }
    }

    async fn open_again(&mut self, error: &Error) -> Result<(), String> {
        let (mut retry, since, mut said) = (Retry::for_brokers(), Instant::now(), error.to_string());
        let start = self.last.map_or(self.start, ReaderStart::At);
        while since.elapsed() < PATIENCE {
            tokio::time::sleep(retry.next_pause()).await;
            match self.client.open_reader(&self.topic, start, false).await {
                Ok(mut reader) => {
                    if self.ahead_bytes > 0 {
                        reader.set_ahead(AHEAD_MESSAGES, self.ahead_bytes);
                    }
                    self.reader = reader;
                    return Ok(());
                }
                Err(error) => said = error.to_string(),
            }
        }
        Err(said)
    }
}

/// One reading of a topic partition, to the end that it has when it begins.
pub(crate) struct Pass {
    reader: EntryReader,
    end: Option<MessageId>,
}

impl Pass {
    /// From this place on.
    ///
    /// # Errors
    /// As [`EntryReader::open`].
    pub(crate) async fn begin(client: &Client, topic: &str, start: ReaderStart) -> Result<Self, String> {
        let (reader, end) = EntryReader::open(client, topic, start).await?;
        Ok(Self { reader, end })
    }

    /// From this place to this entry, where that is ahead.
    ///
    /// # Errors
    /// As [`EntryReader::open`].
    pub(crate) async fn to(client: &Client, topic: &str, start: ReaderStart, end: MessageId) -> Result<Self, String> {
        let pass = Self::begin(client, topic, start).await?;
        Ok(Self { end: pass.end.map(|newest| newest.min(end)), ..pass })
    }

    /// The last entry that it will give; `None` where there is none ahead.
    pub(crate) fn end(&self) -> Option<MessageId> {
        self.end
    }

    /// The next entry; `None` behind the last one.
    ///
    /// # Errors
    /// What the broker says, or that it says nothing.
    pub(crate) async fn next(&mut self) -> Result<Option<Entry>, String> {
        if self.end.is_none_or(|end| self.reader.last().is_some_and(|last| last >= end)) {
            return Ok(None);
        }
        let entry = self.reader.next(true).await?;
        // Where the end itself is gone by now, what stands behind it came since.
        Ok(Some(entry).filter(|entry| self.end.is_some_and(|end| entry.id <= end)))
    }
}

/// The id of a topic's newest entry; `None` where it is empty.
pub(crate) async fn end_of(client: &Client, topic: &str) -> Result<Option<MessageId>, String> {
    let reader = open_reader(client, topic, ReaderStart::Latest).await?;
    let asked = tokio::time::timeout(PATIENCE, reader.last_message_id()).await;
    asked.map_err(|_| silent(topic))?.map_err(|error| error.to_string())
}

/// What a topic's broker takes at most for a message.
pub(crate) async fn max_message_bytes(client: &Client, topic: &str) -> Result<usize, String> {
    Ok(open_reader(client, topic, ReaderStart::Latest).await?.max_message_bytes())
}

/// Gives every message of an entry.
pub(crate) fn messages(entry: &Entry, mut each: impl FnMut(&Message<'_>)) -> Result<(), String> {
    let broken = |error| format!("entry {}: {error}", entry.id);
    for message in entry.batch().map_err(broken)?.messages() {
        each(&message.map_err(broken)?);
    }
    Ok(())
}

/// The names of a topic's partitions; of one that has none, its own.
pub(crate) fn partition_names(topic: &str, partitions: u32) -> Vec<String> {
    match partitions {
        0 => vec![topic.to_owned()],
        _ => (0..partitions).map(|partition| format!("{topic}-partition-{partition}")).collect(),
    }
}

async fn open(client: &Client, topic: &str, start: ReaderStart) -> Result<(Reader, Option<MessageId>), String> {
    let reader = open_reader(client, topic, start).await?;
    let asked = tokio::time::timeout(PATIENCE, reader.last_ahead()).await;
    let end = asked.map_err(|_| silent(topic))?.map_err(|error| error.to_string())?;
    Ok((reader, end))
}

async fn open_reader(client: &Client, topic: &str, start: ReaderStart) -> Result<Reader, String> {
    let opening = tokio::time::timeout(PATIENCE, client.open_reader(topic, start, false)).await;
    match opening.map_err(|_| silent(topic))? {
        Err(Error::Refused { refusal: Refusal::TopicNotFound, .. }) => {
            Err(format!("{topic} is not there: `bridgectl setup` creates what a stream needs"))
        }
        opened => opened.map_err(|error| error.to_string()),
    }
}

fn silent(topic: &str) -> String {
    format!("{topic}: no answer within {} s", PATIENCE.as_secs())
}

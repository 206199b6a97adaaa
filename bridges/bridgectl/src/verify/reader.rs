//! Reads a topic partition on, also when its broker lets go of it in between.

use std::time::{Duration, Instant};

use bridge_common::pulsar::{Client, Entry, Error, Reader, ReaderStart};
use bridge_common::record::MessageId;
use bridge_common::retry::Retry;

/// How long a broker may be silent, or away, before it is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// A reader that is opened again where it stood.
pub(crate) struct EntryReader {
    client: Client,
    topic: String,
    start: ReaderStart,
    reader: Reader,
    last: Option<MessageId>,
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
        let reader = client.open_reader(topic, start, false).await.map_err(|error| error.to_string())?;
        let end = reader.last_ahead().await.map_err(|error| error.to_string())?;
        let (client, topic) = (client.clone(), topic.to_owned());
        Ok((Self { client, topic, start, reader, last: None }, end))
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
                Ok(reader) => {
                    self.reader = reader;
                    return Ok(());
                }
                Err(error) => said = error.to_string(),
            }
        }
        Err(said)
    }
}

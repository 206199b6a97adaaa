//! Reading back: what was stored under a partition's names, from a mark to the end of a topic.

use super::identity::{IDEMPOTENCY_KEY, SHA256};
use super::recalling::Findings;
use crate::checkpoint::{ENTRY_PATIENCE, ReadError};
use crate::digest;
use crate::lane::{OffsetSet, Scan, ScanFrom};
use crate::pulsar::{Client, DecodeError, Entry, Message, ReaderStart};
use crate::recall;
use crate::record::{MessageId, Offset};

/// One scan.
pub(super) struct Scanning {
    pub(super) topic: String,
    pub(super) from: ScanFrom,
    /// Ids below are not collected; what identifies messages is, from the mark on.
    pub(super) floor: Offset,
    /// The producer's name that is looked for.
    pub(super) name: String,
    /// The partition's name: its repairs' names begin with it.
    pub(super) partition: String,
    /// Whether messages are identified by more than their ids.
    pub(super) is_recalled: bool,
    /// Whether they are deliveries of a queue, which come again under other ids. Of others only the keys are kept.
    pub(super) is_counted: bool,
    /// Whether their keys count, which those of dead letters do not.
    pub(super) has_keys: bool,
}

/// The last entry of a topic.
pub(super) async fn end_of(client: &Client, topic: &str) -> Result<Option<MessageId>, ReadError> {
    Ok(client.open_reader(topic, ReaderStart::Latest, false).await?.last_message_id().await?)
}

/// How many entries, from either end of a topic, are looked at where nothing of ours should be.
const LOOK_ENTRIES: u64 = 250;

impl Scanning {
    /// Reads to the end that the topic has now.
    pub(super) async fn run(&self, client: &Client) -> Result<(Scan, Findings), ReadError> {
        let mut findings = Findings { topic: self.topic.clone(), ..Findings::default() };
        let mark = match self.from {
            ScanFrom::End => return Ok((self.look(client, &mut findings).await?, findings)),
            ScanFrom::Mark(mark) => mark,
        };
        let start = mark.id().map_or(ReaderStart::Earliest, ReaderStart::At);
        let mut found = Scan::default();
        self.read(client, start, u64::MAX, &mut found, &mut findings).await?;
        Ok((found, findings))
    }

    /// Looks for anything of ours at either end of the topic. A reader can only go forward, and ledgers have no order that
    /// could be guessed, so the last entries are those of the last ledger.
    async fn look(&self, client: &Client, findings: &mut Findings) -> Result<Scan, ReadError> {
        let mut found = Scan::default();
        self.read(client, ReaderStart::Earliest, LOOK_ENTRIES, &mut found, findings).await?;
        if let Some(end) = found.end.filter(|_| found.own.is_empty() && found.repaired.is_empty()) {
            let start = MessageId { entry: end.entry.saturating_sub(LOOK_ENTRIES - 1), ..end };
            self.read(client, ReaderStart::At(start), LOOK_ENTRIES, &mut found, findings).await?;
        }
        Ok(Scan { first: None, ..found })
    }

    /// Reads to the end that the topic has now, or so many entries.
    async fn read(
        &self,
        client: &Client,
        start: ReaderStart,
        max_entries: u64,
        found: &mut Scan,
        findings: &mut Findings,
    ) -> Result<(), ReadError> {
        let mut reader = client.open_reader(&self.topic, start, false).await?;
        found.end = reader.last_message_id().await?;
        let Some(end) = found.end else { return Ok(()) };
        let repairs = format!("{}/repair/", self.partition);
        let mut entries = 0;
        loop {
            let next = tokio::time::timeout(ENTRY_PATIENCE, reader.next()).await;
            let (topic, seconds) = (self.topic.clone(), ENTRY_PATIENCE.as_secs());
            let entry = next.map_err(|_| ReadError::Slow { topic, seconds })??;
            found.first.get_or_insert(entry.id);
            let is_repair = entry.producer_name.starts_with(&repairs);
            let ids = match entry.producer_name == self.name {
                true => Some(&mut found.own),
                false => Some(&mut found.repaired).filter(|_| is_repair),
            };
            let looked = ids.map_or(Ok(()), |ids| self.look_into(&entry, ids, findings));
            looked.map_err(|error| ReadError::Malformed {
                topic: self.topic.clone(),
                name: entry.producer_name.clone(),
                reason: format!("entry {}: {error}", entry.id),
            })?;
            entries += 1;
            if entry.id >= end || entries >= max_entries {
                return Ok(());
            }
        }
    }

    fn look_into(&self, entry: &Entry, ids: &mut OffsetSet, findings: &mut Findings) -> Result<(), DecodeError> {
        if entry.highest_sequence_id < self.floor && !self.is_recalled {
            return Ok(());
        }
        for message in entry.batch()?.messages() {
            let message = message?;
            if message.sequence_id >= self.floor {
                ids.insert(message.sequence_id);
            }
            if self.is_recalled {
                self.identify(entry.id, &message, findings);
            }
        }
        Ok(())
    }

    fn identify(&self, entry: MessageId, message: &Message<'_>, findings: &mut Findings) {
        let property = |wanted: &str| message.properties().find(|(name, _)| *name == wanted).map(|(_, value)| value);
        let key = property(IDEMPOTENCY_KEY);
        if self.is_counted {
            let digest = property(SHA256).and_then(digest::from_hex).unwrap_or([0; 32]);
            let hash = recall::hash(key.unwrap_or_default().as_bytes(), &digest);
            findings.deliveries.push((entry, hash));
        }
        findings.keys.extend(key.filter(|_| self.has_keys).map(|key| recall::hash_key(key.as_bytes())));
    }
}

//! Reading back: what was stored under a partition's names, from a mark to the end of a topic.

use super::identity::{IDEMPOTENCY_KEY, SHA256};
use super::recalling::Findings;
use crate::checkpoint::{ENTRY_PATIENCE, ReadError};
use crate::dead_letter::REDRIVEN;
use crate::digest;
use crate::lane::{Scan, ScanFrom};
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
    /// The partition's name: those of its repairs and redrives begin with it.
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
        let mut entries = 0;
        loop {
            let next = tokio::time::timeout(ENTRY_PATIENCE, reader.next()).await;
            let (topic, seconds) = (self.topic.clone(), ENTRY_PATIENCE.as_secs());
            let entry = next.map_err(|_| ReadError::Slow { topic, seconds })??;
            found.first.get_or_insert(entry.id);
            let looked = self.look_into(&entry, found, findings);
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

    /// Collects what an entry holds of the partition. A redriven record is in the target under the partition's own offset, as one
    /// that was repaired is: it must not be sent again, also where its dead letter is gone. The notes that redrives leave behind the
    /// dead letters have ids of their own, which are no offsets.
    fn look_into(&self, entry: &Entry, found: &mut Scan, findings: &mut Findings) -> Result<(), DecodeError> {
        let name = entry.producer_name.as_str();
        let is_beside = |kind: &str| name.strip_prefix(&self.partition).is_some_and(|rest| rest.starts_with(kind));
        let is_redrive = is_beside("/redrive/");
        let ids = match name == self.name {
            true => &mut found.own,
            false if is_redrive || is_beside("/repair/") => &mut found.repaired,
            false => return Ok(()),
        };
        if entry.highest_sequence_id < self.floor && !self.is_recalled {
            return Ok(());
        }
        for message in entry.batch()?.messages() {
            let message = message?;
            if is_redrive && property(&message, REDRIVEN).is_none() {
                continue;
            }
            if message.sequence_id >= self.floor {
                ids.insert(message.sequence_id);
            }
            if self.is_recalled {
                self.identify(entry.id, &message, is_redrive, findings);
            }
        }
        Ok(())
    }

    fn identify(&self, entry: MessageId, message: &Message<'_>, is_redrive: bool, findings: &mut Findings) {
        let key = property(message, IDEMPOTENCY_KEY);
        // The delivery that was redriven counts by its dead letter: twice it would swallow another that is the same.
        if self.is_counted && !is_redrive {
            let digest = property(message, SHA256).and_then(digest::from_hex).unwrap_or([0; 32]);
            let hash = recall::hash(key.unwrap_or_default().as_bytes(), &digest);
            findings.deliveries.push((entry, hash));
        }
        findings.keys.extend(key.filter(|_| self.has_keys).map(|key| recall::hash_key(key.as_bytes())));
    }
}

fn property<'m>(message: &'m Message<'_>, wanted: &str) -> Option<&'m str> {
    message.properties().find(|(name, _)| *name == wanted).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dead_letter::{SETTLED, redrive_name};
    use crate::pulsar::{BatchBuilder, Compression, OutgoingMessage, Seal};

    const NAME: &str = "bridge/demo/c1/jobs/7";

    fn scanning(is_counted: bool) -> Scanning {
        Scanning {
            topic: "t".into(),
            from: ScanFrom::End,
            floor: 10,
            name: NAME.into(),
            partition: NAME.into(),
            is_recalled: is_counted,
            is_counted,
            has_keys: true,
        }
    }

    fn entry(producer_name: &str, sequence_id: u64, property: (&str, &str)) -> Entry {
        let mut builder = BatchBuilder::new();
        let value = Some(b"body".as_slice());
        builder.push(&OutgoingMessage { sequence_id, key: None, event_time_ms: None, value }, [property]);
        let compression = Compression::None;
        let seal = Seal { producer_name, producer_id: 1, publish_time_ms: 2, compression, schema_version: None };
        let frame = builder.seal(&seal).unwrap();
        let stored = frame.bytes().slice(frame.len_bytes() - frame.body_bytes()..);
        Entry::decode(MessageId { ledger: 1, entry: sequence_id }, stored).unwrap()
    }

    fn looked(scanning: &Scanning, entries: &[Entry]) -> (Scan, Findings) {
        let (mut found, mut findings) = (Scan::default(), Findings::default());
        entries.iter().for_each(|entry| scanning.look_into(entry, &mut found, &mut findings).unwrap());
        (found, findings)
    }

    #[test]
    fn what_was_repaired_or_redriven_is_seen_and_notes_and_others_are_not() {
        let redriven = (REDRIVEN, "true");
        let entries = [
            entry(NAME, 11, ("a", "b")),
            entry(&format!("{NAME}/repair/12-12"), 12, ("a", "b")),
            entry(&redrive_name(NAME, 13), 13, redriven),
            // Below the position; a note behind the dead letters; another partition's, and another generation's.
            entry(&redrive_name(NAME, 9), 9, redriven),
            entry(&redrive_name(NAME, 13), 21, (SETTLED, "pending")),
            entry(&redrive_name("bridge/demo/c1/jobs/70", 14), 14, redriven),
            entry(&redrive_name(&format!("{NAME}/g2"), 15), 15, redriven),
        ];
        let (found, _) = looked(&scanning(false), &entries);
        assert_eq!(found.own.ranges(), [(11, 11)]);
        assert_eq!(found.repaired.ranges(), [(12, 13)]);
    }

    /// Its dead letter tells that this delivery was there; the message in the target is the same one.
    #[test]
    fn a_redriven_delivery_counts_once() {
        let entries = [entry(NAME, 13, (IDEMPOTENCY_KEY, "k")), entry(&redrive_name(NAME, 13), 13, (REDRIVEN, "true"))];
        let (_, findings) = looked(&scanning(true), &entries);
        assert_eq!(findings.deliveries.len(), 1);
    }
}

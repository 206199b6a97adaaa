//! The durable note of a source partition: where it is kept and how it is written. One compacted topic per namespace,
//! beside the target; one entry per source partition, whose key and producer name are the partition's name. What the
//! entry says, and when it is written, is decided in [`crate::lane`].

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::lane::Checkpoint;
use crate::pulsar::{
    BatchBuilder, Client, Compression, Entry, Error, Frame, Message, OutgoingMessage, ReaderStart, Seal,
};
use crate::record::Offset;

/// How long the next entry of a topic that is not at its end may take.
pub(crate) const ENTRY_PATIENCE: Duration = Duration::from_secs(10);

/// A record below the position: what recognises the source when it is opened again. A topic that was recreated and has
/// grown past the position has another record there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Its offset.
    pub offset: Offset,
    /// Its time stamp.
    pub timestamp_ms: u64,
}

/// An entry of the checkpoint topic: the core's checkpoint, and what is remembered of the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// The core's part.
    #[serde(flatten)]
    pub checkpoint: Checkpoint,
    /// How many partitions the source had when the stream was first started: `start = "latest"` is for these only.
    pub source_partitions: u32,
    /// The newest record below the position that is known.
    pub stamp: Option<Stamp>,
}

/// What the checkpoint topic says of one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// The newest entry with its sequence id; `None` in it where an operator had the partition forgotten.
    pub entry: Option<(u64, Option<Stored>)>,
    /// What other partitions of the same source remember of its partition count.
    pub source_partitions: Option<u32>,
}

/// Why the checkpoint topic could not be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// Pulsar said no, or nothing.
    #[error(transparent)]
    Pulsar(#[from] Error),
    /// The entry of this partition is no checkpoint.
    #[error("{topic}: the entry of {name} is no checkpoint ({reason}): was it written by something else?")]
    Malformed {
        /// The checkpoint topic.
        topic: String,
        /// The partition's name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The topic's end was not reached in time.
    #[error("{topic}: nothing came for {seconds} s before the end of the topic was reached")]
    Slow {
        /// The topic.
        topic: String,
        /// How long was waited.
        seconds: u64,
    },
}

/// What is written for a partition that an operator had forgotten. It is a value, which compaction keeps: without any entry
/// the partition would be one whose checkpoint was lost. An on-wire format.
const FORGOTTEN: &[u8] = br#"{"version":1,"forgotten":true}"#;

/// Reads the checkpoint topic from its beginning (compacted as far as it is) to the end it has now, and gives the newest
/// entry of `name`.
///
/// # Errors
/// See [`ReadError`]; all of them are worth another try.
pub async fn read(client: &Client, topic: &str, name: &str) -> Result<Found, ReadError> {
    let mut reader = client.open_reader(topic, ReaderStart::Earliest, true).await?;
    let mut found = Found::default();
    let Some(end) = reader.last_message_id().await? else { return Ok(found) };
    loop {
        let next = tokio::time::timeout(ENTRY_PATIENCE, reader.next()).await;
        let entry =
            next.map_err(|_| ReadError::Slow { topic: topic.to_owned(), seconds: ENTRY_PATIENCE.as_secs() })??;
        if entry.producer_name == name || are_of_one_source(&entry.producer_name, name) {
            look_into(&entry, topic, name, &mut found)?;
        }
        if entry.id >= end {
            return Ok(found);
        }
    }
}

/// One entry of the checkpoint topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its sequence id.
    pub sequence_id: u64,
    /// When it was written, in milliseconds since the epoch.
    pub written_ms: u64,
    /// What it says.
    pub stored: Stored,
}

/// Reads the checkpoint topic to the end it has now, and gives the newest entry of every partition whose name begins with
/// `prefix`, by name. Forgotten ones are left out.
///
/// # Errors
/// See [`ReadError`].
pub async fn list(client: &Client, topic: &str, prefix: &str) -> Result<BTreeMap<String, Listed>, ReadError> {
    let mut reader = client.open_reader(topic, ReaderStart::Earliest, true).await?;
    let mut listed = BTreeMap::new();
    let Some(end) = reader.last_message_id().await? else { return Ok(listed) };
    loop {
        let next = tokio::time::timeout(ENTRY_PATIENCE, reader.next()).await;
        let entry =
            next.map_err(|_| ReadError::Slow { topic: topic.to_owned(), seconds: ENTRY_PATIENCE.as_secs() })??;
        if entry.producer_name.starts_with(prefix) {
            add(&entry, topic, &mut listed)?;
        }
        if entry.id >= end {
            return Ok(listed);
        }
    }
}

fn add(entry: &Entry, topic: &str, listed: &mut BTreeMap<String, Listed>) -> Result<(), ReadError> {
    let name = entry.producer_name.clone();
    let malformed = |reason: String| ReadError::Malformed { topic: topic.to_owned(), name: name.clone(), reason };
    let batch = entry.batch().map_err(|error| malformed(error.to_string()))?;
    for message in batch.messages() {
        let message = message.map_err(|error| malformed(error.to_string()))?;
        if message.key.as_deref() != Some(name.as_bytes()) {
            continue;
        }
        if is_forgotten(&message) {
            listed.remove(&name);
            continue;
        }
        let stored = decode(message.value).map_err(|error| malformed(error.to_string()))?;
        let written_ms = message.event_time_ms.unwrap_or_default();
        listed.insert(name.clone(), Listed { sequence_id: message.sequence_id, written_ms, stored });
    }
    Ok(())
}

fn look_into(entry: &Entry, topic: &str, name: &str, found: &mut Found) -> Result<(), ReadError> {
    let malformed = |reason: String| ReadError::Malformed { topic: topic.to_owned(), name: name.to_owned(), reason };
    let batch = entry.batch().map_err(|error| malformed(error.to_string()))?;
    for message in batch.messages() {
        let message = message.map_err(|error| malformed(error.to_string()))?;
        let is_ours = message.key.as_deref() == Some(name.as_bytes());
        if is_forgotten(&message) {
            if is_ours {
                found.entry = Some((message.sequence_id, None));
            }
            continue;
        }
        match decode(message.value) {
            Ok(stored) if is_ours => found.entry = Some((message.sequence_id, Some(stored))),
            Ok(stored) => found.source_partitions = found.source_partitions.max(Some(stored.source_partitions)),
            // What another partition wrote is that partition's business.
            Err(error) if is_ours => return Err(malformed(error.to_string())),
            Err(_) => {}
        }
    }
    Ok(())
}

/// Whether an entry has its partition forgotten. One without a value, by whatever tool, does too, until it is compacted away.
fn is_forgotten(message: &Message<'_>) -> bool {
    message.null_value || says_forgotten(message.value)
}

/// However it is written, and whatever later versions add to it; what another version means by it is not known.
fn says_forgotten(value: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Forgotten {
        version: u32,
        forgotten: bool,
    }
    serde_json::from_slice::<Forgotten>(value).is_ok_and(|entry| entry.version == 1 && entry.forgotten)
}

/// Whether two names differ in the number of the partition only: `bridge/<stream>/<cluster>/<topic>/<partition>[/g<n>]`.
fn are_of_one_source(one: &str, other: &str) -> bool {
    let parts = |name: &str| {
        name.split('/')
            .enumerate()
            .filter(|(place, _)| *place != 4)
            .map(|(_, part)| part.to_owned())
            .collect::<Vec<_>>()
    };
    parts(one) == parts(other)
}

/// The frame that publishes a checkpoint.
pub fn frame(name: &str, producer_id: u64, sequence_id: u64, stored: &Stored, now_ms: u64) -> Frame {
    let value = serde_json::to_vec(stored).expect("a checkpoint is plain data");
    entry_frame(name, producer_id, sequence_id, &value, now_ms)
}

/// The frame that has a partition forgotten: the next opening takes it for a new one.
pub fn forgotten_frame(name: &str, producer_id: u64, sequence_id: u64, now_ms: u64) -> Frame {
    entry_frame(name, producer_id, sequence_id, FORGOTTEN, now_ms)
}

fn entry_frame(name: &str, producer_id: u64, sequence_id: u64, value: &[u8], now_ms: u64) -> Frame {
    let mut builder = BatchBuilder::new();
    let (key, event_time_ms, value) = (Some(name.as_bytes()), Some(now_ms), Some(value));
    let message = OutgoingMessage { sequence_id, key, event_time_ms, value };
    builder.push(&message, []);
    let seal = Seal {
        producer_name: name,
        producer_id,
        publish_time_ms: now_ms,
        compression: Compression::None,
        schema_version: None,
    };
    builder.seal(&seal).expect("without compression nothing can fail")
}

pub(crate) fn decode(value: &[u8]) -> Result<Stored, serde_json::Error> {
    let stored: Stored = serde_json::from_slice(value)?;
    stored.checkpoint.check().map_err(serde::de::Error::custom)?;
    Ok(stored)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::{LaneId, Mark, PartitionBy, RepairIntent, Routing};

    /// The format is on the wire: a bridge must understand what the one before it wrote.
    #[test]
    fn the_format_is_golden() {
        let checkpoint = Checkpoint {
            version: 1,
            position: 1234,
            routing: Routing {
                partition_by: PartitionBy::Source,
                topic: "persistent://public/default/t".into(),
                partitions: 3,
                dead_letters: "persistent://public/default/t-dead-letters".into(),
                routes: Vec::new(),
            },
            marks: vec![Mark::At { ledger: 7, entry: 42 }, Mark::Earliest],
            repairs: vec![RepairIntent { lane: LaneId(0), lowest: 1000, highest: 1010 }],
            reach_records: 0,
            former: Vec::new(),
        };
        let stamp = Some(Stamp { offset: 1233, timestamp_ms: 1_700_000_000_000 });
        let stored = Stored { checkpoint, source_partitions: 10, stamp };
        let golden = concat!(
            r#"{"version":1,"position":1234,"#,
            r#""routing":{"partition_by":"source","topic":"persistent://public/default/t","partitions":3,"#,
            r#""dead_letters":"persistent://public/default/t-dead-letters"},"#,
            r#""marks":[{"at":{"ledger":7,"entry":42}},"earliest"],"#,
            r#""repairs":[{"lane":0,"lowest":1000,"highest":1010}],"#,
            r#""source_partitions":10,"stamp":{"offset":1233,"timestamp_ms":1700000000000}}"#
        );
        assert_eq!(serde_json::to_string(&stored).unwrap(), golden);
        assert_eq!(decode(golden.as_bytes()).unwrap(), stored);
    }

    /// What a queue's checkpoint has beside.
    #[test]
    fn the_format_with_a_reach_is_golden() {
        let golden = concat!(
            r#"{"version":1,"position":1700000000000000,"#,
            r#""routing":{"partition_by":"source","topic":"t","partitions":0,"dead_letters":"d"},"#,
            r#""marks":["earliest","earliest"],"repairs":[],"reach_records":500,"#,
            r#""former":[{"topic":"t-partition-0","mark":{"at":{"ledger":7,"entry":42}},"until":1700000000000000}],"#,
            r#""source_partitions":1,"stamp":null}"#
        );
        let stored = decode(golden.as_bytes()).unwrap();
        assert_eq!(stored.checkpoint.reach_records, 500);
        assert_eq!(stored.checkpoint.former[0].until, stored.checkpoint.position);
        assert_eq!(serde_json::to_string(&stored).unwrap(), golden);
    }

    /// The core takes lanes by their numbers: what names one that there is not must not reach it.
    #[test]
    fn what_no_checkpoint_says_is_refused() {
        let text = |version: u32, lane: usize, lowest: u64| {
            format!(
                concat!(
                    r#"{{"version":{},"position":5,"#,
                    r#""routing":{{"partition_by":"source","topic":"t","partitions":0,"dead_letters":"d"}},"#,
                    r#""marks":[],"repairs":[{{"lane":{},"lowest":{},"highest":2}}],"source_partitions":1,"stamp":null}}"#
                ),
                version, lane, lowest
            )
        };
        assert!(decode(text(1, 1, 2).as_bytes()).is_ok());
        assert!(decode(text(1, 2, 1).as_bytes()).unwrap_err().to_string().contains("does not have"));
        assert!(decode(text(1, 0, 3).as_bytes()).unwrap_err().to_string().contains("before it begins"));
        assert!(decode(text(2, 9, 3).as_bytes()).is_ok(), "a later version is told apart by its version");
    }

    /// Compaction would remove an entry without a value, and with it what the operator has decided.
    #[test]
    fn a_forgotten_partition_leaves_an_entry_with_a_value() {
        let name = "bridge/s/cluster/topic/1";
        let frame = forgotten_frame(name, 1, 7, 0);
        assert!(frame.bytes().ends_with(FORGOTTEN));
        assert!(decode(FORGOTTEN).is_err(), "it is no checkpoint");
        assert!(says_forgotten(FORGOTTEN));
        assert!(
            says_forgotten(b"{ \"forgotten\": true, \"version\": 1, \"by\": \"ada\" }"),
            "by its meaning, not its bytes"
        );
        for other in [r#"{"version":2,"forgotten":true}"#, r#"{"version":1,"forgotten":false}"#, r#"{"version":1}"#, ""]
        {
            assert!(!says_forgotten(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn partitions_of_one_source_are_told_from_others() {
        let name = "bridge/s/cluster/topic/1";
        assert!(are_of_one_source(name, "bridge/s/cluster/topic/12"));
        assert!(!are_of_one_source(name, "bridge/s/cluster/topic/1/g2"));
        assert!(!are_of_one_source(name, "bridge/s/other/topic/1"));
    }
}

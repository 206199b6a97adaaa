//! A record as it came from its source, and the coordinates that name it for ever.

use std::fmt;

/// The place of a record in one source partition: a Kafka offset, or a RabbitMQ stream offset.
/// It is also the record's sequence id in the target.
pub type Offset = u64;

/// One header of a record. A header may have no value (Kafka's null), and names may repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// The header's name.
    pub name: &'a str,
    /// The header's bytes, `None` where the source says null.
    pub value: Option<&'a [u8]>,
}

/// One record, borrowed from the source's own buffers for as long as it is being handled.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Its offset in the source partition.
    pub offset: Offset,
    /// Milliseconds since the epoch as the source has them: the producer's stamp or the broker's.
    pub timestamp_ms: Option<u64>,
    /// The key; `None` is "no key", which is not the empty key.
    pub key: Option<&'a [u8]>,
    /// The body; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// All headers, in the order of the source.
    pub headers: &'a [Header<'a>],
}

/// One partition of one source: what a lane's producer name is made of and what errors, dead letters and logs say.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourcePartition {
    /// The id of the cluster that holds the source: Kafka's cluster id, or RabbitMQ's cluster name.
    pub cluster_id: String,
    /// The Kafka topic, or the RabbitMQ queue.
    pub topic: String,
    /// The partition; 0 for a queue.
    pub partition: u32,
}

impl fmt::Display for SourcePartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// What names a record for ever: its source partition and its offset there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coordinates<'a> {
    /// The source partition.
    pub source: &'a SourcePartition,
    /// The record's offset in it.
    pub offset: Offset,
}

/// `<cluster>/<topic>/<partition>/<offset>`. On the wire as the id of events that have none of their own (a contract's
/// `"derive": "coordinates"`): it never changes.
impl fmt::Display for Coordinates<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SourcePartition { cluster_id, topic, partition } = self.source;
        write!(f, "{cluster_id}/{topic}/{partition}/{}", self.offset)
    }
}

/// Where Pulsar keeps an entry (a batch, or a single message): `ledger:entry`. Ids rise along one topic partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    /// The ledger's id.
    pub ledger: u64,
    /// The entry's number in its ledger.
    pub entry: u64,
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.ledger, self.entry)
    }
}

//! The words that all kinds of source share.

use super::{Reader, SourceError};
use crate::record::Offset;

/// Where to start where there is no checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The oldest record that is still there.
    Earliest,
    /// The end: only what comes from now on.
    Latest,
    /// The first record stamped at or after this time (milliseconds since the epoch); the end if there is none.
    TimeMs(u64),
    /// This offset.
    Offset(Offset),
}

/// What one `take` of a reader has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    /// How many records the visitor saw.
    pub records: usize,
    /// True: there is no more at hand, so a batch should not wait for more. False: take again.
    pub drained: bool,
    /// The leader epoch of the last record (Kafka).
    pub leader_epoch: Option<i32>,
    /// An error that the client is dealing with; it goes on by itself.
    pub transient: Option<SourceError>,
}

/// What identifies a record without its content, to be compared with what was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The record's offset: the one asked for, or the next that exists.
    pub offset: Offset,
    /// Its time stamp.
    pub timestamp_ms: Option<u64>,
    /// The leader epoch under which it was written (Kafka).
    pub leader_epoch: Option<i32>,
}

/// How to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// For good (a scale-down): the others take over at once, also from a static member.
    ForGood,
    /// For a restart: a static member keeps its partitions until its session times out; others leave all the same.
    ForRestart,
}

/// What a source tells the pipeline, in order.
#[derive(Debug)]
pub enum Notice {
    /// A partition is ours now. It reads nothing until its reader's `start_at`.
    Assigned(Reader),
    /// The partition has to be given up: stop reading, drain, checkpoint, commit, and drop its reader. The source waits
    /// for that drop, up to its own deadline.
    Revoked {
        /// The partition's number.
        partition: u32,
        /// True: it is already another member's, and a commit would be refused.
        lost: bool,
    },
    /// No member of the group has these partitions, though it is at rest: who leaves it for good and joins it again has them
    /// shared out.
    Orphaned {
        /// The partitions' numbers.
        partitions: Vec<u32>,
    },
    /// Something that no partition of its own can report: the topic is gone, access denied, the client has given up.
    Failed(SourceError),
}

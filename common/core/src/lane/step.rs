//! The words between the core and the world: events in, actions out.

use super::checkpoint::{Checkpoint, LaneId, Mark, RepairIntent};
use super::offsets::OffsetSet;
use super::reasons::{NotOpened, Note, SendFailure, Stop};
use super::routing::Routing;
use crate::record::{MessageId, Offset};

/// One attempt of the core at something that is answered later: the opening of a producer (and everything that this
/// producer then says), or a scan. Never used twice, so that late answers are known as such.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(pub u64);

/// Draws fresh tags.
#[derive(Debug, Clone, Default)]
pub(super) struct Tags(u64);

impl Tags {
    pub(super) fn fresh(&mut self) -> Tag {
        self.0 += 1;
        Tag(self.0)
    }
}

/// What a producer is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// Ownership of the partition, and its checkpoints.
    Checkpoint,
    /// The records of one lane.
    Lane(LaneId),
    /// One repair batch of one lane, under a name of its own.
    Repair(RepairIntent),
}

/// Where a scan starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScanFrom {
    /// At a mark.
    Mark(Mark),
    /// Behind the last message: the end of the topic is asked for. Ids are looked for only in the first and the last
    /// entries, as far as that is quick: where there should be none, any of them tells enough.
    End,
}

/// What one scan, from its start to the end that the topic had when it began, has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scan {
    /// The ids at or above the floor that were stored under the name that was looked for.
    pub own: OffsetSet,
    /// The ids at or above the floor that were stored under the names of this partition's repairs and redrives.
    pub repaired: OffsetSet,
    /// The first entry that was read, of whomever it was.
    pub first: Option<MessageId>,
    /// The topic's last entry; `None` where the topic is empty.
    pub end: Option<MessageId>,
}

/// What happened in the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A producer is open. `last` is the broker's last_sequence_id, `None` for -1.
    Opened {
        /// The producer.
        tag: Tag,
        /// The broker's last_sequence_id, `None` for -1.
        last: Option<u64>,
    },
    /// A producer could not be opened.
    NotOpened {
        /// The request.
        tag: Tag,
        /// Why not.
        reason: NotOpened,
    },
    /// A producer is closed: by `Action::Close`, by the broker, or with its connection. Nothing follows it, except
    /// perhaps receipts where the broker closed it.
    Closed {
        /// The producer.
        tag: Tag,
        /// Why, in words.
        reason: String,
    },
    /// The checkpoint topic was read to its end: this partition's newest entry with its sequence id.
    EntryRead {
        /// The request.
        tag: Tag,
        /// The newest entry with its sequence id, if there is one. One without a checkpoint says that an operator had the
        /// partition forgotten.
        entry: Option<(u64, Option<Checkpoint>)>,
    },
    /// A scan is complete.
    Scanned {
        /// The request.
        tag: Tag,
        /// What was found.
        scan: Scan,
    },
    /// A scan, or the reading of the checkpoint topic, failed and may be tried again.
    ScanFailed {
        /// The request.
        tag: Tag,
        /// Why, in words.
        reason: String,
    },
    /// The answer to `Action::ResolveStart`.
    StartResolved {
        /// Where to start.
        offset: Offset,
        /// The position that the source remembers, if it remembers any: a checkpoint was stored before it was told.
        committed: Option<Offset>,
    },
    /// A batch (or a checkpoint) is stored, at `id`; `None` is -1:-1.
    Receipt {
        /// The producer that sent it.
        tag: Tag,
        /// The batch's lowest id (a checkpoint's sequence id).
        lowest: u64,
        /// Where it is stored, `None` for -1:-1.
        id: Option<MessageId>,
    },
    /// A batch was refused.
    SendFailed {
        /// The producer that sent it.
        tag: Tag,
        /// The batch's highest id.
        highest: u64,
        /// What the broker said.
        failure: SendFailure,
    },
    /// The source must be read again from the position, or can never go on.
    SourceFailed {
        /// Why, in words.
        reason: String,
        /// Whether it can never go on.
        stop: bool,
    },
    /// The answer to `Action::Peek`: the topic's last entry.
    Peeked {
        /// The request.
        tag: Tag,
        /// The lane that was asked for.
        lane: LaneId,
        /// The topic's last entry, `None` where it is empty.
        end: Option<MessageId>,
    },
    /// Stop reading, settle what is in flight until `deadline_ms`, write the checkpoint, close, and let go.
    Release {
        /// Until when what is in flight is waited for.
        deadline_ms: u64,
    },
    /// Too many dead letters: let go of everything and stop.
    StopNow {
        /// Why it stops.
        stop: Stop,
    },
    /// The routing that the configuration and the target's partition count ask for now.
    RoutingWanted {
        /// The routing.
        routing: Routing,
    },
    /// Time has passed.
    Tick,
}

/// What the core wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Open a producer with a fresh producer id. `attempt` is how often this was tried in a row: wait by it.
    Open {
        /// Names this request, and the producer that it opens.
        tag: Tag,
        /// What the producer is for (its name follows from it).
        role: Role,
        /// Where.
        topic: Topic,
        /// How often it was tried in a row: wait by it.
        attempt: u32,
    },
    /// Close a producer; answered by `Event::Closed`, at the latest after a time-out that drops the connection.
    Close {
        /// The producer.
        tag: Tag,
    },
    /// Read the checkpoint topic to its end.
    ReadEntry {
        /// Names this request.
        tag: Tag,
        /// How often it was tried in a row: wait by it.
        attempt: u32,
    },
    /// Read a lane's topic, or one that was a lane under an earlier routing, to its end; collect ids from `floor` on.
    ///
    /// The floor is for the ids of `Scan` only. Where the partition has a reach, *every* message that is read, from the
    /// first entry on and whatever its id, and was sent under the partition's name or one of its repairs' names, belongs
    /// to what the pipeline looks deliveries and keys up in: give all of them, each with its entry's id, to
    /// [`ReadBack::add`](crate::recall::ReadBack::add) once the scan is complete. (Several scans of an opening may read the
    /// same entry, and one that failed is done again; `add` counts each entry once.) All of it was collected when
    /// `StartSource` comes. `ReadEntry` begins anew with nothing: scans with a lower tag than its own are of an opening that
    /// was given up, and do not count.
    Scan {
        /// Names this request.
        tag: Tag,
        /// What the producer is for (its name follows from it).
        role: Role,
        /// Where.
        topic: Topic,
        /// Where reading starts.
        from: ScanFrom,
        /// Ids below are not collected.
        floor: Offset,
        /// How often it was tried in a row: wait by it.
        attempt: u32,
    },
    /// There is no checkpoint: where shall this partition start?
    ResolveStart,
    /// Publish a checkpoint under this sequence id.
    WriteCheckpoint {
        /// The producer that publishes it.
        tag: Tag,
        /// Its sequence id.
        sequence_id: u64,
        /// What it says.
        checkpoint: Checkpoint,
    },
    /// Read the source from here on. Where it is being read already, it is led back (or on) to here; what is batched stays.
    StartSource {
        /// The offset.
        offset: Offset,
    },
    /// Read the source no more. With `flush`, seal and send what is batched; else forget it: it is read again.
    StopSource {
        /// Whether what is batched is sent, or forgotten.
        flush: bool,
    },
    /// Send the sealed repair batch that stands first in line.
    SendRepair {
        /// The producer that sends it.
        tag: Tag,
        /// Which repair.
        intent: RepairIntent,
    },
    /// Mirror the position to the source (the group's committed offset).
    Commit {
        /// The offset.
        offset: Offset,
    },
    /// Ask for the last entry of an idle lane's topic.
    Peek {
        /// Names this request.
        tag: Tag,
        /// The lane.
        lane: LaneId,
        /// Where.
        topic: Topic,
    },
    /// Say this to the operators: what was done and why.
    Note {
        /// What happened.
        note: Note,
    },
    /// The partition has let go.
    Released,
    /// The partition is stopped.
    Stopped {
        /// Why.
        stop: Stop,
    },
}

/// Where an action goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topic {
    /// The checkpoint topic beside the target.
    Checkpoints,
    /// A topic by its full name, with partition.
    Named(String),
}

//! Reasons, in types for those who decide on them and in words for those who read them.

use thiserror::Error;

use crate::record::Offset;

/// Why a producer could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotOpened {
    /// Somebody holds the name: another instance, or a dying connection of our own.
    #[error("the producer name is held by {0}")]
    Busy(String),
    /// It may work later: the broker or the connection is gone, the topic is being moved, rights were revoked.
    #[error("{0}")]
    Later(String),
    /// It can never work: the schema does not fit, or the like.
    #[error("{0}")]
    Never(String),
}

/// What the broker said of a batch that it did not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendFailure {
    /// Whether it is stored is not known, or it may work later.
    Unknown(String),
    /// The broker refuses this content (too large for the topic's own limit); no retry of it can work.
    Refused(String),
}

/// Why a partition is opened again.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Why {
    /// A batch was answered with -1:-1, though its ids should be new.
    #[error("the broker takes ids from {lowest} for duplicates, though they should be new")]
    Duplicate {
        /// The batch's lowest id.
        lowest: Offset,
    },
    /// The broker answered a batch with an error.
    #[error("the broker answered the batch up to id {highest} with: {text}")]
    SendError {
        /// The batch's highest id.
        highest: Offset,
        /// The broker's words.
        text: String,
    },
    /// No answer in time.
    #[error("no receipt for the batch from id {lowest} within {timeout_ms} ms")]
    Timeout {
        /// The batch's lowest id.
        lowest: Offset,
        /// How long it was waited for.
        timeout_ms: u64,
    },
    /// A producer was closed by the broker, or its connection is gone.
    #[error("the producer was closed: {0}")]
    ProducerClosed(String),
    /// A receipt names a batch that is not in flight.
    #[error("a receipt names id {lowest}, which is not in flight")]
    StrayReceipt {
        /// The id in the receipt.
        lowest: Offset,
    },
    /// The source has to be read again.
    #[error("the source has to be read again: {0}")]
    Source(String),
    /// Opening did not come to its end.
    #[error("the opening did not come to its end: {0}")]
    Opening(String),
    /// A repair could not be carried out.
    #[error("the repair of ids {lowest} to {highest} could not be carried out: {text}")]
    Repair {
        /// The lowest id.
        lowest: Offset,
        /// The highest id.
        highest: Offset,
        /// What happened.
        text: String,
    },
    /// The routing changes, and everything under the old one is settled.
    #[error("the routing changes")]
    Routing,
}

/// Why a partition is stopped until a person acts.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Stop {
    /// The partition was mirrored before, and the checkpoint topic does not know it.
    #[error(
        "the checkpoint of this partition has vanished: {evidence}, and the checkpoint topic has no entry. To start again \
         could double records: restore the topic, or set a position with `bridgectl checkpoint STREAM set` (as last known: \
         {position}), or start a new `generation`"
    )]
    CheckpointVanished {
        /// What tells that the partition was mirrored before.
        evidence: Evidence,
        /// The last position that is known of it, in words.
        position: LastKnown,
    },
    /// The newest entry of the checkpoint topic is not the last one that was written.
    #[error(
        "the checkpoint of this partition is behind: the checkpoint topic's newest entry has sequence id {found} \
         (position {position}), and the broker knows of one with {last}, which cannot be read. Restore the topic, or look \
         at that position and accept it with `bridgectl checkpoint STREAM set`"
    )]
    CheckpointBehind {
        /// The sequence id of the newest entry that can be read.
        found: u64,
        /// Its position.
        position: Offset,
        /// The last sequence id that the broker knows.
        last: u64,
    },
    /// A checkpoint of a newer version of the bridge.
    #[error("the checkpoint has version {found}, this binary knows up to {known}: run the newer binary")]
    CheckpointVersion {
        /// The version that was found.
        found: u32,
        /// The highest version that this binary reads.
        known: u32,
    },
    /// The target refuses the producer for good.
    #[error("{0}")]
    Refused(String),
    /// The source stops: a gap, gone back, topic gone.
    #[error("{0}")]
    Source(String),
    /// Too many dead letters at once: more likely a wrong contract than wrong records.
    #[error(
        "{dead_letters} of the last {records} records could not be translated, more than dead_letters.max_ratio \
         allows: check the contract, or raise the ratio"
    )]
    DeadLetterBurst {
        /// How many could not be translated.
        dead_letters: u32,
        /// Out of how many.
        records: u32,
    },
}

/// The kinds of [`Stop`], by the names that metrics have them under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopCause {
    /// The checkpoint has vanished, is behind, or is of a newer version.
    Checkpoint,
    /// The target refuses the producer.
    Refused,
    /// Records were gone from the source before they were read.
    Gap,
    /// The source ends before the position, or holds other records below it.
    WentBack,
    /// Anything else of the source.
    Source,
    /// Too many dead letters at once.
    DeadLetters,
}

impl StopCause {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Checkpoint, Self::Refused, Self::Gap, Self::WentBack, Self::Source, Self::DeadLetters];

    /// The cause's name, as in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Checkpoint => "checkpoint",
            Self::Refused => "refused",
            Self::Gap => "source-gap",
            Self::WentBack => "source-went-back",
            Self::Source => "source",
            Self::DeadLetters => "dead-letters",
        }
    }
}

impl Stop {
    /// Its kind. Of what the source has said only the source knows more.
    pub fn cause(&self) -> StopCause {
        match self {
            Self::CheckpointVanished { .. } | Self::CheckpointBehind { .. } | Self::CheckpointVersion { .. } => {
                StopCause::Checkpoint
            }
            Self::Refused(_) => StopCause::Refused,
            Self::Source(_) => StopCause::Source,
            Self::DeadLetterBurst { .. } => StopCause::DeadLetters,
        }
    }
}

/// What tells of an earlier life of a partition that has no checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Evidence {
    /// The broker remembers a checkpoint.
    #[error("the broker remembers an entry with sequence id {0} under its name")]
    Entry(u64),
    /// The broker remembers the name on a lane.
    #[error("the target knows its producer name (last sequence id {0})")]
    LastSequenceId(u64),
    /// The target holds messages of this name.
    #[error("the target holds messages under its producer name (up to sequence id {0})")]
    Stored(Offset),
    /// The source remembers a position, which only a stored checkpoint is mirrored to.
    #[error("the consumer group has committed offset {0}, which mirrors a checkpoint")]
    Committed(Offset),
}

/// A position that may be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastKnown(pub Option<Offset>);

impl std::fmt::Display for LastKnown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(position) => write!(f, "{position}"),
            None => write!(f, "none"),
        }
    }
}

/// Rare things that operators want to read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Note {
    /// The partition is opened again.
    #[error("opening again: {0}")]
    Reopening(Why),
    /// The lane's topic was trimmed past the mark.
    #[error(
        "{topic} was trimmed past the checkpoint's mark; sequence id {last} cannot be seen any more and is taken as seen"
    )]
    Trimmed {
        /// The topic.
        topic: String,
        /// The last_sequence_id.
        last: u64,
    },
    /// Waiting for an id to become visible.
    #[error("waiting until sequence id {last} can be read in {topic}")]
    Waiting {
        /// The topic.
        topic: String,
        /// The last_sequence_id.
        last: u64,
    },
    /// A hole is being repaired.
    #[error("repairing ids {lowest} to {highest}: they lie at or below the last sequence id and are not in the target")]
    Repairing {
        /// The lowest id.
        lowest: Offset,
        /// The highest id.
        highest: Offset,
    },
}

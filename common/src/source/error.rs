//! What can go wrong at a source, by what a caller does about it.

use crate::lane::StopCause;
use crate::record::{Offset, SourcePartition};

/// An error of a source. [`SourceError::is_transient`] tells the two groups apart: wait and go on, or stop and say why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Records below the oldest that the source still has: they can never be read again.
    #[error(
        "{partition}: offsets {from} to {last} are gone from the source (its oldest is {oldest}): retention or a deletion \
         overtook the bridge; set on_gap = \"continue\" to go on at {oldest} and record the gap",
        last = oldest - 1
    )]
    Gap {
        /// The source partition.
        partition: SourcePartition,
        /// The first missing offset: where reading should have gone on.
        from: Offset,
        /// The oldest offset that is still there.
        oldest: Offset,
    },
    /// The source ends before the position: the topic was recreated, or the cluster is another one.
    #[error(
        "{partition}: the position is {position} but the source ends at {end}: the topic was recreated or has lost \
         records; set source.<name>.generation to start a new sequence"
    )]
    WentBack {
        /// The source partition.
        partition: SourcePartition,
        /// Where reading should have gone on.
        position: Offset,
        /// Where the source ends.
        end: Offset,
    },
    /// The source has another record than the one that was mirrored: the topic was recreated and has grown again, or the
    /// cluster is another one.
    #[error(
        "{partition}: the record at offset {offset} was stamped {known_ms} ms when it was mirrored, and is stamped {} now: \
         the topic was recreated, or the cluster is another; set source.<name>.generation to start a new sequence",
        found_ms.map_or("nothing".to_owned(), |ms| format!("{ms} ms"))
    )]
    Replaced {
        /// The source partition.
        partition: SourcePartition,
        /// The offset of the record.
        offset: Offset,
        /// Its stamp when it was mirrored, milliseconds since the epoch.
        known_ms: u64,
        /// Its stamp now.
        found_ms: Option<u64>,
    },
    /// The source's log was cut and written anew below the position (an unclean leader election).
    #[error(
        "{partition}: the source's log was truncated below {position} ({reason}): records that were already mirrored \
         may be others now; compare, then set source.<name>.generation to start a new sequence"
    )]
    Truncated {
        /// The source partition.
        partition: SourcePartition,
        /// The offset that was being fetched.
        position: Offset,
        /// The client's own words.
        reason: String,
    },
    /// The source refused the offset. Starting again at the position gives the exact [`SourceError::Gap`] or
    /// [`SourceError::WentBack`].
    #[error("{partition}: the source has no offset {position} ({reason}); starting again there tells what is missing")]
    OutOfRange {
        /// The source partition.
        partition: SourcePartition,
        /// The offset that was being fetched.
        position: Offset,
        /// The client's own words.
        reason: String,
    },
    /// The partition is no longer ours: drop the reader.
    #[error("{partition}: revoked; another member of the group owns it now")]
    Revoked {
        /// The source partition.
        partition: SourcePartition,
    },
    /// Reading was tried before a start, or after an error that wants a new one.
    #[error("{partition}: not started; call start_at first")]
    NotStarted {
        /// The source partition.
        partition: SourcePartition,
    },
    /// The topic, or one of its partitions, does not exist.
    #[error(
        "topic {topic} does not exist or has lost partitions ({reason}): create it, or correct source.<name>.topic"
    )]
    UnknownTopic {
        /// The topic.
        topic: String,
        /// The client's own words.
        reason: String,
    },
    /// The source does not let us in.
    #[error("{what}: not allowed ({reason}): {advice}, or correct the credentials")]
    Denied {
        /// What was tried.
        what: String,
        /// The client's own words.
        reason: String,
        /// The rights to grant, in the source's own words.
        advice: &'static str,
    },
    /// A setting that the source cannot work with.
    #[error("setting {key}: {reason}")]
    Setting {
        /// The setting's name.
        key: String,
        /// Why not, and what would do.
        reason: String,
    },
    /// The source does not answer now. Try again; nothing is skipped.
    #[error("{what}: {reason}; will be tried again")]
    Unavailable {
        /// What was tried.
        what: String,
        /// The client's own words.
        reason: String,
    },
    /// Another member of the group has this one's static identity, and the group has given it the partitions.
    #[error(
        "{what}: another member has taken this one's identity, \"{instance_id}\" ({reason}): give every instance its own \
         kafka.instance_id"
    )]
    Fenced {
        /// What was tried.
        what: String,
        /// The identity.
        instance_id: String,
        /// The client's own words.
        reason: String,
    },
    /// The client has given up, or broke a promise that this bridge rests on. Only a restart helps.
    #[error("{what}: {reason}; restart the bridge: it goes on at its checkpoint")]
    Fatal {
        /// What was tried.
        what: String,
        /// The client's own words.
        reason: String,
    },
}

impl SourceError {
    /// What a partition is stopped by that this error stops.
    pub fn stop_cause(&self) -> StopCause {
        match self {
            Self::Gap { .. } => StopCause::Gap,
            Self::WentBack { .. } | Self::Replaced { .. } | Self::Truncated { .. } => StopCause::WentBack,
            _ => StopCause::Source,
        }
    }

    /// Whether waiting and trying again may help, with nobody doing anything about it.
    pub fn is_transient(&self) -> bool {
        matches!(self, SourceError::Unavailable { .. } | SourceError::OutOfRange { .. })
    }
}

//! What a checkpoint holds: the durable note of how far a partition has come.

use serde::{Deserialize, Serialize};

use super::routing::Routing;
use crate::record::{MessageId, Offset};

/// No topic has more partitions: an entry that says so is none of ours.
const MAX_PARTITIONS: u32 = 100_000;

/// A lane of a partition: an index into `Routing::lanes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LaneId(pub usize);

/// A repair that may have been sent: its name is `<name>/repair/<lowest>-<highest>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepairIntent {
    /// The lane it goes to.
    pub lane: LaneId,
    /// The lowest id of its one batch.
    pub lowest: Offset,
    /// The highest id of its one batch.
    pub highest: Offset,
}

impl RepairIntent {
    /// The producer's name of this repair, for the partition named `name`.
    pub fn producer_name(&self, name: &str) -> String {
        format!("{name}/repair/{}-{}", self.lowest, self.highest)
    }
}

/// Where reading back starts: everything of this lane below the checkpoint's position lies before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// At the beginning of the topic.
    Earliest,
    /// At the end of the topic, wherever that is when the lane's name is held next: under the routing that was just announced
    /// nothing was sent yet. Only ever in the checkpoint that announces it; the next one, before anything is sent, says where.
    Unsent,
    /// At this entry, which is read too.
    At {
        /// The entry's ledger.
        ledger: u64,
        /// The entry's number.
        entry: u64,
    },
}

impl From<MessageId> for Mark {
    fn from(id: MessageId) -> Self {
        Mark::At { ledger: id.ledger, entry: id.entry }
    }
}

impl Mark {
    /// The entry, if it names one.
    pub fn id(self) -> Option<MessageId> {
        match self {
            Mark::Earliest | Mark::Unsent => None,
            Mark::At { ledger, entry } => Some(MessageId { ledger, entry }),
        }
    }
}

/// The durable note of how far a source partition is mirrored; one entry of the checkpoint topic, under the partition's
/// name. An on-wire format: its JSON is tested against a golden text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The version of this format.
    pub version: u32,
    /// Everything below this offset is settled.
    pub position: Offset,
    /// The routing that everything from `position` on was sent under.
    pub routing: Routing,
    /// Per lane, where to read back from.
    pub marks: Vec<Mark>,
    /// Repairs that may be under way.
    pub repairs: Vec<RepairIntent>,
    /// The largest reach in records (prefetch) that the partition was ever read with.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reach_records: u64,
    /// Topics that are no lanes any more, since the routing has changed, and still hold what is within reach.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former: Vec<FormerLane>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The topic of a lane under an earlier routing: it is only read back, until nothing in it is within reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormerLane {
    /// The topic, with partition.
    pub topic: String,
    /// Where reading back starts.
    pub mark: Mark,
    /// All ids in it are below this one: once the marks may move up to here, the topic is forgotten.
    pub until: Offset,
}

impl Checkpoint {
    /// The format's present version.
    pub const VERSION: u32 = 1;

    /// Whether it says what a checkpoint can say. What was stored may have been written by anybody; of a later version
    /// only that it is one is known.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.version > Self::VERSION {
            return Ok(());
        }
        let counts = self.routing.routes.iter().map(|route| route.partitions);
        if counts.chain([self.routing.partitions]).any(|partitions| partitions > MAX_PARTITIONS) {
            return Err("a topic of its routing has more partitions than any has");
        }
        let lanes = self.routing.lanes(0).len();
        if self.repairs.iter().any(|repair| repair.lane.0 >= lanes) {
            return Err("a repair is of a lane that the routing does not have");
        }
        if self.repairs.iter().any(|repair| repair.lowest > repair.highest) {
            return Err("a repair ends before it begins");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Marks are part of every checkpoint: an on-wire format.
    #[test]
    fn the_format_of_marks_is_golden() {
        let marks = vec![Mark::Earliest, Mark::Unsent, Mark::At { ledger: 7, entry: 42 }];
        let golden = r#"["earliest","unsent",{"at":{"ledger":7,"entry":42}}]"#;
        assert_eq!(serde_json::to_string(&marks).unwrap(), golden);
        assert_eq!(serde_json::from_str::<Vec<Mark>>(golden).unwrap(), marks);
    }
}

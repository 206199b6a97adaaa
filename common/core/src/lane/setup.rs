//! What a partition is made with: its number, its routing, its bounds.

use super::routing::Routing;

/// Bounds on what one partition has outstanding, and its times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Batches in flight per lane.
    pub in_flight: usize,
    /// Bytes of a batch before compression.
    pub batch_bytes: usize,
    /// Records of a batch.
    pub batch_records: u32,
    /// How far reading may be ahead of the position, in offsets: bounds what a reopening has to read back.
    pub max_span: u64,
    /// How long a receipt is waited for.
    pub send_timeout_ms: u64,
    /// The shortest time between two checkpoints of a partition that moves.
    pub checkpoint_ms: u64,
    /// The longest time between two checkpoints of a partition that does not.
    pub idle_checkpoint_ms: u64,
    /// How often the mark of a quiet lane is moved to the end of its topic.
    pub peek_ms: u64,
    /// How long a partition that is opened again waits for what it closes.
    pub leave_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            in_flight: 16,
            batch_bytes: 512 * 1024,
            batch_records: 10_000,
            max_span: 2_000_000,
            send_timeout_ms: 30_000,
            checkpoint_ms: 1_000,
            idle_checkpoint_ms: 24 * 3_600_000,
            peek_ms: 60_000,
            leave_ms: 10_000,
        }
    }
}

/// What the ids of a source partition's records are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Numbering {
    /// The source's own offsets (Kafka, stream queues): the same record always comes under the same one.
    #[default]
    Offsets,
    /// A counter (classic and quorum queues): the deliveries of a session are numbered one by one from where the core
    /// starts the source, which is above every id that was ever used. The same message comes under another id after each
    /// start, so nothing is known by its id: what was stored before is known by a [`Recall`](crate::recall::Recall).
    Counter,
}

/// How far reading back reaches behind the position: the marks of the lanes stay behind by so much. Without a reach (0, 0)
/// they follow the position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reach {
    /// What was stored in the last so many milliseconds lies behind the marks: the window of `dedupe.key`.
    pub ms: u64,
    /// What may come again after the last so many deliveries lies behind the marks: a queue's prefetch, the most messages
    /// that it delivers without an acknowledgement.
    pub records: u64,
}

/// What a partition is made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// The number of the source partition.
    pub source_partition: u32,
    /// The routing that the configuration asks for.
    pub routing: Routing,
    /// Its bounds.
    pub limits: Limits,
    /// What its ids are. A counter needs a reach in records.
    pub numbering: Numbering,
    /// How far its marks reach back.
    pub reach: Reach,
}

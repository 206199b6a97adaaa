//! One batch: filled, sealed, sent.

use std::time::Instant;

use super::hands::Hands;
use super::schemas::Version;
use crate::lane::{Event, LaneId, Partition, SendFailure, Tag};
use crate::pulsar::{BatchBuilder, Compression, OutgoingMessage, Seal, SendError};

/// The property of a message that was sent by a repair: its order is not claimed.
const REPAIRED: &str = "bridge.repaired";

/// A batch being filled, and what its receipt will be told with.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) builder: BatchBuilder,
    pub(super) oldest_stamp_ms: Option<u64>,
    /// For dead letters: the cause of each.
    pub(super) causes: Vec<&'static str>,
    pub(super) is_repair: bool,
    /// The version of the schema that its messages were written under, where each has its own.
    /// Invariant: all of them have the same, but for those without a value, which need none.
    pub(super) version: Option<Version>,
}

impl Batch {
    /// A repair without messages.
    pub(super) fn repair() -> Self {
        Self { is_repair: true, ..Self::default() }
    }

    /// Whether it has messages of another version.
    pub(super) fn is_of_another(&self, version: Option<&Version>) -> bool {
        matches!((&self.version, version), (Some(own), Some(version)) if own != version)
    }

    /// Appends a message that was placed with so many bytes, and tells the core what it really takes of the lane's open batch.
    pub(super) fn append(
        &mut self,
        message: &OutgoingMessage<'_>,
        lane: LaneId,
        placed_bytes: usize,
        core: &mut Partition,
        properties: impl FnOnce(&mut dyn FnMut(&str, &str)),
    ) {
        let before = self.builder.len_bytes();
        let is_repair = self.is_repair;
        self.builder.push_with(message, |put| {
            if is_repair {
                put(REPAIRED, "true");
            }
            properties(put);
        });
        let took_bytes = self.builder.len_bytes() - before;
        debug_assert!(took_bytes <= placed_bytes, "{took_bytes} bytes where {placed_bytes} were placed");
        if !is_repair {
            core.appended(lane, message.sequence_id, took_bytes);
        }
    }

    /// Forgets its messages.
    pub(super) fn clear(&mut self) {
        self.builder.clear();
        self.causes.clear();
        self.oldest_stamp_ms = None;
        self.version = None;
    }
}

/// A batch whose receipt is awaited.
pub(super) struct Sent {
    pub(super) tag: Tag,
    pub(super) lowest: u64,
    pub(super) records: u32,
    pub(super) bytes: usize,
    pub(super) at: Instant,
    pub(super) oldest_stamp_ms: Option<u64>,
    pub(super) causes: Vec<&'static str>,
    pub(super) is_repair: bool,
}

/// Seals a batch and gives it to its producer. Where the producer is gone, the batch is forgotten: its outcome is unknown
/// to the core, which hears of the end of that producer by itself.
pub(super) fn send(
    batch: &mut Batch,
    tag: Tag,
    name: &str,
    compression: Compression,
    hands: &Hands,
    now_ms: u64,
) -> Option<Sent> {
    let causes = std::mem::take(&mut batch.causes);
    let oldest_stamp_ms = batch.oldest_stamp_ms.take();
    let version = batch.version.take();
    let Some(opened) = hands.producer(tag) else {
        batch.builder.clear();
        return None;
    };
    let seal = Seal {
        producer_name: name,
        producer_id: opened.producer.id(),
        publish_time_ms: now_ms,
        compression,
        schema_version: version.as_deref().or(opened.schema_version.as_deref()),
    };
    let frame = batch.builder.seal(&seal).expect("compression into memory does not fail");
    if let Err(SendError::TooLarge { bytes, limit }) = opened.producer.send(&frame) {
        // Records are checked one by one, so this is a batch that compression made larger than its bound.
        let failure = SendFailure::Refused(format!("{bytes} bytes where the broker takes {limit}"));
        hands.tell(Event::SendFailed { tag, highest: frame.highest(), failure });
    }
    Some(Sent {
        tag,
        lowest: frame.lowest(),
        records: frame.count(),
        bytes: frame.len_bytes(),
        at: Instant::now(),
        oldest_stamp_ms,
        causes,
        is_repair: batch.is_repair,
    })
}

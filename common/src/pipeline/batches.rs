//! From a record to a batch on its way: admit, translate, place, append, seal, send. One pass per record, with the core
//! deciding at each step; what follows the translation is in `appending`.

use std::collections::VecDeque;
use std::sync::Arc;

use super::appending::{size_as_dead_letter, size_beside_body};
use super::batch::{Batch, Sent};
use super::hands::Hands;
use super::identity::{Identity, IdentityBy};
use super::recalling::Recalling;
use super::schemas::{Version, Versions};
use super::told::unfit;
use super::twins::{FlowId, Twins};
use crate::checkpoint::Stamp;
use crate::dead_letter::Reason;
use crate::dedupe::{Owner, Verdict};
use crate::lane::{Admit, DeadLetterGuard, LaneId, Partition, Routing, Stop, Tag};
use crate::pulsar::Compression;
use crate::record::{Coordinates, Offset, Record, SourcePartition};
use crate::translate::{Drift, JsonPath, SchemaId, TranslateError, Translator};

/// What a batch of one message takes at most beside the message: metadata, and what compression may add.
pub(super) const BATCH_OVERHEAD_BYTES: usize = 64 * 1024;

/// What does not change while a partition lives.
pub(super) struct Settings {
    pub(super) stream: String,
    pub(super) source: SourcePartition,
    pub(super) producer_name: String,
    pub(super) contract: Option<String>,
    pub(super) compression: Compression,
    /// Where a record's idempotency key is found, if anybody asks for it.
    pub(super) identity: Option<IdentityBy>,
    /// Whether every message carries the digest of its record's body.
    pub(super) is_digested: bool,
    /// Whether the source's ids are a counter, which says nothing of what was published before.
    pub(super) is_counted: bool,
    /// The versions of the writers' schemas, where each record keeps its own.
    pub(super) versions: Option<Arc<Versions>>,
}

/// What is at hand while records are taken.
pub(super) struct Desk<'d> {
    pub(super) hands: &'d Hands,
    /// What was found in the target before, by other ids.
    pub(super) recalling: &'d mut Recalling,
    /// Those who share the keys.
    pub(super) keys: Option<Keys<'d>>,
    /// Whether the source keeps a record that is too large for any message.
    pub(super) keeps_rejected: bool,
    pub(super) now_ms: u64,
}

/// Those who share the keys, and who asks.
pub(super) struct Keys<'d> {
    pub(super) twins: &'d Twins,
    pub(super) flow: FlowId,
    pub(super) session: u64,
}

/// What came of one record.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Loaded {
    /// It is in a batch, or settled.
    Done,
    /// Nothing more is taken now; it is read again later.
    Hold,
    /// Nothing more is taken before this schema was fetched; then the record is read again.
    Missing(SchemaId),
    /// It is in a batch, and too many before it were dead letters: nothing more is taken.
    Stop(Stop),
}

/// Why a record becomes a dead letter.
enum Unfit {
    Untranslatable(TranslateError),
    TooLarge { limit_bytes: usize },
}

impl Unfit {
    fn as_reason(&self) -> Reason<'_> {
        match self {
            Self::Untranslatable(error) => Reason::Untranslatable(error),
            Self::TooLarge { limit_bytes } => Reason::TooLarge { limit_bytes: *limit_bytes },
        }
    }
}

/// Counts since the last look.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) received: u64,
    pub(super) received_bytes: u64,
    pub(super) suppressed: u64,
    /// Of those, records whose event came before by the window of `dedupe.key`.
    pub(super) twins: u64,
}

/// The batches of one partition.
pub(super) struct Batches {
    pub(super) settings: Settings,
    translator: Translator,
    /// The version of the schema that the last record was written under, so that partitions do not share a lock per record.
    last_version: Option<(SchemaId, Version)>,
    /// The fields that the routes look at, in the order of the routes.
    pub(super) route_fields: Vec<Option<JsonPath>>,
    pub(super) lanes: Vec<Batch>,
    pub(super) repairs: VecDeque<(LaneId, Batch)>,
    pub(super) body: Vec<u8>,
    pub(super) drift: Drift,
    pub(super) counts: Counts,
    pub(super) in_flight: VecDeque<Sent>,
    /// Records that are too large for any message, and not yet told to the source.
    pub(super) rejected: Vec<Offset>,
    guard: DeadLetterGuard,
    max_message_bytes: usize,
    /// The newest time stamp that was read.
    pub(super) newest_stamp_ms: Option<u64>,
    /// Some of the records that were read: candidates for the stamp of a checkpoint.
    stamps: VecDeque<Stamp>,
}

/// How many candidates are kept; one per round of taking is added.
const STAMPS_MAX: usize = 4096;

impl Batches {
    pub(super) fn new(settings: Settings, translator: Translator, guard: DeadLetterGuard) -> Self {
        Self {
            settings,
            translator,
            last_version: None,
            route_fields: Vec::new(),
            lanes: Vec::new(),
            repairs: VecDeque::new(),
            body: Vec::new(),
            drift: Drift::new(),
            counts: Counts::default(),
            in_flight: VecDeque::new(),
            rejected: Vec::new(),
            guard,
            max_message_bytes: 0,
            newest_stamp_ms: None,
            stamps: VecDeque::new(),
        }
    }

    /// The source is read from here on: so many lanes, and brokers that take messages up to this size. What is batched
    /// stays: the core may start the source again in the midst of a session.
    pub(super) fn start(&mut self, lanes: usize, max_message_bytes: usize, routing: &Routing) {
        self.lanes.resize_with(lanes, Batch::default);
        self.route_fields = routing.routes.iter().map(|route| JsonPath::parse(&route.field).ok()).collect();
        self.max_message_bytes = max_message_bytes;
    }

    /// Forgets what is not sent yet: it is read again.
    pub(super) fn discard(&mut self) {
        self.lanes.iter_mut().for_each(Batch::clear);
        self.repairs.clear();
        self.in_flight.clear();
        self.stamps.clear();
    }

    /// Remembers a record for the stamp of a checkpoint.
    pub(super) fn remember(&mut self, offset: Offset) {
        if let Some(timestamp_ms) = self.newest_stamp_ms.filter(|_| self.stamps.len() < STAMPS_MAX) {
            self.stamps.push_back(Stamp { offset, timestamp_ms });
        }
    }

    /// The newest record below `position` that is remembered.
    pub(super) fn stamp_below(&mut self, position: Offset) -> Option<Stamp> {
        while self.stamps.get(1).is_some_and(|stamp| stamp.offset < position) {
            self.stamps.pop_front();
        }
        self.stamps.front().copied().filter(|stamp| stamp.offset < position)
    }

    /// Handles one record, from the first look to its place in a batch.
    pub(super) fn load(&mut self, record: &Record<'_>, core: &mut Partition, desk: &mut Desk<'_>) -> Loaded {
        let version = match self.version_of(record) {
            Ok(version) => version,
            Err(id) => return Loaded::Missing(id),
        };
        let identity = self.identity(record);
        // A delivery that was read back has another number now; by its number nothing is known of it.
        let is_recalled = self.settings.is_counted && desk.recalling.take(identity.hash);
        let admit = match self.settings.is_counted && !is_recalled {
            true => core.admit_delivery(record.offset, identity.hash),
            false => core.admit(record.offset),
        };
        if admit == Admit::Hold {
            return Loaded::Hold;
        }
        self.counts.received += 1;
        self.counts.received_bytes += record.value.map_or(0, |value| value.len() as u64);
        self.newest_stamp_ms = record.timestamp_ms;
        if admit == Admit::Suppress || is_recalled {
            self.counts.suppressed += 1;
            let size = record.value.map_or(0, <[u8]>::len) + size_beside_body(record);
            if is_recalled && desk.keeps_rejected && size > self.limit_bytes() {
                // What was read back is its dead letter, with its head only: the rest is still in the queue's hands.
                self.rejected.push(record.offset);
            }
            return Loaded::Done;
        }
        let reason = self.translate(record, admit);
        if reason.is_none() && self.is_elsewhere(record.offset, &identity, core, desk) {
            return Loaded::Done;
        }
        if let Some(Unfit::TooLarge { limit_bytes }) = reason {
            if !desk.keeps_rejected {
                // Its dead letter would hold its head only, and settling it would delete the rest: it stays unsettled.
                core.wait_for_twin(record.offset);
                return Loaded::Stop(too_large_to_lose(&self.settings.source, limit_bytes));
            }
            self.rejected.push(record.offset);
        }
        let stop = self.guard.note(reason.is_some());
        // Also the record that trips the guard: it is admitted, so the position passes it.
        match reason {
            None => self.append(record, &identity, version, core, desk),
            Some(reason) => {
                unfit(&self.settings.source, record, reason.as_reason());
                self.append_dead_letter(record, &identity, reason.as_reason(), core, desk);
            }
        }
        stop.map_or(Loaded::Done, Loaded::Stop)
    }

    /// The version of the record's schema in the target, where every record keeps its own. Errors: what is not known yet.
    fn version_of(&mut self, record: &Record<'_>) -> Result<Option<Version>, SchemaId> {
        let Some(value) = record.value else { return Ok(None) };
        if let Some(id) = self.translator.missing(value) {
            return Err(id);
        }
        let Some(versions) = &self.settings.versions else { return Ok(None) };
        // What has no schema that can be used is a dead letter, which has no version.
        let Some(id) = self.translator.writer_schema_of(value) else { return Ok(None) };
        if self.last_version.as_ref().is_none_or(|(last, _)| *last != id) {
            self.last_version = Some((id, versions.get(id).ok_or(id)?));
        }
        Ok(self.last_version.as_ref().map(|(_, version)| Version::clone(version)))
    }

    fn identity<'r>(&self, record: &Record<'r>) -> Identity<'r> {
        let Settings { identity, is_digested, .. } = &self.settings;
        match (identity, is_digested) {
            (None, false) => Identity::default(),
            (by, digested) => Identity::of(record, by.as_ref(), *digested),
        }
    }

    /// What one message may take.
    fn limit_bytes(&self) -> usize {
        self.max_message_bytes.saturating_sub(BATCH_OVERHEAD_BYTES)
    }

    /// Translates a record into `body`; why it cannot be published, if it cannot.
    fn translate(&mut self, record: &Record<'_>, admit: Admit) -> Option<Unfit> {
        self.body.clear();
        let coordinates = Coordinates { source: &self.settings.source, offset: record.offset };
        let translated = match record.value {
            None => Ok(()),
            Some(value) => self.translator.translate(value, &coordinates, &mut self.body, &mut self.drift),
        };
        let limit_bytes = self.limit_bytes();
        match translated {
            Err(error) if size_as_dead_letter(record) <= limit_bytes => Some(Unfit::Untranslatable(error)),
            Err(_) => Some(Unfit::TooLarge { limit_bytes }),
            Ok(()) if self.body.len() + size_beside_body(record) > limit_bytes || admit == Admit::Refused => {
                Some(Unfit::TooLarge { limit_bytes })
            }
            Ok(()) => None,
        }
    }

    /// Whether the same event was, or is being, published from another source (or a second time from this one). What is
    /// under way there is waited for.
    fn is_elsewhere(&mut self, offset: Offset, identity: &Identity<'_>, core: &mut Partition, desk: &Desk<'_>) -> bool {
        let (Some(keys), Some(key)) = (&desk.keys, identity.key_hash()) else { return false };
        let owner = Owner { partition: keys.flow, session: keys.session, id: offset };
        match keys.twins.admit(key, owner, desk.now_ms) {
            Verdict::Own => return false,
            Verdict::Twin => core.wait_for_twin(offset),
            Verdict::Settled => {}
        }
        self.counts.suppressed += 1;
        self.counts.twins += 1;
        true
    }

    /// The batch that a receipt names, no longer in flight.
    pub(super) fn settled(&mut self, tag: Tag, lowest: u64) -> Option<Sent> {
        let index = self.in_flight.iter().position(|sent| sent.tag == tag && sent.lowest == lowest)?;
        self.in_flight.remove(index)
    }

    /// The time stamp of the oldest record without a receipt.
    pub(super) fn oldest_stamp_ms(&self) -> Option<u64> {
        let sent = self.in_flight.iter().filter_map(|sent| sent.oldest_stamp_ms);
        let open = self.lanes.iter().filter_map(|batch| batch.oldest_stamp_ms);
        sent.chain(open).min()
    }
}

fn too_large_to_lose(source: &SourcePartition, limit_bytes: usize) -> Stop {
    Stop::Source(format!(
        "{source}: a record does not fit into a message of {limit_bytes} bytes, and the queue would drop it when it is \
         settled: declare the queue with a dead-letter exchange that exists (x-dead-letter-exchange; a queue that is there keeps \
         the arguments that it was made with), or raise the broker's message size"
    ))
}

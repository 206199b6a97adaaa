//! Into a batch and on its way: a record, or the dead letter of one, is appended where the core places it; what the core
//! wants sent is sent.

use super::batch::{Batch, send};
use super::batches::{Batches, Desk, Settings};
use super::hands::Hands;
use super::identity::Identity;
use super::schemas::Version;
use crate::dead_letter::{DeadLetter, Origin, Reason};
use crate::headers;
use crate::lane::{LaneId, Partition, Place, Route, Routing, Tag};
use crate::pulsar::OutgoingMessage;
use crate::record::Record;
use crate::translate::JsonPath;

/// What a message takes at most beside its body, key and properties.
pub(super) const MESSAGE_OVERHEAD_BYTES: usize = 128;

/// What the properties of a dead letter, without the record's headers, take at most.
const LETTER_BYTES_MAX: usize = 16 * 1024;

/// What the properties that identify a record take at most.
const IDENTITY_BYTES_MAX: usize = 1024;

impl Batches {
    /// Appends the record whose translation is in `body`.
    pub(super) fn append(
        &mut self,
        record: &Record<'_>,
        identity: &Identity<'_>,
        version: Option<Version>,
        core: &mut Partition,
        desk: &Desk<'_>,
    ) {
        let bytes = self.body.len() + size_beside_body(record);
        let routing = core.routing().expect("records are admitted by an open partition");
        let lane = core.lane(route(record, routing, &self.route_fields), record.key);
        let body = std::mem::take(&mut self.body);
        let message = OutgoingMessage {
            sequence_id: record.offset,
            key: record.key,
            event_time_ms: record.timestamp_ms,
            value: record.value.map(|_| body.as_slice()),
        };
        let batch = self.batch_for(lane, record, bytes, version, core, desk);
        batch.append(&message, lane, bytes, core, |put| {
            identity.properties(put);
            headers::properties(record.headers, put);
        });
        self.body = body;
    }

    /// Appends the dead letter of a record.
    pub(super) fn append_dead_letter(
        &mut self,
        record: &Record<'_>,
        identity: &Identity<'_>,
        reason: Reason<'_>,
        core: &mut Partition,
        desk: &Desk<'_>,
    ) {
        let lane = core.routing().expect("records are admitted by an open partition").dead_letter_lane();
        let Settings { stream, source, contract, .. } = &self.settings;
        let letter = DeadLetter::new(Origin { stream, source, contract: contract.as_deref() }, record, reason);
        let bytes = letter.body.len() + size_beside_body(record) + LETTER_BYTES_MAX;
        let key = record.key.filter(|_| letter.key.is_some());
        let message = OutgoingMessage {
            sequence_id: record.offset,
            key,
            event_time_ms: letter.event_time_ms,
            value: Some(letter.body),
        };
        let batch = self.batch_for(lane, record, bytes, None, core, desk);
        batch.causes.push(reason.cause());
        batch.append(&message, lane, bytes, core, |put| {
            identity.properties(put);
            letter.properties.iter().for_each(|(name, value)| put(name, value));
        });
    }

    /// The batch that the core chooses for a record, which takes `bytes` there at most.
    fn batch_for(
        &mut self,
        lane: LaneId,
        record: &Record<'_>,
        bytes: usize,
        version: Option<Version>,
        core: &mut Partition,
        desk: &Desk<'_>,
    ) -> &mut Batch {
        let before = match core.needs_repair(lane, record.offset) {
            true => self.repairs.back().map(|(_, batch)| batch),
            false => self.lanes.get(lane.0),
        };
        let is_apart = before.is_some_and(|batch| batch.is_of_another(version.as_ref()));
        let batch = match core.place(lane, record.offset, bytes, is_apart) {
            Place::Append { seal_first } => {
                if seal_first {
                    self.send(lane, core, desk.hands, desk.now_ms);
                }
                &mut self.lanes[lane.0]
            }
            Place::Repair { new } => {
                if new {
                    self.repairs.push_back((lane, Batch::repair()));
                }
                &mut self.repairs.back_mut().expect("a repair was started").1
            }
        };
        batch.oldest_stamp_ms = batch.oldest_stamp_ms.or(record.timestamp_ms);
        batch.version = version.or(batch.version.take());
        batch
    }

    /// Sends every open batch that the core wants sent now.
    pub(super) fn send_ready(&mut self, drained: bool, core: &mut Partition, hands: &Hands, now_ms: u64) {
        for lane in 0..self.lanes.len() {
            while core.should_seal(LaneId(lane), drained) {
                self.send(LaneId(lane), core, hands, now_ms);
            }
        }
    }

    /// Sends every open batch: the partition is leaving.
    pub(super) fn flush(&mut self, core: &mut Partition, hands: &Hands, now_ms: u64) {
        for lane in 0..self.lanes.len() {
            if !self.lanes[lane].builder.is_empty() {
                self.send(LaneId(lane), core, hands, now_ms);
            }
        }
    }

    /// Seals and sends the open batch of a lane.
    fn send(&mut self, lane: LaneId, core: &mut Partition, hands: &Hands, now_ms: u64) {
        let batch = &mut self.lanes[lane.0];
        let tag = core.sealed(lane, batch.builder.len_bytes(), now_ms);
        let sent = send(batch, tag, &self.settings.producer_name, self.settings.compression, hands, now_ms);
        self.in_flight.extend(sent);
    }

    /// Sends the repair that stands first in line.
    pub(super) fn send_repair(&mut self, tag: Tag, name: &str, hands: &Hands, now_ms: u64) {
        let Some((_, mut batch)) = self.repairs.pop_front() else { return };
        let sent = send(&mut batch, tag, name, self.settings.compression, hands, now_ms);
        self.in_flight.extend(sent);
    }
}

/// The first route that a record takes, by the fields that the routes look at.
pub(super) fn route(record: &Record<'_>, routing: &Routing, fields: &[Option<JsonPath>]) -> Option<usize> {
    let body = record.value?;
    let fits = |(route, field): (&Route, &Option<JsonPath>)| {
        let found = field.as_ref().and_then(|field| field.find(body));
        found.is_some_and(|found| route.equals.iter().any(|text| *text == found))
    };
    routing.routes.iter().zip(fields).position(fits)
}

/// What a record takes at most in a message, beside its body.
pub(super) fn size_beside_body(record: &Record<'_>) -> usize {
    let headers: usize =
        record.headers.iter().map(|header| header.name.len() + header.value.map_or(0, <[u8]>::len) + 48).sum();
    // Bytes that are not UTF-8 grow by a third in base64.
    MESSAGE_OVERHEAD_BYTES + IDENTITY_BYTES_MAX + (record.key.map_or(0, <[u8]>::len) + headers) * 4 / 3
}

/// What a record takes at most as a dead letter.
pub(super) fn size_as_dead_letter(record: &Record<'_>) -> usize {
    record.value.map_or(0, <[u8]>::len) + size_beside_body(record) + LETTER_BYTES_MAX
}

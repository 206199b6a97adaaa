//! What a flow does: the core's actions carried out, and what comes back told to the core.

use super::batches::BATCH_OVERHEAD_BYTES;
use super::flow::{Ears, Flow, now_ms};
use super::hands::{self, Answer};
use super::reading::{Back, Done};
use crate::checkpoint::{self, Stored};
use crate::config::OnGap;
use crate::lane::{Action, Event, Note, Numbering, Role, Stop, Tag};
use crate::logging::events;
use crate::pulsar::ProducerEvent;
use crate::source::SourceError;

impl Flow {
    pub(super) fn step(&mut self, event: Event) {
        self.core.step(event, now_ms(), &mut self.actions);
        self.act();
    }

    /// Carries out what the core asks for.
    pub(super) fn act(&mut self) {
        while !self.actions.is_empty() {
            for action in std::mem::take(&mut self.actions) {
                self.carry_out(action);
            }
        }
    }

    pub(super) fn carry_out(&mut self, action: Action) {
        match action {
            Action::Open { tag, role, topic, attempt } => {
                if role == Role::Checkpoint {
                    self.session_ended();
                    // What a registry did not know may have been restored.
                    if let Some(schemas) = &self.settings.schemas {
                        schemas.known.forget_unknown();
                    }
                }
                self.hands.open(tag, role, topic, attempt);
            }
            Action::Close { tag } => self.hands.close(tag),
            Action::ReadEntry { tag, attempt } => self.hands.read_entry(tag, attempt),
            Action::Scan { tag, role, topic, from, floor, attempt } => {
                self.recalling.asked(tag);
                self.hands.scan(tag, role, topic, from, floor, attempt);
            }
            Action::ResolveStart => {
                let start = self.settings.start_of(self.source.partition, self.source_partitions);
                self.reading.resolve(start);
            }
            Action::WriteCheckpoint { tag, sequence_id, checkpoint } => {
                if let Some(opened) = self.hands.producer(tag) {
                    let id = opened.producer.id();
                    self.stamp = self.batches.stamp_below(checkpoint.position).or(self.stamp);
                    let source_partitions = self.source_partitions;
                    let stored = Stored { checkpoint, source_partitions, stamp: self.stamp };
                    let frame = checkpoint::frame(&self.producer_name, id, sequence_id, &stored, now_ms());
                    // Where it is gone, its end is told by an event.
                    let _ = opened.producer.send(&frame);
                }
            }
            Action::StartSource { offset } => {
                self.told.reason = None;
                let limit_bytes = self.hands.smallest_limit();
                if let Some(routing) = self.core.routing() {
                    self.batches.start(self.core.lanes().len(), limit_bytes, routing);
                }
                let batch_bytes = self.shared.limits.batch_bytes.min(limit_bytes.saturating_sub(BATCH_OVERHEAD_BYTES));
                self.core.limit_batches(batch_bytes);
                self.session_begins();
                self.drained = false;
                // At an assignment, and after each failure of the source: a topic that was recreated, and has grown beyond
                // the position since, shows itself by nothing else.
                let check = self.stamp.filter(|_| !std::mem::replace(&mut self.is_checked, true));
                tracing::debug!(event = events::DETAIL, partition = %self.source, offset, ?check, stamp = ?self.stamp, "reading from here");
                self.reading.start(offset, check);
            }
            Action::StopSource { flush } => {
                self.reading.stop();
                if flush {
                    self.batches.flush(&mut self.core, &self.hands, now_ms());
                } else {
                    self.batches.discard();
                }
            }
            Action::SendRepair { tag, intent } => {
                let name = intent.producer_name(&self.producer_name);
                self.batches.send_repair(tag, &name, &self.hands, now_ms());
            }
            Action::Commit { offset } => self.reading.commit(offset),
            Action::Peek { tag, lane, topic } => self.hands.peek(tag, lane, topic),
            Action::Note { note } => self.note(&note),
            Action::Released => self.released(),
            Action::Stopped { stop } => self.stopped(&stop),
        }
    }

    /// Everything that was stored before is known, and the first record may be read.
    fn session_begins(&mut self) {
        if !self.recalling.seal() {
            return;
        }
        if let (Some(twins), Some(flow)) = (&self.shared.twins, self.flow) {
            twins.reopened(flow);
        }
    }

    /// What the session had not settled is unknown until the next one begins.
    fn session_ended(&mut self) {
        if let (Some(twins), Some(flow)) = (&self.shared.twins, self.flow) {
            twins.ended(flow);
        }
        self.recalling.restart();
    }

    pub(super) fn note(&mut self, note: &Note) {
        self.told.troubled(note.to_string());
        let (source, topic, partition) = self.coordinates();
        if let Note::Reopening(why) = note {
            self.told.reopened();
            let event = events::PARTITION_REOPENING;
            tracing::warn!(event, source, topic, partition, "opening the partition again: {why}");
        } else {
            tracing::warn!(event = events::PARTITION_WAITS, source, topic, partition, "{note}");
        }
    }

    /// Something is being tried again: said once, and shown as long as it lasts.
    pub(super) fn trouble(&mut self, text: String) {
        if self.told.reason.as_ref() != Some(&text) {
            let (source, topic, partition) = self.coordinates();
            tracing::warn!(event = events::PARTITION_TROUBLE, source, topic, partition, "trying again: {text}");
        }
        self.told.troubled(text);
    }

    /// Where it is in the configuration and in the source, for the log.
    fn coordinates(&self) -> (&str, &str, u32) {
        (&self.settings.name, &self.source.topic, self.source.partition)
    }

    pub(super) fn released(&mut self) {
        self.session_ended();
        self.batches.discard();
        self.share.set(0);
        if self.leaving {
            self.ended = true;
        }
    }

    pub(super) fn stopped(&mut self, stop: &Stop) {
        self.session_ended();
        self.batches.discard();
        self.share.set(0);
        self.told.stopped(stop);
        let (source, topic, partition) = self.coordinates();
        tracing::error!(event = events::PARTITION_STOPPED, source, topic, partition, "stopped: {stop}");
        self.report();
        if self.leaving {
            self.ended = true;
        }
    }

    pub(super) fn producer_event(&mut self, tag: Tag, event: ProducerEvent) {
        match &event {
            ProducerEvent::Receipt { lowest_sequence_id, message_id: Some(_), .. } => {
                if let Some(sent) = self.batches.settled(tag, *lowest_sequence_id) {
                    self.told.confirm(&sent);
                }
            }
            ProducerEvent::Closed { .. } => self.hands.lost(tag),
            _ => {}
        }
        self.step(hands::event(tag, event));
        self.share.set(self.core.held_bytes());
    }

    pub(super) fn answer(&mut self, answer: Answer, ears: &mut Ears) {
        // An answer may be the end of a producer, and everything that this producer said came before it.
        self.settle(ears);
        match answer {
            Answer::Opened(tag, opened) => {
                if let Some(event) = self.hands.keep(tag, *opened) {
                    self.step(event);
                }
            }
            Answer::Event(Event::NotOpened { tag, reason }) => {
                self.trouble(reason.to_string());
                if let Some(event) = self.hands.not_opened(tag, reason) {
                    self.step(event);
                }
            }
            Answer::Scanned(tag, scan, findings) => {
                let is_ours = self.recalling.found(tag, &findings);
                if let Some(twins) = self.shared.twins.as_ref().filter(|_| is_ours) {
                    twins.read_back(&findings.keys, now_ms());
                }
                self.step(Event::Scanned { tag, scan });
            }
            Answer::SchemaKnown => self.schema_known(),
            Answer::Event(event) => self.step(event),
            Answer::Found(tag, found) => {
                if let Some((_, Some(stored))) = &found.entry {
                    self.stamp = stored.stamp;
                    self.source_partitions = stored.source_partitions;
                } else if let Some(partitions) = found.source_partitions {
                    self.source_partitions = partitions;
                }
                let entry = found.entry.map(|(id, stored)| (id, stored.map(|stored| stored.checkpoint)));
                self.step(Event::EntryRead { tag, entry });
            }
            Answer::Trouble(text) => self.trouble(text),
        }
    }

    /// What was shown after the record that named the schema was not taken, and is read again.
    fn schema_known(&mut self) {
        self.misses_schema = false;
        self.told.reason = None;
        let Some(next) = self.core.next() else { return };
        match self.settings.numbering {
            Numbering::Offsets => self.reading.start(next, None),
            // A queue gives everything again that is not acknowledged, under other numbers: what is in flight is only known
            // by reading it back.
            Numbering::Counter => {
                let reason = "a schema that was missing is known: the queue's deliveries are taken again".to_owned();
                self.step(Event::SourceFailed { reason, stop: false });
            }
        }
    }

    pub(super) fn reader_back(&mut self, back: Back) {
        match self.reading.back(back) {
            None | Some(Done::Started(_) | Done::Stopped) => self.drained = false,
            Some(Done::Resolved { offset, committed }) => self.step(Event::StartResolved { offset, committed }),
            Some(Done::Failed(_, error)) => self.source_failed(error),
        }
    }

    pub(super) fn source_failed(&mut self, error: SourceError) {
        self.is_checked = false;
        if let (SourceError::Gap { from, oldest, .. }, OnGap::Continue) = (&error, self.settings.on_gap) {
            // Behind the position there may be records that are in the target already: they are not lost.
            let lost = self.core.count_unseen(*from, *oldest);
            let (source, topic, partition) = self.coordinates();
            let event = events::GAP_PASSED_OVER;
            tracing::warn!(
                event,
                source,
                topic,
                partition,
                from,
                oldest,
                lost,
                "a gap is passed over, as on_gap says: {error}"
            );
            self.told.passed_over(*from, *oldest, lost);
            self.core.skip_to(*oldest);
            self.reading.start(*oldest, None);
            return;
        }
        if matches!(error, SourceError::Revoked { .. }) {
            // The order to let go is on its way, or here.
            return;
        }
        let stop = !error.is_transient();
        self.told.source_says(error.stop_cause());
        self.step(Event::SourceFailed { reason: error.to_string(), stop });
    }
}

//! The model of one Pulsar topic partition: its log, the writes under way, the producers, and what deduplication knows.
//! All of it was observed on real brokers (Pulsar 4.0.8); only what a client can see is modelled.

use std::collections::VecDeque;

use bridge_core::lane::{Checkpoint, Tag};
use bridge_core::record::MessageId;

use super::random::Random;

/// A producer's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// The source partition's own name.
    Own,
    /// The name of one repair of it.
    Repair(u64, u64),
    /// Somebody else's.
    Foreign,
}

/// A producer as the broker knows it: by connection and producer id. The tag of the core serves as the id.
#[derive(Debug, Clone)]
pub struct Producer {
    pub conn: usize,
    pub tag: Tag,
    pub name: Name,
    pub closing: bool,
    /// The highest id that was stored under this name when the producer was opened.
    pub stored_at_open: Option<u64>,
}

/// A batch that was pushed and is not persisted yet.
#[derive(Debug, Clone)]
pub struct Write {
    pub name: Name,
    pub from: Option<(usize, Tag)>,
    pub ids: Vec<u64>,
    /// Of a queue: which messages these are.
    pub messages: Vec<u64>,
    pub checkpoint: Option<Box<Checkpoint>>,
}

impl Write {
    /// The records or messages of it.
    pub fn messages(&self) -> &[u64] {
        if self.messages.is_empty() { &self.ids } else { &self.messages }
    }
}

/// A stored batch.
#[derive(Debug, Clone)]
pub struct Entry {
    pub id: MessageId,
    pub name: Name,
    pub ids: Vec<u64>,
    /// Of a queue: which messages these are.
    pub messages: Vec<u64>,
    pub checkpoint: Option<Box<Checkpoint>>,
}

impl Entry {
    /// The records or messages of it.
    pub fn messages(&self) -> &[u64] {
        if self.messages.is_empty() { &self.ids } else { &self.messages }
    }
}

/// What deduplication knows of one name.
#[derive(Debug, Clone, Copy)]
struct Sequence {
    name: Name,
    pushed: Option<u64>,
    persisted: Option<u64>,
    /// Until something is pushed: what is answered to PRODUCER instead, too low after a reload.
    reported: Option<Option<u64>>,
}

/// What the broker makes of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is written.
    Accept,
    /// It is at or below what is persisted: receipt -1:-1.
    Duplicate,
    /// It is at or below what was pushed and not persisted: an error.
    CannotTell,
}

/// One topic partition.
#[derive(Debug, Clone)]
pub struct TopicModel {
    pub log: Vec<Entry>,
    /// Entries of the log before this one were trimmed away.
    pub trimmed: usize,
    pub writes: VecDeque<Write>,
    /// Grows whenever the writes under way are given up, so that their completions are known as void.
    pub generation: u32,
    pub last_due: u64,
    pub producers: Vec<Producer>,
    pub broker: usize,
    pub available_at: u64,
    pub deduplicates: bool,
    sequences: Vec<Sequence>,
    ledger: u64,
    entry: u64,
}

impl TopicModel {
    /// An empty topic on this broker.
    pub fn new(broker: usize, ledger: u64) -> Self {
        Self {
            log: Vec::new(),
            trimmed: 0,
            writes: VecDeque::new(),
            generation: 0,
            last_due: 0,
            producers: Vec::new(),
            broker,
            available_at: 0,
            deduplicates: true,
            sequences: Vec::new(),
            ledger,
            entry: 0,
        }
    }

    fn sequence(&mut self, name: Name) -> &mut Sequence {
        let index = self.sequences.iter().position(|sequence| sequence.name == name).unwrap_or_else(|| {
            self.sequences.push(Sequence { name, pushed: None, persisted: None, reported: None });
            self.sequences.len() - 1
        });
        &mut self.sequences[index]
    }

    /// `last_sequence_id`: the highest id *pushed* under this name, as far as the broker remembers.
    pub fn last_sequence_id(&self, name: Name) -> Option<u64> {
        let sequence = self.sequences.iter().find(|sequence| sequence.name == name)?;
        sequence.reported.unwrap_or(sequence.pushed).filter(|_| self.deduplicates)
    }

    /// Pushes a batch: only its lowest id is compared.
    pub fn push(&mut self, write: Write) -> Verdict {
        if self.deduplicates && write.name != Name::Foreign {
            let (lowest, highest) = (write.ids[0], write.ids[write.ids.len() - 1]);
            let sequence = self.sequence(write.name);
            if sequence.persisted >= Some(lowest) {
                return Verdict::Duplicate;
            }
            if sequence.pushed >= Some(lowest) {
                return Verdict::CannotTell;
            }
            sequence.pushed = Some(highest);
            sequence.reported = None;
        }
        self.writes.push_back(write);
        Verdict::Accept
    }

    /// The oldest write is persisted; its entry is the log's last one now.
    pub fn persist(&mut self) -> Option<Write> {
        let write = self.writes.pop_front()?;
        let id = MessageId { ledger: self.ledger, entry: self.entry };
        self.entry += 1;
        if self.deduplicates && write.name != Name::Foreign {
            let highest = write.ids[write.ids.len() - 1];
            let sequence = self.sequence(write.name);
            sequence.persisted = sequence.persisted.max(Some(highest));
            sequence.pushed = sequence.pushed.max(sequence.persisted);
        }
        let Write { name, ids, messages, checkpoint, .. } = write.clone();
        self.log.push(Entry { id, name, ids, messages, checkpoint });
        Some(write)
    }

    /// A write failed: all that are under way fail, and what was pushed is what is persisted.
    pub fn fail_writes(&mut self) -> Vec<Write> {
        self.generation += 1;
        self.sequences.iter_mut().for_each(|sequence| sequence.pushed = sequence.persisted);
        self.new_ledger();
        self.writes.drain(..).collect()
    }

    /// The topic is loaded again: what deduplication knows is read from the log, sometimes not all of it.
    pub fn recover(&mut self, random: &mut Random, forgets: bool) {
        self.generation += 1;
        self.writes.clear();
        self.new_ledger();
        for sequence in &mut self.sequences {
            let last = |entries: &[Entry]| {
                let own = entries.iter().filter(|entry| entry.name == sequence.name);
                own.map(|entry| entry.ids[entry.ids.len() - 1]).max()
            };
            // What was trimmed away stands in the snapshot only, which never holds more than was remembered before.
            let (trimmed, readable) = self.log.split_at(self.trimmed);
            let mut highest = last(readable).max(last(trimmed).min(sequence.persisted));
            // A repair's name has one batch: it is known or not.
            let is_repair = matches!(sequence.name, Name::Repair(..));
            if forgets && random.chance(300) {
                highest = highest.filter(|_| !is_repair).and_then(|highest| highest.checked_sub(random.between(1, 4)));
            }
            // A purged name stays purged: the snapshot does not hold it any more.
            let known = sequence.persisted.or(sequence.pushed).is_some();
            sequence.persisted = highest.filter(|_| known && self.deduplicates);
            sequence.pushed = sequence.persisted;
            let lower = sequence.pushed.and_then(|pushed| pushed.checked_sub(random.between(1, 6)));
            sequence.reported = (forgets && !is_repair && random.chance(300)).then_some(lower);
        }
    }

    fn new_ledger(&mut self) {
        self.ledger += 10;
        self.entry = 0;
    }

    /// Names without a producer are forgotten.
    pub fn purge(&mut self) {
        let (producers, writes) = (&self.producers, &self.writes);
        self.sequences.retain(|sequence| {
            producers.iter().any(|producer| producer.name == sequence.name)
                || writes.iter().any(|write| write.name == sequence.name)
        });
    }

    /// Deduplication is switched; the memory is gone either way.
    pub fn toggle_deduplication(&mut self) {
        self.deduplicates = !self.deduplicates;
        self.sequences.clear();
    }

    /// The producer of this connection and id.
    pub fn producer(&mut self, conn: usize, tag: Tag) -> Option<&mut Producer> {
        self.producers.iter_mut().find(|producer| producer.conn == conn && producer.tag == tag)
    }

    /// Whether a producer still waits for writes.
    pub fn has_writes_of(&self, conn: usize, tag: Tag) -> bool {
        self.writes.iter().any(|write| write.from == Some((conn, tag)))
    }

    /// The highest id that is stored under this name, as far as it can still be read.
    pub fn highest_stored(&self, name: Name) -> Option<u64> {
        self.readable().iter().filter(|entry| entry.name == name).map(|entry| entry.ids[entry.ids.len() - 1]).max()
    }

    /// The entries that can still be read.
    pub fn readable(&self) -> &[Entry] {
        &self.log[self.trimmed..]
    }
}

//! The rules, each with its name: what must hold after every step, and what must hold at the end.

use std::collections::HashMap;

use bridge_core::lane::{Checkpoint, Mark, Routing};

use super::plan::{Plan, SOURCE_PARTITION, Slot, TOPICS, route_of, topic_index};
use super::queue::Queue;
use super::topic::{Entry, Name, TopicModel};

/// A rule that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Its name.
    pub rule: &'static str,
    /// What was seen.
    pub text: String,
}

/// Watches what is stored.
#[derive(Debug, Clone)]
pub struct Rules {
    source: Vec<Slot>,
    /// Per offset: the topic and index in its log where it was stored last.
    stored: Vec<Option<(usize, usize)>>,
    /// Of a queue: the identity of each message, and where those of this identity are stored.
    identities: Option<Vec<u64>>,
    copies: Vec<Vec<(usize, usize)>>,
    first_position: Option<u64>,
    position: Option<u64>,
    /// The routing of the checkpoint that was stored last, with its lanes.
    routing: Option<(Routing, Vec<usize>)>,
    /// Per topic (of whatever partition) and key: the highest record that was stored in order, and where.
    highest: HashMap<(&'static str, &'static [u8]), (u64, usize, usize)>,
    /// While deduplication was switched in mid-run, Pulsar promises no more than at-least-once.
    pub at_least_once: bool,
    max_intents: usize,
    /// The rule that was broken first.
    pub broken: Option<Broken>,
}

impl Rules {
    /// For this schedule.
    pub fn new(plan: &Plan) -> Self {
        Self {
            source: plan.source.clone(),
            stored: vec![None; plan.source.len()],
            identities: plan.queue.clone(),
            copies: plan.queue.iter().flatten().map(|_| Vec::new()).collect(),
            first_position: None,
            position: None,
            routing: None,
            highest: HashMap::new(),
            at_least_once: false,
            max_intents: 32,
            broken: None,
        }
    }

    /// Notes that a rule is broken; the first one counts.
    pub fn broken(&mut self, rule: &'static str, text: String) {
        self.broken.get_or_insert(Broken { rule, text });
    }

    /// The position of the checkpoint that was stored last.
    pub fn checkpointed(&self) -> Option<u64> {
        self.position
    }

    /// The position of the first checkpoint.
    pub fn first_position(&self) -> Option<u64> {
        self.first_position
    }

    /// The first record below `end` that has to be stored and is not.
    pub fn first_missing(&self, end: u64) -> Option<u64> {
        let mut from = self.first_position?;
        if let Some(identities) = &self.identities {
            // One of two equal messages stands for both.
            from = 0;
            let is_stored = |message: &u64| !self.copies[identities[*message as usize] as usize].is_empty();
            return (from..end).find(|message| self.source[*message as usize] != Slot::Gap && !is_stored(message));
        }
        (from..end).find(|offset| {
            matches!(self.source[*offset as usize], Slot::Record { .. }) && self.stored[*offset as usize].is_none()
        })
    }

    /// A batch comes to the broker from a living producer.
    pub fn sent(&mut self, topic: usize, name: Name, lowest: u64, stored_at_open: Option<u64>) {
        if stored_at_open >= Some(lowest) && !self.at_least_once {
            let text = format!("{name:?} on topic {topic} sends from {lowest}, stored before were {stored_at_open:?}");
            self.broken("a batch starts above everything stored under its name", text);
        }
    }

    /// The last entry of this topic's log has just been stored.
    pub fn stored(&mut self, topics: &[TopicModel], topic: usize, queue: Option<&Queue>) {
        let log = &topics[topic].log;
        let entry = &log[log.len() - 1];
        match (topic, entry.name) {
            (_, Name::Foreign) => {}
            (0, _) => self.checkpoint_stored(topics, entry, queue),
            _ => self.batch_stored(topics, topic),
        }
    }

    fn batch_stored(&mut self, topics: &[TopicModel], topic: usize) {
        let log = &topics[topic].log;
        let index = log.len() - 1;
        let entry = &log[index];
        if !entry.ids.windows(2).all(|pair| pair[0] < pair[1]) {
            self.broken("ids rise in a batch", format!("{:?}", entry.ids));
        }
        if self.identities.is_some() && entry.messages.len() != entry.ids.len() {
            self.broken("only what was delivered is stored", format!("{:?}: {:?}", entry.ids, entry.messages));
        }
        self.messages_stored(topics, topic, &entry.messages);
        let ids: &[u64] = if self.identities.is_none() { &entry.ids } else { &[] };
        for id in ids {
            let is_record = self.source.get(*id as usize).is_some_and(|slot| *slot != Slot::Gap);
            if !is_record || self.first_position.is_none_or(|first| *id < first) {
                self.broken("only records at or above the first position are stored", format!("{id}"));
            }
            // What was trimmed away cannot be recognised any more.
            let before = self.stored[*id as usize].replace((topic, index));
            if before.is_some_and(|(topic, index)| index >= topics[topic].trimmed) && !self.at_least_once {
                self.broken(
                    "no duplicate",
                    format!("record {id} is stored twice: {before:?} and {:?}", (topic, index)),
                );
            }
        }
        for message in entry.messages() {
            self.is_in_place(topic, *message);
        }
        if entry.name == Name::Own && self.identities.is_none() {
            entry.ids.iter().for_each(|id| self.in_order_of_its_key(topics, topic, *id));
        }
        if entry.name == Name::Own && !self.at_least_once {
            let readable = topics[topic].trimmed.min(index)..index;
            let before = log[readable]
                .iter()
                .filter(|other| other.name == Name::Own)
                .map(|other| other.ids[other.ids.len() - 1])
                .max();
            if before >= Some(entry.ids[0]) {
                self.broken("order in a lane", format!("{:?} behind {before:?} on topic {topic}", entry.ids));
            }
        }
    }

    /// A record was stored where the routing in force sends it, or in the dead letters: nothing of an earlier routing comes
    /// any more once another is announced, and no repair goes elsewhere than its records would have.
    fn is_in_place(&mut self, topic: usize, record: u64) {
        let (Some((routing, lanes)), Some(slot)) = (&self.routing, self.source.get(record as usize)) else { return };
        let Slot::Record { kind, .. } = *slot else { return };
        let lane = routing.lane(route_of(routing, kind), SOURCE_PARTITION, slot.key());
        let own = lanes[lane.0];
        if topic != own && lanes.last() != Some(&topic) && !self.at_least_once {
            let text = format!("record {record} is stored in {}, and belongs into {}", TOPICS[topic], TOPICS[own]);
            self.broken("a record lies where the routing in force sends it", text);
        }
    }

    /// Of the records of one key, what is sent in order is stored in order, whatever the routing was meanwhile.
    fn in_order_of_its_key(&mut self, topics: &[TopicModel], topic: usize, id: u64) {
        let Some(key) = self.source.get(id as usize).and_then(|slot| slot.key()).filter(|_| topic > 1) else { return };
        let name = TOPICS[topic].split("-partition-").next().unwrap_or_default();
        let place = (id, topic, topics[topic].log.len() - 1);
        let before = self.highest.insert((name, key), place);
        if let Some((highest, topic, index)) = before.filter(|(highest, ..)| *highest > id) {
            self.highest.insert((name, key), (highest, topic, index));
            // What was trimmed away cannot be known any more.
            if index >= topics[topic].trimmed && !self.at_least_once {
                let text = format!("record {id} is stored behind {highest} of the same key");
                self.broken("order of a key", text);
            }
        }
    }

    /// Messages of a queue are stored: of each identity no more than were published.
    fn messages_stored(&mut self, topics: &[TopicModel], topic: usize, messages: &[u64]) {
        let Some(identities) = self.identities.clone() else { return };
        let index = topics[topic].log.len() - 1;
        for message in messages {
            let identity = identities[*message as usize];
            let copies = &mut self.copies[identity as usize];
            copies.push((topic, index));
            // What was trimmed away cannot be recognised any more.
            let readable = copies.iter().filter(|(topic, index)| *index >= topics[*topic].trimmed);
            let (stored, all) = (readable.count(), copies.clone());
            let published = identities
                .iter()
                .enumerate()
                .filter(|(message, other)| **other == identity && self.source[*message] != Slot::Gap);
            if stored > published.count() && !self.at_least_once {
                self.broken("no duplicate", format!("message {message} is stored too often: {all:?}"));
            }
        }
    }

    /// A message of a queue was acknowledged: it will never come again.
    pub fn acknowledged(&mut self, message: u64) {
        let Some(identities) = &self.identities else { return };
        if self.copies[identities[message as usize] as usize].is_empty() {
            self.broken("only what is stored is acknowledged", format!("message {message}"));
        }
    }

    /// Whatever a queue may deliver again and is stored already, the next reading back finds.
    fn within_reach(&mut self, topics: &[TopicModel], checkpoint: &Checkpoint, queue: &Queue) {
        let lanes = checkpoint.routing.lanes(SOURCE_PARTITION).into_iter().zip(checkpoint.marks.iter().copied());
        let former = checkpoint.former.iter().map(|lane| (lane.topic.clone(), lane.mark));
        let marks: Vec<(usize, Mark)> = lanes.chain(former).map(|(topic, mark)| (topic_index(&topic), mark)).collect();
        for (topic, model) in topics.iter().enumerate().skip(1) {
            let mark = marks.iter().find(|(other, _)| *other == topic).map(|(_, mark)| *mark);
            let is_found = |entry: &Entry| match mark {
                None | Some(Mark::Unsent) => false,
                Some(Mark::Earliest) => true,
                Some(Mark::At { ledger, entry: number }) => (entry.id.ledger, entry.id.entry) >= (ledger, number),
            };
            let hidden = model.readable().iter().filter(|entry| entry.name != Name::Foreign && !is_found(entry));
            let again = |message: &&u64| !queue.acked[**message as usize];
            if let Some(message) = hidden.flat_map(|entry| &entry.messages).find(again) {
                let text = format!("message {message} is stored in topic {topic}, read back from {mark:?}");
                return self.broken("what a queue may deliver again lies behind the mark", text);
            }
        }
    }

    fn checkpoint_stored(&mut self, topics: &[TopicModel], entry: &Entry, queue: Option<&Queue>) {
        let checkpoint = entry.checkpoint.as_ref().expect("own entries of the checkpoint topic are checkpoints");
        let position = checkpoint.position;
        if self.position.is_some_and(|before| position < before) {
            self.broken("a stored position never goes back", format!("{position} after {:?}", self.position));
        }
        self.first_position.get_or_insert(position);
        self.position = Some(position);
        if self.routing.as_ref().is_none_or(|(routing, _)| *routing != checkpoint.routing) {
            let lanes = checkpoint.routing.lanes(SOURCE_PARTITION).iter().map(|topic| topic_index(topic)).collect();
            self.routing = Some((checkpoint.routing.clone(), lanes));
        }
        if let Some(queue) = queue.filter(|_| !self.at_least_once) {
            self.within_reach(topics, checkpoint, queue);
        } else if let Some(missing) =
            self.first_missing(position.min(self.source.len() as u64)).filter(|_| queue.is_none())
        {
            self.broken(
                "a position is never above an unsettled record",
                format!("{position}, but {missing} is not stored"),
            );
        }
        if checkpoint.repairs.len() > self.max_intents {
            self.broken("bounded", format!("{} repairs in a checkpoint", checkpoint.repairs.len()));
        }
        for (lane, topic) in checkpoint.routing.lanes(SOURCE_PARTITION).iter().enumerate() {
            let topic = &topics[topic_index(topic)];
            let mark = checkpoint.marks[lane];
            let is_before = |stored: &&Entry| match mark {
                Mark::Earliest => false,
                Mark::Unsent => true,
                Mark::At { ledger, entry } => (stored.id.ledger, stored.id.entry) < (ledger, entry),
            };
            let hidden = topic.readable().iter().take_while(is_before);
            let hidden = hidden.filter(|stored| stored.name != Name::Foreign);
            if let Some(id) = hidden.flat_map(|stored| &stored.ids).find(|id| **id >= position && !self.at_least_once) {
                let text = format!("id {id} lies before the mark {mark:?} of lane {lane}, the position is {position}");
                self.broken("everything at or above the position lies behind the mark", text);
            }
        }
    }

    /// Everything has come to rest.
    pub fn at_rest(&mut self, available: u64) {
        if let Some(missing) = self.first_missing(available) {
            self.broken("no loss", format!("record {missing} is not stored"));
        }
    }
}

//! A dead letter as it stands in its topic, and which ones an operator means. Pure.

use std::collections::HashMap;
use std::fmt;

use bridge_common::config::{nearest, rfc3339};
use bridge_common::dead_letter::{self as names, partition_name, redrive_name};
use bridge_common::pulsar::{Entry, Message};
use bridge_common::record::{MessageId, Offset, SourcePartition};
use bridge_common::translate::Cause;
use serde_json::{Value, json};

/// What names a dead letter: its partition's producer name, and its offset there.
pub(super) type Key = (String, Offset);

/// A dead letter, without what the record holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Letter {
    /// Where it stands.
    pub(super) id: MessageId,
    /// Its partition's producer name.
    pub(super) name: String,
    pub(super) source: SourcePartition,
    pub(super) offset: Offset,
    pub(super) cause: String,
    pub(super) field: Option<String>,
    pub(super) detail: String,
    /// The record's own stamp.
    pub(super) timestamp_ms: Option<u64>,
    /// When it became a dead letter.
    pub(super) written_ms: u64,
    pub(super) size_bytes: u64,
    /// What of the record is not in it: `body`, `key`, `headers`.
    pub(super) omitted: Vec<String>,
    pub(super) contract: Option<String>,
}

impl Letter {
    /// Of a message; `None` where it is no dead letter of a bridge.
    pub(super) fn of(entry: &Entry, message: &Message<'_>) -> Option<Self> {
        let properties: HashMap<&str, &str> =
            message.properties().filter(|(name, _)| name.starts_with(bridge_common::headers::OWN)).collect();
        let text = |name: &str| properties.get(name).map(|value| (*value).to_owned());
        let number = |name: &str| properties.get(name).and_then(|value| value.parse::<u64>().ok());
        let source = SourcePartition {
            cluster_id: text(names::CLUSTER)?,
            topic: text(names::TOPIC)?,
            partition: u32::try_from(number(names::PARTITION)?).ok()?,
        };
        let omitted = text(names::OMITTED).unwrap_or_default();
        Some(Self {
            id: entry.id,
            name: partition_name(&entry.producer_name).to_owned(),
            source,
            offset: number(names::OFFSET)?,
            cause: text(names::CAUSE)?,
            field: text(names::FIELD),
            detail: text(names::DETAIL).unwrap_or_default(),
            timestamp_ms: number(names::TIMESTAMP_MS),
            written_ms: entry.publish_time_ms,
            size_bytes: number(names::SIZE).unwrap_or(message.value.len() as u64),
            omitted: omitted.split(',').filter(|part| !part.is_empty()).map(str::to_owned).collect(),
            contract: text(names::CONTRACT),
        })
    }

    pub(super) fn key(&self) -> Key {
        (self.name.clone(), self.offset)
    }

    /// The producer that redrives it.
    pub(super) fn redrive_name(&self) -> String {
        redrive_name(&self.name, self.offset)
    }

    /// `<topic>/<partition>/<offset>`, as it is shown and asked for.
    pub(super) fn position(&self) -> String {
        format!("{}/{}", self.source, self.offset)
    }

    /// Whether a part of the record has to be fetched from its source.
    pub(super) fn is_whole(&self) -> bool {
        self.omitted.is_empty()
    }

    /// A format that others read: fields are only added.
    pub(super) fn to_json(&self, state: Option<State>) -> Value {
        json!({
            "position": self.position(), "cluster": self.source.cluster_id, "topic": self.source.topic,
            "partition": self.source.partition, "offset": self.offset, "cause": self.cause, "field": self.field,
            "detail": self.detail, "timestamp": self.timestamp_ms.map(rfc3339), "dead_since": rfc3339(self.written_ms),
            "size_bytes": self.size_bytes, "omitted": self.omitted, "contract": self.contract,
            "message_id": self.id.to_string(), "settled": state.map(State::name),
        })
    }
}

/// What became of a dead letter, by the newest note behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) state: State,
    /// The topic where it is published, or was found.
    pub(super) topic: String,
    /// The highest sequence id of its notes: the next one goes above it.
    pub(super) last_sequence_id: u64,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It may be in the topic, not before this entry.
    Pending(Option<MessageId>),
    /// It is in the target.
    Redriven,
    /// The same event is in the target, by another source.
    Twin,
}

impl State {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pending(_) => "pending",
            Self::Redriven => "redriven",
            Self::Twin => "twin",
        }
    }

    /// Whether there is nothing more to do.
    pub(super) fn is_final(self) -> bool {
        !matches!(self, Self::Pending(_))
    }
}

impl Settled {
    /// Of a message, with the key of the dead letter that it is about; `None` where it is no such note.
    pub(super) fn of(entry: &Entry, message: &Message<'_>) -> Option<(Key, Self)> {
        let property = |wanted: &str| message.properties().find(|(name, _)| *name == wanted).map(|(_, value)| value);
        let state = property(names::SETTLED)?;
        let (name, offset) = entry.producer_name.rsplit_once("/redrive/")?;
        let state = match state {
            "pending" => State::Pending(property(names::SETTLED_MARK).and_then(parse_id)),
            "redriven" => State::Redriven,
            "twin" => State::Twin,
            _ => return None,
        };
        let topic = property(names::SETTLED_TOPIC).unwrap_or_default().to_owned();
        let settled = Self { state, topic, last_sequence_id: message.sequence_id };
        Some(((name.to_owned(), offset.parse().ok()?), settled))
    }
}

/// `ledger:entry`; `None` for anything else, which stands for the topic's beginning.
fn parse_id(text: &str) -> Option<MessageId> {
    let (ledger, entry) = text.split_once(':')?;
    Some(MessageId { ledger: ledger.parse().ok()?, entry: entry.parse().ok()? })
}

/// Which dead letters are meant.
#[derive(Debug, Clone, Default)]
pub(super) struct Filter {
    /// What the names of the stream's partitions begin with: others may have the same dead-letter topic.
    pub(super) prefix: String,
    pub(super) causes: Vec<String>,
    pub(super) since_ms: Option<u64>,
    pub(super) until_ms: Option<u64>,
    pub(super) partition: Option<u32>,
    pub(super) positions: Vec<Position>,
}

impl Filter {
    pub(super) fn fits(&self, letter: &Letter) -> bool {
        letter.name.starts_with(&self.prefix)
            && (self.causes.is_empty() || self.causes.contains(&letter.cause))
            && self.since_ms.is_none_or(|since| letter.written_ms >= since)
            && self.until_ms.is_none_or(|until| letter.written_ms <= until)
            && self.partition.is_none_or(|partition| letter.source.partition == partition)
            && (self.positions.is_empty() || self.positions.iter().any(|position| position.is_of(letter)))
    }

    /// What is asked for, in words; `None`: all of the stream's.
    pub(super) fn words(&self) -> Option<String> {
        let mut words = Vec::new();
        if !self.causes.is_empty() {
            words.push(format!("cause {}", self.causes.join(" or ")));
        }
        words.extend(self.since_ms.map(|since| format!("since {}", rfc3339(since))));
        words.extend(self.until_ms.map(|until| format!("until {}", rfc3339(until))));
        words.extend(self.partition.map(|partition| format!("partition {partition}")));
        match self.positions.as_slice() {
            [] => {}
            [one] => words.push(format!("position {one}")),
            many => words.push(format!("one of {} positions", many.len())),
        }
        (!words.is_empty()).then(|| words.join(", "))
    }

    /// Whether a dead letter of this name and offset may fit: what a note tells, no more.
    pub(super) fn may_be_about(&self, (name, offset): &Key) -> bool {
        // Names end in the partition's number, or in the generation's behind it.
        let has_number = |wanted: u32| name.rsplit('/').take(2).any(|part| part.parse() == Ok(wanted));
        name.starts_with(&self.prefix)
            && self.partition.is_none_or(has_number)
            && (self.positions.is_empty() || self.positions.iter().any(|position| position.offset == *offset))
    }
}

/// A position as an operator writes it: `[<topic>/]<partition>/<offset>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Position {
    topic: Option<String>,
    partition: u32,
    offset: Offset,
}

impl Position {
    /// Reads it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\": write <topic>/<partition>/<offset>, or <partition>/<offset>");
        let (rest, offset) = text.rsplit_once('/').ok_or_else(wrong)?;
        let (topic, partition) = match rest.rsplit_once('/') {
            Some((topic, partition)) => (Some(topic.to_owned()), partition),
            None => (None, rest),
        };
        let partition = partition.parse().map_err(|_| wrong())?;
        Ok(Self { topic, partition, offset: offset.parse().map_err(|_| wrong())? })
    }

    fn is_of(&self, letter: &Letter) -> bool {
        self.offset == letter.offset
            && self.partition == letter.source.partition
            && self.topic.as_ref().is_none_or(|topic| *topic == letter.source.topic)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(topic) = &self.topic {
            write!(f, "{topic}/")?;
        }
        write!(f, "{}/{}", self.partition, self.offset)
    }
}

/// Reads the name of a cause. One that there is not would look as if nothing was wrong.
pub(super) fn parse_cause(text: &str) -> Result<String, String> {
    let known: Vec<&str> = Cause::ALL.into_iter().map(Cause::as_str).chain([names::TOO_LARGE]).collect();
    if known.contains(&text) {
        return Ok(text.to_owned());
    }
    let meant = nearest(text, &known).map(|near| format!(" Did you mean {near}?")).unwrap_or_default();
    Err(format!("no cause is called {text}.{meant} There are: {}", known.join(", ")))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn letter(partition: u32, offset: Offset) -> Letter {
        Letter {
            id: MessageId { ledger: 1, entry: offset },
            name: format!("bridge/demo/c1/jobs/{partition}"),
            source: SourcePartition { cluster_id: "c1".into(), topic: "jobs".into(), partition },
            offset,
            cause: "wrong_type".into(),
            field: Some("payload.n".into()),
            detail: "expected int, found string".into(),
            timestamp_ms: Some(1_700_000_000_000),
            written_ms: 1_700_000_001_000,
            size_bytes: 12,
            omitted: Vec::new(),
            contract: None,
        }
    }

    #[test]
    fn filters_are_all_to_fit() {
        let fits = |filter: Filter| filter.fits(&letter(3, 41));
        assert!(fits(Filter::default()));
        assert!(!fits(Filter { prefix: "bridge/another/".into(), ..Filter::default() }));
        assert!(fits(Filter { causes: vec!["wrong_type".into(), "not_json".into()], ..Filter::default() }));
        assert!(!fits(Filter { causes: vec!["not_json".into()], ..Filter::default() }));
        let between = |since, until| Filter { since_ms: Some(since), until_ms: Some(until), ..Filter::default() };
        assert!(fits(between(1_700_000_001_000, 1_700_000_001_000)));
        assert!(!fits(between(1_700_000_001_001, 1_800_000_000_000)));
        let at = |text: &str| Filter { positions: vec![Position::parse(text).unwrap()], ..Filter::default() };
        assert!(fits(at("3/41")) && fits(at("jobs/3/41")));
        assert!(!fits(at("3/42")) && !fits(at("other/3/41")) && !fits(at("4/41")));
        assert!(!fits(Filter { partition: Some(4), ..at("3/41") }));
    }

    #[test]
    fn positions_are_read_as_they_are_shown() {
        let shown = letter(3, 41).position();
        assert_eq!(Position::parse(&shown), Ok(Position { topic: Some("jobs".into()), partition: 3, offset: 41 }));
        assert!(Position::parse("41").is_err() && Position::parse("a/b/c").is_err());
    }

    #[test]
    fn causes_that_there_are_not_are_refused_with_the_nearest_one() {
        assert_eq!(parse_cause("too_large"), Ok("too_large".to_owned()));
        assert_eq!(parse_cause("not_json"), Ok("not_json".to_owned()));
        let problem = parse_cause("wrong_typ").unwrap_err();
        assert!(problem.contains("Did you mean wrong_type?") && problem.contains("too_large"), "{problem}");
    }

    #[test]
    fn what_is_asked_for_can_be_said() {
        assert_eq!(Filter { prefix: "bridge/demo/".into(), ..Filter::default() }.words(), None);
        let filter = Filter {
            causes: vec!["not_json".into(), "too_large".into()],
            partition: Some(99),
            positions: vec![Position::parse("jobs/3/41").unwrap()],
            ..Filter::default()
        };
        assert_eq!(filter.words().unwrap(), "cause not_json or too_large, partition 99, position jobs/3/41");
    }

    #[test]
    fn marks_are_read_as_they_are_written() {
        let id = MessageId { ledger: 7, entry: 42 };
        assert_eq!(parse_id(&id.to_string()), Some(id));
        assert_eq!(parse_id("earliest"), None);
    }
}

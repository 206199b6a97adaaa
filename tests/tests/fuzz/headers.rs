//! Headers as properties and back, and dead letters, which carry them.

use bridge_common::dead_letter::{self, DeadLetter, Origin, Reason};
use bridge_common::headers::{headers, properties};
use bridge_common::pulsar::{BatchBuilder, Compression, Entry, OutgoingMessage, Seal};
use bridge_common::record::{Header, MessageId, Record, SourcePartition};
use bridge_common::translate::{Cause, TranslateError};

use crate::engine::{Outcome, Pieces, Plan, fuzz};

/// Names and values out of an input. Names are few, so that they repeat.
fn pairs(pieces: &mut Pieces<'_>) -> Vec<(String, Option<Vec<u8>>)> {
    let mut pairs = Vec::new();
    while !pieces.is_empty() {
        let name = pieces.text();
        let value = (!pieces.byte().is_multiple_of(4)).then(|| pieces.bytes().to_vec());
        pairs.push((name, value));
    }
    pairs
}

fn borrowed(pairs: &[(String, Option<Vec<u8>>)]) -> Vec<Header<'_>> {
    pairs.iter().map(|(name, value)| Header { name, value: value.as_deref() }).collect()
}

#[test]
fn headers_come_back() {
    fuzz(Plan { name: "headers", inputs: 1_000, growth: 300 }, |bytes| {
        let given = pairs(&mut Pieces(bytes));
        let mut made = Vec::new();
        properties(&borrowed(&given), |name, value| made.push((name.to_owned(), value.to_owned())));
        assert_eq!(made.len(), given.len(), "each header is one property");
        let mut names: Vec<&String> = made.iter().map(|(name, _)| name).collect();
        names.sort();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "no name is there twice");
        let back = headers(made.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        assert_eq!(back.as_ref(), Some(&given));
        let forms: Vec<&str> = names.iter().filter_map(|name| name.split('.').nth(3)).take(3).collect();
        Outcome::new(format!("{forms:?} {}", "x".repeat(given.len().min(9))))
    });
}

#[test]
fn properties_of_anybody_become_headers_or_nothing() {
    fuzz(Plan { name: "properties", inputs: 2_000, growth: 300 }, |bytes| {
        let mut pieces = Pieces(bytes);
        let mut given = Vec::new();
        while !pieces.is_empty() {
            let (name, value) = (pieces.text(), pieces.text());
            given.push((name, value));
        }
        let Some(found) = headers(given.iter().map(|(name, value)| (name.as_str(), value.as_str()))) else {
            return Outcome::new("nothing that we make");
        };
        // What they are is told again, and comes back.
        let mut made = Vec::new();
        properties(&borrowed(&found), |name, value| made.push((name.to_owned(), value.to_owned())));
        let again = headers(made.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        assert_eq!(again, Some(found.clone()));
        let encoded = made.iter().filter(|(name, _)| name.starts_with("bridge.")).count();
        let nulls = found.iter().filter(|(_, value)| value.is_none()).count();
        Outcome::new(format!("{:?}", [found.len(), encoded, nulls].map(|count| "x".repeat(count.min(4)))))
    });
}

#[test]
fn dead_letters_hold_the_record() {
    fuzz(Plan { name: "dead-letter", inputs: 10_000, growth: 300 }, |bytes| {
        let mut pieces = Pieces(bytes);
        let flags = pieces.byte();
        let (key, value) = (pieces.bytes(), pieces.bytes());
        let (offset, time) = (pieces.number() >> 1, pieces.number().max(1));
        let (path, detail) = (pieces.text(), pieces.text());
        let source =
            SourcePartition { cluster_id: pieces.text(), topic: pieces.text(), partition: pieces.number() as u32 };
        let given = pairs(&mut pieces);
        let error = TranslateError { cause: Cause::ALL[usize::from(flags >> 4)], path, detail };
        let reason = if flags & 1 == 0 { Reason::Untranslatable(&error) } else { Reason::TooLarge { limit_bytes: 9 } };
        let headers_given = borrowed(&given);
        let record = Record {
            offset,
            timestamp_ms: (flags & 2 == 0).then_some(time),
            key: (flags & 4 == 0).then_some(key),
            value: (flags & 8 == 0).then_some(value),
            headers: &headers_given,
        };
        let origin = Origin { stream: "s", source: &source, contract: None };
        let letter = DeadLetter::new(origin, &record, reason);

        let mut builder = BatchBuilder::new();
        let message = OutgoingMessage {
            sequence_id: offset,
            key: record.key,
            event_time_ms: letter.event_time_ms,
            value: Some(letter.body),
        };
        let mut letters = Vec::from_iter(letter.properties.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        builder.push(&message, letters.iter().copied());
        let seal = Seal {
            producer_name: "p",
            producer_id: 1,
            publish_time_ms: 1,
            compression: Compression::None,
            schema_version: None,
        };
        let frame = builder.seal(&seal).expect("nothing is compressed");
        let stored = frame.bytes().slice(frame.len_bytes() - frame.body_bytes()..);
        let entry = Entry::decode(MessageId { ledger: 1, entry: 1 }, stored).expect("what we write");
        let batch = entry.batch().expect("what we write");
        let back = batch.messages().next().expect("one").expect("what we write");

        let property =
            |name: &str| back.properties().find(|(known, _)| *known == name).map(|(_, value)| value.to_owned());
        assert_eq!(property(dead_letter::CAUSE).as_deref(), Some(reason.cause()));
        assert_eq!(property(dead_letter::OFFSET), Some(offset.to_string()));
        assert_eq!(property(dead_letter::TOPIC).as_ref(), Some(&source.topic));
        assert_eq!(property(dead_letter::SIZE), Some(record.value.map_or(0, <[u8]>::len).to_string()));
        assert_eq!(back.value, record.value.unwrap_or_default());
        assert_eq!(back.event_time_ms, record.timestamp_ms);
        let names: Vec<&str> = back.properties().map(|(name, _)| name).collect();
        if property(dead_letter::OMITTED).is_none() {
            assert_eq!(headers(back.properties()), Some(given.clone()));
            letters.sort();
            assert!(letters.windows(2).all(|pair| pair[0].0 != pair[1].0), "no name is there twice: {names:?}");
        }
        Outcome { kind: format!("{} {}", reason.cause(), property(dead_letter::OMITTED).is_some()), bytes: 4096 }
    });
}

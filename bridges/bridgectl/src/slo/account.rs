//! What was seen on both sides, added up. Pure: times come in with what was seen.

use std::collections::BTreeMap;

use bridge_common::config::rfc3339;
use bridge_common::lane::OffsetSet;
use bridge_common::record::Offset;
use serde_json::{Value, json};

use super::latencies::Latencies;

/// How many missing records are named.
const NAMED: usize = 20;

/// A source partition: topic and number.
pub(super) type Place = (String, u32);

/// A message in the target or in the dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Arrived {
    /// The source partition and the offset that it comes from.
    pub(super) place: Place,
    pub(super) offset: Offset,
    /// The source's stamp.
    pub(super) stamp_ms: Option<u64>,
    /// When it was published: by the broker's clock where brokers note it, else by the bridge's.
    pub(super) published_ms: u64,
    /// When a reader had it; `None` where it was read later.
    pub(super) read_ms: Option<u64>,
    pub(super) kind: Kind,
}

/// What kind of message it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Mirrored,
    /// Sent by a repair: its order is not claimed, and its time is that of the repair.
    Repaired,
    /// Was a dead letter before.
    Redriven,
    DeadLetter,
}

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Account {
    source_to_publish: Latencies,
    publish_to_reader: Latencies,
    source_to_reader: Latencies,
    /// By the topic: what a plain consumer of the source saw.
    consumers: BTreeMap<String, Latencies>,
    kinds: [u64; 4],
    expected: BTreeMap<Place, OffsetSet>,
    found: BTreeMap<Place, OffsetSet>,
}

impl Account {
    /// A message of ours.
    pub(super) fn arrived(&mut self, message: &Arrived) {
        self.kinds[message.kind as usize] += 1;
        self.found.entry(message.place.clone()).or_default().insert(message.offset);
        // What was repaired or redriven says nothing of how long the way takes.
        let Some(stamp_ms) = message.stamp_ms.filter(|_| message.kind == Kind::Mirrored) else { return };
        self.source_to_publish.add(stamp_ms, message.published_ms);
        if let Some(read_ms) = message.read_ms {
            self.publish_to_reader.add(message.published_ms, read_ms);
            self.source_to_reader.add(stamp_ms, read_ms);
        }
    }

    /// A record, as a plain consumer of the source had it.
    pub(super) fn consumed(&mut self, place: &Place, offset: Offset, stamp_ms: Option<u64>, read_ms: u64) {
        self.expected.entry(place.clone()).or_default().insert(offset);
        let latencies = self.consumers.entry(place.0.clone()).or_default();
        if let Some(stamp_ms) = stamp_ms {
            latencies.add(stamp_ms, read_ms);
        }
    }

    /// Records that a consumer of the source had, and that are neither in the target nor dead letters: how many, and the first.
    pub(super) fn missing(&self) -> (u64, Vec<String>) {
        let (mut count, mut named) = (0, Vec::new());
        for ((topic, partition), expected) in &self.expected {
            let found = self.found.get(&(topic.clone(), *partition)).map_or(&[][..], OffsetSet::ranges);
            for (lowest, highest) in lacking(expected.ranges(), found) {
                count += highest - lowest + 1;
                let room = NAMED - named.len();
                named.extend((lowest..=highest).take(room).map(|offset| format!("{topic}/{partition}/{offset}")));
            }
        }
        (count, named)
    }

    /// Whether nothing was seen in the target at all.
    pub(super) fn is_empty(&self) -> bool {
        self.kinds.iter().all(|count| *count == 0)
    }

    /// A format that others read, described in the README: fields are only added.
    pub(super) fn to_json(&self, about: &About) -> Value {
        let of = |kind: Kind| self.kinds[kind as usize];
        let all: u64 = self.kinds.iter().sum();
        let (missing, named) = self.missing();
        let consumers: Vec<Value> = self
            .consumers
            .iter()
            .map(|(topic, latencies)| {
                let records: u64 =
                    self.expected.iter().filter(|((of, _), _)| of == topic).map(|(_, set)| count(set)).sum();
                json!({ "topic": topic, "records": records, "source_to_consumer_ms": latencies.to_json() })
            })
            .collect();
        json!({
            "format": "stream-bridges/slo", "version": 1, "stream": about.stream, "mode": about.mode,
            "from": rfc3339(about.from_ms), "until": rfc3339(about.until_ms),
            "target": {
                "records": of(Kind::Mirrored) + of(Kind::Repaired) + of(Kind::Redriven),
                "repaired": of(Kind::Repaired), "redriven": of(Kind::Redriven),
                "source_to_publish_ms": self.source_to_publish.to_json(),
                "publish_to_reader_ms": self.publish_to_reader.to_json(),
                "source_to_reader_ms": self.source_to_reader.to_json(),
            },
            "sources": consumers,
            "errors": {
                "dead_letters": of(Kind::DeadLetter),
                "dead_letter_ratio": (all > 0).then(|| of(Kind::DeadLetter) as f64 / all as f64),
                "missing": about.can_miss.then_some(missing),
                "missing_positions": if about.can_miss { named } else { Vec::new() },
            },
        })
    }

    /// The lines for a person.
    pub(super) fn table(&self) -> Vec<Vec<String>> {
        let head = ["", "RECORDS", "P50 MS", "P95 MS", "P99 MS"].map(str::to_owned).to_vec();
        let line = |name: String, latencies: &Latencies| {
            let cell = |share: f64| latencies.quantile(share).map_or("-".to_owned(), |ms| ms.to_string());
            vec![name, latencies.count().to_string(), cell(0.5), cell(0.95), cell(0.99)]
        };
        let mut lines = vec![
            head,
            line("source's stamp -> published".to_owned(), &self.source_to_publish),
            line("published -> reader of the target".to_owned(), &self.publish_to_reader),
            line("source's stamp -> reader of the target".to_owned(), &self.source_to_reader),
        ];
        let consumers = self.consumers.iter();
        lines.extend(
            consumers.map(|(topic, latencies)| line(format!("source's stamp -> consumer of {topic}"), latencies)),
        );
        lines
    }
}

/// What of the expected ranges no found one covers. By ranges: it is asked for again and again, of millions of offsets.
fn lacking(expected: &[(Offset, Offset)], found: &[(Offset, Offset)]) -> Vec<(Offset, Offset)> {
    let mut lacking = Vec::new();
    for (lowest, highest) in expected {
        let mut next = *lowest;
        let first = found.partition_point(|range| range.1 < *lowest);
        for (from, to) in found[first..].iter().take_while(|range| range.0 <= *highest) {
            if *from > next {
                lacking.push((next, from - 1));
            }
            next = to + 1;
        }
        if next <= *highest {
            lacking.push((next, *highest));
        }
    }
    lacking
}

fn count(set: &OffsetSet) -> u64 {
    set.ranges().iter().map(|(lowest, highest)| highest - lowest + 1).sum()
}

/// What a report is about.
#[derive(Debug, Clone)]
pub(super) struct About {
    pub(super) stream: String,
    /// `live` or `range`.
    pub(super) mode: &'static str,
    pub(super) from_ms: u64,
    pub(super) until_ms: u64,
    /// Whether what is missing can be told: by offsets, of sources that were read beside the target.
    pub(super) can_miss: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(partition: u32) -> Place {
        ("jobs".to_owned(), partition)
    }

    fn arrived(offset: Offset, kind: Kind) -> Arrived {
        let (stamp_ms, published_ms, read_ms) = (Some(1000), 1020, Some(1025));
        Arrived { place: place(0), offset, stamp_ms, published_ms, read_ms, kind }
    }

    fn about(can_miss: bool) -> About {
        About { stream: "demo".into(), mode: "live", from_ms: 0, until_ms: 60_000, can_miss }
    }

    #[test]
    fn what_the_source_s_consumer_had_and_nobody_else_is_missing() {
        let mut account = Account::default();
        (10..14).for_each(|offset| account.consumed(&place(0), offset, Some(1000), 1003));
        account.consumed(&place(1), 10, Some(1000), 1003);
        account.arrived(&arrived(10, Kind::Mirrored));
        account.arrived(&arrived(11, Kind::DeadLetter));
        account.arrived(&arrived(12, Kind::Repaired));
        // Before the consumer had begun.
        account.arrived(&arrived(9, Kind::Mirrored));
        assert_eq!(account.missing(), (2, vec!["jobs/0/13".to_owned(), "jobs/1/10".to_owned()]));
        assert_eq!(
            account.to_json(&about(false))["errors"]["missing"],
            Value::Null,
            "not claimed where it cannot be known"
        );
    }

    #[test]
    fn what_lacks_is_told_by_ranges() {
        let found = [(0, 3), (6, 6), (9, 12), (20, 30)];
        assert_eq!(lacking(&[(2, 10)], &found), [(4, 5), (7, 8)]);
        assert_eq!(lacking(&[(5, 6), (12, 14), (25, 40)], &found), [(5, 5), (13, 14), (31, 40)]);
        assert!(lacking(&[(1, 2), (21, 29)], &found).is_empty());
        assert_eq!(lacking(&[(7, 8)], &[]), [(7, 8)]);
    }

    /// The go/no-go report reads it.
    #[test]
    fn the_json_is_golden() {
        let mut account = Account::default();
        account.consumed(&place(0), 10, Some(1000), 1003);
        account.arrived(&arrived(10, Kind::Mirrored));
        account.arrived(&arrived(8, Kind::Redriven));
        let ms = |count: u64, ms: u64| json!({ "count": count, "mean": ms as f64, "p50": ms, "p95": ms, "p99": ms, "max": ms, "skewed": 0 });
        let golden = json!({
            "format": "stream-bridges/slo", "version": 1, "stream": "demo", "mode": "live",
            "from": "1970-01-01T00:00:00.000Z", "until": "1970-01-01T00:01:00.000Z",
            "target": {
                "records": 2, "repaired": 0, "redriven": 1, "source_to_publish_ms": ms(1, 20),
                "publish_to_reader_ms": ms(1, 5), "source_to_reader_ms": ms(1, 25),
            },
            "sources": [{ "topic": "jobs", "records": 1, "source_to_consumer_ms": ms(1, 3) }],
            "errors": { "dead_letters": 0, "dead_letter_ratio": 0.0, "missing": 0, "missing_positions": [] },
        });
        assert_eq!(account.to_json(&about(true)), golden);
    }
}

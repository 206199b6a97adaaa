//! What was found, for people and for programs. The JSON document is a stable format: its members stay, further ones may come.

use bridge_common::config::rfc3339;
use serde_json::{Value, json};

use super::VerifyArguments;
use super::desk::{Desk, UnreadableKind};
use super::facts::{Counts, Fault, Finding, Verdict};
use super::keys::{Double, Found};
use super::others::Others;
use super::queues::Queue;

/// The version of the JSON document.
pub(crate) const VERSION: u32 = 1;

/// What has been found so far, or in the end: all that a report is made of.
#[derive(Debug, Clone)]
pub(crate) struct Summary {
    /// By source partition, as the desk has them.
    pub(crate) parts: Vec<PartSummary>,
    pub(crate) keys: Found,
    pub(crate) foreign: Others,
    pub(crate) elsewhere: Others,
    pub(crate) seconds: f64,
    pub(crate) target_messages: u64,
    pub(crate) from_beginning: bool,
}

/// Of one source partition.
#[derive(Debug, Clone)]
pub(crate) struct PartSummary {
    /// The end of what was compared, this offset not included.
    pub(crate) to: u64,
    pub(crate) counts: Counts,
    pub(crate) findings: Vec<Finding>,
    pub(crate) heat: Vec<[u32; 5]>,
}

/// One source partition.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) topic: String,
    pub(crate) partition: u32,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) counts: Counts,
    pub(crate) heat: Vec<[u32; 5]>,
}

/// A fault, by its position.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    pub(crate) fault: Fault,
    pub(crate) source_topic: String,
    pub(crate) partition: u32,
    pub(crate) offset: u64,
    /// The topic partition and the message's id there.
    pub(crate) message: Option<(String, String)>,
    pub(crate) detail: &'static str,
}

/// Everything that a comparison has found.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) stream: String,
    pub(crate) range: String,
    pub(crate) began_ms: u64,
    pub(crate) seconds: f64,
    pub(crate) verdict: Verdict,
    pub(crate) rows: Vec<Row>,
    pub(crate) totals: Counts,
    pub(crate) named: Vec<Named>,
    pub(crate) queues: Vec<Queue>,
    /// Doubles by what identifies the events: how many, and some of them.
    pub(crate) doubled_keys: (u64, Vec<(u64, String, String)>),
    pub(crate) foreign: Others,
    pub(crate) elsewhere: Others,
    pub(crate) target_messages: u64,
    pub(crate) notes: Vec<String>,
    pub(crate) not_proved: Vec<String>,
}

impl Report {
    pub(crate) fn new(desk: &Desk, summary: Summary, queues: Vec<Queue>, arguments: &VerifyArguments) -> Self {
        let named_max = arguments.named;
        let mut totals = Counts::default();
        summary.parts.iter().for_each(|part| totals.add(&part.counts));
        let row = |(part, summary): (&super::Part, &PartSummary)| Row {
            topic: part.source.topic.clone(),
            partition: part.source.partition,
            from: part.from,
            to: summary.to,
            counts: summary.counts,
            heat: summary.heat.clone(),
        };
        let rows: Vec<Row> = desk.parts.iter().zip(&summary.parts).map(row).collect();
        let mut named = Vec::new();
        for fault in Fault::ALL {
            let of_all = desk.parts.iter().zip(&summary.parts).flat_map(|(part, summary)| {
                let findings = summary.findings.iter().filter(move |finding| finding.fault == fault);
                findings.map(move |finding| named_of(desk, part, finding))
            });
            named.extend(of_all.take(named_max));
        }
        let keys = &summary.keys;
        let messages = keys.tallies.iter().map(|tally| tally.messages).sum();
        let double = |double: &Double| {
            let (topic, id) = place_of(desk, double.at);
            (double.sequence_id, topic, id)
        };
        Self {
            stream: desk.config.stream.name.clone(),
            range: desk.range.clone(),
            began_ms: desk.now_ms,
            seconds: summary.seconds,
            verdict: Verdict::of(&totals, messages, keys.doubled, arguments.accept_before_start),
            rows,
            totals,
            named,
            queues,
            doubled_keys: (keys.doubled, keys.doubles.iter().take(named_max).map(double).collect()),
            notes: notes(&summary, &totals),
            not_proved: not_proved(desk, &summary),
            foreign: summary.foreign,
            elsewhere: summary.elsewhere,
            target_messages: summary.target_messages,
        }
    }

    /// Whether everything is where it belongs, as far as that can be told.
    pub(crate) fn is_parity(&self) -> bool {
        self.verdict == Verdict::Parity
    }

    pub(crate) fn records_per_second(&self) -> u64 {
        (self.totals.source as f64 / self.seconds.max(0.001)) as u64
    }

    /// The document.
    pub(crate) fn json(&self) -> Value {
        let row = |row: &Row| {
            let mut value = counts_json(&row.counts);
            let place = json!({"source_topic": row.topic, "partition": row.partition, "from": row.from, "to": row.to});
            if let (Value::Object(value), Value::Object(place)) = (&mut value, place) {
                value.extend(place);
            }
            value
        };
        let double = |(id, topic, message): &(u64, String, String)| json!({"sequence_id": id, "target_topic": topic, "message_id": message});
        json!({
            "version": VERSION,
            "kind": "verify",
            "stream": self.stream,
            "verdict": self.verdict.name(),
            "range": self.range,
            "began": rfc3339(self.began_ms),
            "seconds": (self.seconds * 1000.0).round() / 1000.0,
            "records_per_second": self.records_per_second(),
            "totals": counts_json(&self.totals),
            "partitions": self.rows.iter().map(row).collect::<Vec<_>>(),
            "findings": self.named.iter().map(named_json).collect::<Vec<_>>(),
            "queues": self.queues.iter().map(Queue::json).collect::<Vec<_>>(),
            "doubled_keys": {"count": self.doubled_keys.0, "named": self.doubled_keys.1.iter().map(double).collect::<Vec<_>>()},
            "target_messages_read": self.target_messages,
            "other_producers": others_json(&self.foreign),
            "elsewhere": self.elsewhere.total(),
            "elsewhere_named": others_json(&self.elsewhere)["named"],
            "notes": self.notes,
            "not_proved": self.not_proved,
        })
    }
}

fn others_json(others: &Others) -> Value {
    let named = others.named.iter().map(|(name, count)| json!({"producer": name, "messages": count}));
    json!({"messages": others.total(), "named": named.collect::<Vec<_>>()})
}

pub(crate) fn counts_json(counts: &Counts) -> Value {
    let mut value = json!({
        "source": counts.source,
        "found": counts.found,
        "repaired": counts.repaired,
        "replayed": counts.replayed,
        "dead_letters": counts.dead_letters,
        "translatable": counts.translatable,
        "redriven": counts.redriven,
        "redriven_refused": counts.redriven_refused,
        "twins": counts.twins,
        "before_start": counts.before_start,
        "not_compared": counts.not_compared,
    });
    for fault in Fault::ALL {
        value[fault.name()] = counts.of(fault).into();
    }
    value
}

/// A finding with the names of what it is about.
pub(crate) fn named_of(desk: &Desk, part: &super::Part, finding: &Finding) -> Named {
    Named {
        fault: finding.fault,
        source_topic: part.source.topic.clone(),
        partition: part.source.partition,
        offset: finding.offset,
        message: finding.at.map(|at| place_of(desk, at)),
        detail: finding.detail,
    }
}

pub(crate) fn named_json(named: &Named) -> Value {
    let (topic, id) = named.message.as_ref().map_or((None, None), |(topic, id)| (Some(topic), Some(id)));
    json!({
        "fault": named.fault.name(),
        "source_topic": named.source_topic,
        "partition": named.partition,
        "offset": named.offset,
        "target_topic": topic,
        "message_id": id,
        "detail": named.detail,
    })
}

/// The topic partition, and `ledger:entry:index` in it.
fn place_of(desk: &Desk, at: super::facts::At) -> (String, String) {
    let topic = desk.topics.get(usize::from(at.topic)).map(|topic| topic.name.clone()).unwrap_or_default();
    (topic, format!("{}:{}:{}", at.ledger, at.entry, at.index))
}

fn notes(summary: &Summary, totals: &Counts) -> Vec<String> {
    let mut notes = Vec::new();
    if totals.source == 0 && summary.keys.tallies.iter().all(|tally| tally.messages == 0) {
        notes.push("there are no records in the range: nothing was compared".to_owned());
    }
    let mut note = |count: u64, text: &str| {
        if count > 0 {
            notes.push(format!("{count} {text}"));
        }
    };
    note(
        totals.translatable - (totals.redriven - totals.redriven_refused).min(totals.translatable),
        "dead letters are what the present contract translates: `bridgectl dead-letters` redrives them",
    );
    note(
        totals.redriven_refused,
        "redriven records are what the present contract refuses, so that their content was not compared: was the contract rolled back, or is another file meant?",
    );
    note(
        totals.before_start,
        "records lie before the first that was mirrored (start = \"latest\"); that they were never mirrored cannot be told from that they are lost: --accept-before-start takes it so, --offsets names what must be there",
    );
    note(totals.twins, "records are in the target by their twins of another source");
    note(
        totals.not_compared,
        "records were found under their offsets, too late to be compared: compare a smaller range",
    );
    let late = totals.of(Fault::Missing);
    let behind = summary.parts.iter().flat_map(|part| &part.findings);
    if late > 0 && behind.clone().any(|finding| finding.detail.starts_with("behind everything")) {
        notes.push(
            "what is missing behind everything that is there is not mirrored yet: does the bridge run?".to_owned(),
        );
    }
    if summary.from_beginning {
        notes.push(
            "the target was read from its beginning; what its retention has removed counts as missing".to_owned(),
        );
    }
    notes
}

fn not_proved(desk: &Desk, summary: &Summary) -> Vec<String> {
    let mut all = vec![
        "the schema version that each message names was not compared".to_owned(),
        "records were translated and routed by the same code as the bridge's: what is wrong in both does not show"
            .to_owned(),
    ];
    for source in &desk.unreadable {
        all.push(match source.kind {
            UnreadableKind::Queue => format!(
                "queue {}: a queue gives each message once, so nothing shows that all of them arrived; the broker's counters stand beside the target's, and doubles were looked for by key and content",
                source.name
            ),
            UnreadableKind::Stream => {
                format!("RabbitMQ stream {}: it was not read again, only what the target holds of it was counted", source.name)
            }
            UnreadableKind::Polled => format!("source {}: what was polled is nowhere to be read again", source.name),
        });
    }
    if summary.keys.is_full {
        all.push(format!(
            "more keys than are remembered: doubles were looked for among the first {}",
            super::keys::KEYS_MAX
        ));
    }
    all
}

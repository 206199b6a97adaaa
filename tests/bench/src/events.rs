//! The records that all contenders move. Each carries its source partition, its number there and when it was made, in the
//! same 36 characters whatever the format: so everything that arrives can be told apart, whoever brought it.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use apache_avro::{Schema, to_avro_datum};
use bench_contenders::avro_event;
use bridge_tests::Result;
use bridge_tests::events::{Events, Shares};
use bridge_tests::streams::Stream;
use serde_json::Value;

/// How many different events there are. Far apart enough that no codec's window sees one twice.
const TEMPLATES: usize = 8_192;
/// The most text that a record of a given size is filled with before it repeats.
const POOL_BYTES: usize = 2 << 20;
/// Where the mark stands in a JSON event: behind `{"event_id":"`.
const MARK_IN_JSON: usize = 13;
/// Where it stands in an Avro event: behind the length of the first field.
const MARK_IN_AVRO: usize = 1;
/// The bytes before a datum that name its schema in a registry.
const CONFLUENT_HEADER_BYTES: usize = 5;

/// What a record says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Its partition in the source.
    pub(crate) partition: u32,
    /// Its number there, from 0.
    pub(crate) sequence: u64,
    /// When it was made, in microseconds since the epoch.
    pub(crate) micros: u64,
}

impl Mark {
    /// As long as a UUID, which it stands for.
    const LENGTH: usize = 36;
    const PREFIX: &'static [u8] = b"bench";

    fn text(self) -> String {
        format!("bench{:03}-{:010}-{:016}", self.partition, self.sequence, self.micros)
    }

    /// The mark of a body, wherever it stands in it.
    pub(crate) fn find(body: &[u8]) -> Option<Self> {
        let head = &body[..body.len().min(256)];
        let at = head.windows(Self::PREFIX.len()).position(|window| window == Self::PREFIX)?;
        Self::parse(head.get(at..at + Self::LENGTH)?)
    }

    /// All marks in this text, in their order.
    pub(crate) fn all(mut text: &[u8]) -> Vec<Self> {
        let mut marks = Vec::new();
        while text.len() >= Self::LENGTH {
            let mark = text.starts_with(Self::PREFIX).then(|| Self::parse(&text[..Self::LENGTH])).flatten();
            text = &text[if mark.is_some() { Self::LENGTH } else { 1 }..];
            marks.extend(mark);
        }
        marks
    }

    fn parse(mark: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(mark.strip_prefix(Self::PREFIX)?).ok()?;
        let mut parts = text.split('-');
        let partition = parts.next()?.parse().ok()?;
        let sequence = parts.next()?.parse().ok()?;
        Some(Self { partition, sequence, micros: parts.next()?.parse().ok()? })
    }
}

/// Now, in microseconds since the epoch.
pub(crate) fn now_micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

/// What the bodies are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    /// JSON of exactly so many bytes.
    Sized(usize),
    /// Job-lifecycle events as JSON, of about 280 B: what the contract wants, and a word of payload.
    Event,
    /// The portal's own job-lifecycle events, as JSON: about 450 B.
    LargeEvent,
    /// [`Form::Event`] under the contract, with a registry's header.
    ConfluentSame,
    /// The same under another schema, which the contract can read: other order, a further field, optional ones missing.
    ConfluentEvolved,
}

/// Makes bodies.
pub(crate) struct Bodies {
    templates: Vec<Vec<u8>>,
    mark_at: usize,
}

impl Bodies {
    /// Bodies of this form; `schema_id` is the registry's, where there is one.
    pub(crate) fn new(form: Form, schema_id: u32) -> Result<Self> {
        let events = lifecycle_events();
        let templates = match form {
            Form::Sized(bytes) => sized(&events, bytes),
            Form::Event => small(&events)?,
            Form::LargeEvent => events,
            Form::ConfluentSame | Form::ConfluentEvolved => {
                confluent(&small(&events)?, &writer_schema(form)?, schema_id)?
            }
        };
        let mark_at = match form {
            Form::Sized(_) | Form::Event | Form::LargeEvent => MARK_IN_JSON,
            Form::ConfluentSame | Form::ConfluentEvolved => CONFLUENT_HEADER_BYTES + MARK_IN_AVRO,
        };
        Ok(Self { templates, mark_at })
    }

    /// The body that carries this mark, until the next is asked for.
    pub(crate) fn body(&mut self, mark: Mark) -> &[u8] {
        let which =
            (mark.sequence as usize).wrapping_mul(5).wrapping_add(mark.partition as usize) % self.templates.len();
        let body = &mut self.templates[which];
        body[self.mark_at..self.mark_at + Mark::LENGTH].copy_from_slice(mark.text().as_bytes());
        body
    }

    /// The mean size of a body.
    pub(crate) fn mean_bytes(&self) -> f64 {
        self.templates.iter().map(Vec::len).sum::<usize>() as f64 / self.templates.len() as f64
    }
}

/// Sound events of the portal, as JSON.
fn lifecycle_events() -> Vec<Vec<u8>> {
    let shares = Shares { broken: 0.0, many_fields: 0.0, tombstones: 0.0, repeated: 0.0, too_large_every: 0 };
    let mut events = Events::new(Stream::JobLifecycle, 1, shares);
    let now = bridge_tests::events::now_ms();
    (0..TEMPLATES as u64)
        .map(|number| {
            events.advance(now + number);
            events.value().unwrap_or_default().to_vec()
        })
        .collect()
}

/// The same events with what the contract wants alone: of the payload the job and the first thing that is said of it.
fn small(events: &[Vec<u8>]) -> Result<Vec<Vec<u8>>> {
    events.iter().map(|event| small_event(&serde_json::from_slice(event)?)).collect()
}

fn small_event(event: &Value) -> Result<Vec<u8>> {
    let said = match event["event_type"].as_str() {
        Some("job.submitted") => "job_name",
        Some("job.status.changed") => "new_status",
        Some("job.completed") => "execution_time_ms",
        Some("job.failed") => "error_code",
        _ => "cancelled_by",
    };
    let payload = &event["payload"];
    let (job, said_of_it) = (&payload["job_id"], &payload[said]);
    if job.is_null() || said_of_it.is_null() {
        return Err(format!("an event has no payload.job_id or no payload.{said}").into());
    }
    let mut text = String::from("{");
    for name in ["event_id", "event_type", "timestamp", "correlation_id", "user_id"] {
        // Written by hand: serde_json would sort the members, and the mark stands in the first.
        write!(text, "\"{name}\":{},", event[name])?;
    }
    write!(text, "\"payload\":{{\"job_id\":{job},\"{said}\":{said_of_it}}}}}")?;
    Ok(text.into_bytes())
}

/// JSON objects of exactly so many bytes, with the text of events in them.
fn sized(events: &[Vec<u8>], bytes: usize) -> Vec<Vec<u8>> {
    let text: Vec<u8> =
        events.iter().flatten().copied().filter(|byte| byte.is_ascii() && !matches!(byte, b'"' | b'\\')).collect();
    let filler = bytes.saturating_sub(MARK_IN_JSON + Mark::LENGTH + 12).max(1);
    let count = (POOL_BYTES / bytes).clamp(4, TEMPLATES);
    (0..count)
        .map(|number| {
            let mut body = b"{\"event_id\":\"".to_vec();
            body.extend_from_slice(&[b'0'; Mark::LENGTH]);
            body.extend_from_slice(b"\",\"data\":\"");
            body.extend(text.iter().cycle().skip(number * filler % text.len()).take(filler));
            body.extend_from_slice(b"\"}");
            body
        })
        .collect()
}

/// The contract of the events.
pub(crate) fn contract() -> Result<String> {
    Ok(std::fs::read_to_string(Stream::JobLifecycle.contract())?)
}

/// The schema that a form is written with.
pub(crate) fn writer_schema(form: Form) -> Result<Value> {
    let contract: Value = serde_json::from_str(&contract()?)?;
    if form != Form::ConfluentEvolved {
        return Ok(contract);
    }
    let field = |name: &str, kind: &str| serde_json::json!({"name": name, "type": kind});
    Ok(serde_json::json!({
        "type": "record", "name": "JobLifecycleEvent", "namespace": "com.cosmichorizons.events",
        "fields": [
            field("event_id", "string"), field("payload", "string"), field("region", "string"),
            field("schema_version", "int"), field("timestamp", "string"), field("event_type", "string"),
            field("user_id", "string"), field("correlation_id", "string"), field("attempt", "long"),
        ],
    }))
}

fn confluent(events: &[Vec<u8>], schema: &Value, schema_id: u32) -> Result<Vec<Vec<u8>>> {
    let parsed = Schema::parse(schema)?;
    let datum = |event: &Vec<u8>| {
        let mut body = vec![0];
        body.extend_from_slice(&schema_id.to_be_bytes());
        body.extend_from_slice(&to_avro_datum(&parsed, avro_event(event, schema)?)?);
        Ok(body)
    };
    events.iter().map(datum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_of_any_form_carries_its_mark() {
        let mark = Mark { partition: 7, sequence: 1_234, micros: 1_700_000_000_123_456 };
        for form in [
            Form::Sized(100),
            Form::Sized(280),
            Form::Event,
            Form::LargeEvent,
            Form::ConfluentSame,
            Form::ConfluentEvolved,
        ] {
            let mut bodies = Bodies::new(form, 5).unwrap();
            let body = bodies.body(mark).to_vec();
            assert_eq!(Mark::find(&body), Some(mark), "{form:?}");
            assert_eq!(Mark::all(&[body.as_slice(), b"bench", &body].concat()), [mark, mark], "{form:?}");
            if let Form::Sized(bytes) = form {
                assert_eq!(body.len(), bytes);
            }
            if matches!(form, Form::Sized(_) | Form::Event | Form::LargeEvent) {
                serde_json::from_slice::<Value>(&body).unwrap();
            }
        }
    }
    #[test]
    fn events_are_as_large_as_the_titles_say() {
        for (form, bytes) in [
            (Form::Event, 280.0),
            (Form::LargeEvent, 447.0),
            (Form::ConfluentSame, 248.0),
            (Form::ConfluentEvolved, 219.0),
        ] {
            let mean = Bodies::new(form, 5).unwrap().mean_bytes();
            assert!((mean - bytes).abs() < 0.02 * bytes, "{form:?}: {mean:.0} B, and not {bytes} B");
        }
    }

    #[test]
    fn a_small_event_is_what_the_contract_reads() {
        use bridge_common::record::{Coordinates, SourcePartition};
        use bridge_common::translate::{Contract, Drift, JsonPlan, OnUnknownField, Scratch};
        let contract = Contract::parse(&contract().unwrap()).unwrap();
        let plan = JsonPlan::compile(&contract, OnUnknownField::Count).unwrap();
        let source = SourcePartition { cluster_id: "c".into(), topic: "t".into(), partition: 0 };
        let (mut scratch, mut drift) = (Scratch::default(), Drift::new());
        for body in small(&lifecycle_events()).unwrap() {
            let coordinates = Coordinates { source: &source, offset: 0 };
            plan.translate(&mut scratch, &body, &coordinates, &mut Vec::new(), &mut drift).unwrap();
        }
    }
}

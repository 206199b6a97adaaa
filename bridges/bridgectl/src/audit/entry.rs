//! What an entry of the operations log says: JSON, a format that others read. Fields are only ever added; what changes
//! its meaning raises `version`.
//!
//! | field | |
//! |---|---|
//! | `version` | 1 |
//! | `operation` | the operation's id: its two entries have the same |
//! | `phase` | `intent` (before) or `outcome` (after) |
//! | `at` | when, RFC 3339 in UTC |
//! | `who`, `account` | who asked (`--as`), and the system's user and host |
//! | `verb`, `stream` | what was asked, and of which stream |
//! | `arguments` | how, as JSON; never a secret, never a record's body or key |
//! | `bridgectl` | the version of the tool |
//! | `result` | of an outcome: `done` or `failed` |
//! | `detail` | of an outcome: what came of it, or the error in words |

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bridge_common::config::rfc3339;
use serde_json::{Map, Value, json};

use super::who::Who;

/// The version of the format.
const VERSION: u32 = 1;

/// What an operator is about to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Operation {
    verb: &'static str,
    stream: String,
    arguments: Value,
}

impl Operation {
    /// By the verb as it is typed (`checkpoint set`), the stream, and what else was asked. The arguments are kept for ever:
    /// no secrets, no bodies, no keys of records.
    pub(crate) fn new(verb: &'static str, stream: &str, arguments: Value) -> Self {
        Self { verb, stream: stream.to_owned(), arguments }
    }
}

/// One entry.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    /// The operation's id.
    pub(super) operation: String,
    pub(super) stream: String,
    pub(super) at_ms: u64,
    /// 1 for the intent, 2 for the outcome: the sequence id of the message.
    pub(super) number: u64,
    json: Map<String, Value>,
}

impl Entry {
    /// What is written before.
    pub(super) fn intent(operation: Operation, who: Who, now_ms: u64) -> Self {
        let Operation { verb, stream, arguments } = operation;
        let id = fresh_id(now_ms);
        let json = json!({
            "version": VERSION, "operation": id, "phase": "intent", "at": rfc3339(now_ms), "who": who.name, "account": who.account,
            "verb": verb, "stream": stream, "arguments": arguments, "bridgectl": env!("CARGO_PKG_VERSION"),
        });
        let json = json.as_object().cloned().unwrap_or_default();
        Self { operation: id, stream, at_ms: now_ms, number: 1, json }
    }

    /// What is written after.
    pub(super) fn outcome(&self, result: Result<&Value, &str>, now_ms: u64) -> Self {
        let mut json = self.json.clone();
        let (result, detail) = match result {
            Ok(detail) => ("done", detail.clone()),
            Err(problem) => ("failed", json!(problem)),
        };
        for (field, value) in
            [("phase", json!("outcome")), ("at", json!(rfc3339(now_ms))), ("result", json!(result)), ("detail", detail)]
        {
            json.insert(field.to_owned(), value);
        }
        Self { at_ms: now_ms, number: 2, json, ..self.clone() }
    }

    /// As it is written.
    pub(super) fn to_json(&self) -> Value {
        Value::Object(self.json.clone())
    }
}

/// An id that no other operation has: the time, the process, and a number.
fn fresh_id(now_ms: u64) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
    format!("{now_ms}-{}-{nanos}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intent() -> Entry {
        let who = Who { name: "ada".into(), account: "root@host".into() };
        Entry::intent(Operation::new("checkpoint set", "demo", json!({ "partition": 3 })), who, 1_700_000_000_000)
    }

    /// Others read it for years.
    #[test]
    fn the_format_is_golden() {
        let intent = intent();
        let mut json = intent.to_json();
        json["operation"] = "id".into();
        json["bridgectl"] = "0.1.0".into();
        let golden = json!({
            "version": 1, "operation": "id", "phase": "intent", "at": "2023-11-14T22:13:20.000Z", "who": "ada",
            "account": "root@host", "verb": "checkpoint set", "stream": "demo", "arguments": { "partition": 3 },
            "bridgectl": "0.1.0",
        });
        assert_eq!(json, golden);
        let outcome = intent.outcome(Err("no"), 1_700_000_001_000).to_json();
        assert_eq!(outcome["operation"], intent.to_json()["operation"]);
        assert_eq!(
            (&outcome["phase"], &outcome["result"], &outcome["detail"]),
            (&json!("outcome"), &json!("failed"), &json!("no"))
        );
        assert_eq!(outcome["at"], "2023-11-14T22:13:21.000Z");
        let done = intent.outcome(Ok(&json!({ "n": 1 })), 0).to_json();
        assert_eq!((&done["result"], &done["detail"]["n"]), (&json!("done"), &json!(1)));
    }

    #[test]
    fn operations_of_one_moment_have_ids_of_their_own() {
        assert_ne!(intent().operation, intent().operation);
    }
}

//! What sources send besides bodies: RabbitMQ's first frame and headers, and the figures that are polled.

use bridge_common::fuzzing;
use serde_json::Value;

use crate::engine::{Outcome, Plan, fuzz};

#[test]
fn rabbit_hello() {
    fuzz(Plan { name: "rabbit-hello", inputs: 20_000, growth: 100 }, |bytes| match fuzzing::rabbit_hello(bytes) {
        Some((name, version)) => {
            // A byte that is no UTF-8 becomes a sign of three.
            assert!(name.len() + version.len() <= 3 * bytes.len());
            Outcome::new(format!("{} {}", name.is_empty(), version.is_empty()))
        }
        None => Outcome::new("nothing"),
    });
}

#[test]
fn rabbit_headers() {
    fuzz(Plan { name: "rabbit-headers", inputs: 20_000, growth: 200 }, |bytes| {
        let Some(headers) = fuzzing::rabbit_headers(bytes) else { return Outcome::new("no table") };
        let values: usize = headers.iter().filter_map(|(_, value)| *value).sum();
        assert!(values <= 32 * bytes.len() + 1024, "{values} bytes of values");
        Outcome { kind: "x".repeat(headers.len().min(8)), bytes: values }
    });
}

#[test]
fn poll_record() {
    fuzz(Plan { name: "poll", inputs: 4_000, growth: 100 }, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let (before, now) = text.split_once("\n===\n").unwrap_or(("", &text));
        let mut kind = String::new();
        for of_pulsar in [true, false] {
            let record = match fuzzing::poll_record(of_pulsar, before, now) {
                Ok(record) => record,
                Err(error) => {
                    kind += &error;
                    continue;
                }
            };
            let record: Value = serde_json::from_str(&record).expect("a record is JSON");
            let quality = record["quality"].as_object().expect("it is there");
            for (name, quality) in quality {
                let value = &record[name];
                assert_eq!(quality == "missing", value.is_null(), "{name}");
                let is_sound = value.as_f64().is_none_or(|value| value >= 0.0 && value.is_finite());
                assert!(is_sound, "{name}: {value}");
                kind += if value.is_null() { "-" } else { "x" };
            }
        }
        Outcome { kind, bytes: 4096 }
    });
}

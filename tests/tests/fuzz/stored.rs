//! What was stored by others, or by an earlier version: checkpoints, schemas and the registry's words.

use bridge_common::fuzzing;
use bridge_common::lane::Checkpoint;

use crate::engine::{Outcome, Plan, fuzz};

#[test]
fn checkpoint() {
    fuzz(Plan { name: "checkpoint", inputs: 20_000, growth: 100 }, |bytes| {
        let stored = match fuzzing::checkpoint(bytes) {
            Ok(stored) => stored,
            Err(error) => return Outcome::new(error.chars().take(24).collect::<String>()),
        };
        let text = serde_json::to_vec(&stored).expect("plain data");
        assert_eq!(fuzzing::checkpoint(&text), Ok(stored.clone()), "what we write is what we read");
        let Checkpoint { version, routing, repairs, former, .. } = &stored.checkpoint;
        if *version <= Checkpoint::VERSION {
            // What the core relies on.
            let lanes = routing.lanes(0).len();
            assert!(repairs.iter().all(|repair| repair.lane.0 < lanes && repair.lowest <= repair.highest));
        }
        let stamp = stored.stamp.is_some();
        Outcome { kind: format!("{stamp} {} {}", !repairs.is_empty(), !former.is_empty()), bytes: text.len() }
    });
}

#[test]
fn registry_answer() {
    fuzz(Plan { name: "registry", inputs: 20_000, growth: 100 }, |bytes| {
        // The status, then the body.
        let (status, body) = bytes.split_first_chunk::<2>().unwrap_or((&[0, 200], bytes));
        let status = u16::from_be_bytes(*status);
        match fuzzing::registry_answer(status, body) {
            Ok((schema, references)) => {
                assert!((200..300).contains(&status), "only success brings a schema");
                assert!(schema.len() <= body.len() && references <= body.len());
                Outcome::new(format!("a schema {}", references > 0))
            }
            Err(words) => {
                assert!(words.chars().count() < 900, "an error is short: {words}");
                // "Unknown" makes dead letters: only a registry says it, and only with 404.
                let is_permanent = words.starts_with("schema id 7:");
                assert!(!is_permanent || status == 404);
                Outcome::new(format!("{is_permanent} {}", words.split(' ').take(2).last().unwrap_or_default().len()))
            }
        }
    });
}

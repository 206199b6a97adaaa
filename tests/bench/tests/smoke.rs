//! The benchmark itself, on a few thousand records: every kind of run ends with its figures, and the account adds up.
//! `tests/run` runs it; by hand: `cargo build -p bench-contenders && cargo test -p bridge-bench --test smoke -- --ignored
//! --nocapture`. Budget: 90 s.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

use bridge_tests::bridge::binaries;
use bridge_tests::stack::{repository, unique};
use serde_json::Value;

/// The entries of a scenario's results: contender and first row.
fn rows(directory: &Path, scenario: &str) -> Vec<(String, Value)> {
    let text = std::fs::read_to_string(directory.join(scenario).with_extension("json")).unwrap();
    let results: Value = serde_json::from_str(&text).unwrap();
    let entries = results["entries"].as_array().unwrap();
    entries.iter().map(|entry| (entry["contender"].as_str().unwrap().to_owned(), entry["rounds"][0].clone())).collect()
}

#[test]
#[ignore = "needs real brokers"]
fn a_few_thousand_records_pass_every_contender_and_are_accounted_for() {
    let program = Path::new(env!("CARGO_BIN_EXE_bridge-bench"));
    let out = repository().join("target").join(unique("bench-smoke"));
    let status = Command::new(program)
        .args([
            "run",
            "--scale",
            "smoke",
            "--only",
            "kafka-bytes,json-to-avro,latency,kills",
            "--contenders",
            "bridge,plain-loop,read-only",
        ])
        .arg("--binaries")
        .arg(binaries().unwrap())
        .arg("--own-contenders")
        .arg(program.with_file_name("bench-contenders"))
        .arg("--out")
        .arg(&out)
        .status()
        .unwrap();
    assert!(status.success(), "a run failed: {status}");

    for scenario in ["kafka-bytes", "json-to-avro"] {
        let speeds = rows(&out, scenario);
        let who: Vec<_> = speeds.iter().map(|(who, _)| who.as_str()).collect();
        assert_eq!(who, ["bridge", "plain-loop", "read-only"]);
        for (who, row) in &speeds {
            assert!(row["rate"].as_f64().is_some_and(|rate| rate > 0.0), "{who}: {row}");
            assert!(row["peak_rss"].as_f64().is_some_and(|rss| rss > 1.0), "{who}: {row}");
        }
    }
    let late = rows(&out, "latency");
    assert_eq!(late.len(), 3, "{late:?}");
    for (who, row) in late.iter().filter(|(who, _)| who != "read-only") {
        let millis = |figure: &str| row[figure].as_f64().unwrap_or_else(|| panic!("{who} has no {figure}: {row}"));
        assert!(millis("sent_p50") > 0.0 && millis("publish_p50") > 0.0, "{who}: {row}");
        assert!(millis("p50") >= millis("sent_p50"), "a receipt comes behind the sending, {who}: {row}");
        assert!(millis("p50") <= millis("p99") && millis("p99") <= millis("p999"), "{who}: {row}");
        assert!(millis("consumer_p50") > 0.0, "{who}: {row}");
    }
    let kills = rows(&out, "kills");
    assert_eq!(kills.len(), 1, "at this scale our bridge alone is killed");
    for figure in ["lost", "doubled", "reordered"] {
        assert_eq!(kills[0].1[figure], 0.0, "{kills:?}");
    }
    assert!(out.join("results.md").is_file() && out.join("chart.svg").is_file());
    std::fs::remove_dir_all(out).unwrap();
}

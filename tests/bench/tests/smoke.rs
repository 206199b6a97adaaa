//! The benchmark itself, on a few thousand records: every kind of run ends with its figures, and the account adds up.
//! `tests/run` runs it; by hand: `cargo test -p bridge-bench --test smoke -- --ignored --nocapture`. Budget: 60 s.

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
    let out = repository().join("target").join(unique("bench-smoke"));
    let status = Command::new(env!("CARGO_BIN_EXE_bridge-bench"))
        .args(["run", "--scale", "smoke", "--only", "kafka-bytes,kills", "--contenders", "bridge,plain-loop,read-only"])
        .arg("--binaries")
        .arg(binaries().unwrap())
        .arg("--out")
        .arg(&out)
        .status()
        .unwrap();
    assert!(status.success(), "a run failed: {status}");

    let speeds = rows(&out, "kafka-bytes");
    assert_eq!(speeds.iter().map(|(who, _)| who.as_str()).collect::<Vec<_>>(), ["bridge", "plain-loop", "read-only"]);
    for (who, row) in &speeds {
        assert!(row["rate"].as_f64().is_some_and(|rate| rate > 0.0), "{who}: {row}");
        assert!(row["peak_rss"].as_f64().is_some_and(|rss| rss > 1.0), "{who}: {row}");
    }
    let kills = rows(&out, "kills");
    assert_eq!(kills.len(), 1, "at this scale our bridge alone is killed");
    for figure in ["lost", "doubled", "reordered"] {
        assert_eq!(kills[0].1[figure], 0.0, "{kills:?}");
    }
    assert!(out.join("results.md").is_file() && out.join("chart.svg").is_file());
    std::fs::remove_dir_all(out).unwrap();
}

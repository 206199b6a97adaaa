use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::facts::{Facts, Said, SourceFacts};
use super::figures::Figures;
use super::{Picture, Row};

fn partition(number: u32, state: &str, lag: u64) -> Value {
    json!({ "topic": "jobs", "partition": number, "state": state, "lag_records": lag, "lag_seconds": lag as f64 })
}

fn said(state: &str, partitions: Vec<Value>) -> Said {
    let figures = |received: f64| Figures { received, published: received, ..Figures::default() };
    Said {
        status: json!({ "state": state, "partitions": partitions, "last_error": null }),
        unready: None,
        figures: figures(300.0),
        before: Some((figures(100.0), 2.0)),
    }
}

fn facts(replicas: Vec<Result<Said, String>>) -> Facts {
    let replicas = replicas.into_iter().enumerate().map(|(n, said)| (format!("http://10.0.0.{n}:9464"), said));
    let behind = BTreeMap::from([(0, 5), (1, 7)]);
    let source = SourceFacts { name: "jobs".to_owned(), behind, oldest_seconds: Some(90.0) };
    let (stream, replicas) = ("demo".to_owned(), replicas.collect());
    Facts { stream, replicas, sources: vec![source], has_all_sources: true, ..Facts::default() }
}

#[test]
fn a_bridge_that_runs_is_summed_up_over_its_replicas() {
    let one = said("running", vec![partition(0, "running", 3)]);
    let two = said("running", vec![partition(1, "running", 4)]);
    let row = Row::of(&facts(vec![Ok(one), Ok(two)]));
    assert_eq!((row.state.as_str(), row.replicas, row.in_per_second), ("running", (2, 2), Some(200.0)));
    assert_eq!((row.lag_records, row.lag_seconds), (Some(7), Some(4.0)), "by the bridge's own word");
    assert!(row.is_well());
}

#[test]
fn a_dead_bridge_is_dead_and_has_the_lag_that_the_brokers_tell() {
    let mut facts = facts(vec![Err("nothing listens there".to_owned())]);
    facts.dead_letters = Some(3);
    let row = Row::of(&facts);
    assert_eq!((row.state.as_str(), row.replicas, row.dead_letters), ("dead", (0, 1), Some(3)));
    assert_eq!((row.lag_records, row.lag_seconds, row.in_per_second), (Some(12), Some(90.0), None));
    assert_eq!(row.problems, ["http://10.0.0.0:9464: nothing listens there"]);
    let picture = Picture::of(vec![facts]);
    assert_eq!(picture.exit().code(), 1);
    let text = picture.text();
    assert!(text.contains("demo    dead   0/1       -     -      12   90.0 s"), "{text}");
    assert!(text.contains("only a bridge that runs can tell"), "{text}");
    assert_eq!(picture.json()["bridges"][0]["replicas"][0]["state"], "dead");
}

#[test]
fn with_the_brokers_down_too_the_lag_is_unknown_and_not_none() {
    let mut facts = facts(vec![Err("nothing listens there".to_owned())]);
    facts.sources.clear();
    facts.silent = vec!["Kafka k:9092: no answer".to_owned()];
    let row = Row::of(&facts);
    assert_eq!((row.lag_records, row.lag_seconds), (None, None));
    assert!(Picture::of(vec![facts]).text().contains("! Kafka k:9092: no answer\n"));
}

#[test]
fn the_lag_of_a_part_of_the_sources_is_not_the_lag() {
    let mut facts = facts(vec![Err("nothing listens there".to_owned())]);
    // One source of two answered, and has mirrored everything.
    facts.sources[0].behind = BTreeMap::from([(0, 0)]);
    facts.has_all_sources = false;
    let row = Row::of(&facts);
    assert_eq!((row.lag_records, row.lag_seconds), (None, None));
    assert_eq!(Picture::of(vec![facts]).json()["bridges"][0]["lag_records"], Value::Null);
}

#[test]
fn partitions_that_nobody_has_are_a_problem_and_count_as_behind() {
    let row = Row::of(&facts(vec![Ok(said("running", vec![partition(0, "running", 3)]))]));
    assert_eq!(row.lag_records, Some(3 + 7));
    assert_eq!(row.problems, ["1 partitions are nobody's"]);
}

#[test]
fn what_most_needs_to_be_seen_is_the_state() {
    let state = |bridge: &str, partitions: &[&str]| {
        let partitions = partitions.iter().zip(0..).map(|(state, number)| partition(number, state, 0)).collect();
        Row::of(&facts(vec![Ok(said(bridge, partitions))])).state
    };
    assert_eq!(state("running", &["running", "stopped"]), "1/2 stopped");
    assert_eq!(state("running", &["running", "paused"]), "1/2 paused");
    assert_eq!(state("paused", &["paused", "paused"]), "paused");
    assert_eq!(state("draining", &[]), "draining");
    let stopped =
        Row::of(&facts(vec![Ok(said("running", vec![partition(0, "stopped", 0), partition(1, "running", 0)]))]));
    assert_eq!(stopped.problems, ["jobs/0 is stopped"]);
}

/// Dashboards and the readiness report read it.
#[test]
fn the_json_is_golden() {
    let picture = Picture::of(vec![facts(vec![Ok(said(
        "running",
        vec![partition(0, "running", 3), partition(1, "running", 0)],
    ))])]);
    let mut json = picture.json();
    json["at"] = "then".into();
    let golden = json!({
        "version": 1, "at": "then", "well": true, "silent_brokers": [],
        "bridges": [{
            "stream": "demo", "state": "running", "well": true,
            "replicas": [{ "address": "http://10.0.0.0:9464", "state": "running", "version": null, "uptime_seconds": null, "error": null }],
            "in_per_second": 100.0, "out_per_second": 100.0, "lag_records": 3, "lag_seconds": 3.0, "p99_seconds": null,
            "dead_letters": 0, "drift_fields": 0, "last_error": null, "partitions": { "running": 2 }, "problems": [],
        }],
    });
    assert_eq!(json, golden);
}

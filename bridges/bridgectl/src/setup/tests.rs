use std::collections::BTreeMap;

use bridge_common::admin::TopicPolicy;
use bridge_common::config::TopicName;
use serde_json::{Value, json};

use super::plan::{Change, Observed, ObservedNamespace, ObservedTopic, Plan, plan};
use super::report::Report;
use super::wanted::{Wanted, WantedTopic};

fn retention(minutes: i64, mib: i64) -> Value {
    json!({ "retentionTimeInMinutes": minutes, "retentionSizeInMB": mib })
}

fn topic() -> TopicName {
    "persistent://public/demo/out".parse().unwrap()
}

fn wanted() -> Wanted {
    let policies = BTreeMap::from([
        (TopicPolicy::Deduplication, json!(true)),
        (TopicPolicy::Retention, json!({ "retentionTimeInMinutes": 600, "retentionSizeInMB": -1 })),
    ]);
    let out = WantedTopic { partitions: Some(3), policies, schema: Some(r#"{"type": "string"}"#.to_owned()) };
    Wanted {
        namespaces: [("public/demo".to_owned(), Some(retention(600, -1)))].into(),
        topics: [(topic(), out)].into(),
    }
}

/// What is there after everything wanted was done.
fn done() -> Observed {
    let want = &wanted().topics[&topic()];
    let there = ObservedTopic {
        partitions: 3,
        policies: want.policies.clone(),
        kept: None,
        schemas: vec![("AVRO".to_owned(), "{\"type\":\n\"string\"}".to_owned())],
        takes_contract: true,
    };
    let namespace = ObservedNamespace { auto_creation: Some(false), retention: Some(retention(600, -1)) };
    Observed {
        namespaces: [("public/demo".to_owned(), namespace)].into(),
        topics: [(topic(), there)].into(),
        broker_retention: Some(retention(0, 0)),
    }
}

fn done_but(change: impl FnOnce(&mut ObservedTopic)) -> Observed {
    let mut observed = done();
    change(observed.topics.get_mut(&topic()).unwrap());
    observed
}

#[test]
fn on_an_empty_cluster_everything_is_made_and_deduplication_comes_before_all_else_on_a_topic() {
    let plan = plan(&wanted(), &Observed::default());
    let lines: Vec<String> = plan.changes.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "+ namespace public/demo",
            "~ namespace public/demo: autoTopicCreation (unset) -> false",
            "+ topic persistent://public/demo/out, 3 partitions",
            "~ topic persistent://public/demo/out: deduplicationEnabled (unset) -> true",
            "~ topic persistent://public/demo/out: retention (unset) -> {\"retentionSizeInMB\":-1,\"retentionTimeInMinutes\":600}",
            "+ topic persistent://public/demo/out: the schema, the contract",
            "~ namespace public/demo: retention (unset) -> {\"retentionSizeInMB\":-1,\"retentionTimeInMinutes\":600}",
        ]
    );
    assert!(plan.findings.is_empty());
}

#[test]
fn a_second_run_finds_nothing_to_do() {
    assert_eq!(plan(&wanted(), &done()), super::plan::Plan::default());
}

#[test]
fn another_partition_count_is_a_finding_and_never_a_change() {
    for partitions in [0, 1, 6] {
        let plan = plan(&wanted(), &done_but(|there| there.partitions = partitions));
        assert!(plan.changes.is_empty());
        assert!(plan.findings[0].contains("wants one that has 3 partitions"), "{:?}", plan.findings);
        let mut report = Report::default();
        report.add("demo", plan, None);
        assert_eq!(report.exit().code(), 1);
        assert!(report.text(false).contains("1 for you to settle"));
    }
}

/// What deploys others read.
#[test]
fn the_json_says_what_failed_and_why() {
    let mut report = Report::default();
    report.add("demo", plan(&wanted(), &done()), None);
    let done = json!([{ "stream": "demo", "changes": [], "findings": [] }]);
    let golden = json!({ "version": 1, "dry_run": true, "failed": false, "problems": [], "streams": done });
    assert_eq!((report.json(true), report.exit().code()), (golden, 0));
    report.problems.push("other: nothing listens there".to_owned());
    let json = report.json(false);
    assert_eq!((&json["failed"], &json["problems"]), (&json!(true), &json!(["other: nothing listens there"])));
    assert_eq!(report.exit().code(), 1);
}

#[test]
fn a_retention_is_lengthened_and_never_shortened() {
    let changes = |there: serde_json::Value| {
        plan(&wanted(), &done_but(|topic| drop(topic.policies.insert(TopicPolicy::Retention, there)))).changes
    };
    assert_eq!(changes(retention(-1, -1)), []);
    assert_eq!(changes(retention(700, -1)), []);
    for (there, result) in [(retention(60, -1), retention(600, -1)), (retention(700, 10), retention(700, -1))] {
        assert!(matches!(&changes(there)[..], [Change::SetPolicy { to, .. }] if *to == result));
    }
}

/// Others have topics there, which rest on what the namespace or the broker keeps.
#[test]
fn a_namespace_without_a_retention_keeps_at_least_as_long_and_nothing_is_shortened() {
    let planned = |own: Option<Value>, broker: Option<Value>| {
        let mut observed = done();
        observed.namespaces.get_mut("public/demo").unwrap().retention = own;
        observed.broker_retention = broker;
        plan(&wanted(), &observed)
    };
    for own in [retention(-1, -1), retention(60, -1), retention(-1, 100), retention(0, 0)] {
        assert_eq!(planned(Some(own), Some(retention(0, 0))), Plan::default(), "what somebody has set is theirs");
    }
    for enough in [retention(-1, -1), retention(600, -1)] {
        assert_eq!(planned(None, Some(enough)), Plan::default());
    }
    for (broker, to) in [(retention(0, 0), retention(600, -1)), (retention(700, 10), retention(700, -1))] {
        let change = Change::KeepInNamespace { namespace: "public/demo".to_owned(), to };
        assert_eq!(planned(None, Some(broker)), Plan { changes: vec![change], findings: Vec::new() });
    }
    assert_eq!(planned(None, None), Plan::default(), "the broker's default is not known, and could be longer");
    let mut unwanted = wanted();
    unwanted.namespaces = [("public/demo".to_owned(), None)].into();
    assert_eq!(plan(&unwanted, &done()), Plan::default());
}

/// A topic that was there before and has no retention of its own rests on the namespace's or the broker's.
#[test]
fn what_a_topic_rests_on_is_never_shortened() {
    let changes = |kept: Option<Value>| {
        let observed = done_but(|there| {
            there.policies.remove(&TopicPolicy::Retention);
            there.kept = kept;
        });
        plan(&wanted(), &observed).changes
    };
    for (kept, to) in [
        (Some(retention(-1, -1)), retention(-1, -1)),
        (Some(retention(700, 10)), retention(700, -1)),
        (Some(retention(0, 0)), retention(600, -1)),
        (None, retention(600, -1)),
    ] {
        let change = Change::SetPolicy { topic: topic(), policy: TopicPolicy::Retention, from: None, to };
        assert_eq!(changes(kept), [change]);
    }
}

#[test]
fn deduplication_that_is_off_is_turned_on() {
    let observed = done_but(|there| drop(there.policies.insert(TopicPolicy::Deduplication, json!(false))));
    let plan = plan(&wanted(), &observed);
    assert_eq!(plan.changes[0].to_string(), "~ topic persistent://public/demo/out: deduplicationEnabled false -> true");
    assert_eq!(plan.changes.len(), 1);
}

#[test]
fn schemas_of_another_kind_are_a_finding_other_contracts_a_new_version() {
    let with = |kind: &str, text: &str| {
        plan(&wanted(), &done_but(|there| there.schemas = vec![(kind.to_owned(), text.to_owned())]))
    };
    assert!(with("JSON", "{}").findings[0].contains("kind JSON"));
    let newer = with("AVRO", "\"bytes\"");
    assert!(matches!(newer.changes[..], [Change::UploadSchema { replaces: Some(_), .. }]) && newer.findings.is_empty());
    let other_words = r#"{"type": "string", "doc": "Another doc makes no version."}"#;
    assert_eq!(with("AVRO", other_words), super::plan::Plan::default());
}

#[test]
fn a_contract_among_the_versions_is_in_effect_unless_the_newer_ones_rule_it_out() {
    let with_newer = |takes_contract| {
        let observed = done_but(|there| {
            there.schemas.push(("AVRO".to_owned(), "\"bytes\"".to_owned()));
            there.takes_contract = takes_contract;
            assert!(there.contract_is_earlier(r#"{"type": "string"}"#));
        });
        plan(&wanted(), &observed)
    };
    assert_eq!(with_newer(true), super::plan::Plan::default());
    let refused = with_newer(false);
    assert!(refused.changes.is_empty() && refused.findings[0].contains("newer schema"), "{refused:?}");
}

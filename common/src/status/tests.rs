use super::*;

const STALL: Duration = Duration::from_secs(60);

fn after(start: Instant, seconds: u64) -> Instant {
    start + Duration::from_secs(seconds)
}

/// A running bridge with one partition that has been opened.
fn running() -> (Instant, StatusBoard, PartitionHandle) {
    let start = Instant::now();
    let board = StatusBoard::new("demo", "1.2.3", start, 1_700_000_000_000);
    board.set_state(BridgeState::Running);
    let partition = board.partition("kafka", "in", 3, start);
    partition.update(start, |status| status.state = PartitionState::Running);
    (start, board, partition)
}

#[test]
fn a_starting_bridge_is_alive_but_not_ready() {
    let start = Instant::now();
    let board = StatusBoard::new("demo", "1", start, 0);
    assert_eq!(board.livez(after(start, 3_600)), Ok(()));
    assert!(board.readyz(start, STALL).unwrap_err().contains("starting"));
    board.set_state(BridgeState::StandingBy);
    assert_eq!(board.readyz(start, STALL), Ok(()), "a rolling update would wait for it for ever");
    board.set_state(BridgeState::Running);
    assert_eq!(board.readyz(start, STALL), Ok(()), "an instance without partitions is a good stand-by");
}

#[test]
fn a_source_that_does_not_know_the_instance_is_told_and_makes_it_unready() {
    let start = Instant::now();
    let board = StatusBoard::new("demo", "1", start, 0);
    board.set_state(BridgeState::Running);
    board.away("source.kafka", Some((start, "all brokers are down".to_owned())));
    assert_eq!(board.readyz(after(start, 60), STALL), Ok(()), "a rebalance is no outage");
    let words = "source.kafka has not been a member of its group for 61 s: all brokers are down";
    assert_eq!(board.readyz(after(start, 61), STALL).unwrap_err(), words);
    assert_eq!(board.to_json(after(start, 61))["last_error"], words);
    board.away("source.kafka", None);
    assert_eq!(board.readyz(after(start, 61), STALL), Ok(()));
}

#[test]
fn only_tasks_that_no_longer_step_fail_livez() {
    let (start, board, partition) = running();
    partition.update(start, |status| status.lag_records = Some(1_000_000));
    board.beat("the consumer thread", start);
    assert_eq!(board.livez(after(start, 30)), Ok(()));
    assert_eq!(
        board.livez(after(start, 31)).unwrap_err(),
        "the task of in/3 has not stepped for 31 s; the consumer thread has not stepped for 31 s"
    );
    // An hour without a broker: not ready, but alive, for the tasks still step.
    partition.update(after(start, 3_600), |_| ());
    board.beat("the consumer thread", after(start, 3_600));
    assert_eq!(board.livez(after(start, 3_601)), Ok(()));
    assert!(board.readyz(after(start, 3_601), STALL).is_err());
    board.task_ended("the consumer thread");
    drop(partition);
    assert_eq!(board.livez(after(start, 9_999)), Ok(()), "a revoked partition owes no step");
}

#[test]
fn lag_without_receipts_fails_readyz_after_the_stall_time() {
    let (start, board, partition) = running();
    partition.update(after(start, 1_000), |status| status.lag_records = Some(0));
    assert_eq!(board.readyz(after(start, 2_000), STALL), Ok(()), "idle is not stalled");
    // Lag that appears after a long idle time does not count from the last receipt.
    partition.receipt(after(start, 1), 1);
    partition.update(after(start, 2_000), |status| status.lag_records = Some(5));
    assert_eq!(board.readyz(after(start, 2_060), STALL), Ok(()));
    assert_eq!(
        board.readyz(after(start, 2_061), STALL).unwrap_err(),
        "in/3 is running with a lag of 5 records and has had no receipt for 61 s"
    );
    // It moves again, with lag all the time.
    partition.receipt(after(start, 2_062), 2);
    partition.update(after(start, 2_063), |status| status.lag_records = Some(900));
    assert_eq!(board.readyz(after(start, 2_122), STALL), Ok(()));
    assert!(board.readyz(after(start, 2_123), STALL).is_err());
}

#[test]
fn paused_partitions_are_ready_stopped_ones_are_not() {
    let (start, board, partition) = running();
    partition.update(start, |status| {
        status.state = PartitionState::Paused;
        status.lag_records = Some(7);
    });
    assert_eq!(board.readyz(after(start, 10_000), STALL), Ok(()));
    partition.update(start, |status| {
        status.state = PartitionState::Stopped;
        status.reason = Some("offsets 5 to 9 were purged".to_owned());
    });
    assert_eq!(board.readyz(start, STALL).unwrap_err(), "in/3 is stopped: offsets 5 to 9 were purged");
}

#[test]
fn an_opening_that_never_ends_is_not_ready() {
    let (start, board, partition) = running();
    partition.update(start, |status| status.state = PartitionState::WaitingForName);
    assert_eq!(board.readyz(after(start, 60), STALL), Ok(()));
    assert!(board.readyz(after(start, 61), STALL).unwrap_err().contains("waiting-for-name"));
    // Opened at last, with lag: the stall time begins anew.
    partition.update(after(start, 70), |status| {
        status.state = PartitionState::Running;
        status.lag_records = Some(1);
    });
    assert_eq!(board.readyz(after(start, 130), STALL), Ok(()));
}

#[test]
fn the_json_has_what_operators_read() {
    let (start, board, partition) = running();
    partition.update(start, |status| {
        status.producer_name = "bridge/demo/cluster/in/3".to_owned();
        (status.position, status.source_end, status.lag_records) = (Some(10), Some(15), Some(5));
        status.totals.published = 10;
        status.lanes =
            vec![LaneStatus { target: "t-partition-0".to_owned(), last_sequence_id: Some(9), ..Default::default() }];
    });
    partition.receipt(start, 1_700_000_001_000);
    let json = board.to_json(after(start, 2));
    assert_eq!((&json["stream"], &json["state"]), (&"demo".into(), &"running".into()));
    assert_eq!((&json["started"], &json["uptime_seconds"]), (&"2023-11-14T22:13:20.000Z".into(), &2.into()));
    let line = &json["partitions"][0];
    assert_eq!((&line["topic"], &line["partition"], &line["state"]), (&"in".into(), &3.into(), &"running".into()));
    assert_eq!((&line["position"], &line["lag_records"]), (&10.into(), &5.into()));
    assert_eq!(line["last_receipt"], "2023-11-14T22:13:21.000Z");
    assert_eq!(line["last_receipt_seconds_ago"], 2.0);
    assert_eq!(line["totals"]["published"], 10);
    assert_eq!(line["lanes"][0]["last_sequence_id"], 9);
    for state in PartitionState::ALL {
        assert_eq!(serde_json::to_value(state).unwrap(), state.name());
    }
}

/// What a partition finds in these bodies, the first of them at offset 7.
fn drift_of(bodies: &[&str]) -> Drift {
    use crate::record::{Coordinates, SourcePartition};
    use crate::translate::{Contract, JsonPlan, OnUnknownField, Scratch};
    let contract = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}"#;
    let plan = JsonPlan::compile(&Contract::parse(contract).unwrap(), OnUnknownField::Count).unwrap();
    let source = SourcePartition { cluster_id: "c".to_owned(), topic: "in".to_owned(), partition: 3 };
    let mut drift = Drift::new();
    for (body, offset) in bodies.iter().zip(7..) {
        let coordinates = Coordinates { source: &source, offset };
        let body = body.as_bytes();
        plan.translate(&mut Scratch::default(), body, &coordinates, &mut Vec::new(), &mut drift).unwrap();
    }
    drift
}

#[test]
fn no_drift_is_shown_with_what_it_rests_on() {
    let (start, board, partition) = running();
    let drift = || board.to_json(start)["contract_drift"].clone();
    assert_eq!(drift()["summary"], "nothing checked since 2023-11-14T22:13:20.000Z");
    partition.checked(&drift_of(&[r#"{"a":1}"#, r#"{"a":2}"#]), 1_700_000_001_000);
    assert_eq!(drift()["summary"], "none since 2023-11-14T22:13:20.000Z over 2 records");
    assert_eq!((&drift()["records"], &drift()["fields"]), (&2.into(), &serde_json::json!([])));
}

#[test]
fn drift_is_summed_up_by_field_and_outlives_its_partition() {
    let (start, board, partition) = running();
    partition.checked(&drift_of(&[r#"{"a":1}"#, r#"{"a":1,"b":"secret"}"#]), 1_700_000_001_000);
    partition.checked(&drift_of(&[r#"{"a":1,"b":0,"c":0}"#, r#"{"a":1,"b":0}"#, r#"{"a":1}"#]), 1_700_000_002_000);
    drop(partition);
    let drift = board.to_json(start)["contract_drift"].clone();
    assert_eq!(drift["summary"], "2 fields since 2023-11-14T22:13:20.000Z over 5 records");
    let expected = serde_json::json!({"field": "b", "count": 3, "first_seen": "2023-11-14T22:13:21.000Z",
        "last_seen": "2023-11-14T22:13:22.000Z",
        "example": {"source": "kafka", "topic": "in", "partition": 3, "offset": 8}});
    assert_eq!(drift["fields"][0], expected);
    assert_eq!((&drift["fields"][1]["field"], &drift["fields"][1]["count"]), (&"c".into(), &1.into()));
    assert!(!drift.to_string().contains("secret"));
}

#[test]
fn drift_of_names_made_from_ids_is_bounded() {
    let (start, board, partition) = running();
    for round in 0..3 {
        let bodies: Vec<String> = (0..40).map(|number| format!(r#"{{"a":1,"x{round}-{number}":1}}"#)).collect();
        partition.checked(&drift_of(&bodies.iter().map(String::as_str).collect::<Vec<_>>()), 1);
    }
    let drift = board.to_json(start)["contract_drift"].clone();
    assert_eq!(drift["fields"].as_array().unwrap().len(), crate::translate::DRIFT_PATHS_MAX);
    assert_eq!(drift["other"], 120 - crate::translate::DRIFT_PATHS_MAX);
    assert!(drift["summary"].as_str().unwrap().starts_with("64 fields and more since"));
}

use std::collections::BTreeMap;

use bridge_common::checkpoint::{Listed, Stamp, Stored};
use bridge_common::lane::{Checkpoint, KeyHash, Mark, PartitionBy, Route, Routing};

use super::plan::{Name, Watermarks, chosen, forget, set};
use super::{Asked, Which, show};

const PREFIX: &str = "bridge/s/";

fn routing() -> Routing {
    let (topic, dead_letters) = ("persistent://public/default/t".to_owned(), "dead".to_owned());
    Routing { partition_by: PartitionBy::Source, topic, partitions: 3, dead_letters, routes: Vec::new() }
}

fn stored(position: u64) -> Stored {
    let at = Mark::At { ledger: 7, entry: 42 };
    let checkpoint = Checkpoint {
        version: 1,
        position,
        routing: routing(),
        marks: vec![at, at],
        repairs: Vec::new(),
        reach_records: 0,
        former: Vec::new(),
    };
    Stored { checkpoint, source_partitions: 10, stamp: Some(Stamp { offset: 5, timestamp_ms: 1 }) }
}

fn listed(names: &[&str]) -> BTreeMap<String, Listed> {
    let entry = |name: &&str| ((*name).to_owned(), Listed { sequence_id: 9, written_ms: 1_000, stored: stored(100) });
    names.iter().map(entry).collect()
}

fn which() -> Which {
    Which { partition: None, all: true, name: None, topic: None }
}

/// What a replay holds by another version, too.
#[test]
fn the_lock_of_replays_is_golden() {
    assert_eq!(super::hold::replay_lock("bridge/s/c/t/0"), "bridge/s/c/t/0/replay");
}

#[test]
fn names_are_taken_apart() {
    let name = |topic: &str, partition, generation| Some(Name { topic: topic.to_owned(), partition, generation });
    assert_eq!(Name::parse("bridge/s/cluster/topic/12"), name("topic", 12, 0));
    assert_eq!(Name::parse("bridge/s/cluster/topic/12/g3"), name("topic", 12, 3));
    assert_eq!(Name::parse("bridge/s/dedupe"), None);
    assert_eq!(Name::parse("portal"), None);
}

#[test]
fn a_partition_without_a_checkpoint_is_named_after_its_siblings() {
    let listed = listed(&["bridge/s/c/t/1/g2", "bridge/s/c/t/2/g2"]);
    let one = |partition| chosen(&listed, &Which { partition: Some(partition), all: false, ..which() }, PREFIX);
    assert_eq!(one(2).unwrap(), ["bridge/s/c/t/2/g2"]);
    assert_eq!(one(7).unwrap(), ["bridge/s/c/t/7/g2"]);
    assert_eq!(chosen(&listed, &which(), PREFIX).unwrap().len(), 2);
    assert!(chosen(&BTreeMap::new(), &which(), PREFIX).is_err());
    let named = Which { name: Some("bridge/other/c/t/1".to_owned()), all: false, ..which() };
    assert!(chosen(&listed, &named, PREFIX).is_err());
}

#[test]
fn what_is_ambiguous_has_to_be_chosen() {
    let listed = listed(&["bridge/s/c/t/1", "bridge/s/c/u/1"]);
    let one = Which { partition: Some(1), all: false, ..which() };
    assert!(chosen(&listed, &one, PREFIX).unwrap_err().contains("--topic"));
    assert_eq!(chosen(&listed, &Which { topic: Some("u".to_owned()), ..one }, PREFIX).unwrap(), ["bridge/s/c/u/1"]);
    let neither = Which { partition: Some(3), all: false, ..which() };
    assert!(chosen(&listed, &neither, PREFIX).unwrap_err().contains("--name"));
}

/// Nobody knows where records lie that were passed long ago.
#[test]
fn going_back_reads_back_from_the_beginning() {
    let change = set("bridge/s/c/t/1", Some(&stored(100)), 40, None, &routing(), 10).unwrap();
    let to = change.to.unwrap();
    assert_eq!((to.checkpoint.position, change.skipped), (40, 0));
    assert_eq!(to.checkpoint.marks, [Mark::Earliest, Mark::Earliest]);
    assert_eq!(to.stamp, stored(100).stamp, "the source is still recognised");
    assert!(
        change.says.contains("up to 60 records (40 to 99) will be looked up in the target again"),
        "{}",
        change.says
    );
    let stays = set("bridge/s/c/t/1", Some(&stored(100)), 100, None, &routing(), 10).unwrap();
    assert_eq!(stays.to.unwrap().checkpoint.marks, [Mark::Earliest, Mark::Earliest]);
}

#[test]
fn going_forward_skips_and_says_how_many() {
    let change = set("bridge/s/c/t/1", Some(&stored(100)), 130, None, &routing(), 10).unwrap();
    let to = change.to.unwrap();
    assert_eq!((to.checkpoint.position, change.skipped, to.stamp), (130, 30, None));
    assert_eq!(to.checkpoint.marks, stored(100).checkpoint.marks);
    assert!(change.says.contains("up to 30 records (100 to 129) are SKIPPED"), "{}", change.says);
    let confirmed = Asked { yes: true, skip: None, mirrored: false, json: false };
    let asked = |yes, skip| Asked { yes, skip, ..confirmed }.confirm(change.skipped, 0).is_ok();
    assert_eq!([asked(true, None), asked(true, Some(29)), asked(true, Some(30))], [false, false, true]);
    assert!(confirmed.confirm(0, 0).is_ok());
}

#[test]
fn no_position_lies_behind_the_source_and_what_no_checkpoint_says_is_confirmed() {
    let source = Some(Watermarks { low: 20, high: 120 });
    let behind = set("bridge/s/c/t/1", Some(&stored(100)), 121, source, &routing(), 10).unwrap_err();
    assert!(behind.contains("ends at 120"), "{behind}");
    assert!(set("bridge/s/c/t/1", Some(&stored(100)), 120, source, &routing(), 10).is_ok());
    let change = set("bridge/s/c/t/4", None, 50, source, &routing(), 10).unwrap();
    assert_eq!((change.skipped, change.assumed), (0, 30), "{}", change.says);
    let confirmed = Asked { yes: true, skip: None, mirrored: false, json: false };
    let refused = confirmed.confirm(0, change.assumed).unwrap_err();
    assert!(refused.contains("30 records") && refused.contains("--mirrored"), "{refused}");
    assert!(Asked { mirrored: true, ..confirmed }.confirm(0, change.assumed).is_ok());
}

#[test]
fn a_vanished_one_gets_a_mark_for_every_lane_and_a_queue_none() {
    let change = set("bridge/s/c/t/4", None, 50, None, &routing(), 0).unwrap();
    let to = change.to.unwrap();
    assert_eq!((to.checkpoint.marks.len(), to.checkpoint.position, to.source_partitions), (2, 50, 5));
    let mut queue = stored(100);
    queue.checkpoint.reach_records = 500;
    assert!(set("bridge/s/c/q/0", Some(&queue), 50, None, &routing(), 1).unwrap_err().contains("queue"));
    assert_eq!(forget("bridge/s/c/t/4", Some(&stored(100))).to, None);
}

/// By key a source partition has a lane on every partition of the target, and of each route.
#[test]
fn one_without_a_checkpoint_gets_by_key_a_mark_for_every_partition() {
    let alerts = Route {
        field: "event_type".to_owned(),
        equals: vec!["alert.raised".to_owned()],
        topic: "persistent://public/default/alerts".to_owned(),
        partitions: 2,
    };
    let partition_by = PartitionBy::Key { key_hash: KeyHash::JavaString };
    let by_key = Routing { partition_by, routes: vec![alerts], ..routing() };
    let to = set("bridge/s/c/t/4", None, 50, None, &by_key, 10).unwrap().to.unwrap();
    assert_eq!(to.checkpoint.marks, [Mark::Earliest; 3 + 2 + 1]);
    assert_eq!((to.checkpoint.routing.lanes(4).len(), to.source_partitions), (6, 10));
    assert_eq!(to.checkpoint.routing, by_key, "records are looked up where they were sent to");
}

#[test]
fn the_table_has_a_line_for_each_partition() {
    let listed = listed(&["bridge/s/c/t/1"]);
    let rows: Vec<_> = listed.iter().map(|(name, entry)| (Name::parse(name).unwrap(), name, entry)).collect();
    let table = show::table(&rows, 62_000);
    let lines: Vec<Vec<&str>> =
        table.lines().map(|line| line.split("  ").filter(|cell| !cell.is_empty()).map(str::trim).collect()).collect();
    assert_eq!(lines[1], ["t", "1", "0", "100", "61 s", "-", "public/default/t/3", "7:42 7:42"]);
}

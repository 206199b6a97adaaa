//! Planted faults: the checker must find each of them.

use super::*;
use crate::checker::Identity;

const JOBS: &str = "jobs";

fn kafka() -> Source {
    Source::Kafka { brokers: String::new(), topic: JOBS.to_owned() }
}

fn queue(ordered: bool) -> Source {
    Source::Queue {
        queues: vec!["q".to_owned()],
        journal: "journal".into(),
        identity: Identity::Json("event_id".to_owned()),
        ordered,
    }
}

fn settings(sources: Vec<Source>) -> Settings {
    Settings::of(sources, "", "persistent://public/a/b", "").with_route("alerts", "type", &["alert"], "t")
}

fn record(place: u64, topic: usize, digest: Digest) -> Record {
    Record { place, topic, digest, identity: None, is_certain: true, is_tombstone: false }
}

fn message(lane: Lane, digest: Digest) -> Message {
    Message { lane: Some(lane), repaired: false, digest, body_digest: digest, head_digest: digest << 64 }
}

/// Target, route and dead letters, by where the source partition's messages stand.
type World = (Vec<SourceRecords>, Vec<TargetMessages>);

/// Six Kafka partitions of 60 records in three target partitions, and a queue of 60; every sixth record of either goes
/// by the route, every tenth to the dead letters.
fn sound() -> World {
    let mut sources = vec![SourceRecords::default(), SourceRecords::default()];
    let topic = |partitions: u32| TargetMessages {
        partitions,
        messages: (0..partitions.max(1)).map(|n| (n, Vec::new())).collect(),
        ..TargetMessages::default()
    };
    let mut topics = vec![topic(3), topic(3), topic(0)];
    for place in 0..60 {
        let at = match place {
            _ if place % 10 == 9 => 2,
            _ if place % 6 == 0 => 1,
            _ => 0,
        };
        for partition in 0..7 {
            let lane = if partition == 6 { (1, 0) } else { (0, partition) };
            let digest = Digest::from(place * 100 + partition as u64 + 1);
            sources[lane.0].partitions.entry(lane.1).or_default().push(record(place, at, digest));
            let target_partition = if at == 2 { 0 } else { lane.1 as usize % 3 };
            topics[at].messages[target_partition].1.push(message(lane, digest));
        }
    }
    (sources, topics)
}

fn check(settings: &Settings, (sources, topics): &World) -> Parity {
    assess(settings, sources, topics)
}

#[test]
fn what_is_complete_and_in_order_holds() {
    let parity = check(&settings(vec![kafka(), queue(true)]), &sound());
    assert!(parity.holds(), "{parity}");
    assert_eq!(parity.target_total().expected, 54 * 7);
    assert_eq!(parity.topic_total("route alerts").observed, 10 * 7);
    assert_eq!(parity.dead_letters_total().observed, 6 * 7);
    assert_eq!(parity.topics[0].1.len(), 7);
}

#[test]
fn records_that_may_stand_anywhere_keep_their_order_in_each_partition() {
    let settings = Settings { placement: Placement::Anywhere, ..settings(vec![kafka(), queue(true)]) };
    // Of the first source partition some have gone to another target partition.
    let moved = |world: &mut World, places: [usize; 3]| {
        let lane = Some((0, 0));
        let own: Vec<Message> =
            world.1[0].messages[0].1.iter().filter(|message| message.lane == lane).copied().collect();
        world.1[0].messages[0].1.retain(|message| places.iter().all(|place| message.digest != own[*place].digest));
        world.1[0].messages[1].1.extend(places.map(|place| own[place]));
    };
    let mut world = sound();
    moved(&mut world, [3, 4, 9]);
    assert!(check(&settings, &world).holds(), "{}", check(&settings, &world));
    let mut wrong = sound();
    moved(&mut wrong, [3, 9, 4]);
    assert_eq!(check(&settings, &wrong).target_total().reordered, 1);
    let twin = world.1[0].messages[0].1[0];
    world.1[0].messages[2].1.push(twin);
    let parity = check(&settings, &world);
    assert_eq!((parity.target_total().missing, parity.holds()), (0, false), "{parity}");
    world = sound();
    world.1[0].messages[0].1.remove(0);
    assert_eq!(check(&settings, &world).target_total().missing, 1);
}

#[test]
fn planted_faults_in_every_topic_are_found_and_named() {
    type Plant = fn(&mut Vec<TargetMessages>);
    let plants: [(&str, Plant); 11] = [
        ("Missing", |topics| {
            topics[0].messages[1].1.remove(17);
        }),
        ("Doubled", |topics| {
            let twin = topics[0].messages[2].1[5];
            topics[0].messages[2].1.push(twin);
        }),
        ("Reordered", |topics| {
            let of_one: Vec<usize> = (0..9).filter(|at| topics[0].messages[0].1[*at].lane == Some((0, 3))).collect();
            topics[0].messages[0].1.swap(of_one[0], of_one[1]);
        }),
        ("Different", |topics| topics[0].messages[1].1[9].digest = 5 << 100),
        ("Missing", |topics| {
            topics[2].messages[0].1.pop();
        }),
        ("Doubled", |topics| {
            let twin = topics[2].messages[0].1[0];
            topics[2].messages[0].1.push(twin);
        }),
        ("Extra", |topics| {
            let both = topics[0].messages[0].1[0];
            topics[2].messages[0].1.push(both);
        }),
        // By the route what is not for it: missing here and too much there.
        ("Extra", |topics| {
            let wrong = topics[0].messages[2].1.remove(4);
            topics[1].messages[2].1.push(wrong);
        }),
        ("Missing", |topics| {
            let wrong = topics[1].messages[2].1.remove(4);
            topics[0].messages[2].1.push(wrong);
        }),
        ("another writer", |topics| {
            let wanderer = topics[0].messages[1].1.remove(0);
            topics[0].messages[2].1.insert(0, wanderer);
        }),
        ("another writer", |topics| {
            topics[1].strangers.insert("somebody".to_owned(), 3);
        }),
    ];
    for (at, (name, plant)) in plants.into_iter().enumerate() {
        let mut world = sound();
        plant(&mut world.1);
        let parity = check(&settings(vec![kafka(), queue(false)]), &world);
        assert!(!parity.holds(), "{at}: {name} was not found");
        assert!(parity.to_string().contains(name), "{at}, {name}: {parity}");
    }
}

#[test]
fn faults_of_a_queue_are_found_and_its_order_where_it_is_claimed() {
    let queue_messages = |world: &World| -> Vec<usize> {
        let messages = &world.1[0].messages[0].1;
        (0..messages.len()).filter(|at| messages[*at].lane == Some((1, 0))).collect()
    };
    let mut swapped = sound();
    let of_queue = queue_messages(&swapped);
    swapped.1[0].messages[0].1.swap(of_queue[3], of_queue[4]);
    assert!(check(&settings(vec![kafka(), queue(false)]), &swapped).holds());
    assert!(!check(&settings(vec![kafka(), queue(true)]), &swapped).holds());

    let mut lost = sound();
    let message = lost.1[0].messages[0].1.remove(of_queue[3]);
    let parity = check(&settings(vec![kafka(), queue(false)]), &lost);
    assert_eq!((parity.target_total().missing, parity.target_total().doubled), (1, 0), "{parity}");
    let records = lost.0[1].partitions.get_mut(&0).unwrap();
    records.iter_mut().find(|record| record.digest == message.digest).unwrap().is_certain = false;
    assert!(check(&settings(vec![kafka(), queue(false)]), &lost).holds(), "nobody knows whether the broker had it");

    let mut altered = sound();
    altered.1[0].messages[0].1[of_queue[3]].digest = 7;
    let parity = check(&settings(vec![kafka(), queue(false)]), &altered);
    assert_eq!((parity.target_total().missing, parity.target_total().extra), (1, 1), "{parity}");

    let mut repeated = sound();
    let first = repeated.0[1].partitions[&0][1];
    repeated.0[1].partitions.get_mut(&0).unwrap().push(Record { place: 99, ..first });
    let parity = check(&settings(vec![kafka(), queue(false)]), &repeated);
    assert_eq!(parity.target_total().missing, 1, "what was published twice must arrive twice: {parity}");
}

/// The sound world with the same event as record `place` of partition 3 and of the queue, its message by Kafka's lane.
fn twins() -> (Settings, World) {
    let mut world = sound();
    for (at, partition) in [(0, 3), (1, 0)] {
        for record in world.0[at].partitions.get_mut(&partition).unwrap() {
            record.identity = Some(record.place);
        }
    }
    let is_twin = |message: &Message| message.lane == Some((1, 0));
    for topic in &mut world.1 {
        topic.messages.iter_mut().for_each(|(_, messages)| messages.retain(|message| !is_twin(message)));
    }
    (Settings { dedupe: Some("event_id".to_owned()), ..settings(vec![kafka(), queue(false)]) }, world)
}

#[test]
fn twins_arrive_once_by_either_source() {
    let (settings, mut world) = twins();
    let parity = check(&settings, &world);
    assert!(parity.holds(), "{parity}");
    let at =
        |world: &World, lane| world.1[0].messages[0].1.iter().position(|message| message.lane == Some(lane)).unwrap();
    // Record 1 of both: the queue's form in place of Kafka's.
    let place = at(&world, (0, 3));
    let by_queue = message((1, 0), world.0[1].partitions[&0][1].digest);
    world.1[0].messages[0].1[place] = by_queue;
    assert!(check(&settings, &world).holds());

    let mut doubled = world.clone();
    doubled.1[0].messages[0].1.push(message((0, 3), world.0[0].partitions[&3][1].digest));
    let parity = check(&settings, &doubled);
    assert_eq!(parity.target_total().doubled, 1, "{parity}");

    let mut lost = world.clone();
    lost.1[0].messages[0].1.remove(place);
    assert_eq!(check(&settings, &lost).target_total().missing, 1);

    let mut misplaced = world;
    let place = at(&misplaced, (0, 3));
    let wrong = misplaced.1[0].messages[0].1.remove(place);
    misplaced.1[0].messages[1].1.push(wrong);
    assert!(!check(&settings, &misplaced).holds());
}

#[test]
fn other_writers_are_a_fault_unless_allowed_and_so_are_other_sources() {
    let mut world = sound();
    world.1[0].strangers.insert("somebody".to_owned(), 3);
    let strict = settings(vec![kafka(), queue(false)]);
    assert!(!check(&strict, &world).holds());
    assert!(check(&Settings { allow_other_writers: true, ..strict.clone() }, &world).holds());
    world.1[0].strangers = BTreeMap::from([("bridge/broker-metrics/poll/brokers/0".to_owned(), 3)]);
    assert!(!check(&strict, &world).holds());
    let parity = check(&Settings { allow_other_sources: true, ..strict }, &world);
    assert!(parity.holds() && parity.unchecked.len() == 1, "{parity}");
}

#[test]
fn a_record_that_is_too_large_is_known_by_its_head() {
    let (mut sources, mut topics) = sound();
    sources[0].too_large_heads.insert(1 << 90);
    sources[0].partitions.get_mut(&0).unwrap().push(record(60, 2, 1 << 90));
    topics[2].messages[0].1.push(Message { head_digest: 1 << 90, body_digest: 77, ..message((0, 0), 3) });
    let parity = check(&settings(vec![kafka(), queue(false)]), &(sources, topics));
    assert!(parity.holds(), "{parity}");
}

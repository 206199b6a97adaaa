//! Openings in a world that has forgotten something: each ends in a session or in a stop, and never starts as a new partition
//! what somebody still knows.

use super::*;
use crate::record::MessageId;

const AT: MessageId = MessageId { ledger: 1, entry: 1 };

/// What the world still knows.
#[derive(Debug, Clone, Default)]
struct World {
    entry: Option<(u64, Option<Checkpoint>)>,
    /// The last sequence id on the checkpoint topic, and on the lanes.
    entry_last: Option<u64>,
    last: Option<u64>,
    /// An id that the target holds under our name.
    stored: Option<u64>,
    committed: Option<u64>,
}

fn checkpoint(position: u64) -> Checkpoint {
    Checkpoint {
        version: Checkpoint::VERSION,
        position,
        routing: routing(),
        marks: vec![Mark::Earliest, Mark::Earliest],
        repairs: Vec::new(),
        reach_records: 0,
        former: Vec::new(),
    }
}

fn routing() -> Routing {
    Routing {
        partition_by: PartitionBy::Source,
        topic: "t".into(),
        partitions: 0,
        dead_letters: "dead".into(),
        routes: Vec::new(),
    }
}

/// Opens a partition in that world, until it runs (where it starts) or is stopped (why).
fn open(world: &World) -> Result<u64, Stop> {
    let setup = Setup {
        source_partition: 0,
        routing: routing(),
        limits: Limits::default(),
        numbering: Numbering::Offsets,
        reach: Reach::default(),
    };
    let mut actions = Vec::new();
    let mut partition = Partition::open(setup, &mut actions);
    for _ in 0..1_000 {
        for action in std::mem::take(&mut actions) {
            let event = match action {
                Action::Open { tag, topic: Topic::Checkpoints, .. } => Event::Opened { tag, last: world.entry_last },
                Action::Open { tag, .. } => Event::Opened { tag, last: world.last },
                Action::Close { tag } => Event::Closed { tag, reason: String::new() },
                Action::ReadEntry { tag, .. } => Event::EntryRead { tag, entry: world.entry.clone() },
                Action::Scan { tag, .. } => {
                    let mut scan = Scan { first: Some(AT), end: Some(AT), ..Scan::default() };
                    world.stored.into_iter().for_each(|id| scan.own.insert(id));
                    Event::Scanned { tag, scan }
                }
                Action::ResolveStart => Event::StartResolved { offset: 7, committed: world.committed },
                Action::WriteCheckpoint { tag, sequence_id, .. } => {
                    Event::Receipt { tag, lowest: sequence_id, id: Some(AT) }
                }
                Action::StartSource { offset } => return Ok(offset),
                Action::Stopped { stop } => return Err(stop),
                _ => continue,
            };
            partition.step(event, 1_000, &mut actions);
        }
    }
    panic!("neither open nor stopped: {:?}", partition.phase_name());
}

fn evidence(world: &World) -> Evidence {
    match open(world) {
        Err(Stop::CheckpointVanished { evidence, .. }) => evidence,
        other => panic!("{world:?}: {other:?}"),
    }
}

#[test]
fn only_what_nobody_knows_starts_as_a_new_partition() {
    let nothing = World::default();
    assert_eq!(open(&nothing), Ok(7));
    assert_eq!(evidence(&World { entry_last: Some(3), ..nothing.clone() }), Evidence::Entry(3));
    assert_eq!(evidence(&World { last: Some(3), ..nothing.clone() }), Evidence::LastSequenceId(3));
    assert_eq!(evidence(&World { stored: Some(3), ..nothing.clone() }), Evidence::Stored(3));
    assert_eq!(evidence(&World { committed: Some(0), ..nothing }), Evidence::Committed(0));
}

#[test]
fn names_that_were_purged_and_offsets_that_have_expired_change_nothing() {
    let entry = Some((9, Some(checkpoint(40))));
    for last in [None, Some(39)] {
        for committed in [None, Some(40), Some(10), Some(90)] {
            let world = World { entry: entry.clone(), last, committed, stored: Some(39), ..World::default() };
            assert_eq!(open(&world), Ok(40), "{world:?}");
        }
    }
}

#[test]
fn an_entry_that_is_older_than_what_the_broker_knows_stops_in_the_end() {
    let world = World { entry: Some((9, Some(checkpoint(40)))), entry_last: Some(12), ..World::default() };
    assert_eq!(open(&world), Err(Stop::CheckpointBehind { found: 9, position: 40, last: 12 }));
    assert_eq!(open(&World { entry_last: Some(9), ..world }), Ok(40));
}

#[test]
fn a_forgotten_partition_starts_anew_unless_the_target_knows_it() {
    let forgotten = World { entry: Some((9, None)), entry_last: Some(9), committed: Some(40), ..World::default() };
    assert_eq!(open(&forgotten), Ok(7), "the operator has decided about the offset");
    assert_eq!(evidence(&World { last: Some(39), ..forgotten.clone() }), Evidence::LastSequenceId(39));
    assert_eq!(evidence(&World { stored: Some(39), ..forgotten }), Evidence::Stored(39));
}

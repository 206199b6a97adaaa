//! The membership in a group of a real Kafka: partitions that come, move and go.
#![cfg(feature = "kafka")]

#[path = "kafka/support.rs"]
mod support;

use std::time::{Duration, Instant};

use bridge_common::source::SourceError;
use bridge_common::source::kafka::{KafkaGroup, PartitionReader};
use bridge_common::source::{Leave, Notice};

use support::*;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kafka: tests/run starts one"]
async fn a_topic_that_is_not_there_is_named() {
    let settings = Topic::absent().settings();
    let topic = settings.topic.clone();
    let error = KafkaGroup::open(settings).await.expect_err("there is no such topic");
    assert!(matches!(&error, SourceError::UnknownTopic { topic: named, .. } if *named == topic), "{error}");
    let mut nowhere = Topic::absent().settings();
    (nowhere.brokers, nowhere.request_timeout) = ("127.0.0.1:1".into(), Duration::from_millis(500));
    let error = KafkaGroup::open(nowhere).await.expect_err("nobody listens there");
    assert!(error.is_transient(), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kafka: tests/run starts one"]
async fn added_partitions_are_found() {
    let topic = Topic::create(1, &[]).await;
    let mut settings = topic.settings();
    settings.metadata_refresh = Duration::from_millis(500);
    let (group, mut notices) = KafkaGroup::open(settings).await.expect("opened");
    let first = assigned(&mut notices).await;
    topic.grow(2).await;
    let second = assigned(&mut notices).await;
    assert_eq!((first.partition().partition, second.partition().partition), (0, 1));
    assert_eq!(group.partition_count(), 1, "as it was when the group was joined");
    assert_eq!(group.partition_count_now().await, Ok(2));
    leave(group, [first, second], notices).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kafka: tests/run starts one"]
async fn a_dropped_group_revokes_and_ends() {
    let topic = Topic::create(2, &[]).await;
    let (group, mut notices) = topic.join().await;
    let mut readers = vec![assigned(&mut notices).await, assigned(&mut notices).await];
    drop(group);
    let mut revoked = 0;
    while let Some(notice) = tokio::time::timeout(PATIENCE, notices.recv()).await.expect("the thread ends") {
        let Notice::Revoked { partition, lost: false } = notice else { panic!("{notice:?}") };
        readers.retain(|reader| reader.partition().partition != partition);
        revoked += 1;
    }
    assert_eq!(revoked, 2);
    // And with nobody to hear of it.
    let (group, notices) = topic.join().await;
    drop(notices);
    let asked = Instant::now();
    group.close(Leave::ForGood, PATIENCE).await;
    assert!(asked.elapsed() < Duration::from_secs(10), "took {:?}", asked.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kafka: tests/run starts one"]
async fn a_reader_that_is_never_let_go_does_not_hang_the_group() {
    let topic = Topic::create(1, &[]).await;
    topic.fill(0, 100);
    let mut settings = topic.settings();
    settings.revoke_deadline = Duration::from_millis(500);
    let (group, mut notices) = KafkaGroup::open(settings).await.expect("opened");
    let mut reader = assigned(&mut notices).await;
    reader.start_at(0).await.expect("started");
    read(&mut reader, 1).await;
    let closing = tokio::spawn(group.close(Leave::ForGood, PATIENCE));
    assert!(matches!(next(&mut notices).await, Notice::Revoked { partition: 0, lost: false }));
    let refused = loop {
        tokio::time::timeout(PATIENCE, reader.ready()).await.expect("woken by the revoke");
        if let Err(error) = reader.take(1, &mut |_| {}) {
            break error;
        }
        tokio::task::yield_now().await;
        if reader.position() == Some(100) {
            tokio::time::timeout(PATIENCE, reader.ready()).await.expect("woken by the revoke");
        }
    };
    assert!(matches!(refused, SourceError::Revoked { .. }), "{refused}");
    assert!(matches!(reader.start_at(0).await, Err(SourceError::Revoked { .. })));
    tokio::time::timeout(PATIENCE, closing).await.expect("closed all the same").expect("no panic");
}

/// A member that owns its partitions and reads on in the background of the test.
struct Member {
    group: KafkaGroup,
    notices: Notices,
    readers: Vec<PartitionReader>,
    revoked: usize,
    /// How many records it takes at a time.
    pace: usize,
}

impl Member {
    async fn join(topic: &Topic, instance: Option<&str>) -> Member {
        let mut settings = topic.settings();
        settings.group_instance_id = instance.map(str::to_owned);
        let (group, notices) = KafkaGroup::open(settings).await.expect("joined");
        Member { group, notices, readers: Vec::new(), revoked: 0, pace: 3 }
    }

    /// Handles what has come from the group, and takes what is there. Starts a partition where `positions` says, and
    /// leaves there where it stood when it is revoked: the part of the checkpoint.
    async fn turn(&mut self, positions: &mut [u64], seen: &mut [Vec<u64>]) {
        while let Ok(notice) = self.notices.try_recv() {
            match notice {
                Notice::Assigned(reader) => {
                    let mut reader = of_kafka(reader);
                    let partition = reader.partition().partition as usize;
                    reader.start_at(positions[partition]).await.expect("started");
                    self.readers.push(reader);
                }
                Notice::Revoked { partition, lost: false } => {
                    let at = self.readers.iter().position(|r| r.partition().partition == partition).expect("ours");
                    let reader = self.readers.remove(at);
                    let position = reader.position().expect("started");
                    positions[partition as usize] = position;
                    reader.commit(position);
                    self.revoked += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        for reader in &mut self.readers {
            let partition = reader.partition().partition as usize;
            let taken = reader.take(self.pace, &mut |record| seen[partition].push(record.offset)).expect("no error");
            assert_eq!(taken.transient, None);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kafka: tests/run starts one"]
async fn partitions_move_between_two_members_while_both_read() {
    const PARTITIONS: usize = 4;
    const RECORDS: usize = 20_000;
    let topic = Topic::create(PARTITIONS as i32, &[]).await;
    for partition in 0..PARTITIONS {
        topic.fill(partition as i32, RECORDS);
    }
    let (mut positions, mut seen) = ([0; PARTITIONS], vec![Vec::new(); PARTITIONS]);
    let mut first = Member::join(&topic, None).await;
    wait_until(async || {
        first.turn(&mut positions, &mut seen).await;
        first.readers.len() == PARTITIONS
    })
    .await;
    let mut second = Member::join(&topic, None).await;
    wait_until(async || {
        first.turn(&mut positions, &mut seen).await;
        second.turn(&mut positions, &mut seen).await;
        second.readers.len() == PARTITIONS / 2
    })
    .await;
    assert_eq!(first.revoked, PARTITIONS / 2, "a cooperative rebalance takes only what moves");
    assert_eq!(first.readers.len(), PARTITIONS / 2);
    assert!(seen.iter().all(|seen| seen.len() < RECORDS), "they moved while there was still something to read");
    first.pace = 1_000;
    // The second goes for good: the first gets everything back at once, not after the session's time-out.
    let asked = Instant::now();
    let Member { group, notices, readers, .. } = second;
    for reader in &readers {
        positions[reader.partition().partition as usize] = reader.position().expect("started");
    }
    let leaving = tokio::spawn(leave(group, readers, notices));
    wait_until(async || {
        first.turn(&mut positions, &mut seen).await;
        first.readers.len() == PARTITIONS && seen.iter().all(|seen| seen.len() >= RECORDS)
    })
    .await;
    assert!(asked.elapsed() < Duration::from_secs(15), "took {:?}", asked.elapsed());
    leaving.await.expect("left");
    for (partition, seen) in seen.iter().enumerate() {
        let all: Vec<u64> = (0..RECORDS as u64).collect();
        assert!(*seen == all, "partition {partition}: every record once, in order");
    }
    leave(first.group, first.readers, first.notices).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kafka: tests/run starts one"]
async fn a_rebalance_at_the_end_of_a_partition_skips_nothing() {
    let topic = Topic::create(2, &[]).await;
    topic.fill(0, 10);
    topic.fill(1, 10);
    let (group, mut notices) = topic.join().await;
    let mut readers = vec![assigned(&mut notices).await, assigned(&mut notices).await];
    for reader in &mut readers {
        reader.start_at(0).await.expect("started");
        read_until(reader, 10).await;
        // The end of the partition has been taken too, when nothing comes any more.
        while tokio::time::timeout(Duration::from_millis(500), reader.ready()).await.is_ok() {
            take(reader, 100, &mut Vec::new());
        }
    }
    let (other, mut others) = topic.join().await;
    let Notice::Revoked { partition, lost: false } = next(&mut notices).await else { panic!("nothing moves") };
    // While the rebalance waits and librdkafka has all partitions paused, the one that stays gets a record.
    let kept = 1 - partition;
    topic.fill(kept as i32, 5);
    readers.retain(|reader| reader.partition().partition == kept);
    let moved = assigned(&mut others).await;
    assert_eq!(moved.partition().partition, partition);
    let seen = read(&mut readers[0], 5).await;
    assert_eq!(seen.iter().map(|r| r.offset).collect::<Vec<_>>(), [10, 11, 12, 13, 14]);
    leave(other, [moved], others).await;
    let back = assigned(&mut notices).await;
    readers.push(back);
    leave(group, readers, notices).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kafka: tests/run starts one"]
async fn a_static_member_that_leaves_for_good_hands_over_at_once() {
    let topic = Topic::create(1, &[]).await;
    let (mut positions, mut seen) = ([0], vec![Vec::new()]);
    let mut first = Member::join(&topic, Some("one")).await;
    wait_until(async || {
        first.turn(&mut positions, &mut seen).await;
        first.readers.len() == 1
    })
    .await;
    let asked = Instant::now();
    leave(first.group, first.readers, first.notices).await;
    let mut second = Member::join(&topic, Some("two")).await;
    wait_until(async || {
        second.turn(&mut positions, &mut seen).await;
        second.readers.len() == 1
    })
    .await;
    // A static member that had only closed would keep its partition for the 45 s of the session's time-out.
    assert!(asked.elapsed() < Duration::from_secs(20), "took {:?}", asked.elapsed());
    leave(second.group, second.readers, second.notices).await;
}

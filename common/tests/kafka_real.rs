//! Reading a partition of a real Kafka.
#![cfg(feature = "kafka")]

#[path = "kafka/support.rs"]
mod support;

use std::time::Duration;

use bridge_common::source::SourceError;
use bridge_common::source::Start;
use bridge_common::source::kafka::{KafkaGroup, PartitionReader};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer};

use support::*;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kafka: tests/run starts one"]
async fn keys_values_headers_and_stamps_come_as_they_were_sent() {
    let topic = Topic::create(1, &[]).await;
    let headers = OwnedHeaders::new()
        .insert(Header { key: "a", value: Some("1") })
        .insert(Header { key: "none", value: None::<&str> })
        .insert(Header { key: "a", value: Some("2") })
        .insert(Header { key: "empty", value: Some("") });
    let producer = producer(&[]);
    let send = |record: BaseRecord<'_, [u8], [u8]>| producer.send(record).map_err(|(e, _)| e).expect("queued");
    send(BaseRecord::to(&topic.name).partition(0).key(&b"k"[..]).payload(&b"v"[..]).timestamp(1234).headers(headers));
    send(BaseRecord::to(&topic.name).partition(0).payload(&b"no key"[..]));
    send(BaseRecord::to(&topic.name).partition(0).key(&b"tombstone"[..]));
    send(BaseRecord::to(&topic.name).partition(0).key(&b""[..]).payload(&b""[..]));
    producer.flush(PATIENCE).expect("flushed");

    let (group, mut notices) = topic.join().await;
    let mut reader = assigned(&mut notices).await;
    reader.start_at(0).await.expect("started");
    let seen = read(&mut reader, 4).await;
    assert_eq!((seen[0].key.as_deref(), seen[0].value.as_deref()), (Some(&b"k"[..]), Some(&b"v"[..])));
    assert_eq!(seen[0].timestamp_ms, Some(1234));
    let expected = [("a", Some("1")), ("none", None), ("a", Some("2")), ("empty", Some(""))];
    let got: Vec<_> = seen[0].headers.iter().map(|(n, v)| (n.as_str(), v.as_deref())).collect();
    assert_eq!(got, expected.map(|(n, v)| (n, v.map(str::as_bytes))));
    assert_eq!((seen[1].key.as_deref(), seen[1].headers.len()), (None, 0));
    assert_eq!((seen[2].key.as_deref(), seen[2].value.as_deref()), (Some(&b"tombstone"[..]), None));
    assert_eq!((seen[3].key.as_deref(), seen[3].value.as_deref()), (Some(&b""[..]), Some(&b""[..])));
    assert_eq!(seen.iter().map(|r| r.offset).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert!(group.health().age() < Duration::from_secs(2), "the group's thread steps");
    leave(group, [reader], notices).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kafka: tests/run starts one"]
async fn nothing_comes_before_the_start_and_nothing_old_after_a_seek_back() {
    let topic = Topic::create(1, &[]).await;
    topic.fill(0, 5_000);
    let (group, mut notices) = topic.join().await;
    let mut reader = assigned(&mut notices).await;
    let early = reader.take(10, &mut |_| panic!("shown before the start"));
    assert!(matches!(early, Err(SourceError::NotStarted { .. })), "{early:?}");
    for round in 0..30u64 {
        let start = (round * 769) % 4_000;
        reader.start_at(start).await.expect("started");
        // Less than what librdkafka has fetched ahead by then, so that the queue is full of old records at the seek.
        let wanted = 1 + (round as usize * 37) % 900;
        let seen = read(&mut reader, wanted).await;
        let expected: Vec<_> = (start..start + wanted as u64).collect();
        assert_eq!(seen.iter().map(|r| r.offset).collect::<Vec<_>>(), expected, "round {round}");
        assert_eq!(reader.position(), Some(start + wanted as u64));
    }
    assert_eq!(reader.skipped(), 0, "the version barrier alone keeps old records out");
    assert_eq!(reader.high_watermark(), Some(5_000));
    leave(group, [reader], notices).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kafka: tests/run starts one"]
async fn a_stopped_reader_fetches_nothing_and_goes_on_where_it_stood() {
    let topic = Topic::create(1, &[]).await;
    topic.fill(0, 1_000);
    let (group, mut notices) = topic.join().await;
    let mut reader = assigned(&mut notices).await;
    reader.start_at(0).await.expect("started");
    read(&mut reader, 10).await;
    reader.stop().await.expect("stopped");
    let taken = reader.take(5_000, &mut |_| panic!("shown while stopped")).expect("took");
    assert!(taken.drained);
    assert_eq!(reader.position(), Some(10));
    reader.start_at(10).await.expect("started again");
    assert_eq!(read(&mut reader, 990).await.last().map(|r| r.offset), Some(999));
    leave(group, [reader], notices).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kafka: tests/run starts one"]
async fn the_position_moves_over_aborted_records_and_markers() {
    let topic = Topic::create(1, &[]).await;
    let producer = producer(&[("transactional.id", &topic.name)]);
    producer.init_transactions(PATIENCE).expect("initialised");
    let transact = |commit: bool, count: usize| {
        producer.begin_transaction().expect("begun");
        for _ in 0..count {
            let record = BaseRecord::<(), _>::to(&topic.name).partition(0).payload("x");
            producer.send(record).map_err(|(error, _)| error).expect("queued");
        }
        producer.flush(PATIENCE).expect("flushed");
        let end = if commit { producer.commit_transaction(PATIENCE) } else { producer.abort_transaction(PATIENCE) };
        end.expect("ended");
    };
    transact(true, 2); // 0, 1, marker 2
    transact(false, 3); // aborted 3, 4, 5, marker 6
    transact(true, 1); // 7, marker 8
    transact(false, 1); // aborted 9, marker 10
    let (group, mut notices) = topic.join().await;
    let mut reader = assigned(&mut notices).await;
    reader.start_at(0).await.expect("started");
    let seen = read_until(&mut reader, 11).await;
    assert_eq!(seen.iter().map(|r| r.offset).collect::<Vec<_>>(), [0, 1, 7]);
    assert_eq!(reader.position(), Some(11), "past the last marker");
    let stamp = reader.stamp_at(3).await.expect("asked").expect("there is one");
    assert_eq!(stamp.offset, 7, "the next record that exists");
    assert_eq!(reader.stamp_at(8).await.expect("asked"), None);
    reader.start_at(11).await.expect("started at the end");
    transact(true, 1);
    assert_eq!(read(&mut reader, 1).await[0].offset, 11, "and reading goes on");
    leave(group, [reader], notices).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kafka: tests/run starts one"]
async fn gaps_and_positions_beyond_the_end_are_named() {
    let topic = Topic::create(1, &[]).await;
    topic.fill(0, 100);
    let (group, mut notices) = topic.join().await;
    let mut reader = assigned(&mut notices).await;
    let beyond = reader.start_at(101).await;
    assert!(matches!(beyond, Err(SourceError::WentBack { position: 101, end: 100, .. })), "{beyond:?}");
    topic.delete_below(0, 40).await;
    let below = reader.start_at(39).await;
    assert!(matches!(below, Err(SourceError::Gap { from: 39, oldest: 40, .. })), "{below:?}");
    assert!(matches!(reader.take(1, &mut |_| {}), Err(SourceError::NotStarted { .. })));
    reader.start_at(40).await.expect("the oldest is there");
    assert_eq!(read(&mut reader, 60).await[0].offset, 40);
    leave(group, [reader], notices).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kafka: tests/run starts one"]
async fn a_gap_that_opens_while_reading_is_found_and_can_be_passed() {
    let topic = Topic::create(1, &[]).await;
    topic.fill_sized(0, 4_000, 2_000);
    // So little memory that most of the partition is not fetched when its records are deleted.
    let mut settings = topic.settings();
    settings.queue_bytes = 128 * 1024;
    let (group, mut notices) = KafkaGroup::open(settings).await.expect("opened");
    let mut reader = assigned(&mut notices).await;
    reader.start_at(0).await.expect("started");
    read(&mut reader, 1).await;
    topic.delete_below(0, 3_000).await;
    let error = loop {
        tokio::time::timeout(PATIENCE, reader.ready()).await.expect("something comes");
        match reader.take(100, &mut |record| assert!(record.offset < 3_000, "passed over the gap in silence")) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    let SourceError::OutOfRange { position, .. } = error else { panic!("{error}") };
    let named = reader.start_at(position).await;
    let Err(SourceError::Gap { from, oldest: 3_000, .. }) = named else { panic!("{named:?}") };
    assert_eq!(from, position);
    reader.start_at(3_000).await.expect("passed");
    let seen = read(&mut reader, 1_000).await;
    assert_eq!((seen[0].offset, seen[999].offset), (3_000, 3_999));
    leave(group, [reader], notices).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kafka: tests/run starts one"]
async fn every_start_becomes_an_offset() {
    let topic = Topic::create(1, &[("message.timestamp.type", "CreateTime")]).await;
    let producer = producer(&[]);
    let now = now_ms();
    for stamp in [now, now + 1_000, now + 2_000] {
        let record = BaseRecord::<(), _>::to(&topic.name).partition(0).payload("x").timestamp(stamp);
        producer.send(record).map_err(|(error, _)| error).expect("queued");
        producer.flush(PATIENCE).expect("flushed");
    }
    topic.delete_below(0, 1).await;
    let (group, mut notices) = topic.join().await;
    let mut reader = assigned(&mut notices).await;
    let now = now as u64;
    for (start, offset) in [
        (Start::Earliest, 1),
        (Start::Latest, 3),
        (Start::TimeMs(now + 1_000), 1),
        (Start::TimeMs(now + 1_001), 2),
        (Start::TimeMs(now + 9_000), 3),
        (Start::Offset(2), 2),
    ] {
        assert_eq!(reader.resolve(start).await, Ok(offset), "{start:?}");
    }
    assert_eq!(reader.watermarks().await, Ok((1, 3)));
    assert_eq!(group.partition_count(), 1);
    assert!(!group.cluster_id().is_empty());
    assert_eq!(reader.partition().cluster_id, group.cluster_id());
    leave(group, [reader], notices).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kafka: tests/run starts one"]
async fn a_record_larger_than_a_fetch_comes_whole() {
    let topic = Topic::create(1, &[("max.message.bytes", "10485760")]).await;
    topic.fill(0, 10);
    topic.fill_sized(0, 1, 6_000_000);
    topic.fill(0, 10);
    let (group, mut notices) = topic.join().await;
    let mut reader = assigned(&mut notices).await;
    reader.start_at(0).await.expect("started");
    let seen = read(&mut reader, 21).await;
    assert_eq!(seen[10].value.as_ref().map(Vec::len), Some(6_000_000));
    assert_eq!(seen[20].offset, 20);
    leave(group, [reader], notices).await;
}

/// Reads the whole topic with a visitor that panics now and then.
async fn stumble_through(reader: &mut PartitionReader, end: u64) {
    reader.start_at(0).await.expect("started");
    while reader.position() < Some(end) {
        tokio::time::timeout(PATIENCE, reader.ready()).await.expect("something comes");
        let take = || reader.take(1_000, &mut |record| assert!(record.offset % 300 != 299, "the test's own panic"));
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(take)).is_err() {
            let position = reader.position().expect("started");
            assert_eq!(position % 300, 299, "the record in hand is not consumed");
            reader.start_at(position + 1).await.expect("past it");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kafka: tests/run starts one"]
async fn a_visitor_that_panics_keeps_its_record_and_leaks_nothing() {
    let topic = Topic::create(1, &[]).await;
    topic.fill_sized(0, 2_000, 10_000);
    let (group, mut notices) = topic.join().await;
    let mut reader = assigned(&mut notices).await;
    for _ in 0..3 {
        stumble_through(&mut reader, 2_000).await;
    }
    let before = resident_bytes();
    for _ in 0..15 {
        stumble_through(&mut reader, 2_000).await;
    }
    // Each round goes through 20 MB; what leaked would show many times over.
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 60_000_000, "grew by {grown} bytes");
    leave(group, [reader], notices).await;
}

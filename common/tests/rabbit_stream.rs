//! Reading streams of a real RabbitMQ.
#![cfg(feature = "rabbitmq")]

#[path = "rabbit/support.rs"]
mod support;

use bridge_common::config::{ArgumentValue, QueueType};
use bridge_common::source::{SourceError, Start};
use lapin::BasicProperties;

use support::*;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn a_stream_is_read_by_its_offsets_from_anywhere() {
    for prefetch in [7, 1_000] {
        let mut bench = Bench::new(QueueType::Stream).await;
        bench.settings.prefetch = prefetch;
        let (_group, mut reader) = bench.open().await;
        bench.fill(0, 3_000).await;
        for start in [0, 1_234, 2_999] {
            reader.start_at(start).await.expect("started");
            // Far more than the prefetch comes, since taking makes room; and nothing needs to be settled for it.
            let seen = read(&mut reader, (3_000 - start) as usize).await;
            assert_eq!(offsets(&seen), (start..3_000).collect::<Vec<_>>());
            assert_eq!(values(&seen), (start..3_000).collect::<Vec<_>>());
            assert_eq!(reader.position(), Some(3_000));
        }
        // Settled or not, a stream keeps its records.
        reader.settled(3_000);
        reader.stop().await.expect("stopped");
        reader.start_at(10).await.expect("started");
        assert_eq!(offsets(&read(&mut reader, 5).await), [10, 11, 12, 13, 14]);
        until("the end", || async { reader.high_watermark() == Some(3_000) }).await;
        bench.fill(3_000, 3_050).await;
        until("the new end", || async { reader.high_watermark() == Some(3_050) }).await;
        drop(reader);
        bench.delete().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn starts_are_resolved_and_the_end_is_exact() {
    let bench = Bench::new(QueueType::Stream).await;
    let (_group, mut reader) = bench.open().await;
    for start in [Start::Earliest, Start::Latest, Start::TimeMs(0)] {
        assert_eq!(reader.resolve(start).await.expect("resolved"), 0, "an empty stream, {start:?}");
    }
    assert_eq!(reader.stamp_at(0).await.expect("asked"), None);
    let properties = BasicProperties::default().with_timestamp(1_700_000_000);
    bench.publish(properties, b"0").await;
    // One chunk of many, larger than what the look for the end has under way at once.
    bench.fill(1, 5_000).await;
    assert_eq!(reader.resolve(Start::Earliest).await.expect("resolved"), 0);
    assert_eq!(reader.resolve(Start::Latest).await.expect("resolved"), 5_000);
    assert_eq!(reader.resolve(Start::Offset(17)).await.expect("resolved"), 17);
    assert_eq!(reader.resolve(Start::TimeMs(0)).await.expect("resolved"), 0);
    assert_eq!(reader.resolve(Start::TimeMs(u64::from(u32::MAX) * 1000)).await.expect("resolved"), 5_000);
    let stamp = reader.stamp_at(0).await.expect("asked").expect("there");
    assert_eq!((stamp.offset, stamp.timestamp_ms), (0, Some(1_700_000_000_000)));
    let stamp = reader.stamp_at(4_999).await.expect("asked").expect("there");
    assert_eq!((stamp.offset, stamp.timestamp_ms), (4_999, None));
    assert_eq!(reader.stamp_at(5_000).await.expect("asked"), None);
    // Exactly at the end it waits for what comes.
    reader.start_at(5_000).await.expect("started");
    bench.fill(5_000, 5_003).await;
    assert_eq!(offsets(&read(&mut reader, 3).await), [5_000, 5_001, 5_002]);
    drop(reader);
    bench.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn a_start_beyond_the_end_and_a_recreated_stream_are_told() {
    let bench = Bench::new(QueueType::Stream).await;
    let (_group, mut reader) = bench.open().await;
    bench.fill(0, 50).await;
    let error = reader.start_at(51).await.expect_err("started beyond the end");
    assert!(matches!(error, SourceError::WentBack { position: 51, end: 50, .. }), "{error:?}");
    reader.start_at(50).await.expect("started at the end");
    bench.delete().await;
    let error = fault(&mut reader).await;
    assert!(matches!(error, SourceError::Unavailable { .. }), "{error:?}");
    // It is declared again, and empty: that may also be a slow server, until the first record tells.
    let Err(SourceError::Unavailable { reason, .. }) = reader.start_at(50).await else { panic!("started") };
    assert!(reason.contains("generation"), "{reason}");
    bench.fill(0, 3).await;
    let error = reader.start_at(50).await.expect_err("started in another stream");
    assert!(matches!(error, SourceError::WentBack { position: 50, end: 3, .. }), "{error:?}");
    drop(reader);
    bench.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn what_a_stream_has_trimmed_is_a_gap() {
    let mut bench = Bench::new(QueueType::Stream).await;
    for (name, bytes) in [("x-max-length-bytes", 200_000), ("x-stream-max-segment-size-bytes", 100_000)] {
        bench.settings.arguments.insert(name.to_owned(), ArgumentValue::Integer(bytes));
    }
    let (_group, mut reader) = bench.open().await;
    let mut oldest = 0;
    for _ in 0..50 {
        for _ in 0..20 {
            bench.publish(BasicProperties::default(), &[b'x'; 5_000]).await;
        }
        oldest = reader.resolve(Start::Earliest).await.expect("resolved");
        if oldest > 0 {
            break;
        }
    }
    assert!(oldest > 0, "nothing was trimmed");
    let error = reader.start_at(0).await.expect_err("started in what is gone");
    let SourceError::Gap { from: 0, oldest, .. } = error else { panic!("{error:?}") };
    reader.start_at(oldest).await.expect("started");
    assert_eq!(read(&mut reader, 1).await[0].offset, oldest);
    drop(reader);
    bench.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn a_killed_connection_goes_on_at_the_offset() {
    let bench = Bench::new(QueueType::Stream).await;
    let (_group, mut reader) = bench.open().await;
    bench.fill(0, 100).await;
    reader.start_at(0).await.expect("started");
    assert_eq!(read(&mut reader, 60).await.len(), 60);
    kill_connections(&bench.settings.stream).await;
    let error = fault(&mut reader).await;
    assert!(matches!(error, SourceError::Unavailable { .. }), "{error:?}");
    start(&mut reader, 60).await;
    assert_eq!(offsets(&read(&mut reader, 40).await), (60..100).collect::<Vec<_>>());
    drop(reader);
    bench.delete().await;
}

//! Reading queues of a real RabbitMQ.
#![cfg(feature = "rabbitmq")]

#[path = "rabbit/support.rs"]
mod support;

use std::time::Duration;

use bridge_common::config::{ArgumentValue, BindSection, KeyFrom, QueueType};
use bridge_common::source::rabbitmq::{RabbitGroup, RabbitSettings};
use bridge_common::source::{Leave, Notice, Reader, SourceError};
use lapin::BasicProperties;
use lapin::options::{BasicPublishOptions, ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};

use support::*;

const BOTH: [QueueType; 2] = [QueueType::Quorum, QueueType::Classic];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn deliveries_are_numbered_in_order_and_what_is_not_settled_comes_again() {
    let _node = NODE.read().await;
    for kind in BOTH {
        let bench = Bench::new(kind).await;
        let (group, mut reader) = bench.open().await;
        assert_eq!(group.cluster_id(), reader.partition().cluster_id);
        assert!(group.server_version().starts_with(|c: char| c.is_ascii_digit()), "{}", group.server_version());
        assert!(matches!(take(&mut reader, 1, &mut Vec::new()), Err(SourceError::NotStarted { .. })));
        bench.fill(0, 100).await;
        reader.start_at(1_000).await.expect("started");
        let seen = read(&mut reader, 100).await;
        assert_eq!(offsets(&seen), (1_000..1_100).collect::<Vec<_>>());
        assert_eq!(values(&seen), (0..100).collect::<Vec<_>>());
        assert_eq!(reader.position(), Some(1_100));

        for below in [1_001, 1_001, 1_000, 1_030, 1_040] {
            reader.settled(below);
        }
        // Settled means acknowledged before the next start sees the queue.
        reader.start_at(5_000).await.expect("started again");
        let again = read(&mut reader, 60).await;
        assert_eq!(values(&again), (40..100).collect::<Vec<_>>());
        assert_eq!(offsets(&again), (5_000..5_060).collect::<Vec<_>>());
        reader.settled(1_100);
        reader.settled(9_999);
        drop(reader);
        bench.until_ready(0).await;
        assert!(group.health().age() < Duration::from_secs(5), "the source's task steps");
        group.close(Leave::ForGood, PATIENCE).await;
        bench.delete().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn after_a_stop_what_was_taken_is_still_settled_and_the_rest_goes_back() {
    let _node = NODE.read().await;
    for kind in BOTH {
        let bench = Bench::new(kind).await;
        let (_group, mut reader) = bench.open().await;
        bench.fill(0, 50).await;
        reader.start_at(0).await.expect("started");
        assert_eq!(values(&read(&mut reader, 20).await).len(), 20);
        reader.stop().await.expect("stopped");
        let mut seen = Vec::new();
        assert!(take(&mut reader, 100, &mut seen).expect("nothing").drained);
        assert!(seen.is_empty(), "shown after the stop");
        // Ten are settled late, and ten not: only those and the thirty that were not taken come again.
        reader.settled(10);
        reader.settled(20);
        bench.until_ready(30).await;
        reader.start_at(100).await.expect("started again");
        assert_eq!(values(&read(&mut reader, 30).await), (20..50).collect::<Vec<_>>());
        drop(reader);
        bench.until_ready(30).await;
        bench.delete().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn the_prefetch_bounds_what_is_under_way_and_the_end_is_known() {
    let _node = NODE.read().await;
    for kind in BOTH {
        let mut bench = Bench::new(kind).await;
        bench.settings.prefetch = 10;
        let (_group, mut reader) = bench.open().await;
        bench.fill(0, 100).await;
        reader.start_at(0).await.expect("started");
        assert_eq!(read(&mut reader, 10).await.len(), 10);
        bench.until_ready(90).await;
        let mut seen = Vec::new();
        assert!(take(&mut reader, 10, &mut seen).expect("taken").drained && seen.is_empty());
        until("the end", || async { reader.high_watermark() == Some(100) }).await;
        reader.settled(5);
        assert_eq!(values(&read(&mut reader, 5).await), (10..15).collect::<Vec<_>>());
        bench.until_ready(85).await;
        drop(reader);
        bench.delete().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn large_bodies_lower_the_prefetch() {
    let _node = NODE.read().await;
    let mut bench = Bench::new(QueueType::Quorum).await;
    (bench.settings.prefetch, bench.settings.held_bytes) = (100, 100_000);
    let (_group, mut reader) = bench.open().await;
    for _ in 0..60 {
        bench.publish(BasicProperties::default(), &[b'x'; 10_000]).await;
    }
    reader.start_at(0).await.expect("started");
    // Nobody takes but when there is something: so it is found while deliveries come.
    let (seen, error) = until_fault(&mut reader).await;
    assert!((16..=60).contains(&seen.len()), "{} were shown before", seen.len());
    let SourceError::Unavailable { reason, .. } = error else { panic!("{error}") };
    assert!(reason.contains("10000 bytes"), "{reason}");
    reader.start_at(100).await.expect("started again");
    assert_eq!(read(&mut reader, 10).await.len(), 10);
    bench.until_ready(50).await;
    drop(reader);
    bench.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn a_rejected_delivery_goes_to_the_dead_letter_exchange_in_its_turn() {
    let _node = NODE.read().await;
    for kind in BOTH {
        let mut bench = Bench::new(kind).await;
        let dead = Bench::new(kind).await;
        let argument = |text: &str| ArgumentValue::Text(text.to_owned());
        bench.settings.arguments.insert("x-dead-letter-exchange".to_owned(), argument(""));
        bench.settings.arguments.insert("x-dead-letter-routing-key".to_owned(), argument(&dead.queue));
        let (_dead_group, mut dead_reader) = dead.open().await;
        let (_group, mut reader) = bench.open().await;
        bench.fill(0, 10).await;
        reader.start_at(100).await.expect("started");
        assert_eq!(read(&mut reader, 10).await.len(), 10);
        let Reader::RabbitQueue(queue) = &mut reader else { panic!("no queue") };
        assert!(queue.declares_dead_letter_exchange());
        for offset in [103, 104, 109, 999] {
            queue.reject(offset);
        }
        queue.settled(103);
        assert_eq!(dead.ready().await, 0, "nothing is rejected before its turn");
        queue.settled(106);
        dead.until_ready(2).await;
        queue.settled(110);
        dead.until_ready(3).await;
        // Had an acknowledgement named a tag twice, the channel would be closed now.
        bench.fill(10, 11).await;
        assert_eq!(values(&read(&mut reader, 1).await), [10]);
        dead_reader.start_at(0).await.expect("started");
        assert_eq!(values(&read(&mut dead_reader, 3).await), [3, 4, 9]);
        drop((reader, dead_reader));
        bench.delete().await;
        dead.delete().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn a_killed_connection_is_a_new_start_and_old_acknowledgements_are_void() {
    let _node = NODE.read().await;
    for kind in BOTH {
        let bench = Bench::new(kind).await;
        let (_group, mut reader) = bench.open().await;
        bench.fill(0, 20).await;
        reader.start_at(0).await.expect("started");
        assert_eq!(read(&mut reader, 10).await.len(), 10);
        kill_connections(&bench.settings.stream).await;
        let error = fault(&mut reader).await;
        assert!(matches!(error, SourceError::Unavailable { .. }), "{error:?}");
        assert_eq!(reader.position(), None);
        reader.settled(10);
        start(&mut reader, 50).await;
        let seen = read(&mut reader, 20).await;
        assert_eq!(values(&seen), (0..20).collect::<Vec<_>>());
        assert_eq!(offsets(&seen), (50..70).collect::<Vec<_>>());
        reader.settled(70);
        drop(reader);
        bench.until_ready(0).await;
        bench.delete().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn a_deleted_queue_is_declared_again_with_its_bindings() {
    let _node = NODE.read().await;
    for kind in BOTH {
        let mut bench = Bench::new(kind).await;
        let exchange = unique("exchange");
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let (name, topic) = (exchange.as_str().into(), lapin::ExchangeKind::Topic);
        bench.channel.exchange_declare(name, topic, options, FieldTable::default()).await.expect("declared");
        let (routing_key, arguments) = ("job.#".to_owned(), Default::default());
        bench.settings.bindings.push(BindSection { exchange: exchange.clone(), routing_key, arguments });
        let (_group, mut reader) = bench.open().await;
        reader.start_at(0).await.expect("started");
        bench.delete().await;
        let error = fault(&mut reader).await;
        assert!(matches!(error, SourceError::Unavailable { .. }), "{error:?}");
        start(&mut reader, 10).await;
        let (name, options) = (exchange.as_str().into(), BasicPublishOptions::default());
        let key = "job.1.done".into();
        let sent = bench.channel.basic_publish(name, key, options, b"1", BasicProperties::default());
        assert!(sent.await.expect("sent").await.expect("answered").is_ack());
        let seen = read(&mut reader, 1).await;
        assert_eq!((seen[0].offset, seen[0].value.as_str()), (10, "1"));
        drop(reader);
        bench.delete().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn a_missing_queue_that_is_not_ours_to_declare_stalls_in_clear_words() {
    let _node = NODE.read().await;
    let mut bench = Bench::new(QueueType::Classic).await;
    bench.settings.declare = false;
    let (_group, mut reader) = bench.open().await;
    let Err(SourceError::Unavailable { reason, .. }) = reader.start_at(0).await else { panic!("started") };
    assert!(reason.contains("there is no queue"), "{reason}");
    // Without a single active consumer the reader holds the queue for itself.
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    bench.channel.queue_declare(bench.queue.as_str().into(), durable, FieldTable::default()).await.expect("declared");
    reader.start_at(0).await.expect("started");
    let (_other_group, mut other) = bench.open().await;
    let Err(SourceError::Unavailable { reason, .. }) = other.start_at(0).await else { panic!("both consume") };
    assert!(reason.contains("exclusive"), "{reason}");
    drop(reader);
    start(&mut other, 0).await;
    bench.fill(0, 1).await;
    assert_eq!(read(&mut other, 1).await.len(), 1);
    drop(other);
    bench.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn one_consumer_at_a_time_has_the_queue() {
    let _node = NODE.read().await;
    for kind in BOTH {
        let bench = Bench::new(kind).await;
        let (_group, mut reader) = bench.open().await;
        let (_other_group, mut other) = bench.open().await;
        reader.start_at(0).await.expect("started");
        other.start_at(500).await.expect("started");
        bench.fill(0, 10).await;
        assert_eq!(read(&mut reader, 10).await.len(), 10);
        assert!(take(&mut other, 10, &mut Vec::new()).expect("nothing").drained);
        reader.settled(5);
        drop(reader);
        let seen = read(&mut other, 5).await;
        assert_eq!((values(&seen), offsets(&seen)), ((5..10).collect(), (500..505).collect()));
        drop(other);
        bench.delete().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn properties_and_headers_come_as_they_were_sent() {
    let _node = NODE.read().await;
    for kind in [QueueType::Quorum, QueueType::Classic, QueueType::Stream] {
        let mut bench = Bench::new(kind).await;
        bench.settings.key = Some(KeyFrom::Header("text".to_owned()));
        let (_group, mut reader) = bench.open().await;
        let mut headers = FieldTable::default();
        headers.insert("null".into(), AMQPValue::Void);
        headers.insert("number".into(), AMQPValue::LongInt(-7));
        headers.insert("text".into(), AMQPValue::LongString("tütü".into()));
        headers.insert("when".into(), AMQPValue::Timestamp(99));
        headers.insert("yes".into(), AMQPValue::Boolean(true));
        let properties = BasicProperties::default()
            .with_headers(headers)
            .with_message_id("id".into())
            .with_correlation_id("correlation".into())
            .with_type("kind".into())
            .with_content_type("application/json".into())
            .with_content_encoding("identity".into())
            .with_reply_to("reply".into())
            .with_expiration("600000".into())
            .with_app_id("app".into())
            .with_user_id("guest".into())
            .with_timestamp(1_700_000_000)
            .with_priority(3)
            .with_delivery_mode(2);
        bench.publish(properties, b"body").await;
        reader.start_at(0).await.expect("started");
        let seen = read(&mut reader, 1).await.remove(0);
        assert_eq!((seen.offset, seen.timestamp_ms, seen.value.as_str()), (0, Some(1_700_000_000_000), "body"));
        assert_eq!(seen.key, Some("tütü".as_bytes().to_vec()));
        let expected = [
            ("number", "-7"),
            ("text", "tütü"),
            ("when", "99"),
            ("yes", "true"),
            ("amqp.message-id", "id"),
            ("amqp.correlation-id", "correlation"),
            ("amqp.type", "kind"),
            ("amqp.content-type", "application/json"),
            ("amqp.content-encoding", "identity"),
            ("amqp.reply-to", "reply"),
            ("amqp.expiration", "600000"),
            ("amqp.app-id", "app"),
            ("amqp.user-id", "guest"),
            ("amqp.timestamp", "1700000000"),
            ("amqp.priority", "3"),
            ("amqp.delivery-mode", "2"),
            ("amqp.exchange", ""),
            ("amqp.routing-key", &bench.queue),
        ];
        let null = seen.headers.iter().find(|(name, _)| name == "null").expect("the null header");
        assert_eq!(null.1, None);
        let texts: Vec<_> =
            seen.headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_deref()?))).collect();
        assert_eq!(texts, expected.map(|(name, value)| (name, value.as_bytes())), "{kind:?}");
        drop(reader);
        bench.delete().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn a_node_that_is_restarted_is_waited_for() {
    let _node = NODE.write().await;
    let mut bench = Bench::new(QueueType::Quorum).await;
    let (_group, mut reader) = bench.open().await;
    bench.fill(0, 20).await;
    reader.start_at(0).await.expect("started");
    assert_eq!(read(&mut reader, 10).await.len(), 10);
    reader.settled(5);
    bench.until_ready(0).await;
    tokio::task::spawn_blocking(restart_node).await.expect("restarted");
    let error = fault(&mut reader).await;
    assert!(matches!(error, SourceError::Unavailable { .. }), "{error:?}");
    start(&mut reader, 100).await;
    bench.reconnect().await;
    let seen = values(&read(&mut reader, 15).await);
    assert_eq!(seen, (5..20).collect::<Vec<_>>());
    drop(reader);
    bench.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn deliveries_that_are_held_too_long_are_a_new_start() {
    let _node = NODE.write().await;
    let before = "{application:set_env(rabbit, consumer_timeout, 1800000), \
                  application:set_env(rabbit, channel_tick_interval, 60000)}.";
    evaluate(
        "{application:set_env(rabbit, consumer_timeout, 500), application:set_env(rabbit, channel_tick_interval, 200)}.",
    );
    for kind in BOTH {
        let bench = Bench::new(kind).await;
        let (_group, mut reader) = bench.open().await;
        bench.fill(0, 3).await;
        reader.start_at(0).await.expect("started");
        assert_eq!(read(&mut reader, 3).await.len(), 3);
        let error = fault(&mut reader).await;
        assert!(error.is_transient() && error.to_string().contains("timeout"), "{error}");
        start(&mut reader, 10).await;
        let seen = read(&mut reader, 3).await;
        assert_eq!((values(&seen), offsets(&seen)), (vec![0, 1, 2], vec![10, 11, 12]));
        reader.settled(13);
        drop(reader);
        bench.until_ready(0).await;
        bench.delete().await;
    }
    evaluate(before);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn several_queues_are_partitions_of_their_own_and_a_close_sends_what_was_settled() {
    let _node = NODE.read().await;
    let (mut bench, other) = (Bench::new(QueueType::Quorum).await, Bench::new(QueueType::Quorum).await);
    bench.settings.queues.push(other.queue.clone());
    bench.settings.cluster_id = Some("our-name".to_owned());
    let (group, mut notices) = RabbitGroup::open(bench.settings.clone()).await.expect("opened");
    assert_eq!((group.cluster_id(), group.partition_count()), ("our-name", 2));
    for bench in [&bench, &other] {
        let Some(Notice::Assigned(mut reader)) = notices.recv().await else { panic!("no reader") };
        assert_eq!((&reader.partition().topic, reader.partition().cluster_id.as_str()), (&bench.queue, "our-name"));
        bench.fill(0, 500).await;
        reader.start_at(0).await.expect("started");
        let seen = read(&mut reader, 500).await;
        assert_eq!(values(&seen), (0..500).collect::<Vec<_>>());
        seen.iter().for_each(|seen| reader.settled(seen.offset + 1));
    }
    // The readers are gone, and their acknowledgements may still be under way.
    group.close(Leave::ForRestart, PATIENCE).await;
    for bench in [&bench, &other] {
        bench.until_ready(0).await;
        let single = RabbitSettings { queues: vec![bench.queue.clone()], ..bench.settings.clone() };
        let (_group, mut notices) = RabbitGroup::open(single).await.expect("opened");
        let Some(Notice::Assigned(mut reader)) = notices.recv().await else { panic!("no reader") };
        reader.start_at(0).await.expect("started");
        bench.fill(500, 501).await;
        assert_eq!(values(&read(&mut reader, 1).await), [500], "nothing comes again");
        drop(reader);
        bench.delete().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn a_wrong_password_is_denied_and_shown_nowhere() {
    let _node = NODE.read().await;
    let mut bench = Bench::new(QueueType::Quorum).await;
    bench.settings.password = Some(bridge_common::config::Secret::new("hush-hush"));
    let error = RabbitGroup::open(bench.settings.clone()).await.expect_err("let in");
    assert!(matches!(error, SourceError::Denied { .. }), "{error:?}");
    let words = error.to_string();
    assert!(words.contains("access to the vhost") && !words.contains("Describe"), "{words}");
    assert!(!format!("{error} {error:?} {:?}", bench.settings).contains("hush"), "{error}");
}

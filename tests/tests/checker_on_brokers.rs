//! The checker itself on a real Kafka and a real Pulsar: it accepts a faithful copy and finds what was done to it. The
//! copy is made here by the `pulsar` crate's producer, so no bridge is needed. `CHECKER_RECORDS` says how many records, to see how fast it is.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::time::Duration;

use bridge_tests::Result;
use bridge_tests::checker::{self, Identity, Parity, Source};
use bridge_tests::events::Shares;
use bridge_tests::faults::PulsarAdmin;
use bridge_tests::generator::{Generator, RabbitExchange, Settings};
use bridge_tests::oracle::Oracle;
use bridge_tests::rabbit::QueueKind;
use bridge_tests::scenario::{SOURCE_PARTITIONS, Scenario, TARGET_PARTITIONS};
use bridge_tests::stack::{Stack, unique};
use bridge_tests::streams::Stream;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable};
use pulsar::compression::Compression;
use pulsar::producer::Message as Outgoing;
use pulsar::{Producer, ProducerOptions, Pulsar, TokioExecutor};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message, OwnedMessage};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

const CONTRACT: &str = r#"{"type":"record","name":"JobLifecycleEvent","namespace":"com.cosmichorizons.events","fields":[
    {"name":"event_id","type":"string"},
    {"name":"event_type","type":"string"},
    {"name":"timestamp","type":"string"},
    {"name":"payload","type":"string","json":true},
    {"name":"job_id","type":["null","string"],"default":null,"path":["payload","job_id"]}]}"#;

/// All records of the source, by partition.
fn source_of(scenario: &Scenario, count: u64) -> Result<Vec<OwnedMessage>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", scenario.stack.kafka())
        .set("group.id", "copier")
        .set("enable.auto.commit", "false")
        .create()?;
    let mut all = TopicPartitionList::new();
    for partition in 0..SOURCE_PARTITIONS {
        all.add_partition_offset(&scenario.topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&all)?;
    let mut records = Vec::new();
    while (records.len() as u64) < count {
        let message = consumer.poll(Duration::from_secs(30)).ok_or("Kafka gives no more records")??;
        records.push(message.detach());
    }
    Ok(records)
}

/// Writes lanes into the target, and broken records into the dead letters, as a bridge does.
struct Copier {
    client: Pulsar<TokioExecutor>,
    oracle: Oracle,
    target: String,
    producers: HashMap<(bool, i32), Producer<TokioExecutor>>,
}

impl Copier {
    async fn producer(&mut self, dead: bool, topic: &str, partition: i32) -> Result<&mut Producer<TokioExecutor>> {
        if !self.producers.contains_key(&(dead, partition)) {
            let lane = partition as u32 % TARGET_PARTITIONS;
            let target = if dead {
                format!("{}-dead-letters", self.target)
            } else {
                format!("{}-partition-{lane}", self.target)
            };
            let compression = if partition % 2 == 0 {
                Compression::Lz4(Default::default())
            } else {
                Compression::Zstd(Default::default())
            };
            let options =
                ProducerOptions { batch_size: Some(500), compression: Some(compression), ..ProducerOptions::default() };
            let builder = self.client.producer().with_topic(target).with_options(options);
            let name = format!("bridge/job-lifecycle/cluster/{topic}/{partition}");
            self.producers.insert((dead, partition), builder.with_name(name).build().await?);
        }
        Ok(self.producers.get_mut(&(dead, partition)).unwrap())
    }

    async fn copy(&mut self, record: &OwnedMessage) -> Result<()> {
        let translated = record.payload().map(|value| self.oracle.translate(value, None)).transpose();
        let too_large = matches!(&translated, Ok(Some(datum)) if datum.len() > 5 << 20);
        let headers = record.headers().unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let dead = translated.is_err() || too_large;
        let body = match translated {
            Ok(datum) if !too_large => datum.unwrap_or_default(),
            // A dead letter shows the record's bytes, but of one that is too large only the head.
            _ => record.payload().unwrap().iter().copied().take(1 << 20).collect(),
        };
        let outgoing = Outgoing {
            payload: body,
            partition_key: record.key().map(text),
            event_time: record.timestamp().to_millis().map(|ms| ms as u64),
            properties: headers.iter().map(|header| (header.key.to_owned(), text(header.value.unwrap()))).collect(),
            ..Outgoing::default()
        };
        let producer = self.producer(dead, record.topic(), record.partition()).await?;
        drop(producer.send_non_blocking(outgoing).await?);
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        for producer in self.producers.values_mut() {
            producer.send_batch().await?;
        }
        Ok(())
    }
}

async fn check(scenario: &Scenario, contract: &std::path::Path) -> Result<Parity> {
    let kafka = scenario.stack.kafka();
    let settings = checker::Settings::new(kafka, &scenario.topic, scenario.stack.pulsar(), &scenario.target, contract);
    let parity = checker::check(&settings).await?;
    scenario.say(format!("the checker says\n{parity}"));
    Ok(parity)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn the_checker_accepts_a_faithful_copy_and_finds_what_is_done_to_it() -> Result<()> {
    let scenario = Scenario::bare("checker").await?;
    let contract = std::env::temp_dir().join(format!("{}.avsc", scenario.topic));
    std::fs::write(&contract, CONTRACT)?;
    scenario.admin().create_namespace(&scenario.namespace, false).await?;
    scenario.admin().create_topic(&scenario.target, TARGET_PARTITIONS).await?;
    let shares = Shares { broken: 0.01, many_fields: 0.001, tombstones: 0.01, repeated: 0.01, too_large_every: 7_000 };
    let records = std::env::var("CHECKER_RECORDS").map_or(20_000, |count| count.parse().unwrap());
    let feed = Settings { records: Some(records), shares, ..scenario.feed() };
    let fed = tokio::task::block_in_place(|| Generator::start(feed).wait())?;
    scenario.say(format!("{} records fed in {:?}", fed.acknowledged, fed.took));
    let records = tokio::task::block_in_place(|| source_of(&scenario, fed.acknowledged))?;

    let mut copier = Copier {
        client: Pulsar::builder(scenario.stack.pulsar(), TokioExecutor).build().await?,
        oracle: Oracle::parse(CONTRACT)?,
        target: scenario.target.clone(),
        producers: HashMap::new(),
    };
    // The last record is kept back: first it is missing, then it comes, then it comes again.
    let (last, rest) = records.split_last().unwrap();
    for record in rest {
        copier.copy(record).await?;
    }
    copier.flush().await?;
    let parity = check(&scenario, &contract).await?;
    assert_eq!(parity.target_total().missing + parity.dead_letters_total().missing, 1);
    assert!(!parity.holds());

    copier.copy(last).await?;
    copier.flush().await?;
    let parity = check(&scenario, &contract).await?;
    assert!(parity.holds(), "{parity}");
    assert_eq!(parity.dead_letters_total().observed, fed.broken());

    copier.copy(last).await?;
    copier.flush().await?;
    let parity = check(&scenario, &contract).await?;
    assert_eq!(parity.target_total().doubled + parity.dead_letters_total().doubled, 1);
    assert!(!parity.holds());
    std::fs::remove_file(&contract)?;
    Ok(())
}

/// Every header and property that the bridge must keep, as properties of the target's message.
fn kept(delivery: &Delivery) -> HashMap<String, String> {
    let text = |value: &AMQPValue| match value {
        AMQPValue::LongString(text) => text.to_string(),
        AMQPValue::LongLongInt(number) => number.to_string(),
        AMQPValue::Boolean(flag) => flag.to_string(),
        _ => String::new(),
    };
    let mut kept = HashMap::new();
    for (place, (name, value)) in delivery.properties.headers().iter().flat_map(FieldTable::inner).enumerate() {
        let is_null = matches!(value, AMQPValue::Void);
        let name = if is_null { format!("bridge.header.{place}.null.{name}") } else { name.to_string() };
        kept.insert(name, text(value));
    }
    let properties = &delivery.properties;
    for (name, value) in [
        ("message-id", properties.message_id().as_ref().map(ToString::to_string)),
        ("correlation-id", properties.correlation_id().as_ref().map(ToString::to_string)),
        ("type", properties.kind().as_ref().map(ToString::to_string)),
        ("timestamp", properties.timestamp().map(|seconds| seconds.to_string())),
        ("content-type", properties.content_type().as_ref().map(ToString::to_string)),
        ("delivery-mode", properties.delivery_mode().map(|mode| mode.to_string())),
        ("exchange", Some(delivery.exchange.to_string())),
        ("routing-key", Some(delivery.routing_key.to_string())),
    ] {
        kept.extend(value.map(|value| (format!("amqp.{name}"), value)));
    }
    let digest = ring::digest::digest(&ring::digest::SHA256, &delivery.data);
    kept.insert("bridge.sha256".to_owned(), digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect());
    let event: Option<serde_json::Value> = serde_json::from_slice(&delivery.data).ok();
    let id = event.and_then(|event| event["event_id"].as_str().map(str::to_owned));
    kept.extend(id.map(|id| ("bridge.idempotency-key".to_owned(), id)));
    kept
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn the_checker_knows_what_was_published_to_a_queue() -> Result<()> {
    let stack = Stack::up_with(&["pulsar", "rabbitmq"])?;
    let name = unique("checker-queue");
    let (target, directory) = (format!("persistent://public/{name}/events"), std::env::temp_dir());
    let (contract, journal) = (directory.join(format!("{name}.avsc")), directory.join(format!("{name}.journal")));
    std::fs::write(&contract, CONTRACT)?;
    let admin = PulsarAdmin::at(stack.pulsar_admin());
    admin.create_namespace(&format!("public/{name}"), false).await?;
    admin.create_topic(&target, TARGET_PARTITIONS).await?;
    stack.rabbit().declare_queue(&name, QueueKind::Classic).await?;
    let exchange = RabbitExchange {
        url: stack.rabbitmq().to_owned(),
        exchange: String::new(),
        routing_key: Some(name.clone()),
        is_rich: true,
        journal: journal.clone(),
    };
    let shares = Shares { broken: 0.02, repeated: 0.05, ..Shares::default() };
    let feed = Settings { records: Some(5_000), shares, ..Settings::of(Stream::Notifications).to_rabbit(exchange) };
    let fed = tokio::task::block_in_place(|| Generator::start(feed).wait())?;
    assert_eq!(fed.rabbit.confirmed, 5_000);
    let deliveries = stack.rabbit().take_all(&name).await?;

    let client: Pulsar<TokioExecutor> = Pulsar::builder(stack.pulsar(), TokioExecutor).build().await?;
    let oracle = Oracle::parse(CONTRACT)?;
    let producer = async |topic: String| {
        let lane = format!("bridge/notifications/cluster/{name}/0");
        client.producer().with_topic(topic).with_name(lane).build().await
    };
    let mut live = producer(format!("{target}-partition-0")).await?;
    let mut dead = producer(format!("{target}-dead-letters")).await?;
    let mut copy = async |delivery: &Delivery| {
        let translated = oracle.translate(&delivery.data, None);
        let producer = if translated.is_ok() { &mut live } else { &mut dead };
        let message = Outgoing {
            payload: translated.unwrap_or_else(|_| delivery.data.clone()),
            event_time: delivery.properties.timestamp().map(|seconds| seconds * 1000),
            properties: kept(delivery),
            ..Outgoing::default()
        };
        producer.send_non_blocking(message).await?.await.map(drop)
    };
    let queue =
        |identity, ordered| Source::Queue { queues: vec![name.clone()], journal: journal.clone(), identity, ordered };
    let by_event = queue(Identity::Json("event_id".to_owned()), true);
    let check = async |source: &Source| {
        let parity =
            checker::check(&checker::Settings::of(vec![source.clone()], stack.pulsar(), &target, &contract)).await;
        parity.inspect(|parity| println!("{parity}"))
    };
    let (last, rest) = deliveries.split_last().unwrap();
    for delivery in rest {
        copy(delivery).await?;
    }
    let parity = check(&by_event).await?;
    assert_eq!(parity.target_total().missing + parity.dead_letters_total().missing, 1);
    copy(last).await?;
    let parity = check(&by_event).await?;
    assert!(parity.holds(), "{parity}");
    assert_eq!(parity.dead_letters_total().observed, fed.broken());
    // Another identity than the one that the messages carry.
    assert!(!check(&queue(Identity::Header("amqp.correlation-id".to_owned()), true)).await?.holds());
    copy(last).await?;
    let parity = check(&by_event).await?;
    assert_eq!(parity.target_total().doubled + parity.dead_letters_total().doubled, 1);
    std::fs::remove_file(&contract)?;
    std::fs::remove_file(&journal)?;
    Ok(())
}

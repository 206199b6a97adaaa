//! The limits on the source's side: read everything, do nothing with it, and say how long that took.

use std::process::Command;
use std::time::{Duration, Instant};

use bridge_tests::Result;
use bridge_tests::rabbit::QueueKind;
use futures::StreamExt as _;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, ConnectionProperties};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};

use super::{Ground, Job, Origin};
use crate::process::usage_of;

/// What a reader says when it is done, as one line of JSON.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Finished {
    /// Records after the first.
    pub(crate) records: u64,
    /// From the first to the last.
    pub(crate) seconds: f64,
    /// CPU time in between.
    pub(crate) cpu_seconds: f64,
    /// The most memory.
    pub(crate) peak_rss_bytes: u64,
}

/// The command that reads this job's source.
pub(crate) fn command(job: &Job, ground: &Ground) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    let records = job.records.to_string();
    match &job.origin {
        Origin::Kafka { topic, partitions } => {
            command.args(["worker", "read-kafka", ground.stack.kafka(), topic, &partitions.to_string(), &records])
        }
        Origin::Rabbit { queue, kind } => {
            command.args(["worker", "read-rabbit", ground.stack.rabbitmq(), queue, kind.name(), &records])
        }
    };
    Ok(command)
}

/// Measures from the first record on.
struct Watch {
    first: Option<(Instant, f64)>,
    records: u64,
}

impl Watch {
    fn new() -> Self {
        Self { first: None, records: 0 }
    }

    fn saw_one(&mut self) -> Result<()> {
        if self.first.is_none() {
            self.first = Some((Instant::now(), usage_of(std::process::id())?.cpu_seconds));
        } else {
            self.records += 1;
        }
        Ok(())
    }

    fn finish(&self) -> Result<()> {
        let (at, cpu) = self.first.ok_or("nothing was read")?;
        let usage = usage_of(std::process::id())?;
        let finished = Finished {
            records: self.records,
            seconds: at.elapsed().as_secs_f64(),
            cpu_seconds: usage.cpu_seconds - cpu,
            peak_rss_bytes: usage.peak_rss_bytes,
        };
        println!("{}", serde_json::to_string(&finished)?);
        Ok(())
    }
}

/// Reads a Kafka topic from its beginning by librdkafka's `poll`, with the settings that our bridge has.
pub(crate) fn read_kafka(brokers: &str, topic: &str, partitions: i32, records: u64) -> Result<()> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "bench-read-only")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("fetch.queue.backoff.ms", "5")
        .set("queued.min.messages", "20000")
        .set("fetch.message.max.bytes", "1048576")
        .create()?;
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&list)?;
    let mut watch = Watch::new();
    while watch.records + 1 < records {
        let message = consumer.poll(Duration::from_secs(60)).ok_or("no record for 60 s")??;
        std::hint::black_box(&message);
        watch.saw_one()?;
    }
    watch.finish()
}

/// Reads a queue, acknowledging as our bridge does: by hand, several at once.
pub(crate) async fn read_rabbit(url: &str, queue: &str, kind: &str, records: u64) -> Result<()> {
    const PREFETCH: u16 = 10_000;
    const ACKNOWLEDGED_AT_ONCE: u64 = 500;
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let mut arguments = FieldTable::default();
    if kind == QueueKind::Stream.name() {
        arguments.insert("x-stream-offset".into(), AMQPValue::LongString("first".into()));
    }
    let options = BasicConsumeOptions::default();
    let mut consumer = channel.basic_consume(queue.into(), "bench".into(), options, arguments).await?;
    let mut watch = Watch::new();
    while watch.records + 1 < records {
        let delivery = consumer.next().await.ok_or("the consumer has ended")??;
        watch.saw_one()?;
        if watch.records.is_multiple_of(ACKNOWLEDGED_AT_ONCE) || watch.records + 1 >= records {
            delivery.ack(BasicAckOptions { multiple: true }).await?;
        }
    }
    watch.finish()?;
    connection.close(200, "done".into()).await?;
    Ok(())
}

//! The limits on the source's side: read everything, do nothing with it, and say how long that took.

use std::fs::read_to_string;
use std::time::{Duration, Instant};

use bridge_common::source::kafka::{KafkaSettings, KafkaTopic};
use futures::StreamExt as _;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, ConnectionProperties};

use crate::Result;

/// A reader that finds nothing for so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Records that are taken from a partition at once, as the bridges do.
const TAKE_RECORDS: usize = 1_000;
/// The kernel's unit of CPU time in /proc, on every Linux that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Measures from the first record on.
struct Watch {
    first: Option<(Instant, f64)>,
    records: u64,
}

impl Watch {
    fn new() -> Self {
        Self { first: None, records: 0 }
    }

    fn saw(&mut self, records: u64) -> Result<()> {
        if self.first.is_none() {
            // What came with the first does not count.
            self.first = Some((Instant::now(), cpu_seconds()?));
        } else {
            self.records += records;
        }
        Ok(())
    }

    /// What bridge-bench reads, as one line of JSON: records behind the first look, time and CPU time for them.
    fn finish(&self) -> Result<()> {
        let (at, cpu) = self.first.ok_or("nothing was read")?;
        let status = read_to_string("/proc/self/status")?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM in /proc")?;
        let peak_kib: u64 = peak.trim().trim_end_matches("kB").trim().parse()?;
        let finished = serde_json::json!({
            "records": self.records,
            "seconds": at.elapsed().as_secs_f64(),
            "cpu_seconds": cpu_seconds()? - cpu,
            "peak_rss_bytes": peak_kib * 1024,
        });
        println!("{finished}");
        Ok(())
    }
}

/// CPU time of this process, user and system.
fn cpu_seconds() -> Result<f64> {
    let stat = read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).ok_or("no times in /proc");
    Ok((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}

/// Reads a Kafka topic from its beginning as the bridges do: their settings, their one call for many records.
pub(crate) fn read_kafka(brokers: &str, topic: &str, records: u64) -> Result<()> {
    let settings = KafkaSettings::new(brokers, topic, "bench-read-only");
    let queue_bytes = settings.queue_bytes;
    let topic = KafkaTopic::open(settings)?;
    let from: Vec<_> = (0..topic.partitions()).map(|partition| (partition, 0)).collect();
    let mut window = topic.read(&from, queue_bytes)?;
    let (mut watch, mut read, mut moved_at) = (Watch::new(), 0, Instant::now());
    while read < records {
        let mut taken = 0;
        for partition in 0..from.len() {
            taken += window.show(partition, TAKE_RECORDS, &mut |record| {
                std::hint::black_box(record);
            })? as u64;
        }
        if taken > 0 {
            read += taken;
            watch.saw(taken)?;
            moved_at = Instant::now();
        } else if moved_at.elapsed() > PATIENCE {
            return Err(format!("no record for {PATIENCE:?}: {read} of {records}").into());
        } else {
            window.serve(Duration::from_millis(1))?;
        }
    }
    watch.finish()
}

/// A consumer with our kind of prefetch and acknowledgements by hand; a stream is read from its beginning.
pub(crate) async fn consume(url: &str, queue: &str, kind: &str) -> Result<(Connection, lapin::Consumer)> {
    const PREFETCH: u16 = 10_000;
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let mut arguments = FieldTable::default();
    if kind == "stream" {
        arguments.insert("x-stream-offset".into(), AMQPValue::LongString("first".into()));
    }
    let options = BasicConsumeOptions::default();
    let consumer = channel.basic_consume(queue.into(), "bench".into(), options, arguments).await?;
    Ok((connection, consumer))
}

/// Reads a queue, acknowledging as our bridge does: by hand, several at once.
pub(crate) async fn read_rabbit(url: &str, queue: &str, kind: &str, records: u64) -> Result<()> {
    const ACKNOWLEDGED_AT_ONCE: u64 = 500;
    let (connection, mut consumer) = consume(url, queue, kind).await?;
    let mut watch = Watch::new();
    while watch.records + 1 < records {
        let delivery = consumer.next().await.ok_or("the consumer has ended")??;
        watch.saw(1)?;
        if watch.records.is_multiple_of(ACKNOWLEDGED_AT_ONCE) || watch.records + 1 >= records {
            delivery.ack(BasicAckOptions { multiple: true }).await?;
        }
    }
    watch.finish()?;
    connection.close(200, "done".into()).await?;
    Ok(())
}

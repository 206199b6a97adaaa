//! Producers and consumers that are not ours: Kafka's Python client writes, Pulsar's Python and Java clients read the
//! target by its own schema. What they see is what a user of the bridge sees.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use bridge_tests::Result;
use bridge_tests::generator::{Generator, Settings};
use bridge_tests::scenario::{PATIENCE, Scenario};
use bridge_tests::stack::repository;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message, OwnedMessage};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::Value;

fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout)?);
    }
    Err(format!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)).into())
}

fn clients() -> PathBuf {
    repository().join("tests/clients")
}

fn python(script: &str) -> Result<Command> {
    output(&mut Command::new(clients().join("prepare")))?;
    let mut command = Command::new(repository().join("target/clients/venv/bin/python"));
    command.arg(clients().join(script));
    Ok(command)
}

fn read_by_python(scenario: &Scenario, count: usize) -> Result<Vec<Value>> {
    let mut command = python("read.py")?;
    command.args(["--url", scenario.stack.pulsar(), "--admin-url", scenario.stack.pulsar_admin()]);
    command.args(["--topic", &scenario.target, "--count", &count.to_string()]);
    lines(&output(&mut command)?)
}

fn read_by_java(scenario: &Scenario, count: usize) -> Result<Vec<Value>> {
    let jars = scenario.stack.home("pulsar")?.join("lib/*");
    let mut command = Command::new("java");
    command.arg("-cp").arg(jars).arg(clients().join("Read.java"));
    command.args([scenario.stack.pulsar(), &scenario.target, &count.to_string()]);
    lines(&output(&mut command)?)
}

fn lines(text: &str) -> Result<Vec<Value>> {
    // Java's logging may write between the messages.
    text.lines().filter(|line| line.starts_with('{')).map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// The source's records as they are in Kafka.
fn source(scenario: &Scenario, count: u64) -> Result<Vec<OwnedMessage>> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", scenario.stack.kafka())
        .set("group.id", "foreign")
        .set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create()?;
    let mut all = TopicPartitionList::new();
    for partition in 0..bridge_tests::scenario::SOURCE_PARTITIONS {
        all.add_partition_offset(&scenario.topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&all)?;
    let next = || Ok(consumer.poll(Duration::from_secs(30)).ok_or("Kafka gives no more records")??.detach());
    (0..count).map(|_| next()).collect()
}

/// What is the record's own among the properties.
fn own_properties(message: &Value) -> HashMap<String, String> {
    let properties = message["properties"].as_object().unwrap().iter();
    let own = properties.filter(|(name, _)| !name.starts_with("bridge."));
    own.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect()
}

fn assert_same(record: &OwnedMessage, message: &Value) {
    assert_eq!(message["key"].as_str().map(str::as_bytes), record.key());
    assert_eq!(message["event_time"].as_i64(), record.timestamp().to_millis());
    let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
    let headers = record.headers().unwrap().iter().map(|header| (header.key.to_owned(), text(header.value)));
    assert_eq!(own_properties(message), headers.collect());
    let Some(body) = record.payload() else {
        assert!(message["value"].is_null(), "a tombstone is no null value: {message}");
        return;
    };
    let event: Value = serde_json::from_slice(body).unwrap();
    for field in ["event_id", "event_type", "timestamp", "correlation_id", "user_id", "schema_version"] {
        assert_eq!(message["value"][field], event[field], "{field}");
    }
    let payload = message["value"]["payload"].as_str().unwrap();
    assert!(text(Some(body)).contains(payload), "the payload is not the source's own text");
    assert_eq!(serde_json::from_str::<Value>(payload).unwrap(), event["payload"]);
}

/// Every message is the record of its source partition that is due: order per source partition included.
fn assert_all_seen(records: &[OwnedMessage], messages: &[Value]) {
    let mut lanes: HashMap<i32, std::collections::VecDeque<&OwnedMessage>> = HashMap::new();
    for record in records {
        lanes.entry(record.partition()).or_default().push_back(record);
    }
    for message in messages {
        let partition: i32 = message["producer"].as_str().unwrap().split('/').nth(4).unwrap().parse().unwrap();
        assert_same(lanes.get_mut(&partition).unwrap().pop_front().unwrap(), message);
    }
    assert!(lanes.values().all(|lane| lane.is_empty()), "not every record was seen");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn python_and_java_consumers_decode_the_target_by_its_own_schema() -> Result<()> {
    let scenario = Scenario::new("foreign-readers").await?;
    let mut feed = Settings { records: Some(2_000), ..scenario.feed() };
    (feed.shares.broken, feed.shares.tombstones) = (0.0, 0.05);
    let fed = tokio::task::block_in_place(|| Generator::start(feed).wait())?;
    let mut bridge = scenario.bridge().await?;
    scenario.caught_up(&bridge, PATIENCE).await?;
    assert_eq!(bridge.terminate(Duration::from_secs(30)).await?.code(), Some(0));
    let records = tokio::task::block_in_place(|| source(&scenario, fed.acknowledged))?;
    let messages = tokio::task::block_in_place(|| read_by_python(&scenario, records.len()))?;
    assert_all_seen(&records, &messages);
    scenario.say(format!("Python has seen all {} records", messages.len()));
    let messages = tokio::task::block_in_place(|| read_by_java(&scenario, records.len()))?;
    assert_all_seen(&records, &messages);
    scenario.say(format!("Java has seen all {} records", messages.len()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn what_a_foreign_producer_may_write_arrives_for_foreign_consumers() -> Result<()> {
    let scenario = Scenario::new("foreign-writer").await?;
    let mut command = python("produce.py")?;
    command.args(["--brokers", scenario.stack.kafka(), "--topic", &scenario.topic]);
    tokio::task::block_in_place(|| output(&mut command))?;
    let mut bridge = scenario.bridge().await?;
    scenario.caught_up(&bridge, PATIENCE).await?;
    assert_eq!(bridge.terminate(Duration::from_secs(30)).await?.code(), Some(0));
    let by_python = tokio::task::block_in_place(|| read_by_python(&scenario, 9))?;
    let by_java = tokio::task::block_in_place(|| read_by_java(&scenario, 9))?;
    for (python, java) in by_python.iter().zip(&by_java) {
        assert_eq!(python["value"], java["value"]);
        assert_eq!(python["event_time"], java["event_time"]);
    }
    let times: Vec<_> = by_python.iter().map(|message| message["event_time"].as_i64().unwrap()).collect();
    assert_eq!(times, (0..9).map(|number| 1_769_860_800_000 + number).collect::<Vec<i64>>());
    let jobs: Vec<_> = by_python.iter().map(|message| message["value"]["job_id"].as_str()).collect();
    let expected = ["job-0", "job-1", "job-2", "job-3", "job-4", "job-5", "job-6", "job-7"];
    assert_eq!(jobs[..8], expected.map(Some));
    assert_eq!(by_java[3]["key"], "schlüssel-✓");
    assert_eq!(own_properties(&by_java[3])["naïve"], "✓");
    // "No key" and "the empty key" are not the same; Java says null for the first.
    assert!(by_java[1]["key"].is_null() && by_java[2]["key"] == "", "{} {}", by_java[1], by_java[2]);
    assert_eq!(own_properties(&by_java[5])["something"], "1");
    for (at, name, value) in [
        (5, "bridge.header.0.null.nothing", ""),
        (6, "bridge.header.0.base64.trace", "/wD+"),
        (7, "tag", "a"),
        (7, "bridge.header.1.text.tag", "b"),
    ] {
        for message in [&by_python[at], &by_java[at]] {
            assert_eq!(message["properties"][name], value, "{message}");
        }
    }
    assert!(by_python[8]["value"].is_null() && by_java[8]["value"].is_null());
    Ok(())
}

//! What a real bridge says, and does not say: next to nothing while all is well, a few lines when Pulsar is away and one when that is
//! over, the trace of a record that became a dead letter, and never a secret, a body or a key. `tests/run` runs it; by hand:
//! `cargo test -p bridge-tests --test logging -- --ignored --test-threads=1 --nocapture NAME`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use bridge_common::pulsar::{Client, ClientConfig, ReaderStart};
use bridge_tests::Result;
use bridge_tests::bridge::{Bridge, Setting};
use bridge_tests::events::Shares;
use bridge_tests::generator::{Generator, Settings};
use bridge_tests::scenario::{PATIENCE, Scenario, seconds, with, within};
use bridge_tests::wait;
use rdkafka::ClientConfig as KafkaConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use serde_json::Value;

const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// The settings of a bridge that writes JSON.
fn json(scenario: &Scenario) -> Vec<Setting> {
    with(scenario.settings(), "BRIDGE__LOG__FORMAT", "json")
}

/// All lines, each of which must be one object with what every line has.
fn lines(bridge: &Bridge) -> Vec<Value> {
    let log = bridge.log();
    let lines = log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")));
    let lines: Vec<Value> = lines.collect();
    for line in &lines {
        for member in ["timestamp", "level", "stream", "event", "message"] {
            assert!(line[member].is_string(), "no {member} in {line}");
        }
    }
    lines
}

fn counts(lines: &[Value]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    lines.iter().for_each(|line| *counts.entry(line["event"].as_str().unwrap()).or_default() += 1);
    counts
}

fn of<'l>(lines: &'l [Value], event: &str) -> Vec<&'l Value> {
    lines.iter().filter(|line| line["event"] == event).collect()
}

/// Only events that nobody has to look at.
fn sound() -> Shares {
    Shares { broken: 0.0, many_fields: 0.0, ..Shares::default() }
}

/// How many lines it has said, and how many of them are summaries.
fn said(bridge: &Bridge) -> (usize, usize) {
    let lines = lines(bridge);
    (lines.len(), of(&lines, "summary").len())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn normal_operation_is_silent_but_for_the_summary_which_counts_every_record() -> Result<()> {
    within(seconds(180), async {
        let scenario = Scenario::new("log-normal").await?;
        let settings = with(json(&scenario), "BRIDGE__LOG__SUMMARY_SECONDS", "5");
        let mut bridge = Bridge::start(&settings)?;
        bridge.ready(PATIENCE).await?;
        let feed = Settings { records: Some(10_000), rate: Some(500), shares: sound(), seed: 90, ..scenario.feed() };
        let report = tokio::task::block_in_place(|| Generator::start(feed).wait())?;
        scenario.caught_up(&bridge, PATIENCE).await?;
        let before = said(&bridge).1;
        wait::until("one summary more", seconds(20), async || {
            if said(&bridge).1 > before { Ok(()) } else { Err("none came".to_owned()) }
        })
        .await?;
        bridge.terminate(seconds(30)).await?;
        let lines = lines(&bridge);
        let counts = counts(&lines);
        scenario.say(format!("{} records, {} lines: {counts:?}", report.acknowledged, lines.len()));
        assert!(lines.iter().all(|line| line["level"] == "INFO"), "{}", bridge.log());
        for (event, most) in [
            ("starting", 1),
            ("pulsar_connected", 2),
            ("running", 1),
            ("partitions_assigned", 2),
            ("summary", 40),
            ("stopping", 1),
            ("stopped", 1),
        ] {
            let count = counts.get(event).copied().unwrap_or_default();
            assert!((1..=most).contains(&count), "{event}: {count} of at most {most}\n{}", bridge.log());
        }
        assert_eq!(counts.len(), 7, "{counts:?}");
        let summaries = of(&lines, "summary");
        let sum = |name: &str| summaries.iter().map(|line| line[name].as_u64().unwrap()).sum::<u64>();
        assert_eq!((sum("in"), sum("out"), sum("dead")), (report.acknowledged, report.acknowledged, 0));
        let last = summaries.last().unwrap();
        assert_eq!((&last["lag_records"], &last["running"], &last["partitions"]), (&0.into(), &10.into(), &10.into()));
        assert!(
            summaries.iter().any(|line| line["p99_ms"].as_u64().is_some_and(|ms| ms > 0)),
            "no p99 in {summaries:?}"
        );
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn an_outage_of_pulsar_is_a_few_lines_and_its_end_is_told() -> Result<()> {
    within(seconds(300), async {
        let scenario = Scenario::new("log-outage").await?;
        let feed = Settings { rate: Some(1_000), shares: sound(), seed: 91, ..scenario.feed() };
        let generator = Generator::start(feed);
        let mut bridge = Bridge::start(&json(&scenario))?;
        bridge.ready(PATIENCE).await?;
        scenario.progress(3_000).await?;
        let before = lines(&bridge).len();
        tokio::task::block_in_place(|| scenario.stack.stop("pulsar"))?;
        scenario.say("Pulsar is gone");
        tokio::time::sleep(seconds(30)).await;
        let during = lines(&bridge).split_off(before);
        tokio::task::block_in_place(|| scenario.stack.start("pulsar"))?;
        scenario.progress(3_000).await?;
        scenario.say("Pulsar is back");
        wait::until("the end of the outage to be told", PATIENCE, async || {
            let lines = lines(&bridge);
            let recovered = of(&lines, "partition_recovered");
            let told: u64 = recovered
                .iter()
                .map(|line| {
                    1 + line["held_back_elsewhere"].as_u64().unwrap_or(0) + line["held_back"].as_u64().unwrap_or(0)
                })
                .sum();
            if told >= 10 { Ok(()) } else { Err(format!("{told} of 10 partitions")) }
        })
        .await?;
        let all = lines(&bridge).split_off(before);
        let counts = counts(&all);
        scenario.say(format!(
            "{} lines while Pulsar was away, {} until all was over: {counts:?}",
            during.len(),
            all.len()
        ));
        // It is some ten partitions, each of which tries again every few seconds.
        assert!((2..=25).contains(&during.len()), "{} lines\n{}", during.len(), bridge.log());
        assert!(all.len() <= 60, "{} lines\n{}", all.len(), bridge.log());
        assert!(
            counts.contains_key("pulsar_connection_lost") && counts.contains_key("partition_trouble"),
            "{counts:?}"
        );
        let longest = of(&all, "partition_recovered").into_iter().filter_map(|line| line["after_seconds"].as_f64());
        assert!(longest.fold(0.0, f64::max) >= 25.0, "nobody says how long it took\n{}", bridge.log());
        let after = said(&bridge);
        tokio::time::sleep(seconds(10)).await;
        let quiet = said(&bridge);
        assert!(quiet.0 - quiet.1 <= after.0 - after.1 + 2, "it goes on talking\n{}", bridge.log());
        scenario.finish(generator, bridge, 6_000).await
    })
    .await
}

/// Publishes to partition 0, with a trace and a key that must not be seen.
fn publish(scenario: &Scenario, bodies: &[String]) -> Result<()> {
    let producer: ThreadedProducer<DefaultProducerContext> =
        KafkaConfig::new().set("bootstrap.servers", &scenario.brokers).create()?;
    let traceparent = format!("00-{TRACE_ID}-00f067aa0ba902b7-01");
    for body in bodies {
        let headers = OwnedHeaders::new().insert(Header { key: "traceparent", value: Some(&traceparent) });
        let record = BaseRecord::to(&scenario.topic).key("key-nobody-sees").payload(body).partition(0).headers(headers);
        producer.send(record).map_err(|(error, _)| error)?;
    }
    Ok(producer.flush(seconds(30))?)
}

/// An event as the portal makes it.
fn event() -> String {
    r#"{"event_id":"e","event_type":"job.submitted","timestamp":"2026-01-01T00:00:00.000Z","correlation_id":"c","user_id":"u","schema_version":1,"payload":{"job_id":"body-nobody-sees"}}"#.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn dead_letters_are_told_with_their_trace_and_counted_and_the_trace_goes_on() -> Result<()> {
    within(seconds(120), async {
        let scenario = Scenario::new("log-trace").await?;
        let broken = std::iter::repeat_n("body-nobody-sees {".to_owned(), 200);
        publish(&scenario, &[event()].into_iter().chain(broken).collect::<Vec<_>>())?;
        let settings = with(json(&scenario), "BRIDGE__DEAD_LETTERS__MAX_RATIO", "1");
        let mut bridge = Bridge::start(&settings)?;
        bridge.ready(PATIENCE).await?;
        scenario.caught_up(&bridge, PATIENCE).await?;
        bridge.terminate(seconds(30)).await?;
        let lines = lines(&bridge);
        let told = of(&lines, "dead_letter");
        let first = told.first().ok_or("no dead letter is told")?;
        assert_eq!((&first["topic"], &first["partition"]), (&scenario.topic.as_str().into(), &0.into()), "{first}");
        assert_eq!(
            (&first["offset"], &first["cause"], &first["trace_id"]),
            (&1.into(), &"not_json".into(), &TRACE_ID.into())
        );
        let counted: u64 = told.iter().map(|line| 1 + line["held_back"].as_u64().unwrap_or(0)).sum();
        assert!(told.len() <= 3 && counted == 200, "{} lines for {counted}\n{}", told.len(), bridge.log());
        assert!(!bridge.log().contains("nobody-sees"), "{}", bridge.log());

        let trace = properties(&scenario, "traceparent").await?;
        assert_eq!(trace, [format!("00-{TRACE_ID}-00f067aa0ba902b7-01")], "of the one message in the target");
        scenario.holds(201).await.map(drop)
    })
    .await
}

/// The values of a property, of all messages in the target.
async fn properties(scenario: &Scenario, wanted: &str) -> Result<Vec<String>> {
    let client = Client::new(ClientConfig::new(scenario.stack.pulsar()))?;
    let mut found = Vec::new();
    for partition in 0..3 {
        let topic = format!("{}-partition-{partition}", scenario.target);
        let mut reader = client.open_reader(&topic, ReaderStart::Earliest, false).await?;
        let Some(end) = reader.last_message_id().await? else { continue };
        loop {
            let entry = reader.next().await?;
            for message in entry.batch()?.messages() {
                let message = message?;
                let values = message.properties().filter(|(name, _)| *name == wanted);
                found.extend(values.map(|(_, value)| value.to_owned()));
            }
            if entry.id >= end {
                break;
            }
        }
    }
    Ok(found)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn no_secret_body_or_key_is_in_any_line_at_the_highest_level() -> Result<()> {
    within(seconds(120), async {
        let scenario = Scenario::new("log-secrets").await?;
        publish(&scenario, &[event(), "body-nobody-sees {".to_owned()])?;
        let token_file = std::env::temp_dir().join(format!("{}-http-token", scenario.topic));
        std::fs::write(&token_file, "secret-of-the-controls")?;
        let mut settings = scenario.settings();
        let token_path = token_file.to_string_lossy().into_owned();
        for (name, value) in [
            ("RUST_LOG", "trace"),
            ("BRIDGE__LOG__REPEAT_SECONDS", "1"),
            ("BRIDGE__PULSAR__AUTH__KIND", "token"),
            ("BRIDGE__PULSAR__AUTH__TOKEN", "secret-of-pulsar"),
            ("BRIDGE__RABBITMQ__USERNAME", "somebody"),
            ("BRIDGE__RABBITMQ__PASSWORD", "secret-of-rabbitmq"),
            ("BRIDGE__REGISTRY__USERNAME", "somebody"),
            ("BRIDGE__REGISTRY__PASSWORD", "secret-of-the-registry"),
            ("BRIDGE__HTTP__TOKEN_FILE", token_path.as_str()),
        ] {
            settings = with(settings, name, value);
        }
        let mut bridge = Bridge::start(&settings)?;
        bridge.ready(PATIENCE).await?;
        bridge.post("/pause", "secret-of-the-controls").await?;
        assert!(bridge.post("/resume", "a wrong secret-of-somebody").await.is_err());
        bridge.post("/resume", "secret-of-the-controls").await?;
        scenario.caught_up(&bridge, PATIENCE).await?;
        bridge.terminate(seconds(30)).await?;
        shows_nothing(&bridge, 20);

        // A server that refuses the login: its words and the client's are logged, the password is not.
        settings = with(settings, "BRIDGE__KAFKA__SASL__MECHANISM", "PLAIN");
        settings = with(settings, "BRIDGE__KAFKA__SASL__USERNAME", "somebody");
        settings = with(settings, "BRIDGE__KAFKA__SASL__PASSWORD", "secret-of-kafka");
        let refused = Bridge::start(&settings)?;
        wait::until("the refusal to be logged", seconds(60), async || match refused.log() {
            log if log.contains("start_waits") || log.contains("start_failed") => Ok(()),
            log => Err(log),
        })
        .await?;
        shows_nothing(&refused, 3);
        std::fs::remove_file(token_file)?;
        Ok(())
    })
    .await
}

fn shows_nothing(bridge: &Bridge, at_least: usize) {
    let log = bridge.log();
    assert!(log.lines().count() >= at_least, "it says too little to show anything: {log}");
    for hidden in ["secret-of", "nobody-sees", "c2VjcmV0LW9m"] {
        assert!(!log.contains(hidden), "{hidden} is in the log:\n{log}");
    }
}

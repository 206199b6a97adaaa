//! What `bridgectl` shows of sources that cannot be read twice, of events that two sources bring, and to who follows a bridge that
//! runs: by planted faults, too. `tests/run` runs these; by
//! hand: `cargo test -p bridge-tests --test evidence -- --ignored --test-threads=1 --nocapture NAME`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use bridge_common::pulsar::{
    BatchBuilder, Client, ClientConfig, Compression, OutgoingMessage, ProducerEvent, ReaderStart, Seal,
};
use bridge_tests::Result;
use bridge_tests::generator::{Generator, Settings};
use bridge_tests::operator::{Operator, total, urls};
use bridge_tests::rabbit::QueueKind;
use bridge_tests::scenario::{PATIENCE, Scenario, seconds, with, within};
use bridge_tests::scene::{Plan, Scene};
use bridge_tests::stack::repository;
use bridge_tests::streams::Stream;
use bridge_tests::wait;
use serde_json::{Value, json};

/// Publishes the first message of a producer's with this name in the middle once more, above all its ids.
async fn double(client: &Client, topics: &[String], part_of_name: &str) -> Result<(String, u64)> {
    for topic in topics {
        let mut reader = client.open_reader(topic, ReaderStart::Earliest, false).await?;
        let (end, mut last, mut found) = (reader.last_message_id().await?, None, None);
        while end.is_some() && last < end {
            let entry = tokio::time::timeout(seconds(30), reader.next()).await??;
            last = Some(entry.id);
            if found.is_none() && entry.producer_name.contains(part_of_name) {
                found = Some(entry);
            }
        }
        let Some(entry) = found else { continue };
        let batch = entry.batch()?;
        let message = batch.messages().next().unwrap()?;
        let (out, mut events) = tokio::sync::mpsc::unbounded_channel();
        let opened = client.open_producer(topic, &entry.producer_name, None, out, 0).await?;
        let id = opened.last_sequence_id.unwrap() + 1;
        let mut builder = BatchBuilder::new();
        let outgoing = OutgoingMessage {
            sequence_id: id,
            key: message.key.as_deref(),
            event_time_ms: message.event_time_ms,
            value: (!message.null_value).then_some(message.value),
        };
        builder.push(&outgoing, message.properties());
        let seal = Seal {
            producer_name: &entry.producer_name,
            producer_id: opened.producer.id(),
            publish_time_ms: bridge_tests::events::now_ms(),
            compression: Compression::None,
            schema_version: None,
        };
        opened.producer.send(&builder.seal(&seal)?)?;
        match tokio::time::timeout(seconds(30), events.recv()).await? {
            Some((_, ProducerEvent::Receipt { message_id: Some(_), .. })) => {}
            other => return Err(format!("{topic}: {other:?}").into()),
        }
        opened.producer.close().await?;
        return Ok((topic.clone(), id));
    }
    Err(format!("no topic has a message of {part_of_name}").into())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn queues_and_twins_are_compared_by_their_keys_and_what_is_not_proved_is_said() -> Result<()> {
    within(seconds(150), async {
        let plan = Plan { kafka: Some(Stream::Notifications), dedupe: true, ..Plan::queue(QueueKind::Quorum) };
        let scene = Scene::new("keyed", plan).await?;
        let mut operator = scene.operator();
        let stream = Stream::Notifications.bridge();
        // While it runs, so that of some twins the queue's comes first, and of others the topic's.
        let mut bridge = scene.bridge().await?;
        let feed = scene.feed(Stream::Notifications);
        let feed = Settings { records: Some(2_000), rate: Some(1_000), twins: 0.4, seed: 91, ..feed };
        let report = tokio::task::block_in_place(|| Generator::start(feed).wait())?;
        scene.caught_up(&bridge).await?;

        let (code, document) = operator.verify(stream, &[])?;
        assert_eq!((code, &document["verdict"]), (Some(0), &json!("parity")), "{document:#}");
        assert!(total(&document, "twins") > 20, "{document:#}");
        assert_eq!(total(&document, "source"), report.acknowledged, "every record of Kafka: {document:#}");
        let queue = &document["queues"][0];
        assert_eq!(queue["name"], json!(scene.queue()), "{document:#}");
        assert!(queue["messages"].as_u64().unwrap() > 100 && queue["doubled"] == 0, "{document:#}");
        assert_eq!((&queue["broker"]["ready"], &queue["broker"]["unacknowledged"]), (&json!(0), &json!(0)), "{queue}");
        let not_proved = document["not_proved"].to_string();
        assert!(not_proved.contains(&scene.queue()) && not_proved.contains("gives each message once"), "{not_proved}");
        scene.say("parity, by keys where that is all there is");

        // Two sources, and the table of a bridge that runs and of one that is dead.
        operator.settings = with(operator.settings, "BRIDGE__FLEET__URL", &urls(&[&bridge])?);
        let (code, status) = operator.json(&["status", stream, "--json", "--seconds", "1"])?;
        assert_eq!((code, &status["bridges"][0]["lag_records"]), (Some(0), &json!(0)), "{status:#}");
        assert_eq!(bridge.terminate(seconds(30)).await?.code(), Some(0));
        let feed = Settings { records: Some(200), twins: 0.0, seed: 92, ..scene.feed(Stream::Notifications) };
        tokio::task::block_in_place(|| Generator::start(feed).wait())?;
        wait::until("RabbitMQ to count what waits", PATIENCE, async || {
            let (code, status) =
                operator.json(&["status", stream, "--json", "--seconds", "1"]).map_err(|e| e.to_string())?;
            let row = &status["bridges"][0];
            let is_told = row["state"] == "dead" && row["lag_records"] == 200 && row["dead_letters"].is_number();
            if code == Some(1) && is_told { Ok(()) } else { Err(status.to_string()) }
        })
        .await?;
        scene.say("dead, with the lag of topic and queue together, and its dead letters");

        let client = Client::new(ClientConfig::new(scene.stack.pulsar()))?;
        let topics: Vec<String> =
            (0..plan.target_partitions).map(|n| format!("{}-partition-{n}", scene.target)).collect();
        let (topic, id) = double(&client, &topics, &scene.queue()).await?;
        let mut bridge = scene.bridge().await?;
        scene.caught_up(&bridge).await?;
        let (code, document) = operator.verify(stream, &[])?;
        assert_eq!((code, &document["doubled_keys"]["count"]), (Some(1), &json!(1)), "{document:#}");
        let named = &document["doubled_keys"]["named"][0];
        assert_eq!((&named["target_topic"], &named["sequence_id"]), (&json!(topic), &json!(id)), "{document:#}");
        assert_eq!(document["queues"][0]["doubled"], 1, "{document:#}");
        scene.say("a double of a queue's message is named");
        assert_eq!(bridge.terminate(seconds(30)).await?.code(), Some(0));
        Ok(())
    })
    .await
}

/// The lines of `verify --follow`, as they come.
struct Lines {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Lines {
    fn of(mut child: Child) -> Self {
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The first line that is as wanted.
    fn until(&mut self, what: &str, is_it: impl Fn(&Value) -> bool) -> Result<Value> {
        let (began, mut last) = (std::time::Instant::now(), Value::Null);
        while began.elapsed() < seconds(60) {
            let line = tokio::task::block_in_place(|| self.lines.next()).ok_or("it has ended")??;
            last = serde_json::from_str(&line)?;
            if is_it(&last) {
                return Ok(last);
            }
        }
        Err(format!("{what} did not come: {last:#}").into())
    }

    fn interrupt(mut self) -> Result<Option<i32>> {
        let killed = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status()?;
        assert!(killed.success());
        let lines = &mut self.lines;
        tokio::task::block_in_place(|| lines.map_while(std::result::Result::ok).for_each(drop));
        Ok(self.child.wait()?.code())
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn who_follows_sees_what_is_missing_and_that_it_comes_after_all() -> Result<()> {
    within(seconds(150), async {
        let scenario = Scenario::new("followed").await?;
        let operator = Operator::new(&repository().join("config"), scenario.settings());
        let output = repository().join("target").join(format!("{}-follow", scenario.topic));
        let bridge = scenario.bridge().await?;
        scenario.fed(500, 5)?;
        let arguments =
            ["verify", "job-lifecycle", "--follow", "--json", "--every", "1", "--lag-seconds", "4", "--since-start"];
        let arguments = [&arguments[..], &["--output", output.to_str().unwrap()]].concat();
        let mut lines = Lines::of(operator.command(&arguments)?.stdout(Stdio::piped()).spawn()?);
        let all = |count: u64| {
            move |line: &Value| {
                let totals = &line["totals"];
                totals["source"] == count
                    && line["under_way"] == 0
                    && totals["missing"] == 0
                    && line["verdict"] == "parity"
            }
        };
        lines.until("parity of what there is", all(500))?;
        let kept = || -> Result<Value> {
            let files: Vec<_> = std::fs::read_dir(&output)?.collect::<std::io::Result<_>>()?;
            let names: Vec<String> = files.iter().map(|file| file.file_name().to_string_lossy().into_owned()).collect();
            assert_eq!(names.len(), 2, "one report, written anew: {names:?}");
            let json = files.iter().find(|file| file.path().extension().is_some_and(|kind| kind == "json")).unwrap();
            Ok(serde_json::from_str(&std::fs::read_to_string(json.path())?)?)
        };
        assert_eq!(kept()?["kind"], "verify");
        bridge.kill()?;
        scenario.fed(50, 6)?;
        let line = lines.until("what is missing", |line| line["totals"]["missing"] == 50)?;
        assert_eq!(line["verdict"], "no-parity", "{line:#}");
        scenario.say("50 records that nobody mirrors are missing");
        let report = kept()?;
        assert_eq!(
            (report["totals"]["missing"].as_u64(), &report["verdict"]),
            (Some(50), &json!("no-parity")),
            "{report:#}"
        );

        let mut bridge = scenario.bridge().await?;
        lines.until("parity again", all(550))?;
        let report = kept()?;
        assert_eq!((&report["verdict"], &report["findings"]), (&json!("parity"), &json!([])), "{report:#}");
        assert_eq!(bridge.terminate(seconds(30)).await?.code(), Some(0));
        let client = Client::new(ClientConfig::new(scenario.stack.pulsar()))?;
        let topics: Vec<String> = (0..3).map(|n| format!("{}-partition-{n}", scenario.target)).collect();
        let (_, id) = double(&client, &topics, &format!("/{}/", scenario.topic)).await?;
        let line = lines
            .until("what the source does not have", |line| line["findings"].to_string().contains("behind the end"))?;
        assert_eq!(
            (&line["findings"][0]["fault"], &line["findings"][0]["offset"]),
            (&json!("extra"), &json!(id)),
            "{line:#}"
        );
        assert_eq!(lines.interrupt()?, Some(1), "it ends with what it knows");
        std::fs::remove_dir_all(&output)?;
        scenario.say("followed to the end");

        // A picture a second, until it is interrupted.
        let watching = operator.begin(&["status", "job-lifecycle", "--watch", "--json", "--seconds", "1"])?;
        let mut watching = Lines::of(watching);
        for _ in 0..2 {
            let picture = watching.until("a picture", |_| true)?;
            assert_eq!(picture["bridges"][0]["state"], "dead", "{picture:#}");
        }
        assert_eq!(watching.interrupt()?, Some(0));
        Ok(())
    })
    .await
}

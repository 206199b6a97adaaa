//! What a bridge rests on is lost: names that the broker has forgotten, the group's offsets, checkpoints, deduplication, the
//! target's messages. Each ends in the right result (the checker), or in a stop that says why. `tests/run` runs them; by hand:
//! `cargo test -p bridge-tests --test lost_memory -- --ignored --test-threads=1 --nocapture NAME`.

use std::process::{Command, Output, Stdio};

use bridge_common::checkpoint::{self, Listed};
use bridge_common::pulsar::{Client, ClientConfig, ProducerEvent};
use bridge_tests::bridge::{Bridge, binary};
use bridge_tests::generator::{Generator, Settings};
use bridge_tests::kafka::{delete_group, delete_records, offsets};
use bridge_tests::scenario::{PATIENCE, SOURCE_PARTITIONS, Scenario, TARGET_PARTITIONS, seconds, within};
use bridge_tests::stack::repository;
use bridge_tests::{Result, wait};
use serde_json::Value;
use tokio::sync::mpsc;

fn dead_letters(scenario: &Scenario) -> String {
    format!("{}-dead-letters", scenario.target)
}

fn checkpoints(scenario: &Scenario) -> String {
    format!("persistent://{}/bridge-checkpoints", scenario.namespace)
}

fn client(scenario: &Scenario) -> Result<Client> {
    Ok(Client::new(ClientConfig::new(scenario.stack.pulsar()))?)
}

/// The partitions' checkpoints, by name.
async fn entries(scenario: &Scenario) -> Result<Vec<(String, Listed)>> {
    let listed = checkpoint::list(&client(scenario)?, &checkpoints(scenario), "bridge/job-lifecycle/").await?;
    Ok(listed.into_iter().collect())
}

async fn started(scenario: &Scenario) -> Result<Bridge> {
    let mut bridge = Bridge::start(&scenario.dynamic())?;
    bridge.ready(PATIENCE).await?;
    Ok(bridge)
}

/// Waits until a bridge has published so many records.
async fn published(bridge: &Bridge, records: f64) -> Result<()> {
    wait::until("records to be published", PATIENCE, async || {
        let published = bridge.metric("stream_bridge_records_published_total").await;
        let published = published.map_err(|error| error.to_string())?;
        if published >= records { Ok(()) } else { Err(format!("{published} are")) }
    })
    .await
}

/// What the broker knows of a name on a topic.
async fn last_sequence_id(client: &Client, topic: &str, name: &str) -> Result<Option<u64>> {
    let (out, _events) = mpsc::unbounded_channel();
    let opened = client.open_producer(topic, name, None, out, 0).await?;
    let last = opened.last_sequence_id;
    opened.producer.close().await?;
    Ok(last)
}

/// Has the broker forget every name on target and dead letters: turning deduplication off and on has the same effect as the
/// purge of names that were inactive for `brokerDeduplicationProducerInactivityTimeoutMinutes`, and takes no hours. With
/// `TESTS_FULL`, and servers whose purge is due after a minute (`STACK_PULSAR_SETTINGS`), the purge itself is waited for.
async fn forget_names(scenario: &Scenario) -> Result<()> {
    let names: Vec<String> = entries(scenario).await?.into_iter().map(|(name, _)| name).collect();
    let client = client(scenario)?;
    let topic = |name: &String| {
        let partition: u32 = name.rsplit('/').next().and_then(|text| text.parse().ok()).unwrap_or(0);
        format!("{}-partition-{}", scenario.target, partition % TARGET_PARTITIONS)
    };
    if is_purged_soon() {
        // Asking would make them active again.
        tokio::time::sleep(seconds(90)).await;
    } else {
        for enabled in [false, true] {
            for topic in [&scenario.target, &dead_letters(scenario)] {
                scenario.admin().deduplicate(topic, enabled).await?;
            }
        }
    }
    for name in &names {
        let last = last_sequence_id(&client, &topic(name), name).await?;
        assert_eq!(last, None, "{name} is still known");
    }
    scenario.say(format!("the broker has forgotten {} names", names.len()));
    Ok(())
}

fn is_purged_soon() -> bool {
    let settings = std::env::var("STACK_PULSAR_SETTINGS").unwrap_or_default();
    std::env::var_os("TESTS_FULL").is_some()
        && settings.contains("brokerDeduplicationProducerInactivityTimeoutMinutes=1")
}

/// Waits until `/readyz` says that a partition is stopped, with these words; then the bridge must still end well.
async fn stops(scenario: &Scenario, words: &str) -> Result<()> {
    let mut bridge = Bridge::start(&scenario.dynamic())?;
    let stopped = wait::until("a partition to stop", seconds(60), async || match bridge.get("/readyz").await {
        Ok((503, text)) if text.contains("is stopped") && text.contains(words) => Ok(()),
        Ok((code, text)) => Err(format!("{code}: {text}")),
        Err(error) => Err(error.to_string()),
    });
    stopped.await.map_err(|error| format!("{error}\n{}", bridge.log_tail()))?;
    let (_, status) = bridge.get("/status").await?;
    assert!(status.contains(words) && bridge.log().contains(words), "{status}\n{}", bridge.log_tail());
    assert_eq!(bridge.metric("stream_bridge_records_published_total").await?, 0.0, "something was published");
    assert_eq!(bridge.terminate(seconds(30)).await?.code(), Some(0), "{}", bridge.log_tail());
    scenario.say(format!("stopped: {words}"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn names_that_were_purged_and_offsets_that_have_expired_change_nothing() -> Result<()> {
    within(seconds(if is_purged_soon() { 400 } else { 300 }), async {
        let scenario = Scenario::new("forgotten").await?;
        let kafka = scenario.stack.kafka();
        scenario.fed(2_000, 60)?;
        scenario.settled(vec![started(&scenario).await?]).await?;
        forget_names(&scenario).await?;
        delete_group(kafka, &scenario.group()).await?;
        scenario.say("names and offsets are gone after a clean stop");
        let generator = Generator::start(Settings {
            rate: Some(2_000),
            // A bound, so that a slow machine has no more to compare.
            records: Some(20_000),
            seed: 61,
            ..scenario.feed()
        });
        let bridge = started(&scenario).await?;
        published(&bridge, 3_000.0).await?;
        bridge.kill()?;
        forget_names(&scenario).await?;
        // The dead member's session has to end before.
        delete_group(kafka, &scenario.group()).await?;
        scenario.say("names and offsets are gone after a kill under load");
        let bridge = started(&scenario).await?;
        tokio::task::block_in_place(|| generator.wait())?;
        scenario.settled(vec![bridge]).await?;
        scenario.holds(22_000).await.map(drop)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn a_checkpoint_that_has_vanished_stops_the_partitions_on_any_evidence_of_an_earlier_life() -> Result<()> {
    within(seconds(300), async {
        let scenario = Scenario::new("vanished").await?;
        scenario.fed(2_000, 62)?;
        scenario.settled(vec![started(&scenario).await?]).await?;
        scenario.admin().delete_plain_topic(&checkpoints(&scenario)).await?;
        scenario.setup(&[])?;
        stops(&scenario, "the target knows its producer name").await?;
        // Nobody knows their names any more, but the messages are there.
        for enabled in [false, true] {
            for topic in [&scenario.target, &dead_letters(&scenario)] {
                scenario.admin().deduplicate(topic, enabled).await?;
            }
        }
        stops(&scenario, "the target holds messages under its producer name").await?;
        // Nothing is left of them in Pulsar.
        scenario.admin().delete_topic(&scenario.target).await?;
        scenario.admin().delete_plain_topic(&dead_letters(&scenario)).await?;
        scenario.setup(&[])?;
        stops(&scenario, "which mirrors a checkpoint").await?;
        // Nothing is left of them at all: this is a first start.
        delete_group(scenario.stack.kafka(), &scenario.group()).await?;
        scenario.settled(vec![started(&scenario).await?]).await?;
        scenario.holds(2_000).await.map(drop)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn a_checkpoint_topic_restored_to_an_earlier_state_is_read_back_from_there() -> Result<()> {
    within(seconds(300), async {
        let scenario = Scenario::new("behind").await?;
        scenario.fed(2_000, 63)?;
        scenario.settled(vec![started(&scenario).await?]).await?;
        let older = entries(&scenario).await?;
        assert_eq!(older.len(), SOURCE_PARTITIONS as usize);
        scenario.fed(3_000, 64)?;
        scenario.settled(vec![started(&scenario).await?]).await?;
        scenario.admin().delete_plain_topic(&checkpoints(&scenario)).await?;
        scenario.setup(&[])?;
        let client = client(&scenario)?;
        for (name, entry) in &older {
            let (out, mut events) = mpsc::unbounded_channel();
            let opened = client.open_producer(&checkpoints(&scenario), name, None, out, 0).await?;
            let id = opened.producer.id();
            opened.producer.send(&checkpoint::frame(name, id, entry.sequence_id, &entry.stored, entry.written_ms))?;
            let receipt = events.recv().await;
            assert!(matches!(receipt, Some((_, ProducerEvent::Receipt { message_id: Some(_), .. }))), "{receipt:?}");
            opened.producer.close().await?;
        }
        scenario.say("the checkpoints are those of before the last records");
        let bridge = started(&scenario).await?;
        wait::until("the records to be recognised", seconds(60), async || {
            let suppressed = bridge.metric("stream_bridge_records_suppressed_total").await;
            match suppressed.map_err(|error| error.to_string())? {
                3_000.0 => Ok(()),
                other => Err(format!("{other} records were recognised")),
            }
        })
        .await?;
        scenario.fed(1_000, 65)?;
        scenario.settled(vec![bridge]).await?;
        scenario.holds(6_000).await.map(drop)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn deduplication_that_is_turned_off_holds_the_bridge_until_it_is_on_again() -> Result<()> {
    within(seconds(300), async {
        let scenario = Scenario::new("toggled").await?;
        let admin = scenario.admin();
        let generator = Generator::start(Settings { rate: Some(300), seed: 66, ..scenario.feed() });
        let mut bridge = started(&scenario).await?;
        scenario.progress(300).await?;
        // What the topics' own policies say is not the namespace's to take away.
        admin.set_deduplication(&scenario.namespace, false).await?;
        admin.keep_nothing(&scenario.target).await?;
        scenario.progress(600).await?;
        admin.deduplicates(&scenario.target, true).await?;
        assert_eq!(bridge.get("/readyz").await?.0, 200);
        admin.set_topic_deduplication(&scenario.target, false).await?;
        wait::until("the bridge to hold", seconds(60), async || {
            let (code, text) = bridge.get("/readyz").await.map_err(|error| error.to_string())?;
            let (_, status) = bridge.get("/status").await.map_err(|error| error.to_string())?;
            let states = states(&status);
            let is_held = code == 503 && text.contains("does not deduplicate any more");
            match is_held && states.iter().all(|state| state == "paused") && !states.is_empty() {
                true => Ok(()),
                false => Err(format!("{code} {text} {states:?}")),
            }
        })
        .await?;
        scenario.say("the bridge holds");
        assert_eq!(bridge.metric("stream_bridge_target_deduplicates").await?, 0.0);
        let held = bridge.metric("stream_bridge_records_published_total").await?;
        assert_eq!(bridge.get("/livez").await?.0, 200);
        tokio::time::sleep(seconds(1)).await;
        assert_eq!(bridge.metric("stream_bridge_records_published_total").await?, held, "something was published");
        admin.set_topic_deduplication(&scenario.target, true).await?;
        bridge.ready(seconds(60)).await?;
        assert_eq!(bridge.metric("stream_bridge_target_deduplicates").await?, 1.0);
        tokio::task::block_in_place(|| generator.stop())?;
        scenario.settled(vec![bridge]).await?;
        scenario.holds(900).await.map(drop)
    })
    .await
}

/// The states of all partitions.
fn states(status: &str) -> Vec<String> {
    let status: Value = serde_json::from_str(status).unwrap_or_default();
    let partitions = status["partitions"].as_array().cloned().unwrap_or_default();
    partitions.iter().map(|partition| partition["state"].as_str().unwrap_or("?").to_owned()).collect()
}

/// The checker sees only what is left, so the source is emptied as far as the target is.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn a_target_that_was_truncated_gets_what_comes_after_and_nothing_twice() -> Result<()> {
    within(seconds(300), async {
        let scenario = Scenario::new("truncated").await?;
        let bridge = started(&scenario).await?;
        scenario.fed(2_000, 67)?;
        scenario.caught_up(&bridge, PATIENCE).await?;
        scenario.holds(2_000).await?;
        empty(&scenario).await?;
        scenario.say("source and target are empty, under a running bridge");
        scenario.fed(2_000, 68)?;
        scenario.settled(vec![bridge]).await?;
        scenario.holds(2_000).await?;
        empty(&scenario).await?;
        scenario.say("source and target are empty, without one");
        scenario.fed(2_000, 69)?;
        let bridge = started(&scenario).await?;
        published(&bridge, 500.0).await?;
        bridge.kill()?;
        scenario.settled(vec![started(&scenario).await?]).await?;
        scenario.holds(2_000).await.map(drop)
    })
    .await
}

async fn empty(scenario: &Scenario) -> Result<()> {
    let ends: Vec<i64> = offsets(&scenario.brokers, &scenario.topic)?.into_iter().map(|(_, end)| end).collect();
    delete_records(&scenario.brokers, &scenario.topic, &ends).await?;
    for partition in 0..TARGET_PARTITIONS {
        scenario.admin().truncate(&format!("{}-partition-{partition}", scenario.target)).await?;
    }
    scenario.admin().truncate(&dead_letters(scenario)).await
}

/// Runs `bridgectl checkpoint job-lifecycle`; the exit code and all that it says.
fn bridgectl(scenario: &Scenario, arguments: &[&str]) -> Result<(Option<i32>, String)> {
    let Output { status, stdout, stderr } = Command::new(binary("bridgectl")?)
        .args(["checkpoint", "job-lifecycle"])
        .args(arguments)
        .arg("--config")
        .arg(repository().join("config"))
        .envs(scenario.settings())
        .stdin(Stdio::null())
        .output()?;
    let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    println!("  $ bridgectl checkpoint job-lifecycle {}\n{said}", arguments.join(" "));
    Ok((status.code(), said))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn bridgectl_shows_sets_and_forgets_checkpoints_and_nothing_is_lost_or_doubled() -> Result<()> {
    within(seconds(300), async {
        let scenario = Scenario::new("by-hand").await?;
        scenario.fed(2_000, 70)?;
        let bridge = started(&scenario).await?;
        scenario.caught_up(&bridge, PATIENCE).await?;
        let (code, table) = bridgectl(&scenario, &["show"])?;
        assert!(code == Some(0) && table.lines().count() == 11 && table.starts_with("TOPIC"), "{table}");
        let (code, said) = bridgectl(&scenario, &["set", "--partition", "0", "--position", "0", "--yes"])?;
        assert!(code == Some(1) && said.contains("is held by 127.0.0.1:"), "{said}");
        scenario.settled(vec![bridge]).await?;

        let before = entries(&scenario).await?;
        let (_, first) = &before[0];
        let position = first.stored.checkpoint.position;
        let (code, said) = bridgectl(&scenario, &["set", "--all", "--position", "0"])?;
        assert!(code == Some(1) && said.contains("--yes") && entries(&scenario).await? == before, "{said}");
        let (code, said) = bridgectl(&scenario, &["set", "--all", "--position", "0", "--yes"])?;
        assert!(code == Some(0) && said.contains("will be looked up in the target again"), "{said}");
        let bridge = started(&scenario).await?;
        wait::until("all records to be recognised", seconds(60), async || {
            let suppressed = bridge.metric("stream_bridge_records_suppressed_total").await;
            match suppressed.map_err(|error| error.to_string())? {
                2_000.0 => Ok(()),
                other => Err(format!("{other} records were recognised")),
            }
        })
        .await?;
        scenario.settled(vec![bridge]).await?;
        scenario.holds(2_000).await?;

        scenario.fed(500, 71)?;
        let (forward, back) = ((position + 1).to_string(), position.to_string());
        let (code, said) = bridgectl(&scenario, &["set", "--partition", "0", "--position", &forward, "--yes"])?;
        assert!(code == Some(1) && said.contains("--skip 1"), "{said}");
        let skip = ["set", "--partition", "0", "--position", &forward, "--yes", "--skip", "1"];
        assert_eq!(bridgectl(&scenario, &skip)?.0, Some(0));
        assert_eq!(bridgectl(&scenario, &["set", "--partition", "0", "--position", &back, "--yes"])?.0, Some(0));
        assert_eq!(bridgectl(&scenario, &["forget", "--partition", "1", "--yes"])?.0, Some(0));
        assert_eq!(entries(&scenario).await?.len(), SOURCE_PARTITIONS as usize - 1);
        // That it was forgotten is still known: no checkpoint was lost, and only the target stands against a new start.
        scenario.admin().compact(&checkpoints(&scenario)).await?;
        let position = before[1].1.stored.checkpoint.position.to_string();
        let mut bridge = Bridge::start(&scenario.dynamic())?;
        wait::until("the forgotten partition to stop", seconds(60), async || match bridge.get("/readyz").await {
            Ok((503, text))
                if text.contains("/1 is stopped") && text.contains("the target knows its producer name") =>
            {
                Ok(())
            }
            Ok((code, text)) => Err(format!("{code}: {text}")),
            Err(error) => Err(error.to_string()),
        })
        .await?;
        assert_eq!(bridge.terminate(seconds(30)).await?.code(), Some(0));
        let set = ["set", "--partition", "1", "--yes", "--position"];
        let (code, said) = bridgectl(&scenario, &[&set[..], &["999999"]].concat())?;
        assert!(code == Some(1) && said.contains("the source ends at"), "{said}");
        let (code, said) = bridgectl(&scenario, &["set", "--partition", "99", "--yes", "--position", "0"])?;
        assert!(code == Some(1) && said.contains("has 10 partitions"), "{said}");
        let (code, said) = bridgectl(&scenario, &[&set[..], &[&position]].concat())?;
        assert!(code == Some(1) && said.contains("--mirrored"), "{said}");
        let (code, said) = bridgectl(&scenario, &[&set[..], &[&position, "--mirrored"]].concat())?;
        assert!(code == Some(0) && said.contains("has no checkpoint, and gets one"), "{said}");
        scenario.settled(vec![started(&scenario).await?]).await?;
        scenario.holds(2_500).await.map(drop)
    })
    .await
}

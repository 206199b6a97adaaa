//! Several instances of one bridge: partitions that move between them, instances that freeze, die, are rolled, restart, leave,
//! or were started by mistake; each test ends in the checker. `tests/run` runs them; by hand:
//! `cargo test -p bridge-tests --test instances -- --ignored --test-threads=1 --nocapture NAME`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bridge_common::pulsar::{Client, ClientConfig};
use bridge_tests::bridge::{Bridge, Setting};
use bridge_tests::generator::{Generator, Settings, create_topic};
use bridge_tests::scenario::{PATIENCE, SOURCE_PARTITIONS, Scenario, seconds, with, within};
use bridge_tests::{Result, wait};
use serde_json::Value;
use tokio::sync::mpsc;

async fn status(bridge: &Bridge) -> Result<Value> {
    Ok(serde_json::from_str(&bridge.get("/status").await?.1)?)
}

/// The partitions that a bridge mirrors now.
async fn running(bridge: &Bridge) -> Result<BTreeSet<u64>> {
    let status = status(bridge).await?;
    let partitions = status["partitions"].as_array().cloned().unwrap_or_default();
    let running = partitions.iter().filter(|partition| partition["state"] == "running");
    Ok(running.filter_map(|partition| partition["partition"].as_u64()).collect())
}

/// Waits until these bridges mirror all partitions, each of them one at least; tells how long that took.
async fn share(what: &str, bridges: &[&Bridge]) -> Result<Duration> {
    let start = Instant::now();
    let shared = wait::until(what, PATIENCE, async || {
        let (mut all, mut counts) = (0, Vec::new());
        for bridge in bridges {
            let count = running(bridge).await.map_err(|error| error.to_string())?.len();
            all += count;
            counts.push(count);
        }
        match all == SOURCE_PARTITIONS as usize && !counts.contains(&0) {
            true => Ok(()),
            false => Err(format!("{counts:?} partitions are running")),
        }
    });
    match shared.await {
        Ok(()) => Ok(start.elapsed()),
        Err(error) => {
            let logs: Vec<String> = bridges.iter().map(|bridge| bridge.log_tail()).collect();
            Err(format!("{error}\n{}", logs.join("\n")).into())
        }
    }
}

fn is_full() -> bool {
    std::env::var_os("TESTS_FULL").is_some()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn partitions_move_between_three_instances_that_freeze_die_and_are_rolled() -> Result<()> {
    within(seconds(if is_full() { 400 } else { 300 }), async {
        let scenario = Scenario::new("three").await?;
        let generator = Generator::start(Settings { rate: Some(500), seed: 80, ..scenario.feed() });
        let start = || Bridge::start(&scenario.dynamic());
        let (frozen, killed, old) = (start()?, start()?, start()?);
        let took = share("three instances to share", &[&frozen, &killed, &old]).await?;
        scenario.say(format!("three instances share after {took:?}"));

        scenario.progress(700).await?;
        frozen.freeze()?;
        let took = share("the others to take over from the frozen one", &[&killed, &old]).await?;
        scenario.say(format!("one is frozen, and the others have its partitions after {took:?}"));
        if is_full() {
            tokio::time::sleep(seconds(90)).await;
        }
        scenario.progress(700).await?;
        frozen.thaw()?;
        let took = share("the woken one to get partitions again", &[&frozen, &killed, &old]).await?;
        scenario.say(format!("it is awake, and has partitions again after {took:?}"));

        scenario.progress(700).await?;
        killed.kill()?;
        let took = share("the others to take over from the killed one", &[&frozen, &old]).await?;
        scenario.say(format!("one is killed, and the others have its partitions after {took:?}"));

        let new = start()?;
        let took = share("the new generation to get partitions beside the old", &[&frozen, &old, &new]).await?;
        scenario.say(format!("a new one overlaps the old one after {took:?}"));
        let mut old = old;
        assert_eq!(old.terminate(seconds(30)).await?.code(), Some(0), "{}", old.log_tail());
        let took = share("the new generation to have all", &[&frozen, &new]).await?;
        scenario.say(format!("the old one has left, and the others have its partitions after {took:?}"));

        scenario.progress(700).await?;
        tokio::task::block_in_place(|| generator.stop())?;
        scenario.settled(vec![frozen, new]).await?;
        scenario.holds(2_500).await.map(drop)
    })
    .await
}

/// A session that nothing here may wait for the end of.
const LONG_SESSION: Duration = Duration::from_secs(40);
/// Far below it, and far above what it takes.
const AT_ONCE: Duration = Duration::from_secs(20);

fn member(scenario: &Scenario, id: &str, token_file: &str) -> Vec<Setting> {
    let session = LONG_SESSION.as_millis().to_string();
    let settings = with(scenario.settings(), "BRIDGE__KAFKA__SESSION_TIMEOUT_MS", &session);
    let settings = with(settings, "BRIDGE__HTTP__TOKEN_FILE", token_file);
    with(settings, "BRIDGE__KAFKA__INSTANCE_ID", &format!("{}-{id}", scenario.topic))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn a_static_member_gets_its_partitions_back_at_once_and_gives_them_away_at_once_when_it_leaves() -> Result<()> {
    within(seconds(300), async {
        let scenario = Scenario::new("static").await?;
        let token_file = std::env::temp_dir().join(format!("{}-token", scenario.topic));
        std::fs::write(&token_file, "secret")?;
        let token = token_file.to_string_lossy();
        let generator = Generator::start(Settings { rate: Some(500), seed: 81, ..scenario.feed() });
        let first = Bridge::start(&member(&scenario, "0", &token))?;
        let second = Bridge::start(&member(&scenario, "1", &token))?;
        share("two static members to share", &[&first, &second]).await?;
        let (ours, theirs) = (running(&first).await?, running(&second).await?);
        scenario.progress(700).await?;

        first.kill()?;
        let killed = Instant::now();
        let mut first = Bridge::start(&member(&scenario, "0", &token))?;
        share("the killed one to have its partitions back", &[&first, &second]).await?;
        let took = killed.elapsed();
        scenario.say(format!("killed and started again: its partitions are back after {took:?}"));
        assert!(took < AT_ONCE, "it waited for its session: {took:?}");
        assert_eq!((running(&first).await?, running(&second).await?), (ours.clone(), theirs), "partitions have moved");

        let stopped = Instant::now();
        assert_eq!(first.terminate(seconds(30)).await?.code(), Some(0));
        let mut first = Bridge::start(&member(&scenario, "0", &token))?;
        share("the restarted one to have its partitions back", &[&first, &second]).await?;
        scenario.say(format!("stopped and started again: its partitions are back after {:?}", stopped.elapsed()));
        assert!(stopped.elapsed() < AT_ONCE, "it waited for its session");
        assert_eq!(running(&first).await?, ours, "partitions have moved");

        scenario.progress(700).await?;
        first.post("/drain", "secret").await?;
        let took = share("the one that stays to have all", &[&second]).await?;
        scenario.say(format!("one has left for good: the other has its partitions after {took:?}"));
        assert!(took < AT_ONCE, "it waited for the session of the one that left: {took:?}");
        assert_eq!(first.terminate(seconds(30)).await?.code(), Some(0));

        scenario.progress(700).await?;
        tokio::task::block_in_place(|| generator.stop())?;
        scenario.settled(vec![second]).await?;
        std::fs::remove_file(&token_file)?;
        scenario.holds(2_000).await.map(drop)
    })
    .await
}

/// How many partitions of all sources a bridge mirrors now.
async fn count_running(bridge: &Bridge) -> Result<usize> {
    let status = status(bridge).await?;
    let partitions = status["partitions"].as_array().cloned().unwrap_or_default();
    Ok(partitions.iter().filter(|partition| partition["state"] == "running").count())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn two_topics_of_one_bridge_are_read_by_static_members_that_do_not_fence_each_other() -> Result<()> {
    within(seconds(120), async {
        let scenario = Scenario::new("topics").await?;
        let second = format!("{}-second", scenario.topic);
        create_topic(&scenario.brokers, &second, 2).await?;
        let settings = member(&scenario, "0", "");
        let settings = with(settings, "BRIDGE__SOURCE__SECOND__KIND", "kafka");
        let mut settings = with(settings, "BRIDGE__SOURCE__SECOND__TOPIC", &second);
        settings.retain(|(name, _)| name != "BRIDGE__HTTP__TOKEN_FILE");
        let all = SOURCE_PARTITIONS as usize + 2;
        let all_run = async |bridge: &Bridge| {
            wait::until("the partitions of both topics to run", PATIENCE, async || match count_running(bridge).await {
                Ok(count) if count == all => Ok(()),
                Ok(count) => Err(format!("{count} of {all} partitions run")),
                Err(error) => Err(error.to_string()),
            })
            .await
            .map_err(|error| format!("{error}\n{}", bridge.log_tail()))
        };
        let generator = Generator::start(Settings { rate: Some(500), seed: 85, ..scenario.feed() });
        let bridge = Bridge::start(&settings)?;
        all_run(&bridge).await?;
        // Longer than the three seconds after which a member that was fenced hears of it.
        scenario.progress(2_500).await?;
        assert!(!bridge.log().contains("joining the source again"), "{}", bridge.log_tail());
        bridge.kill()?;
        let killed = Instant::now();
        let bridge = Bridge::start(&settings)?;
        all_run(&bridge).await?;
        let took = killed.elapsed();
        scenario.say(format!("killed and started again: all partitions of both topics are back after {took:?}"));
        assert!(took < AT_ONCE, "it waited for a session: {took:?}");
        scenario.progress(700).await?;
        assert!(!bridge.log().contains("joining the source again"), "{}", bridge.log_tail());
        scenario.finish(generator, bridge, 3_000).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn two_instances_with_one_identity_end_up_sharing_and_one_says_so() -> Result<()> {
    within(seconds(300), async {
        let scenario = Scenario::new("identity").await?;
        let generator = Generator::start(Settings { rate: Some(500), seed: 82, ..scenario.feed() });
        let mut first = Bridge::start(&scenario.settings())?;
        first.ready(PATIENCE).await?;
        share("the first to have all", &[&first]).await?;
        let second = Bridge::start(&scenario.settings())?;
        scenario.say("a second one starts with the identity of the first");
        let (one, other) = (&first, &second);
        wait::until("one of them to give the identity up, and both to share", seconds(100), async || {
            let mut lost = 0;
            for bridge in [one, other] {
                let status = status(bridge).await.map_err(|error| error.to_string())?;
                let error = status["last_error"].as_str().unwrap_or_default();
                lost += u32::from(error.contains("without an identity"));
            }
            if lost == 1 { Ok(()) } else { Err(format!("{lost} of them say so")) }
        })
        .await
        .map_err(|error| format!("{error}\n{}\n{}", first.log_tail(), second.log_tail()))?;
        let took = share("both to share", &[&first, &second]).await?;
        scenario.say(format!("both share after {took:?} more"));
        let rejoins = |bridge: &Bridge| bridge.log().matches("joining the source again").count();
        let before = rejoins(&first) + rejoins(&second);
        assert!(before <= 4, "they fought: joined again {before} times");
        scenario.progress(1_500).await?;
        assert_eq!(rejoins(&first) + rejoins(&second), before, "they still fight");
        tokio::task::block_in_place(|| generator.stop())?;
        scenario.settled(vec![first, second]).await?;
        scenario.holds(1_500).await.map(drop)
    })
    .await
}

/// A fleet of another Kafka cluster with the same id (a restored copy), of which the group knows nothing: it has the same names
/// in Pulsar. All that the bridge sees of it is who holds them.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn a_second_fleet_waits_and_says_who_holds_the_partitions() -> Result<()> {
    within(seconds(300), async {
        let scenario = Scenario::new("second-fleet").await?;
        scenario.fed(2_000, 83)?;
        let bridge = Bridge::start(&scenario.dynamic())?;
        share("the bridge to have all", &[&bridge]).await?;
        scenario.settled(vec![bridge]).await?;

        let client = Client::new(ClientConfig::new(scenario.stack.pulsar()))?;
        let topic = format!("persistent://{}/bridge-checkpoints", scenario.namespace);
        let names = bridge_common::checkpoint::list(&client, &topic, "bridge/job-lifecycle/").await?;
        let (mut held, mut ears) = (Vec::new(), Vec::new());
        for name in names.keys() {
            let (out, events) = mpsc::unbounded_channel();
            held.push(client.open_producer(&topic, name, None, out, 0).await?);
            ears.push(events);
        }
        scenario.fed(1_000, 84)?;
        // The first line comes before it is known who that is.
        let bridge = Bridge::start(&with(scenario.dynamic(), "BRIDGE__LOG__REPEAT_SECONDS", "1"))?;
        wait::until("every partition to wait, and to say for whom", seconds(60), async || {
            let status = status(&bridge).await.map_err(|error| error.to_string())?;
            let partitions = status["partitions"].as_array().cloned().unwrap_or_default();
            let waits = |partition: &Value| {
                let reason = partition["reason"].as_str().unwrap_or_default();
                partition["state"] == "waiting-for-name"
                    && reason.contains("held by 127.0.0.1:")
                    && reason.contains("connected since")
            };
            match partitions.len() == SOURCE_PARTITIONS as usize && partitions.iter().all(waits) {
                true => Ok(()),
                false => Err(status.to_string()),
            }
        })
        .await?;
        wait::until("the log to say it", seconds(30), async || match bridge.log().contains("held by 127.0.0.1:") {
            true => Ok(()),
            false => Err(bridge.log_tail()),
        })
        .await?;
        assert_eq!(bridge.metric("stream_bridge_records_published_total").await?, 0.0, "something was published");
        for opened in held {
            opened.producer.close().await?;
        }
        scenario.settled(vec![bridge]).await?;
        scenario.holds(3_000).await.map(drop)
    })
    .await
}

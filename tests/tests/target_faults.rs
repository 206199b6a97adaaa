//! The job-lifecycle bridge where the target is in trouble: a Pulsar of two brokers whose brokers are killed, frozen, restarted
//! and relieved of their topics, a bookie that hangs, quotas, rates, topics that are terminated or deleted. Each test ends in
//! the checker. `tests/run` runs them; by hand:
//! `cargo test -p bridge-tests --test target_faults -- --ignored --test-threads=1 --nocapture NAME`.

use std::time::{Duration, Instant};

use bridge_tests::Result;
use bridge_tests::bridge::{Bridge, Setting};
use bridge_tests::events::Shares;
use bridge_tests::faults::PulsarAdmin;
use bridge_tests::generator::{Generator, Settings};
use bridge_tests::scenario::{PATIENCE, Scenario, seconds, with, within};
use bridge_tests::stack::BROKERS;
use bridge_tests::wait;
use serde_json::Value;

/// Whether the long forms are wanted.
fn is_full() -> bool {
    std::env::var_os("TESTS_FULL").is_some()
}

/// A command of the stack, which waits for processes.
fn stack<T>(run: impl FnOnce() -> Result<T>) -> Result<T> {
    tokio::task::block_in_place(run)
}

/// What `/status` says of each partition, by its number.
async fn partitions(bridge: &Bridge) -> Result<Vec<Value>> {
    let (_, body) = bridge.get("/status").await?;
    let status: Value = serde_json::from_str(&body)?;
    let mut partitions = status["partitions"].as_array().cloned().unwrap_or_default();
    partitions.sort_by_key(|partition| partition["partition"].as_u64());
    Ok(partitions)
}

/// Records with a receipt.
async fn moved(bridge: &Bridge) -> Result<f64> {
    let published = bridge.metric("stream_bridge_records_published_total").await?;
    Ok(published + bridge.metric("stream_bridge_records_dead_lettered_total").await?)
}

/// Waits until so many more records have a receipt.
async fn progress(bridge: &Bridge, more: f64) -> Result<()> {
    let before = moved(bridge).await?;
    let progress = wait::until("records to move", PATIENCE, async || match moved(bridge).await {
        Ok(now) if now >= before + more => Ok(()),
        Ok(now) => Err(format!("{now} records, {before} before")),
        Err(error) => Err(error.to_string()),
    });
    told(bridge, progress.await).await
}

/// Waits until every partition has settled more than it knew of when this was called.
async fn all_move(bridge: &Bridge) -> Result<()> {
    let ends: Vec<_> = partitions(bridge).await?.iter().map(|partition| partition["source_end"].as_u64()).collect();
    let moved = wait::until("every partition to move", PATIENCE, async || {
        let now = partitions(bridge).await.map_err(|error| error.to_string())?;
        let behind: Vec<_> = now.iter().zip(&ends).filter(|(now, end)| now["position"].as_u64() <= **end).collect();
        match behind.as_slice() {
            [] if now.len() == ends.len() => Ok(()),
            behind => Err(format!("{} of {} partitions are behind: {behind:?}", behind.len(), now.len())),
        }
    });
    told(bridge, moved.await).await
}

/// A failure, with what the bridge has to say.
async fn told<T>(bridge: &Bridge, result: Result<T>) -> Result<T> {
    result.map_err(|error| format!("{error}\n{}", bridge.log_tail()).into())
}

/// Waits until these partitions, and no others, give a reason with these words and do not move; `/readyz` says so too.
async fn stalled(bridge: &Bridge, numbers: &[u64], words: &[&str]) -> Result<()> {
    let stalled = wait::until("partitions to stall", seconds(60), async || {
        let now = partitions(bridge).await.map_err(|error| error.to_string())?;
        let says = |partition: &&Value| {
            let reason = partition["reason"].as_str().unwrap_or_default();
            partition["state"] != "running" && words.iter().all(|words| reason.contains(words))
        };
        let found: Vec<_> = now.iter().filter(says).filter_map(|partition| partition["partition"].as_u64()).collect();
        if found == numbers { Ok(()) } else { Err(format!("{found:?} say so; {now:?}")) }
    });
    told(bridge, stalled.await).await?;
    let unready = wait::until("/readyz to fail", seconds(60), async || match bridge.get("/readyz").await {
        Ok((503, text)) if text.contains("has had no receipt for") => Ok(()),
        Ok((code, text)) => Err(format!("{code}: {text}")),
        Err(error) => Err(error.to_string()),
    });
    told(bridge, unready.await).await?;
    assert_eq!(bridge.get("/livez").await?.0, 200, "a target in trouble must not restart the bridge");
    Ok(())
}

/// The settings of a bridge that says early that nothing moves.
fn impatient(scenario: &Scenario) -> Vec<Setting> {
    with(scenario.settings(), "BRIDGE__HEALTH__STALL_SECONDS", "5")
}

async fn start(settings: &[Setting]) -> Result<Bridge> {
    let mut bridge = Bridge::start(settings)?;
    bridge.ready(PATIENCE).await?;
    Ok(bridge)
}

fn partition(scenario: &Scenario, number: u32) -> String {
    format!("{}-partition-{number}", scenario.target)
}

/// The broker of a partition of the target, and the other one, as servers of the stack.
async fn owner(scenario: &Scenario, number: u32, ask: &str) -> Result<(&'static str, &'static str)> {
    let admin = PulsarAdmin::at(scenario.stack.broker_admin(ask));
    let topic = partition(scenario, number);
    wait::until("a broker to own the topic", PATIENCE, async || match admin.owner(&topic).await {
        Ok(url) if url == scenario.stack.broker_url(BROKERS[0]) => Ok((BROKERS[0], BROKERS[1])),
        Ok(url) if url == scenario.stack.broker_url(BROKERS[1]) => Ok((BROKERS[1], BROKERS[0])),
        Ok(url) => Err(format!("{topic} is served by {url}")),
        Err(error) => Err(error.to_string()),
    })
    .await
}

/// Waits until this broker has a partition of the target: only once the other one's session is over.
async fn taken_over(scenario: &Scenario, number: u32, by: &'static str) -> Result<()> {
    wait::until("the other broker to take over", PATIENCE, async || match owner(scenario, number, by).await {
        Ok((now, _)) if now == by => Ok(()),
        Ok((now, _)) => Err(format!("{now} has it")),
        Err(error) => Err(error.to_string()),
    })
    .await
}

/// Moves a partition of the target to this broker.
async fn give(scenario: &Scenario, number: u32, to: &'static str) -> Result<()> {
    let admin = scenario.admin();
    let (topic, to_url) = (partition(scenario, number), scenario.stack.broker_admin(to).to_owned());
    wait::until("a topic to move", PATIENCE, async || {
        if owner(scenario, number, BROKERS[0]).await.is_ok_and(|(owner, _)| owner == to) {
            return Ok(());
        }
        let asked = admin.move_bundle(&scenario.namespace, &topic, &to_url).await;
        Err(asked.map_or_else(|error| error.to_string(), |()| "it was asked for".to_owned()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn brokers_moved_killed_frozen_and_restarted_under_load_lose_double_and_reorder_nothing() -> Result<()> {
    within(seconds(420), async {
        let scenario = Scenario::on_cluster("brokers").await?;
        let servers = &scenario.stack;
        let generator = Generator::start(Settings { rate: Some(500), seed: 50, ..scenario.feed() });
        let bridge = start(&scenario.settings()).await?;
        progress(&bridge, 2_000.0).await?;
        for _ in 0..if is_full() { 10 } else { 2 } {
            let (_, other) = owner(&scenario, 0, BROKERS[0]).await?;
            give(&scenario, 0, other).await?;
            scenario.say(format!("partition 0 of the target has moved to {other}"));
            all_move(&bridge).await?;
        }
        for _ in 0..if is_full() { 5 } else { 1 } {
            let (owning, other) = owner(&scenario, 0, BROKERS[0]).await?;
            stack(|| servers.kill(owning))?;
            scenario.say(format!("{owning} is killed"));
            taken_over(&scenario, 0, other).await?;
            all_move(&bridge).await?;
            scenario.say(format!("{other} has the topics"));
            stack(|| servers.start(owning))?;
        }
        let (owning, other) = owner(&scenario, 0, BROKERS[0]).await?;
        stack(|| servers.freeze(owning))?;
        scenario.say(format!("{owning} is frozen"));
        taken_over(&scenario, 0, other).await?;
        all_move(&bridge).await?;
        stack(|| servers.thaw(owning))?;
        scenario.say(format!("{owning} is awake, and believed until now that the topics are its own"));
        all_move(&bridge).await?;
        for broker in BROKERS {
            stack(|| servers.stop(broker))?;
            all_move(&bridge).await?;
            stack(|| servers.start(broker))?;
            scenario.say(format!("{broker} has been restarted"));
        }
        all_move(&bridge).await?;
        scenario.finish(generator, bridge, 10_000).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn a_bridge_frozen_with_lanes_on_two_brokers_wakes_and_loses_doubles_and_reorders_nothing() -> Result<()> {
    within(seconds(300), async {
        let scenario = Scenario::on_cluster("frozen-two").await?;
        give(&scenario, 0, BROKERS[0]).await?;
        give(&scenario, 1, BROKERS[1]).await?;
        let generator = Generator::start(Settings { rate: Some(2_000), seed: 51, ..scenario.feed() });
        let mut settings = with(scenario.settings(), "BRIDGE__KAFKA__SESSION_TIMEOUT_MS", "6000");
        settings.retain(|(name, _)| name != "BRIDGE__KAFKA__INSTANCE_ID");
        let mut holder = start(&settings).await?;
        for round in 1..=if is_full() { 10 } else { 2 } {
            progress(&holder, 2_000.0).await?;
            holder.freeze()?;
            let next = Bridge::start(&settings)?;
            // The frozen one is evicted broker by broker, as its names are asked for: it wakes in the middle of that.
            wait::until("the second instance to take a name", PATIENCE, async || {
                let now = partitions(&next).await.map_err(|error| error.to_string())?;
                let takes = now.iter().any(|partition| partition["state"] != "waiting-for-name");
                if takes { Ok(()) } else { Err(format!("{now:?}")) }
            })
            .await?;
            holder.thaw()?;
            scenario.say(format!("round {round}: the first instance is awake again"));
            progress(&next, 2_000.0).await?;
            holder.kill()?;
            holder = next;
            holder.ready(PATIENCE).await?;
        }
        scenario.finish(generator, holder, 8_000).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn a_backlog_quota_that_is_reached_stalls_visibly_until_it_is_raised() -> Result<()> {
    within(seconds(300), async {
        let scenario = Scenario::on_cluster("quota").await?;
        let (admin, namespace) = (scenario.admin(), &scenario.namespace);
        admin.subscribe(&scenario.target, "nobody").await?;
        let generator = Generator::start(Settings { rate: Some(1_000), seed: 52, ..scenario.feed() });
        let bridge = start(&impatient(&scenario)).await?;
        let all: Vec<u64> = (0..10).collect();
        let words = ["ProducerBlockedQuotaExceeded", "raise the quota"];
        for policy in ["producer_request_hold", "producer_exception"] {
            progress(&bridge, 2_000.0).await?;
            admin.set_backlog_quota(namespace, 10_000, policy).await?;
            stalled(&bridge, &all, &words).await?;
            scenario.say(format!("{policy}: every partition says why it stalls"));
            lag_grows(&bridge).await?;
            admin.set_backlog_quota(namespace, 1 << 30, policy).await?;
            all_move(&bridge).await?;
            scenario.say(format!("{policy}: the quota is raised, and everything moves"));
        }
        scenario.finish(generator, bridge, 4_000).await
    })
    .await
}

/// Waits until the lag that `/status` shows has grown.
async fn lag_grows(bridge: &Bridge) -> Result<()> {
    let lag = async || -> Result<u64> {
        Ok(partitions(bridge).await?.iter().filter_map(|partition| partition["lag_records"].as_u64()).sum())
    };
    let before = lag().await?;
    let grown = wait::until("the lag to grow", seconds(60), async || match lag().await {
        Ok(now) if now > before => Ok(()),
        Ok(now) => Err(format!("{now}, {before} before")),
        Err(error) => Err(error.to_string()),
    });
    told(bridge, grown.await).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn publish_rates_make_it_slower_and_nothing_else() -> Result<()> {
    within(seconds(300), async {
        let scenario = Scenario::on_cluster("rates").await?;
        let admin = scenario.admin();
        let bridge = start(&scenario.settings()).await?;
        let feed = |seed| Settings { records: Some(15_000), seed, ..scenario.feed() };
        for (seed, by) in [(53, "topic"), (54, "namespace")] {
            let set = async |rate| match by {
                "topic" => admin.set_topic_publish_rate(&scenario.target, rate).await,
                _ => admin.set_namespace_publish_rate(&scenario.namespace, rate).await,
            };
            set(500).await?;
            tokio::task::block_in_place(|| Generator::start(feed(seed)).wait())?;
            let (began, before) = (Instant::now(), moved(&bridge).await?);
            progress(&bridge, 3_000.0).await?;
            let rate = (moved(&bridge).await? - before) / began.elapsed().as_secs_f64();
            scenario.say(format!("{by}: {rate:.0} records/s under a limit of 500 for each of three partitions"));
            let lag: u64 =
                partitions(&bridge).await?.iter().filter_map(|partition| partition["lag_records"].as_u64()).sum();
            assert!(lag > 0, "{by}: no lag is shown");
            assert_eq!(bridge.get("/readyz").await?.0, 200, "{by}: slow is not stalled");
            set(-1).await?;
            scenario.caught_up(&bridge, PATIENCE).await?;
        }
        let reopened = bridge.metric("stream_bridge_lane_reopens_total").await?;
        assert_eq!(reopened, 0.0, "{}", bridge.log_tail());
        scenario.conclude(bridge, 30_000).await.map(drop)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn a_topic_that_is_deleted_or_terminated_stalls_what_goes_there_until_it_is_back() -> Result<()> {
    within(seconds(300), async {
        let scenario = Scenario::on_cluster("ended").await?;
        let (admin, ended) = (scenario.admin(), partition(&scenario, 1));
        // Nothing is in them yet: what is deleted with a topic, nobody can bring back.
        let bridge = start(&impatient(&scenario)).await?;
        admin.delete_topic(&scenario.target).await?;
        let all: Vec<u64> = (0..10).collect();
        stalled(&bridge, &all, &["NotFound", "create the topic"]).await?;
        scenario.say("the target is deleted, and every partition says so");
        scenario.setup(&[])?;
        admin.terminate(&ended).await?;
        let generator = Generator::start(Settings { rate: Some(2_000), seed: 55, ..scenario.feed() });
        stalled(&bridge, &[1, 4, 7], &["TopicTerminatedError", "the topic was ended on purpose", &ended]).await?;
        scenario.say("one partition is terminated, and the source partitions that go there say so");
        progress(&bridge, 2_000.0).await?;
        let waits = partitions(&bridge).await?;
        assert!([1, 4, 7].iter().all(|number| waits[*number]["totals"]["published"] == 0), "{waits:?}");
        // The broker makes a partition of a topic that has it anew when it is asked for.
        admin.delete_partition(&ended).await?;
        all_move(&bridge).await?;
        scenario.say("it was deleted, is there again, and everything moves");
        // As many as the waits before need: a generator on a busy machine is slower than its rate.
        scenario.finish(generator, bridge, 2_000).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn memory_stays_flat_while_the_target_is_stuck_and_a_million_records_wait() -> Result<()> {
    within(seconds(if is_full() { 1_200 } else { 300 }), async {
        let scenario = Scenario::on_cluster("memory").await?;
        let (servers, records) = (&scenario.stack, 1_000_000);
        let shares = Shares { broken: 0.0, ..Shares::default() };
        let mut feed = Settings { records: Some(records), seed: 56, shares, ..scenario.feed() };
        // The portal's codec takes long for so many.
        feed.kafka.iter_mut().for_each(|kafka| "lz4".clone_into(&mut kafka.compression));
        let generator = Generator::start(feed);
        let bridge = start(&scenario.settings()).await?;
        progress(&bridge, 20_000.0).await?;

        stack(|| servers.freeze("bookie"))?;
        scenario.say("the bookie hangs");
        sampled(&scenario, &bridge, seconds(10)).await?;
        stack(|| servers.thaw("bookie"))?;
        progress(&bridge, 20_000.0).await?;
        let reopened = bridge.metric("stream_bridge_lane_reopens_total").await?;
        assert_eq!(reopened, 0.0, "late receipts are no reason to open again\n{}", bridge.log_tail());

        stack(|| BROKERS.iter().try_for_each(|broker| servers.freeze(broker)))?;
        scenario.say("the brokers are frozen");
        let report = tokio::task::block_in_place(|| generator.wait())?;
        scenario.say(format!("{} records were fed", report.acknowledged));
        sampled(&scenario, &bridge, seconds(if is_full() { 300 } else { 25 })).await?;
        let opened = bridge.metric("stream_bridge_lane_reopens_total").await?;
        assert!(opened <= 20.0, "{opened} reopenings of 10 partitions: a storm\n{}", bridge.log_tail());
        stack(|| BROKERS.iter().try_for_each(|broker| servers.thaw(broker)))?;
        scenario.conclude(bridge, records).await.map(drop)
    })
    .await
}

/// What the bridge holds at most with the default `limits.memory_mib` of 32, in MiB: see the README.
const MOST_MIB: u64 = 128;

/// Looks at the bridge's memory for a while.
async fn sampled(scenario: &Scenario, bridge: &Bridge, time: Duration) -> Result<()> {
    let (began, mut samples) = (Instant::now(), Vec::new());
    while began.elapsed() < time {
        samples.push(bridge.resident_bytes()? >> 20);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let (lowest, highest) = (samples.iter().min().unwrap_or(&0), samples.iter().max().unwrap_or(&0));
    scenario.say(format!("{lowest} to {highest} MiB in {time:?}"));
    assert!(*highest <= MOST_MIB, "{highest} MiB are held");
    assert_eq!(bridge.get("/livez").await?.0, 200, "a target in trouble must not restart the bridge");
    Ok(())
}

//! The job-lifecycle bridge on a real Kafka and a real Pulsar, under faults; each test ends in the checker: every source
//! record exactly once in the target or in the dead letters, in order, with the same content. `tests/run` runs them; by
//! hand: `cargo test -p bridge-tests --test kafka_to_pulsar -- --ignored --test-threads=1 --nocapture NAME`.

use std::time::Duration;

use bridge_tests::Result;
use bridge_tests::bridge::{Bridge, Setting};
use bridge_tests::events::{Random, Shares};
use bridge_tests::generator::{Generator, Settings};
use bridge_tests::proxy::Proxy;
use bridge_tests::scenario::{PATIENCE, Scenario, TARGET_PARTITIONS, seconds, stopped, with, within};
use bridge_tests::wait;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn thirty_kills_under_load_lose_double_and_reorder_nothing() -> Result<()> {
    within(seconds(600), async {
        let scenario = Scenario::new("kills").await?;
        let shares = Shares { too_large_every: 200_000, ..Shares::default() };
        let feed = Settings { records: Some(1_050_000), rate: Some(20_000), shares, seed: 30, ..scenario.feed() };
        let generator = Generator::start(feed);
        let mut random = Random::new(std::process::id().into());
        let mut published_before_kill = 0;
        for round in 1..=30 {
            let bridge = Bridge::start(&scenario.settings())?;
            let moment = Duration::from_millis(200 + random.below(3_000));
            tokio::time::sleep(moment).await;
            let published = bridge.metric("stream_bridge_records_published_total").await.unwrap_or_default();
            published_before_kill += u32::from(published > 0.0);
            bridge.kill()?;
            scenario.say(format!("kill -9 {round} after {moment:?}, {published} records published"));
        }
        assert!(published_before_kill >= 10, "only {published_before_kill} of 30 kills met a bridge at work");
        let report = tokio::task::block_in_place(|| generator.wait())?;
        scenario.say(format!("{} records fed, {} of them broken", report.acknowledged, report.broken()));
        let mut bridge = scenario.bridge().await?;
        scenario.caught_up(&bridge, PATIENCE).await?;
        assert_eq!(bridge.terminate(seconds(30)).await?.code(), Some(0), "{}", bridge.log_tail());
        let parity = scenario.holds(1_000_000).await?;
        assert_eq!(parity.dead_letters_total().expected, report.broken());
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn topics_unloaded_in_flight_lose_double_and_reorder_nothing() -> Result<()> {
    within(seconds(180), async {
        let scenario = Scenario::new("unloads").await?;
        let generator = Generator::start(Settings { rate: Some(10_000), seed: 31, ..scenario.feed() });
        let bridge = scenario.bridge().await?;
        for round in 0..9 {
            scenario.progress(5_000).await?;
            if round % 3 == 2 {
                scenario.admin().unload_namespace(&scenario.namespace).await?;
            } else {
                scenario.admin().unload(&scenario.target, round % TARGET_PARTITIONS).await?;
            }
            scenario.say(format!("unload {}", round + 1));
        }
        scenario.progress(5_000).await?;
        scenario.finish(generator, bridge, 30_000).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn pulsar_gone_for_twenty_seconds_stalls_the_bridge_and_nothing_else() -> Result<()> {
    within(seconds(300), async {
        let scenario = Scenario::new("pulsar-gone").await?;
        let generator = Generator::start(Settings { rate: Some(5_000), seed: 32, ..scenario.feed() });
        let bridge = scenario.bridge().await?;
        scenario.progress(10_000).await?;
        // Stopped, not killed: what a single bookie loses by a kill, no bridge can mend.
        tokio::task::block_in_place(|| scenario.stack.stop("pulsar"))?;
        scenario.say("Pulsar is gone");
        tokio::time::sleep(seconds(20)).await;
        assert_eq!(bridge.get("/livez").await?.0, 200, "an outage of a broker must not restart the bridge");
        tokio::task::block_in_place(|| scenario.stack.start("pulsar"))?;
        scenario.say("Pulsar is back");
        scenario.progress(10_000).await?;
        scenario.finish(generator, bridge, 100_000).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn kafka_gone_and_back_loses_doubles_and_reorders_nothing() -> Result<()> {
    within(seconds(300), async {
        let scenario = Scenario::new("kafka-gone").await?;
        let generator = Generator::start(Settings { rate: Some(5_000), seed: 33, ..scenario.feed() });
        let bridge = scenario.bridge().await?;
        scenario.progress(10_000).await?;
        tokio::task::block_in_place(|| scenario.stack.stop("kafka"))?;
        scenario.say("Kafka is gone");
        // Longer than the session: a static member may be called fenced then, and its source is joined again.
        tokio::time::sleep(seconds(20)).await;
        assert_eq!(bridge.get("/livez").await?.0, 200, "an outage of a broker must not restart the bridge");
        tokio::task::block_in_place(|| scenario.stack.start("kafka"))?;
        scenario.say("Kafka is back");
        scenario.progress(10_000).await?;
        scenario.finish(generator, bridge, 20_000).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn connections_cut_damaged_and_stalled_in_mid_batch_lose_double_and_reorder_nothing() -> Result<()> {
    within(seconds(240), async {
        let scenario = Scenario::new("cuts").await?;
        let proxy = Proxy::before(scenario.stack.pulsar()).await?;
        let generator = Generator::start(Settings { rate: Some(10_000), seed: 34, ..scenario.feed() });
        let mut bridge = Bridge::start(&scenario.settings_through(&proxy.url()))?;
        bridge.ready(PATIENCE).await?;
        let mut random = Random::new(std::process::id().into());
        for round in 1..=12 {
            scenario.progress(2_000).await?;
            let cuts = proxy.cuts();
            // Some fall into a frame's header, most into the middle of a batch.
            let bytes = random.below(200_000) as u32;
            if round % 4 == 0 {
                proxy.damage_after(bytes);
                let damaged = async || if proxy.is_damage_pending() { Err("no bytes pass") } else { Ok(()) };
                wait::until("a byte to be damaged", PATIENCE, damaged).await?;
                scenario.say(format!("damage {round} after {bytes} bytes"));
            } else {
                proxy.cut_after(bytes);
                let cut = async || if proxy.cuts() == cuts { Err("no bytes pass") } else { Ok(()) };
                wait::until("a connection to be cut", PATIENCE, cut).await?;
                scenario.say(format!("cut {round} after {bytes} bytes"));
            }
        }
        proxy.stall(true);
        tokio::time::sleep(seconds(3)).await;
        proxy.stall(false);
        scenario.progress(2_000).await?;
        assert!(proxy.passed() > 1_000_000, "the bridge has left the proxy: {} bytes passed", proxy.passed());
        scenario.finish(generator, bridge, 24_000).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn a_bridge_frozen_under_load_wakes_and_loses_doubles_and_reorders_nothing() -> Result<()> {
    within(seconds(180), async {
        let scenario = Scenario::new("frozen").await?;
        let generator = Generator::start(Settings { rate: Some(10_000), seed: 35, ..scenario.feed() });
        let frozen = scenario.bridge().await?;
        scenario.progress(5_000).await?;
        frozen.freeze()?;
        scenario.say("the first instance is frozen; a second one starts");
        let mut settings = scenario.settings();
        settings.retain(|(name, _)| name != "BRIDGE__KAFKA__INSTANCE_ID");
        let mut second = Bridge::start(&settings)?;
        scenario.progress(5_000).await?;
        frozen.thaw()?;
        scenario.say("the first instance is awake again");
        scenario.progress(10_000).await?;
        frozen.kill()?;
        second.ready(PATIENCE).await?;
        scenario.finish(generator, second, 20_000).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn sigterm_under_load_drains_and_exits_0_within_the_deadline() -> Result<()> {
    within(seconds(180), async {
        let scenario = Scenario::new("sigterm").await?;
        let generator = Generator::start(Settings { rate: Some(10_000), seed: 36, ..scenario.feed() });
        for _ in 0..4 {
            let mut bridge = scenario.bridge().await?;
            scenario.progress(3_000).await?;
            let status = bridge.terminate(seconds(25)).await?;
            assert_eq!(status.code(), Some(0), "{}", bridge.log_tail());
        }
        let bridge = scenario.bridge().await?;
        scenario.finish(generator, bridge, 12_000).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn a_burst_of_broken_records_stops_the_partitions_and_loses_nothing() -> Result<()> {
    within(seconds(120), async {
        let scenario = Scenario::new("burst").await?;
        let shares = Shares { broken: 1.0, ..Shares::default() };
        let generator = Generator::start(Settings { records: Some(4_000), seed: 37, shares, ..scenario.feed() });
        let report = tokio::task::block_in_place(|| generator.wait())?;
        let mut bridge = Bridge::start(&scenario.settings())?;
        stopped(&bridge, "dead_letters.max_ratio").await?;
        bridge.terminate(seconds(25)).await?;
        let any = with(scenario.settings(), "BRIDGE__DEAD_LETTERS__MAX_RATIO", "1");
        let mut bridge = Bridge::start(&any)?;
        scenario.caught_up(&bridge, PATIENCE).await?;
        bridge.terminate(seconds(25)).await?;
        let parity = scenario.holds(4_000).await?;
        assert_eq!(parity.dead_letters_total().expected, report.broken());
        Ok(())
    })
    .await
}

/// Starts a bridge that must refuse to work; its exit code and all that it has said.
async fn refusal(settings: &[Setting]) -> Result<(Option<i32>, String)> {
    let mut bridge = Bridge::start(settings)?;
    let status = bridge.ended(seconds(30)).await?;
    Ok((status.code(), bridge.log()))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn bad_settings_end_with_2_and_the_key_before_anything_is_touched() -> Result<()> {
    let scenario = Scenario::bare("settings").await?;
    for (name, value, must_say) in [
        ("BRIDGE__LIMITS__MEMROY_MIB", "64", "memory_mib"),
        ("BRIDGE__LIMITS__MEMORY_MIB", "plenty", "limits.memory_mib"),
        ("BRIDGE__TARGET__TOPIC", "no topic at all", "target.topic"),
        ("BRIDGE__CONTRACT__FILE", "/nowhere.avsc", "/nowhere.avsc"),
        ("BRIDGE__SOURCE__KAFKA__START", "yesterday", "start"),
    ] {
        let (code, log) = refusal(&with(scenario.settings(), name, value)).await?;
        assert_eq!(code, Some(2), "{name}={value}: {log}");
        assert!(log.contains(must_say), "{name}={value} does not say {must_say}: {log}");
    }
    assert!(scenario.admin().messages_in(&scenario.target).await.is_err(), "a refused bridge has made its target");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn a_target_without_deduplication_is_refused() -> Result<()> {
    let scenario = Scenario::bare("no-dedup").await?;
    let admin = scenario.admin();
    admin.create_namespace(&scenario.namespace, false).await?;
    admin.create_topic(&scenario.target, TARGET_PARTITIONS).await?;
    let (code, log) = refusal(&scenario.settings()).await?;
    assert_eq!(code, Some(1), "{log}");
    assert!(log.to_lowercase().contains("deduplication") && log.contains("bridgectl setup"), "{log}");
    assert_eq!(admin.messages_in(&scenario.target).await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn a_source_topic_that_does_not_exist_is_named() -> Result<()> {
    let scenario = Scenario::new("no-source").await?;
    let missing = format!("{}-missing", scenario.topic);
    let (code, log) = refusal(&with(scenario.settings(), "BRIDGE__SOURCE__KAFKA__TOPIC", &missing)).await?;
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains(&missing), "{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn a_target_that_does_not_exist_is_named() -> Result<()> {
    let scenario = Scenario::bare("no-target").await?;
    scenario.admin().create_namespace(&scenario.namespace, true).await?;
    let (code, log) = refusal(&scenario.settings()).await?;
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains(&scenario.target), "{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn a_target_with_another_schema_is_refused_before_the_first_record() -> Result<()> {
    let scenario = Scenario::bare("other-schema").await?;
    let admin = scenario.admin();
    admin.create_namespace(&scenario.namespace, true).await?;
    admin.create_topic(&scenario.target, TARGET_PARTITIONS).await?;
    let other = r#"{"type":"record","name":"Other","fields":[{"name":"altitude","type":"double"}]}"#;
    admin.set_schema(&scenario.target, other).await?;
    let generator = Generator::start(Settings { records: Some(1_000), ..scenario.feed() });
    tokio::task::block_in_place(|| generator.wait())?;
    let (code, log) = refusal(&scenario.settings()).await?;
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("field altitude is in the topic's schema only"), "{log}");
    assert_eq!(admin.messages_in(&scenario.target).await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn setting_up_twice_changes_nothing() -> Result<()> {
    let scenario = Scenario::new("setup").await?;
    let again = scenario.setup(&[])?;
    assert!(again.contains("Created 0, changed 0;"), "{again}");
    Ok(())
}

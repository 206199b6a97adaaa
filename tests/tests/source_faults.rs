//! What a Kafka topic can do to the job-lifecycle bridge: be recreated, lose records, hold transactions back, be compacted, grow,
//! freeze. Each test ends in the checker, or in a stop whose words it reads. `tests/run` runs them; by hand:
//! `cargo test -p bridge-tests --test source_faults -- --ignored --test-threads=1 --nocapture NAME`.

use bridge_tests::Result;
use bridge_tests::bridge::{Bridge, Setting};
use bridge_tests::events::Shares;
use bridge_tests::generator::{Generator, Report, Settings};
use bridge_tests::kafka::{Transactions, create_topic_with, delete_records, grow_topic, offsets, recreate_topic};
use bridge_tests::proxy::Proxy;
use bridge_tests::scenario::{PATIENCE, SOURCE_PARTITIONS, Scenario, seconds, stopped, within};
use bridge_tests::stack::{Stack, repository};
use bridge_tests::wait;
use rdkafka::admin::TopicReplication;
use serde_json::Value;

/// Feeds so many records, all at once.
fn feed(scenario: &Scenario, records: u64, seed: u64) -> Result<Report> {
    let generator = Generator::start(Settings { records: Some(records), seed, ..scenario.feed() });
    tokio::task::block_in_place(|| generator.wait())
}

fn with(mut settings: Vec<Setting>, more: &[(&str, &str)]) -> Vec<Setting> {
    settings.retain(|(name, _)| more.iter().all(|(other, _)| other != name));
    settings.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    settings
}

/// The partitions in `/status`.
async fn partitions(bridge: &Bridge) -> Result<Vec<Value>> {
    let (_, text) = bridge.get("/status").await?;
    let status: Value = serde_json::from_str(&text)?;
    Ok(status["partitions"].as_array().cloned().unwrap_or_default())
}

async fn clean_end(mut bridge: Bridge) -> Result<()> {
    let status = bridge.terminate(seconds(30)).await?;
    assert_eq!(status.code(), Some(0), "{}", bridge.log_tail());
    Ok(())
}

/// How many partitions are stopped by this cause: an alert of its own goes by it.
async fn stopped_by(bridge: &Bridge, cause: &str) -> Result<f64> {
    bridge.metric_with("stream_bridge_partition_stop_cause", &format!("cause=\"{cause}\"")).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn a_recreated_source_topic_stops_the_partitions_until_a_generation_is_set() -> Result<()> {
    within(seconds(300), async {
        let scenario = Scenario::new("recreated").await?;
        feed(&scenario, 3_000, 38)?;
        let bridge = scenario.bridge().await?;
        scenario.caught_up(&bridge, PATIENCE).await?;
        clean_end(bridge).await?;

        recreate_topic(&scenario.brokers, &scenario.topic, SOURCE_PARTITIONS).await?;
        feed(&scenario, 500, 39)?;
        let bridge = Bridge::start(&scenario.settings())?;
        stopped(&bridge, "but the source ends at").await?;
        assert!(stopped_by(&bridge, "source-went-back").await? >= 1.0);
        scenario.say("recreated while down, with fewer records: stopped");
        clean_end(bridge).await?;

        feed(&scenario, 6_000, 40)?;
        let bridge = Bridge::start(&scenario.settings())?;
        stopped(&bridge, "when it was mirrored, and is stamped").await?;
        assert!(stopped_by(&bridge, "source-went-back").await? >= 1.0);
        stopped(&bridge, "set source.<name>.generation to start a new sequence").await?;
        scenario.say("the same, grown again: stopped");
        clean_end(bridge).await?;

        let first = with(scenario.settings(), &[("BRIDGE__SOURCE__KAFKA__GENERATION", "1")]);
        let mut bridge = Bridge::start(&first)?;
        bridge.ready(PATIENCE).await?;
        scenario.caught_up_as(&bridge, &format!("{}-g1", scenario.group()), PATIENCE).await?;
        let mut checker = scenario.checker();
        checker.generation = 1;
        scenario.holds_by(&checker, 6_500).await?;
        scenario.say("all of the new topic is there, under new names");

        recreate_topic(&scenario.brokers, &scenario.topic, SOURCE_PARTITIONS).await?;
        feed(&scenario, 300, 41)?;
        stopped(&bridge, "generation").await?;
        scenario.say("recreated while running: stopped");
        clean_end(bridge).await?;
        // What the generation had mirrored is as it was: nothing of the next topic came under its names.
        let admin = scenario.admin();
        assert!(admin.messages_in(&scenario.target).await? <= 3_000 + 6_500);
        Ok(())
    })
    .await
}

/// Each partition's position, and its oldest offset after a purge of all but the last `left` records.
async fn purge(scenario: &Scenario, left: i64) -> Result<Vec<(i64, i64)>> {
    let ends = offsets(&scenario.brokers, &scenario.topic)?;
    let below: Vec<i64> = ends.iter().map(|(oldest, end)| (end - left).max(*oldest)).collect();
    delete_records(&scenario.brokers, &scenario.topic, &below).await?;
    offsets(&scenario.brokers, &scenario.topic)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn records_purged_while_the_bridge_is_down_stop_the_partitions_or_are_passed_over() -> Result<()> {
    within(seconds(300), async {
        let scenario = Scenario::new("purged").await?;
        feed(&scenario, 3_000, 42)?;
        let bridge = scenario.bridge().await?;
        scenario.caught_up(&bridge, PATIENCE).await?;
        clean_end(bridge).await?;
        let positions: Vec<i64> =
            offsets(&scenario.brokers, &scenario.topic)?.into_iter().map(|(_, end)| end).collect();
        feed(&scenario, 6_000, 43)?;
        let oldest: Vec<i64> = purge(&scenario, 100).await?.into_iter().map(|(oldest, _)| oldest).collect();
        let missing: i64 = oldest.iter().zip(&positions).map(|(oldest, position)| oldest - position).sum();
        assert!(missing > 3_000, "only {missing} records were purged before they were read");

        let bridge = Bridge::start(&scenario.settings())?;
        for (partition, (position, oldest)) in positions.iter().zip(&oldest).enumerate() {
            let last = oldest - 1;
            let words =
                format!("/{partition}: offsets {position} to {last} are gone from the source (its oldest is {oldest})");
            stopped(&bridge, &words).await?;
        }
        scenario.say("every partition is stopped, and names what is missing");
        clean_end(bridge).await?;

        let on = with(scenario.settings(), &[("BRIDGE__SOURCE__KAFKA__ON_GAP", "continue")]);
        let mut bridge = Bridge::start(&on)?;
        bridge.ready(PATIENCE).await?;
        scenario.caught_up(&bridge, PATIENCE).await?;
        assert_eq!(bridge.metric("stream_bridge_gap_offsets_total").await?, missing as f64);
        let told = bridge.log().matches("a gap is passed over").count();
        assert_eq!(told, positions.len(), "a gap is told once\n{}", bridge.log());
        clean_end(bridge).await?;
        let mut checker = scenario.checker();
        checker.forgets = true;
        let parity = scenario.holds_by(&checker, 900).await?;
        let held = parity.target_total().observed + parity.dead_letters_total().observed;
        assert_eq!(held as i64, 9_000 - missing);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn records_purged_while_the_bridge_is_stalled_are_named_and_can_be_passed_over() -> Result<()> {
    within(seconds(300), async {
        let scenario = Scenario::new("purged-stalled").await?;
        let proxy = Proxy::before(scenario.stack.pulsar()).await?;
        let small = [("BRIDGE__LIMITS__MEMORY_MIB", "8"), ("BRIDGE__LIMITS__BATCH_KIB", "128")];
        feed(&scenario, 2_000, 44)?;
        let mut bridge = Bridge::start(&with(scenario.settings_through(&proxy.url()), &small))?;
        bridge.ready(PATIENCE).await?;
        scenario.caught_up(&bridge, PATIENCE).await?;
        proxy.stall(true);
        // More than a bridge of this size holds.
        feed(&scenario, 150_000, 45)?;
        let offsets = purge(&scenario, 100).await?;
        proxy.stall(false);
        stopped(&bridge, "are gone from the source").await?;
        assert!(stopped_by(&bridge, "source-gap").await? >= 1.0);
        scenario.say("stopped");
        let positions: Vec<i64> = partitions(&bridge)
            .await?
            .iter()
            .map(|partition| partition["position"].as_i64().unwrap_or_default())
            .collect();
        clean_end(bridge).await?;
        let missing: i64 = offsets.iter().zip(&positions).map(|((oldest, _), position)| oldest - position).sum();
        assert!(missing > 0, "nothing is missing: {offsets:?} {positions:?}");

        let on = with(scenario.settings(), &[("BRIDGE__SOURCE__KAFKA__ON_GAP", "continue")]);
        let mut bridge = Bridge::start(&on)?;
        bridge.ready(PATIENCE).await?;
        scenario.caught_up(&bridge, PATIENCE).await?;
        let passed = bridge.metric("stream_bridge_gap_offsets_total").await?;
        clean_end(bridge).await?;
        let mut checker = scenario.checker();
        checker.forgets = true;
        let parity = scenario.holds_by(&checker, 900).await?;
        let held = parity.target_total().observed + parity.dead_letters_total().observed;
        assert_eq!(held, 152_000 - passed as u64, "what is not in the target was passed over, and counted");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn transactions_are_mirrored_once_when_they_are_committed_and_never_when_they_are_aborted() -> Result<()> {
    within(seconds(300), async {
        let scenario = Scenario::new("transactions").await?;
        let mut publisher = Transactions::to(&scenario.brokers, &scenario.topic, "one")?;
        let bridge = scenario.bridge().await?;
        for round in 0..6 {
            publisher.open(500)?;
            if round % 2 == 0 { publisher.commit()? } else { publisher.abort()? }
        }
        // Behind the last committed record come markers, and what was aborted: the position passes all of it.
        scenario.caught_up(&bridge, PATIENCE).await?;
        lag(&bridge, 0).await?;
        scenario.holds(1_500).await?;

        let mut hanging = Transactions::to(&scenario.brokers, &scenario.topic, "two")?;
        hanging.open(200)?;
        feed(&scenario, 1_000, 46)?;
        wait::until("/status to tell of the transaction", PATIENCE, async || {
            let partitions = partitions(&bridge).await.map_err(|error| error.to_string())?;
            let told =
                |partition: &&Value| partition["reason"].as_str().is_some_and(|it| it.contains("open transaction"));
            let (told, all) = (partitions.iter().filter(told).count(), partitions.len());
            if told == all && all > 0 { Ok(()) } else { Err(format!("{told} of {all}: {partitions:?}")) }
        })
        .await?;
        assert_eq!(bridge.get("/readyz").await?.0, 200);
        let published = bridge.metric("stream_bridge_records_published_total").await?;
        hanging.commit()?;
        scenario.caught_up(&bridge, PATIENCE).await?;
        lag(&bridge, 0).await?;
        assert!(bridge.metric("stream_bridge_records_published_total").await? > published);
        // What is told is up to a report old.
        wait::until("/status to tell of no transaction", PATIENCE, async || {
            let partitions = partitions(&bridge).await.map_err(|error| error.to_string())?;
            if partitions.iter().all(|one| one["reason"].is_null()) { Ok(()) } else { Err(format!("{partitions:?}")) }
        })
        .await?;
        clean_end(bridge).await?;
        scenario.holds(2_700).await.map(drop)
    })
    .await
}

/// Waits until each partition says that its lag is this.
async fn lag(bridge: &Bridge, wanted: u64) -> Result<()> {
    wait::until("the lag to be told", PATIENCE, async || {
        let partitions = partitions(bridge).await.map_err(|error| error.to_string())?;
        let is_so = |partition: &Value| partition["lag_records"].as_u64() == Some(wanted);
        if !partitions.is_empty() && partitions.iter().all(is_so) { Ok(()) } else { Err(format!("{partitions:?}")) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn a_compacted_topic_has_holes_and_no_gaps() -> Result<()> {
    within(seconds(300), async {
        let stack = Stack::up()?;
        let brokers = stack.kafka().to_owned();
        let scenario = Scenario::at("compacted", stack, brokers);
        let cleaned = [
            ("cleanup.policy", "compact"),
            ("segment.ms", "500"),
            ("min.cleanable.dirty.ratio", "0.01"),
            ("delete.retention.ms", "0"),
        ];
        let one = TopicReplication::Fixed(1);
        create_topic_with(&scenario.brokers, &scenario.topic, SOURCE_PARTITIONS, one, &cleaned).await?;
        scenario.setup(&[])?;
        let shares = Shares { broken: 0.0, tombstones: 0.2, ..Shares::default() };
        // The same keys each time, and slowly: only segments that are closed are compacted.
        let settings =
            |records, seed| Settings { records: Some(records), rate: Some(2_000), seed, shares, ..scenario.feed() };
        let load = |settings: Settings| tokio::task::block_in_place(|| Generator::start(settings).wait());
        load(settings(4_000, 47))?;
        let bridge = scenario.bridge().await?;
        scenario.caught_up(&bridge, PATIENCE).await?;
        clean_end(bridge).await?;
        for written in [8_000, 12_000] {
            load(settings(4_000, 47))?;
            let held = held_after_compaction(&scenario, written).await?;
            scenario.say(format!("{held} of {written} records are left after compaction"));
        }
        let bridge = scenario.bridge().await?;
        scenario.caught_up(&bridge, PATIENCE).await?;
        load(settings(4_000, 48))?;
        scenario.caught_up(&bridge, PATIENCE).await?;
        assert_eq!(bridge.metric("stream_bridge_gap_offsets_total").await?, 0.0);
        clean_end(bridge).await?;
        let mut checker = scenario.checker();
        checker.forgets = true;
        scenario.holds_by(&checker, 4_000).await.map(drop)
    })
    .await
}

/// Waits until the log's cleaner has taken records away; how many are left of so many.
async fn held_after_compaction(scenario: &Scenario, written: u64) -> Result<u64> {
    wait::until("compaction", seconds(60), async || {
        let mut checker = scenario.checker();
        checker.forgets = true;
        let parity = bridge_tests::checker::check(&checker).await.map_err(|error| error.to_string())?;
        let held = parity.target_total().expected + parity.dead_letters_total().expected;
        if held < written * 3 / 4 { Ok(held) } else { Err(format!("{held} of {written} records are left")) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn partitions_that_are_added_are_read_from_their_beginning() -> Result<()> {
    within(seconds(300), async {
        let scenario = Scenario::new("grown").await?;
        // Everything as in the repository, but added partitions are looked for more often.
        let directory = repository().join("target/scenes").join(&scenario.topic);
        std::fs::create_dir_all(&directory)?;
        std::fs::copy(repository().join("config/default.toml"), directory.join("default.toml"))?;
        let more = "\n[kafka.properties]\n\"topic.metadata.refresh.interval.ms\" = \"2000\"\n";
        let text = std::fs::read_to_string(repository().join("config/job-lifecycle.toml"))? + more;
        std::fs::write(directory.join("job-lifecycle.toml"), text)?;
        let latest = with(scenario.settings(), &[("BRIDGE__SOURCE__KAFKA__START", "latest")]);
        let start = || Bridge::start_stream("job-lifecycle", &directory, &latest);

        feed(&scenario, 1_000, 49)?;
        let mut bridge = start()?;
        bridge.ready(PATIENCE).await?;
        lag(&bridge, 0).await?;
        // What was there before the start is nobody's: the source forgets it.
        purge(&scenario, 0).await?;
        grow_topic(&scenario.brokers, &scenario.topic, 12).await?;
        feed(&scenario, 4_000, 50)?;
        scenario.caught_up(&bridge, PATIENCE).await?;
        assert_eq!(partitions(&bridge).await?.len(), 12);
        scenario.say("two partitions were added while the bridge ran");
        clean_end(bridge).await?;

        grow_topic(&scenario.brokers, &scenario.topic, 13).await?;
        feed(&scenario, 4_000, 51)?;
        let mut bridge = start()?;
        bridge.ready(PATIENCE).await?;
        scenario.caught_up(&bridge, PATIENCE).await?;
        clean_end(bridge).await?;
        let ends = offsets(&scenario.brokers, &scenario.topic)?;
        assert!(ends[10..].iter().all(|(oldest, end)| *oldest == 0 && *end > 0), "{ends:?}");
        scenario.holds(8_000).await.map(drop)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn a_frozen_kafka_stalls_the_bridge_visibly_and_nothing_else() -> Result<()> {
    within(seconds(300), async {
        let scenario = Scenario::new("kafka-frozen").await?;
        let generator = Generator::start(Settings { rate: Some(2_000), seed: 52, ..scenario.feed() });
        let soon = [("BRIDGE__HEALTH__STALL_SECONDS", "5"), ("BRIDGE__KAFKA__SESSION_TIMEOUT_MS", "6000")];
        let mut bridge = Bridge::start(&with(scenario.settings(), &soon))?;
        bridge.ready(PATIENCE).await?;
        scenario.progress(6_000).await?;
        let before = bridge.metric("process_resident_memory_bytes").await?;
        scenario.stack.freeze("kafka")?;
        let told = wait::until("/readyz to tell", seconds(60), async || match bridge.get("/readyz").await {
            Ok((503, text)) => Ok(text),
            Ok((code, text)) => Err(format!("{code}: {text}")),
            Err(error) => Err(error.to_string()),
        })
        .await;
        let livez = bridge.get("/livez").await;
        let after = bridge.metric("process_resident_memory_bytes").await;
        // Thawed whatever came of it: others need it.
        scenario.stack.thaw("kafka")?;
        scenario.say(format!("frozen: {}", told?));
        assert_eq!(livez?.0, 200, "a frozen broker must not restart the bridge");
        let grown = (after? - before) / 1_048_576.0;
        assert!(grown < 32.0, "the bridge grew by {grown:.0} MiB while Kafka was frozen");
        bridge.ready(PATIENCE).await?;
        scenario.progress(6_000).await?;
        scenario.finish(generator, bridge, 12_000).await
    })
    .await
}

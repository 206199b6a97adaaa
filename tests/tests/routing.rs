//! Which partition of the target a record goes to, on real brokers: by its key where Pulsar's own producers put it, by its
//! source partition, and from one to the other, while targets grow, also under a bridge that is killed; and the repair of
//! a hole that nobody remembers. `tests/run` runs them; by hand:
//! `cargo test -p bridge-tests --test routing -- --ignored --test-threads=1 --nocapture NAME`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bridge_tests::Result;
use bridge_tests::bridge::{Bridge, Setting};
use bridge_tests::checker::{self, Parity, Placement};
use bridge_tests::events::Random;
use bridge_tests::generator::{Generator, Settings};
use bridge_tests::proxy::Proxy;
use bridge_tests::scenario::{PATIENCE, Scenario};
use bridge_tests::stack::repository;
use bridge_tests::wait;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use serde_json::Value;

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Fails the test when it takes longer than it may.
async fn within<T>(budget: Duration, test: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(budget, test).await.map_err(|_| format!("it took longer than its budget of {budget:?}"))?
}

fn with(mut settings: Vec<Setting>, more: &[(&str, &str)]) -> Vec<Setting> {
    settings.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    settings
}

const BY_KEY: (&str, &str) = ("BRIDGE__TARGET__PARTITION_BY", "key");
const MURMUR3: (&str, &str) = ("BRIDGE__TARGET__KEY_HASH", "murmur3");

fn output(mut command: Command, input: &str) -> Result<String> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().ok_or("no input")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout)?),
        false => Err(format!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)).into()),
    }
}

/// Keys of all kinds: ASCII, text with and without surrogate pairs in UTF-16, the empty one, bytes that are no text.
fn keys(count: usize) -> Vec<Vec<u8>> {
    let mut random = Random::new(7);
    let mut keys = vec![Vec::new(), vec![0xff, 0xfe, 0], vec![0x80], "schlüssel-✓".into(), "😀".into()];
    for number in keys.len()..count {
        let some = random.below(1 << 40);
        keys.push(match number % 4 {
            0 => format!("job-{some}").into_bytes(),
            1 => format!("größe-{some}-漢字").into_bytes(),
            2 => format!("😀{some}𝄞").into_bytes(),
            _ => some.to_be_bytes().iter().chain(&[0xff]).copied().collect(),
        });
    }
    keys
}

/// The key as it stands in a message.
fn text(key: &[u8]) -> String {
    String::from_utf8(key.to_vec()).unwrap_or_else(|_| BASE64.encode(key))
}

/// Null values under these keys, into one partition of the source.
fn feed(scenario: &Scenario, keys: &[Vec<u8>]) -> Result<()> {
    let producer: ThreadedProducer<_> =
        ClientConfig::new().set("bootstrap.servers", scenario.stack.kafka()).create()?;
    for key in keys {
        let record = BaseRecord::<[u8], [u8]>::to(&scenario.topic).partition(3).key(key);
        producer.send(record).map_err(|(error, _)| error)?;
    }
    Ok(producer.flush(seconds(30))?)
}

/// The partitions in which Pulsar's own Java client puts these keys.
fn by_java(scenario: &Scenario, topic: &str, scheme: &str, keys: &[Vec<u8>]) -> Result<Vec<u64>> {
    let mut command = Command::new("java");
    command.arg("-cp").arg(scenario.stack.home("pulsar")?.join("lib/*"));
    command.arg(repository().join("tests/clients/Route.java")).args([scenario.stack.pulsar(), topic, scheme]);
    let lines: String = keys.iter().map(|key| BASE64.encode(key) + "\n").collect();
    let said = output(command, &lines)?;
    said.lines().filter_map(|line| line.strip_prefix("partition ")).map(|number| Ok(number.parse()?)).collect()
}

/// What the target holds, in no order: the partition and the key of each message, as Pulsar's Python client shows them.
fn in_target(scenario: &Scenario, count: usize) -> Result<Vec<(u64, String)>> {
    output(Command::new(repository().join("tests/clients/prepare")), "")?;
    let mut command = Command::new(repository().join("target/clients/venv/bin/python"));
    command.arg(repository().join("tests/clients/read.py")).args(["--by", "bytes", "--count", &count.to_string()]);
    command.args(["--url", scenario.stack.pulsar(), "--admin-url", scenario.stack.pulsar_admin()]);
    command.args(["--topic", &scenario.target]);
    let said = output(command, "")?;
    let messages = said.lines().filter(|line| line.starts_with('{')).map(serde_json::from_str::<Value>);
    messages.map(|message| message.map(|message| seen(&message)).map_err(Into::into)).collect()
}

fn seen(message: &Value) -> (u64, String) {
    (message["partition"].as_u64().unwrap(), message["key"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn by_key_a_record_goes_where_pulsar_s_own_java_client_puts_it() -> Result<()> {
    within(seconds(300), async {
        let scenario = Scenario::new("keys").await?;
        let native = format!("{}-native", scenario.target);
        scenario.admin().create_topic(&native, 3).await?;
        let keys = keys(2_000);
        let mut expected: BTreeMap<(u64, String), usize> = BTreeMap::new();
        // The second is a change of the hash over a restart.
        for (scheme, settings) in [("JavaStringHash", &[BY_KEY][..]), ("Murmur3_32Hash", &[BY_KEY, MURMUR3])] {
            let partitions = tokio::task::block_in_place(|| by_java(&scenario, &native, scheme, &keys))?;
            assert_eq!(partitions.len(), keys.len());
            tokio::task::block_in_place(|| feed(&scenario, &keys))?;
            let mut bridge = Bridge::start(&with(scenario.settings(), settings))?;
            bridge.ready(PATIENCE).await?;
            scenario.caught_up(&bridge, PATIENCE).await?;
            assert_eq!(bridge.terminate(seconds(30)).await?.code(), Some(0), "{}", bridge.log_tail());
            for (key, partition) in keys.iter().zip(partitions) {
                *expected.entry((partition, text(key))).or_default() += 1;
            }
            scenario.say(format!("{scheme}: {} keys by the bridge and by the Java client", keys.len()));
        }
        let mut found: BTreeMap<(u64, String), usize> = BTreeMap::new();
        for seen in tokio::task::block_in_place(|| in_target(&scenario, 2 * keys.len()))? {
            *found.entry(seen).or_default() += 1;
        }
        let wrong: Vec<_> = found.iter().filter(|(seen, count)| expected.get(*seen) != Some(*count)).take(5).collect();
        assert!(wrong.is_empty(), "not where the Java client puts them: {wrong:?}");
        assert_eq!(found.values().sum::<usize>(), 2 * keys.len());
        Ok(())
    })
    .await
}

/// Waits until the target has taken so many more messages than it had.
async fn progress(scenario: &Scenario, more: u64) -> Result<()> {
    let admin = scenario.admin();
    let before = admin.messages_in(&scenario.target).await.unwrap_or_default();
    wait::until("messages to arrive in the target", PATIENCE, async || {
        match admin.messages_in(&scenario.target).await {
            Ok(now) if now >= before + more => Ok(()),
            Ok(now) => Err(format!("{now} messages, {before} before")),
            Err(error) => Err(error.to_string()),
        }
    })
    .await
}

/// Waits until the bridge sends to this partition of the target.
async fn sends_to(scenario: &Scenario, bridge: &Bridge, partition: u32) -> Result<()> {
    let topic = format!("{}-partition-{partition}\"", scenario.target);
    wait::until("the bridge to go on under another routing", PATIENCE, async || match bridge.get("/status").await {
        Ok((_, status)) if status.contains(&topic) => Ok(()),
        Ok((_, status)) => Err(format!("no lane to {topic}: {status}")),
        Err(error) => Err(error.to_string()),
    })
    .await
}

/// Compares source and target, wherever in the target a record is.
async fn holds_anywhere(scenario: &Scenario, at_least: u64) -> Result<Parity> {
    let (kafka, pulsar) = (scenario.stack.kafka(), scenario.stack.pulsar());
    let settings = checker::Settings::new(kafka, &scenario.topic, pulsar, &scenario.target, Scenario::contract());
    let parity = checker::check(&checker::Settings { placement: Placement::Anywhere, ..settings }).await?;
    scenario.say(format!("the checker says\n{parity}"));
    assert!(parity.target_total().expected >= at_least, "too few records: the test shows too little");
    if parity.holds() { Ok(parity) } else { Err("no parity".into()) }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn targets_grow_and_modes_change_under_load_and_kills_and_nothing_is_lost_doubled_or_reordered() -> Result<()> {
    within(seconds(300), async {
        let scenario = Scenario::new("growing").await?;
        let admin = scenario.admin();
        let generator = Generator::start(Settings { rate: Some(600), seed: 80, ..scenario.feed() });
        let bridge = scenario.bridge().await?;
        progress(&scenario, 1_000).await?;
        admin.grow_topic(&scenario.target, 6).await?;
        let grown = Instant::now();
        // Source partition 5 has gone to 2, and goes to 5.
        sends_to(&scenario, &bridge, 5).await?;
        scenario.say(format!("3 to 6 partitions, noticed after {:?}", grown.elapsed()));
        assert!(grown.elapsed() < seconds(60), "a bridge looks every 10 s");
        progress(&scenario, 1_000).await?;
        bridge.kill()?;
        // Killed, and while it is down the target grows and the mode changes.
        admin.grow_topic(&scenario.target, 7).await?;
        let by_key = with(scenario.settings(), &[BY_KEY]);
        let mut bridge = Bridge::start(&by_key)?;
        bridge.ready(PATIENCE).await?;
        sends_to(&scenario, &bridge, 6).await?;
        progress(&scenario, 1_000).await?;
        scenario.say("by key, to 7 partitions, after a kill");
        bridge.kill()?;
        // Back, and killed again before or after it has come to the barrier.
        let back = Bridge::start(&scenario.settings())?;
        progress(&scenario, 600).await?;
        back.kill()?;
        let mut bridge = Bridge::start(&with(by_key, &[MURMUR3]))?;
        progress(&scenario, 1_000).await?;
        let report = tokio::task::block_in_place(|| generator.stop())?;
        scenario.say(format!("{} records fed, {} of them broken", report.acknowledged, report.broken()));
        scenario.caught_up(&bridge, PATIENCE).await?;
        assert_eq!(bridge.terminate(seconds(30)).await?.code(), Some(0), "{}", bridge.log_tail());
        let parity = holds_anywhere(&scenario, 4_000).await?;
        assert_eq!(parity.dead_letters_total().expected, report.broken());
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn a_hole_that_nobody_remembers_is_repaired_by_the_next_start() -> Result<()> {
    within(seconds(300), async {
        let scenario = Scenario::new("hole").await?;
        // Several batches for each partition: those behind the damaged one are stored.
        let feed = Settings { records: Some(24_000), seed: 81, ..scenario.feed() };
        let report = tokio::task::block_in_place(|| Generator::start(feed).wait())?;
        let proxy = Proxy::before(scenario.stack.pulsar()).await?;
        proxy.damage_batch_unnoticed(10_000);
        let bridge = Bridge::start(&scenario.settings_through(&proxy.url()))?;
        let damaged = async || if proxy.is_batch_damaged() { Ok(()) } else { Err("no batch has passed") };
        wait::until("a batch to be damaged", PATIENCE, damaged).await?;
        // The bridge sends on without an answer, until it may send no more.
        let (mut stored, mut still) = (0, 0);
        wait::until("what is sent to be stored", PATIENCE, async || {
            let now = scenario.admin().messages_in(&scenario.target).await.map_err(|error| error.to_string())?;
            still = if now == stored { still + 1 } else { 0 };
            stored = now;
            if still >= 30 && stored > 0 { Ok(()) } else { Err(format!("{stored} messages")) }
        })
        .await?;
        bridge.kill()?;
        scenario.say(format!("killed with a hole among {stored} messages"));
        let mut bridge = scenario.bridge().await?;
        scenario.caught_up(&bridge, PATIENCE).await?;
        let repaired = bridge.metric("stream_bridge_records_repaired_total").await?;
        assert!(repaired > 0.0, "nothing was repaired: {}", bridge.log());
        assert_eq!(bridge.terminate(seconds(30)).await?.code(), Some(0), "{}", bridge.log_tail());
        let parity = scenario.holds(24_000).await?;
        let marked = parity.target_total().repaired + parity.dead_letters_total().repaired;
        assert_eq!(marked as f64, repaired, "a repair says so in every message");
        assert_eq!(parity.dead_letters_total().expected, report.broken());
        Ok(())
    })
    .await
}

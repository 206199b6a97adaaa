//! One test on real brokers: its own source topic, namespace and target, a generator, a bridge, and the checker at the end.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::bridge::{Bridge, Setting, binary};
use crate::checker::{self, Parity};
use crate::faults::PulsarAdmin;
use crate::generator::{self, Generator, create_topic};
use crate::stack::{Stack, repository, unique};
use crate::{Result, wait};

/// Partitions of the source topic, as the portal has them.
pub const SOURCE_PARTITIONS: i32 = 10;
/// Partitions of the target topic.
pub const TARGET_PARTITIONS: u32 = 3;
/// How long a server may take to start on a busy machine, and a bridge to work again after it.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Servers and names of one test.
#[derive(Debug)]
pub struct Scenario {
    /// The servers.
    pub stack: Stack,
    /// Kafka's bootstrap servers.
    pub brokers: String,
    /// The Kafka topic.
    pub topic: String,
    /// The Pulsar namespace.
    pub namespace: String,
    /// The target topic.
    pub target: String,
    name: &'static str,
    start: Instant,
}

impl Scenario {
    /// Servers, an empty source topic, and all that `bridgectl setup` makes for it.
    pub async fn new(name: &'static str) -> Result<Self> {
        let scenario = Self::bare(name).await?;
        scenario.setup(&[])?;
        Ok(scenario)
    }

    /// The same, with Pulsar as a cluster of two brokers, whatever a test before has left of it.
    pub async fn on_cluster(name: &'static str) -> Result<Self> {
        let stack = tokio::task::block_in_place(|| {
            let stack = Stack::up_with(&["kafka", "pulsar-cluster"])?;
            // Those that are down now are started.
            let _ = stack.thaw("pulsar-cluster");
            stack.start("pulsar-cluster").map(|()| stack)
        })?;
        let scenario = Self::on(name, stack).await?;
        scenario.setup(&[])?;
        Ok(scenario)
    }

    /// Servers and an empty source topic; nothing in Pulsar.
    pub async fn bare(name: &'static str) -> Result<Self> {
        Self::on(name, Stack::up()?).await
    }

    async fn on(name: &'static str, stack: Stack) -> Result<Self> {
        let brokers = stack.kafka().to_owned();
        let scenario = Self::at(name, stack, brokers);
        create_topic(&scenario.brokers, &scenario.topic, SOURCE_PARTITIONS).await?;
        scenario.say("servers and source topic are there");
        Ok(scenario)
    }

    /// On these servers, with Kafka at this address; nothing is made yet.
    pub fn at(name: &'static str, stack: Stack, brokers: String) -> Self {
        let unique = unique(name);
        let namespace = format!("public/{unique}");
        let target = format!("persistent://{namespace}/job-status-changed");
        Self { stack, brokers, topic: unique, namespace, target, name, start: Instant::now() }
    }

    /// Tells how far it is.
    pub fn say(&self, what: impl std::fmt::Display) {
        println!("  [{:>6.1} s] {}: {what}", self.start.elapsed().as_secs_f64(), self.name);
    }

    /// The settings that move a bridge to this scenario's servers and topics.
    pub fn settings(&self) -> Vec<Setting> {
        self.settings_through(self.stack.pulsar())
    }

    /// The same, with Pulsar at another address.
    pub fn settings_through(&self, pulsar_url: &str) -> Vec<Setting> {
        [
            ("BRIDGE__KAFKA__BROKERS", self.brokers.as_str()),
            // A group of its own: it never waits for the sessions of members that an earlier test has killed.
            ("BRIDGE__KAFKA__GROUP_PREFIX", &format!("{}.", self.topic)),
            // A bridge that was killed gets its partitions back at once, as a pod of a stateful set does.
            ("BRIDGE__KAFKA__INSTANCE_ID", &self.topic),
            ("BRIDGE__PULSAR__URL", pulsar_url),
            ("BRIDGE__PULSAR__ADMIN_URL", self.stack.pulsar_admin()),
            ("BRIDGE__SOURCE__KAFKA__TOPIC", &self.topic),
            ("BRIDGE__TARGET__TOPIC", &self.target),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }

    /// Runs `bridgectl setup` for this scenario.
    pub fn setup(&self, more: &[Setting]) -> Result<String> {
        let output = Command::new(binary("bridgectl")?)
            .args(["setup", "job-lifecycle", "--config"])
            .arg(repository().join("config"))
            .envs(self.settings())
            .envs(more.iter().cloned())
            .stdin(Stdio::null())
            .output()?;
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if output.status.success() {
            Ok(said)
        } else {
            Err(format!("bridgectl setup: {}\n{said}", output.status).into())
        }
    }

    /// Pulsar's admin API.
    pub fn admin(&self) -> PulsarAdmin {
        PulsarAdmin::at(self.stack.pulsar_admin())
    }

    /// What a generator needs to feed the source.
    pub fn feed(&self) -> generator::Settings {
        generator::Settings::new(&self.brokers, &self.topic)
    }

    /// Starts a bridge and waits until it works.
    pub async fn bridge(&self) -> Result<Bridge> {
        let mut bridge = Bridge::start(&self.settings())?;
        bridge.ready(PATIENCE).await?;
        Ok(bridge)
    }

    /// The consumer group of this scenario's bridges.
    pub fn group(&self) -> String {
        format!("{}.job-lifecycle", self.topic)
    }

    /// Where the contract is.
    pub fn contract() -> PathBuf {
        repository().join("bridges/job-lifecycle/contract.avsc")
    }

    /// Waits until the group's committed offsets, which follow the positions, are at the end of every partition.
    pub async fn caught_up(&self, bridge: &Bridge, deadline: Duration) -> Result<()> {
        self.caught_up_as(bridge, &self.group(), deadline).await
    }

    /// The same, for a bridge of another group.
    pub async fn caught_up_as(&self, bridge: &Bridge, group: &str, deadline: Duration) -> Result<()> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .create()?;
        let caught_up = wait::until("the bridge to catch up", deadline, async || {
            tokio::task::block_in_place(|| lag(&consumer, &self.topic).map_err(|error| error.to_string())).and_then(
                |lag| {
                    if lag == 0 { Ok(()) } else { Err(format!("{lag} records are not settled")) }
                },
            )
        });
        match caught_up.await {
            Ok(()) => Ok(()),
            Err(error) => {
                let status = bridge.get("/status").await.map_or_else(|error| error.to_string(), |(_, body)| body);
                Err(format!("{error}\n/status: {status}\n{}", bridge.log_tail()).into())
            }
        }
    }

    /// The settings of a bridge that is a dynamic member of its group: when it ends, it leaves at once.
    pub fn dynamic(&self) -> Vec<Setting> {
        let mut settings = with(self.settings(), "BRIDGE__KAFKA__SESSION_TIMEOUT_MS", "6000");
        settings.retain(|(name, _)| name != "BRIDGE__KAFKA__INSTANCE_ID");
        settings
    }

    /// Feeds so many records, and waits until Kafka has them.
    pub fn fed(&self, records: u64, seed: u64) -> Result<()> {
        let settings = generator::Settings { records: Some(records), seed, ..self.feed() };
        tokio::task::block_in_place(|| generator::Generator::start(settings).wait()).map(drop)
    }

    /// Waits until the bridges have settled everything, and stops them: each must end well.
    pub async fn settled(&self, bridges: Vec<Bridge>) -> Result<()> {
        let last = bridges.last().ok_or("there are no bridges")?;
        self.caught_up(last, PATIENCE).await?;
        for mut bridge in bridges {
            let status = bridge.terminate(Duration::from_secs(30)).await?;
            if status.code() != Some(0) {
                return Err(format!("a bridge has ended with {status}\n{}", bridge.log_tail()).into());
            }
        }
        Ok(())
    }

    /// Lets the bridge finish, stops it and compares. Nothing is fed any more.
    pub async fn conclude(&self, bridge: Bridge, at_least: u64) -> Result<Parity> {
        self.settled(vec![bridge]).await?;
        self.holds(at_least).await
    }

    /// Compares source and target: at least so many records, and nothing wrong.
    pub async fn holds(&self, at_least: u64) -> Result<Parity> {
        self.holds_by(&self.checker(), at_least).await
    }

    /// What the checker has to compare.
    pub fn checker(&self) -> checker::Settings {
        // One broker of several is enough to find the others by.
        let pulsar = self.stack.pulsar().split(',').next().unwrap_or_default();
        checker::Settings::new(&self.brokers, &self.topic, pulsar, &self.target, Self::contract())
    }

    /// Compares source and target by these settings of the checker.
    pub async fn holds_by(&self, settings: &checker::Settings, at_least: u64) -> Result<Parity> {
        let parity = checker::check(settings).await?;
        self.say(format!("the checker says\n{parity}"));
        let records = parity.target_total().expected + parity.dead_letters_total().expected;
        if records < at_least {
            return Err(
                format!("only {records} of {at_least} records are in the source: the test shows too little").into()
            );
        }
        if parity.holds() { Ok(parity) } else { Err(format!("no parity\n{parity}").into()) }
    }
}

/// The settings with one of them set, or added.
pub fn with(mut settings: Vec<Setting>, name: &str, value: &str) -> Vec<Setting> {
    settings.retain(|(other, _)| other != name);
    settings.push((name.to_owned(), value.to_owned()));
    settings
}

impl Scenario {
    /// Waits until the target has taken so many more messages than it had.
    pub async fn progress(&self, more: u64) -> Result<u64> {
        let admin = self.admin();
        let before = admin.messages_in(&self.target).await.unwrap_or_default();
        wait::until("messages to arrive in the target", PATIENCE, async || {
            match admin.messages_in(&self.target).await {
                Ok(now) if now >= before + more => Ok(now),
                // A topic that was loaded anew counts from 0.
                Ok(now) if now < before && now >= more => Ok(now),
                Ok(now) => Err(format!("{now} messages, {before} before")),
                Err(error) => Err(error.to_string()),
            }
        })
        .await
    }

    /// Stops feeding, lets the bridge finish, stops it and compares.
    pub async fn finish(&self, generator: Generator, bridge: Bridge, at_least: u64) -> Result<()> {
        let report = tokio::task::block_in_place(|| generator.stop())?;
        self.say(format!("{} records fed, {} of them broken", report.acknowledged, report.broken()));
        let parity = self.conclude(bridge, at_least).await?;
        if report.failed == 0 {
            assert_eq!(parity.dead_letters_total().expected, report.broken(), "the oracle and the generator disagree");
        }
        Ok(())
    }
}

/// A time in seconds.
pub fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Fails the test when it takes longer than it may.
pub async fn within<T>(budget: Duration, test: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(budget, test).await.map_err(|_| format!("it took longer than its budget of {budget:?}"))?
}

/// Waits until `/readyz` says that a partition is stopped, with these words.
pub async fn stopped(bridge: &Bridge, words: &str) -> Result<()> {
    let stopped = wait::until("a partition to stop", seconds(60), async || match bridge.get("/readyz").await {
        Ok((503, text)) if text.contains("is stopped") && text.contains(words) => Ok(()),
        Ok((code, text)) => Err(format!("{code}: {text}")),
        Err(error) => Err(error.to_string()),
    });
    stopped.await.map_err(|error| format!("{error}\n{}", bridge.log_tail()).into())
}

/// Records between the committed offsets and the ends of the partitions.
fn lag(consumer: &BaseConsumer, topic: &str) -> Result<i64> {
    let wait = Duration::from_secs(5);
    let mut partitions = TopicPartitionList::new();
    let metadata = consumer.fetch_metadata(Some(topic), wait)?;
    for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
        partitions.add_partition(topic, partition.id());
    }
    let mut lag = 0;
    for element in consumer.committed_offsets(partitions, wait)?.elements() {
        let end = consumer.fetch_watermarks(topic, element.partition(), wait)?.1;
        let committed = match element.offset() {
            Offset::Offset(offset) => offset,
            _ => 0,
        };
        lag += (end - committed).max(0);
    }
    Ok(lag)
}

//! One bridge with sources of any kind on real brokers: its own topics, queue, namespace and configuration, and the checker
//! at the end.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::bridge::{Bridge, Setting, binary};
use crate::checker::{self, Identity, Parity, Source};
use crate::container::Image;
use crate::faults::PulsarAdmin;
use crate::generator::{self, Generator, RabbitExchange, create_topic};
use crate::operator::Operator;
use crate::rabbit::{QueueKind, Rabbit};
use crate::scenario::PATIENCE;
use crate::stack::{Stack, repository, unique};
use crate::streams::Stream;
use crate::watch::{Condition, knows_ends};
use crate::{Result, wait};

/// What a scene is about.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The stream whose bridge it is.
    pub stream: Stream,
    /// The events of its Kafka topic, if it has one.
    pub kafka: Option<Stream>,
    /// Its queue, if it has one.
    pub queue: Option<QueueKind>,
    /// Whether the queue gets what the portal publishes unroutably, by an alternate exchange.
    pub is_unroutable: bool,
    /// Whether the same event by two sources arrives once.
    pub dedupe: bool,
    /// Whether every message carries the digest of its source.
    pub digest: bool,
    /// Whether alerts go to a topic of their own.
    pub routes_alerts: bool,
    /// Partitions of the target.
    pub target_partitions: u32,
    /// How many copies of messages that were published twice may be missing after so many redeliveries.
    pub copies_in_doubt: usize,
}

impl Plan {
    /// Notifications by a queue alone.
    pub fn queue(kind: QueueKind) -> Self {
        Self { kafka: None, queue: Some(kind), ..Self::kafka(Stream::Notifications) }
    }

    /// A stream by its Kafka topic alone.
    pub fn kafka(stream: Stream) -> Self {
        Self {
            stream,
            kafka: Some(stream),
            queue: None,
            is_unroutable: false,
            dedupe: false,
            digest: false,
            routes_alerts: false,
            target_partitions: 3,
            copies_in_doubt: 0,
        }
    }
}

/// Servers and names of one test.
#[derive(Debug)]
pub struct Scene {
    /// The servers.
    pub stack: Stack,
    /// RabbitMQ in the test's hands.
    pub rabbit: Rabbit,
    /// The name of the Kafka topic and of the exchange.
    pub unique: String,
    /// The target topic.
    pub target: String,
    /// The topic of the alerts, where they have one.
    pub alerts: String,
    plan: Plan,
    directory: PathBuf,
    name: &'static str,
    start: Instant,
}

/// Lag that is seen as none so many times in a row is none: what is known of a source's end comes now and then.
const STILL: u32 = 4;

impl Scene {
    /// Servers, empty sources, and all that `bridgectl setup` makes for the bridge.
    pub async fn new(name: &'static str, plan: Plan) -> Result<Self> {
        let start = Instant::now();
        let mut servers = vec!["pulsar"];
        servers.extend(plan.kafka.map(|_| "kafka"));
        servers.extend(plan.queue.map(|_| "rabbitmq"));
        let stack = Stack::up_with(&servers)?;
        let unique = unique(name);
        let rabbit = stack.rabbit();
        let directory = repository().join("target").join("scenes").join(&unique);
        std::fs::create_dir_all(&directory)?;
        let (target, alerts) =
            (format!("persistent://public/{unique}/events"), format!("persistent://public/{unique}/alerts"));
        let scene = Self { stack, rabbit, unique, target, alerts, plan, directory, name, start };
        if let Some(stream) = plan.kafka {
            create_topic(scene.stack.kafka(), &scene.unique, stream.partitions()).await?;
        }
        if plan.queue.is_some() && plan.is_unroutable {
            scene.rabbit.declare_portal(&scene.unique).await?;
        } else if plan.queue.is_some() {
            scene.rabbit.declare_exchange(&scene.unique, "topic").await?;
        }
        std::fs::copy(repository().join("config/default.toml"), scene.directory.join("default.toml"))?;
        std::fs::write(scene.directory.join(plan.stream.bridge()).with_extension("toml"), scene.configuration())?;
        scene.setup()?;
        scene.say("servers, sources and target are there");
        Ok(scene)
    }

    /// Tells how far it is.
    pub fn say(&self, what: impl std::fmt::Display) {
        println!("  [{:>6.1} s] {}: {what}", self.start.elapsed().as_secs_f64(), self.name);
    }

    /// The bridge's configuration file.
    fn configuration(&self) -> String {
        let Self { unique, target, alerts, plan, .. } = self;
        let mut text = format!("[stream]\nname = \"{}\"\n", plan.stream.bridge());
        if plan.kafka.is_some() {
            text += &format!("[source.kafka]\nkind = \"kafka\"\ntopic = \"{unique}\"\nstart = \"earliest\"\n");
        }
        if let Some(kind) = plan.queue {
            let (kind, queue) = (kind.name(), self.queue());
            text += &format!("[source.rabbit]\nkind = \"rabbitmq\"\nqueue = \"{queue}\"\nqueue_type = \"{kind}\"\n");
            if let (false, Identity::Json(path)) = (plan.dedupe, self.identity()) {
                text += &format!("idempotency_key = \"json:{path}\"\n");
            }
            let exchange = if plan.is_unroutable { format!("{unique}.unroutable") } else { unique.clone() };
            text += &format!("[[source.rabbit.bind]]\nexchange = \"{exchange}\"\nrouting_key = \"#\"\n");
            if plan.is_unroutable {
                text += &format!("[[setup.unroutable]]\nexchange = \"{unique}\"\nalternate = \"{exchange}\"\n");
            }
            // A frozen instance is found out by its silence.
            text += "[rabbitmq]\nheartbeat_seconds = 5\n";
        }
        if plan.dedupe {
            text += "[dedupe]\nkey = \"event_id\"\n";
        }
        if plan.routes_alerts {
            let types = "[\"alert.raised\", \"alert.resolved\"]";
            text += &format!("[route.alerts]\nfield = \"event_type\"\nequals = {types}\ntopic = \"{alerts}\"\n");
        }
        text += &format!("[target]\ntopic = \"{target}\"\n");
        if plan.digest {
            text += "digest = true\n";
        }
        text + &format!("[setup]\npartitions = {}\n", plan.target_partitions)
    }

    fn identity(&self) -> Identity {
        match (self.plan.queue, self.plan.stream) {
            (Some(QueueKind::Stream), _) => Identity::None,
            (_, Stream::BrokerMetrics) => Identity::Json("capturedAt".to_owned()),
            _ => Identity::Json("event_id".to_owned()),
        }
    }

    /// The settings that move the bridge to this scene's servers.
    pub fn settings(&self) -> Vec<Setting> {
        self.settings_through(self.stack.pulsar())
    }

    /// The same, with Pulsar at another address.
    pub fn settings_through(&self, pulsar_url: &str) -> Vec<Setting> {
        let mut settings = vec![
            ("BRIDGE__PULSAR__URL", pulsar_url.to_owned()),
            ("BRIDGE__PULSAR__ADMIN_URL", self.stack.pulsar_admin().to_owned()),
        ];
        if self.plan.kafka.is_some() {
            settings.push(("BRIDGE__KAFKA__BROKERS", self.stack.kafka().to_owned()));
            // A group of its own: it never waits for the sessions of members that an earlier test has killed.
            settings.push(("BRIDGE__KAFKA__GROUP_PREFIX", format!("{}.", self.unique)));
            // A bridge that was killed gets its partitions back at once, as a pod of a stateful set does.
            settings.push(("BRIDGE__KAFKA__INSTANCE_ID", self.unique.clone()));
        }
        if self.plan.queue.is_some() {
            let host = |url: &str| url.split_once('@').map_or_else(|| url.to_owned(), |(_, host)| host.to_owned());
            settings.push(("BRIDGE__RABBITMQ__URL", format!("amqp://{}", host(self.stack.rabbitmq()))));
            let management = format!("http://{}", host(self.stack.rabbitmq_management()));
            settings.push(("BRIDGE__RABBITMQ__MANAGEMENT_URL", management));
            settings.push(("BRIDGE__RABBITMQ__USERNAME", "guest".to_owned()));
            settings.push(("BRIDGE__RABBITMQ__PASSWORD", "guest".to_owned()));
        }
        settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn setup(&self) -> Result<()> {
        let output = Command::new(binary("bridgectl")?)
            .args(["setup", self.plan.stream.bridge(), "--config"])
            .arg(&self.directory)
            .envs(self.settings())
            .stdin(Stdio::null())
            .output()?;
        if output.status.success() {
            return Ok(());
        }
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        Err(format!("bridgectl setup: {}\n{said}", output.status).into())
    }

    /// `bridgectl`, with this scene's configuration.
    pub fn operator(&self) -> Operator {
        Operator::new(&self.directory, self.settings())
    }

    /// Pulsar's admin API.
    pub fn admin(&self) -> PulsarAdmin {
        PulsarAdmin::at(self.stack.pulsar_admin())
    }

    /// The name of the queue. Another than the topic's: the checker tells sources by their names.
    pub fn queue(&self) -> String {
        format!("{}-queue", self.unique)
    }

    /// What was published to the queue.
    pub fn journal(&self) -> PathBuf {
        self.directory.join("journal")
    }

    /// What a generator needs to feed the Kafka topic, the queue, or both, with one publisher's events.
    pub fn feed(&self, stream: Stream) -> generator::Settings {
        let mut settings = generator::Settings::of(stream);
        if self.plan.kafka == Some(stream) {
            settings = settings.to_kafka(self.stack.kafka(), &self.unique);
        }
        if self.plan.queue.is_some() && stream != Stream::SystemHealth {
            settings = settings.to_rabbit(RabbitExchange {
                url: self.stack.rabbitmq().to_owned(),
                exchange: self.unique.clone(),
                routing_key: None,
                is_rich: !self.plan.is_unroutable,
                journal: self.journal(),
            });
        }
        settings
    }

    /// Starts the bridge.
    pub fn start(&self) -> Result<Bridge> {
        self.start_with(&self.settings())
    }

    /// Starts the bridge with other settings than this scene's.
    pub fn start_with(&self, settings: &[Setting]) -> Result<Bridge> {
        Bridge::start_stream(self.plan.stream.bridge(), &self.directory, settings)
    }

    /// The same in a container, on this scene's configuration in place of the image's own.
    pub fn start_image(&self, image: &Image, settings: &[Setting]) -> Result<Bridge> {
        Bridge::start_image(image, Some(&self.directory), settings)
    }

    /// Starts the bridge and waits until it works.
    pub async fn bridge(&self) -> Result<Bridge> {
        let mut bridge = self.start()?;
        bridge.ready(PATIENCE).await?;
        Ok(bridge)
    }

    /// Waits until the target has taken so many more messages than it had.
    pub async fn progress(&self, more: u64) -> Result<()> {
        let admin = self.admin();
        let before = admin.messages_in(&self.target).await.unwrap_or_default();
        wait::until("messages to arrive in the target", PATIENCE, async || {
            match admin.messages_in(&self.target).await {
                Ok(now) if now >= before + more => Ok(()),
                // A topic that was loaded anew counts from 0.
                Ok(now) if now < before && now >= more => Ok(()),
                Ok(now) => Err(format!("{now} messages, {before} before")),
                Err(error) => Err(error.to_string()),
            }
        })
        .await
    }

    /// Waits until the queue is empty and the bridge says that it has settled everything.
    pub async fn caught_up(&self, bridge: &Bridge) -> Result<()> {
        let mut still = 0;
        let caught_up = wait::until("the bridge to catch up", PATIENCE, async || {
            let (_, status) = bridge.get("/status").await.map_err(|error| error.to_string())?;
            let parsed = serde_json::from_str(&status).unwrap_or_default();
            let knows_ends = self.plan.kafka.is_none() || knows_ends(&parsed, &self.unique);
            let waiting = self.waiting().await.map_err(|error| error.to_string())?;
            let is_caught_up = Condition::parse(&parsed).is_caught_up && knows_ends && waiting == 0;
            still = if is_caught_up { still + 1 } else { 0 };
            if still >= STILL { Ok(()) } else { Err(format!("{waiting} messages wait in the queue; {status}")) }
        });
        match caught_up.await {
            Ok(()) => Ok(()),
            Err(error) => Err(format!("{error}\n{}", bridge.log_tail()).into()),
        }
    }

    /// Messages that nobody has taken from the queue; a stream keeps all of its own.
    async fn waiting(&self) -> Result<u32> {
        match self.plan.queue {
            Some(QueueKind::Classic | QueueKind::Quorum) => self.rabbit.depth(&self.queue()).await,
            Some(QueueKind::Stream) | None => Ok(0),
        }
    }

    /// Stops feeding, lets the bridge finish, stops it and compares: at least so many records, and nothing wrong.
    pub async fn finish(&self, generators: Vec<Generator>, mut bridge: Bridge, at_least: u64) -> Result<Parity> {
        for generator in generators {
            let report = tokio::task::block_in_place(|| generator.stop())?;
            self.say(format!("Kafka: {}, RabbitMQ: {:?}, both: {}", report.acknowledged, report.rabbit, report.twins));
        }
        self.caught_up(&bridge).await?;
        let status = bridge.terminate(Duration::from_secs(30)).await?;
        if status.code() != Some(0) {
            return Err(format!("the bridge has ended with {status}\n{}", bridge.log_tail()).into());
        }
        // What was delivered and not acknowledged is back in the queue now.
        let waiting = self.waiting().await?;
        if waiting > 0 {
            return Err(format!("{waiting} messages were not acknowledged when the bridge ended").into());
        }
        self.holds(at_least).await
    }

    /// Compares sources and target.
    pub async fn holds(&self, at_least: u64) -> Result<Parity> {
        let parity = checker::check(&self.checker()).await?;
        self.say(format!("the checker says\n{parity}"));
        let records = parity.target_total().expected + parity.dead_letters_total().expected;
        if records < at_least {
            return Err(
                format!("only {records} of {at_least} records were published: the test shows too little").into()
            );
        }
        if parity.holds() { Ok(parity) } else { Err(format!("no parity\n{parity}").into()) }
    }

    /// What the checker must compare.
    pub fn checker(&self) -> checker::Settings {
        let mut sources = Vec::new();
        if self.plan.kafka.is_some() {
            sources.push(Source::Kafka { brokers: self.stack.kafka().to_owned(), topic: self.unique.clone() });
        }
        if let Some(kind) = self.plan.queue {
            sources.push(Source::Queue {
                queues: vec![self.queue()],
                journal: self.journal(),
                identity: self.identity(),
                ordered: kind == QueueKind::Stream,
            });
        }
        let contract: &Path = &self.plan.stream.contract();
        let mut settings = checker::Settings::of(sources, self.stack.pulsar(), &self.target, contract);
        if self.plan.routes_alerts {
            let types = ["alert.raised", "alert.resolved"];
            settings = settings.with_route("alerts", "event_type", &types, &self.alerts);
        }
        settings.dedupe = self.plan.dedupe.then(|| "event_id".to_owned());
        settings.digest = self.plan.digest;
        settings.copies_in_doubt = self.plan.copies_in_doubt;
        settings
    }
}

//! A scene of Avro with a schema registry: Confluent's own serializer writes into Kafka, with schemas that change; what arrives in
//! Pulsar is read by foreign clients.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::bridge::{Bridge, Setting, binary};
use crate::faults::PulsarAdmin;
use crate::generator::create_topic;
use crate::proxy::Proxy;
use crate::scenario::PATIENCE;
use crate::stack::{Stack, repository, unique};
use crate::watch::{Condition, knows_ends};
use crate::{Result, wait};

const PUBLISHED: &str = "stream_bridge_records_published_total";
const SOURCE_PARTITIONS: i32 = 2;

/// The writers' schemas: the second has other fields in another order, the third other types, and no reader of the others
/// understands the fourth.
fn schema(version: u32) -> Value {
    let note = json!({"name": "note", "type": ["null", "string"], "default": null});
    let field = |name: &str, kind: &str| json!({"name": name, "type": kind});
    let fields = match version {
        1 => json!([field("number", "int"), field("label", "string"), field("level", "float")]),
        2 => json!([
            field("level", "float"),
            {"name": "extra", "type": "string", "default": ""},
            field("label", "string"),
            note,
            field("number", "int"),
        ]),
        3 => json!([field("number", "long"), field("label", "string"), field("level", "double"), note]),
        _ => json!([field("number", "string"), field("label", "string"), field("level", "double")]),
    };
    json!({"type": "record", "name": "Reading", "namespace": "observatory", "fields": fields})
}

/// The contract.
pub fn contract() -> Value {
    let fields = json!([
        {"name": "number", "type": "long"},
        {"name": "label", "type": "string"},
        {"name": "level", "type": "double"},
        {"name": "note", "type": ["null", "string"], "default": null},
        {"name": "unit", "type": "string", "default": "K"},
    ]);
    json!({"type": "record", "name": "Reading", "namespace": "observatory", "fields": fields})
}

/// What a writer of this version says.
pub fn value(version: u32, n: usize) -> Value {
    let mut value = json!({"number": n, "label": format!("r{n}"), "level": n as f64 / 2.0});
    if matches!(version, 2 | 3) {
        value["note"] = if n.is_multiple_of(3) { json!(format!("note {n}")) } else { Value::Null };
    }
    match version {
        2 => value["extra"] = json!("more"),
        4 => value["number"] = json!(n.to_string()),
        _ => {}
    }
    value
}

/// The same under the contract.
pub fn translated(version: u32, n: usize) -> Value {
    let value = value(version, n);
    json!({"number": n, "label": value["label"], "level": value["level"], "note": value["note"], "unit": "K"})
}

/// What was published under one key.
#[derive(Debug, Clone, PartialEq)]
pub enum Published {
    /// By the writers' schema of this version.
    Version(u32),
    /// A null value.
    Tombstone,
    /// With the cause of its dead letter.
    Broken(Vec<u8>, &'static str),
}

/// Servers and names of one test.
pub struct AvroScene {
    /// The servers.
    pub stack: Stack,
    /// The Kafka topic.
    pub topic: String,
    /// The target topic.
    pub target: String,
    /// The configuration.
    pub directory: PathBuf,
    /// Before the registry.
    pub registry: Proxy,
    /// What was published, by its number.
    pub published: Vec<Published>,
    start: Instant,
}

impl AvroScene {
    /// Servers, an empty source, and all that `bridgectl setup` makes for the bridge.
    pub async fn new(name: &str, sections: &str) -> Result<Self> {
        Self::new_under(name, sections, &contract()).await
    }

    /// The same, under another contract.
    pub async fn new_under(name: &str, sections: &str, contract: &Value) -> Result<Self> {
        let start = Instant::now();
        let stack = tokio::task::block_in_place(|| Stack::up_with(&["kafka", "pulsar", "registry"]))?;
        let topic = unique(name);
        let directory = repository().join("target/scenes").join(&topic);
        std::fs::create_dir_all(&directory)?;
        create_topic(stack.kafka(), &topic, SOURCE_PARTITIONS).await?;
        let target = format!("persistent://public/{topic}/readings");
        let address = stack.registry().trim_start_matches("http://").split('/').next().unwrap().to_owned();
        let registry = Proxy::before(&format!("pulsar://{address}")).await?;
        let proxied = registry.url().replace("pulsar://", "http://");
        let url = stack.registry().replace(&format!("http://{address}"), &proxied);
        std::fs::copy(repository().join("config/default.toml"), directory.join("default.toml"))?;
        std::fs::write(directory.join("contract.avsc"), contract.to_string())?;
        let configuration = format!(
            "[stream]\nname = \"job-lifecycle\"\n\
             [source.kafka]\nkind = \"kafka\"\ntopic = \"{topic}\"\nstart = \"earliest\"\nformat = \"confluent-avro\"\n\
             [registry]\nurl = \"{url}\"\n[target]\ntopic = \"{target}\"\n[health]\nstall_seconds = 5\n{sections}"
        );
        std::fs::write(directory.join("job-lifecycle.toml"), configuration)?;
        let scene = Self { stack, topic, target, directory, registry, published: Vec::new(), start };
        let mut setup = Command::new(binary("bridgectl")?);
        setup.args(["setup", "job-lifecycle", "--config"]).arg(&scene.directory).envs(scene.settings());
        run(&mut setup, "")?;
        Ok(scene)
    }

    /// Tells how far it is.
    pub fn say(&self, what: impl std::fmt::Display) {
        println!("  [{:>6.1} s] {what}", self.start.elapsed().as_secs_f64());
    }

    /// The settings that move the bridge to these servers.
    pub fn settings(&self) -> Vec<Setting> {
        [
            ("BRIDGE__KAFKA__BROKERS", self.stack.kafka()),
            ("BRIDGE__KAFKA__GROUP_PREFIX", &format!("{}.", self.topic)),
            ("BRIDGE__KAFKA__INSTANCE_ID", &self.topic),
            ("BRIDGE__PULSAR__URL", self.stack.pulsar()),
            ("BRIDGE__PULSAR__ADMIN_URL", self.stack.pulsar_admin()),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }

    /// Starts the bridge.
    pub fn bridge(&self, slowness: &[(&str, &str)]) -> Result<Bridge> {
        let mut settings = self.settings();
        settings.extend(slowness.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        Bridge::start_stream("job-lifecycle", &self.directory, &settings)
    }

    /// Publishes these by Confluent's serializer; gives the registry's ids of their schemas.
    pub fn publish(&mut self, records: Vec<Published>) -> Result<Vec<Value>> {
        let mut lines = String::new();
        for (n, record) in (self.published.len()..).zip(&records) {
            let key = key(n);
            let line = match record {
                Published::Version(version) => {
                    json!({"schema": schema(*version), "value": value(*version, n), "key": key})
                }
                Published::Tombstone => json!({"value": null, "key": key}),
                Published::Broken(body, _) => json!({"raw": BASE64.encode(body), "key": key}),
            };
            lines += &format!("{line}\n");
        }
        let mut command = python("produce_avro.py")?;
        command.args(["--brokers", self.stack.kafka(), "--registry", self.stack.registry(), "--topic", &self.topic]);
        let said = json_lines(&run(&mut command, &lines)?)?;
        self.published.extend(records);
        Ok(said.into_iter().map(|place| place["schema_id"].clone()).collect())
    }

    /// What a foreign client reads.
    pub fn read(&self, topic: &str, by: &str, count: usize) -> Result<Vec<Value>> {
        let mut command = python("read.py")?;
        command.args(["--url", self.stack.pulsar(), "--admin-url", self.stack.pulsar_admin()]);
        command.args(["--topic", topic, "--count", &count.to_string(), "--by", by]);
        json_lines(&run(&mut command, "")?)
    }

    /// How many messages the target has taken.
    pub async fn arrived(&self) -> u64 {
        PulsarAdmin::at(self.stack.pulsar_admin()).messages_in(&self.target).await.unwrap_or_default()
    }

    /// Kills so many bridges, each after it has published something.
    pub async fn kill_some(&self, kills: u32) -> Result<()> {
        for kill in 1..=kills {
            let before = self.arrived().await;
            if before + 300 > self.published.len() as u64 {
                assert!(kill > 2, "only {} kills met a bridge at work", kill - 1);
                return Ok(());
            }
            let bridge = self.bridge(&[("BRIDGE__LIMITS__BATCH_KIB", "1"), ("BRIDGE__LIMITS__IN_FLIGHT", "2")])?;
            let published =
                wait::until("the bridge to publish", PATIENCE, async || match bridge.metric(PUBLISHED).await {
                    Ok(published) if published >= 50.0 => Ok(published),
                    Ok(published) => Err(format!("{published} records published\n{}", bridge.log_tail())),
                    Err(error) => Err(format!("{error}\n{}", bridge.log_tail())),
                })
                .await?;
            bridge.kill()?;
            self.say(format!("kill -9 {kill} after {published} records"));
        }
        Ok(())
    }

    /// Waits until the bridge has settled everything.
    pub async fn caught_up(&self, bridge: &Bridge) -> Result<()> {
        let mut still = 0;
        let waited = wait::until("the bridge to catch up", PATIENCE, async || {
            let (condition, status) = condition(bridge).await?;
            let knows_ends = knows_ends(&serde_json::from_str(&status).unwrap_or_default(), &self.topic);
            still = if condition.is_caught_up && knows_ends { still + 1 } else { 0 };
            if still >= 4 { Ok(()) } else { Err(status) }
        });
        waited.await.map_err(|error| format!("{error}\n{}", bridge.log_tail()).into())
    }

    /// Waits until `/status` says that the bridge is stalled for this reason, and `/readyz` too.
    pub async fn stalled(&self, bridge: &Bridge, reason: &str) -> Result<()> {
        let waited = wait::until("the bridge to stall", PATIENCE, async || {
            let (condition, status) = condition(bridge).await?;
            let ready = bridge.get("/readyz").await.map_err(|error| error.to_string())?;
            let live = bridge.get("/livez").await.map_err(|error| error.to_string())?;
            let is_told = !condition.is_caught_up && status.contains(reason) && ready.1.contains(reason);
            match (is_told, ready.0, live.0) {
                (true, 503, 200) => Ok(ready.1.trim().to_owned()),
                _ => Err(format!("{} {}\n{status}", ready.0, ready.1)),
            }
        });
        match waited.await {
            Ok(told) => self.say(format!("stalled: {told}")),
            Err(error) => return Err(format!("{error}\n{}", bridge.log_tail()).into()),
        }
        Ok(())
    }

    /// Compares everything that was published with target and dead letters.
    pub fn check(&self, by: &str, expected: impl Fn(u32, usize) -> Value) -> Result<BTreeMap<i64, usize>> {
        let broken = self.published.iter().filter(|record| matches!(record, Published::Broken(..))).count();
        let messages = self.read(&self.target, by, self.published.len() - broken)?;
        let mut versions = BTreeMap::new();
        let mut seen = BTreeMap::new();
        let mut order = BTreeMap::new();
        let mut repaired = 0;
        for message in &messages {
            let n = number(message);
            assert_eq!(seen.insert(n, ()), None, "{n} twice");
            match &self.published[n] {
                Published::Version(version) => {
                    assert_eq!(message["value"], expected(*version, n), "{n} of version {version}");
                    *versions.entry(message["version"].as_i64().unwrap()).or_default() += 1;
                }
                Published::Tombstone => assert!(message["value"].is_null(), "{n} is no tombstone: {message}"),
                Published::Broken(..) => panic!("{n} should be a dead letter"),
            }
            if message["properties"]["bridge.repaired"].is_string() {
                repaired += 1;
            } else if let Some(before) = order.insert(message["producer"].as_str().unwrap(), n) {
                assert!(before < n, "{n} after {before}");
            }
        }
        let letters = self.read(&format!("{}-dead-letters", self.target), "bytes", broken)?;
        for letter in &letters {
            let n = number(letter);
            assert_eq!(seen.insert(n, ()), None, "{n} twice");
            let Published::Broken(body, cause) = &self.published[n] else { panic!("{n} is a dead letter: {letter}") };
            assert_eq!(letter["properties"]["bridge.cause"], *cause, "{n}: {letter}");
            assert_eq!(letter["value"], BASE64.encode(body), "{n}");
        }
        assert_eq!(seen.len(), self.published.len());
        self.say(format!(
            "{} messages ({repaired} repaired, by version {versions:?}) and {} dead letters are as they should be",
            messages.len(),
            letters.len()
        ));
        Ok(versions)
    }

    /// Lets the bridge catch up, and stops it.
    pub async fn stopped(&self, mut bridge: Bridge) -> Result<()> {
        self.caught_up(&bridge).await?;
        assert_eq!(bridge.terminate(Duration::from_secs(30)).await?.code(), Some(0), "{}", bridge.log_tail());
        Ok(())
    }

    /// The same, where all that is not broken must be in the target then.
    pub async fn finish(&self, bridge: Bridge) -> Result<()> {
        self.stopped(bridge).await?;
        let expected = self.published.iter().filter(|record| !matches!(record, Published::Broken(..))).count();
        assert!(self.arrived().await >= expected as u64, "more is stored than was published, or less");
        Ok(())
    }
}

fn key(n: usize) -> String {
    format!("key-{n}")
}

fn number(message: &Value) -> usize {
    message["key"].as_str().unwrap().trim_start_matches("key-").parse().unwrap()
}

async fn condition(bridge: &Bridge) -> std::result::Result<(Condition, String), String> {
    let (_, status) = bridge.get("/status").await.map_err(|error| error.to_string())?;
    Ok((Condition::parse(&serde_json::from_str(&status).unwrap_or_default()), status))
}

fn run(command: &mut Command, input: &str) -> Result<String> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writing = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output()?;
    let written = writing.join().unwrap();
    if output.status.success() {
        written?;
        return Ok(String::from_utf8(output.stdout)?);
    }
    let said = [output.stdout, output.stderr].concat();
    Err(format!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&said)).into())
}

fn python(script: &str) -> Result<Command> {
    let clients = repository().join("tests/clients");
    run(&mut Command::new(clients.join("prepare")), "")?;
    let mut command = Command::new(repository().join("target/clients/venv/bin/python"));
    command.arg(clients.join(script));
    Ok(command)
}

fn json_lines(text: &str) -> Result<Vec<Value>> {
    text.lines().filter(|line| line.starts_with('{')).map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// A body by the first schema, with what `change` makes of it.
fn first(id: &Value, change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut body = vec![0];
    body.extend_from_slice(&u32::try_from(id.as_u64().unwrap()).unwrap().to_be_bytes());
    // 1, "a", 0.5
    body.extend_from_slice(&[2, 2, b'a', 0, 0, 0, 0x3f]);
    change(&mut body);
    body
}

/// What no consumer should ever see; `id` is the first schema's.
fn broken(id: &Value) -> Vec<Published> {
    vec![
        Published::Broken(b"\x01\0\0\0\x01ab".to_vec(), "bad_magic"),
        Published::Broken(b"{\"number\": 1}".to_vec(), "bad_magic"),
        Published::Broken(b"\0\x7f\0\0\x01ab".to_vec(), "unusable_schema"),
        Published::Broken(b"\0\0\0\0\0ab".to_vec(), "unusable_schema"),
        Published::Broken(b"\0\0\0".to_vec(), "truncated"),
        Published::Broken(first(id, |body| body.truncate(9)), "truncated"),
        Published::Broken(first(id, |body| body.push(7)), "trailing_bytes"),
    ]
}

/// Many records by the first two schemas, which change every so often, with tombstones and broken ones among them.
pub fn mixed(count: usize, every: usize, id: &Value) -> Vec<Published> {
    let mut records = Vec::new();
    for n in 0..count {
        match n {
            n if n % 500 == 250 => records.extend(broken(id)),
            n if n % 97 == 5 => records.push(Published::Tombstone),
            n => records.push(Published::Version(1 + (n / every % 2) as u32)),
        }
    }
    records
}

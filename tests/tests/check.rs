//! `check`, as an operator and a bridge run it, on real servers: a stream as `bridgectl setup` leaves it is all well, each
//! spoilt setting is found, and nothing is changed. `tests/run` runs it; by hand: `cargo build -p bridgectl -p
//! notifications-bridge`, then `cargo test -p bridge-tests --test check -- --ignored --test-threads=1 --nocapture`.
#![allow(clippy::unwrap_used, reason = "these are tests, helpers too")]

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use bridge_tests::bridge::{Setting, binary};
use bridge_tests::rabbit::Rabbit;
use bridge_tests::stack::{Stack, repository, unique};
use bridge_tests::{Result, http, wait};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::Command;

/// How long brokers may take to learn of changed policies.
const PATIENCE: Duration = Duration::from_secs(20);

/// Fails the test when it takes longer than it may.
async fn within<T>(seconds: u64, test: impl Future<Output = Result<T>>) -> Result<T> {
    let budget = Duration::from_secs(seconds);
    tokio::time::timeout(budget, test).await.map_err(|_| format!("it took longer than its budget of {budget:?}"))?
}

/// The configuration of one stream with sources of both kinds, on names of its own.
struct Stream {
    unique: String,
    directory: PathBuf,
    settings: Vec<Setting>,
}

impl Stream {
    fn new(name: &str, settings: Vec<Setting>) -> Result<Self> {
        let unique = unique(name);
        let directory = repository().join("target/scenes").join(&unique);
        fs::create_dir_all(&directory)?;
        fs::copy(repository().join("config/default.toml"), directory.join("default.toml"))?;
        let text = format!(
            "[stream]\nname = \"notifications\"\n[source.kafka]\nkind = \"kafka\"\ntopic = \"{unique}\"\n\
             [source.rabbit]\nkind = \"rabbitmq\"\nqueue = \"{unique}\"\n[[source.rabbit.bind]]\nexchange = \"{unique}\"\n\
             [dedupe]\nkey = \"event_id\"\n[target]\ntopic = \"persistent://public/{unique}/out\"\n\
             [setup]\nnamespaces = []\npartitions = 3\n"
        );
        fs::write(directory.join("notifications.toml"), text)?;
        Ok(Self { unique, directory, settings })
    }

    async fn run(&self, program: &str, arguments: &[&str], more: &[(&str, &str)]) -> Result<(i32, String, String)> {
        let output = Command::new(binary(program)?)
            .args(arguments)
            .arg("--config")
            .arg(&self.directory)
            .envs(self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())))
            .envs(more.iter().copied())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok((output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr)))
    }

    async fn setup(&self) -> Result<()> {
        let (code, out, err) = self.run("bridgectl", &["setup", "notifications"], &[]).await?;
        if code == 0 { Ok(()) } else { Err(format!("bridgectl setup: {code}\n{out}{err}").into()) }
    }

    async fn check(&self) -> Result<Checked> {
        self.check_with(&[]).await
    }

    async fn check_with(&self, more: &[(&str, &str)]) -> Result<Checked> {
        let (code, out, err) = self.run("bridgectl", &["check", "--json"], more).await?;
        let document = serde_json::from_str(&out).map_err(|error| format!("{error}: {out}{err}"))?;
        Ok(Checked { code, document })
    }

    /// A topic's name in findings.
    fn topic(&self, name: &str) -> String {
        format!("persistent://public/{}/{name}", self.unique)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

struct Checked {
    code: i32,
    document: Value,
}

impl Checked {
    fn findings(&self) -> &[Value] {
        self.document["streams"][0]["findings"].as_array().unwrap()
    }

    /// What is not as it should be.
    fn bad(&self) -> Vec<&Value> {
        self.findings().iter().filter(|finding| finding["severity"] != "ok").collect()
    }

    /// The first of these that is missing: severity, check, and how the subject ends.
    fn lacks<'a>(&self, wanted: &[(&'a str, &'a str, String)]) -> Option<String> {
        let there = |severity: &str, check: &str, subject: &str| {
            let mut findings = self.findings().iter();
            findings.any(|it| {
                it["severity"] == severity && it["check"] == check && it["subject"].as_str().unwrap().ends_with(subject)
            })
        };
        let missing = wanted.iter().find(|(severity, check, subject)| !there(severity, check, subject))?;
        Some(format!("{missing:?} is not among {:#?}", self.bad()))
    }
}

fn servers() -> Result<(Stack, Vec<Setting>, Rabbit)> {
    let stack = Stack::up_with(&["kafka", "pulsar", "rabbitmq", "registry"])?;
    let host = |url: &str| url.split_once('@').map_or_else(|| url.to_owned(), |(_, host)| host.to_owned());
    let settings = [
        ("BRIDGE__KAFKA__BROKERS", stack.kafka().to_owned()),
        ("BRIDGE__PULSAR__URL", stack.pulsar().to_owned()),
        ("BRIDGE__PULSAR__ADMIN_URL", stack.pulsar_admin().to_owned()),
        ("BRIDGE__RABBITMQ__URL", format!("amqp://{}", host(stack.rabbitmq()))),
        ("BRIDGE__RABBITMQ__MANAGEMENT_URL", format!("http://{}", host(stack.rabbitmq_management()))),
        ("BRIDGE__REGISTRY__URL", stack.registry().to_owned()),
    ];
    let settings = settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let rabbit = stack.rabbit();
    Ok((stack, settings, rabbit))
}

fn kafka_admin(stack: &Stack) -> Result<AdminClient<DefaultClientContext>> {
    Ok(ClientConfig::new().set("bootstrap.servers", stack.kafka()).create()?)
}

async fn create_topic(stack: &Stack, topic: &str) -> Result<()> {
    let new = NewTopic::new(topic, 4, TopicReplication::Fixed(1))
        .set("retention.ms", "604800000")
        .set("max.message.bytes", "1048588");
    let made = kafka_admin(stack)?.create_topics(&[new], &AdminOptions::new()).await?;
    made.into_iter().next().unwrap().map_err(|(topic, code)| format!("{topic}: {code}"))?;
    Ok(())
}

#[tokio::test]
#[ignore = "needs real brokers: tests/run"]
async fn what_setup_leaves_is_all_well_and_what_is_spoilt_is_found() -> Result<()> {
    within(180, async {
        let (stack, settings, rabbit) = servers()?;
        let stream = Stream::new("check", settings)?;
        create_topic(&stack, &stream.unique).await?;
        rabbit.declare_exchange(&stream.unique, "topic").await?;
        stream.setup().await?;
        // RabbitMQ's management shows new things a moment later.
        let checked = wait::until("all to be well", PATIENCE, async || match stream.check().await {
            Ok(checked) if checked.code == 0 => Ok(checked),
            Ok(checked) => Err(format!("{}: {:#?}", checked.code, checked.bad())),
            Err(error) => Err(error.to_string()),
        })
        .await?;
        assert!(checked.bad().is_empty() && checked.document["errors"] == 0, "{:#?}", checked.bad());
        bridge_says_the_same(&stream, &checked).await?;
        exit_codes(&stream).await?;

        spoil(&stack, &stream, &rabbit).await?;
        let (out, dead, checkpoints) =
            (stream.topic("out"), stream.topic("out-dead-letters"), stream.topic("bridge-checkpoints"));
        let (queue, namespace) = (format!("queue {}", stream.unique), format!("namespace public/{}", stream.unique));
        let wanted = [
            ("error", "pulsar.deduplication", out.clone()),
            ("error", "pulsar.backlog-quota", out.clone()),
            ("warning", "pulsar.ttl", out.clone()),
            ("warning", "pulsar.retention", out.clone()),
            ("error", "pulsar.max-producers", out.clone()),
            ("warning", "pulsar.publish-rate", out.clone()),
            ("warning", "pulsar.max-message-size", out),
            ("error", "pulsar.inactive-topics", dead),
            ("warning", "pulsar.compaction", checkpoints),
            ("warning", "pulsar.auto-creation", namespace.clone()),
            ("warning", "pulsar.namespace-retention", namespace),
            ("warning", "kafka.cleanup", stream.unique.clone()),
            ("error", "rabbitmq.message-ttl", queue),
        ];
        let checked = wait::until("every spoilt setting to be found", PATIENCE, async || match stream.check().await {
            Ok(checked) => checked.lacks(&wanted).map_or(Ok(checked), Err),
            Err(error) => Err(error.to_string()),
        })
        .await?;
        assert_eq!(checked.code, 1);
        let others: Vec<_> = checked
            .bad()
            .into_iter()
            .filter(|bad| !wanted.iter().any(|(_, check, _)| bad["check"] == *check))
            .collect();
        assert!(others.is_empty(), "nothing else was spoilt: {others:#?}");
        Ok(())
    })
    .await
}

/// The bridge's own `check` looks at the same, and the table tells of it.
async fn bridge_says_the_same(stream: &Stream, checked: &Checked) -> Result<()> {
    let (code, out, err) = stream.run("notifications-bridge", &["check", "--json"], &[]).await?;
    let document: Value = serde_json::from_str(&out).map_err(|error| format!("{error}: {out}{err}"))?;
    assert_eq!((code, &document), (0, &checked.document));
    let (code, table, _) = stream.run("notifications-bridge", &["check"], &[]).await?;
    println!("{table}");
    assert!(code == 0 && table.contains("0 errors, 0 warnings") && table.contains("deduplicates"), "{table}");
    Ok(())
}

/// Warnings, a wrong configuration, and a check of the configuration alone.
async fn exit_codes(stream: &Stream) -> Result<()> {
    let asserted = stream.check_with(&[("BRIDGE__TARGET__DEDUPLICATION", "asserted")]).await?;
    assert_eq!(asserted.code, 3, "{:#?}", asserted.bad());
    assert!(asserted.bad().iter().all(|bad| bad["check"] == "pulsar.deduplication"), "{:#?}", asserted.bad());
    for (program, verb) in [("bridgectl", "check"), ("notifications-bridge", "check")] {
        let (code, _, err) = stream.run(program, &[verb], &[("BRIDGE__TARGET__TOPICS", "x")]).await?;
        assert!(code == 2 && err.contains("Did you mean target.topic?"), "{code}: {err}");
    }
    let nowhere = [("BRIDGE__KAFKA__BROKERS", "127.0.0.1:1")];
    let (code, out, _) = stream.run("notifications-bridge", &["check", "--offline"], &nowhere).await?;
    assert!(code == 0 && out.contains("the configuration is good"), "{code}: {out}");
    Ok(())
}

/// Each setting that `check` is to find, as an operator would set it by mistake.
async fn spoil(stack: &Stack, stream: &Stream, rabbit: &Rabbit) -> Result<()> {
    let admin = format!("{}/admin/v2", stack.pulsar_admin());
    let unique = &stream.unique;
    let topic = |name: &str, policy: &str| format!("{admin}/persistent/public/{unique}/{name}/{policy}");
    let quota = json!({ "limitSize": 1 << 30, "limitTime": -1, "policy": "consumer_backlog_eviction" });
    let rate = json!({ "publishThrottlingRateInMsg": 1000, "publishThrottlingRateInByte": -1 });
    let inactive = json!({
        "inactiveTopicDeleteMode": "delete_when_no_subscriptions", "maxInactiveDurationSeconds": 86400, "deleteWhileInactive": true
    });
    for (url, body) in [
        (topic("out", "deduplicationEnabled"), json!(false)),
        (topic("out", "backlogQuota?backlogQuotaType=destination_storage"), quota),
        (topic("out", "messageTTL?messageTTL=3600"), Value::Null),
        (topic("out", "retention"), json!({ "retentionTimeInMinutes": 1440, "retentionSizeInMB": -1 })),
        (
            format!("{admin}/namespaces/public/{unique}/retention"),
            json!({ "retentionTimeInMinutes": 0, "retentionSizeInMB": 0 }),
        ),
        (topic("out", "maxProducers"), json!(2)),
        (topic("out", "publishRate"), rate),
        (topic("out-dead-letters", "inactiveTopicPolicies"), inactive),
        (topic("bridge-checkpoints", "compactionThreshold"), json!(0)),
        (
            format!("{admin}/namespaces/public/{unique}/autoTopicCreation"),
            json!({ "allowAutoTopicCreation": true, "topicType": "non-partitioned" }),
        ),
    ] {
        http::send(Method::POST, &url, &body).await?;
    }
    rabbit.set_policy(unique, &format!("^{unique}$"), "queues", &json!({ "message-ttl": 60_000 })).await?;
    let change = AlterConfig::new(ResourceSpecifier::Topic(unique))
        .set("cleanup.policy", "compact")
        .set("retention.ms", "604800000")
        .set("max.message.bytes", "10485760");
    let changed = kafka_admin(stack)?.alter_configs(&[change], &AdminOptions::new()).await?;
    changed.into_iter().next().unwrap().map_err(|(_, code)| code.to_string())?;
    Ok(())
}

#[tokio::test]
#[ignore = "needs real brokers: tests/run"]
async fn what_is_missing_or_of_another_shape_is_found_and_stays_so() -> Result<()> {
    within(180, async {
        let (stack, settings, _) = servers()?;
        let stream = Stream::new("check-missing", settings)?;
        let checked = stream.check().await?;
        let missing = |name: &str| ("error", "pulsar.topic", stream.topic(name));
        let mut wanted = vec![
            ("error", "kafka.topic", stream.unique.clone()),
            ("warning", "rabbitmq.queue", stream.unique.clone()),
            ("error", "rabbitmq.binding", stream.unique.clone()),
            missing("out"),
            missing("out-dead-letters"),
            missing("bridge-checkpoints"),
        ];
        assert_eq!((checked.code, checked.lacks(&wanted)), (1, None));
        assert_eq!(stream.check().await?.document, checked.document, "a check makes nothing");

        let admin = stack.pulsar_admin();
        let unique = &stream.unique;
        http::send(Method::PUT, &format!("{admin}/admin/v2/namespaces/public/{unique}"), &json!({})).await?;
        for (name, partitions) in [("out", 2), ("bridge-checkpoints", 2)] {
            let url = format!("{admin}/admin/v2/persistent/public/{unique}/{name}/partitions");
            http::send(Method::PUT, &url, &json!(partitions)).await?;
        }
        let other = r#"{"type":"record","name":"Other","fields":[{"name":"n","type":"int"}]}"#;
        let schema = json!({ "type": "AVRO", "schema": other, "properties": {} });
        http::send(Method::POST, &format!("{admin}/admin/v2/schemas/public/{unique}/out/schema"), &schema).await?;
        wanted.retain(|(_, _, subject)| subject.ends_with("out-dead-letters"));
        wanted.extend([
            ("error", "pulsar.schema", stream.topic("out")),
            ("error", "pulsar.deduplication", stream.topic("out")),
            ("error", "pulsar.retention", stream.topic("out")),
            ("error", "pulsar.inactive-topics", stream.topic("out")),
            ("warning", "pulsar.partitions", stream.topic("out")),
            ("error", "pulsar.partitions", stream.topic("bridge-checkpoints")),
        ]);
        let checked = stream.check().await?;
        assert_eq!((checked.code, checked.lacks(&wanted)), (1, None));
        Ok(())
    })
    .await
}

/// Servers that refuse, and servers that take a connection and then say nothing.
#[tokio::test]
#[ignore = "needs the built binaries: tests/run"]
async fn servers_that_do_not_answer_are_findings_within_seconds() -> Result<()> {
    within(180, async {
        // Never accepted: the system completes the connection, and nobody reads.
        let silent = std::net::TcpListener::bind("127.0.0.1:0")?;
        for port in [silent.local_addr()?.port(), 1] {
            let at = |scheme: &str| format!("{scheme}127.0.0.1:{port}");
            let settings = [
                ("BRIDGE__KAFKA__BROKERS", at("")),
                ("BRIDGE__PULSAR__URL", at("pulsar://")),
                ("BRIDGE__PULSAR__ADMIN_URL", at("http://")),
                ("BRIDGE__RABBITMQ__URL", at("amqp://")),
                ("BRIDGE__RABBITMQ__MANAGEMENT_URL", at("http://")),
                ("BRIDGE__REGISTRY__URL", at("http://")),
            ];
            let settings = settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            let stream = Stream::new("check-down", settings)?;
            let began = Instant::now();
            let checked = stream.check().await?;
            let took = began.elapsed();
            let all =
                ["kafka.reachable", "rabbitmq.reachable", "pulsar.reachable", "pulsar.admin", "registry.reachable"];
            let wanted: Vec<_> = all.into_iter().map(|check| ("error", check, String::new())).collect();
            assert_eq!((checked.code, checked.lacks(&wanted)), (1, None));
            assert!(took < Duration::from_secs(25), "all at once, each for some seconds: {took:?}");
        }
        Ok(())
    })
    .await
}

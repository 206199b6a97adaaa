//! `bridgectl` as an operator uses it, on real brokers: what it shows of bridges that run and that are dead, orders to
//! single partitions, dead letters redriven exactly once under kill -9, and the log of who did what. All of it takes about a
//! minute and a half. `tests/run` runs it; by hand: `cargo test -p bridge-tests --test operate -- --ignored --nocapture`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use bridge_tests::Result;
use bridge_tests::bridge::{Bridge, Setting, binary};
use bridge_tests::scenario::{PATIENCE, Scenario, seconds, with, within};
use bridge_tests::stack::repository;
use bridge_tests::wait;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use serde_json::{Value, json};

/// Sound events, events with a field that the contract lacks (one of them so large that its dead letter is not whole), and what
/// is no event at all.
const SOUND: u64 = 100;
const DRIFTED: u64 = 400;
const BROKEN: u64 = 5;

/// An operator's desk: bridgectl with the settings of a scenario.
struct Desk {
    settings: Vec<Setting>,
    token_file: PathBuf,
    /// Who sits there: the log of operations is the whole fleet's.
    who: String,
}

impl Desk {
    fn new(scenario: &Scenario) -> Self {
        let token_file = std::env::temp_dir().join(format!("{}-token", scenario.topic));
        std::fs::write(&token_file, "open sesame").unwrap();
        let settings = with(scenario.settings(), "BRIDGE__HTTP__TOKEN_FILE", &token_file.to_string_lossy());
        Self { settings, token_file, who: format!("ada of {}", scenario.topic) }
    }

    /// The bridge's settings: what the contract lacks makes a dead letter, and no share of them stops it.
    fn strict(&self) -> Vec<Setting> {
        let settings = with(self.settings.clone(), "BRIDGE__CONTRACT__ON_UNKNOWN_FIELD", "dead-letter");
        with(settings, "BRIDGE__DEAD_LETTERS__MAX_RATIO", "1")
    }

    /// Where the bridge is found from now on.
    fn at(&mut self, bridge: &Bridge) -> Result<()> {
        let url = format!("http://{}", bridge.address()?);
        self.settings = with(self.settings.clone(), "BRIDGE__FLEET__URL", &url);
        Ok(())
    }

    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(binary("bridgectl")?);
        command.args(arguments).arg("--config").arg(repository().join("config"));
        command.envs(self.settings.iter().cloned()).env("BRIDGECTL_AS", &self.who).stdin(Stdio::null());
        Ok(command)
    }

    /// Its exit code, what it wrote, and what it complained of.
    fn run(&self, arguments: &[&str]) -> Result<(Option<i32>, String, String)> {
        let mut command = self.command(arguments)?;
        let Output { status, stdout, stderr } = tokio::task::block_in_place(|| command.output())?;
        Ok((status.code(), String::from_utf8(stdout)?, String::from_utf8(stderr)?))
    }

    /// The same, with what it wrote as JSON.
    fn json(&self, arguments: &[&str]) -> Result<(Option<i32>, Value)> {
        let (code, text, complaint) = self.run(arguments)?;
        let json = serde_json::from_str(&text).map_err(|error| format!("{arguments:?}: {error}: {text}{complaint}"))?;
        Ok((code, json))
    }

    fn status(&self) -> Result<(Option<i32>, Value)> {
        let (code, json) = self.json(&["status", "job-lifecycle", "--json", "--seconds", "1"])?;
        Ok((code, json["bridges"][0].clone()))
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.token_file);
    }
}

/// An event as the portal makes it, with more fields where there are more.
fn event(number: u64, more: &str) -> String {
    format!(
        r#"{{"event_id":"e-{number}","event_type":"job.submitted","timestamp":"2026-01-01T00:00:00.000Z","correlation_id":"c","user_id":"u","schema_version":1,"payload":{{"job_id":"j-{number}"}}{more}}}"#
    )
}

/// Publishes bodies to the partitions in turn.
fn publish(scenario: &Scenario, bodies: impl Iterator<Item = String>) -> Result<()> {
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", &scenario.brokers)
        .set("message.max.bytes", "10000000")
        .create()?;
    for (number, body) in bodies.enumerate() {
        let record: BaseRecord<'_, str, String> =
            BaseRecord::to(&scenario.topic).payload(&body).partition(number as i32 % 10);
        producer.send(record).map_err(|(error, _)| error)?;
    }
    Ok(producer.flush(seconds(30))?)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn a_fleet_is_seen_ordered_and_redriven_and_who_did_it_is_known() -> Result<()> {
    within(seconds(240), async {
        let scenario = Scenario::new("operate").await?;
        let mut desk = Desk::new(&scenario);
        let sound = (0..SOUND).map(|number| event(number, ""));
        let huge = format!(r#","unknown_to_the_contract":"{}""#, "x".repeat(6_000_000));
        let drifted = (SOUND + 1..SOUND + DRIFTED).map(|number| event(number, r#","unknown_to_the_contract":1"#));
        let drifted = std::iter::once(event(SOUND, &huge)).chain(drifted);
        publish(&scenario, sound.chain(drifted).chain((0..BROKEN).map(|_| "not JSON".to_owned())))?;
        let mut bridge = Bridge::start(&desk.strict())?;
        bridge.ready(PATIENCE).await?;
        desk.at(&bridge)?;
        scenario.caught_up(&bridge, PATIENCE).await?;

        running_bridges_are_shown_and_ordered(&scenario, &desk).await?;
        bridge.kill()?;
        a_dead_bridge_shows_its_lag(&scenario, &desk)?;
        dead_letters_are_redriven_once(&scenario, &desk).await?;
        scenario.say("redriven");

        let mut bridge = Bridge::start(&desk.settings)?;
        bridge.ready(PATIENCE).await?;
        desk.at(&bridge)?;
        evidence_is_measured(&scenario, &desk)?;
        scenario.conclude(bridge, SOUND + DRIFTED + BROKEN).await?;
        the_log_tells_who_did_what(&desk)?;
        silent_brokers_are_named_in_bounded_time(&desk)
    })
    .await
}

async fn running_bridges_are_shown_and_ordered(scenario: &Scenario, desk: &Desk) -> Result<()> {
    let (code, status) = desk.status()?;
    assert_eq!((code, &status["state"], &status["well"]), (Some(0), &json!("running"), &json!(true)), "{status}");
    assert_eq!((&status["lag_records"], &status["dead_letters"]), (&json!(0), &json!(DRIFTED + BROKEN)), "{status}");
    assert_eq!(status["partitions"]["running"], 10, "{status}");

    let (code, said) = desk.json(&["pause", "job-lifecycle", "--partition", "3", "--json"])?;
    assert_eq!((code, &said["done"]), (Some(0), &json!(true)), "{said}");
    publish(scenario, (1000..1020).map(|number| event(number, "")))?;
    wait::until("nine partitions to go on", PATIENCE, async || {
        let (_, status) = desk.status().map_err(|error| error.to_string())?;
        // Two of the records are in the partition that reads nothing.
        if status["lag_records"] == 2 { Ok(()) } else { Err(status.to_string()) }
    })
    .await?;
    let (code, status) = desk.status()?;
    assert_eq!((code, &status["state"]), (Some(0), &json!("1/10 paused")), "{status}");
    let (code, said) = desk.json(&["resume", "job-lifecycle", "--partition", "3", "--json"])?;
    assert_eq!((code, &said["done"]), (Some(0), &json!(true)), "{said}");
    wait::until("the tenth to follow", PATIENCE, async || {
        let (_, status) = desk.status().map_err(|error| error.to_string())?;
        if status["lag_records"] == 0 { Ok(()) } else { Err(status.to_string()) }
    })
    .await?;

    let (code, _, complaint) = desk.run(&["pause", "job-lifecycle"])?;
    assert!(code == Some(1) && complaint.contains("--yes"), "a whole bridge is not stopped unasked: {complaint}");

    let (code, _, complaint) = desk.run(&["pause", "job-lifecycel"])?;
    assert_eq!(code, Some(2));
    assert!(complaint.contains("Did you mean job-lifecycle?"), "{complaint}");
    scenario.say("seen, paused and resumed");
    Ok(())
}

fn a_dead_bridge_shows_its_lag(scenario: &Scenario, desk: &Desk) -> Result<()> {
    publish(scenario, (2000..2030).map(|number| event(number, "")))?;
    let (code, status) = desk.status()?;
    assert_eq!((code, &status["state"]), (Some(1), &json!("dead")), "{status}");
    // The bridge was killed: what it settled last may not be in its checkpoints.
    let lag = status["lag_records"].as_u64().unwrap();
    assert!((30..=530).contains(&lag) && status["lag_seconds"].is_number(), "{status}");
    assert_eq!(status["dead_letters"], DRIFTED + BROKEN, "those in its topic: {status}");
    let (_, table, _) = desk.run(&["status", "job-lifecycle", "--seconds", "1"])?;
    assert!(table.contains("dead") && table.contains("nothing listens there"), "{table}");
    println!("{table}");
    scenario.say("dead, with its lag");
    Ok(())
}

/// The arguments of a verb of `dead-letters`.
fn of<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["dead-letters", "job-lifecycle"], more].concat()
}

async fn dead_letters_are_redriven_once(scenario: &Scenario, desk: &Desk) -> Result<()> {
    let (_, listed) = desk.json(&of(&["list", "--json"]))?;
    assert_eq!(listed["matched"], DRIFTED + BROKEN, "{listed}");
    let (_, broken) = desk.json(&of(&["list", "--cause", "not_json", "--json"]))?;
    assert_eq!(broken["letters"].as_array().map(Vec::len), Some(BROKEN as usize), "{broken}");
    let (_, large) = desk.json(&of(&["list", "--cause", "too_large", "--json"]))?;
    assert_eq!((&large["matched"], &large["letters"][0]["omitted"]), (&json!(1), &json!(["body"])), "{large}");
    let (_, newest) = desk.json(&of(&["list", "--limit", "7", "--json"]))?;
    assert_eq!((newest["letters"].as_array().map(Vec::len), &newest["matched"]), (Some(7), &listed["matched"]));
    let position = broken["letters"][0]["position"].as_str().unwrap();
    let (_, shown, _) = desk.run(&of(&["show", position]))?;
    assert!(shown.contains("not_json") && !shown.contains("not JSON"), "no body unless it is asked for: {shown}");
    let (_, shown, _) = desk.run(&of(&["show", position, "--body"]))?;
    assert!(shown.contains("not JSON"), "{shown}");

    let (code, would) = desk.json(&of(&["redrive", "--dry-run", "--json"]))?;
    assert_eq!((code, &would["redriven"]), (Some(1), &json!(DRIFTED)), "{would}");
    let (code, _, complaint) = desk.run(&of(&["redrive"]))?;
    assert!(code == Some(1) && complaint.contains("--yes"), "{complaint}");

    let admin = scenario.admin();
    let before = admin.messages_in(&scenario.target).await?;
    let mut killed = desk.command(&of(&["redrive", "--yes"]))?.stdout(Stdio::null()).spawn()?;
    wait::until("the redrive to be under way", PATIENCE, async || {
        let now = admin.messages_in(&scenario.target).await.map_err(|error| error.to_string())?;
        if now >= before + 20 { Ok(()) } else { Err(format!("{} were redriven", now - before)) }
    })
    .await?;
    killed.kill()?;
    killed.wait()?;
    let (_, left) = desk.json(&of(&["list", "--json"]))?;
    let left = left["matched"].as_u64().unwrap();
    scenario.say(format!("killed in mid-redrive: {left} are left of {}", DRIFTED + BROKEN));
    assert!((BROKEN + 1..DRIFTED + BROKEN).contains(&left), "the kill must come in its midst");

    let (code, again) = desk.json(&of(&["redrive", "--yes", "--json"]))?;
    println!("{again}");
    assert_eq!(code, Some(1), "the broken ones are left: {again}");
    assert_eq!((&again["still_broken"]["not_json"], &again["failed"]), (&json!(BROKEN), &json!(0)), "{again}");
    assert_eq!(again["redriven"].as_u64().unwrap() + again["were_there"].as_u64().unwrap(), left - BROKEN, "{again}");
    let (_, listed) = desk.json(&of(&["list", "--json"]))?;
    assert_eq!((&listed["matched"], &listed["settled_hidden"]), (&json!(BROKEN), &json!(DRIFTED)), "{listed}");
    let out = std::env::temp_dir().join(format!("{}.jsonl", scenario.topic));
    desk.run(&of(&["export", "--all", "--out", &out.to_string_lossy()]))?;
    let exported = std::fs::read_to_string(&out)?;
    std::fs::remove_file(&out)?;
    assert_eq!(exported.lines().count() as u64, DRIFTED + BROKEN);
    assert!(!exported.contains("j-200"), "no bodies unless they are asked for");
    Ok(())
}

fn evidence_is_measured(scenario: &Scenario, desk: &Desk) -> Result<()> {
    let directory = std::env::temp_dir().join(format!("{}-slo", scenario.topic));
    let measuring = desk
        .command(&["slo", "job-lifecycle", "--seconds", "6", "--json", "--out", &directory.to_string_lossy()])?
        .stdout(Stdio::piped())
        .spawn()?;
    // Fed while it listens; when it began to is nobody's to see from here.
    let began = Instant::now();
    for round in 0.. {
        publish(scenario, (0..10).map(|number| event(3000 + round * 10 + number, "")))?;
        if began.elapsed() > seconds(8) {
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    let Output { status, stdout, .. } = tokio::task::block_in_place(|| measuring.wait_with_output())?;
    let measured: Value = serde_json::from_slice(&stdout)?;
    assert_eq!(status.code(), Some(0), "{measured:#}");
    assert_eq!((&measured["version"], &measured["errors"]["missing"]), (&json!(1), &json!(0)), "{measured:#}");
    let count = |path: &str| measured.pointer(path).and_then(Value::as_u64).unwrap_or_default();
    assert!(count("/target/source_to_reader_ms/count") >= 50, "{measured:#}");
    assert!(count("/sources/0/source_to_consumer_ms/count") >= 50, "{measured:#}");
    let files: Vec<_> = std::fs::read_dir(&directory)?.collect::<std::io::Result<_>>()?;
    assert_eq!(serde_json::from_slice::<Value>(&std::fs::read(files[0].path())?)?, measured);
    std::fs::remove_dir_all(&directory)?;
    scenario.say("measured");
    Ok(())
}

fn the_log_tells_who_did_what(desk: &Desk) -> Result<()> {
    let (code, log) = desk.json(&["operations", "job-lifecycle", "--since", "10m", "--json"])?;
    let none = Vec::new();
    let operations = log["operations"].as_array().unwrap_or(&none);
    let is_hers = |operation: &&Value| operation["who"] == desk.who;
    let of = |verb: &str| operations.iter().filter(is_hers).filter(|one| one["verb"] == verb).collect::<Vec<_>>();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!((of("pause").len(), of("resume").len()), (1, 1), "{log:#}");
    let pause = of("pause")[0];
    assert_eq!(
        (&pause["who"], &pause["result"], &pause["arguments"]["partitions"]),
        (&json!(desk.who), &json!("done"), &json!([3]))
    );
    assert!(
        pause["account"].as_str().unwrap().contains('@') && pause["at"].as_str().unwrap().ends_with('Z'),
        "{pause}"
    );
    let redrives = of("dead-letters redrive");
    let ends: Vec<&Value> = redrives.iter().map(|redrive| &redrive["result"]).collect();
    assert_eq!(ends, [&Value::Null, &json!("done")], "the killed one has a beginning only: {log:#}");
    assert!(operations.iter().any(|operation| operation["verb"] == "setup"), "{log:#}");
    Ok(())
}

/// Servers that take connections and say nothing are worse than none.
fn silent_brokers_are_named_in_bounded_time(desk: &Desk) -> Result<()> {
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let address = silent.local_addr()?.to_string();
    let url = |scheme: &str| format!("{scheme}://{address}");
    let mut settings = with(desk.settings.clone(), "BRIDGE__KAFKA__BROKERS", &address);
    for (name, scheme) in
        [("BRIDGE__PULSAR__URL", "pulsar"), ("BRIDGE__PULSAR__ADMIN_URL", "http"), ("BRIDGE__FLEET__URL", "http")]
    {
        settings = with(settings, name, &url(scheme));
    }
    let lost = Desk { settings, token_file: desk.token_file.clone(), who: desk.who.clone() };
    let began = Instant::now();
    let (code, status) = lost.json(&["status", "job-lifecycle", "--json", "--seconds", "1"])?;
    assert!(began.elapsed() < seconds(25), "it took {:?}", began.elapsed());
    let text = status.to_string();
    assert_eq!((code, &status["bridges"][0]["lag_records"]), (Some(1), &Value::Null), "{text}");
    assert!(text.contains("Kafka") && text.contains("Pulsar") && text.contains("no answer"), "{text}");

    let began = Instant::now();
    let (code, _, complaint) = lost.run(&["pause", "job-lifecycle", "--yes"])?;
    assert!(began.elapsed() < seconds(25), "it took {:?}", began.elapsed());
    assert!(
        code == Some(1) && complaint.contains("nothing was changed") && complaint.contains("--unlogged"),
        "{complaint}"
    );
    drop(silent);
    Ok(())
}

//! `bridgectl` in operators' hands: routes, Avro under a contract and under its writers' schemas, several replicas, two operators
//! at once, and servers that are not there. `tests/run` runs these; by
//! hand: `cargo test -p bridge-tests --test operators -- --ignored --test-threads=1 --nocapture NAME`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Stdio};

use bridge_tests::Result;
use bridge_tests::avro_scene::{AvroScene, Published, contract, translated, value};
use bridge_tests::bridge::Setting;
use bridge_tests::faults::PulsarAdmin;
use bridge_tests::generator::{Generator, Settings};
use bridge_tests::operator::{Operator, ended, total, urls};
use bridge_tests::scenario::{PATIENCE, Scenario, seconds, with, within};
use bridge_tests::scene::{Plan, Scene};
use bridge_tests::stack::repository;
use bridge_tests::streams::Stream;
use bridge_tests::wait;
use serde_json::{Value, json};

/// The settings of a bridge that takes orders, and of whoever gives them.
fn with_token(settings: Vec<Setting>, scene: &Scene) -> Result<Vec<Setting>> {
    let token = scene.journal().with_file_name("token");
    std::fs::write(&token, "open sesame")?;
    Ok(with(settings, "BRIDGE__HTTP__TOKEN_FILE", &token.display().to_string()))
}

/// Makes a topic that deduplicates.
async fn deduplicating(admin: &PulsarAdmin, topic: &str) -> Result<()> {
    admin.create_topic(topic, 2).await?;
    admin.deduplicate(topic, true).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn routes_are_compared_and_a_drain_is_carried_out_by_one_replica_of_two() -> Result<()> {
    within(seconds(150), async {
        let plan = Plan { routes_alerts: true, ..Plan::kafka(Stream::Notifications) };
        let scene = Scene::new("routed", plan).await?;
        let (mut operator, stream) = (scene.operator(), Stream::Notifications.bridge());
        let feed = Settings { records: Some(1_500), seed: 93, ..scene.feed(Stream::Notifications) };
        tokio::task::block_in_place(|| Generator::start(feed).wait())?;
        let mut settings = with_token(scene.settings(), &scene)?;
        settings.retain(|(name, _)| name != "BRIDGE__KAFKA__INSTANCE_ID");
        operator.settings.clone_from(&settings);
        let mut one = scene.start_with(&settings)?;
        one.ready(PATIENCE).await?;
        let mut two = scene.start_with(&settings)?;
        two.ready(PATIENCE).await?;
        operator.settings = with(operator.settings, "BRIDGE__FLEET__URL", &urls(&[&one, &two])?);

        wait::until("both to have partitions, and nothing to be left", PATIENCE, async || {
            let (code, status) =
                operator.json(&["status", stream, "--json", "--seconds", "1"]).map_err(|e| e.to_string())?;
            let row = &status["bridges"][0];
            let is_well = row["lag_records"] == 0 && row["replicas"].as_array().map(Vec::len) == Some(2);
            if code == Some(0) && is_well { Ok(()) } else { Err(status.to_string()) }
        })
        .await?;
        let (code, document) = operator.verify(stream, &[])?;
        assert_eq!((code, &document["verdict"]), (Some(0), &json!("parity")), "{document:#}");
        let alerts = scene.admin().messages_in(&scene.alerts).await?;
        assert!(alerts > 10, "the routes were used: {alerts}");
        // The alerts elsewhere: each is in the wrong topic.
        let mut wrong = operator.clone();
        wrong.settings = with(wrong.settings, "BRIDGE__ROUTE__ALERTS__EQUALS", "alert.raised");
        let (code, document) = wrong.verify(stream, &["--named", "2000"])?;
        let resolved = total(&document, "different");
        assert!(code == Some(1) && resolved > 0 && resolved < alerts, "{document:#}");
        assert!(document["findings"].to_string().contains("in another topic than the routes say"), "{document:#}");
        scene
            .say(format!("routes are compared: {resolved} of {alerts} alerts are where other routes do not send them"));

        let ended = operator.run(&["drain", stream])?;
        assert!(ended.code == Some(1) && ended.said.contains("--yes"), "{ended:?}");
        let (code, said) = operator.json(&["drain", stream, "--yes", "--json"])?;
        assert_eq!(
            (code, &said["done"], &said["replicas"].as_array().map(Vec::len)),
            (Some(0), &json!(true), &Some(2)),
            "{said:#}"
        );
        let (_, status) = operator.json(&["status", stream, "--json", "--seconds", "1"])?;
        assert_eq!(status["bridges"][0]["partitions"], json!({}), "nobody reads: {status:#}");
        // One of them is dead: the order reaches the other, and says so.
        assert_eq!(one.terminate(seconds(30)).await?.code(), Some(0));
        let (code, said) = operator.json(&["drain", stream, "--yes", "--json", "--wait", "5"])?;
        assert!(
            code == Some(1) && said["done"] == false && said["error"].as_str().unwrap().contains("1 of 2"),
            "{said:#}"
        );
        assert_eq!(two.terminate(seconds(30)).await?.code(), Some(0));
        // Without fleet.url it is the address that the bridge listens on; nobody is there.
        operator.settings.retain(|(name, _)| name != "BRIDGE__FLEET__URL");
        let free = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        operator.settings = with(operator.settings, "BRIDGE__HTTP__LISTEN", &free.to_string());
        let ended = operator.run(&["pause", stream, "--yes", "--wait", "0"])?;
        assert!(ended.code == Some(1) && ended.said.contains("fleet.url is not set"), "{ended:?}");
        scene.say("drained, by both and by one");

        let (code, slo) = operator.json(&["slo", stream, "--since", "10m", "--json", "--out", "target/slo-test"])?;
        assert_eq!((code, &slo["mode"]), (Some(0), &json!("range")), "{slo:#}");
        assert!(
            slo.pointer("/target/source_to_publish_ms/count").and_then(Value::as_u64).unwrap_or_default() > 1_000,
            "{slo:#}"
        );
        Ok(())
    })
    .await
}

/// What is left of the source partition when its checkpoint is moved on: so many records that no bridge will mirror.
fn skip(operator: &Operator, skipped: u64) -> Result<()> {
    let (_, shown) = operator.json(&["checkpoint", "job-lifecycle", "show", "--json"])?;
    let row = shown["partitions"].as_array().unwrap().iter().find(|row| row["partition"] == 0).unwrap().clone();
    let position = (row["position"].as_u64().unwrap() + skipped).to_string();
    let skipped = skipped.to_string();
    let set = [
        "checkpoint",
        "job-lifecycle",
        "set",
        "--partition",
        "0",
        "--position",
        &position,
        "--yes",
        "--skip",
        &skipped,
    ];
    let ended = operator.run(&set)?;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn avro_is_compared_replayed_and_redriven_under_the_contract() -> Result<()> {
    within(seconds(200), async {
        let sections = "[contract]\nfile = \"contract.avsc\"\n[dead_letters]\nmax_ratio = 1.0\n\
                        [setup]\npartitions = 2\nschema_compatibility = \"BACKWARD\"\n";
        let mut demanding = contract();
        // What the first writer does not say.
        demanding["fields"][3] = json!({"name": "note", "type": "string"});
        let mut scene = AvroScene::new_under("avro-evidence", sections, &demanding).await?;
        let operator = Operator::new(&scene.directory, scene.settings());
        tokio::task::block_in_place(|| scene.publish(vec![Published::Version(1); 40]))?;
        let bridge = scene.bridge(&[])?;
        scene.stopped(bridge).await?;
        let (code, document) = operator.verify("job-lifecycle", &[])?;
        assert_eq!(
            (code, total(&document, "dead_letters"), total(&document, "translatable")),
            (Some(0), 40, 0),
            "{document:#}"
        );

        std::fs::write(scene.directory.join("contract.avsc"), contract().to_string())?;
        let ended = operator.run(&["setup", "job-lifecycle"])?;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let (_, document) = operator.verify("job-lifecycle", &[])?;
        assert_eq!(total(&document, "translatable"), 40, "{document:#}");
        let (code, said) = operator.json(&["dead-letters", "job-lifecycle", "redrive", "--yes", "--json"])?;
        assert_eq!((code, &said["redriven"]), (Some(0), &json!(40)), "{said:#}");
        let (code, document) = operator.verify("job-lifecycle", &[])?;
        assert_eq!((code, total(&document, "redriven")), (Some(0), 40), "{document:#}");
        scene.say("what the contract of then refused is redriven under the one of now, and found");

        // Some first: what lies before all that a lane has in the target may be gone by retention, and is left out.
        tokio::task::block_in_place(|| scene.publish(vec![Published::Version(3); 20]))?;
        let bridge = scene.bridge(&[])?;
        scene.stopped(bridge).await?;
        tokio::task::block_in_place(|| scene.publish(vec![Published::Version(3); 40]))?;
        skip(&operator, 5)?;
        let bridge = scene.bridge(&[])?;
        scene.stopped(bridge).await?;
        let missing = ["replay", "job-lifecycle", "--missing", "--since-start", "--json"];
        let (code, said) = operator.json(&[&missing[..], &["--dry-run"]].concat())?;
        assert_eq!((code, &said["missing"]), (Some(4), &json!(5)), "{said:#}");
        let (code, said) = operator.json(&[&missing[..], &["--yes"]].concat())?;
        assert_eq!((code, &said["published"]), (Some(0), &json!(5)), "{said:#}");
        let (code, document) = operator.verify("job-lifecycle", &[])?;
        assert_eq!((code, total(&document, "replayed")), (Some(0), 5), "{document:#}");
        let messages = tokio::task::block_in_place(|| scene.read(&scene.target, "newest", 100))?;
        for message in &messages {
            let n: usize = message["key"].as_str().unwrap().trim_start_matches("key-").parse()?;
            assert_eq!(message["value"], translated(if n < 40 { 1 } else { 3 }, n), "{message}");
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn what_keeps_its_writer_s_schema_keeps_it_when_it_is_replayed() -> Result<()> {
    within(seconds(200), async {
        let sections = "[contract]\nmode = \"mirror\"\n[setup]\npartitions = 2\nschema_compatibility = \"BACKWARD\"\n";
        let mut scene = AvroScene::new("mirror-evidence", sections).await?;
        let operator = Operator::new(&scene.directory, scene.settings());
        let mixed = |count: usize| (0..count).map(|n| Published::Version(1 + n as u32 % 2)).collect::<Vec<_>>();
        tokio::task::block_in_place(|| scene.publish(mixed(40)))?;
        let bridge = scene.bridge(&[])?;
        scene.stopped(bridge).await?;
        tokio::task::block_in_place(|| scene.publish(mixed(60)))?;
        skip(&operator, 9)?;
        let bridge = scene.bridge(&[])?;
        scene.stopped(bridge).await?;
        let (code, document) = operator.verify("job-lifecycle", &[])?;
        assert_eq!((code, total(&document, "missing")), (Some(1), 9), "{document:#}");
        let (code, said) =
            operator.json(&["replay", "job-lifecycle", "--missing", "--since-start", "--yes", "--json"])?;
        assert_eq!((code, &said["published"]), (Some(0), &json!(9)), "{said:#}");
        let (code, document) = operator.verify("job-lifecycle", &[])?;
        assert_eq!((code, total(&document, "replayed")), (Some(0), 9), "{document:#}");

        let elsewhere = format!("{}-once-more", scene.target);
        let admin = PulsarAdmin::at(scene.stack.pulsar_admin());
        deduplicating(&admin, &elsewhere).await?;
        let replay = ["replay", "job-lifecycle", "--to", &elsewhere, "--since-start", "--yes", "--json"];
        let (code, said) = operator.json(&replay)?;
        assert_eq!((code, &said["published"]), (Some(0), &json!(100)), "{said:#}");
        for topic in [&scene.target, &elsewhere] {
            let messages = tokio::task::block_in_place(|| scene.read(topic, "version", 100))?;
            assert_eq!(messages.len(), 100, "{topic}");
            for message in &messages {
                let n: usize = message["key"].as_str().unwrap().trim_start_matches("key-").parse()?;
                let Published::Version(version) = scene.published[n] else { panic!("{n}") };
                assert_eq!(message["value"], value(version, n), "{topic}: {message}");
            }
        }
        scene.say("replayed into the target and elsewhere, each under its writer's schema");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn two_operators_at_once_and_dead_servers_are_told_so() -> Result<()> {
    within(seconds(150), async {
        let scenario = Scenario::new("operators").await?;
        scenario.fed(3_000, 7)?;
        let mut operator = Operator::new(&repository().join("config"), scenario.settings());
        operator.settings = with(operator.settings, "BRIDGE__SOURCE__KAFKA__START", "latest");
        let verify_latest = operator.verify("job-lifecycle", &[])?;
        assert_eq!((verify_latest.0, total(&verify_latest.1, "missing")), (Some(1), 3_000), "{:#}", verify_latest.1);
        // Nothing was begun: a bridge that would start at the end has not said so by anything in the target.
        let bridge = scenario.bridge().await?;
        scenario.settled(vec![bridge]).await?;
        operator.settings.retain(|(name, _)| name != "BRIDGE__SOURCE__KAFKA__START");

        let topic = format!("persistent://{}/elsewhere", scenario.namespace);
        let admin = scenario.admin();
        deduplicating(&admin, &topic).await?;
        let replay = [
            "replay",
            "job-lifecycle",
            "--to",
            &topic,
            "--since-start",
            "--yes",
            "--id",
            "same",
            "--rate",
            "20",
            "--json",
        ];
        let first = operator.begin(&replay)?;
        let before = admin.messages_in(&topic).await?;
        wait::until("the first replay to publish", PATIENCE, async || match admin.messages_in(&topic).await {
            Ok(now) if now > before => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await?;
        let (code, said) = operator.json(&replay)?;
        let problem = said["error"].as_str().unwrap_or_default();
        assert!(code == Some(1) && problem.contains("another replay is at it"), "{said:#}");
        let mut first = first;
        // Not SIGINT: what a shell begins in the background, as tests/run does, ignores that one.
        let killed = Command::new("kill").args(["-TERM", &first.id().to_string()]).status()?;
        assert!(killed.success());
        let status = tokio::task::block_in_place(|| first.wait())?;
        assert!(!status.success(), "it was interrupted: {status}");
        let fast = [&replay[..7], &["same", "--rate", "0", "--json"]].concat();
        let (code, said) = operator.json(&fast)?;
        assert_eq!(code, Some(0), "what was interrupted goes on: {said:#}");
        assert!(said["were_there"].as_u64().unwrap() > 0, "{said:#}");
        scenario.say("two replays of one name: one waits, and says who is in the way");

        // A closed pipe does not hide what was found.
        let mut child =
            operator.command(&["verify", "job-lifecycle", "--since-start"])?.stdout(Stdio::piped()).spawn()?;
        drop(child.stdout.take());
        assert_eq!(tokio::task::block_in_place(|| child.wait())?.code(), Some(0));
        let mut nobody = operator.clone();
        nobody.settings = with(nobody.settings, "BRIDGE__PULSAR__URL", "pulsar://127.0.0.1:1");
        for arguments in [
            &["verify", "job-lifecycle", "--json"][..],
            &["replay", "job-lifecycle", "--missing", "--yes", "--json"],
            &["dead-letters", "job-lifecycle", "list", "--json"],
            &["checkpoint", "job-lifecycle", "show", "--json"],
        ] {
            let (code, said) = nobody.json(arguments)?;
            assert!(
                code == Some(1) && said["error"].as_str().unwrap().contains("127.0.0.1:1"),
                "{arguments:?}: {said:#}"
            );
        }
        let ended = ended(operator.command(&["verify", "job-lifecycel", "--json"])?.output()?)?;
        let said: Value = serde_json::from_str(&ended.text)?;
        assert!(ended.code == Some(2) && said["error"].as_str().unwrap().contains("Did you mean"), "{said:#}");
        Ok(())
    })
    .await
}

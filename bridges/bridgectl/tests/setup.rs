//! `bridgectl setup` as an operator runs it, against a real Pulsar.
#![allow(clippy::unwrap_used, reason = "these are tests, helpers too")]

use std::path::PathBuf;
use std::process::{Command, Output};
use std::{env, fs};

/// A configuration directory of one test, with a namespace of its own in Pulsar, removed with it.
struct Fleet {
    dir: PathBuf,
    namespace: String,
}

impl Fleet {
    fn new(name: &str, partitions: u32) -> Self {
        let namespace = format!("public/setup-{name}-{}", std::process::id());
        let dir = env::temp_dir().join(format!("bridgectl-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("default.toml"), "").unwrap();
        fs::write(
            dir.join("contract.avsc"),
            r#"{"type": "record", "name": "Event", "fields": [{"name": "id", "type": "string"}]}"#,
        )
        .unwrap();
        let fleet = Self { dir, namespace };
        fleet.write(partitions, "30");
        fleet
    }

    fn write(&self, partitions: u32, retention_days: &str) {
        let text = format!(
            r#"
            [stream]
            name = "demo"
            [source.kafka]
            kind = "kafka"
            topic = "demo"
            [contract]
            file = "contract.avsc"
            [target]
            topic = "persistent://{}/out"
            [setup]
            partitions = {partitions}
            retention_days = {retention_days}
            "#,
            self.namespace
        );
        fs::write(self.dir.join("demo.toml"), text).unwrap();
    }

    fn setup(&self, more: &[&str]) -> Output {
        let variable = |name: &str| env::var(name).unwrap_or_else(|_| panic!("{name} names a running Pulsar"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_bridgectl"));
        command.args(["setup", "--all", "--config"]).arg(&self.dir).args(more);
        command.env("BRIDGE__PULSAR__ADMIN_URL", variable("PULSAR_ADMIN_URL"));
        command.env("BRIDGE__PULSAR__URL", variable("PULSAR_URL")).output().unwrap()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn shown(output: &Output) -> (Option<i32>, String) {
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code(), text)
}

#[test]
#[ignore = "needs a Pulsar: tests/run starts one"]
fn setup_does_what_it_showed_once_and_leaves_what_is_not_its_own() {
    let fleet = Fleet::new("all", 3);
    let (code, planned) = shown(&fleet.setup(&["--dry-run"]));
    assert_eq!(code, Some(0), "{planned}");
    assert!(planned.contains("/out, 3 partitions\n"), "{planned}");
    let (_, again) = shown(&fleet.setup(&["--dry-run"]));
    assert_eq!(planned, again, "a dry run changes nothing");

    let (code, done) = shown(&fleet.setup(&[]));
    assert_eq!(code, Some(0), "{done}");
    let body = |text: &str| text.lines().filter(|line| line.starts_with("  ")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(body(&planned), body(&done), "it does exactly what it showed");

    let url = format!("{}/admin/v2/namespaces/{}/retention", env::var("PULSAR_ADMIN_URL").unwrap(), fleet.namespace);
    let kept = Command::new("curl").args(["-sf", "--noproxy", "*", &url]).output().unwrap().stdout;
    let kept = String::from_utf8(kept).unwrap();
    assert!(kept.contains("129600") && kept.contains("-1"), "the namespace keeps 90 days: {kept}");

    let (code, second) = shown(&fleet.setup(&[]));
    assert_eq!(
        (code, second.as_str()),
        (Some(0), "demo\n  = as it should be\nCreated 0, changed 0; 0 for you to settle.\n")
    );

    fleet.write(5, "10");
    let (code, finding) = shown(&fleet.setup(&[]));
    assert_eq!(code, Some(1), "{finding}");
    assert!(finding.contains("has 3 partitions, where the configuration wants one that has 5 partitions"), "{finding}");
    assert!(finding.contains("changed 0;"), "a shorter retention is not set: {finding}");

    fleet.write(3, "30");
    fs::write(
        fleet.dir.join("contract.avsc"),
        r#"{"type": "record", "name": "Event", "fields": [{"name": "id", "type": "int"}]}"#,
    )
    .unwrap();
    let (code, refused) = shown(&fleet.setup(&[]));
    assert_eq!(code, Some(1), "{refused}");
    assert!(refused.contains("schema compatibility check with strategy BACKWARD_TRANSITIVE"), "{refused}");
    assert!(!refused.contains("<html>"), "{refused}");
}

/// The bridge writes under the contract without what only bridges read: that must be the schema that setup has set. And after
/// a newer contract, an earlier one is in effect as it is: the broker makes no version of it again.
#[test]
#[ignore = "needs a Pulsar: tests/run starts one"]
fn setup_is_content_with_a_contract_among_the_versions_and_with_other_words() {
    let fleet = Fleet::new("versions", 2);
    let contract = |doc: &str, more: &str| {
        let id = format!(r#"{{"name": "id", "type": "string", "derive": "coordinates", "doc": "{doc}"}}"#);
        let text = format!(r#"{{"type": "record", "name": "Event", "fields": [{id}{more}]}}"#);
        fs::write(fleet.dir.join("contract.avsc"), text).unwrap();
    };
    let in_effect = "demo\n  = as it should be\nCreated 0, changed 0; 0 for you to settle.\n";
    let newer = r#", {"name": "more", "type": ["null", "string"], "default": null, "json": true}"#;
    contract("The first.", "");
    assert_eq!(shown(&fleet.setup(&[])).0, Some(0));
    contract("The same in other words.", "");
    assert_eq!(shown(&fleet.setup(&[])), (Some(0), in_effect.to_owned()));
    contract("The second.", newer);
    let (code, text) = shown(&fleet.setup(&[]));
    assert!(code == Some(0) && text.contains("a new version of the schema"), "{text}");
    contract("The first.", "");
    assert_eq!(shown(&fleet.setup(&[])), (Some(0), in_effect.to_owned()));
    contract("The second.", newer);
    assert_eq!(shown(&fleet.setup(&[])), (Some(0), in_effect.to_owned()));

    let url = format!("{}/admin/v2/schemas/{}/out/schemas", env::var("PULSAR_ADMIN_URL").unwrap(), fleet.namespace);
    let versions = Command::new("curl").args(["-sf", "--noproxy", "*", &url]).output().unwrap().stdout;
    let versions = String::from_utf8(versions).unwrap();
    assert_eq!(versions.matches(r#""version":"#).count(), 2, "{versions}");
    assert!(!versions.contains("coordinates") && versions.contains("The first."), "{versions}");
}

#[test]
fn wrong_settings_end_with_2_and_no_server_ends_with_1() {
    let bridgectl = |config: &str, variable: (&str, &str)| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bridgectl"));
        shown(&command.args(["setup", "demo", "--config", config]).env(variable.0, variable.1).output().unwrap())
    };
    let (code, text) = bridgectl("/nonexistent", ("X", ""));
    assert!(code == Some(2) && text.contains("/nonexistent/default.toml"), "{text}");
    let (code, text) = shown(&Command::new(env!("CARGO_BIN_EXE_bridgectl")).arg("setup").output().unwrap());
    assert!(code == Some(2) && text.contains("STREAM"), "{text}");
}

use std::fs;
use std::path::{Path, PathBuf};

use super::*;

mod errors;
mod rabbitmq;

/// A configuration directory of one test, removed with it.
struct Dir(PathBuf);

impl Dir {
    fn new(default: &str, stream: &str) -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("bridge-config-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = Self(std::env::temp_dir().join(name));
        fs::create_dir_all(&dir.0).unwrap();
        fs::write(dir.0.join("default.toml"), default).unwrap();
        fs::write(dir.0.join("demo.toml"), stream).unwrap();
        dir
    }

    fn load(&self, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        load(&self.0, "demo", variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    /// The message of the error, with the directory's own path left out.
    fn error(&self, variables: &[(&str, &str)]) -> String {
        self.load(variables).unwrap_err().to_string().replace(&format!("{}/", self.0.display()), "")
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const DEMO: &str = r#"
[stream]
name = "demo"
[source.kafka]
kind = "kafka"
topic = "demo"
[target]
topic = "persistent://public/default/demo"
"#;

fn demo_with(more: &str) -> Dir {
    Dir::new("", &format!("{DEMO}\n{more}"))
}

fn only_source(config: &Config) -> &KafkaSource {
    let Some(Source::Kafka(source)) = config.source.values().next() else { panic!("its source is Kafka") };
    source
}

#[test]
fn namespaces_keep_for_ever_what_a_topic_keeps_for_ever_or_are_left_alone() {
    let days = |setup: &str| demo_with(&format!("[setup]\n{setup}")).load(&[]).unwrap().namespace_retention_days();
    assert_eq!(days("retention_days = -1"), Some(-1));
    assert_eq!(days("dead_letters_retention_days = -1"), Some(-1));
    assert_eq!(days("namespace_retention = false"), None);
}

#[test]
fn the_smallest_configuration_has_sane_defaults() {
    let config = demo_with("").load(&[]).unwrap();
    assert_eq!(config.kafka.brokers, "127.0.0.1:9092");
    assert_eq!(only_source(&config).start, Start::Earliest);
    assert_eq!(config.target.guarantee, Guarantee::ExactlyOnce);
    assert_eq!(config.dead_letter_topic().to_string(), "persistent://public/default/demo-dead-letters");
    assert_eq!(config.checkpoint_topic().to_string(), "persistent://public/default/bridge-checkpoints");
    assert_eq!(config.group_of(only_source(&config)), "bridge-demo");
    assert_eq!(config.namespace_retention_days(), Some(90), "as long as the dead letters");
}

#[test]
fn the_hash_of_keys_is_the_java_client_s_and_belongs_to_partition_by_key() {
    use crate::lane::{KeyHash, PartitionBy};
    let of = |variables: &[_]| demo_with("").load(variables).map(|config| config.target.partition_by());
    let (by, hash) = (("BRIDGE__TARGET__PARTITION_BY", "key"), ("BRIDGE__TARGET__KEY_HASH", "murmur3"));
    assert_eq!(of(&[]).unwrap(), PartitionBy::Source);
    assert_eq!(of(&[by]).unwrap(), PartitionBy::Key { key_hash: KeyHash::JavaString });
    assert_eq!(of(&[by, hash]).unwrap(), PartitionBy::Key { key_hash: KeyHash::Murmur3 });
    assert!(of(&[hash]).unwrap_err().to_string().contains("target.key_hash"));
}

#[test]
fn the_shipped_configuration_is_valid() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config");
    let streams = streams_in(&dir).unwrap();
    assert!(streams.contains(&"job-lifecycle".to_owned()), "{streams:?}");
    for stream in streams {
        load(&dir, &stream, []).unwrap_or_else(|error| panic!("{stream}: {error}"));
    }
}

#[test]
fn the_environment_wins_over_the_stream_and_the_stream_over_the_default() {
    let dir = Dir::new(
        "[limits]\nmemory_mib = 64\nin_flight = 8\nbatch_kib = 100",
        &format!("{DEMO}[limits]\nin_flight = 4"),
    );
    let config = dir
        .load(&[
            ("BRIDGE__KAFKA__BROKERS", "k1:9092,k2:9093"),
            ("BRIDGE__KAFKA__GROUP_PREFIX", "astro."),
            ("BRIDGE__SETUP__RETENTION_DAYS", "100"),
            ("BRIDGE__LIMITS__BATCH_KIB", "256"),
            ("BRIDGE__STREAM__PAUSED", "true"),
            ("BRIDGE__SOURCE__KAFKA__GENERATION", "7"),
            ("BRIDGE__SOURCE__KAFKA__START", "2026-01-31T12:00:00Z"),
            ("BRIDGE__SETUP__NAMESPACES", "a/b, c/d"),
            ("BRIDGE__PULSAR__AUTH__KIND", "token"),
            ("BRIDGE__PULSAR__AUTH__TOKEN", "007"),
            ("BRIDGE_HOME", "not a setting"),
        ])
        .unwrap();
    assert_eq!((config.limits.memory_mib, config.limits.in_flight, config.limits.batch_kib), (64, 4, 256));
    assert_eq!(config.kafka.brokers, "k1:9092,k2:9093");
    assert!(config.stream.paused);
    assert_eq!(only_source(&config).generation, 7);
    assert_eq!(config.group_of(only_source(&config)), "astro.demo-g7");
    assert_eq!(config.namespace_retention_days(), Some(100), "as long as the target");
    assert_eq!(only_source(&config).start, Start::Time(1_769_860_800_000));
    assert_eq!(config.setup.namespaces, ["a/b", "c/d"]);
    assert_eq!(config.pulsar.auth.token.as_ref().unwrap().expose(), "007", "a secret is never read as a number");
}

/// All Kafka sources of a bridge are members of one group, which lets one member live under a name.
#[test]
fn every_source_is_a_static_member_of_its_own() {
    let config =
        demo_with("[source.second]\nkind = \"kafka\"\ntopic = \"other\"\n[kafka]\ninstance_id = \"pod-0\"").load(&[]);
    let config = config.unwrap();
    let members: Vec<_> = config.source.keys().map(|name| config.member_of(name).unwrap()).collect();
    assert_eq!(members, ["pod-0.kafka", "pod-0.second"]);
    assert_eq!(demo_with("").load(&[]).unwrap().member_of("kafka"), None);
}

#[test]
fn a_static_member_has_a_name_that_kafka_takes() {
    let with = |bytes: usize| {
        let (instance, source) = ("p".repeat(200), "s".repeat(bytes));
        let text =
            format!("[source.{source}]\nkind = \"kafka\"\ntopic = \"other\"\n[kafka]\ninstance_id = \"{instance}\"");
        demo_with(&text).load(&[]).map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(with(48), Ok(()));
    assert!(with(49).is_err_and(|error| error.contains("249 bytes at most, not 250")));
}

#[test]
fn starts_may_be_offsets() {
    let dir = Dir::new("", &DEMO.replace("topic = \"demo\"", "topic = \"demo\"\nstart = { 0 = 5, 12 = 900 }"));
    let config = dir.load(&[]).unwrap();
    assert_eq!(only_source(&config).start, Start::Offsets([(0, 5), (12, 900)].into()));
}

#[test]
fn secrets_are_redacted_and_files_are_read_late() {
    let dir = demo_with("[kafka.sasl]\nmechanism = \"SCRAM-SHA-512\"\nusername = \"me\"\npassword_file = \"secret\"");
    let config = dir.load(&[]).unwrap();
    let sasl = &config.kafka.sasl;
    let read = || read_secret(sasl.password.as_ref(), sasl.password_file.as_deref());
    assert!(read().unwrap_err().to_string().contains("secret: the file cannot be used"));
    fs::write(dir.0.join("secret"), "first\n").unwrap();
    assert_eq!(read().unwrap(), Some(Secret::new("first")));
    let shown = format!("{:?}", dir.load(&[("BRIDGE__REGISTRY__PASSWORD", "hunter2")]).unwrap());
    assert!(shown.contains("<redacted>") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_missing_file_or_key_is_named() {
    let missing = load(Path::new("/nonexistent"), "demo", []).unwrap_err().to_string();
    assert!(missing.starts_with("/nonexistent/default.toml: cannot be read: No such file"), "{missing}");
    let no_target = Dir::new("", "[stream]\nname = \"demo\"\n[source.kafka]\nkind = \"kafka\"\ntopic = \"demo\"");
    assert_eq!(no_target.error(&[]), "target is not set: write it in demo.toml, or set BRIDGE__TARGET");
    let other = load(&demo_with("").0, "other", []).unwrap_err().to_string();
    assert!(other.contains("other.toml: cannot be read"), "{other}");
}

#[test]
fn fields_of_json_are_not_looked_for_where_there_is_none() {
    let bytes = DEMO.replace("topic = \"demo\"", "topic = \"demo\"\nformat = \"bytes\"");
    let error = |more: &str| Dir::new("", &format!("{bytes}\n{more}")).error(&[]);
    assert!(error("[dedupe]\nkey = \"event_id\"").contains("values of source.kafka are not JSON"));
    let route = "[route.a]\nfield = \"x\"\nequals = \"y\"\ntopic = \"persistent://public/default/other\"";
    assert!(error(route).contains("values of source.kafka are not JSON"));
    assert!(Dir::new("", &format!("{bytes}\n[dedupe]\nkey = \"header:id\"")).load(&[]).is_ok());
    assert!(demo_with("[dedupe]\nkey = \"a..b\"").error(&[]).contains("dedupe.key"));
    assert!(demo_with(route).load(&[]).is_ok());
}

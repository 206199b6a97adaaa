//! A contract changes only in ways that its readers survive, and never unseen: every version that was ever used stands in
//! `bridges/<stream>/history/<number>.avsc`, and the newest of them is the contract.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::{Path, PathBuf};

use apache_avro::Schema;
use apache_avro::schema_compatibility::SchemaCompatibility;
use bridge_core::translate::{Contract, JsonPlan, OnUnknownField};

/// The schemas of a stream from the first version to the newest, checked to be numbered without holes.
fn history(folder: &Path) -> Vec<(PathBuf, String)> {
    let count = fs::read_dir(folder.join("history")).map_or(0, Iterator::count);
    assert!(count > 0, "{0}: has no history: copy contract.avsc to {0}/history/1.avsc", folder.display());
    let read = |number| {
        let file = folder.join(format!("history/{number}.avsc"));
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        (file, text)
    };
    (1..=count).map(read).collect()
}

/// What is wrong with going from the schema `old` to `new`: readers of the new one read all that is retained (which is what
/// the broker demands, as BACKWARD_TRANSITIVE), and consumers that still have the old one read what is written from now on.
fn incompatible(old: &str, new: &str) -> Option<String> {
    let schema = |text| Schema::parse_str(Contract::parse(text).unwrap().schema_json()).unwrap();
    let (old, new) = (schema(old), schema(new));
    let backward = SchemaCompatibility::can_read(&old, &new).map_err(|error| format!("backward: {error}"));
    let forward = SchemaCompatibility::can_read(&new, &old).map_err(|error| format!("forward: {error}"));
    backward.and(forward).err()
}

#[test]
fn every_contract_goes_with_all_its_earlier_versions() {
    let bridges = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bridges");
    for folder in fs::read_dir(bridges).unwrap().map(|entry| entry.unwrap().path()) {
        let Ok(contract) = fs::read_to_string(folder.join("contract.avsc")) else { continue };
        let versions = history(&folder);
        let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        let newest = &versions.last().unwrap().1;
        assert_eq!(
            json(newest),
            json(&contract),
            "{0}/contract.avsc has changed: copy it to {0}/history/{1}.avsc",
            folder.display(),
            versions.len() + 1
        );
        for (number, (file, new)) in versions.iter().enumerate() {
            JsonPlan::compile(&Contract::parse(new).unwrap(), OnUnknownField::Count).unwrap();
            for (old_file, old) in &versions[..number] {
                let problem = incompatible(old, new);
                assert_eq!(problem, None, "from {} to {}", old_file.display(), file.display());
            }
        }
    }
}

#[test]
fn what_would_break_readers_is_found() {
    let record = |fields: &str| format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#);
    let a = r#"{"name":"a","type":"string"}"#;
    let old = record(a);
    let with = |more: &str| record(&format!("{a},{more}"));
    let fine = [
        with(r#"{"name":"b","type":["null","string"],"default":null,"path":["a","b"]}"#),
        with(r#"{"name":"b","type":"int","default":1}"#),
        record(r#"{"name":"a","type":"string","derive":"coordinates","doc":"other words"}"#),
    ];
    for new in fine {
        assert_eq!(incompatible(&old, &new), None, "{new}");
    }
    let breaking = [
        with(r#"{"name":"b","type":"string"}"#),
        record(r#"{"name":"a","type":"int"}"#),
        record(r#"{"name":"a","type":["null","string"],"default":null}"#),
        record(r#"{"name":"b","type":"string"}"#),
        record(""),
        old.replacen("\"R\"", "\"Q\"", 1),
    ];
    for new in breaking {
        assert!(incompatible(&old, &new).is_some(), "{new}");
    }
}

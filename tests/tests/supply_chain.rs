//! What comes in from outside is what `.cargo/deny.toml` says: licences, sources, and crates that are there twice. `cargo deny check`
//! says the same where it is installed, and more; this needs nothing but Cargo.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use bridge_tests::licence;
use bridge_tests::stack::repository;
use serde_json::Value;

/// A file of TOML, read as the bridges read theirs.
fn toml(file: &str) -> Value {
    let text = std::fs::read_to_string(repository().join(file)).unwrap();
    let source = config::File::from_str(&text, config::FileFormat::Toml);
    config::Config::builder().add_source(source).build().unwrap().try_deserialize().unwrap()
}

/// All packages that are built for this machine's kind of system.
fn packages() -> Vec<Value> {
    let host = output("rustc", &["-vV"]);
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let arguments = ["metadata", "--format-version", "1", "--locked", "--filter-platform", host];
    let metadata: Value = serde_json::from_str(&output(env!("CARGO"), &arguments)).unwrap();
    // What the resolver has chosen: the list of packages has those that no feature wants, too.
    let chosen: BTreeSet<&str> =
        metadata["resolve"]["nodes"].as_array().unwrap().iter().map(|node| node["id"].as_str().unwrap()).collect();
    let all = metadata["packages"].as_array().unwrap().iter();
    all.filter(|package| chosen.contains(package["id"].as_str().unwrap())).cloned().collect()
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(repository()).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

fn text<'v>(package: &'v Value, member: &str) -> &'v str {
    package[member].as_str().unwrap_or_default()
}

#[test]
fn licences_sources_and_duplicates_are_those_that_are_allowed() {
    let deny = toml(".cargo/deny.toml");
    let allowed = texts(&deny["licenses"]["allow"]);
    let packages = packages();
    assert!(packages.len() > 200, "only {} packages were looked at", packages.len());
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in &packages {
        let (name, version, licence) = (text(package, "name"), text(package, "version"), text(package, "license"));
        versions.entry(name).or_default().push(version);
        let verdict = licence::is_allowed(licence, &allowed);
        assert_eq!(verdict, Ok(true), "{name} {version}: the licence `{licence}` is not allowed by .cargo/deny.toml");
        let source = package["source"].as_str();
        // A registry, and no repository of somebody's.
        let is_known = source.is_none_or(|source| source.starts_with("registry+"));
        assert!(is_known, "{name} {version} comes from {source:?}");
    }
    let excused: Vec<(&str, &str)> = deny["bans"]["skip"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (entry["crate"].as_str().unwrap(), entry["reason"].as_str().unwrap()))
        .collect();
    let mut needed = BTreeSet::new();
    for (name, mut versions) in versions.into_iter().filter(|(_, versions)| versions.len() > 1) {
        let mut is_excused = |version: &str| {
            let entry = excused.iter().find(|(of, _)| {
                of.split_once('@').is_some_and(|(of, older)| {
                    of == name && (version == older || version.starts_with(&format!("{older}.")))
                })
            });
            entry.map(|(of, _)| needed.insert(*of)).is_some()
        };
        versions.retain(|version| !is_excused(version));
        assert!(versions.len() <= 1, "{name} is there as {versions:?}: use one, or give a reason in .cargo/deny.toml");
    }
    let outdated: Vec<_> = excused.iter().filter(|(of, reason)| !needed.contains(of) || reason.is_empty()).collect();
    assert!(outdated.is_empty(), "excused in .cargo/deny.toml, and no longer there: {outdated:?}");
}

#[test]
fn the_two_tools_have_the_same_exceptions() {
    let (audit, deny) = (toml(".cargo/audit.toml"), toml(".cargo/deny.toml"));
    let audited: BTreeSet<&str> = texts(&audit["advisories"]["ignore"]).into_iter().collect();
    let denied = deny["advisories"]["ignore"].as_array().unwrap();
    assert!(denied.iter().all(|entry| entry["reason"].as_str().is_some_and(|reason| !reason.is_empty())));
    let denied: BTreeSet<&str> = denied.iter().map(|entry| entry["id"].as_str().unwrap()).collect();
    assert_eq!(audited, denied);
}

#[test]
fn releases_are_built_by_the_pinned_toolchain_from_the_locked_versions() {
    let workspace = toml("Cargo.toml");
    let pinned = workspace["workspace"]["metadata"]["toolchain"]["rust"].as_str().unwrap();
    let oldest = workspace["workspace"]["package"]["rust-version"].as_str().unwrap();
    let rustc = output("rustc", &["--version"]);
    let here = rustc.split_whitespace().nth(1).unwrap();
    let number = |version: &str| version.split('.').map(|part| part.parse().unwrap_or(0)).collect::<Vec<u32>>();
    assert!(number(here) >= number(oldest), "{here} is older than rust-version, {oldest}");
    if here != pinned {
        println!("this is Rust {here}; releases are built with {pinned}");
        assert!(std::env::var_os("CI").is_none(), "continuous integration builds with {pinned}, not with {here}");
    }
    let mut looked_at = 0;
    for path in files(&repository().join("deploy")).into_iter().chain([repository().join("README.md")]) {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        looked_at += 1;
        for line in text.lines().filter(|line| line.contains("cargo build") && line.contains("--release")) {
            let each = line.split("cargo build").skip(1).all(|command| command.contains("--locked"));
            assert!(each, "{}: a release takes what Cargo.lock says (--locked): {line}", path.display());
        }
        if path.file_name().is_some_and(|name| name.to_string_lossy().contains("Dockerfile")) {
            for named in text.split("rust:").skip(1) {
                let named: String = named.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
                let is_pinned = named.is_empty() || pinned.starts_with(named.trim_end_matches('.'));
                assert!(is_pinned, "{}: rust:{named} is not the pinned {pinned}", path.display());
            }
        }
    }
    assert!(looked_at > 10, "only {looked_at} files were looked at");
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn the_newest_entry_of_the_changelog_is_the_version_that_is_built() {
    let changelog = std::fs::read_to_string(repository().join("deploy/CHANGELOG.md")).unwrap();
    let newest = changelog.lines().find_map(|line| line.strip_prefix("## ")).unwrap();
    let version = toml("Cargo.toml")["workspace"]["package"]["version"].as_str().unwrap().to_owned();
    assert_eq!(newest.split_whitespace().next(), Some(version.as_str()));
}

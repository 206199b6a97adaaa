//! What was measured, as it is kept: one file of JSON for each scenario.

use std::path::Path;
use std::process::Command;

use bridge_tests::Result;
use serde::{Deserialize, Serialize};

use crate::contenders::Contender;
use crate::figures::Row;
use crate::scenarios::{Bench, Outcome};

/// One scenario's results.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Results {
    /// The scenario.
    pub(crate) scenario: String,
    /// What it is.
    pub(crate) title: String,
    /// With which records.
    pub(crate) about: String,
    /// `Smoke`, `Quick`, `Normal` or `Full`.
    pub(crate) scale: String,
    /// The commit that was measured; `+` where files had changed since.
    pub(crate) commit: String,
    /// Whether Pulsar synced its journal.
    pub(crate) journal_sync: bool,
    /// When, in milliseconds since the epoch.
    pub(crate) at_ms: u64,
    /// Who did how, in the order of the first runs.
    pub(crate) entries: Vec<Entry>,
}

/// A contender's runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Who.
    pub(crate) contender: Contender,
    /// In which variant of the scenario; empty where there is one alone.
    pub(crate) label: String,
    /// Each run.
    pub(crate) rounds: Vec<Row>,
    /// What failed.
    pub(crate) failures: Vec<String>,
}

impl Entry {
    /// What tells entries apart.
    pub(crate) fn key(contender: Contender, label: &str) -> (Contender, String) {
        (contender, label.to_owned())
    }
}

impl Results {
    /// None yet.
    pub(crate) fn new(scenario: &str, title: &str, bench: &Bench) -> Self {
        Self {
            scenario: scenario.to_owned(),
            title: title.to_owned(),
            about: String::new(),
            scale: format!("{:?}", bench.scale),
            commit: commit(),
            journal_sync: journal_sync(),
            at_ms: bridge_tests::events::now_ms(),
            entries: Vec::new(),
        }
    }

    /// One run more.
    pub(crate) fn add(&mut self, (contender, label): (Contender, String), outcome: Outcome) {
        let known = self.entries.iter().position(|entry| entry.contender == contender && entry.label == label);
        let at = known.unwrap_or_else(|| {
            self.entries.push(Entry { contender, label, rounds: Vec::new(), failures: Vec::new() });
            self.entries.len() - 1
        });
        match outcome {
            Ok(row) => self.entries[at].rounds.push(row),
            Err(error) => self.entries[at].failures.push(error.to_string()),
        }
    }

    /// How many runs have failed.
    pub(crate) fn failures(&self) -> usize {
        self.entries.iter().map(|entry| entry.failures.len()).sum()
    }

    /// Writes the scenario's file, after every run, so that none is in vain; contenders of an earlier run that had no turn in this one stay, where it was of the same
    /// commit and setting: what stands in one table was measured alike.
    pub(crate) fn write(&self, directory: &Path) -> Result<()> {
        let path = directory.join(&self.scenario).with_extension("json");
        let mut all = self.clone();
        if let Ok(earlier) = read_file(&path)
            && earlier.scale == self.scale
            && earlier.about == self.about
            && earlier.commit == self.commit
            && earlier.journal_sync == self.journal_sync
        {
            let has_no_turn = |entry: &Entry| !self.entries.iter().any(|own| own.contender == entry.contender);
            all.entries.extend(earlier.entries.into_iter().filter(has_no_turn));
        }
        all.entries.sort_by_key(|entry| entry.contender);
        Ok(std::fs::write(path, serde_json::to_string_pretty(&all)?)?)
    }
}

fn read_file(path: &Path) -> Result<Results> {
    Ok(serde_json::from_str(&std::fs::read_to_string(path)?)?)
}

/// The results of a scenario, where there are any.
pub(crate) fn read(directory: &Path, scenario: &str) -> Option<Results> {
    read_file(&directory.join(scenario).with_extension("json")).ok()
}

fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output =
            Command::new("git").args(arguments).current_dir(bridge_tests::stack::repository()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short", "HEAD"]).unwrap_or_else(|| "unknown".to_owned());
    let has_changes =
        git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|changes| !changes.is_empty());
    if has_changes { format!("{commit}+") } else { commit }
}

/// What the stack's Pulsar was started with.
fn journal_sync() -> bool {
    let directory = std::env::var_os("STACK_DIR").map(std::path::PathBuf::from).unwrap_or_default();
    let settings = std::fs::read_to_string(directory.join("pulsar/conf/standalone.conf")).unwrap_or_default();
    settings.lines().rev().find_map(|line| line.strip_prefix("journalSyncData=")) == Some("true")
}

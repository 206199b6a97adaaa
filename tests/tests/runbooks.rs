//! The commands of the runbooks (`deploy/runbooks`), executed against real brokers in the order in which a person would, each
//! file with a topic, a namespace and a bridge of its own. `tests/run` runs it; by hand, and of some files only:
//! `RUNBOOKS=rollback cargo test -p bridge-tests --test runbooks -- --ignored --nocapture`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bridge_tests::Result;
use bridge_tests::bridge::binaries;
use bridge_tests::runbook::{Block, blocks};
use bridge_tests::scenario::Scenario;
use bridge_tests::stack::{repository, unique};

/// How long the commands of one block may take.
const BLOCK: Duration = Duration::from_secs(120);

/// How long what is left of a runbook may take to end.
const ENDING: Duration = Duration::from_secs(5);

/// All runbooks, those of the alerts included.
fn runbooks() -> Vec<PathBuf> {
    let root = repository().join("deploy/runbooks");
    let mut found: Vec<PathBuf> = [root.clone(), root.join("alerts")]
        .iter()
        .filter_map(|directory| fs::read_dir(directory).ok())
        .flat_map(|entries| entries.map(|entry| entry.unwrap().path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    found.sort();
    found
}

#[test]
fn every_runbook_can_be_read_and_is_in_the_index() {
    let index = fs::read_to_string(repository().join("deploy/runbooks/README.md")).unwrap();
    let mut with_commands = 0;
    for path in runbooks() {
        let text = fs::read_to_string(&path).unwrap();
        let found = blocks(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        with_commands += usize::from(!found.is_empty());
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let is_alert = path.parent().is_some_and(|directory| directory.ends_with("alerts"));
        assert!(is_alert || name == "README.md" || index.contains(&format!("({name})")), "{name} is not in the index");
        if !is_alert && name != "README.md" {
            let sections =
                ["**When**", "**Who decides**", "## Before", "## Steps", "## It worked when", "## Going back"];
            let missing: Vec<_> = sections.iter().filter(|section| !text.contains(**section)).collect();
            assert!(missing.is_empty(), "{name} lacks {missing:?}");
            assert!(!found.is_empty(), "{name} has no command that is run");
        }
    }
    assert!(with_commands >= 12, "only {with_commands} runbooks have commands that are run");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn the_commands_of_the_runbooks_do_what_they_promise() -> Result<()> {
    let only = std::env::var("RUNBOOKS").unwrap_or_default();
    let is_full = std::env::var_os("TESTS_FULL").is_some() || !only.is_empty();
    let mut wrong = Vec::new();
    for path in runbooks() {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let blocks = blocks(&fs::read_to_string(&path)?)?;
        if blocks.is_empty() || !name.contains(&only) {
            continue;
        }
        if blocks[0].says("full") && !is_full {
            println!("  {name}: only in the long run");
            continue;
        }
        let began = Instant::now();
        let went = Desk::new(&name).await?.follow(&blocks);
        println!("  {name}: {} blocks in {:.1} s", blocks.len(), began.elapsed().as_secs_f64());
        if let Err(error) = went {
            println!("{error}");
            wrong.push(format!("{}: {error}", path.display()));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n\n").into()) }
}

/// Where one runbook is followed: a directory with the configuration, and all that the commands need in the environment.
struct Desk {
    scenario: Scenario,
    directory: PathBuf,
    environment: Vec<(String, String)>,
    /// The process groups of what was run, ended with the desk.
    groups: Vec<u32>,
}

impl Desk {
    async fn new(name: &str) -> Result<Self> {
        // The scenario's name is part of the topic's.
        let scenario = Scenario::bare("runbook").await?;
        let directory = repository().join("target").join(unique(&format!("runbook-{name}")));
        fs::create_dir_all(directory.join("bin"))?;
        symlink(repository().join("config"), directory.join("config"))?;
        for tool in ["kafka-topics.sh", "kafka-consumer-groups.sh", "kafka-delete-records.sh"] {
            symlink(repository().join("tests/runbooks/kafka-tool"), directory.join("bin").join(tool))?;
        }
        fs::write(directory.join("http-token"), "open sesame")?;
        let mut desk = Self { environment: Vec::new(), scenario, directory, groups: Vec::new() };
        desk.environment = desk.environment()?;
        Ok(desk)
    }

    fn environment(&self) -> Result<Vec<(String, String)>> {
        let Scenario { stack, topic, namespace, .. } = &self.scenario;
        // Free now; whoever takes it meanwhile is told by the bridge, which does not start.
        let listen = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let generate = Path::new(env!("CARGO_BIN_EXE_generate")).parent().unwrap().display().to_string();
        let path = std::env::var("PATH").unwrap_or_default();
        let more = [
            ("PATH", format!("{}/bin:{}:{generate}:{path}", self.directory.display(), binaries()?.display())),
            ("REPOSITORY", repository().display().to_string()),
            ("KAFKA_HOME", stack.home("kafka")?.display().to_string()),
            ("KAFKA_BROKERS", stack.kafka().to_owned()),
            ("PULSAR_URL", stack.pulsar().to_owned()),
            ("PULSAR_ADMIN_URL", stack.pulsar_admin().to_owned()),
            ("STREAM", "job-lifecycle".to_owned()),
            ("SOURCE_TOPIC", topic.clone()),
            ("GROUP", self.scenario.group()),
            ("NAMESPACE", namespace.clone()),
            ("TARGET", format!("{namespace}/job-status-changed")),
            ("BRIDGE_URL", format!("http://{listen}")),
            ("SLO_SECONDS", "5".to_owned()),
            ("BRIDGECTL_AS", "on-call".to_owned()),
            ("BRIDGE__HTTP__LISTEN", listen.to_string()),
            ("BRIDGE__FLEET__URL", format!("http://{listen}")),
            ("BRIDGE__HTTP__TOKEN_FILE", self.directory.join("http-token").display().to_string()),
            ("BRIDGE__FLEET__OPERATIONS_TOPIC", format!("persistent://{namespace}/bridge-operations")),
        ];
        let more = more.into_iter().map(|(name, value)| (name.to_owned(), value));
        Ok(self.scenario.settings().into_iter().chain(more).collect())
    }

    fn follow(&mut self, blocks: &[Block]) -> Result<()> {
        if !blocks[0].says("bare") {
            let usual = "bridgectl setup \"$STREAM\"\nfeed 2000\nstart_bridge\nawait settled\n";
            self.run(&Block { script: usual.to_owned(), codes: vec![0], ..Block::default() })?;
        }
        let went = blocks.iter().try_for_each(|block| self.run(block));
        // A static member that only ends keeps its place in the group for a while, and the next runbook's bridge would wait for
        // it; one that is drained leaves.
        let leave = "bridgectl drain \"$STREAM\" --yes --wait 5 || true\nstop_bridge || true\n";
        let left = self.run(&Block { script: leave.to_owned(), codes: vec![0], ..Block::default() });
        went.and(left)
    }

    fn run(&mut self, block: &Block) -> Result<()> {
        let name = format!("line-{}", block.line);
        let prelude = repository().join("tests/runbooks/prelude.sh");
        let script = self.directory.join(&name).with_extension("sh");
        fs::write(&script, format!("source '{}'\n{}", prelude.display(), block.script))?;
        let output = self.directory.join(&name).with_extension("log");
        let file = File::create(&output)?;
        let mut child = Command::new("bash")
            .arg(&script)
            .current_dir(&self.directory)
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .spawn()?;
        self.groups.push(child.id());
        let deadline = Instant::now() + BLOCK;
        let status = loop {
            match child.try_wait()? {
                Some(status) => break Some(status),
                None if Instant::now() > deadline => break None,
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        let said = String::from_utf8_lossy(&fs::read(&output)?).into_owned();
        let wrong = match status {
            None => Some(format!("not done within {BLOCK:?}")),
            Some(status) => block.judge(status.code(), &said),
        };
        match wrong {
            None => Ok(()),
            Some(wrong) => {
                let script = &block.script;
                let log = fs::read_to_string(self.directory.join("bridge.log")).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                let tail = lines[lines.len().saturating_sub(15)..].join("\n");
                Err(format!("line {}: {wrong}\n{script}---\n{said}--- bridge.log\n{tail}", block.line).into())
            }
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        // Most have ended by themselves. A bridge that is asked to end leaves its group, which the next runbook's has joined
        // without waiting then.
        let signal = |signal: &str, group: &u32| {
            let group = format!("-{group}");
            let sent = Command::new("kill").args([signal, "--", &group]).stderr(Stdio::null()).status();
            sent.is_ok_and(|sent| sent.success())
        };
        let asked: Vec<u32> = self.groups.iter().copied().filter(|group| signal("-TERM", group)).collect();
        let deadline = Instant::now() + ENDING;
        while asked.iter().any(|group| signal("-0", group)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        asked.iter().for_each(|group| {
            signal("-KILL", group);
        });
        if !std::thread::panicking() && std::env::var_os("RUNBOOKS").is_none() {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

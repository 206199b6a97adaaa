//! `bridgectl` in a test's hands.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

use crate::Result;
use crate::bridge::{Bridge, Setting, binary};
use crate::stack::repository;

/// No call of a test takes longer.
const CALL_AT_MOST: Duration = Duration::from_secs(100);

/// An operator: a directory of configurations, and the settings that move it to a test's servers.
#[derive(Debug, Clone)]
pub struct Operator {
    directory: PathBuf,
    /// The settings, which tests change.
    pub settings: Vec<Setting>,
}

/// How a call of `bridgectl` has ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code.
    pub code: Option<i32>,
    /// What it wrote.
    pub text: String,
    /// What it said beside.
    pub said: String,
}

impl Operator {
    /// With these configurations.
    pub fn new(directory: &Path, settings: Vec<Setting>) -> Self {
        Self { directory: directory.to_owned(), settings }
    }

    /// A call of `bridgectl` that is not begun yet.
    ///
    /// # Errors
    /// When it is not built.
    pub fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(binary("bridgectl")?);
        command.args(arguments).arg("--config").arg(&self.directory);
        command.envs(self.settings.iter().cloned()).stdin(Stdio::null());
        Ok(command)
    }

    /// Begins a call whose words are read while it runs, or later.
    ///
    /// # Errors
    /// When it cannot be begun.
    pub fn begin(&self, arguments: &[&str]) -> Result<Child> {
        Ok(self.command(arguments)?.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
    }

    /// A whole call.
    ///
    /// # Errors
    /// When it cannot be begun, or does not end.
    pub fn run(&self, arguments: &[&str]) -> Result<Ended> {
        let child = self.begin(arguments)?;
        let (pid, (tell, told)) = (child.id().to_string(), mpsc::channel());
        std::thread::spawn(move || tell.send(child.wait_with_output()));
        tokio::task::block_in_place(|| {
            if let Ok(output) = told.recv_timeout(CALL_AT_MOST) {
                return ended(output?);
            }
            Command::new("kill").args(["-9", &pid]).status()?;
            let said = ended(told.recv()??)?.said;
            Err(format!("bridgectl {arguments:?} has not ended after {CALL_AT_MOST:?}: {said}").into())
        })
    }

    /// `verify --json` of all that there is: the exit code and the document.
    ///
    /// # Errors
    /// As [`Operator::json`].
    pub fn verify(&self, stream: &str, more: &[&str]) -> Result<(Option<i32>, Value)> {
        let output = repository().join("target/verify-test");
        let output = output.to_str().ok_or("the path is no text")?;
        let arguments = ["verify", stream, "--json", "--since-start", "--output", output, "--lag-seconds", "5"];
        self.json(&[&arguments[..], more].concat())
    }

    /// A whole call: its exit code, and what it wrote as JSON.
    ///
    /// # Errors
    /// When it cannot be begun, or writes something else.
    pub fn json(&self, arguments: &[&str]) -> Result<(Option<i32>, Value)> {
        let ended = self.run(arguments)?;
        let json = serde_json::from_str(&ended.text);
        let json = json.map_err(|error| format!("{arguments:?}: {error}: {ended:?}"))?;
        Ok((ended.code, json))
    }
}

/// One of the totals of `verify`'s document.
///
/// # Panics
/// Where it is none.
pub fn total(document: &Value, name: &str) -> u64 {
    document["totals"][name].as_u64().unwrap_or_else(|| panic!("no total {name}: {document:#}"))
}

/// For `fleet.url`: where these bridges are.
///
/// # Errors
/// Where one has no address yet.
pub fn urls(bridges: &[&Bridge]) -> Result<String> {
    let urls: Result<Vec<String>> = bridges.iter().map(|bridge| Ok(format!("http://{}", bridge.address()?))).collect();
    Ok(urls?.join(","))
}

/// What a call that was begun came to.
///
/// # Errors
/// When it wrote what is no text.
pub fn ended(output: Output) -> Result<Ended> {
    let Output { status, stdout, stderr } = output;
    Ok(Ended { code: status.code(), text: String::from_utf8(stdout)?, said: String::from_utf8(stderr)? })
}

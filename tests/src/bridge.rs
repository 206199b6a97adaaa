//! A bridge as a process: started with settings of its own, watched over HTTP, stopped, killed, frozen.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crate::container::{Container, Image};
use crate::http::get;
use crate::stack::{repository, unique};
use crate::{Result, wait};

/// A running bridge; killed when dropped.
#[derive(Debug)]
pub struct Bridge {
    child: Child,
    /// What it runs in, where it is not a process of this machine like any other.
    container: Option<Container>,
    /// Where it listens, once it has said so.
    address: OnceLock<String>,
    log: PathBuf,
}

const ANY_PORT: &str = "127.0.0.1:0";

/// A setting: the environment's name and its value.
pub type Setting = (String, String);

/// The directory of the built binaries: `BRIDGE_BIN_DIR`, or where this test was built.
pub fn binaries() -> Result<PathBuf> {
    if let Some(directory) = std::env::var_os("BRIDGE_BIN_DIR") {
        return Ok(directory.into());
    }
    // Tests run in target/<profile>/deps.
    let test = std::env::current_exe()?;
    let profile = test.parent().and_then(Path::parent).ok_or("the test does not run in a target directory")?;
    Ok(profile.to_path_buf())
}

/// A binary of this repository, or how to build it.
pub fn binary(name: &str) -> Result<PathBuf> {
    let path = binaries()?.join(name);
    match path.is_file() {
        true => Ok(path),
        false => Err(format!("{} is missing: cargo build -p {name}", path.display()).into()),
    }
}

impl Bridge {
    /// Starts the job-lifecycle bridge on the repository's configuration, with these settings on top.
    pub fn start(settings: &[Setting]) -> Result<Self> {
        Self::start_stream("job-lifecycle", &repository().join("config"), settings)
    }

    /// Starts a stream's bridge on the configuration of a directory, with these settings on top.
    pub fn start_stream(stream: &str, config: &Path, settings: &[Setting]) -> Result<Self> {
        Self::start_program(&binary(&format!("{stream}-bridge"))?, config, settings)
    }

    /// Starts a bridge by its binary on the configuration of a directory, with these settings on top.
    pub fn start_program(program: &Path, config: &Path, settings: &[Setting]) -> Result<Self> {
        let mut command = Command::new(program);
        command
            .args(["run", "--config"])
            .arg(config)
            // A port that it chooses itself cannot be taken by somebody else in between.
            .env("BRIDGE__HTTP__LISTEN", ANY_PORT)
            .envs(settings.iter().map(|(name, value)| (name, value)));
        Self::spawn(command, None)
    }

    /// Starts a bridge in a container of its own, on the image's configuration or this directory in its place, with these
    /// settings on top.
    pub fn start_image(image: &Image, config: Option<&Path>, settings: &[Setting]) -> Result<Self> {
        let mut environment = vec![("BRIDGE__HTTP__LISTEN".to_owned(), ANY_PORT.to_owned())];
        environment.extend(settings.iter().cloned());
        let container = Container::new(image, &["run"], config, &environment)?;
        Self::spawn(container.command(), Some(container))
    }

    fn spawn(mut command: Command, container: Option<Container>) -> Result<Self> {
        let directory = repository().join("target/test-logs");
        std::fs::create_dir_all(&directory)?;
        let log = directory.join(unique("bridge")).with_extension("log");
        let file = File::create(&log)?;
        let child = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn()?;
        Ok(Self { child, container, address: OnceLock::new(), log })
    }

    /// Waits until `/readyz` says that it works.
    pub async fn ready(&mut self, deadline: Duration) -> Result<()> {
        let ready = wait::until("the bridge to be ready", deadline, async || {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("it has ended with {status}"));
            }
            let (status, body) = self.get("/readyz").await.map_err(|error| error.to_string())?;
            if status == 200 { Ok(()) } else { Err(format!("{status} {body}")) }
        });
        match ready.await {
            Ok(()) => Ok(()),
            Err(error) => Err(format!("{error}\n{}", self.log_tail()).into()),
        }
    }

    /// `/status`, `/metrics` or `/livez`: the HTTP status and the body.
    pub async fn get(&self, path: &str) -> Result<(u16, String)> {
        get(&format!("http://{}{path}", self.address()?)).await
    }

    /// Where it listens: it says so in its log.
    pub fn address(&self) -> Result<&str> {
        if let Some(address) = self.address.get() {
            return Ok(address);
        }
        let address = listen_address(&self.log()).ok_or("it does not listen yet")?;
        Ok(self.address.get_or_init(|| address))
    }

    /// An operator's order, `/pause`, `/resume` or `/drain`.
    pub async fn post(&self, path: &str, token: &str) -> Result<()> {
        let request = reqwest::Client::new().post(format!("http://{}{path}", self.address()?)).bearer_auth(token);
        request.send().await?.error_for_status()?;
        Ok(())
    }

    /// The sum of a metric over all its labels, 0 where it is not there.
    pub async fn metric(&self, name: &str) -> Result<f64> {
        let (_, text) = self.get("/metrics").await?;
        Ok(sum_of_metric(&text, name))
    }

    /// The same, of the series that have this label alone: `cause="source-gap"`.
    pub async fn metric_with(&self, name: &str, label: &str) -> Result<f64> {
        let (_, text) = self.get("/metrics").await?;
        let lines: String = text.lines().filter(|line| line.contains(label)).map(|line| format!("{line}\n")).collect();
        Ok(sum_of_metric(&lines, name))
    }

    /// What it holds of the machine's memory now.
    pub fn resident_bytes(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process_id()?))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1024)
    }

    /// SIGKILL, and waits for its end.
    pub fn kill(mut self) -> Result<()> {
        self.signal("KILL")?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, and waits for its end.
    pub async fn terminate(&mut self, deadline: Duration) -> Result<ExitStatus> {
        self.signal("TERM")?;
        self.ended(deadline).await
    }

    /// SIGSTOP: it holds everything and does nothing.
    pub fn freeze(&self) -> Result<()> {
        self.signal("STOP")
    }

    /// SIGCONT.
    pub fn thaw(&self) -> Result<()> {
        self.signal("CONT")
    }

    /// Waits until it ends by itself.
    pub async fn ended(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let ended = wait::until("the bridge to end", deadline, async || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err("it runs".to_owned()),
            Err(error) => Err(error.to_string()),
        });
        match ended.await {
            Ok(status) => Ok(status),
            Err(error) => Err(format!("{error}\n{}", self.log_tail()).into()),
        }
    }

    /// All that it has said.
    pub fn log(&self) -> String {
        std::fs::read(&self.log)
            .map_or_else(|error| error.to_string(), |log| String::from_utf8_lossy(&log).into_owned())
    }

    /// The last that it has said, with where the rest is.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(30)..].join("\n");
        format!("--- the end of {}\n{tail}", self.log.display())
    }

    /// The process of the bridge itself, as this machine knows it.
    pub fn process_id(&self) -> Result<u32> {
        self.container.as_ref().map_or_else(|| Ok(self.child.id()), Container::process_id)
    }

    fn signal(&self, name: &str) -> Result<()> {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.process_id()?.to_string()).status()?;
        if status.success() { Ok(()) } else { Err(format!("kill -{name}: {status}").into()) }
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        // It may have ended already; a frozen one dies of SIGKILL too. A container first: who started it would leave it alone.
        drop(self.container.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", self.log_tail());
        }
    }
}

/// The address in the log's whole first line that names one, as text or as JSON.
fn listen_address(log: &str) -> Option<String> {
    let behind = log.split_once("listen=").or_else(|| log.split_once("\"listen\":\""))?.1;
    let (line, _) = behind.split_once('\n')?;
    line.split([' ', '"']).next().map(str::to_owned)
}

fn sum_of_metric(text: &str, name: &str) -> f64 {
    text.lines()
        .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        // The sum of nothing is -0.0, which reads oddly.
        .fold(0.0, |sum, value| sum + value)
}

#[cfg(test)]
mod tests {
    use super::{listen_address, sum_of_metric};

    #[test]
    fn the_address_is_known_once_its_line_is_whole() {
        assert_eq!(listen_address("starting version=1 listen=127.0.0.1:12"), None);
        assert_eq!(listen_address("starting listen=127.0.0.1:12\nmore").as_deref(), Some("127.0.0.1:12"));
        assert_eq!(listen_address("starting listen=127.0.0.1:12 more\n").as_deref(), Some("127.0.0.1:12"));
        assert_eq!(listen_address("{\"listen\":\"127.0.0.1:12\"}\n").as_deref(), Some("127.0.0.1:12"));
    }

    #[test]
    fn a_metric_is_summed_over_its_labels_and_its_name_alone() {
        let text = "# HELP a_total x\na_total{partition=\"0\"} 3\na_total{partition=\"1\"} 4.5\na_total_more 9\n";
        assert_eq!(sum_of_metric(text, "a_total"), 7.5);
        assert_eq!(sum_of_metric(text, "b_total"), 0.0);
    }
}

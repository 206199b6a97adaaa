//! What a process has used, by /proc: the same way for every contender, whatever it is written in.

use std::fs::{File, read_dir, read_to_string};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bridge_tests::Result;

/// The kernel's unit of CPU time in /proc, on every Linux that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// What processes have used so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// CPU time, user and system.
    pub(crate) cpu_seconds: f64,
    /// The most memory that was resident at once.
    pub(crate) peak_rss_bytes: u64,
}

/// CPU time and peak memory of one process.
pub(crate) fn usage_of(pid: u32) -> Result<Usage> {
    let stat = read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).ok_or("no times in /proc");
    let status = read_to_string(format!("/proc/{pid}/status"))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
    let peak_kib: u64 = peak.trim().trim_end_matches("kB").trim().parse()?;
    Ok(Usage { cpu_seconds: (ticks(11)? + ticks(12)?) / TICKS_PER_SECOND, peak_rss_bytes: peak_kib * 1024 })
}

/// The sum over processes that may have ended.
pub(crate) fn cpu_seconds_of(pids: &[u32]) -> f64 {
    pids.iter().filter_map(|pid| usage_of(*pid).ok()).map(|usage| usage.cpu_seconds).sum()
}

/// A contender at work, with all that it starts; killed when dropped.
#[derive(Debug)]
pub(crate) struct Worker {
    child: Child,
    log: PathBuf,
    /// When it was started.
    pub(crate) started: Instant,
}

impl Worker {
    /// Starts it in a group of processes of its own; what it says goes to the log.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log)?;
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .map_err(|error| format!("{}: {error}", command.get_program().display()))?;
        Ok(Self { child, log: log.to_path_buf(), started: Instant::now() })
    }

    /// Its processes that live.
    fn pids(&self) -> Vec<u32> {
        let group = self.child.id().to_string();
        let of_group = |pid: &u32| {
            let stat = read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let mut fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
            fields.next() != Some("Z") && fields.nth(1) == Some(group.as_str())
        };
        let entries = read_dir("/proc").into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(of_group).collect()
    }

    /// What the one of its processes has used that does the work: a script or a launcher around it does not count.
    pub(crate) fn usage(&self) -> Usage {
        let used = self.pids().into_iter().filter_map(|pid| usage_of(pid).ok());
        used.max_by(|a, b| a.cpu_seconds.total_cmp(&b.cpu_seconds)).unwrap_or_default()
    }

    /// Whether it has ended by itself, and how.
    pub(crate) fn has_ended(&mut self) -> Option<String> {
        self.child.try_wait().ok().flatten().map(|status| status.to_string())
    }

    /// SIGTERM to all of it, and SIGKILL to what is there after so long.
    pub(crate) fn stop(mut self, patience: Duration) -> Result<()> {
        self.signal("TERM");
        let deadline = Instant::now() + patience;
        while !self.pids().is_empty() && Instant::now() < deadline {
            let _ = self.child.try_wait();
            std::thread::sleep(Duration::from_millis(10));
        }
        self.kill()
    }

    /// SIGKILL to all of it.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.signal("KILL");
        self.child.wait()?;
        Ok(())
    }

    fn signal(&self, name: &str) {
        // Whoever has ended cannot be told, and need not be.
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args([&format!("-{name}"), "--", &group]).stderr(Stdio::null()).status();
    }

    /// The end of what it has said.
    pub(crate) fn log_tail(&self) -> String {
        let log = read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        format!("--- the end of {}\n{}", self.log.display(), lines[lines.len().saturating_sub(15)..].join("\n"))
    }

    /// All that it has said.
    pub(crate) fn log(&self) -> String {
        read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

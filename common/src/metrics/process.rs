//! What the process itself uses, read from `/proc`: where there is none (not Linux), those lines are absent.

use std::fmt::Write;
use std::fs;

use super::{CPU_SECONDS, Kind, Metric, OPEN_FDS, RESIDENT_MEMORY, START_TIME};

/// Linux counts CPU time for user space in hundredths of a second on every architecture (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// Appends the process metrics. Written by hand since the recorder's counters hold whole numbers only.
pub(super) fn render(text: &mut String, start_unix_seconds: f64) {
    line(text, START_TIME, Some(start_unix_seconds));
    line(text, RESIDENT_MEMORY, resident_bytes());
    line(text, CPU_SECONDS, cpu_seconds());
    line(text, OPEN_FDS, open_fds());
}

fn line(text: &mut String, metric: Metric, value: Option<f64>) {
    let Some(value) = value else { return };
    let kind = if metric.kind == Kind::Counter { "counter" } else { "gauge" };
    let name = metric.name;
    // Writing to a String cannot fail.
    let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} {kind}\n{name} {value}", metric.help);
}

fn resident_bytes() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    kib.trim().strip_suffix(" kB")?.parse::<f64>().ok().map(|kib| kib * 1024.0)
}

/// Fields 14 and 15 of `/proc/self/stat`, counted behind the command's name, which may hold blanks.
fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

fn open_fds() -> Option<f64> {
    let open = fs::read_dir("/proc/self/fd").ok()?.count();
    u32::try_from(open).ok().map(f64::from)
}

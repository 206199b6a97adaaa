//! On what it was measured.

use std::fs::read_to_string;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bridge_tests::Result;
use bridge_tests::stack::repository;

use crate::events::{Bodies, Form};
use crate::load::mark;

/// Events that are compressed at a time, in a batch of a bridge's size, and how often.
const EVENTS: u64 = 8_192;
const BATCH_BYTES: usize = 500_000;
const ROUNDS: u32 = 20;

/// Machine, system and versions, as a line or two.
pub(crate) fn describe() -> String {
    let cpuinfo = read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = field(&cpuinfo, "model name").unwrap_or_else(|| "unknown CPU".to_owned());
    let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let memory = field(&read_to_string("/proc/meminfo").unwrap_or_default(), "MemTotal").unwrap_or_default();
    let gib = memory.trim_end_matches("kB").trim().parse::<f64>().unwrap_or_default() / f64::from(1 << 20);
    let kernel = read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let rustc = first_line("rustc", &["--version"]);
    let java = first_line("java", &["-version"]);
    let events = events().unwrap_or_default();
    let rabbitmq = first_line("dpkg-query", &["--showformat", "${Version}", "--show", "rabbitmq-server"]);
    format!(
        "{cores} cores of {model}, {gib:.0} GiB, Linux {}; brokers and contenders share it. Its speed, to compare tables by: LZ4 takes \
         {:.0} MB/s of the events on one core alone, {:.0} on each of all at once. Kafka {}, Pulsar {} (standalone), \
         RabbitMQ {rabbitmq}; {rustc}; {java}.\n",
        kernel.trim(),
        lz4_mb_per_s(&events, 1).unwrap_or(f64::NAN),
        lz4_mb_per_s(&events, cores).unwrap_or(f64::NAN),
        version_of("kafka"),
        version_of("pulsar"),
    )
}

/// Some events, one behind the other.
fn events() -> Result<Vec<u8>> {
    let mut bodies = Bodies::new(Form::Event, 0)?;
    Ok((0..EVENTS).flat_map(|number| bodies.body(mark(number, 1, 0)).to_vec()).collect())
}

/// How fast a core is at what the bridges do most: megabytes of events that LZ4 takes in a second, while so many threads do so; that
/// of the slowest, in its best round. Cores that share what they compute with are slower together.
fn lz4_mb_per_s(text: &[u8], threads: usize) -> Option<f64> {
    let slowest = std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(|| compress(text))).collect();
        all.into_iter().filter_map(|one| one.join().ok()?).max()
    })?;
    Some(text.len() as f64 / 1e6 / slowest.as_secs_f64())
}

/// How long it takes to compress the text, at best.
fn compress(text: &[u8]) -> Option<Duration> {
    let mut compressed = vec![0; lz4_flex::block::get_maximum_output_size(BATCH_BYTES)];
    let mut fastest = Duration::MAX;
    for _ in 0..ROUNDS {
        let began = Instant::now();
        for batch in text.chunks(BATCH_BYTES) {
            lz4_flex::block::compress_into(batch, &mut compressed).ok()?;
        }
        fastest = fastest.min(began.elapsed());
    }
    Some(fastest)
}

/// The version of a server, which its directory is named by.
fn version_of(server: &str) -> String {
    let mut stack = Command::new(repository().join("deploy/local/stack"));
    let home = stack.args(["home", server]).stdin(Stdio::null()).stderr(Stdio::null()).output();
    let home = home.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    home.rsplit_once('-').map_or_else(|| "unknown".to_owned(), |(_, version)| version.to_owned())
}

fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn first_line(program: &str, arguments: &[&str]) -> String {
    let Ok(output) = Command::new(program).args(arguments).output() else { return format!("no {program}") };
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).lines().next().unwrap_or_default().to_owned()
}

//! On what it was measured.

use std::fs::read_to_string;
use std::process::{Command, Stdio};

use bridge_tests::stack::repository;

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
    let rabbitmq = first_line("dpkg-query", &["--showformat", "${Version}", "--show", "rabbitmq-server"]);
    format!(
        "{cores} cores of {model}, {gib:.0} GiB, Linux {}; brokers and contenders share it. Kafka {}, Pulsar {} (standalone), \
         RabbitMQ {rabbitmq}; {rustc}; {java}.\n",
        kernel.trim(),
        version_of("kafka"),
        version_of("pulsar"),
    )
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

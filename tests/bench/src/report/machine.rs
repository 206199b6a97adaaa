//! On what it was measured.

use std::fs::read_to_string;
use std::process::Command;

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
        "{cores} cores of {model}, {gib:.0} GiB, Linux {}; brokers and contenders share it. Kafka 4.1.1, Pulsar 4.0.8 (standalone), \
         RabbitMQ {rabbitmq}; {rustc}; {java}.\n",
        kernel.trim()
    )
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

//! What `setup` says in the end.

use std::io::IsTerminal;

use bridge_common::shutdown::Exit;
use serde_json::json;

use super::plan::Plan;
use crate::{rabbitmq, terminal};

/// One thing that was done, or would be.
#[derive(Debug)]
struct Line {
    text: String,
    differences: Vec<String>,
    json: serde_json::Value,
    creates: bool,
}

/// What one stream came to.
#[derive(Debug, Default)]
struct Lines {
    changes: Vec<Line>,
    findings: Vec<String>,
}

/// What came of all streams.
#[derive(Debug, Default)]
pub(super) struct Report {
    streams: Vec<(String, Lines)>,
    /// Why streams could not be set up, each with its name; on standard error, too.
    pub(super) problems: Vec<String>,
}

impl Report {
    /// The plan for Pulsar, and the one for RabbitMQ where the stream has a source there.
    pub(super) fn add(&mut self, stream: &str, plan: Plan, rabbitmq: Option<rabbitmq::Plan>) {
        let of_pulsar = plan.changes.iter().map(|change| Line {
            text: change.to_string(),
            differences: change.differences(),
            json: change.to_json(),
            creates: change.creates(),
        });
        let rabbitmq = rabbitmq.unwrap_or_default();
        let of_rabbitmq = rabbitmq.changes.iter().map(|change| Line {
            text: format!("{change} (RabbitMQ)"),
            differences: Vec::new(),
            json: change.to_json(),
            creates: change.creates(),
        });
        let changes = of_pulsar.chain(of_rabbitmq).collect();
        let findings = plan.findings.into_iter().chain(rabbitmq.findings).collect();
        self.streams.push((stream.to_owned(), Lines { changes, findings }));
    }

    /// 0 when all is as it should be (or would be, in a dry run), 1 when something failed or needs a person.
    pub(super) fn exit(&self) -> Exit {
        let finding = self.streams.iter().any(|(_, plan)| !plan.findings.is_empty());
        if !self.problems.is_empty() || finding { Exit::Fault } else { Exit::Clean }
    }

    pub(super) fn print(&self, as_json: bool, dry_run: bool) {
        let text = self.text(dry_run);
        terminal::say(&match as_json {
            true => format!("{:#}\n", self.json(dry_run)),
            false if std::io::stdout().is_terminal() => coloured(&text),
            false => text,
        });
    }

    /// A format that others read: fields are only added.
    pub(super) fn json(&self, dry_run: bool) -> serde_json::Value {
        let streams = self.streams.iter().map(|(stream, plan)| {
            let changes: Vec<_> = plan.changes.iter().map(|change| &change.json).collect();
            json!({ "stream": stream, "changes": changes, "findings": plan.findings })
        });
        json!({
            "version": 1, "dry_run": dry_run, "failed": !self.problems.is_empty(), "problems": self.problems,
            "streams": streams.collect::<Vec<_>>(),
        })
    }

    pub(super) fn text(&self, dry_run: bool) -> String {
        let (mut text, mut created, mut changed, mut findings) = (String::new(), 0, 0, 0);
        for (stream, plan) in &self.streams {
            text += &format!("{stream}\n");
            for change in &plan.changes {
                if change.creates {
                    created += 1
                } else {
                    changed += 1
                }
                text += &format!("  {}\n", change.text);
                text.extend(change.differences.iter().map(|line| format!("      {line}\n")));
            }
            for finding in &plan.findings {
                findings += 1;
                text += &format!("  ! {finding}\n");
            }
            if plan.changes.is_empty() && plan.findings.is_empty() {
                text += "  = as it should be\n";
            }
        }
        let verb = if dry_run { "Would create" } else { "Created" };
        let change = if dry_run { "change" } else { "changed" };
        text += &format!("{verb} {created}, {change} {changed}; {findings} for you to settle.\n");
        text
    }
}

/// The plan for a terminal: green is new, yellow is changed, red is lost or for a person.
fn coloured(text: &str) -> String {
    let line = |line: &str| match line.trim_start().chars().next() {
        Some('+') => format!("\x1b[32m{line}\x1b[0m\n"),
        Some('~') => format!("\x1b[33m{line}\x1b[0m\n"),
        Some('-' | '!') => format!("\x1b[31m{line}\x1b[0m\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

//! What was aimed at, beside what was reached.

use std::fmt::Write as _;

use bridge_tests::Result;

use crate::contenders::Contender;
use crate::figures::{Figure, medians};
use crate::results::Results;

/// A bound for a figure of our bridge.
struct Goal {
    scenario: &'static str,
    /// The variant of the scenario.
    label: &'static str,
    figure: Figure,
    bound: f64,
}

const fn goal(scenario: &'static str, label: &'static str, figure: Figure, bound: f64) -> Goal {
    Goal { scenario, label, figure, bound }
}

/// Rates are to be at least this, everything else at most.
const GOALS: [Goal; 24] = [
    goal("kafka-bytes", "", Figure::Rate, 1e6),
    goal("kafka-bytes", "", Figure::CpuPerMillion, 0.85),
    goal("kafka-bytes", "", Figure::PeakRss, 48.0),
    goal("json-to-avro", "", Figure::Rate, 850e3),
    goal("json-to-avro", "", Figure::CpuPerMillion, 1.1),
    goal("avro-same", "", Figure::Rate, 1.1e6),
    goal("avro-same", "", Figure::CpuPerMillion, 0.75),
    goal("avro-evolved", "", Figure::Rate, 900e3),
    goal("avro-evolved", "", Figure::CpuPerMillion, 0.95),
    goal("rabbit-quorum", "", Figure::CpuPerMillion, 5.0),
    goal("rabbit-stream", "", Figure::CpuPerMillion, 5.0),
    goal("latency", "1000/s", Figure::P50, 2.0),
    goal("latency", "1000/s", Figure::P99, 4.0),
    goal("latency", "10000/s", Figure::P50, 4.0),
    goal("latency", "10000/s", Figure::P99, 8.0),
    goal("latency", "10000/s", Figure::CpuPerMillion, 8.0),
    goal("start", "", Figure::FirstRecord, 0.25),
    goal("start", "", Figure::AfterKill, 1.0),
    goal("kills", "", Figure::Lost, 0.0),
    goal("kills", "", Figure::Doubled, 0.0),
    goal("kills", "", Figure::Reordered, 0.0),
    goal("fleet", "", Figure::CpuOfCore, 25.0),
    goal("fleet", "", Figure::PeakRss, 120.0),
    goal("binaries", "job-lifecycle-bridge", Figure::BinarySize, 8.0),
];

/// Of reading alone, what a queue's bridge is to reach.
const SHARE_OF_READING: f64 = 0.85;

/// All goals whose scenarios were measured.
pub(crate) fn table(all: &[Results]) -> Result<String> {
    let mut lines = String::new();
    for goal in &GOALS {
        let reached = find(all, goal.scenario, goal.label, Contender::Bridge, goal.figure);
        let Some(reached) = reached else { continue };
        let is_rate = goal.figure == Figure::Rate;
        let is_met = if is_rate { reached >= goal.bound } else { reached <= goal.bound };
        let sign = if is_rate { ">=" } else { "<=" };
        let what = [goal.scenario, goal.label, goal.figure.title()].join(" ");
        line(
            &mut lines,
            &what,
            &format!("{sign} {}", goal.figure.show(goal.bound)),
            &goal.figure.show(reached),
            is_met,
        )?;
    }
    for scenario in ["rabbit-quorum", "rabbit-stream"] {
        let ours = find(all, scenario, "", Contender::Bridge, Figure::Rate);
        for (reader, name) in [(Contender::ReadOnly, "reading only"), (Contender::PerfTest, "PerfTest, reading only")] {
            let Some((ours, limit)) = ours.zip(find(all, scenario, "", reader, Figure::Rate)) else { continue };
            let share = ours / limit;
            let what = format!("{scenario} msg/s, of {name}");
            let (goal, reached) = (format!(">= {SHARE_OF_READING}"), format!("{share:.2}"));
            line(&mut lines, &what, &goal, &reached, share >= SHARE_OF_READING)?;
        }
    }
    if lines.is_empty() {
        return Ok(lines);
    }
    Ok(format!("## Goals\n\n| what | goal | reached | |\n|---|---:|---:|---|\n{lines}\n"))
}

fn line(lines: &mut String, what: &str, goal: &str, reached: &str, is_met: bool) -> Result<()> {
    Ok(writeln!(lines, "| {what} | {goal} | {reached} | {} |", if is_met { "met" } else { "**not met**" })?)
}

/// The median of a figure; none where a run has failed. Without a label any variant will do.
fn find(all: &[Results], scenario: &str, label: &str, contender: Contender, figure: Figure) -> Option<f64> {
    let results = all.iter().find(|results| results.scenario == scenario && results.scale != "Smoke")?;
    let entry = results
        .entries
        .iter()
        .find(|entry| entry.contender == contender && (label.is_empty() || entry.label == label))?;
    medians(&entry.rounds).get(&figure).copied().filter(|_| entry.failures.is_empty())
}

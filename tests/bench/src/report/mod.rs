//! The table of all that was measured, as Markdown, and the chart.

mod chart;
mod goals;
mod machine;

use std::fmt::Write as _;
use std::path::Path;

use bridge_tests::Result;

use crate::figures::{Figure, Row, medians};
use crate::results::{self, Entry, Results};
use crate::scenarios::catalogue;
use crate::tell;

/// What the figures mean, in short; README.md says more.
const WORDS: &str = "\
Medians over the rounds (of what was lost, doubled, reordered and of silences: the worst); contenders in alternating order, one at a time, all on this machine. `msg/s`, CPU and brokers' CPU count
from a contender's first message in the target to its last, stored one (reading only: from its first record), so without its
start. CPU is user and system time of the working process, RSS its peak. Our bridges are the released binaries with
deduplication on; the others write to topics without, but for Pulsar IO effectively once.";

/// Writes the table to standard output and into the directory, and the chart beside it.
pub(crate) fn write(directory: &Path) -> Result<()> {
    let all: Vec<Results> =
        catalogue::ALL.iter().filter_map(|scenario| results::read(directory, scenario.name)).collect();
    let mut text = format!("# Results\n\nMade by `tests/bench/run`; not edited. {WORDS}\n\n{}\n", machine::describe());
    if all.iter().any(|results| results.scale == "Smoke") {
        text += "**Some of these are of a smoke run: they say nothing about speed.**\n\n";
    }
    text += &goals::table(&all)?;
    for results in &all {
        text += &table(results)?;
    }
    tell(&text);
    std::fs::write(directory.join("results.md"), &text)?;
    std::fs::write(directory.join("chart.svg"), chart::draw(&all)?)?;
    tell(format_args!("in {}: results.md, chart.svg, and a file of JSON for each scenario", directory.display()));
    Ok(())
}

fn table(results: &Results) -> Result<String> {
    let rows: Vec<Row> = results.entries.iter().map(|entry| medians(&entry.rounds)).collect();
    let shown: Vec<Figure> =
        Figure::ALL.into_iter().filter(|figure| rows.iter().any(|row| row.contains_key(figure))).collect();
    let mut text = format!("## {}\n\n{}.\n", results.title, results.about);
    let Results { scenario, scale, commit, journal_sync, .. } = results;
    let synced = if *journal_sync { "synced" } else { "not synced" };
    writeln!(text, "`{scenario}`, scale {}, commit {commit}, Pulsar's journal {synced}.\n", scale.to_lowercase())?;
    write!(text, "| contender | rounds |")?;
    for figure in &shown {
        write!(text, " {} |", figure.title())?;
    }
    write!(text, "\n|---|---:|{}\n", "---:|".repeat(shown.len()))?;
    for (entry, row) in results.entries.iter().zip(&rows) {
        let name = [entry.contender.title(), &entry.label].join(" ").trim().to_owned();
        write!(text, "| {name} | {} |", entry.rounds.len())?;
        for figure in &shown {
            write!(text, " {} |", cell(entry, row, *figure))?;
        }
        text.push('\n');
    }
    for entry in &results.entries {
        for failure in &entry.failures {
            let first = failure.lines().next().unwrap_or_default();
            writeln!(text, "\nA run of {} {} failed: {first}", entry.contender, entry.label)?;
        }
    }
    text.push('\n');
    Ok(text)
}

/// The median, and for rates the least and the most.
fn cell(entry: &Entry, row: &Row, figure: Figure) -> String {
    let Some(median) = row.get(&figure) else { return "–".to_owned() };
    let values = entry.rounds.iter().filter_map(|round| round.get(&figure).copied());
    let (least, most) = values.fold((f64::MAX, f64::MIN), |(least, most), value| (least.min(value), most.max(value)));
    match figure {
        Figure::Rate if entry.rounds.len() > 1 => {
            format!("{} ({} to {})", figure.show(*median), figure.show(least), figure.show(most))
        }
        _ => figure.show(*median),
    }
}

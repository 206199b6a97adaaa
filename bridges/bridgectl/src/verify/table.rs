//! The report as a table.

use super::facts::{Counts, Fault};
use super::report::{Named, Report};

const HEAD: [&str; 13] = [
    "SOURCE",
    "OFFSETS",
    "RECORDS",
    "FOUND",
    "REPAIRED",
    "REPLAYED",
    "DEAD",
    "TWINS",
    "MISSING",
    "EXTRA",
    "DOUBLED",
    "REORDERED",
    "DIFFERENT",
];

/// Names that are shown of those that were not compared; the document and the page have more.
const ELSEWHERE_MAX: usize = 10;

/// The whole report.
pub(crate) fn text(report: &Report) -> String {
    let mut text = format!("{}: {}\n", report.stream, report.range);
    if !report.rows.is_empty() {
        let rows = report.rows.iter().map(|row| {
            let offsets = format!("{}-{}", row.from, row.to);
            cells(format!("{}/{}", row.topic, row.partition), offsets, &row.counts)
        });
        let total = cells("all".to_owned(), String::new(), &report.totals);
        text += &aligned(HEAD.map(str::to_owned), rows.chain([total]));
    }
    for queue in &report.queues {
        text += &format!("{}\n", queue.text());
    }
    text += &named(report);
    let (foreign, elsewhere) = (report.foreign.total(), report.elsewhere.total());
    if foreign > 0 {
        text += &format!("{foreign} messages of {} other producers\n", report.foreign.named.len());
    }
    if elsewhere > 0 {
        text += &format!("{elsewhere} messages of this stream's names that were not compared:\n");
        let named = report.elsewhere.named.iter().take(ELSEWHERE_MAX);
        named.for_each(|(name, count)| text += &format!("  {count} of {name}\n"));
    }
    for note in &report.notes {
        text += &format!("note: {note}\n");
    }
    for line in &report.not_proved {
        text += &format!("not proved: {line}\n");
    }
    text + &verdict(report)
}

/// The last line.
pub(crate) fn verdict(report: &Report) -> String {
    let Report { totals, seconds, verdict, .. } = report;
    format!(
        "{}: {} source records, {} in the target, {} among the dead letters ({seconds:.1} s, {} records/s)\n",
        verdict.words(),
        totals.source,
        totals.found + totals.twins,
        totals.dead_letters,
        report.records_per_second()
    )
}

/// The faults, one a line.
fn named(report: &Report) -> String {
    let mut text = String::new();
    for fault in Fault::ALL {
        let (count, mut shown) = (report.totals.of(fault), 0);
        for named in report.named.iter().filter(|named| named.fault == fault) {
            text += &line(named);
            shown += 1;
        }
        if count > shown {
            text += &format!("  {:<9}  and {} more\n", fault.name(), count - shown);
        }
    }
    let (count, doubles) = &report.doubled_keys;
    for (sequence_id, topic, id) in doubles {
        text += &format!("  doubled    by its key: sequence id {sequence_id}, message {id} of {topic}\n");
    }
    if *count > doubles.len() as u64 {
        text += &format!("  doubled    by their keys: and {} more\n", count - doubles.len() as u64);
    }
    text
}

/// One fault.
pub(crate) fn line(named: &Named) -> String {
    let Named { fault, source_topic, partition, offset, message, detail } = named;
    let place = message.as_ref().map(|(topic, id)| format!(", message {id} of {topic}")).unwrap_or_default();
    format!("  {:<9}  {source_topic}/{partition} offset {offset}{place}: {detail}\n", fault.name())
}

fn cells(source: String, offsets: String, counts: &Counts) -> [String; 13] {
    let numbers = [
        counts.source,
        counts.found,
        counts.repaired,
        counts.replayed,
        counts.dead_letters,
        counts.twins,
        counts.of(Fault::Missing),
        counts.of(Fault::Extra),
        counts.of(Fault::Doubled),
        counts.of(Fault::Reordered),
        counts.of(Fault::Different),
    ];
    let mut cells: [String; 13] = Default::default();
    (cells[0], cells[1]) = (source, offsets);
    cells[2..].iter_mut().zip(numbers).for_each(|(cell, number)| *cell = number.to_string());
    cells
}

/// Lines with columns of equal width: the first two to the left, numbers to the right.
fn aligned(head: [String; 13], rows: impl Iterator<Item = [String; 13]>) -> String {
    let rows: Vec<[String; 13]> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..13).map(width).collect();
    let line = |row: &[String; 13]| {
        let cells: Vec<String> = (0..13)
            .map(|column| match column {
                0 | 1 => format!("{:<width$}", row[column], width = widths[column]),
                _ => format!("{:>width$}", row[column], width = widths[column]),
            })
            .collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

//! The report as one HTML page that needs nothing else: numbers, and pictures of where in the range the faults lie.

use std::fmt::Write;

use bridge_common::config::rfc3339;

use super::compare::STRETCHES;
use super::facts::{Counts, Fault};
use super::report::{Report, Row};
use crate::html::escaped;

const STYLE: &str = "\
body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:75em;padding:0 1em;color:#1b2733;background:#fff}\
h1{font-size:1.5em;margin:0}h2{font-size:1.15em;margin:2em 0 .5em}\
.verdict{display:inline-block;padding:.3em .8em;border-radius:.3em;color:#fff;font-weight:600;margin:.8em 0}\
.good{background:#1a7f4b}.bad{background:#b3261e}\
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}\
th,td{padding:.25em .7em;text-align:right;border-bottom:1px solid #dde3e9;white-space:nowrap}\
th{font-weight:600}td:first-child,th:first-child,.text td,.text th{text-align:left}td.wrong{color:#b3261e;font-weight:600}\
.muted{color:#5b6b7a}li{margin:.2em 0}svg text{font:12px system-ui,sans-serif;fill:#1b2733}\
@media(prefers-color-scheme:dark){body{background:#141a20;color:#e3e8ed}svg text{fill:#e3e8ed}th,td{border-color:#33404c}.muted{color:#9aa8b5}td.wrong{color:#ff8a80}}";

/// The colour of each fault.
const COLOURS: [&str; 5] = ["#b3261e", "#8e44ad", "#d9822b", "#2b6cb0", "#c2185b"];
const GOOD: &str = "#4caf7d";
const EMPTY: &str = "#9aa8b5";

/// The page.
pub(crate) fn html(report: &Report) -> String {
    let (class, verdict) = (if report.is_parity() { "good" } else { "bad" }, report.verdict.words());
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{stream}: {verdict}</title><style>{STYLE}</style>\
         <h1>{stream}</h1><p class=\"muted\">compared {at}; records of {range}; {seconds:.1} s, {rate} records/s</p>\
         <div class=\"verdict {class}\">{verdict}</div>",
        stream = escaped(&report.stream),
        at = rfc3339(report.began_ms),
        range = escaped(&report.range),
        seconds = report.seconds,
        rate = report.records_per_second(),
    );
    if !report.rows.is_empty() {
        page += &shares(&report.totals);
        page += &table(report);
        page += &strips(&report.rows);
    }
    page += &findings(report);
    list(&mut page, "Queues", report.queues.iter().map(super::queues::Queue::text));
    let of = |(name, count): (&String, &u64)| format!("{count} messages of {name}");
    list(&mut page, "Other producers on the target, not compared", report.foreign.named.iter().map(of));
    let title = "Other partitions, generations and names of this stream, not compared";
    list(&mut page, title, report.elsewhere.named.iter().map(of));
    list(&mut page, "Notes", report.notes.iter().cloned());
    list(&mut page, "What is not proved", report.not_proved.iter().cloned());
    page + "</html>\n"
}

/// One bar: what became of all records.
fn shares(totals: &Counts) -> String {
    let parts = [
        ("found", totals.found, GOOD),
        ("dead letters", totals.dead_letters, "#8d99a6"),
        ("twins", totals.twins, "#80cbc4"),
        ("before the start", totals.before_start, "#cfd8dc"),
        ("not compared", totals.not_compared, "#f0c36d"),
        ("missing", totals.of(Fault::Missing), COLOURS[Fault::Missing as usize]),
        ("different", totals.of(Fault::Different), COLOURS[Fault::Different as usize]),
    ];
    let all: u64 = parts.iter().map(|(_, count, _)| count).sum();
    let (mut bar, mut legend, mut x) = (String::new(), String::new(), 0.0);
    for (name, count, colour) in parts.iter().filter(|(_, count, _)| *count > 0) {
        // What is there at all can be seen.
        let width = (*count as f64 / all.max(1) as f64 * 900.0).max(2.0);
        let _ = write!(
            bar,
            "<rect x=\"{x:.1}\" width=\"{width:.1}\" height=\"26\" fill=\"{colour}\"><title>{name}: {count}</title></rect>"
        );
        let _ = write!(legend, "<tspan fill=\"{colour}\">\u{25a0}</tspan> {name} {count}\u{2003}");
        x += width;
    }
    format!(
        "<h2>What became of the records</h2><svg viewBox=\"0 0 920 54\" width=\"100%\" role=\"img\" \
         aria-label=\"what became of the records\">{bar}<text x=\"0\" y=\"46\">{legend}</text></svg>"
    )
}

fn table(report: &Report) -> String {
    let head = [
        "source",
        "offsets",
        "records",
        "found",
        "repaired",
        "replayed",
        "dead letters",
        "twins",
        "missing",
        "extra",
        "doubled",
        "reordered",
        "different",
    ];
    let mut text = String::from("<h2>By source partition</h2><div class=\"wide\"><table><tr>");
    head.iter().for_each(|name| text += &format!("<th>{name}</th>"));
    for row in &report.rows {
        let source = format!("{}/{}", escaped(&row.topic), row.partition);
        text += &table_row(&source, &format!("{} to {}", row.from, row.to), &row.counts);
    }
    text + &table_row("all", "", &report.totals) + "</table></div>"
}

fn table_row(source: &str, offsets: &str, counts: &Counts) -> String {
    let mut text = format!("<tr><td>{source}</td><td>{offsets}</td>");
    let Counts { source, found, repaired, replayed, dead_letters, twins, .. } = counts;
    for number in [source, found, repaired, replayed, dead_letters, twins] {
        let _ = write!(text, "<td>{number}</td>");
    }
    for fault in Fault::ALL {
        let class = if counts.of(fault) > 0 { " class=\"wrong\"" } else { "" };
        let _ = write!(text, "<td{class}>{}</td>", counts.of(fault));
    }
    text + "</tr>"
}

/// A strip for each partition, from its first offset to its last: green where all is well, the worst fault's colour elsewhere.
fn strips(rows: &[Row]) -> String {
    let width = 700.0 / STRETCHES as f64;
    let height = rows.len() * 22 + 26;
    let mut text = format!(
        "<h2>Where in the range</h2><svg viewBox=\"0 0 920 {height}\" width=\"100%\" role=\"img\" aria-label=\"faults along the offsets\">"
    );
    for (row, y) in rows.iter().zip((0..).step_by(22)) {
        let _ = write!(text, "<text x=\"0\" y=\"{}\">{}/{}</text>", y + 13, escaped(&row.topic), row.partition);
        let colour = if row.counts.source == 0 { EMPTY } else { GOOD };
        let _ = write!(text, "<rect x=\"215\" y=\"{y}\" width=\"700\" height=\"16\" fill=\"{colour}\"/>");
        for (counts, stretch) in row.heat.iter().zip(0..) {
            let Some((fault, count)) = counts.iter().enumerate().filter(|(_, n)| **n > 0).max_by_key(|(_, n)| **n)
            else {
                continue;
            };
            let (x, colour) = (215.0 + f64::from(stretch) * width, COLOURS[fault]);
            let _ = write!(
                text,
                "<rect x=\"{x:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"16\" fill=\"{colour}\"><title>{count} {}</title></rect>",
                Fault::ALL[fault].name()
            );
        }
    }
    let legend: Vec<String> = Fault::ALL
        .iter()
        .map(|fault| format!("<tspan fill=\"{}\">\u{25a0}</tspan> {}", COLOURS[*fault as usize], fault.name()))
        .collect();
    text + &format!("<text x=\"215\" y=\"{}\">{}</text></svg>", height - 8, legend.join("\u{2003}"))
}

fn findings(report: &Report) -> String {
    if report.named.is_empty() && report.doubled_keys.1.is_empty() {
        return String::new();
    }
    let mut text = String::from(
        "<h2>Faults, by position</h2><div class=\"wide\"><table class=\"text\"><tr><th>fault</th><th>source</th><th>offset</th>\
         <th>message</th><th>target</th><th></th></tr>",
    );
    let mut row = |cells: [&str; 6]| {
        text += "<tr>";
        cells.iter().for_each(|cell| text += &format!("<td>{}</td>", escaped(cell)));
        text += "</tr>";
    };
    for named in &report.named {
        let (topic, id) = named.message.clone().unwrap_or_default();
        let source = format!("{}/{}", named.source_topic, named.partition);
        row([named.fault.name(), &source, &named.offset.to_string(), &id, &topic, named.detail]);
    }
    for (sequence_id, topic, id) in &report.doubled_keys.1 {
        row(["doubled", "", &sequence_id.to_string(), id, topic, "by its key"]);
    }
    let named = report.named.len() as u64;
    let all: u64 = Fault::ALL.iter().map(|fault| report.totals.of(*fault)).sum();
    let more = if all > named { format!("<p>and {} more</p>", all - named) } else { String::new() };
    text + "</table></div>" + &more
}

fn list(page: &mut String, title: &str, items: impl Iterator<Item = String>) {
    let items: String = items.map(|item| format!("<li>{}</li>", escaped(&item))).collect();
    if !items.is_empty() {
        let _ = write!(page, "<h2>{title}</h2><ul>{items}</ul>");
    }
}

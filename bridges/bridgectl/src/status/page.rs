//! The fleet's state as one HTML page that needs nothing else: no script, no font, no picture from elsewhere. Pure.

use std::fmt::Write;

use bridge_common::config::rfc3339;
use serde_json::Value;

use super::facts::{Facts, Said};
use super::row::Row;
use super::{Picture, duration};
use crate::html::escaped;

const STYLE: &str = "\
:root{--ink:#1b2733;--soft:#5b6b7a;--line:#dde3e9;--paper:#fff;--card:#f6f8fa;--good:#1a7f4b;--bad:#b3261e;--odd:#96590a;--bar:#2b6cb0;--pill:#fff}\
@media(prefers-color-scheme:dark){:root{--ink:#e3e8ed;--soft:#9aa8b5;--line:#33404c;--paper:#141a20;--card:#1c242c;--good:#5fd199;--bad:#ff8a80;--odd:#f0c36d;--bar:#7fb2e5;--pill:#141a20}}\
body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:80em;padding:0 1em;color:var(--ink);background:var(--paper)}\
h1{font-size:1.5em;margin:0}h2{font-size:1.15em;margin:0 .6em 0 0;display:inline-block}p{margin:.4em 0}\
.muted{color:var(--soft)}.pill{display:inline-block;padding:.05em .7em;border-radius:1em;color:var(--pill);font-weight:600;white-space:nowrap}\
.good{background:var(--good)}.bad{background:var(--bad)}.odd{background:var(--odd)}\
.verdict{font-size:1.1em;padding:.25em .9em;border-radius:.3em;margin:.7em 0}\
.problems{border-left:.3em solid var(--bad);padding:.2em 1em;margin:1em 0;list-style:none;background:var(--card)}.problems li{margin:.3em 0;overflow-wrap:anywhere}\
section{background:var(--card);border:1px solid var(--line);border-radius:.5em;padding:1em;margin:1.2em 0}\
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums;margin:.6em 0}\
th,td{padding:.25em .7em;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}th{font-weight:600}\
.left{text-align:left}td.why{text-align:left;white-space:normal;overflow-wrap:anywhere;min-width:18em}\
tr.dead td{color:var(--soft)}tr.dead td.lag{color:var(--bad);font-weight:600}a{color:inherit}\
svg{vertical-align:middle}.track{fill:var(--line)}.fill{fill:var(--bar)}.late{fill:var(--bad)}";

/// A lag of more seconds than this is drawn as late.
const LATE_SECONDS: f64 = 60.0;
/// Partitions that are shown one by one; of further ones those with the largest lag are.
const PARTITIONS_SHOWN: usize = 60;

/// The page. With `reload_seconds` a browser reads it again after so long.
pub(super) fn html(picture: &Picture, reload_seconds: Option<u64>) -> String {
    let unwell = picture.rows.iter().filter(|(row, _)| !row.is_well()).count();
    let (class, verdict) = match (unwell, picture.silent.is_empty()) {
        (0, true) => ("good", "all is well".to_owned()),
        (0, false) => ("odd", "brokers do not answer".to_owned()),
        _ => ("bad", format!("{unwell} of {} bridges need somebody", picture.rows.len())),
    };
    let reload = reload_seconds.map(|seconds| format!("<meta http-equiv=\"refresh\" content=\"{seconds}\">"));
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <meta name=\"color-scheme\" content=\"light dark\">{}<title>Stream bridges: {verdict}</title>\
         <link rel=\"icon\" href=\"data:,\"><style>{STYLE}</style></head><body><h1>Stream bridges</h1>\
         <p class=\"muted\">as of {}</p><div class=\"pill verdict {class}\">{verdict}</div>",
        reload.unwrap_or_default(),
        rfc3339(picture.at_ms),
    );
    page += &problems(picture);
    page += &fleet(picture);
    for (row, facts) in &picture.rows {
        page += &bridge(row, facts);
    }
    page + "</body></html>\n"
}

/// What is wrong, before everything else.
fn problems(picture: &Picture) -> String {
    let of_bridges = picture.rows.iter().flat_map(|(row, _)| row.problems.iter().map(|it| (row.stream.as_str(), it)));
    let mut items = String::new();
    for (stream, problem) in of_bridges {
        let _ = write!(items, "<li><b>{}</b>: {}</li>", escaped(stream), escaped(problem));
    }
    for silent in &picture.silent {
        let _ = write!(items, "<li>{}</li>", escaped(silent));
    }
    if items.is_empty() { items } else { format!("<ul class=\"problems\">{items}</ul>") }
}

/// One line for each bridge; the bars compare the lags of all.
fn fleet(picture: &Picture) -> String {
    const HEAD: [&str; 11] =
        ["bridge", "state", "replicas", "in/s", "out/s", "lag", "", "behind", "p99", "dead letters", "drift"];
    let most = picture.rows.iter().filter_map(|(row, _)| row.lag_records).max().unwrap_or_default();
    let mut text = format!("<div class=\"wide\"><table id=\"fleet\">{}", head(&HEAD, 2));
    for (row, _) in &picture.rows {
        let is_dead = row.replicas.0 == 0;
        let rate = |rate: Option<f64>| or_dash(rate.map(|rate| format!("{rate:.0}")));
        let (name, class) = (escaped(&row.stream), if is_dead { " class=\"dead\"" } else { "" });
        let _ = write!(
            text,
            "<tr{class}><td class=\"left\"><a href=\"#{name}\">{name}</a></td><td class=\"left\">{}</td><td>{}/{}</td><td>{}</td><td>{}</td>\
             <td class=\"lag\">{}</td><td>{}</td><td class=\"lag\">{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            pill(&row.state, row.is_well()),
            row.replicas.0,
            row.replicas.1,
            rate(row.in_per_second),
            rate(row.out_per_second),
            or_dash(row.lag_records.map(|lag| lag.to_string())),
            bar(row.lag_records.unwrap_or_default(), most, row.lag_seconds),
            or_dash(row.lag_seconds.map(duration)),
            or_dash(row.p99_seconds.map(duration)),
            or_dash(row.dead_letters.map(|count| count.to_string())),
            or_dash(row.drift_fields.map(super::drift)),
        );
    }
    text + "</table></div>"
}

/// All that is known of one bridge.
fn bridge(row: &Row, facts: &Facts) -> String {
    let name = escaped(&row.stream);
    let mut text = format!("<section id=\"{name}\"><h2>{name}</h2>{}", pill(&row.state, row.is_well()));
    if let Some(error) = &row.last_error {
        let _ = write!(text, "<p>last error: {}</p>", escaped(error));
    }
    text += &replicas(facts);
    let said: Vec<&Said> = facts.said().collect();
    text += &if said.is_empty() { by_the_brokers(facts) } else { partitions(&said) };
    text + "</section>"
}

fn replicas(facts: &Facts) -> String {
    let mut text = format!("<div class=\"wide\"><table>{}", head(&["replica", "state", "version", "up for", ""], 3));
    for (address, said) in &facts.replicas {
        let address = escaped(address);
        let _ = match said {
            Ok(said) => write!(
                text,
                "<tr><td class=\"left\">{address}</td><td class=\"left\">{}</td><td class=\"left\">{}</td><td>{}</td><td class=\"why\">{}</td></tr>",
                pill(said.status["state"].as_str().unwrap_or("unknown"), said.unready.is_none()),
                escaped(said.status["version"].as_str().unwrap_or("-")),
                or_dash(said.status["uptime_seconds"].as_f64().map(duration)),
                escaped(said.unready.as_deref().unwrap_or_default()),
            ),
            Err(problem) => write!(
                text,
                "<tr class=\"dead\"><td class=\"left\">{address}</td><td class=\"left\">{}</td><td class=\"left\">-</td><td>-</td><td class=\"why\">{}</td></tr>",
                pill("dead", false),
                escaped(problem),
            ),
        };
    }
    text + "</table></div>"
}

/// The partitions by the bridge's own word.
fn partitions(said: &[&Said]) -> String {
    let all = said.iter().filter_map(|said| said.status["partitions"].as_array()).flatten();
    let mut all: Vec<&Value> = all.collect();
    let lag = |partition: &Value| partition["lag_records"].as_u64().unwrap_or_default();
    let most = all.iter().map(|partition| lag(partition)).max().unwrap_or_default();
    let place = |partition: &Value| (partition["topic"].to_string(), partition["partition"].as_u64());
    let left_out = all.len().saturating_sub(PARTITIONS_SHOWN);
    if left_out > 0 {
        all.sort_by_key(|partition| std::cmp::Reverse(lag(partition)));
        all.truncate(PARTITIONS_SHOWN);
    }
    all.sort_by_key(|partition| place(partition));
    let columns = ["source partition", "state", "position", "end", "lag", "", "behind", "last receipt", ""];
    let mut text = format!("<div class=\"wide\"><table>{}", head(&columns, 2));
    for partition in all {
        let state = partition["state"].as_str().unwrap_or("unknown");
        let number = |name: &str| or_dash(partition[name].as_u64().map(|number| number.to_string()));
        let receipt = partition["last_receipt_seconds_ago"].as_f64();
        let _ = write!(
            text,
            "<tr><td class=\"left\">{}/{}</td><td class=\"left\">{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"why\">{}</td></tr>",
            escaped(partition["topic"].as_str().unwrap_or_default()),
            partition["partition"],
            pill(state, state == "running"),
            number("position"),
            number("source_end"),
            number("lag_records"),
            bar(lag(partition), most, partition["lag_seconds"].as_f64()),
            or_dash(partition["lag_seconds"].as_f64().map(duration)),
            or_dash(receipt.map(|ago| format!("{} ago", duration(ago)))),
            escaped(partition["reason"].as_str().unwrap_or_default()),
        );
    }
    text += "</table></div>";
    if left_out > 0 {
        let _ = write!(text, "<p class=\"muted\">and {left_out} partitions with a smaller lag</p>");
    }
    text
}

/// What waits in the sources of a bridge that says nothing.
fn by_the_brokers(facts: &Facts) -> String {
    let most = facts.sources.iter().flat_map(|source| source.behind.values()).max().copied().unwrap_or_default();
    let mut text = String::from("<p>What waits, by the brokers' own word:</p>");
    if facts.sources.is_empty() {
        return text + "<p class=\"muted\">not known: the brokers do not answer either</p>";
    }
    text += &format!("<div class=\"wide\"><table>{}", head(&["source partition", "lag", ""], 1));
    for source in &facts.sources {
        for (partition, behind) in source.behind.iter().take(PARTITIONS_SHOWN) {
            let _ = write!(
                text,
                "<tr><td class=\"left\">{}/{partition}</td><td>{behind}</td><td>{}</td></tr>",
                escaped(&source.name),
                bar(*behind, most, source.oldest_seconds),
            );
        }
    }
    text += "</table></div>";
    for source in &facts.sources {
        if let Some(seconds) = source.oldest_seconds {
            let _ = write!(
                text,
                "<p>The oldest record of {} that is not mirrored is {} old.</p>",
                escaped(&source.name),
                duration(seconds)
            );
        }
    }
    text
}

/// The first `left` columns are text.
fn head(columns: &[&str], left: usize) -> String {
    let cells = columns.iter().enumerate().map(|(index, name)| match index < left {
        true => format!("<th class=\"left\">{name}</th>"),
        false => format!("<th>{name}</th>"),
    });
    format!("<tr>{}</tr>", cells.collect::<String>())
}

/// A state by its name, and by a colour besides.
fn pill(state: &str, is_well: bool) -> String {
    let class = match state {
        _ if state == "dead" || state.contains("stopped") => "bad",
        "running" | "standing-by" if is_well => "good",
        "running" => "bad",
        _ => "odd",
    };
    format!("<span class=\"pill {class}\">{}</span>", escaped(state))
}

/// A lag beside the largest. Whatever there is can be seen.
fn bar(lag: u64, most: u64, seconds: Option<f64>) -> String {
    const WIDTH: f64 = 120.0;
    let width = if lag == 0 { 0.0 } else { (lag as f64 / most.max(1) as f64 * WIDTH).max(2.0) };
    let class = if seconds.is_some_and(|seconds| seconds > LATE_SECONDS) { "late" } else { "fill" };
    format!(
        "<svg width=\"{WIDTH}\" height=\"10\" role=\"img\" aria-label=\"{lag} records\"><rect class=\"track\" width=\"{WIDTH}\" height=\"10\" rx=\"2\"/>\
         <rect class=\"{class}\" width=\"{width:.1}\" height=\"10\" rx=\"2\"/></svg>"
    )
}

fn or_dash(shown: Option<String>) -> String {
    shown.unwrap_or_else(|| "-".to_owned())
}

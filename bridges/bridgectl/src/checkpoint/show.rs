//! `show`: the checkpoints as a table, or as JSON.

use bridge_common::checkpoint::Listed;
use bridge_common::lane::Mark;
use serde_json::{Value, json};

use super::Desk;
use super::plan::Name;
use crate::terminal::{self, now_ms};

/// Prints what the checkpoint topic says of every partition of the stream.
pub(super) async fn run(desk: &Desk, as_json: bool) -> Result<(), String> {
    let listed = desk.list().await?;
    let now_ms = now_ms();
    let mut rows: Vec<(Name, &String, &Listed)> =
        listed.iter().filter_map(|(name, entry)| Some((Name::parse(name)?, name, entry))).collect();
    rows.sort_by_key(|(parsed, ..)| (parsed.topic.clone(), parsed.generation, parsed.partition));
    if as_json {
        let rows: Vec<Value> = rows.iter().map(|(parsed, name, entry)| row_json(parsed, name, entry, now_ms)).collect();
        let document =
            json!({ "version": 1, "topic": desk.topic, "stream": desk.config.stream.name, "partitions": rows });
        terminal::out(&format!("{document}\n"));
    } else {
        terminal::out(&table(&rows, now_ms));
    }
    Ok(())
}

fn row_json(parsed: &Name, name: &str, entry: &Listed, now_ms: u64) -> Value {
    let Name { topic, partition, generation } = parsed;
    json!({
        "name": name, "source_topic": topic, "partition": partition, "generation": generation,
        "age_seconds": now_ms.saturating_sub(entry.written_ms) / 1000, "sequence_id": entry.sequence_id,
        "position": entry.stored.checkpoint.position, "checkpoint": entry.stored,
    })
}

/// One line a partition.
pub(super) fn table(rows: &[(Name, &String, &Listed)], now_ms: u64) -> String {
    let mut lines =
        vec![["TOPIC", "PARTITION", "GEN", "POSITION", "AGE", "REPAIRS", "ROUTING", "MARKS"].map(str::to_owned)];
    for (Name { topic, partition, generation }, _, entry) in rows {
        let checkpoint = &entry.stored.checkpoint;
        let marks: Vec<String> = checkpoint.marks.iter().map(mark).collect();
        let repairs: Vec<String> =
            checkpoint.repairs.iter().map(|repair| format!("{}-{}", repair.lowest, repair.highest)).collect();
        let routing = &checkpoint.routing;
        let routes = if routing.routes.is_empty() { String::new() } else { format!(" +{}", routing.routes.len()) };
        lines.push([
            topic.clone(),
            partition.to_string(),
            generation.to_string(),
            checkpoint.position.to_string(),
            age(now_ms.saturating_sub(entry.written_ms) / 1000),
            if repairs.is_empty() { "-".to_owned() } else { repairs.join(" ") },
            format!("{}/{}{routes}", short(&routing.topic), routing.partitions),
            marks.join(" "),
        ]);
    }
    let widths: Vec<usize> =
        (0..8).map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0)).collect();
    let line = |line: &[String; 8]| {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    lines.iter().map(line).collect()
}

fn mark(mark: &Mark) -> String {
    match mark {
        Mark::Earliest => "earliest".to_owned(),
        Mark::Unsent => "unsent".to_owned(),
        Mark::At { ledger, entry } => format!("{ledger}:{entry}"),
    }
}

fn short(topic: &str) -> &str {
    topic.strip_prefix("persistent://").unwrap_or(topic)
}

fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

//! `set` and `forget`: take the names (first those that keep replays out), say what will happen, ask, write, and read back.

use std::collections::BTreeMap;
use std::time::Duration;

use bridge_common::lane::{Route, Routing};
use serde_json::{Value, json};

use super::hold::Hold;
use super::plan::{self, Change, chosen};
use super::source::watermarks;
use super::{Asked, Desk, Which};
use crate::audit::{self, LogOptions, Operation};
use crate::terminal;

/// How often an entry that the broker knows of is looked for before it is taken as lost, and the pause between.
const LOOKS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(500);

/// Sets the position of partitions; without one they are forgotten.
pub(super) async fn run(
    desk: &Desk,
    which: &Which,
    position: Option<u64>,
    asked: Asked,
    log: &LogOptions,
) -> Result<(), String> {
    let names = chosen(&desk.list().await?, which, &desk.prefix())?;
    let (mut replays, mut holds) = (Vec::new(), Vec::new());
    let done = async {
        // Before the partitions' own names: a replay goes by the position that it has read.
        for name in &names {
            replays.push(Hold::keep_replays_out(desk, name).await?);
        }
        for name in &names {
            holds.push(Hold::take(desk, name).await?);
        }
        change(desk, &names, &mut holds, position, asked, log).await
    };
    let done = done.await;
    release(holds).await;
    release(replays).await;
    done
}

async fn release(holds: Vec<Hold>) {
    for hold in holds {
        hold.release().await;
    }
}

/// Everything is held: nobody else can change an entry from here on.
async fn change(
    desk: &Desk,
    names: &[String],
    holds: &mut [Hold],
    position: Option<u64>,
    asked: Asked,
    log: &LogOptions,
) -> Result<(), String> {
    let routing = routing(desk).await?;
    let (changes, known) = plan(desk, names, holds, position, &routing).await?;
    for change in changes.iter().filter(|_| !asked.json) {
        terminal::say(&format!("{}: {}\n", change.name, change.says));
    }
    let sum = |of: fn(&Change) -> u64| changes.iter().map(of).sum();
    asked.confirm(sum(|change| change.skipped), sum(|change| change.assumed))?;
    let says: Vec<Value> = changes.iter().map(|change| json!({ "name": change.name, "says": change.says })).collect();
    let verb = if position.is_some() { "checkpoint set" } else { "checkpoint forget" };
    let operation = Operation::new(verb, &desk.config.stream.name, json!({ "position": position, "changes": says }));
    let stream = &desk.config.stream.name;
    let done = audit::record(&desk.config, log, operation, carry_out(desk, &changes, holds, known)).await;
    done.map(|_| {
        terminal::say(&match asked.json {
            true => format!("{:#}\n", document(stream, verb, position, &changes)),
            false => format!("Written and read back: {} of {stream}.\n", changes.len()),
        });
    })
}

/// What was changed, as JSON.
fn document(stream: &str, verb: &str, position: Option<u64>, changes: &[Change]) -> Value {
    let one = |change: &Change| json!({"name": change.name, "says": change.says, "skipped": change.skipped, "assumed": change.assumed});
    let changes: Vec<Value> = changes.iter().map(one).collect();
    json!({
        "version": 1, "kind": verb.replace(' ', "-"), "stream": stream, "position": position, "changes": changes,
    })
}

/// Writes the entries and reads them back.
async fn carry_out(desk: &Desk, changes: &[Change], holds: &mut [Hold], known: Vec<u64>) -> Result<Value, String> {
    for ((change, hold), known) in changes.iter().zip(holds).zip(known) {
        hold.write(known, change.to.as_ref()).await?;
    }
    let listed = desk.list().await?;
    for change in changes {
        let found = listed.get(&change.name).map(|listed| &listed.stored);
        if found != change.to.as_ref() {
            return Err(format!("{}: what was written is not what is read back: look with `show`", change.name));
        }
    }
    Ok(json!({ "changed": changes.len() }))
}

/// What changes, and the newest sequence id of each partition that can be read.
async fn plan(
    desk: &Desk,
    names: &[String],
    holds: &[Hold],
    position: Option<u64>,
    routing: &Routing,
) -> Result<(Vec<Change>, Vec<u64>), String> {
    let sources = match position {
        Some(_) => watermarks(desk, names).await?,
        None => BTreeMap::new(),
    };
    let mut looks = 0;
    loop {
        let listed = desk.list().await?;
        // A forgotten partition has an entry that is not listed.
        let is_behind = |name: &String, hold: &Hold| {
            listed.get(name).is_some_and(|listed| hold.last().is_some_and(|last| last > listed.sequence_id))
        };
        let behind: Vec<&String> =
            names.iter().zip(holds).filter(|(name, hold)| is_behind(name, hold)).map(|(name, _)| name).collect();
        looks += 1;
        if !behind.is_empty() && looks < LOOKS {
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        for name in behind {
            let problem = "the broker knows of a later entry than can be read: what is shown here is behind";
            eprintln!("{name}: {problem}");
        }
        let siblings = listed.values().map(|listed| listed.stored.source_partitions).max().unwrap_or(0);
        let changes: Result<Vec<Change>, String> = names
            .iter()
            .map(|name| {
                let before = listed.get(name).map(|listed| &listed.stored);
                match position {
                    Some(position) => plan::set(name, before, position, sources.get(name).copied(), routing, siblings),
                    None => Ok(plan::forget(name, before)),
                }
            })
            .collect();
        let known = names.iter().map(|name| listed.get(name).map_or(0, |listed| listed.sequence_id)).collect();
        return Ok((changes?, known));
    }
}

/// The routing that the configuration and the partition counts of its topics make.
async fn routing(desk: &Desk) -> Result<Routing, String> {
    let config = &desk.config;
    let mut routes = Vec::new();
    for route in config.route.values() {
        let topic = route.topic.to_string();
        let partitions = partitions(desk, &topic).await?;
        routes.push(Route { field: route.field.clone(), equals: route.equals.clone(), topic, partitions });
    }
    let topic = config.target.topic.to_string();
    let partitions = partitions(desk, &topic).await?;
    let dead_letters = config.dead_letter_topic().to_string();
    Ok(Routing { partition_by: config.target.partition_by(), topic, partitions, dead_letters, routes })
}

async fn partitions(desk: &Desk, topic: &str) -> Result<u32, String> {
    desk.client.partitions(topic).await.map_err(|error| error.to_string())
}

//! `bridgectl slo`: evidence of what a bridge promises, from real records alone: nothing is injected. For a while it reads the
//! target and the dead letters as any consumer does, and the source beside the bridge as the source's own consumers do, and
//! compares how long records take on both ways, and what is missing.

mod account;
mod latencies;
mod listen;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bridge_common::config::{Config, Source, rfc3339};
use bridge_common::pulsar::{Client, ClientConfig, ReaderStart};
use bridge_common::shutdown::Exit;
use clap::Args;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::replicas::reachable;
use crate::status::Figures;
use crate::streams;
use crate::terminal::{self, Progress, now_ms};
use crate::topic::{Pass, partition_names};
use account::{About, Account};
use listen::{Seen, arrived, consume, follow};

/// How much of what was seen may wait to be added up.
const WAITING: usize = 10_000;

/// Where the go/no-go report looks.
const RESULTS: &str = "test-output/benchmark-results";

#[derive(Debug, Args)]
pub(crate) struct SloArguments {
    /// The stream, by the name of its file in the configuration
    stream: String,
    /// Seconds to measure, from now on
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400), conflicts_with = "since")]
    seconds: u64,
    /// Seconds in which what the source's consumer had last may still arrive before it counts as missing
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    grace: u64,
    /// Judge what was published since this time instead (RFC 3339, or how long ago: `90s`, `15m`, `2h`, `7d`): without readers'
    /// times, and without what is missing, which `verify` tells
    #[arg(long, value_name = "TIME", value_parser = terminal::parse_time)]
    since: Option<u64>,
    /// With --since: until this time; unset: now
    #[arg(long, value_name = "TIME", value_parser = terminal::parse_time, requires = "since")]
    until: Option<u64>,
    /// The directory of the results
    #[arg(long, value_name = "DIR", default_value = RESULTS)]
    out: PathBuf,
    /// Directory of default.toml and the streams' own files
    #[arg(long, value_name = "DIR", default_value = "config")]
    config: PathBuf,
    /// Write the result to standard output, too
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub(crate) async fn run(arguments: &SloArguments) -> Exit {
    let ready = streams::load_one(&arguments.config, &arguments.stream).and_then(|config| {
        let client = Client::new(ClientConfig::of(&config.pulsar)).map_err(|error| error.to_string())?;
        Ok((config, client))
    });
    let (config, client) = match ready {
        Ok(ready) => ready,
        Err(problem) => return streams::wrong(&arguments.stream, arguments.json, &problem),
    };
    let measured = match arguments.since {
        Some(since_ms) => range(&config, &client, since_ms, arguments.until.unwrap_or_else(now_ms)).await,
        None => live(&config, &client, arguments).await,
    };
    let told = measured.and_then(|(account, result)| tell(arguments, &account, &result).map(|()| (account, result)));
    match told {
        Ok((_, result)) if result["failed"].is_string() => {
            let problem = result["failed"].as_str().unwrap_or_default();
            eprintln!("bridgectl: {}: it ended early, what was measured is written: {problem}", arguments.stream);
            Exit::Fault
        }
        Ok((account, _)) if account.is_empty() => {
            eprintln!("bridgectl: {}: nothing was published meanwhile: there is nothing to judge", arguments.stream);
            Exit::Fault
        }
        Ok((_, result)) => match result["errors"]["missing"].as_u64() {
            Some(missing) if missing > 0 => {
                eprintln!("bridgectl: {}: {missing} records are missing", arguments.stream);
                Exit::Fault
            }
            _ => Exit::Clean,
        },
        Err(problem) => streams::failed(&arguments.stream, arguments.json, &problem),
    }
}

/// Writes the file, and shows the table.
fn tell(arguments: &SloArguments, account: &Account, result: &Value) -> Result<(), String> {
    let file = write(&arguments.out, &arguments.stream, result)?;
    if arguments.json {
        terminal::say(&format!("{result:#}\n"));
    } else {
        terminal::say(&terminal::table(&account.table()));
        let errors = &result["errors"];
        let missing = errors["missing"].as_u64().map_or_else(|| "not told".to_owned(), |missing| missing.to_string());
        let dead_letters = &errors["dead_letters"];
        terminal::say(&format!("dead letters {dead_letters}, missing {missing}; written to {}\n", file.display()));
    }
    Ok(())
}

fn write(directory: &Path, stream: &str, result: &Value) -> Result<PathBuf, String> {
    let at: String = rfc3339(now_ms()).chars().filter(char::is_ascii_alphanumeric).collect();
    let file = directory.join(format!("slo-{stream}-{at}.json"));
    let written = std::fs::create_dir_all(directory).and_then(|()| std::fs::write(&file, format!("{result:#}\n")));
    written.map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(file)
}

/// All partitions of the target and of the routes, and the dead letters' topic last.
async fn topics(config: &Config, client: &Client) -> Result<Vec<String>, String> {
    let mut topics = Vec::new();
    let mut bases: Vec<String> = config.route.values().map(|route| route.topic.to_string()).collect();
    bases.push(config.target.topic.to_string());
    bases.sort();
    bases.dedup();
    for topic in bases {
        let partitions = client.partitions(&topic).await.map_err(|error| error.to_string())?;
        topics.extend(partition_names(&topic, partitions));
    }
    topics.push(config.dead_letter_topic().to_string());
    Ok(topics)
}

/// Listens on both sides for a while.
async fn live(config: &Config, client: &Client, arguments: &SloArguments) -> Result<(Account, Value), String> {
    let (out, mut seen) = mpsc::channel(WAITING);
    let prefix = format!("bridge/{}/", config.stream.name);
    let topics = topics(config, client).await?;
    // First the target, so that nothing that the source's consumer sees has passed there before.
    for (at, topic) in topics.iter().enumerate() {
        follow(client, topic, prefix.clone(), at + 1 == topics.len(), out.clone()).await?;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let (mut consumers, mut sources) = (0, 0);
    for source in config.source.values() {
        sources += 1;
        if let Source::Kafka(kafka) = source {
            consume(config, kafka, Arc::clone(&stop), out.clone()).await?;
            consumers += 1;
        }
    }
    drop(out);
    let before = receipts(config).await;
    let (from_ms, began) = (now_ms(), Instant::now());
    let until = began + Duration::from_secs(arguments.seconds);
    let mut account = Account::default();
    let mut progress = Progress::new("measuring, seconds:");
    let mut failed = listen(&mut seen, &mut account, until, &mut |_| {
        progress.at(began.elapsed().as_secs(), Some(arguments.seconds));
        false
    })
    .await
    .err();
    let until_ms = now_ms();
    stop.store(true, Ordering::Relaxed);
    // With one owner of the keys a twin stands for the record: its own offset is nowhere.
    let can_miss = consumers > 0 && config.dedupe.key.is_none();
    let grace = Instant::now() + Duration::from_secs(arguments.grace);
    if can_miss && failed.is_none() {
        failed = listen(&mut seen, &mut account, grace, &mut |account| account.missing().0 == 0).await.err();
    }
    // What was measured until then stands; what is missing cannot be told by it.
    let can_miss = can_miss && failed.is_none();
    let about = About { stream: config.stream.name.clone(), mode: "live", from_ms, until_ms, can_miss };
    let mut result = account.to_json(&about);
    result["sources_not_consumed"] = (sources - consumers).into();
    result["failed"] = failed.into();
    result["bridge"] = receipts_since(config, before).await;
    Ok((account, result))
}

/// Adds up what comes until a moment, or until `is_done`.
async fn listen(
    seen: &mut mpsc::Receiver<Seen>,
    account: &mut Account,
    until: Instant,
    is_done: &mut dyn FnMut(&Account) -> bool,
) -> Result<(), String> {
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    loop {
        tokio::select! {
            one = seen.recv() => match one {
                Some(Seen::Arrived(messages)) => messages.iter().for_each(|message| account.arrived(message)),
                Some(Seen::Consumed { place, offset, stamp_ms, read_ms }) => account.consumed(&place, offset, stamp_ms, read_ms),
                Some(Seen::Failed(problem)) => return Err(problem),
                Some(Seen::Ended) => {}
                None => return Ok(()),
            },
            _ = tick.tick() => {
                if is_done(account) || Instant::now() >= until {
                    return Ok(());
                }
            }
        }
    }
}

/// What the bridge's own histogram holds of the time to the receipt, over all replicas that answer.
async fn receipts(config: &Config) -> Option<Figures> {
    let mut all: Option<Figures> = None;
    for (_, replica) in reachable(config).await {
        if let Ok((200, text)) = replica.get("metrics").await {
            let figures = Figures::parse(&text);
            match &mut all {
                Some(all) => all.end_to_end.add(&figures.end_to_end),
                None => all = Some(figures),
            }
        }
    }
    all
}

/// From the source's stamp to the receipt, as the bridge itself measured it meanwhile; null where it did not answer.
async fn receipts_since(config: &Config, before: Option<Figures>) -> Value {
    let (Some(before), Some(after)) = (before, receipts(config).await) else { return Value::Null };
    let meanwhile = after.end_to_end.since(&before.end_to_end);
    let ms = |share: f64| meanwhile.quantile(share).map(|seconds| seconds * 1000.0);
    serde_json::json!({ "source_to_receipt_ms": { "p50": ms(0.5), "p95": ms(0.95), "p99": ms(0.99) } })
}

/// What was published between two moments.
async fn range(config: &Config, client: &Client, from_ms: u64, until_ms: u64) -> Result<(Account, Value), String> {
    let prefix = format!("bridge/{}/", config.stream.name);
    let topics = topics(config, client).await?;
    let mut account = Account::default();
    let mut progress = Progress::new("reading entries:");
    let mut count = 0;
    for (at, topic) in topics.iter().enumerate() {
        let mut pass = Pass::begin(client, topic, ReaderStart::Earliest).await?;
        while let Some(entry) = pass.next().await? {
            count += 1;
            progress.at(count, None);
            if (from_ms..=until_ms).contains(&entry.publish_time_ms) {
                let messages = arrived(&entry, &prefix, at + 1 == topics.len(), None)?;
                messages.iter().for_each(|message| account.arrived(message));
            }
        }
    }
    let about = About { stream: config.stream.name.clone(), mode: "range", from_ms, until_ms, can_miss: false };
    let mut result = account.to_json(&about);
    result["bridge"] = Value::Null;
    Ok((account, result))
}

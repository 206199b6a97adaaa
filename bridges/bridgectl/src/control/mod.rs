//! `bridgectl pause`, `resume` and `drain`: orders to every replica of a bridge, and a look whether they were carried out.

mod seen;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bridge_common::config::{Config, read_secret};
use bridge_common::shutdown::Exit;
use clap::Args;
use serde_json::{Value, json};

use crate::audit::{self, LogOptions, Operation};
use crate::replicas::{Replica, replicas};
use crate::{streams, terminal};
use seen::{Wanted, is_done};

/// How often it is looked whether an order was carried out.
const PAUSE: Duration = Duration::from_millis(250);

#[derive(Debug, Args)]
pub(crate) struct PauseArguments {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    order: Order,
    /// Do not ask; single partitions are paused without asking
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ResumeArguments {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    order: Order,
}

/// Which source partitions.
#[derive(Debug, Args)]
struct Which {
    /// Single source partitions, by their numbers; unset: the whole bridge
    #[arg(long = "partition", value_name = "N", value_delimiter = ',')]
    partitions: Vec<u32>,
    /// Of this topic or queue only, where the stream has several
    #[arg(long, value_name = "TOPIC", requires = "partitions")]
    topic: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DrainArguments {
    #[command(flatten)]
    order: Order,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// What all orders take.
#[derive(Debug, Args)]
struct Order {
    /// The stream, by the name of its file in the configuration
    stream: String,
    /// The file that holds the token of the bridge's HTTP. Unset: http.token_file of the configuration
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Seconds to wait until the order is carried out; 0: do not wait
    #[arg(long, value_name = "N", default_value_t = 30)]
    wait: u64,
    /// Directory of default.toml and the streams' own files
    #[arg(long, value_name = "DIR", default_value = "config")]
    config: PathBuf,
    /// Write JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    log: LogOptions,
}

/// What each replica has answered: its address, and its words; an error where it did not take the order.
type Answers = Vec<(String, Result<String, String>)>;

/// `bridgectl pause`.
pub(crate) async fn pause(arguments: &PauseArguments) -> Exit {
    let Which { partitions, topic } = &arguments.which;
    let wanted = Wanted::Paused { topic: topic.clone(), partitions: partitions.clone() };
    run("pause", &arguments.order, wanted, arguments.yes).await
}

/// `bridgectl resume`.
pub(crate) async fn resume(arguments: &ResumeArguments) -> Exit {
    let Which { partitions, topic } = &arguments.which;
    let wanted = Wanted::Resumed { topic: topic.clone(), partitions: partitions.clone() };
    run("resume", &arguments.order, wanted, true).await
}

/// `bridgectl drain`.
pub(crate) async fn drain(arguments: &DrainArguments) -> Exit {
    run("drain", &arguments.order, Wanted::Drained, arguments.yes).await
}

/// Without `yes` it asks before a whole bridge stops to mirror, when everything is known to be right.
async fn run(verb: &'static str, order: &Order, wanted: Wanted, yes: bool) -> Exit {
    let ready = streams::load_one(&order.config, &order.stream).and_then(|config| {
        let token = token(&config, order)?;
        Ok((config, token))
    });
    let (config, token) = match ready {
        Ok(ready) => ready,
        Err(problem) => return streams::wrong(&order.stream, order.json, &problem),
    };
    let confirmed = match wanted.question(&order.stream).filter(|_| !yes) {
        Some(question) => terminal::confirm(&question, false),
        None => Ok(()),
    };
    if let Err(problem) = confirmed {
        return streams::failed(&order.stream, order.json, &problem);
    }
    match give(verb, &config, order, &wanted, &token).await {
        Ok(None) => Exit::Clean,
        // The document that was written says so, too.
        Ok(Some(problem)) => streams::failed(&order.stream, false, &problem),
        Err(problem) => streams::failed(&order.stream, order.json, &problem),
    }
}

/// The token, from the file that was named, or as the bridge itself reads it.
fn token(config: &Config, order: &Order) -> Result<String, String> {
    let file = order.token_file.as_deref().or(config.http.token_file.as_deref());
    let file = file.ok_or("orders want a token: name its file with --token-file, or set http.token_file")?;
    let secret = read_secret(None, Some(file)).map_err(|error| error.to_string())?;
    secret
        .map(|secret| secret.expose().to_owned())
        .ok_or_else(|| format!("{}: there is no token in it", file.display()))
}

/// Gives the order to every replica, waits until it is carried out, and shows what they said; what is wrong with that, if
/// anything is.
async fn give(
    verb: &'static str,
    config: &Config,
    order: &Order,
    wanted: &Wanted,
    token: &str,
) -> Result<Option<String>, String> {
    let query = wanted.query();
    let addressed = replicas(config).await;
    let arguments = json!({
        "partitions": wanted.partitions(), "topic": wanted.topic(),
        "replicas": addressed.iter().map(|(name, _)| name).collect::<Vec<_>>(),
    });
    let operation = Operation::new(verb, &order.stream, arguments);
    let mut answers = Answers::new();
    let work = async {
        for (name, replica) in &addressed {
            let answer = match replica {
                Ok(replica) => answer(replica.post(verb, &query, token).await),
                Err(problem) => Err(problem.clone()),
            };
            answers.push((name.clone(), answer));
        }
        let refused = answers.iter().filter(|(_, answer)| answer.is_err()).count();
        let shown: Vec<Value> = answers.iter().map(|(name, answer)| answer_json(name, answer)).collect();
        match refused {
            0 => Ok(json!({ "answers": shown })),
            _ => Err(format!("{refused} of {} replicas did not take the order: {}", shown.len(), json!(shown))),
        }
    };
    let given = audit::record(config, &order.log, operation, work).await;
    if answers.is_empty() {
        return given.map(|_| Some("it has no replica that could be asked".to_owned()));
    }
    if config.fleet.url.is_empty() {
        let (stream, listen, count) = (&order.stream, &config.http.listen, answers.len());
        eprintln!(
            "bridgectl: {stream}: fleet.url is not set: {count} addressed, at http.listen ({listen}); other replicas are not known"
        );
    }
    let done = wait_until_done(&addressed, wanted, Duration::from_secs(order.wait)).await;
    let refused = answers.iter().filter(|(_, answer)| answer.is_err()).count();
    let problem = match refused {
        0 => done.as_ref().err().cloned(),
        _ => Some(format!("{refused} of {} replicas did not take the order; the others hold to it", answers.len())),
    };
    show(order, &answers, &done, problem.as_deref());
    Ok(problem)
}

fn answer(answer: crate::replicas::Answer) -> Result<String, String> {
    match answer {
        Ok((202, words)) => Ok(words),
        Ok((status, words)) => Err(format!("{status}: {words}")),
        Err(problem) => Err(problem),
    }
}

fn answer_json(name: &str, answer: &Result<String, String>) -> Value {
    json!({ "address": name, "taken": answer.is_ok(), "answer": answer.as_ref().unwrap_or_else(|problem| problem) })
}

/// Whether all replicas that answer do what was wanted within this time; `false` where it was not waited for.
async fn wait_until_done(
    addressed: &[(String, Result<Replica, String>)],
    wanted: &Wanted,
    patience: Duration,
) -> Result<bool, String> {
    if patience.is_zero() {
        return Ok(false);
    }
    let deadline = Instant::now() + patience;
    loop {
        let mut statuses = Vec::new();
        for replica in addressed.iter().filter_map(|(_, replica)| replica.as_ref().ok()) {
            if let Ok((200, text)) = replica.get("status").await {
                statuses.push(serde_json::from_str::<Value>(&text).unwrap_or_default());
            }
        }
        match is_done(wanted, &statuses) {
            Ok(()) => return Ok(true),
            Err(left) if Instant::now() > deadline => {
                return Err(format!(
                    "the order was taken, and not carried out within {} s: {left}",
                    patience.as_secs()
                ));
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

fn show(order: &Order, answers: &Answers, done: &Result<bool, String>, problem: Option<&str>) {
    if order.json {
        let answers: Vec<Value> = answers.iter().map(|(name, answer)| answer_json(name, answer)).collect();
        let document = json!({
            "version": 1, "stream": order.stream, "replicas": answers, "done": *done == Ok(true) && problem.is_none(),
            "error": problem,
        });
        terminal::say(&format!("{document:#}\n"));
        return;
    }
    for (name, answer) in answers {
        match answer {
            Ok(words) => terminal::say(&format!("{name}: {words}\n")),
            Err(problem) => terminal::say(&format!("{name}: NOT TAKEN: {problem}\n")),
        }
    }
    if *done == Ok(true) {
        terminal::say("done\n");
    }
}

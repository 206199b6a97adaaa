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
use seen::{Wanted, is_done, never_done};

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
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=86_400))]
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
    // Of those that did not take it nothing can be waited for.
    let told: Vec<Replica> = addressed
        .iter()
        .zip(&answers)
        .filter(|(_, (_, answer))| answer.is_ok())
        .filter_map(|((_, replica), _)| replica.as_ref().ok().cloned())
        .collect();
    let done = wait_until_done(&told, wanted, Duration::from_secs(order.wait)).await;
    let problem = untaken(&answers).or_else(|| done.as_ref().err().cloned());
    show(order, &answers, &done, problem.as_deref());
    Ok(problem)
}

/// Which replicas did not take the order, in words; `None`: all did.
fn untaken(answers: &Answers) -> Option<String> {
    let refused = answers.iter().filter(|(_, answer)| answer.is_err()).count();
    match (refused, answers.len()) {
        (0, _) => None,
        (1, 1) => Some("the only replica did not take the order: nothing was changed".to_owned()),
        (refused, all) if refused == all => Some(format!("none of {all} replicas took the order: nothing was changed")),
        (refused, all) => Some(format!("{refused} of {all} replicas did not take the order; the others hold to it")),
    }
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

/// Whether these replicas do what was wanted within this time; `false` where it was not waited for.
async fn wait_until_done(told: &[Replica], wanted: &Wanted, patience: Duration) -> Result<bool, String> {
    if patience.is_zero() || told.is_empty() {
        return Ok(false);
    }
    let deadline = Instant::now() + patience;
    loop {
        let mut statuses = Vec::new();
        for replica in told {
            if let Ok((200, text)) = replica.get("status").await {
                statuses.push(serde_json::from_str::<Value>(&text).unwrap_or_default());
            }
        }
        if let Some(problem) = never_done(wanted, &statuses) {
            return Err(problem);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_only_named_where_there_are_any() {
        let answers = |taken: &[bool]| {
            let answer = |taken: &bool| if *taken { Ok("paused".to_owned()) } else { Err("401: no".to_owned()) };
            untaken(&taken.iter().map(|taken| ("http://r".to_owned(), answer(taken))).collect())
        };
        assert_eq!(answers(&[true, true]), None);
        assert_eq!(answers(&[false]).unwrap(), "the only replica did not take the order: nothing was changed");
        assert_eq!(answers(&[false, false]).unwrap(), "none of 2 replicas took the order: nothing was changed");
        assert!(answers(&[true, false]).unwrap().starts_with("1 of 2 replicas did not take the order; the others"));
    }

    #[tokio::test]
    async fn nobody_is_waited_for_where_nobody_was_told() {
        let began = Instant::now();
        assert_eq!(wait_until_done(&[], &Wanted::Drained, Duration::from_secs(30)).await, Ok(false));
        assert!(began.elapsed() < Duration::from_secs(1));
    }
}

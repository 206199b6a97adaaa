//! Compares what the sources of a bridge hold with what it wrote into Pulsar. Exit status 0: parity; 1: none; 2: unreadable.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use bridge_tests::checker::{Identity, Settings, Source, check};
use clap::Parser;

/// Reads the whole source topic (of a queue: the journal of what was published to it), the whole target and its dead letters
/// by clients that are not the bridge's, and tells whether every record arrived exactly once, in order and with the same
/// content.
#[derive(Parser)]
struct Arguments {
    /// Kafka's bootstrap servers
    #[arg(long, default_value = "127.0.0.1:9092")]
    brokers: String,
    /// The source topic in Kafka; without it and without a queue, job-lifecycle
    #[arg(long)]
    topic: Option<String>,
    /// A queue of RabbitMQ that is a source; several of them with commas
    #[arg(long, requires = "journal", value_delimiter = ',')]
    queue: Vec<String>,
    /// What was published to the queues, as `generate` has noted it
    #[arg(long)]
    journal: Option<PathBuf>,
    /// What identifies an event of the queue: message-id, header:NAME, json:PATH, or none of a stream
    #[arg(long, default_value = "json:event_id", value_parser = identity)]
    identity: Identity,
    /// The queue's messages must be in the order in which they were published
    #[arg(long)]
    ordered: bool,
    /// What identifies an event over all sources: each must arrive once
    #[arg(long, value_name = "PATH")]
    dedupe: Option<String>,
    /// Every message must carry the SHA-256 of its source's bytes
    #[arg(long)]
    digest: bool,
    /// A route, NAME=FIELD=TEXT[,TEXT...]=TOPIC
    #[arg(long, value_parser = route)]
    route: Vec<RouteArgument>,
    /// Pulsar's binary address
    #[arg(long, default_value = "pulsar://127.0.0.1:6650")]
    pulsar: String,
    /// The target topic
    #[arg(long, default_value = "persistent://public/cosmic-ai/job-status-changed")]
    target: String,
    /// The dead-letter topic; without it, the target's name and -dead-letters
    #[arg(long)]
    dead_letters: Option<String>,
    /// The contract's file
    #[arg(long, default_value = "bridges/job-lifecycle/contract.avsc")]
    contract: PathBuf,
    /// Records whose translation is larger belong in the dead letters
    #[arg(long, default_value_t = 5 << 20)]
    max_message_bytes: usize,
    /// Let other producers write into the target too
    #[arg(long)]
    allow_other_writers: bool,
    /// Do not compare what the bridge has from sources that are not named here, such as polled ones
    #[arg(long)]
    allow_other_sources: bool,
    /// How many findings to name
    #[arg(long, default_value_t = 20)]
    named: usize,
}

#[derive(Debug, Clone)]
struct RouteArgument {
    name: String,
    field: String,
    equals: Vec<String>,
    topic: String,
}

fn route(text: &str) -> Result<RouteArgument, String> {
    let parts: Vec<&str> = text.splitn(4, '=').collect();
    let [name, field, equals, topic] = parts[..] else {
        return Err("write NAME=FIELD=TEXT[,TEXT...]=TOPIC".to_owned());
    };
    let equals = equals.split(',').map(str::to_owned).collect();
    Ok(RouteArgument { name: name.to_owned(), field: field.to_owned(), equals, topic: topic.to_owned() })
}

fn identity(text: &str) -> Result<Identity, String> {
    match text.split_once(':') {
        None if text == "none" => Ok(Identity::None),
        None if text == "message-id" => Ok(Identity::Header("amqp.message-id".to_owned())),
        Some(("header", name)) => Ok(Identity::Header(name.to_owned())),
        Some(("json", path)) => Ok(Identity::Json(path.to_owned())),
        _ => Err("write message-id, header:NAME, json:PATH or none".to_owned()),
    }
}

impl Arguments {
    fn settings(self) -> Settings {
        let mut sources = Vec::new();
        if let Some(journal) = self.journal {
            sources.push(Source::Queue { queues: self.queue, journal, identity: self.identity, ordered: self.ordered });
        }
        if let Some(topic) = self.topic.or_else(|| sources.is_empty().then(|| "job-lifecycle".to_owned())) {
            sources.push(Source::Kafka { brokers: self.brokers, topic });
        }
        let mut settings = Settings::of(sources, &self.pulsar, &self.target, self.contract);
        for route in &self.route {
            let equals: Vec<&str> = route.equals.iter().map(String::as_str).collect();
            settings = settings.with_route(&route.name, &route.field, &equals, &route.topic);
        }
        if let Some(dead_letters) = self.dead_letters {
            settings.dead_letters = dead_letters;
        }
        Settings {
            dedupe: self.dedupe,
            digest: self.digest,
            max_message_bytes: self.max_message_bytes,
            allow_other_writers: self.allow_other_writers,
            allow_other_sources: self.allow_other_sources,
            named: self.named,
            ..settings
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let settings = Arguments::parse().settings();
    let start = Instant::now();
    match check(&settings).await {
        Ok(parity) => {
            println!("{parity} ({:.1} s)", start.elapsed().as_secs_f64());
            if parity.holds() { ExitCode::SUCCESS } else { ExitCode::from(1) }
        }
        Err(error) => {
            eprintln!("check-parity: {error}");
            ExitCode::from(2)
        }
    }
}

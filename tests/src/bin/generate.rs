//! Feeds Kafka, RabbitMQ or both with realistic events of one of the portal's streams.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bridge_tests::Result;
use bridge_tests::events::Shares;
use bridge_tests::generator::{Generator, RabbitExchange, Report, Settings, create_topic};
use bridge_tests::rabbit::Rabbit;
use bridge_tests::streams::Stream;
use clap::Parser;

/// Feeds Kafka, RabbitMQ or both with events of one stream as the portal sends them: all types, its keys, headers, codecs
/// and routing keys, with a small share of broken records and tombstones.
#[derive(Parser)]
struct Arguments {
    /// job-lifecycle, job-metrics, notifications, audit-trail, system-health or broker-metrics
    #[arg(long, default_value = "job-lifecycle")]
    stream: Stream,
    /// Kafka's bootstrap servers; without RabbitMQ 127.0.0.1:9092
    #[arg(long)]
    brokers: Option<String>,
    /// The topic to feed; without it, the stream's own
    #[arg(long)]
    topic: Option<String>,
    /// Create the topic unless it is there, with so many partitions or as many as the portal's has; and in RabbitMQ
    /// what the portal has there for this exchange
    #[arg(long, value_name = "PARTITIONS", num_args = 0..=1, default_missing_value = "0")]
    create: Option<i32>,
    /// gzip, lz4, zstd, snappy or none; without it, the portal's
    #[arg(long)]
    compression: Option<String>,
    /// RabbitMQ's address, amqp://user:password@host:port/vhost
    #[arg(long, requires = "journal")]
    rabbitmq: Option<String>,
    /// The exchange to feed; empty for the default one
    #[arg(long, default_value = "")]
    exchange: String,
    /// The routing key; without it, the portal's own
    #[arg(long)]
    routing_key: Option<String>,
    /// Give messages an id, a type, a timestamp and headers, which the portal does not
    #[arg(long)]
    rich: bool,
    /// Where what RabbitMQ has confirmed is noted, for check-parity
    #[arg(long)]
    journal: Option<PathBuf>,
    /// With both: the share of events that go to both; the others go to either
    #[arg(long, default_value_t = 0.2)]
    twin_share: f64,
    /// Stop after so many records
    #[arg(long)]
    records: Option<u64>,
    /// Stop after so many seconds
    #[arg(long)]
    seconds: Option<u64>,
    /// Records per second; without it, as fast as they are taken
    #[arg(long)]
    rate: Option<u64>,
    /// The same seed gives the same records but for their timestamps
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Share of records that are broken: bad JSON, missing fields, wrong types, invalid UTF-8, deep nesting
    #[arg(long, default_value_t = Shares::default().broken)]
    broken_share: f64,
    /// Share of events with thousands of unknown members
    #[arg(long, default_value_t = Shares::default().many_fields)]
    many_fields_share: f64,
    /// Share of null values
    #[arg(long, default_value_t = Shares::default().tombstones)]
    tombstone_share: f64,
    /// Share of events that are sent twice
    #[arg(long, default_value_t = Shares::default().repeated)]
    repeated_share: f64,
    /// Make every Nth record one of 6.6 MB that does not compress; 0 for never
    #[arg(long, value_name = "N", default_value_t = 0)]
    too_large_every: u64,
}

impl Arguments {
    /// Where in Kafka: where it is named, or where nothing else is.
    fn kafka(&self) -> Option<(String, String)> {
        let brokers = match (&self.brokers, &self.rabbitmq) {
            (Some(brokers), _) => brokers.clone(),
            (None, None) => "127.0.0.1:9092".to_owned(),
            (None, Some(_)) => return None,
        };
        Some((brokers, self.topic.clone().unwrap_or_else(|| self.stream.name().to_owned())))
    }

    fn settings(&self) -> Settings {
        let mut settings = Settings::of(self.stream);
        if let Some((brokers, topic)) = self.kafka() {
            settings = settings.to_kafka(brokers, topic);
        }
        if let (Some(kafka), Some(compression)) = (&mut settings.kafka, &self.compression) {
            kafka.compression.clone_from(compression);
        }
        if let (Some(url), Some(journal)) = (&self.rabbitmq, &self.journal) {
            settings = settings.to_rabbit(RabbitExchange {
                url: url.clone(),
                exchange: self.exchange.clone(),
                routing_key: self.routing_key.clone(),
                is_rich: self.rich,
                journal: journal.clone(),
            });
        }
        Settings {
            twins: self.twin_share,
            records: self.records,
            time: self.seconds.map(Duration::from_secs),
            rate: self.rate,
            seed: self.seed,
            shares: Shares {
                broken: self.broken_share,
                many_fields: self.many_fields_share,
                tombstones: self.tombstone_share,
                repeated: self.repeated_share,
                too_large_every: self.too_large_every,
            },
            ..settings
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match generate(Arguments::parse()).await {
        Ok(report) if report.failed == 0 => ExitCode::SUCCESS,
        Ok(report) => {
            eprintln!("generate: Kafka did not acknowledge {} records", report.failed);
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("generate: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn generate(arguments: Arguments) -> Result<Report> {
    if let (Some(partitions), Some((brokers, topic))) = (arguments.create, arguments.kafka()) {
        let partitions = if partitions == 0 { arguments.stream.partitions() } else { partitions };
        create_topic(&brokers, &topic, partitions).await?;
    }
    if let (Some(_), Some(url), false) = (arguments.create, &arguments.rabbitmq, arguments.exchange.is_empty()) {
        Rabbit::at(url, "").declare_portal(&arguments.exchange).await?;
    }
    let report = until_finished_or_interrupted(Generator::start(arguments.settings())).await?;
    show(arguments.stream, &report);
    Ok(report)
}

fn show(stream: Stream, report: &Report) {
    let seconds = report.took.as_secs_f64();
    let made: u64 = report.made.values().sum();
    println!(
        "{stream}: {made} events in {seconds:.1} s ({:.0}/s), {} of them broken",
        made as f64 / seconds.max(0.001),
        report.broken()
    );
    if report.acknowledged + report.failed > 0 {
        println!("  Kafka: {} acknowledged by {} partitions", report.acknowledged, report.partitions.len());
    }
    let rabbit = report.rabbit;
    if rabbit.confirmed + rabbit.returned + rabbit.unknown > 0 {
        println!(
            "  RabbitMQ: {} confirmed, {} returned, {} without an answer; {} events went to both",
            rabbit.confirmed, rabbit.returned, rabbit.unknown, report.twins
        );
    }
    let mut made: Vec<_> = report.made.iter().collect();
    made.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let made: Vec<_> = made.into_iter().map(|(kind, count)| format!("{count} {kind:?}")).collect();
    println!("  {}", made.join(", "));
}

async fn until_finished_or_interrupted(generator: Generator) -> Result<Report> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    loop {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => return generator.stop(),
            _ = terminate.recv() => return generator.stop(),
            _ = tick.tick() => if generator.is_finished() { return generator.wait() },
        }
    }
}

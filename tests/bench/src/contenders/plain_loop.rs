//! What an able user writes in an afternoon: read by rdkafka's stream, translate by values, publish by the `pulsar` crate
//! with batches and LZ4, and commit what has its receipts. At least once; it goes on after a restart.

use std::process::Command;
use std::time::Duration;

use apache_avro::types::Value as Avro;
use apache_avro::{Schema, from_avro_datum, to_avro_datum};
use bridge_tests::Result;
use futures::StreamExt as _;
use futures::stream::FuturesOrdered;
use pulsar::compression::{Compression, CompressionLz4};
use pulsar::producer::{Message as PulsarMessage, SendFuture};
use pulsar::routing_policy::RoutingPolicy;
use pulsar::{Producer, ProducerOptions, Pulsar, TokioExecutor, proto};
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::message::BorrowedMessage;
use rdkafka::{ClientConfig, Message};
use serde_json::Value;

use super::{Ground, Job, Origin};
use crate::events::{Form, avro_event, contract, writer_schema};

/// Messages whose receipts are awaited at most.
const IN_FLIGHT: usize = 20_000;

/// The command that does this job.
pub(crate) fn command(job: &Job, ground: &Ground) -> Result<Command> {
    let Origin::Kafka { topic, .. } = &job.origin else {
        return Err("the plain loop reads Kafka".into());
    };
    let form = match job.form {
        Form::Sized(_) => "bytes",
        Form::Event => "json",
        Form::ConfluentSame => "confluent-same",
        Form::ConfluentEvolved => "confluent-evolved",
    };
    let mut command = Command::new(std::env::current_exe()?);
    let stack = &ground.stack;
    command.args(["worker", "plain-loop", stack.kafka(), topic, &job.name, stack.pulsar(), &job.target.topic, form]);
    Ok(command)
}

/// How a value becomes another.
enum Translate {
    Bytes,
    Json { json: Value, contract: Schema },
    Confluent { writer: Schema, contract: Schema },
}

impl Translate {
    fn new(form: &str) -> Result<Self> {
        let json: Value = serde_json::from_str(&contract()?)?;
        let contract = Schema::parse(&json)?;
        Ok(match form {
            "bytes" => Self::Bytes,
            "json" => Self::Json { json, contract },
            "confluent-same" => Self::Confluent { writer: contract.clone(), contract },
            "confluent-evolved" => {
                Self::Confluent { writer: Schema::parse(&writer_schema(Form::ConfluentEvolved)?)?, contract }
            }
            other => return Err(format!("no form '{other}'").into()),
        })
    }

    fn value(&self, body: &[u8]) -> Result<Vec<u8>> {
        match self {
            Self::Bytes => Ok(body.to_vec()),
            Self::Json { json, contract } => Ok(to_avro_datum(contract, avro_event(body, json)?)?),
            Self::Confluent { writer, contract } => {
                let mut datum = body.get(5..).ok_or("no header of a registry")?;
                let value: Avro = from_avro_datum(writer, &mut datum, Some(contract))?;
                Ok(to_avro_datum(contract, value)?)
            }
        }
    }

    fn schema(&self) -> Result<Option<proto::Schema>> {
        if matches!(self, Self::Bytes) {
            return Ok(None);
        }
        Ok(Some(proto::Schema {
            name: "contract".to_owned(),
            schema_data: contract()?.into_bytes(),
            r#type: proto::schema::Type::Avro as i32,
            properties: Vec::new(),
        }))
    }
}

/// Mirrors until it is killed.
pub(crate) async fn run(
    brokers: &str,
    topic: &str,
    group: &str,
    pulsar_url: &str,
    target: &str,
    form: &str,
) -> Result<()> {
    let translate = Translate::new(form)?;
    let consumer: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", group)
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "true")
        .set("auto.commit.interval.ms", "1000")
        .set("enable.auto.offset.store", "false")
        .create()?;
    consumer.subscribe(&[topic])?;
    let mut producer = producer(pulsar_url, target, translate.schema()?).await?;
    let mut receipts = FuturesOrdered::new();
    loop {
        tokio::select! {
            Some((receipt, partition, offset)) = receipts.next() => {
                let _: proto::CommandSendReceipt = receipt?;
                consumer.store_offset(topic, partition, offset)?;
            }
            message = consumer.recv(), if receipts.len() < IN_FLIGHT => {
                let message = message?;
                let sent = send(&mut producer, &translate, &message).await?;
                let (partition, offset) = (message.partition(), message.offset());
                receipts.push_back(async move { (sent.await, partition, offset) });
            }
        }
    }
}

async fn producer(url: &str, target: &str, schema: Option<proto::Schema>) -> Result<Producer<TokioExecutor>> {
    let client: Pulsar<TokioExecutor> = Pulsar::builder(url, TokioExecutor).build().await?;
    let options = ProducerOptions {
        batch_size: Some(1_000),
        batch_byte_size: Some(128 << 10),
        batch_timeout: Some(Duration::from_millis(5)),
        compression: Some(Compression::Lz4(CompressionLz4::default())),
        block_queue_if_full: true,
        // By the key, where there is one.
        routing_policy: Some(RoutingPolicy::RoundRobin),
        schema,
        ..ProducerOptions::default()
    };
    Ok(client.producer().with_topic(target).with_options(options).build().await?)
}

async fn send(
    producer: &mut Producer<TokioExecutor>,
    translate: &Translate,
    message: &BorrowedMessage<'_>,
) -> Result<SendFuture> {
    let key = message.key().map(|key| String::from_utf8_lossy(key).into_owned());
    let message = PulsarMessage {
        payload: translate.value(message.payload().unwrap_or_default())?,
        partition_key: key,
        event_time: message.timestamp().to_millis().map(|millis| millis as u64),
        ..PulsarMessage::default()
    };
    Ok(producer.send_non_blocking(message).await?)
}

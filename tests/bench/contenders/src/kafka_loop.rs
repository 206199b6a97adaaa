//! What an able user writes in an afternoon: read by rdkafka's stream, translate by values, publish by the `pulsar` crate
//! with batches and LZ4, and commit what has its receipts. At least once; it goes on after a restart.

use futures::StreamExt as _;
use futures::stream::FuturesOrdered;
use pulsar::producer::{Message as PulsarMessage, SendFuture};
use pulsar::{Producer, TokioExecutor, proto};
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::message::BorrowedMessage;
use rdkafka::{ClientConfig, Message};

use crate::Result;
use crate::target::{IN_FLIGHT, Place, producer};
use crate::translate::{How, Translate};

/// Mirrors until it is killed.
pub(crate) async fn run(brokers: &str, topic: &str, group: &str, target: &Place, how: &How) -> Result<()> {
    let translate = Translate::new(how)?;
    let consumer: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", group)
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "true")
        .set("auto.commit.interval.ms", "1000")
        .set("enable.auto.offset.store", "false")
        .create()?;
    consumer.subscribe(&[topic])?;
    let mut producer = producer(target, translate.schema(how)?).await?;
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

//! The like for RabbitMQ: read by lapin, publish by the `pulsar` crate, acknowledge each delivery after its receipt. At least
//! once; what was not acknowledged comes again.

use futures::StreamExt as _;
use futures::stream::FuturesOrdered;
use lapin::options::BasicAckOptions;
use pulsar::producer::Message as PulsarMessage;

use crate::Result;
use crate::readers;
use crate::target::{IN_FLIGHT, Place, producer};
use crate::translate::{How, Translate};

/// Deliveries that are acknowledged at once.
const ACKNOWLEDGED_AT_ONCE: u64 = 500;

/// Mirrors until it is killed.
pub(crate) async fn run(url: &str, queue: &str, kind: &str, target: &Place, how: &How) -> Result<()> {
    let translate = Translate::new(how)?;
    let (_connection, mut consumer) = readers::consume(url, queue, kind).await?;
    let mut producer = producer(target, translate.schema(how)?).await?;
    let mut receipts = FuturesOrdered::new();
    let mut confirmed = 0;
    loop {
        tokio::select! {
            Some((receipt, delivery)) = receipts.next() => {
                let (_, delivery): (_, lapin::message::Delivery) = (receipt?, delivery);
                confirmed += 1;
                // The receipts come in the order of the deliveries: one acknowledgement covers all before it.
                if confirmed % ACKNOWLEDGED_AT_ONCE == 0 || receipts.is_empty() {
                    delivery.ack(BasicAckOptions { multiple: true }).await?;
                }
            }
            delivery = consumer.next(), if receipts.len() < IN_FLIGHT => {
                let delivery = delivery.ok_or("the consumer has ended")??;
                let message = PulsarMessage { payload: translate.value(&delivery.data)?, ..PulsarMessage::default() };
                let sent = producer.send_non_blocking(message).await?;
                receipts.push_back(async move { (sent.await, delivery) });
            }
        }
    }
}

//! Into Pulsar by the `pulsar` crate's producer.

use std::time::Duration;

use pulsar::compression::{Compression, CompressionLz4};
use pulsar::routing_policy::RoutingPolicy;
use pulsar::{Producer, ProducerOptions, Pulsar, TokioExecutor, proto};

use crate::Result;

/// Messages whose receipts are awaited at most.
pub(crate) const IN_FLIGHT: usize = 20_000;

/// Where it goes.
#[derive(clap::Args)]
pub(crate) struct Place {
    /// Pulsar's address
    #[arg(long)]
    pulsar: String,
    /// The topic
    #[arg(long)]
    target: String,
}

/// A producer with batches and LZ4.
pub(crate) async fn producer(to: &Place, schema: Option<proto::Schema>) -> Result<Producer<TokioExecutor>> {
    let client: Pulsar<TokioExecutor> = Pulsar::builder(&to.pulsar, TokioExecutor).build().await?;
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
    Ok(client.producer().with_topic(&to.target).with_options(options).build().await?)
}

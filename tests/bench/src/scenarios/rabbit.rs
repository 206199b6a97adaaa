//! From RabbitMQ. A queue is empty when it was read, so each run fills one of its own first.

use bridge_tests::Result;
use bridge_tests::rabbit::QueueKind;
use bridge_tests::stack::unique;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Connection, ConnectionProperties};

use super::{Bench, Outcome, throughput};
use crate::contenders::{Contender, Job, Origin};
use crate::events::{Bodies, Form, now_micros};
use crate::load::mark;
use crate::target::Target;

/// Messages whose confirms are awaited at most.
const UNCONFIRMED: usize = 4_000;

/// A job from a queue of its own, of JSON events.
pub(crate) fn job(bench: &Bench, kind: QueueKind, records: u64) -> Job {
    let name = unique("bench-rabbit");
    Job {
        pulsar: bench.ground.stack.pulsar().to_owned(),
        target: Target::new(bench.ground.stack.pulsar_admin(), &name, 1),
        origin: Origin::Rabbit { queue: format!("{name}-queue"), kind },
        name,
        form: Form::Event,
        records,
        settings: Vec::new(),
    }
}

/// A full queue, and a contender that is started on it.
pub(crate) async fn run(bench: &Bench, contender: Contender, job: &Job) -> Outcome {
    let Origin::Rabbit { queue, kind } = &job.origin else { return Err("only for RabbitMQ".into()) };
    fill(bench.ground.stack.rabbitmq(), queue, *kind, job.records).await?;
    let outcome = throughput::run(bench, contender, job).await;
    bench.ground.stack.rabbit().delete_queue(queue).await?;
    outcome
}

/// Declares the queue as our bridge does, and publishes to it, persistent, with confirms.
async fn fill(url: &str, queue: &str, kind: QueueKind, records: u64) -> Result<()> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString(kind.name().into()));
    if kind != QueueKind::Stream {
        arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
    }
    channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), arguments).await?;
    let mut bodies = Bodies::new(Form::Event, 0)?;
    let properties = BasicProperties::default().with_content_type("application/json".into()).with_delivery_mode(2);
    let mut confirms = FuturesUnordered::new();
    for number in 0..records {
        crate::interrupt::check()?;
        let body = bodies.body(mark(number, 1, now_micros()));
        let options = BasicPublishOptions::default();
        let confirm = channel.basic_publish("".into(), queue.into(), options, body, properties.clone()).await?;
        confirms.push(confirm);
        if confirms.len() >= UNCONFIRMED {
            confirms.next().await.transpose()?;
        }
    }
    while confirms.next().await.transpose()?.is_some() {}
    connection.close(200, "done".into()).await?;
    Ok(())
}

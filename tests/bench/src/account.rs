//! What became of every record: read back from the target by the `pulsar` crate's consumer, which is nobody's own.

use std::collections::HashMap;
use std::time::Duration;

use bridge_tests::Result;
use futures::StreamExt as _;
use pulsar::consumer::InitialPosition;
use pulsar::{Consumer, ConsumerOptions, Pulsar, SubType, TokioExecutor, proto};

use crate::events::Mark;
use crate::target::Target;

/// A target partition that gives no message for so long before its end has failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// Messages that are asked for at once.
const PERMITS: u32 = 10_000;

/// What was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// Records that are nowhere.
    pub(crate) lost: u64,
    /// Copies beyond the first.
    pub(crate) doubled: u64,
    /// Records that first came behind a later one of their source partition, in the same target partition.
    pub(crate) reordered: u64,
    /// Messages without a mark.
    pub(crate) strangers: u64,
}

/// Counts marks as they come.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// Of each source partition, whether a record was seen.
    seen: Vec<Vec<bool>>,
    /// By source and target partition, the latest record seen.
    latest: HashMap<(u32, u32), u64>,
    account: Account,
}

impl Ledger {
    /// For so many records, dealt round the partitions.
    pub(crate) fn new(partitions: u32, records: u64) -> Self {
        let held = |partition: u64| (records + u64::from(partitions) - 1 - partition) / u64::from(partitions);
        let seen = (0..u64::from(partitions)).map(|partition| vec![false; held(partition) as usize]).collect();
        Self { seen, latest: HashMap::new(), account: Account::default() }
    }

    /// A message in a target partition.
    pub(crate) fn saw(&mut self, target: u32, body: &[u8]) {
        let mark = Mark::find(body);
        let seen = mark.and_then(|mark| self.seen.get_mut(mark.partition as usize)?.get_mut(mark.sequence as usize));
        let (Some(mark), Some(seen)) = (mark, seen) else {
            self.account.strangers += 1;
            return;
        };
        if std::mem::replace(seen, true) {
            self.account.doubled += 1;
            return;
        }
        let latest = self.latest.entry((mark.partition, target)).or_insert(mark.sequence);
        if mark.sequence < *latest {
            self.account.reordered += 1;
        }
        *latest = mark.sequence.max(*latest);
    }

    /// What is known in the end.
    pub(crate) fn close(mut self) -> Account {
        self.account.lost = self.seen.iter().flatten().filter(|seen| !**seen).count() as u64;
        self.account
    }
}

/// A consumer of one partition, from its beginning.
pub(crate) async fn consumer(
    client: &Pulsar<TokioExecutor>,
    target: &Target,
    partition: u32,
    name: &str,
) -> Result<Consumer<Vec<u8>, TokioExecutor>> {
    let options = ConsumerOptions::default().durable(false).with_initial_position(InitialPosition::Earliest);
    let builder = client.consumer().with_topic(format!("{}-partition-{partition}", target.topic));
    let builder = builder.with_subscription(name).with_subscription_type(SubType::Exclusive);
    Ok(builder.with_options(options).with_batch_size(PERMITS).build().await?)
}

/// Where a message lies. The numbers are signed: -1 stands for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    ledger: i64,
    entry: i64,
    in_batch: i32,
}

fn place(id: &proto::MessageIdData) -> Place {
    let in_batch = id.batch_index.unwrap_or(-1).max(0);
    Place { ledger: id.ledger_id as i64, entry: id.entry_id as i64, in_batch }
}

/// Reads all that the target holds, to the last message that the broker names. Nothing must write to it any more.
pub(crate) async fn read(pulsar_url: &str, target: &Target, mut ledger: Ledger) -> Result<Ledger> {
    let client: Pulsar<TokioExecutor> = Pulsar::builder(pulsar_url, TokioExecutor).build().await?;
    for partition in 0..target.partitions {
        let mut consumer = consumer(&client, target, partition, "bench-account").await?;
        let last = consumer.get_last_message_id().await?;
        let last = last.first().map(place).filter(|last| last.entry >= 0);
        let mut at = None;
        while last.is_some() && at < last {
            let message = tokio::time::timeout(PATIENCE, consumer.next()).await.map_err(|_| {
                format!("partition {partition} of the target gives nothing for {PATIENCE:?}: at {at:?} of {last:?}")
            })?;
            let message = message.ok_or("the consumer has ended")??;
            ledger.saw(partition, &message.payload.data);
            at = Some(place(message.message_id()));
        }
        consumer.close().await?;
    }
    Ok(ledger)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{Bodies, Form};
    use crate::load::mark;

    #[test]
    fn what_is_lost_doubled_and_reordered_is_told_apart() {
        let mut bodies = Bodies::new(Form::Sized(280), 0).unwrap();
        let mut ledger = Ledger::new(2, 9);
        // Partition 0 holds the numbers 0, 2, 4, 6, 8; partition 1 the others.
        for number in [0, 2, 6, 4, 4, 1, 3, 5, 7] {
            ledger.saw(0, bodies.body(mark(number, 2, 1)));
        }
        ledger.saw(0, b"{}");
        assert_eq!(ledger.close(), Account { lost: 1, doubled: 1, reordered: 1, strangers: 1 });
    }

    #[test]
    fn other_target_partitions_have_an_order_of_their_own() {
        let mut bodies = Bodies::new(Form::Sized(280), 0).unwrap();
        let mut ledger = Ledger::new(1, 2);
        ledger.saw(1, bodies.body(mark(1, 1, 1)));
        ledger.saw(0, bodies.body(mark(0, 1, 1)));
        assert_eq!(ledger.close(), Account::default());
    }
}

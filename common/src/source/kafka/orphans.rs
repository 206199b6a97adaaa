//! Partitions of a topic that no member of the group has. A static member that comes back within its session is given what it
//! had, by a coordinator that looks at no topic: what was added meanwhile would be nobody's until the next rebalance.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;

use super::faults;
use super::group::{count_partitions, run_blocking};
use crate::source::{Notice, SourceError};

/// How often they are looked for.
const LOOK: Duration = Duration::from_secs(20);
/// Seen so many times in a row they are nobody's: after partitions were added, the group is about to share them out.
const LOOKS: u32 = 2;

/// Looks for them as long as it lives, and tells.
pub(super) struct Watch(JoinHandle<()>);

/// Whose partitions are looked after.
pub(super) struct Watched {
    pub(super) probe: Arc<BaseConsumer>,
    pub(super) group: String,
    pub(super) topic: String,
    pub(super) timeout: Duration,
}

impl Watch {
    pub(super) fn start(watched: Watched, notices: UnboundedSender<Notice>) -> Self {
        let watched = Arc::new(watched);
        Self(tokio::spawn(async move {
            let mut seen = 0;
            loop {
                tokio::time::sleep(LOOK).await;
                let watched = Arc::clone(&watched);
                // Brokers that do not answer, or do not let us ask, tell nothing.
                let partitions = run_blocking(move || watched.look()).await.unwrap_or_default();
                seen = if partitions.is_empty() { 0 } else { seen + 1 };
                if seen == LOOKS {
                    seen = 0;
                    let _ = notices.send(Notice::Orphaned { partitions: partitions.into_iter().collect() });
                }
            }
        }))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Watched {
    fn look(&self) -> Result<BTreeSet<u32>, SourceError> {
        let count = count_partitions(&self.probe, &self.topic, self.timeout)?;
        of_group(&self.probe, &self.group, &self.topic, count, self.timeout)
    }
}

/// The state of a group in which every member has its assignment.
const STABLE: &str = "Stable";

/// The partitions below `count` that no member of the group is assigned; none while the group is rebalanced.
fn of_group(
    probe: &BaseConsumer,
    group: &str,
    topic: &str,
    count: u32,
    timeout: Duration,
) -> Result<BTreeSet<u32>, SourceError> {
    let what = format!("looking at group {group}");
    let listed =
        probe.fetch_group_list(Some(group), timeout).map_err(|error| faults::of_client(&what, topic, &error))?;
    let found = listed.groups().iter().find(|found| found.name() == group && found.state() == STABLE);
    let Some(found) = found else { return Ok(BTreeSet::new()) };
    let mut orphans: BTreeSet<u32> = (0..count).collect();
    for member in found.members() {
        let Some(assigned) = member.assignment().and_then(|bytes| assigned(bytes, topic)) else {
            // What cannot be read may be anything.
            return Ok(BTreeSet::new());
        };
        assigned.iter().for_each(|partition| _ = orphans.remove(partition));
    }
    Ok(orphans)
}

/// The partitions of the topic in a member's assignment: a version, then of each topic its name and partitions, all of them
/// counted and big-endian (<https://kafka.apache.org/protocol.html>, ConsumerProtocolAssignment).
fn assigned(bytes: &[u8], topic: &str) -> Option<Vec<u32>> {
    let mut rest = bytes.get(2..)?;
    let mut found = Vec::new();
    for _ in 0..int(&mut rest)? {
        let length = u16::from_be_bytes(take(&mut rest, 2)?.try_into().ok()?);
        let is_ours = take(&mut rest, usize::from(length))? == topic.as_bytes();
        for _ in 0..int(&mut rest)? {
            let partition = int(&mut rest)?;
            if is_ours {
                found.push(partition);
            }
        }
    }
    Some(found)
}

fn int(rest: &mut &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(take(rest, 4)?.try_into().ok()?))
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(count)?;
    *rest = left;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::assigned;

    #[test]
    fn an_assignment_is_read_as_kafka_writes_it() {
        let bytes = b"\0\x03\0\0\0\x02\0\x01a\0\0\0\x02\0\0\0\x07\0\0\0\x09\0\x01b\0\0\0\x01\0\0\0\x05\xff\xff\xff\xff";
        assert_eq!(assigned(bytes, "a"), Some(vec![7, 9]));
        assert_eq!(assigned(bytes, "b"), Some(vec![5]));
        assert_eq!(assigned(bytes, "c"), Some(vec![]));
        assert_eq!(assigned(&bytes[..20], "a"), None, "cut short");
        assert_eq!(assigned(b"", "a"), None);
    }
}

//! What one seed stands for: the source, the limits, and what happens when.

use bridge_core::lane::{KeyHash, Limits, PartitionBy, Route, Routing};

use super::random::Random;

/// The source partition's number: its target partition differs for most partition counts.
pub const SOURCE_PARTITION: u32 = 7;
/// All topics of the model; the first is the checkpoint topic, the second the dead letters'.
pub const TOPICS: [&str; 10] = [
    "checkpoints",
    "dead",
    "t",
    "t-partition-0",
    "t-partition-1",
    "t-partition-2",
    "t-partition-3",
    "r",
    "r-partition-0",
    "r-partition-1",
];
/// What the records are; routes look at it.
pub const RECORD_KINDS: [&str; 3] = ["plain", "alert", "report"];
/// The keys of those that have one.
pub const RECORD_KEYS: [&str; 5] = ["a", "b", "c", "d", ""];
/// The size of every record.
pub const RECORD_BYTES: usize = 10;

/// What stands at one offset of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// A control marker, or compacted away.
    Gap,
    /// A record: a bit per contract version under which it cannot be translated, and whether the target's topic refuses
    /// its size, which of the kinds it is, and which of the keys it has.
    Record { broken: u8, oversized: bool, kind: u8, key: Option<u8> },
}

impl Slot {
    /// The key of a record that has one.
    pub fn key(self) -> Option<&'static [u8]> {
        match self {
            Slot::Record { key: Some(key), .. } => Some(RECORD_KEYS[usize::from(key)].as_bytes()),
            _ => None,
        }
    }
}

/// Something that happens at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chaos {
    Kill,
    Start,
    Freeze,
    Wake,
    Release,
    Cut,
    Blackhole,
    Unload,
    UnloadSilently,
    RestartBroker,
    FailWrites,
    Purge,
    Trim,
    ToggleDeduplication,
    Repartition,
    /// The target, and perhaps the routes' topic, get more partitions.
    GrowTarget,
    /// What decides the target partition changes, for those who are told, and from the next start on.
    SwitchMode,
    Grow,
    SourceFails,
    ForeignWrite,
    ChangeContract,
    Stall,
    StartOf(usize),
    FreezeOf(usize),
    /// Freeze when the checkpoint was read.
    FreezeAtEntry(usize),
    /// Freeze when a checkpoint was stored.
    FreezeAtReceipt(usize),
    WakeOf(usize),
    KillOf(usize),
    ReleaseOf(usize),
    UnloadCheckpoints,
    ReloadAndTrim,
    /// A consumer's channel is closed.
    CloseChannel,
    /// Nothing passes on a consumer's channel any more, and nobody has noticed.
    BlackholeChannel,
    /// The prefetch from the next start on.
    ChangePrefetch,
}

/// What happens to queues only.
const QUEUE_KINDS: [(Chaos, u64); 3] =
    [(Chaos::CloseChannel, 8), (Chaos::BlackholeChannel, 4), (Chaos::ChangePrefetch, 6)];

const KINDS: [(Chaos, u64); 22] = [
    (Chaos::Kill, 8),
    (Chaos::Start, 10),
    (Chaos::Freeze, 6),
    (Chaos::Wake, 6),
    (Chaos::Release, 3),
    (Chaos::Cut, 5),
    (Chaos::Blackhole, 3),
    (Chaos::Unload, 6),
    (Chaos::UnloadSilently, 3),
    (Chaos::RestartBroker, 3),
    (Chaos::FailWrites, 5),
    (Chaos::Purge, 4),
    (Chaos::Trim, 3),
    (Chaos::ToggleDeduplication, 1),
    (Chaos::Repartition, 5),
    (Chaos::GrowTarget, 4),
    (Chaos::SwitchMode, 4),
    (Chaos::Grow, 8),
    (Chaos::SourceFails, 2),
    (Chaos::ForeignWrite, 4),
    (Chaos::ChangeContract, 4),
    (Chaos::Stall, 6),
];

/// One schedule.
#[derive(Debug, Clone)]
pub struct Plan {
    pub source: Vec<Slot>,
    pub available: u64,
    pub start_at_end: bool,
    pub instances: usize,
    pub brokers: usize,
    pub limits: Limits,
    pub shape: Shape,
    /// The source is a queue, and these are the identities of its messages: equal where the publisher has sent one twice.
    pub queue: Option<Vec<u64>>,
    pub prefetch: u64,
    pub chaos: Vec<(u64, Chaos)>,
    pub horizon_ms: u64,
    pub checksum_per_mille: u64,
    pub slow_per_mille: u64,
    pub forgets: bool,
    pub chunk: u64,
}

impl Plan {
    /// The schedule of this seed.
    pub fn new(random: &mut Random) -> Self {
        let length = random.between(6, 48);
        let (gaps, broken, oversized) =
            (random.pick(&[0, 100, 300]), random.pick(&[0, 100, 300]), random.pick(&[0, 0, 0, 60]));
        let mut source: Vec<Slot> = (0..length)
            .map(|_| {
                if random.chance(gaps) {
                    return Slot::Gap;
                }
                let broken = if random.chance(broken) { random.between(1, 7) as u8 } else { 0 };
                let kind = random.below(RECORD_KINDS.len() as u64) as u8;
                let key = random.chance(800).then(|| random.below(RECORD_KEYS.len() as u64) as u8);
                Slot::Record { broken, oversized: random.chance(oversized), kind, key }
            })
            .collect();
        if random.chance(500) {
            source.extend((0..random.between(1, 3)).map(|_| Slot::Gap));
        }
        let queue = random.chance(300).then(|| identities(random, source.len() as u64));
        let horizon_ms = random.pick(&[300, 1500, 6000, 20_000]);
        // A subset of the kinds in each schedule: some things happen only where others do not.
        let share = random.pick(&[200, 500, 1000]);
        let mut kinds: Vec<(Chaos, u64)> = KINDS.into_iter().filter(|_| random.chance(share)).collect();
        if queue.is_some() {
            kinds.extend(QUEUE_KINDS.into_iter().filter(|_| random.chance(share)));
        }
        let weight: u64 = kinds.iter().map(|(_, weight)| weight).sum();
        let count = if weight == 0 { 0 } else { random.between(0, 14) };
        let mut chaos: Vec<(u64, Chaos)> = (0..count)
            .map(|_| {
                let mut at = random.below(weight);
                let chosen = kinds.iter().find(|(_, weight)| {
                    let found = at < *weight;
                    at = at.wrapping_sub(*weight);
                    found
                });
                (random.below(horizon_ms), chosen.expect("the weights add up").0)
            })
            .collect();
        let instances = random.between(1, 3) as usize;
        if instances > 1 && random.chance(200) {
            chaos.extend(takeover(random, horizon_ms));
        }
        if random.chance(80) {
            chaos.extend(loss_of_memory(random, horizon_ms));
        }
        // Holes everywhere, and slow writes: repairs and their recovery.
        let repairs = random.chance(150);
        if repairs && random.chance(400) {
            chaos.extend(crashes(random, horizon_ms));
        }
        if random.chance(150) {
            chaos.extend(changes(random, horizon_ms));
        }
        chaos.sort_by_key(|(at, _)| *at);
        Self {
            available: random.between(0, source.len() as u64),
            source,
            start_at_end: random.chance(100),
            instances,
            brokers: random.between(1, 3) as usize,
            limits: Limits {
                in_flight: random.between(1, 4) as usize,
                batch_bytes: RECORD_BYTES * random.between(1, 6) as usize,
                batch_records: random.between(1, 5) as u32,
                max_span: random.between(4, 60),
                send_timeout_ms: random.pick(&[2000, 10_000]),
                checkpoint_ms: random.pick(&[0, 20, 200, 1000]),
                idle_checkpoint_ms: 60_000,
                peek_ms: random.pick(&[50, 500, 5000]),
                leave_ms: random.pick(&[20, 1000, 10_000]),
            },
            shape: Shape::any(random),
            prefetch: prefetch(random),
            queue,
            chaos,
            horizon_ms,
            checksum_per_mille: if repairs { 200 } else { random.pick(&[0, 0, 10, 60]) },
            slow_per_mille: if repairs { 300 } else { random.pick(&[0, 20, 200]) },
            forgets: random.chance(300),
            chunk: random.between(1, 12),
        }
    }
}

/// An instance freezes (often while it opens), another takes over, changes things, perhaps goes, and the first one wakes.
fn takeover(random: &mut Random, horizon_ms: u64) -> Vec<(u64, Chaos)> {
    let mut at = random.below(horizon_ms / 2);
    let mut script = Vec::new();
    let (again, trap) = (random.chance(700), random.chance(700));
    let freezes = [Chaos::FreezeAtEntry(0), Chaos::FreezeAtReceipt(0)];
    let freeze = if trap { random.pick(&freezes) } else { Chaos::FreezeOf(0) };
    let steps = [
        (again, Chaos::KillOf(0), 60),
        (again && trap, freeze, 1),
        (again, Chaos::StartOf(0), 25),
        (!again || !trap, freeze, 60),
        (random.chance(600), Chaos::UnloadCheckpoints, 50),
        (true, Chaos::StartOf(1), 300),
        (random.chance(700), Chaos::Repartition, 1000),
        (random.chance(300), Chaos::Unload, 300),
        (true, random.pick(&[Chaos::KillOf(1), Chaos::ReleaseOf(1), Chaos::Grow]), 100),
        (true, Chaos::WakeOf(0), 0),
    ];
    for (_, chaos, pause) in steps.into_iter().filter(|(is_done, ..)| *is_done) {
        script.push((at, chaos));
        at = (at + random.between(0, pause)).min(horizon_ms - 1);
    }
    script
}

/// A crash, a topic that is reloaded with an L that is too low, and trimmed behind it.
fn loss_of_memory(random: &mut Random, horizon_ms: u64) -> Vec<(u64, Chaos)> {
    let at = random.below(horizon_ms * 3 / 4);
    vec![(at, Chaos::KillOf(0)), (at + 1, Chaos::ReloadAndTrim), (at + random.between(1, 400), Chaos::StartOf(0))]
}

/// Crash upon crash, with more to read each time: a repair that was sent is on its way when the next one is put together
/// of other records.
fn crashes(random: &mut Random, horizon_ms: u64) -> Vec<(u64, Chaos)> {
    let mut at = random.below(horizon_ms / 2);
    let mut script = Vec::new();
    for _ in 0..random.between(2, 6) {
        for chaos in [Chaos::Grow, Chaos::KillOf(0), Chaos::StartOf(0)] {
            script.push((at, chaos));
            at = (at + random.between(1, 300)).min(horizon_ms - 1);
        }
    }
    script
}

/// Changes of the routing, while an instance runs and while it is down, again and again with more to read.
fn changes(random: &mut Random, horizon_ms: u64) -> Vec<(u64, Chaos)> {
    let mut at = random.below(horizon_ms / 2);
    let mut script = Vec::new();
    for _ in 0..random.between(1, 4) {
        let change = random.pick(&[Chaos::GrowTarget, Chaos::SwitchMode, Chaos::Repartition]);
        let crash = random.chance(700);
        let steps = [
            (true, Chaos::Grow),
            (crash, Chaos::KillOf(0)),
            (true, change),
            (crash, Chaos::StartOf(0)),
            (random.chance(300), Chaos::GrowTarget),
        ];
        for (_, chaos) in steps.into_iter().filter(|(is_done, _)| *is_done) {
            script.push((at, chaos));
            at = (at + random.between(1, 200)).min(horizon_ms - 1);
        }
    }
    script
}

/// The identity of each message of a queue: a publisher may have sent some of them twice.
fn identities(random: &mut Random, length: u64) -> Vec<u64> {
    let twice = random.pick(&[0, 0, 100]);
    (0..length)
        .map(|message| if message > 0 && random.chance(twice) { random.below(message) } else { message })
        .collect()
}

/// How many messages a consumer may hold without an acknowledgement.
pub fn prefetch(random: &mut Random) -> u64 {
    random.pick(&[1, 2, 3, 5, 8, 13])
}

/// How many sets of routes there are.
const ROUTES: u64 = 5;
/// The most partitions that the target has.
const PARTITIONS: u32 = 4;
/// What may decide the target partition.
const MODES: [PartitionBy; 3] = [
    PartitionBy::Source,
    PartitionBy::Key { key_hash: KeyHash::JavaString },
    PartitionBy::Key { key_hash: KeyHash::Murmur3 },
];

/// What a routing follows from: the target's partitions, one of the sets of routes, and what decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    partitions: u32,
    routes: u8,
    by: PartitionBy,
}

impl Shape {
    /// Any of them; as often by key as not.
    pub fn any(random: &mut Random) -> Self {
        Self {
            partitions: random.below(u64::from(PARTITIONS) + 1) as u32,
            routes: random.below(ROUTES) as u8,
            by: random.pick(&[MODES[0], MODES[0], MODES[1], MODES[2]]),
        }
    }

    /// The same with more partitions; what is not partitioned stays so.
    pub fn grown(self, random: &mut Random) -> Self {
        let more = random.between(1, 3) as u32;
        let partitions = if self.partitions == 0 { 0 } else { (self.partitions + more).min(PARTITIONS) };
        Self { partitions, ..self }
    }

    /// The same with something else that decides, perhaps.
    pub fn switched(self, random: &mut Random) -> Self {
        Self { by: random.pick(&MODES), ..self }
    }

    /// The routing.
    pub fn routing(self) -> Routing {
        let partitions = self.partitions;
        let route = |kind: usize, topic: &str, partitions| Route {
            field: "kind".into(),
            equals: vec![RECORD_KINDS[kind].into()],
            topic: topic.into(),
            partitions,
        };
        // It has fewer, and grows with the target.
        let r = |kind| route(kind, "r", partitions / 2);
        let routes = match self.routes {
            1 => vec![r(1)],
            2 => vec![r(2)],
            // These share lanes.
            3 => vec![r(1), route(2, "t", partitions)],
            4 => vec![r(1), r(2)],
            _ => Vec::new(),
        };
        Routing { partition_by: self.by, topic: TOPICS[2].into(), partitions, dead_letters: TOPICS[1].into(), routes }
    }
}

/// The route that a record of this kind takes.
pub fn route_of(routing: &Routing, kind: u8) -> Option<usize> {
    routing.route(|_| Some(RECORD_KINDS[usize::from(kind)].into()))
}

/// The index of a topic by its name.
pub fn topic_index(name: &str) -> usize {
    TOPICS.iter().position(|topic| *topic == name).expect("every routing leads to a topic of the model")
}

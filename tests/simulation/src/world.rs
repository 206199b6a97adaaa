//! The world of one schedule: simulated time, connections, instances of the bridge, brokers, and what happens to them.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};

use bridge_core::lane::{Action, Checkpoint, Event, NotOpened, Partition, SendFailure, Tag};
use bridge_core::record::MessageId;

use super::consumer::Consumption;
use super::plan::{Plan, Shape, TOPICS};
use super::queue::{FromQueue, Queue, ToQueue};
use super::random::Random;
use super::rules::Rules;
use super::topic::{Name, TopicModel};

/// From a client to a broker.
#[derive(Debug, Clone)]
pub enum Up {
    Open { tag: Tag, topic: usize, name: Name },
    Send { tag: Tag, topic: usize, ids: Vec<u64>, messages: Vec<u64>, checkpoint: Option<Box<Checkpoint>> },
    Close { tag: Tag, topic: usize },
}

/// From a broker to a client.
#[derive(Debug, Clone)]
pub enum Down {
    Opened { tag: Tag, last: Option<u64> },
    NotOpened { tag: Tag, reason: NotOpened },
    Receipt { tag: Tag, lowest: u64, id: Option<MessageId> },
    Failed { tag: Tag, highest: u64, failure: SendFailure },
    Closed { tag: Tag },
    ClosedByBroker { tag: Tag },
    Gone,
}

/// What comes to an instance.
#[derive(Debug, Clone)]
pub enum Inbound {
    FromBroker {
        conn: usize,
        down: Down,
    },
    /// An answer that needs no connection, or a timer of the driver.
    Event(Event),
    OpenNow(Tag),
    /// A request was not answered in time.
    GiveUp(Tag),
    Scan(Action),
    FromQueue(FromQueue),
    Poll,
    Tick,
}

/// What is due at a time.
#[derive(Debug, Clone)]
pub enum Due {
    ToInstance {
        instance: usize,
        incarnation: u32,
        inbound: Inbound,
    },
    ToBroker {
        conn: usize,
        up: Up,
    },
    Persist {
        topic: usize,
        generation: u32,
    },
    /// The broker notices that a connection is dead.
    BrokerDrops {
        conn: usize,
    },
    /// The broker asks a holder of a name for a sign of life.
    LivenessCheck {
        conn: usize,
    },
    /// The client notices that a connection is dead.
    ClientDrops {
        conn: usize,
    },
    ToQueue(ToQueue),
    Chaos(super::plan::Chaos),
    /// No more faults.
    Calm,
}

#[derive(Debug)]
struct Scheduled {
    at: u64,
    order: u64,
    due: Due,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> Ordering {
        // The heap gives its greatest: the earliest.
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

/// A connection of one incarnation of one instance to one broker. Each direction keeps its order.
#[derive(Debug, Clone)]
pub struct Conn {
    pub instance: usize,
    pub incarnation: u32,
    pub broker: usize,
    pub client_open: bool,
    pub broker_open: bool,
    /// Nothing passes any more, and nobody has noticed.
    pub blackhole: bool,
    pub up_at: u64,
    pub down_at: u64,
    pub is_checked: bool,
}

/// How far a producer of the driver is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handle {
    /// Waiting for its backoff.
    Waiting,
    Opening,
    Open,
    Closing,
}

/// A producer of the driver.
#[derive(Debug, Clone)]
pub struct Held {
    pub tag: Tag,
    pub topic: usize,
    pub name: Name,
    pub conn: usize,
    pub state: Handle,
}

/// One instance of the bridge: the core with its driver.
#[derive(Debug)]
pub struct Instance {
    pub incarnation: u32,
    pub alive: bool,
    pub frozen: bool,
    pub releasing: bool,
    pub partition: Option<Partition>,
    pub conns: Vec<Option<usize>>,
    pub held: Vec<Held>,
    pub builders: Vec<Vec<u64>>,
    pub repairs: VecDeque<(usize, Vec<u64>)>,
    /// The next offset that the source gives, while it is read.
    pub source: Option<u64>,
    pub consumer: Consumption,
    pub contract: u8,
    pub skew_ms: u64,
    pub stash: Vec<Inbound>,
    pub last_position: Option<u64>,
}

/// The world.
#[derive(Debug)]
pub struct World {
    pub plan: Plan,
    pub random: Random,
    pub now: u64,
    schedule: BinaryHeap<Scheduled>,
    order: u64,
    pub events: u64,
    pub topics: Vec<TopicModel>,
    pub conns: Vec<Conn>,
    pub instances: Vec<Instance>,
    pub queue: Option<Queue>,
    pub shape: Shape,
    pub prefetch: u64,
    pub contract: u8,
    pub available: u64,
    pub is_calm: bool,
    pub rules: Rules,
    pub trace: Option<Vec<String>>,
    pub hash: u64,
    /// Per instance: whether it freezes when its checkpoint was read, or stored.
    pub traps: [(bool, bool); 3],
}

/// After how long in calm everything must have come to rest.
const REST_MS: u64 = 900_000;
/// How much may happen in a schedule.
const MAX_EVENTS: u64 = 400_000;

impl World {
    /// A world for this seed, at time 0.
    pub fn new(seed: u64, traced: bool) -> Self {
        let mut random = Random::new(seed);
        let plan = Plan::new(&mut random);
        let topics =
            (0..TOPICS.len()).map(|index| TopicModel::new(random.below(plan.brokers as u64) as usize, index as u64));
        let topics = topics.collect();
        let instances = (0..plan.instances)
            .map(|_| Instance {
                incarnation: 0,
                alive: false,
                frozen: false,
                releasing: false,
                partition: None,
                conns: vec![None; plan.brokers],
                held: Vec::new(),
                builders: Vec::new(),
                repairs: VecDeque::new(),
                source: None,
                consumer: Consumption::with(0),
                contract: 0,
                skew_ms: 0,
                stash: Vec::new(),
                last_position: None,
            })
            .collect();
        Self {
            random,
            now: 0,
            schedule: BinaryHeap::new(),
            order: 0,
            events: 0,
            topics,
            conns: Vec::new(),
            instances,
            queue: plan.queue.as_ref().map(|_| Queue::new(&plan.source)),
            shape: plan.shape,
            prefetch: plan.prefetch,
            contract: 0,
            available: plan.available,
            is_calm: false,
            rules: Rules::new(&plan),
            trace: traced.then(Vec::new),
            hash: 0xCBF2_9CE4_8422_2325,
            plan,
            traps: [(false, false); 3],
        }
    }

    /// Runs the schedule to its rest. Whether a rule was broken stands in `rules`.
    pub fn run(&mut self) {
        for (at, chaos) in std::mem::take(&mut self.plan.chaos) {
            self.at(at, Due::Chaos(chaos));
        }
        self.at(self.plan.horizon_ms, Due::Calm);
        self.start(0);
        let mut rested_at = None;
        while self.rules.broken.is_none() {
            let Some(Scheduled { at, due, .. }) = self.schedule.pop() else { break };
            self.now = self.now.max(at);
            self.events += 1;
            self.mix(self.now);
            self.happen(due);
            if self.is_calm && self.events.is_multiple_of(8) {
                if rested_at.is_none() && self.is_at_rest() {
                    rested_at = Some(self.now);
                }
                if rested_at.is_some_and(|at| self.now >= at + 3000) {
                    break;
                }
                if self.now >= self.plan.horizon_ms + REST_MS {
                    let missing = self.rules.first_missing(self.available);
                    let text =
                        format!("{REST_MS} ms after the last fault; first record that is not stored: {missing:?}");
                    self.rules.broken("liveness", text);
                }
            }
            if self.events > MAX_EVENTS {
                self.rules.broken("bounded", format!("more than {MAX_EVENTS} events by {} ms", self.now));
            }
        }
        if self.rules.broken.is_none() {
            let available = self.available;
            self.rules.at_rest(available);
        }
    }

    fn is_at_rest(&self) -> bool {
        let is_read = match &self.queue {
            Some(queue) => queue.is_empty(self.available),
            None => self.is_mirrored(),
        };
        is_read && self.topics.iter().all(|topic| topic.writes.is_empty())
    }

    fn is_mirrored(&self) -> bool {
        self.rules.checkpointed() == Some(self.available.max(self.rules.first_position().unwrap_or(0)))
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::ToInstance { instance, incarnation, inbound } => {
                let (at_entry, at_receipt) = self.traps[instance];
                let target = &mut self.instances[instance];
                let springs = match &inbound {
                    Inbound::Event(Event::EntryRead { .. }) => at_entry,
                    Inbound::FromBroker { down: Down::Receipt { tag, .. }, .. } => {
                        at_receipt && target.held.iter().any(|held| held.tag == *tag && held.topic == 0)
                    }
                    _ => false,
                };
                if springs && target.incarnation == incarnation && target.alive && !self.is_calm {
                    self.traps[instance] = (false, false);
                    target.frozen = true;
                    self.consumer_freezes(instance);
                }
                let target = &mut self.instances[instance];
                if target.incarnation != incarnation || !target.alive {
                } else if target.frozen {
                    target.stash.push(inbound);
                } else {
                    self.inbound(instance, inbound);
                }
            }
            Due::ToBroker { conn, up } => {
                if self.conns[conn].broker_open && !self.conns[conn].blackhole {
                    self.at_broker(conn, up);
                }
            }
            Due::Persist { topic, generation } => self.persist(topic, generation),
            Due::BrokerDrops { conn } => self.broker_drops(conn),
            Due::LivenessCheck { conn } => self.check_liveness(conn),
            Due::ClientDrops { conn } => self.client_drops(conn),
            Due::ToQueue(what) => self.at_queue(what),
            Due::Chaos(chaos) => self.chaos(chaos),
            Due::Calm => self.calm(),
        }
    }

    /// Schedules.
    pub fn at(&mut self, at: u64, due: Due) {
        self.order += 1;
        self.schedule.push(Scheduled { at, order: self.order, due });
    }

    /// Schedules something for an instance.
    pub fn later(&mut self, instance: usize, delay_ms: u64, inbound: Inbound) {
        let incarnation = self.instances[instance].incarnation;
        self.at(self.now + delay_ms, Due::ToInstance { instance, incarnation, inbound });
    }

    /// Sends from a client to its broker.
    pub fn up(&mut self, conn: usize, up: Up) {
        if !self.conns[conn].client_open {
            return;
        }
        let latency = self.latency();
        let at = (self.now + latency).max(self.conns[conn].up_at);
        self.conns[conn].up_at = at;
        self.at(at, Due::ToBroker { conn, up });
    }

    /// Sends from a broker to its client.
    pub fn down(&mut self, conn: usize, down: Down) {
        if !self.conns[conn].broker_open || self.conns[conn].blackhole {
            return;
        }
        let latency = self.latency();
        let at = (self.now + latency).max(self.conns[conn].down_at);
        let (instance, incarnation) = (self.conns[conn].instance, self.conns[conn].incarnation);
        self.conns[conn].down_at = at;
        self.at(at, Due::ToInstance { instance, incarnation, inbound: Inbound::FromBroker { conn, down } });
    }

    /// The time that something takes on the wire.
    pub fn latency(&mut self) -> u64 {
        if self.random.chance(20) { self.random.between(5, 400) } else { self.random.between(0, 4) }
    }

    /// Adds to the hash of this run.
    pub fn mix(&mut self, number: u64) {
        self.hash = (self.hash ^ number).wrapping_mul(0x0000_0100_0000_01B3);
    }

    /// Notes a line for the reader of a replay.
    pub fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>7} ms  {}", self.now, line()));
        }
    }
}

//! The seeded simulation of the core: a model of the brokers, of connections, of instances that die, freeze and meet,
//! and the rules that hold after every step. One seed is one schedule, and the same seed always takes the same way.

// Inside of a test harness; the names of the fields say what they are.
#![allow(missing_docs, unreachable_pub)]

mod broker;
mod chaos;
mod client;
mod consumer;
mod driver;
mod pipeline;
mod plan;
mod queue;
mod random;
mod rules;
mod topic;
mod world;

pub use random::Random;
pub use rules::Broken;
use world::World;

/// What a schedule came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub broken: Option<Broken>,
    pub events: u64,
    pub hash: u64,
    pub trace: Vec<String>,
}

/// Runs the schedule of one seed. A failed assertion of the core counts as a broken rule.
pub fn run(seed: u64, traced: bool) -> Outcome {
    let mut world = World::new(seed, traced);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.run()));
    if let Err(panic) = result {
        let text =
            panic.downcast_ref::<String>().cloned().or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        world.rules.broken("assertions hold", text.unwrap_or_default());
    }
    Outcome {
        broken: world.rules.broken.clone(),
        events: world.events,
        hash: world.hash,
        trace: world.trace.take().unwrap_or_default(),
    }
}

//! Sources that are left and joined again while the bridge runs: one whose client has given up, and all of them where another
//! instance owns the keys.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::flow::Order;
use super::key_space::Ownership;
use super::membership::Membership;
use super::start::{self, Problem};
use super::twins::Twins;
use super::{Bridge, FlowKey, STAND_BY, next};
use crate::http::Control;
use crate::logging::events;
use crate::shutdown::{self, Exit};
use crate::source::Leave;
use crate::status::BridgeState;

/// How long a topic that was read may be missing before the bridge ends: a broker that has just started may not know of it yet,
/// and one that is created again is told from the one before by its records.
const MISSING: Duration = Duration::from_secs(20);

impl Bridge {
    /// The source's client has given up (librdkafka does when the coordinator calls a static member fenced: after an outage that
    /// outlasted its session, or where another instance has the same `kafka.instance_id`), its topic is said to be gone, or some
    /// partitions are nobody's: its partitions are let go of until the deadline, and it is joined anew. An outage of a broker
    /// restarts no bridge.
    pub(super) fn rejoin(&mut self, source: usize, leave: Leave, release: Instant) {
        let Some(membership) = self.sources[source].membership.take() else { return };
        let keys: Vec<FlowKey> = self.flows.keys().filter(|(of, _)| *of == source).cloned().collect();
        for key in keys {
            if let Some(running) = self.flows.remove(&key) {
                let _ = running.orders.send(Order::Release { deadline: release });
                self.leaving.push((key, running.task));
            }
        }
        let joined = &mut self.sources[source];
        joined.rejoining_since = Some(Instant::now());
        let pause = joined.rejoin_pause();
        let (event, pause_ms) = (events::SOURCE_REJOINING, pause.as_millis() as u64);
        tracing::warn!(event, source = joined.settings.name, pause_ms, "joining the source again");
        let (mut config, shared) = (Arc::clone(&self.config), Arc::clone(&self.shared));
        if joined.lost_identity.is_some() {
            Arc::make_mut(&mut config).kafka.instance_id = None;
        }
        let (name, deadline) = (joined.settings.name.clone(), self.revoke_deadline);
        let (notices, rejoined) = (self.notices_in.clone(), self.rejoined_in.clone());
        tokio::spawn(async move {
            membership.give_up(leave, deadline).await;
            tokio::time::sleep(pause).await;
            let of = &config.source[&name];
            let joined = Membership::join(&config, &name, of, &shared.board, (source, notices), MISSING).await;
            // Nobody listens once the bridge stops; the membership is dropped then, which leaves.
            let _ = rejoined.send((source, joined));
        });
    }

    pub(super) fn rejoined(&mut self, source: usize, joined: Result<Membership, Problem>) -> Result<(), Exit> {
        self.sources[source].rejoining_since = None;
        match joined {
            Ok(membership) => {
                let joined = &mut self.sources[source];
                if let Some(said) = &joined.lost_identity {
                    tracing::error!(event = events::IDENTITY_LOST, source = joined.settings.name, "{said}");
                }
                self.shared.board.set_error(joined.lost_identity.clone());
                joined.rejoined(membership);
                Ok(())
            }
            Err(problem) => {
                tracing::error!(event = events::START_FAILED, "{}", problem.text);
                Err(problem.exit)
            }
        }
    }

    /// Somebody else owns the keys: leaves the sources, which only the owner reads, and joins them again when the keys are
    /// ours again. Gives a deadline when it is told to stop meanwhile.
    pub(super) async fn stand_by(&mut self, stop: &mut shutdown::Stop) -> Result<Option<Instant>, Exit> {
        if self.has_left() {
            return Ok(None);
        }
        tracing::warn!(
            event = events::KEYS_ELSEWHERE,
            cause = "taken",
            "another instance owns the keys of this stream now: leaving the sources, and standing by"
        );
        let board = self.shared.board.clone();
        board.set_state(BridgeState::StandingBy);
        self.sources.iter().for_each(|joined| board.task_ended(joined.task_name()));
        self.forget_rejoins();
        self.leave(Leave::ForGood, Instant::now() + self.revoke_deadline.min(STAND_BY)).await;
        loop {
            tokio::select! {
                deadline = stop.asked() => return Ok(Some(deadline)),
                ownership = next(&mut self.key_space) => match ownership {
                    Some(Ownership::Owned) => break,
                    Some(Ownership::Lost | Ownership::Taken) => {}
                    None => return Err(Exit::Fault),
                },
                Some(control) = self.controls.recv() => match control {
                    Control::Pause(which) => self.pauses.set(&which, true),
                    Control::Resume(which) => self.pauses.set(&which, false),
                    // There is nothing to let go of, and nothing will be taken.
                    Control::Drain => {
                        self.key_space = None;
                        board.set_state(BridgeState::Draining);
                        return Ok(None);
                    }
                },
            }
        }
        // What was read back before is not all that is stored by now.
        self.shared.twins.iter().for_each(Twins::disown);
        let joined = tokio::select! {
            joined = start::join_sources(&self.config, &self.contract, &self.shared, self.routing.partitions) => joined,
            deadline = stop.asked() => return Ok(Some(deadline)),
        };
        let (sources, (notices_in, notices)) = joined.map_err(|problem| {
            tracing::error!(event = events::START_FAILED, "{}", problem.text);
            problem.exit
        })?;
        (self.sources, self.notices_in, self.notices) = (sources, notices_in, notices);
        board.set_error(None);
        board.set_state(if self.pauses.is_all() { BridgeState::Paused } else { BridgeState::Running });
        Ok(None)
    }

    /// Whether every source was left for good.
    pub(super) fn has_left(&self) -> bool {
        self.sources.iter().all(|joined| joined.membership.is_none() && joined.rejoining_since.is_none())
    }

    /// Whatever is being joined again is left as soon as it is joined: nobody hears of it.
    pub(super) fn forget_rejoins(&mut self) {
        (self.rejoined_in, self.rejoined) = mpsc::unbounded_channel();
        self.sources.iter_mut().for_each(|joined| joined.rejoining_since = None);
    }
}

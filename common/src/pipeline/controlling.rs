//! What an operator asks of a running bridge: to pause, to resume, to drain.

use super::Bridge;
use super::flow::Order;
use crate::http::Control;
use crate::logging::events;
use crate::status::BridgeState;

impl Bridge {
    pub(super) fn control(&mut self, control: Control) {
        let is_gone = self.has_left();
        let (which, paused) = match &control {
            Control::Pause(_) | Control::Resume(_) if is_gone => {
                tracing::warn!(event = events::CONTROL_REFUSED, order = ?control, "refused: the bridge has drained and left its sources; start it again");
                return;
            }
            Control::Pause(which) => (which, true),
            Control::Resume(which) => (which, false),
            Control::Drain => {
                self.shared.board.set_state(BridgeState::Draining);
                self.drain();
                tracing::info!(event = events::CONTROL, order = ?control, "as an operator asked");
                return;
            }
        };
        self.pauses.set(which, paused);
        if which.is_all() {
            self.shared.board.set_state(if paused { BridgeState::Paused } else { BridgeState::Running });
        }
        for ((_, partition), running) in &self.flows {
            if which.has(&partition.topic, partition.partition) {
                let _ = running.orders.send(if paused { Order::Pause } else { Order::Resume });
            }
        }
        tracing::info!(event = events::CONTROL, order = ?control, "as an operator asked");
    }
}

//! The line that comes every minute or so: reads the board and the metrics, and says what [`summary`](crate::logging::summary)
//! makes of them.

use std::time::Duration;

use crate::config::Config;
use crate::logging::events;
use crate::logging::summary::Figures;
use crate::metrics::Metrics;
use crate::status::StatusBoard;

/// Starts the task that says it, where the configuration wants it.
pub(super) fn start(config: &Config, board: StatusBoard, metrics: Metrics) {
    let since_seconds = u64::from(config.log.summary_seconds);
    if since_seconds == 0 {
        return;
    }
    tokio::spawn(async move {
        let mut before = Figures::default();
        let mut interval = tokio::time::interval(Duration::from_secs(since_seconds));
        interval.tick().await;
        loop {
            interval.tick().await;
            let now = Figures::read(&metrics.render_all());
            say(&now.since(&before), &board, since_seconds);
            before = now;
        }
    });
}

fn say(came: &Figures, board: &StatusBoard, since_seconds: u64) {
    let standing = board.standing();
    tracing::info!(
        event = events::SUMMARY,
        since_seconds,
        "in" = came.received,
        out = came.published,
        dead = came.dead_lettered,
        suppressed = came.suppressed,
        repaired = came.repaired,
        lag_records = standing.lag_records,
        lag_seconds = (standing.lag_seconds * 10.0).round() / 10.0,
        p99_ms = came.p99_ms(),
        partitions = standing.partitions,
        running = standing.running,
        stopped = standing.stopped,
        "since the last one"
    );
}

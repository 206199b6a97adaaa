//! Ctrl-C, or whoever else asks for the end. Loading and feeding are loops that no task is polled in, so they ask themselves.

use std::sync::atomic::{AtomicBool, Ordering};

use bridge_tests::Result;

static IS_ASKED: AtomicBool = AtomicBool::new(false);

/// Fails once the end was asked for.
pub(crate) fn check() -> Result<()> {
    if IS_ASKED.load(Ordering::Relaxed) { Err("interrupted".into()) } else { Ok(()) }
}

/// Comes when the end is asked for; from then on [`check`] fails.
pub(crate) async fn asked() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()), signal(SignalKind::hangup()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    IS_ASKED.store(true, Ordering::Relaxed);
}

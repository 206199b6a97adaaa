//! How a bridge stops: the first SIGTERM or SIGINT asks everything to drain until a deadline, the second one exits at
//! once.

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::logging::{self, events};

/// How a bridge ended, as its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Everything that was in flight is settled and noted.
    Clean,
    /// Something failed, or the deadline passed before everything was settled.
    Fault,
    /// The configuration or the command line is wrong; nothing was touched.
    Config,
    /// Of `check` alone: nothing is worse than a warning.
    Warnings,
    /// Of `bridgectl replay --missing --dry-run` alone: there is something to be replayed.
    Missing,
}

impl Exit {
    /// 0, 1, 2, 3 or 4.
    pub fn code(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Fault => 1,
            Self::Config => 2,
            Self::Warnings => 3,
            Self::Missing => 4,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// The one that can ask for the stop.
#[derive(Debug, Clone)]
pub struct Stopper {
    sender: watch::Sender<Option<Instant>>,
    grace: Duration,
}

/// Knows whether the stop was asked for, and until when it may take. Every clone hears it.
#[derive(Debug, Clone)]
pub struct Stop(watch::Receiver<Option<Instant>>);

/// A stop that takes at most `grace` once it is asked for.
pub fn channel(grace: Duration) -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(None);
    (Stopper { sender, grace }, Stop(receiver))
}

impl Stopper {
    /// Asks everything to stop. The deadline counts from the first call.
    pub fn stop(&self) {
        self.sender.send_if_modified(|deadline| {
            let first = deadline.is_none();
            if first {
                *deadline = Some(Instant::now() + self.grace);
            }
            first
        });
    }
}

impl Stop {
    /// True once the stop was asked for.
    pub fn is_asked(&self) -> bool {
        self.deadline().is_some()
    }

    /// When the process must be gone, once the stop was asked for.
    pub fn deadline(&self) -> Option<Instant> {
        *self.0.borrow()
    }

    /// Waits until the stop is asked for, and returns its deadline. Safe to drop and to call again.
    pub async fn asked(&mut self) -> Instant {
        let deadline = self.0.wait_for(Option::is_some).await.ok().and_then(|deadline| *deadline);
        match deadline {
            Some(deadline) => deadline,
            // Every stopper is gone: nobody can ask any more.
            None => std::future::pending().await,
        }
    }
}

/// Turns SIGTERM and SIGINT into a stop with `grace`; a second signal exits the process at once with 1. Must be called
/// within the runtime, and before anything else, so that no signal is missed.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn on_signals(grace: Duration) -> io::Result<(Stopper, Stop)> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (stopper, stop) = channel(grace);
    let on_first = stopper.clone();
    tokio::spawn(async move {
        let name = either(&mut term, &mut int).await;
        let grace_seconds = grace.as_secs();
        tracing::info!(event = events::STOPPING, signal = name, grace_seconds, "draining what is in flight");
        on_first.stop();
        let name = either(&mut term, &mut int).await;
        tracing::warn!(event = events::STOPPING_AT_ONCE, signal = name, "the next start recovers what was in flight");
        logging::flush();
        std::process::exit(i32::from(Exit::Fault.code()));
    });
    Ok((stopper, stop))
}

async fn either(term: &mut Signal, int: &mut Signal) -> &'static str {
    tokio::select! {
        _ = term.recv() => "SIGTERM",
        _ = int.recv() => "SIGINT",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_clone_hears_the_first_stop_and_its_deadline() {
        let (stopper, stop) = channel(Duration::from_secs(5));
        assert!(!stop.is_asked());
        let mut waiting = stop.clone();
        let waiter = tokio::spawn(async move { waiting.asked().await });
        let before = Instant::now();
        stopper.stop();
        let deadline = waiter.await.unwrap();
        assert!(deadline >= before + Duration::from_secs(5));
        stopper.stop();
        assert_eq!(stop.deadline(), Some(deadline), "a second request does not move the deadline");
        assert_eq!(stop.clone().asked().await, deadline, "late listeners hear it too");
    }

    /// The only test that signals this process; the handler it installs stays.
    #[tokio::test]
    async fn sigterm_asks_for_the_stop() {
        let (_stopper, mut stop) = on_signals(Duration::from_secs(5)).unwrap();
        let pid = std::process::id().to_string();
        assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let heard = tokio::time::timeout(Duration::from_secs(10), stop.asked()).await;
        assert!(heard.is_ok_and(|deadline| deadline <= Instant::now() + Duration::from_secs(5)));
    }
}

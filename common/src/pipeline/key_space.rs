//! One owner of a bridge's keys (`dedupe.key`): the instance that holds the name `bridge/<stream>/dedupe` on the checkpoint
//! topic. Others stand by: they join no source before they hold it.

use tokio::sync::mpsc;

use crate::logging::events;
use crate::pulsar::{Client, Error, ProducerEvent};
use crate::retry::Retry;
use crate::status::StatusBoard;

/// What becomes of the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ownership {
    /// It is ours.
    Owned,
    /// It was taken away; it is being asked for again.
    Lost,
    /// Somebody else holds it. Until it is ours nothing may be read here, or parts of the sources would
    /// be kept from the one who may.
    Taken,
}

/// Asks for the name for ever, and tells each time it is had or lost. Ends when nobody listens any more, which gives the
/// name back.
pub(super) fn own(
    client: Client,
    checkpoints: String,
    stream: &str,
    board: StatusBoard,
) -> mpsc::UnboundedReceiver<Ownership> {
    let name = format!("bridge/{stream}/dedupe");
    // Bounded by construction: one word per opening and one per loss.
    let (out, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut retry = Retry::for_brokers();
        let (mut attempt, mut says_taken) = (0, true);
        loop {
            attempt += 1;
            let (events_in, mut events) = mpsc::unbounded_channel();
            let opened = tokio::select! {
                opened = client.open_producer(&checkpoints, &name, None, events_in, attempt) => opened,
                () = out.closed() => return,
            };
            match opened {
                Ok(opened) => {
                    retry = Retry::for_brokers();
                    board.set_error(None);
                    if out.send(Ownership::Owned).is_err() {
                        return;
                    }
                    tokio::select! {
                        () = until_closed(&mut events) => {}
                        () = out.closed() => {
                            // The next instance need not wait for our connection to end.
                            let _ = opened.producer.close().await;
                            return;
                        }
                    }
                    tracing::warn!(
                        event = events::KEYS_ELSEWHERE,
                        cause = "lost",
                        name,
                        "the name that owns the keys of this stream was taken away; asking for it again"
                    );
                    if out.send(Ownership::Lost).is_err() {
                        return;
                    }
                    says_taken = true;
                }
                Err(error) => {
                    if matches!(error, Error::Busy { .. }) && std::mem::take(&mut says_taken) {
                        let _ = out.send(Ownership::Taken);
                    }
                    let said = match &error {
                        Error::Busy { .. } => {
                            "another instance owns the keys of this stream (dedupe.key); standing by".to_owned()
                        }
                        other => other.to_string(),
                    };
                    board.set_error(Some(said.clone()));
                    let pause = retry.next_pause();
                    if retry.attempts() == 1 {
                        tracing::warn!(event = events::KEYS_ELSEWHERE, cause = "waiting", name, "{said}");
                    }
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = out.closed() => return,
                    }
                }
            }
        }
    });
    told
}

async fn until_closed(events: &mut mpsc::UnboundedReceiver<(u64, ProducerEvent)>) {
    while let Some((_, event)) = events.recv().await {
        if matches!(event, ProducerEvent::Closed { .. }) {
            return;
        }
    }
}

//! How far it is, on standard error, where that is a terminal.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::engine::Shared;
use crate::terminal::Progress;

const REFRESH: Duration = Duration::from_millis(200);

/// Shows a bar until it is aborted.
pub(crate) fn watch(shared: &Arc<Shared>) -> Option<JoinHandle<()>> {
    if !std::io::stderr().is_terminal() {
        return None;
    }
    let shared = Arc::clone(shared);
    let total: u64 = shared.desk.parts.iter().map(|part| part.to - part.from).sum();
    Some(tokio::spawn(async move {
        let mut progress = Progress::new("comparing:");
        loop {
            progress.at(shared.source_records.load(Ordering::Relaxed), Some(total));
            tokio::time::sleep(REFRESH).await;
        }
    }))
}

//! The operations log: who changed what and when. Every verb that changes something writes an entry before it does (what
//! it is about to do) and one after (what came of it), into one topic of the fleet's own. An entry is never changed or
//! removed; a verb that cannot write its first one does nothing, unless `--unlogged` is given.
//!
//! ```text
//! let operation = Operation::new("checkpoint set", stream, json!({ "partition": 3, "position": 100 }));
//! audit::record(&config, &arguments.log, operation, async { ...; Ok(json!({ "changed": 1 })) }).await
//! ```

mod entry;
mod show;
mod who;
mod write;

use std::future::Future;

use bridge_common::config::Config;
use clap::Args;
use serde_json::Value;

pub(crate) use entry::{Entry, Operation};
pub(crate) use show::{OperationsArguments, run};
use write::Writer;

use crate::terminal;

/// What every changing verb takes for the log. Flatten it into the verb's arguments.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct LogOptions {
    /// Who asks for this, in the operations log (or BRIDGECTL_AS). Unset: the system's user and host, which are noted in any case
    #[arg(long = "as", value_name = "NAME", value_parser = who::parse_name)]
    who: Option<String>,
    /// Go on where the operations log cannot be written, and leave no trace of this there
    #[arg(long)]
    unlogged: bool,
}

/// An operation whose beginning is in the log. Its end has to be told: what is dropped stays without one, as after a crash.
#[derive(Debug)]
#[must_use = "the log waits for the operation's end"]
pub(crate) struct Begun {
    entry: Entry,
    /// `None`: not logged, as the operator wished.
    writer: Option<Writer>,
}

/// Writes what is about to be done. Nothing may be changed before this has returned.
///
/// # Errors
/// When it could not be written, and the operator has not said to go on without: then nothing may be changed at all.
pub(crate) async fn begin(config: &Config, options: &LogOptions, operation: Operation) -> Result<Begun, String> {
    let who = who::who(options.who.as_deref(), bridge_common::cli::environment());
    let who = who.map_err(|problem| format!("{problem}. Nothing was changed"))?;
    let entry = Entry::intent(operation, who, terminal::now_ms());
    let written = async {
        let mut writer = Writer::open(config, &entry.operation).await?;
        writer.append(&entry).await.map(|()| writer)
    };
    match written.await {
        Ok(writer) => Ok(Begun { entry, writer: Some(writer) }),
        Err(problem) if options.unlogged => {
            eprintln!("bridgectl: not logged: {problem}");
            Ok(Begun { entry, writer: None })
        }
        Err(problem) => Err(format!(
            "the operations log cannot be written, and nothing was changed: {problem}. `bridgectl setup` creates its topic; \
             --unlogged goes on without a trace"
        )),
    }
}

impl Begun {
    /// Writes what came of it: `Ok` with whatever is worth to be known later, or the error in words. Where that cannot be
    /// written any more it is said, and the operation shows without an end.
    pub(crate) async fn end(self, result: Result<&Value, &str>) {
        let Some(mut writer) = self.writer else { return };
        let outcome = self.entry.outcome(result, terminal::now_ms());
        if let Err(problem) = writer.append(&outcome).await {
            eprintln!("bridgectl: it is done, but how it ended could not be written to the operations log: {problem}");
        }
        writer.close().await;
    }
}

/// Does `work` between the two entries, and gives what it gives.
///
/// # Errors
/// That of `work`; or that the log could not be written, and `work` was not begun.
pub(crate) async fn record(
    config: &Config,
    options: &LogOptions,
    operation: Operation,
    work: impl Future<Output = Result<Value, String>>,
) -> Result<Value, String> {
    let begun = begin(config, options, operation).await?;
    let result = work.await;
    begun.end(result.as_ref().map_err(String::as_str)).await;
    result
}

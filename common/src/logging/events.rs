//! Every event by name: an interface, since alerts and searches are made of these names. `common/LOG.md` is made of this table.

use std::fmt::Write;

use tracing::Level;

/// How often lines of an event are written. See `hold_back.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Always: it is rare by what it is.
    None,
    /// Once in `log.repeat_seconds` for each place.
    Own,
    /// The same, for a few places; the others share one line.
    Shared,
}

/// One event.
#[derive(Debug)]
pub struct Described {
    /// Its name.
    pub name: &'static str,
    /// Its level.
    pub level: Level,
    /// How often it is written.
    pub limit: Limit,
    /// What it says, and its fields.
    pub about: &'static str,
}

/// See [`ALL`].
pub const STARTING: &str = "starting";
/// See [`ALL`].
pub const RUNNING: &str = "running";
/// See [`ALL`].
pub const SUMMARY: &str = "summary";
/// See [`ALL`].
pub const STOPPING: &str = "stopping";
/// See [`ALL`].
pub const STOPPING_AT_ONCE: &str = "stopping_at_once";
/// See [`ALL`].
pub const STOPPED: &str = "stopped";
/// See [`ALL`].
pub const CONFIGURATION_WRONG: &str = "configuration_wrong";
/// See [`ALL`].
pub const START_FAILED: &str = "start_failed";
/// See [`ALL`].
pub const START_WAITS: &str = "start_waits";
/// See [`ALL`].
pub const LOG_LEVEL_UNUSABLE: &str = "log_level_unusable";
/// See [`ALL`].
pub const CERTIFICATE_UNREADABLE: &str = "certificate_unreadable";
/// See [`ALL`].
pub const PANIC: &str = "panic";
/// See [`ALL`].
pub const PARTITIONS_ASSIGNED: &str = "partitions_assigned";
/// See [`ALL`].
pub const PARTITIONS_REVOKED: &str = "partitions_revoked";
/// See [`ALL`].
pub const PARTITIONS_ORPHANED: &str = "partitions_orphaned";
/// See [`ALL`].
pub const PARTITION_REOPENING: &str = "partition_reopening";
/// See [`ALL`].
pub const PARTITION_WAITS: &str = "partition_waits";
/// See [`ALL`].
pub const PARTITION_TROUBLE: &str = "partition_trouble";
/// See [`ALL`].
pub const PARTITION_RECOVERED: &str = "partition_recovered";
/// See [`ALL`].
pub const PARTITION_STOPPED: &str = "partition_stopped";
/// See [`ALL`].
pub const PARTITION_NOT_DRAINED: &str = "partition_not_drained";
/// See [`ALL`].
pub const PARTITION_TASK_ENDED: &str = "partition_task_ended";
/// See [`ALL`].
pub const DEAD_LETTER: &str = "dead_letter";
/// See [`ALL`].
pub const CONTRACT_DRIFT: &str = "contract_drift";
/// See [`ALL`].
pub const GAP_PASSED_OVER: &str = "gap_passed_over";
/// See [`ALL`].
pub const SOURCE_TROUBLE: &str = "source_trouble";
/// See [`ALL`].
pub const SOURCE_FAILED: &str = "source_failed";
/// See [`ALL`].
pub const SOURCE_REJOINING: &str = "source_rejoining";
/// See [`ALL`].
pub const SOURCE_LEFT_LATE: &str = "source_left_late";
/// See [`ALL`].
pub const IDENTITY_LOST: &str = "identity_lost";
/// See [`ALL`].
pub const KAFKA_CLIENT: &str = "kafka_client";
/// See [`ALL`].
pub const QUEUE_DIFFERS: &str = "queue_differs";
/// See [`ALL`].
pub const CONTROL: &str = "control";
/// See [`ALL`].
pub const CONTROL_REFUSED: &str = "control_refused";
/// See [`ALL`].
pub const TARGET_GREW: &str = "target_grew";
/// See [`ALL`].
pub const TARGET_UNFIT: &str = "target_unfit";
/// See [`ALL`].
pub const TARGET_FIT: &str = "target_fit";
/// See [`ALL`].
pub const KEYS_ELSEWHERE: &str = "keys_elsewhere";
/// See [`ALL`].
pub const PULSAR_CONNECTED: &str = "pulsar_connected";
/// See [`ALL`].
pub const PULSAR_CONNECTION_LOST: &str = "pulsar_connection_lost";
/// See [`ALL`].
pub const DEPENDENCY: &str = "dependency";
/// See [`ALL`].
pub const DETAIL: &str = "detail";
/// See [`ALL`].
pub const OTHER: &str = "other";

const fn event(name: &'static str, level: Level, limit: Limit, about: &'static str) -> Described {
    Described { name, level, limit, about }
}

/// All events.
pub const ALL: &[Described] = &[
    event(STARTING, Level::INFO, Limit::None, "The configuration is good. `version`, `listen`: where its HTTP is"),
    event(RUNNING, Level::INFO, Limit::None, "It has joined its sources"),
    event(
        SUMMARY,
        Level::INFO,
        Limit::None,
        "Every `log.summary_seconds`. Since the last one: `in`, `out`, `dead`, `suppressed`, `repaired` records, `p99_ms` from the source's stamp to the receipt; now: `lag_records`, `lag_seconds`, `partitions`, `running`, `stopped`",
    ),
    event(STOPPING, Level::INFO, Limit::None, "A signal came: what is in flight is settled. `signal`, `grace_seconds`"),
    event(STOPPING_AT_ONCE, Level::WARN, Limit::None, "A second signal came. `signal`"),
    event(STOPPED, Level::INFO, Limit::None, "It has let go of everything"),
    event(CONFIGURATION_WRONG, Level::ERROR, Limit::None, "It ends with exit code 2"),
    event(START_FAILED, Level::ERROR, Limit::None, "It cannot work, and ends"),
    event(
        START_WAITS,
        Level::WARN,
        Limit::Shared,
        "A server that it needs does not answer yet, or a topic is missing. `attempt`, `pause_ms`",
    ),
    event(LOG_LEVEL_UNUSABLE, Level::WARN, Limit::None, "`RUST_LOG` cannot be read"),
    event(
        CERTIFICATE_UNREADABLE,
        Level::WARN,
        Limit::Own,
        "Nothing tells when it expires, until the file can be read. `file`",
    ),
    event(PANIC, Level::ERROR, Limit::Own, "A fault in the program. `at`"),
    event(
        PARTITIONS_ASSIGNED,
        Level::INFO,
        Limit::Shared,
        "Source partitions came to this instance. `source`, `topic`, `partitions`, `count`",
    ),
    event(
        PARTITIONS_REVOKED,
        Level::INFO,
        Limit::Shared,
        "Source partitions are another's now. `source`, `topic`, `partitions`, `count`",
    ),
    event(
        PARTITIONS_ORPHANED,
        Level::WARN,
        Limit::Own,
        "No member of the group had these; the source is joined again. `source`, `partitions`",
    ),
    event(
        PARTITION_REOPENING,
        Level::WARN,
        Limit::Shared,
        "An outcome is unknown: the partition is opened again. `source`, `topic`, `partition`",
    ),
    event(
        PARTITION_WAITS,
        Level::WARN,
        Limit::Shared,
        "The partition cannot work now, and says why. `source`, `topic`, `partition`",
    ),
    event(
        PARTITION_TROUBLE,
        Level::WARN,
        Limit::Shared,
        "Something failed and is tried again. `source`, `topic`, `partition`",
    ),
    event(
        PARTITION_RECOVERED,
        Level::INFO,
        Limit::Shared,
        "Whatever was wrong with it is over. `source`, `topic`, `partition`, `position`, `after_seconds`",
    ),
    event(
        PARTITION_STOPPED,
        Level::ERROR,
        Limit::Own,
        "Only a person can help; the others go on. `source`, `topic`, `partition`",
    ),
    event(
        PARTITION_NOT_DRAINED,
        Level::WARN,
        Limit::Shared,
        "What was in flight was not settled by the deadline; the next opening recovers it. `topic`, `partition`",
    ),
    event(
        PARTITION_TASK_ENDED,
        Level::ERROR,
        Limit::Own,
        "A fault in the program; the bridge ends. `topic`, `partition`",
    ),
    event(
        DEAD_LETTER,
        Level::WARN,
        Limit::Shared,
        "A record cannot be translated or published. `topic`, `partition`, `offset`, `cause`, `field`, `trace_id`",
    ),
    event(
        CONTRACT_DRIFT,
        Level::WARN,
        Limit::Own,
        "A field came for the first time that the contract lacks. `source`, `topic`, `partition`, `offset`, `field`",
    ),
    event(
        GAP_PASSED_OVER,
        Level::WARN,
        Limit::Own,
        "The source has no more what came next, and `on_gap` says to go on. `source`, `topic`, `partition`, `from`, `oldest`, `lost`",
    ),
    event(
        SOURCE_TROUBLE,
        Level::WARN,
        Limit::Shared,
        "The source's servers do not answer, or refuse something; it is tried again. `source`, `topic`, `cause`",
    ),
    event(SOURCE_FAILED, Level::ERROR, Limit::Own, "The source cannot be read as it is. `source`"),
    event(SOURCE_REJOINING, Level::WARN, Limit::None, "The source is left and joined again. `source`, `pause_ms`"),
    event(SOURCE_LEFT_LATE, Level::WARN, Limit::Shared, "Leaving took longer than it may. `topic`"),
    event(IDENTITY_LOST, Level::ERROR, Limit::None, "Another instance has the same `kafka.instance_id`. `source`"),
    event(KAFKA_CLIENT, Level::WARN, Limit::Shared, "What librdkafka says by itself. `topic`, `cause`: its facility"),
    event(QUEUE_DIFFERS, Level::WARN, Limit::Own, "A queue is not as it should be. `topic`"),
    event(CONTROL, Level::INFO, Limit::None, "An operator asked for it by HTTP. `order`"),
    event(CONTROL_REFUSED, Level::WARN, Limit::Shared, "It has drained already. `order`"),
    event(TARGET_GREW, Level::INFO, Limit::Own, "The target or a route has another number of partitions. `from`, `to`"),
    event(TARGET_UNFIT, Level::ERROR, Limit::Own, "The target does not deduplicate: all partitions wait"),
    event(TARGET_FIT, Level::INFO, Limit::Own, "It does again: all go on"),
    event(
        KEYS_ELSEWHERE,
        Level::WARN,
        Limit::Shared,
        "Another instance owns the keys of the stream (`dedupe.key`): this one stands by. `cause`",
    ),
    event(PULSAR_CONNECTED, Level::INFO, Limit::Shared, "`broker`, `server`, `max_message_bytes`"),
    event(PULSAR_CONNECTION_LOST, Level::WARN, Limit::Shared, "`broker`, `cause`"),
    event(DEPENDENCY, Level::WARN, Limit::Shared, "A library's own words. `from`"),
    event(DETAIL, Level::DEBUG, Limit::None, "For who looks into the program"),
    event(OTHER, Level::WARN, Limit::Shared, "An event without a name of its own"),
];

/// The event of a name that came as text.
pub(super) fn known(name: &str) -> &'static str {
    ALL.iter().find(|event| event.name == name).map_or(OTHER, |event| event.name)
}

/// How often an event may be written.
pub(super) fn limit(name: &'static str) -> Limit {
    ALL.iter().find(|event| event.name == name).map_or(Limit::Shared, |event| event.limit)
}

const HEAD: &str = "\
# What a bridge logs

Made from the table of events in `common/src/logging/events.rs`; do not edit. Names and fields are an interface: they stay, and
more may come. Lines go to standard error; how they look and how many there are say the keys of `[log]` in
[config/REFERENCE.md](../config/REFERENCE.md).

Every line has `timestamp`, `level`, `stream`, `event` and `message`, and the fields below where there is something to say. No line
has a record's body or key, or a secret. `offset`, `topic` and `partition` say where the record is in the source; `trace_id` is that of
the record's W3C `traceparent` header, which travels on as a property of the message.

Lines are bounded: of an event that is marked *place*, one at once and then one in `log.repeat_seconds` for each source, topic,
partition and cause (and field); *few places*: for four of these, and one line for all others together. What was not written is counted in the next
line: `held_back` of the same place, `held_back_elsewhere` of other places.

| event | level | bounded by | |
|---|---|---|---|
";

/// The whole text of `common/LOG.md`.
pub fn reference() -> String {
    let mut text = HEAD.to_owned();
    for Described { name, level, limit, about } in ALL {
        let limit = match limit {
            Limit::None => "",
            Limit::Own => "place",
            Limit::Shared => "few places",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| `{name}` | {level} | {limit} | {about} |");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    fn sources(directory: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
    }

    /// Each use of a macro of `tracing`: its level, and its event's name. The event is its first field, or a variable that was set
    /// just before.
    fn uses(text: &str) -> Vec<(String, String)> {
        let mut uses = Vec::new();
        for (place, _) in text.match_indices("tracing::") {
            let Some((level, rest)) = text[place + "tracing::".len()..].split_once("!(") else { continue };
            if !["error", "warn", "info", "debug", "trace"].contains(&level) {
                continue;
            }
            let rest = rest.trim_start();
            let named = match rest.strip_prefix("event,") {
                Some(_) => text[..place].rsplit_once("events::").map(|(_, named)| named),
                None => rest.strip_prefix("event = events::"),
            };
            let is_name = |c: &char| c.is_ascii_uppercase() || *c == '_';
            let named = named.unwrap_or_else(|| panic!("a line without its event: {level}!({}", &rest[..40]));
            uses.push((level.to_uppercase(), named.chars().take_while(is_name).collect::<String>().to_lowercase()));
        }
        uses
    }

    #[test]
    fn every_line_of_ours_names_its_event_and_has_that_events_level() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut seen = std::collections::BTreeSet::new();
        for path in sources(&root).into_iter().filter(|path| !path.starts_with(root.join("logging"))) {
            let text = std::fs::read_to_string(&path).unwrap();
            for (level, name) in uses(&text) {
                let event = ALL.iter().find(|event| event.name == name);
                let event = event.unwrap_or_else(|| panic!("{}: {name} is in no table", path.display()));
                assert_eq!(event.level.to_string(), level, "{}: {name}", path.display());
                seen.insert(event.name);
            }
        }
        let within = [CONFIGURATION_WRONG, LOG_LEVEL_UNUSABLE, PANIC, DEPENDENCY, OTHER];
        let unused: Vec<_> = ALL.iter().filter(|e| !seen.contains(e.name) && !within.contains(&e.name)).collect();
        assert!(unused.is_empty(), "in the table, and never said: {unused:?}");
    }

    #[test]
    fn the_list_that_ships_is_that_of_the_table() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("LOG.md");
        if std::env::var_os("UPDATE_REFERENCE").is_some() {
            std::fs::write(&path, reference()).unwrap();
        }
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            there == reference(),
            "common/LOG.md is not what the table of events says: run `UPDATE_REFERENCE=1 cargo test -p bridge-common --lib \
             logging`, and commit what changed"
        );
    }
}

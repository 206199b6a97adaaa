//! Every metric by name, unit and meaning.

use metrics::Unit;

/// What kind of figure a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts in buckets with these upper bounds.
    Histogram(Buckets),
}

/// The explicit buckets of a histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Buckets {
    /// Seconds from half a millisecond to ten seconds: one exchange with a broker.
    Exchange,
    /// Seconds from a millisecond to a day: from the source's stamp to the receipt, outages included.
    EndToEnd,
}

impl Buckets {
    /// The upper bounds, rising.
    pub fn bounds(self) -> &'static [f64] {
        match self {
            Self::Exchange => {
                &[0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1.0, 2.5, 10.0]
            }
            Self::EndToEnd => &[
                0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0, 3600.0,
                86_400.0,
            ],
        }
    }
}

/// One metric: its name, unit and meaning.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// The name, with the unit at its end.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: Kind,
    /// The unit.
    pub unit: Unit,
    /// What it says.
    pub help: &'static str,
}

const fn counter(name: &'static str, unit: Unit, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, unit, help }
}

const fn gauge(name: &'static str, unit: Unit, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, unit, help }
}

const fn histogram(name: &'static str, buckets: Buckets, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Histogram(buckets), unit: Unit::Seconds, help }
}

/// Records taken from the source.
pub const RECEIVED: Metric =
    counter("stream_bridge_records_received_total", Unit::Count, "Records taken from the source partition.");
/// Bytes taken from the source.
pub const RECEIVED_BYTES: Metric = counter(
    "stream_bridge_received_bytes_total",
    Unit::Bytes,
    "Bytes of keys and values taken from the source partition.",
);
/// Records with a receipt.
pub const PUBLISHED: Metric = counter(
    "stream_bridge_records_published_total",
    Unit::Count,
    "Records that the target has confirmed, repaired ones included.",
);
/// Compressed bytes with a receipt.
pub const PUBLISHED_BYTES: Metric = counter(
    "stream_bridge_published_bytes_total",
    Unit::Bytes,
    "Bytes of batches that the target has confirmed, as they were sent.",
);
/// Records that were skipped since the target holds them.
pub const SUPPRESSED: Metric = counter(
    "stream_bridge_records_suppressed_total",
    Unit::Count,
    "Records that were not sent since they were seen in the target: after restarts and takeovers.",
);
/// Of those, records whose event came by another source.
pub const TWINS: Metric = counter(
    "stream_bridge_records_twins_total",
    Unit::Count,
    "Of the suppressed records, those whose event came before, mostly by another source (dedupe.key).",
);
/// Records sent by a repair lane.
pub const REPAIRED: Metric = counter(
    "stream_bridge_records_repaired_total",
    Unit::Count,
    "Records that were missing below the last sequence id of the lane and were sent by a repair lane.",
);
/// Offsets that the source had no more.
pub const GAP_OFFSETS: Metric = counter(
    "stream_bridge_gap_offsets_total",
    Unit::Count,
    "Offsets that were gone from the source before they were read, and were passed over (on_gap = \"continue\"): lost records.",
);
/// Records that became dead letters.
pub const DEAD_LETTERED: Metric = counter(
    "stream_bridge_records_dead_lettered_total",
    Unit::Count,
    "Records that the dead-letter topic has confirmed, by reason.",
);
/// Lag in records.
pub const LAG_RECORDS: Metric = gauge(
    "stream_bridge_lag_records",
    Unit::Count,
    "Records between the position and the end of the source partition.",
);
/// Lag in seconds.
pub const LAG_SECONDS: Metric = gauge(
    "stream_bridge_lag_seconds",
    Unit::Seconds,
    "Age of the oldest record that has no receipt yet; 0 when there is none.",
);
/// From the source's stamp to the receipt.
pub const END_TO_END_SECONDS: Metric = histogram(
    "stream_bridge_end_to_end_seconds",
    Buckets::EndToEnd,
    "Time from the source's timestamp of a record to the target's receipt of it.",
);
/// From sending a batch to its receipt.
pub const PUBLISH_SECONDS: Metric =
    histogram("stream_bridge_publish_seconds", Buckets::Exchange, "Time from sending a batch to its receipt.");
/// Bytes sent and not yet confirmed.
pub const IN_FLIGHT_BYTES: Metric =
    gauge("stream_bridge_in_flight_bytes", Unit::Bytes, "Bytes of batches that were sent and have no receipt yet.");
/// The state of a partition.
pub const PARTITION_STATE: Metric = gauge(
    "stream_bridge_partition_state",
    Unit::Count,
    "1 for the state that the source partition is in, 0 for all others.",
);
/// Why a partition is stopped.
pub const STOP_CAUSE: Metric = gauge(
    "stream_bridge_partition_stop_cause",
    Unit::Count,
    "1 for the cause that the source partition is stopped by, 0 for all others, and for all while it is not stopped.",
);
/// The position.
pub const POSITION: Metric = gauge(
    "stream_bridge_position_offset",
    Unit::Count,
    "Offset below which every record is in the target or a dead letter.",
);
/// The end of the source partition.
pub const SOURCE_END: Metric =
    gauge("stream_bridge_source_end_offset", Unit::Count, "Offset behind the newest record of the source partition.");
/// When the last receipt came.
pub const LAST_RECEIPT: Metric = gauge(
    "stream_bridge_last_receipt_timestamp_seconds",
    Unit::Seconds,
    "Time of the last receipt, in seconds since the epoch.",
);
/// How often a lane was opened again.
pub const REOPENED: Metric = counter(
    "stream_bridge_lane_reopens_total",
    Unit::Count,
    "How often the opening protocol ran again after an unknown outcome or a lost connection.",
);
/// Connections made again.
pub const RECONNECTS: Metric = counter(
    "stream_bridge_reconnects_total",
    Unit::Count,
    "Connections to a broker of the target that were made again after they were lost.",
);
/// Fields that the contract does not know.
pub const DRIFT: Metric = counter(
    "stream_bridge_contract_drift_total",
    Unit::Count,
    "Occurrences of JSON fields that the contract does not know, by field; from the 51st field on as \"other\".",
);
/// Whether the bridge does what it is for.
pub const READY: Metric =
    gauge("stream_bridge_ready", Unit::Count, "1 while /readyz says that the bridge does what it is for, 0 otherwise.");
/// Whether the target deduplicates.
pub const DEDUPLICATES: Metric = gauge(
    "stream_bridge_target_deduplicates",
    Unit::Count,
    "1 while every topic that is written to deduplicates, 0 while one does not; absent where that is not asked.",
);
/// What may be held at once.
pub const MEMORY_BUDGET: Metric = gauge(
    "stream_bridge_memory_budget_bytes",
    Unit::Bytes,
    "Bytes of records that may be batched or in flight at once: half of limits.memory_mib.",
);
/// What is held.
pub const MEMORY_HELD: Metric = gauge(
    "stream_bridge_memory_held_bytes",
    Unit::Bytes,
    "Bytes of records that are batched or in flight; at the budget nothing more is read.",
);
/// When certificates end.
pub const CERTIFICATE_EXPIRY: Metric = gauge(
    "stream_bridge_certificate_expiry_timestamp_seconds",
    Unit::Seconds,
    "When the certificate that ends first is valid no more, in seconds since the epoch, by server and kind of certificate.",
);
/// What runs.
pub const BUILD_INFO: Metric =
    gauge("stream_bridge_build_info", Unit::Count, "Always 1; the labels say which stream and version runs.");
/// Process start.
pub const START_TIME: Metric =
    gauge("process_start_time_seconds", Unit::Seconds, "Start time of the process in seconds since the epoch.");
/// Resident memory.
pub const RESIDENT_MEMORY: Metric =
    gauge("process_resident_memory_bytes", Unit::Bytes, "Resident memory of the process.");
/// CPU time.
pub const CPU_SECONDS: Metric =
    counter("process_cpu_seconds_total", Unit::Seconds, "User and system CPU time of the process.");
/// Open file descriptors.
pub const OPEN_FDS: Metric = gauge("process_open_fds", Unit::Count, "Open file descriptors of the process.");

/// All metrics of ours, in the order of the reference. Every one has the label `stream`.
pub const ALL: &[Metric] = &[
    RECEIVED,
    RECEIVED_BYTES,
    PUBLISHED,
    PUBLISHED_BYTES,
    SUPPRESSED,
    TWINS,
    REPAIRED,
    GAP_OFFSETS,
    DEAD_LETTERED,
    LAG_RECORDS,
    LAG_SECONDS,
    END_TO_END_SECONDS,
    PUBLISH_SECONDS,
    IN_FLIGHT_BYTES,
    PARTITION_STATE,
    STOP_CAUSE,
    POSITION,
    SOURCE_END,
    LAST_RECEIPT,
    REOPENED,
    RECONNECTS,
    DRIFT,
    READY,
    DEDUPLICATES,
    MEMORY_BUDGET,
    MEMORY_HELD,
    CERTIFICATE_EXPIRY,
    BUILD_INFO,
];

/// The usual metrics of a process, by their usual names; without labels.
pub const PROCESS: &[Metric] = &[START_TIME, RESIDENT_MEMORY, CPU_SECONDS, OPEN_FDS];

//! What the portal's events say, by stream and event type, with invented but realistic values.

use crate::event_text::{Draft, uuid};
use crate::streams::Stream;

const SYSTEMS: [&str; 5] = ["stampede3", "frontera", "lonestar6", "vista", "ls6-gpu"];
const STATUSES: [&str; 5] = ["QUEUED", "RUNNING", "COMPLETED", "FAILED", "CANCELLED"];
const PRIORITIES: [&str; 3] = ["low", "normal", "high"];
const CHANNELS: [&str; 4] = ["email", "websocket", "push", "in-app"];
const SEVERITIES: [&str; 3] = ["info", "warning", "critical"];
const HEALTH: [&str; 3] = ["healthy", "degraded", "unhealthy"];
const COMPONENTS: [&str; 5] = ["broker", "consumer_group", "topic", "producer", "api_server"];
const BROKERS: [&str; 3] = ["rabbitmq", "kafka", "pulsar"];
const MESSAGES: [&str; 3] = ["Your job is done ✓", "Calibration \\\"α-Cen\\\" failed", "Quota:\\n80 % used"];
const ERRORS: [(&str, &str); 4] = [
    ("OUT_OF_MEMORY", "node c401-012 killed the task: 191.8 GB used of 192 GB"),
    ("WALL_TIME", "the wall time of 2 h was reached while \\\"tclean\\\" was running"),
    ("INPUT_MISSING", "measurement set /scratch/α-Cen/uid___A002.ms not found"),
    ("NODE_FAILURE", "lost contact\\nwith 2 of 16 nodes"),
];

/// The event types of a stream with an envelope, each with how many of a hundred events are of it.
fn event_types(stream: Stream) -> &'static [(&'static str, u64)] {
    match stream {
        Stream::JobLifecycle => &[
            ("job.submitted", 20),
            ("job.status.changed", 50),
            ("job.completed", 18),
            ("job.failed", 7),
            ("job.cancelled", 5),
        ],
        Stream::Notifications => &[
            ("notification.sent", 50),
            ("notification.read", 20),
            ("notification.dismissed", 10),
            ("alert.raised", 12),
            ("alert.resolved", 8),
        ],
        Stream::AuditTrail => &[
            ("audit.action.recorded", 45),
            ("audit.policy.changed", 5),
            ("audit.data.access", 30),
            ("audit.job.lifecycle", 12),
            ("audit.compliance.check", 8),
        ],
        Stream::SystemHealth => &[("system.health.check", 70), ("system.health", 30)],
        Stream::JobMetrics | Stream::BrokerMetrics => &[],
    }
}

/// The event type for a number below 100.
pub(crate) fn event_type(stream: Stream, mut dice: u64) -> &'static str {
    for (name, share) in event_types(stream) {
        if dice < *share {
            return name;
        }
        dice -= share;
    }
    ""
}

/// Writes the members of the payload. `subject` is the id of the job or resource that it is about.
pub(crate) fn write_payload(draft: &mut Draft<'_>, event_type: &str, subject: &[u8; 36]) {
    match event_type.split('.').next() {
        Some("job") => job(draft, event_type, subject),
        Some("notification") => notification(draft, event_type, subject),
        Some("alert") => alert(draft, event_type, subject),
        Some("audit") => audit(draft, event_type, subject),
        _ => health(draft, subject),
    }
}

fn job(draft: &mut Draft<'_>, event_type: &str, job_id: &[u8; 36]) {
    draft.id("job_id", job_id);
    match event_type {
        "job.submitted" => {
            draft.numbered("job_name", "calibrate-", 10_000);
            draft.choice("tacc_system", &SYSTEMS);
            draft.open("resource_request");
            draft.integer("num_nodes", 1, 64);
            draft.integer("cores_per_node", 56, 1);
            draft.integer("gpu_count_total", 0, 8);
            draft.integer("memory_gb", 64, 1000);
            draft.integer("wall_time_minutes", 30, 2_850);
            draft.close();
            draft.decimal("estimated_cost_usd", 1_000_000);
            draft.choice("priority", &PRIORITIES);
        }
        "job.status.changed" => {
            let status = draft.random.below(4) as usize;
            draft.text("previous_status", STATUSES[status]);
            draft.text("new_status", STATUSES[status + 1]);
            if draft.random.below(2) == 0 {
                draft.text("reason", "scheduler: nœuds prêts ✓");
                draft.integer("transition_time_ms", 0, 90_000);
            }
        }
        "job.completed" => {
            draft.integer("execution_time_ms", 0, 7_200_000);
            draft.numbered("output_location", "s3://cosmic-ai/products/", u64::MAX);
            draft.integer("result_size_bytes", 0, 1 << 40);
            draft.open("metrics");
            draft.decimal("cpu_utilization_percent", 10_000);
            draft.decimal("gpu_utilization_percent", 10_000);
            draft.decimal("memory_used_gb", 19_200);
            draft.decimal("io_throughput_mbps", 500_000);
            draft.close();
        }
        "job.failed" => {
            let (code, message) = ERRORS[draft.random.below(4) as usize];
            draft.text("error_code", code);
            draft.text("error_message", message);
            if draft.random.below(2) == 0 {
                draft.text("stack_trace", "at tclean (imager.py:212)\\n  at main (run.py:14)");
                draft.integer("exit_code", 0, 256);
            }
            draft.integer("retry_count", 0, 3);
            draft.integer("max_retries", 3, 1);
        }
        _ => {
            draft.numbered("cancelled_by", "user-", 700);
            draft.text("reason", "superseded");
            draft.decimal("refund_amount_usd", 100_000);
        }
    }
}

fn notification(draft: &mut Draft<'_>, event_type: &str, subject: &[u8; 36]) {
    draft.id("notification_id", subject);
    draft.numbered("recipient_user_id", "user-", 700);
    match event_type {
        "notification.sent" => {
            draft.choice("channel", &CHANNELS);
            draft.text("subject", "Job update");
            draft.choice("message", &MESSAGES);
            if draft.random.below(2) == 0 {
                draft.id("related_job_id", subject);
                draft.open("data");
                draft.integer("progress", 0, 101);
                draft.raw("links", b"[]");
                draft.close();
            }
            draft.raw("read_status", b"false");
            draft.now("created_at");
        }
        "notification.read" => draft.now("read_at"),
        _ => {
            if draft.random.below(2) == 0 {
                draft.text("reason", "expirée");
            }
            draft.now("dismissed_at");
        }
    }
}

fn alert(draft: &mut Draft<'_>, event_type: &str, subject: &[u8; 36]) {
    draft.id("alert_id", subject);
    if event_type == "alert.raised" {
        draft.text("alert_type", "queue_backlog");
        draft.choice("severity", &SEVERITIES);
        draft.choice("message", &MESSAGES);
        draft.numbered("affected_resource_id", "queue-", 40);
        if draft.random.below(2) == 0 {
            draft.open("metrics");
            draft.integer("depth", 0, 100_000);
            draft.close();
        }
    } else {
        draft.text("original_alert_type", "queue_backlog");
        draft.text("resolution_reason", "drained");
        draft.now("resolved_at");
    }
}

fn audit(draft: &mut Draft<'_>, event_type: &str, subject: &[u8; 36]) {
    match event_type {
        "audit.action.recorded" => {
            draft.id("audit_id", subject);
            draft.text("action", "UPDATE");
            draft.numbered("actor_user_id", "user-", 700);
            draft.text("actor_role", "astronomer");
            draft.id("target_resource_id", subject);
            draft.text("target_resource_type", "observation");
            draft.open("changes");
            draft.raw("before", br#"{"title":"a","public":false}"#);
            draft.raw("after", br#"{"title":"b","public":true}"#);
            draft.close();
            draft.now("timestamp");
        }
        "audit.policy.changed" => {
            draft.id("policy_id", subject);
            draft.text("policy_type", "retention");
            draft.numbered("changed_by", "user-", 700);
            draft.raw("previous_policy", br#"{"days":30}"#);
            draft.raw("new_policy", br#"{"days": 90, "basis": "HIPAA"}"#);
            draft.text("reason", "compliance");
            draft.now("effective_at");
        }
        "audit.data.access" => {
            draft.id("access_id", subject);
            draft.numbered("user_id", "user-", 700);
            draft.text("data_type", "measurement_set");
            draft.id("resource_id", subject);
            draft.text("access_type", "read");
            draft.text("status", "denied");
            draft.text("reason_if_denied", "proprietary period");
            draft.now("timestamp");
        }
        "audit.job.lifecycle" => {
            draft.id("job_id", subject);
            draft.text("lifecycle_event", "cancelled");
            draft.text("previous_state", "RUNNING");
            draft.text("new_state", "CANCELLED");
            draft.numbered("initiated_by", "user-", 700);
            draft.open("affected_data");
            draft.integer("files", 0, 900);
            draft.close();
            draft.now("timestamp");
        }
        _ => {
            draft.id("check_id", subject);
            draft.text("check_name", "encryption at rest");
            draft.text("check_type", "SOC2");
            draft.text("status", "failed");
            draft.raw("violations", br#"["bucket products-3: no key"]"#);
            draft.now("checked_at");
        }
    }
}

/// The portal repeats the components' ids over and over; the key is one of them.
fn health(draft: &mut Draft<'_>, component_id: &[u8; 36]) {
    draft.id("component_id", component_id);
    draft.choice("component_type", &COMPONENTS);
    draft.choice("status", &HEALTH);
    draft.open("metrics");
    draft.decimal("cpu", 10_000);
    draft.decimal("memory", 10_000);
    draft.decimal("disk", 10_000);
    draft.integer("lag", 0, 5_000);
    draft.decimal("latency_ms", 20_000);
    draft.decimal("error_rate", 100);
    draft.close();
}

/// Figures of a job, in one of the topic's three shapes: the members after the opening brace. `job_id` is written as it
/// is given, quotes and all.
pub(crate) fn write_job_metrics(draft: &mut Draft<'_>, job_id: &[u8]) {
    match draft.random.below(10) {
        0..5 => {
            draft.text("event_type", "job.metrics_recorded");
            draft.raw("job_id", job_id);
            draft.decimal("cpu_usage_percent", 10_000);
            draft.decimal("memory_usage_mb", 19_200_000);
            draft.integer("execution_time_seconds", 0, 7_200);
        }
        5..9 => {
            draft.raw("job_id", job_id);
            draft.now("sample_timestamp");
            draft.integer("sample_interval_seconds", 30, 1);
            draft.open("metrics");
            for name in [
                "cpu_utilization_percent",
                "gpu_utilization_percent",
                "gpu_memory_used_gb",
                "system_memory_used_gb",
                "network_in_mbps",
                "network_out_mbps",
            ] {
                draft.decimal(name, 10_000);
            }
            for name in ["disk_read_iops", "disk_write_iops"] {
                draft.integer(name, 0, 200_000);
            }
            for name in ["disk_read_throughput_mbps", "disk_write_throughput_mbps"] {
                draft.decimal(name, 400_000);
            }
            draft.close();
        }
        _ => {
            draft.raw("job_id", job_id);
            draft.integer("execution_time_ms", 0, 7_200_000);
            draft.integer("samples_collected", 0, 500);
            draft.open("metrics_aggregate");
            draft.decimal("cpu_utilization_percent_mean", 10_000);
            draft.decimal("gpu_utilization_percent_max", 10_000);
            draft.close();
        }
    }
}

/// Figures of a broker as the portal keeps them. `name` is written as it is given, or one is chosen.
pub(crate) fn write_broker_metrics(draft: &mut Draft<'_>, name: Option<&[u8]>) {
    match name {
        Some(name) => draft.raw("brokerName", name),
        None => draft.choice("brokerName", &BROKERS),
    }
    draft.decimal("messagesPerSecond", 1_000_000);
    for name in ["p50LatencyMs", "p95LatencyMs", "p99LatencyMs"] {
        draft.decimal(name, 10_000);
    }
    draft.decimal("memoryUsageMb", 400_000);
    draft.decimal("cpuPercentage", 10_000);
    draft.integer("connectionCount", 0, 300);
    draft.raw("isConnected", b"true");
    draft.integer("uptime", 0, 1_000_000);
    if draft.random.below(2) == 0 {
        draft.integer("partitionCount", 1, 60);
        draft.integer("brokerCount", 1, 3);
        draft.raw("topicStats", br#"{"job-lifecycle":{"messages":17}}"#);
    }
    draft.now("capturedAt");
}

/// The id of one of a stream's subjects: jobs come again and again, components more often.
pub(crate) fn subject(stream: Stream, seed: u64, dice: u64) -> [u8; 36] {
    let many = match stream {
        Stream::SystemHealth | Stream::BrokerMetrics => 40,
        _ => 5_000,
    };
    let number = dice % many;
    uuid(crate::events::mix(seed.wrapping_add(number)), crate::events::mix(number))
}

//! Every kind of bad file, and the whole message that its author sees.

use super::demo_with;

/// What is added to the stream's file, the environment, and the whole message that a user sees.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);

#[test]
fn errors_name_the_key_the_place_and_what_is_allowed() {
    let cases: &[Case] = &[
        (
            "[kafka]\nbrokrs = \"x:1\"",
            &[],
            "demo.toml: unknown key kafka.brokrs. Did you mean kafka.brokers? Allowed here: brokers, session_timeout_ms, group_prefix, instance_id, tls, sasl, properties.",
        ),
        (
            "[limit]\nmemory_mib = 64",
            &[],
            "demo.toml: unknown key limit. Did you mean limits? Allowed here: stream, kafka, rabbitmq, pulsar, registry, source, contract, target, route, dedupe, dead_letters, limits, http, log, health, shutdown, fleet, setup.",
        ),
        (
            "",
            &[("BRIDGE__PULSAR__ADMINURL", "http://x:1")],
            "environment variable BRIDGE__PULSAR__ADMINURL: unknown key pulsar.adminurl. Did you mean pulsar.admin_url? Allowed here: url, admin_url, tls, auth.",
        ),
        (
            "",
            &[("BRIDGE__SOURCE__KAFKA__TOPICS", "x")],
            "environment variable BRIDGE__SOURCE__KAFKA__TOPICS: unknown key source.kafka.topics. Did you mean source.kafka.topic? Allowed here: topic, start, on_gap, generation, format, schema_file.",
        ),
        ("", &[("BRIDGE__", "x")], "environment variable BRIDGE__: unknown key \"\". Write BRIDGE__SECTION__KEY."),
        (
            "[limits]\nmemory_mib = \"64 MiB\"",
            &[],
            "demo.toml: limits.memory_mib: expected an integer, found string \"64 MiB\": write the number alone, its unit is the end of the key's name",
        ),
        ("[limits]\nmemory_mib = 4", &[], "demo.toml: limits.memory_mib: 4 is out of range: 8 to 65536"),
        (
            "",
            &[("BRIDGE__LIMITS__BATCH_KIB", "-1")],
            "environment variable BRIDGE__LIMITS__BATCH_KIB: limits.batch_kib: expected an integer, found string \"-1\": it cannot be negative",
        ),
        (
            "[limits]\nmemory_mib = 8\nbatch_kib = 4096",
            &[],
            "demo.toml: limits.batch_kib: 4096 is more than a quarter of limits.memory_mib (2048 KiB): lower it, or raise that",
        ),
        ("[target]", &[], "demo.toml: not valid TOML: "),
        (
            "",
            &[("BRIDGE__TARGET__COMPRESSION", "gzip")],
            "environment variable BRIDGE__TARGET__COMPRESSION: target.compression: \"gzip\" is not known. Allowed here: lz4, zstd, none.",
        ),
        (
            "",
            &[("BRIDGE__TARGET__TOPIC", "job-status")],
            "environment variable BRIDGE__TARGET__TOPIC: target.topic: \"job-status\" is not a topic: write persistent://<tenant>/<namespace>/<name>",
        ),
        (
            "",
            &[("BRIDGE__SOURCE__KAFKA__START", "yesterday")],
            "environment variable BRIDGE__SOURCE__KAFKA__START: source.kafka.start: \"yesterday\" is not a start: write \"earliest\", \"latest\", a time such as \"2026-01-31T12:00:00Z\", or a table of partition = offset",
        ),
        (
            "",
            &[("BRIDGE__SOURCE__KAFKA__KIND", "kafkaa")],
            "environment variable BRIDGE__SOURCE__KAFKA__KIND: source.kafka.kind: \"kafkaa\" is not known. Allowed here: kafka, rabbitmq, poll.",
        ),
        (
            "[source.second]\ntopic = \"x\"",
            &[],
            "source.second.kind is not set: write it in demo.toml, or set BRIDGE__SOURCE__SECOND__KIND",
        ),
        (
            "[source.second]\nkind = \"kafka\"\ntopic = \"demo\"",
            &[],
            "demo.toml: source.second.topic: source.kafka reads the same topic: leave one out",
        ),
        (
            "[kafka]\ngroup_prefix = \"jobs/\"",
            &[],
            "demo.toml: kafka.group_prefix: \"jobs/\": letters, digits, '.', '_' and '-', 100 at most",
        ),
        (
            "[kafka]\ninstance_id = \"pod 0\"",
            &[],
            "demo.toml: kafka.instance_id: \"pod 0\": Kafka takes letters, digits, '.', '_' and '-', here 200 at most",
        ),
        (
            "[kafka.sasl]\npassword = \"x\"",
            &[],
            "demo.toml: kafka.sasl.password: a secret does not belong into this file: set it in the environment, or name its file in kafka.sasl.password_file",
        ),
        (
            "[kafka.sasl]\nmechanism = \"PLAIN\"\nusername = \"me\"",
            &[],
            "demo.toml: kafka.sasl.password_file: is needed by kafka.sasl.mechanism (or BRIDGE__KAFKA__SASL__PASSWORD)",
        ),
        (
            "[kafka.properties]\n\"enable.auto.commit\" = \"true\"",
            &[],
            "demo.toml: kafka.properties: \"enable.auto.commit\" is set by the bridge itself: use the keys of [kafka], or leave it out",
        ),
        (
            "[pulsar]\nadmin_url = \"\"",
            &[],
            "demo.toml: target.deduplication: is \"required\", but pulsar.admin_url is empty, so that it cannot be asked: set the URL, or write \"asserted\"",
        ),
        (
            "[pulsar]\nurl = \"pulsar://me:hunter2@host:6650\"",
            &[],
            "demo.toml: pulsar.url: holds a user or password: use the keys for them, so that they reach no log",
        ),
        (
            "[fleet]\nurl = [\"http://me:hunter2@host:9464\"]",
            &[],
            "demo.toml: fleet.url: holds a user or password: use the keys for them, so that they reach no log",
        ),
        (
            "[dead_letters]\ntopic = \"persistent://public/default/demo\"",
            &[],
            "demo.toml: dead_letters.topic: is the target itself: choose another topic",
        ),
        (
            "",
            &[("BRIDGE__HTTP__LISTEN", "localhost:9464")],
            "environment variable BRIDGE__HTTP__LISTEN: http.listen: \"localhost:9464\" is not an address: write IP:port, such as \"127.0.0.1:9464\"",
        ),
        // Names that are nearly right, in every kind of table.
        (
            "compresion = \"lz4\"",
            &[],
            "demo.toml: unknown key target.compresion. Did you mean target.compression? Allowed here: topic, partition_by, key_hash, compression, guarantee, deduplication, digest.",
        ),
        (
            "[source.rabbit]\nkind = \"rabbitmq\"\nqueue = \"q\"\nidempotency_keys = \"message-id\"",
            &[],
            "demo.toml: unknown key source.rabbit.idempotency_keys. Did you mean source.rabbit.idempotency_key? Allowed here: queue, queues, queue_type, declare, arguments, bind, prefetch, idempotency_key, at_least_once, key, delivery_limit, start, on_gap, generation, format, schema_file.",
        ),
        (
            "[[source.rabbit.bind]]\nexchnage = \"e\"\n[source.rabbit]\nkind = \"rabbitmq\"\nqueue = \"q\"",
            &[],
            "demo.toml: unknown key source.rabbit.bind[0].exchnage. Did you mean source.rabbit.bind[0].exchange? Allowed here: exchange, routing_key, arguments.",
        ),
        (
            "[source.poll]\nkind = \"poll\"\n[source.poll.endpoint.a]\nkind = \"kafkaa\"",
            &[],
            "demo.toml: source.poll.endpoint.a.kind: \"kafkaa\" is not known. Allowed here: rabbitmq, pulsar, kafka, prometheus.",
        ),
        (
            "[route.a]\nfeild = \"x\"\nequals = \"y\"\ntopic = \"persistent://public/default/o\"",
            &[],
            "demo.toml: unknown key route.a.feild. Did you mean route.a.field? Allowed here: field, equals, topic.",
        ),
        (
            "[kafka.tls]\ncafile = \"x\"",
            &[],
            "demo.toml: unknown key kafka.tls.cafile. Did you mean kafka.tls.ca_file? Allowed here: enabled, ca_file, certificate_file, key_file.",
        ),
        (
            "linger = \"5ms\"",
            &[],
            "demo.toml: unknown key target.linger. Allowed here: topic, partition_by, key_hash, compression, guarantee, deduplication, digest.",
        ),
        (
            "",
            &[("BRIDGE__LIMTS__MEMORY_MIB", "64")],
            "environment variable BRIDGE__LIMTS: unknown key limts. Did you mean limits? Allowed here: stream, kafka, rabbitmq, pulsar, registry, source, contract, target, route, dedupe, dead_letters, limits, http, log, health, shutdown, fleet, setup.",
        ),
        // Units and shapes.
        (
            "[limits]\nbytes_per_second = -1",
            &[],
            "demo.toml: limits.bytes_per_second: expected an unsigned 64 bit or less integer, found 64-bit integer `-1`: it cannot be negative",
        ),
        (
            "[health]\nstall_seconds = \"60s\"",
            &[],
            "demo.toml: health.stall_seconds: expected an integer, found string \"60s\": write the number alone, its unit is the end of the key's name",
        ),
        (
            "[dedupe]\nwindow_seconds = \"10m\"",
            &[],
            "demo.toml: dedupe.window_seconds: expected an integer, found string \"10m\": write the number alone, its unit is the end of the key's name",
        ),
        ("[shutdown]\ndeadline_seconds = 0", &[], "demo.toml: shutdown.deadline_seconds: 0 is out of range: 1 to 600"),
        (
            "",
            &[("BRIDGE__STREAM__PAUSED", "maybe")],
            "environment variable BRIDGE__STREAM__PAUSED: stream.paused: expected a boolean, found string \"maybe\"",
        ),
        (
            "[setup]\nretention_days = 0",
            &[],
            "demo.toml: setup.retention_days: 0 is not allowed: a positive number, or -1 for no limit",
        ),
        (
            "[dead_letters]\nmax_ratio = 50",
            &[],
            "demo.toml: dead_letters.max_ratio: 50 is out of range: above 0, up to 1",
        ),
        (
            "[kafka]\nbrokers = \"broker\"",
            &[],
            "demo.toml: kafka.brokers: \"broker\": write host:port, separated by commas",
        ),
        // Contradictions.
        (
            "[source.rabbit]\nkind = \"rabbitmq\"\nqueue = \"q\"\nidempotency_key = \"message-id\"\ndeclare = false\n[[source.rabbit.bind]]\nexchange = \"e\"",
            &[],
            "demo.toml: source.rabbit.bind: declare = false leaves the queue and its bindings to their owner: leave the binds out, or set declare = true",
        ),
        (
            "[source.rabbit]\nkind = \"rabbitmq\"\nqueue = \"q\"\nidempotency_key = \"message-id\"\nat_least_once = true",
            &[],
            "demo.toml: source.rabbit.at_least_once: is true, and idempotency_key names what recognises a redelivery: leave one of them out",
        ),
        (
            "[source.rabbit]\nkind = \"rabbitmq\"\nqueue = \"q\"\nat_least_once = true\n[dedupe]\nkey = \"id\"",
            &[],
            "demo.toml: source.rabbit.at_least_once: is true, and dedupe.key names what recognises a redelivery: leave one of them out",
        ),
        (
            "[source.rabbit]\nkind = \"rabbitmq\"\nqueue = \"q\"\nidempotency_key = \"message-id\"\narguments = { \"x-queue-type\" = \"classic\" }",
            &[],
            "demo.toml: source.rabbit.arguments: \"x-queue-type\" is set by the bridge itself: leave it out; set queue_type",
        ),
        (
            "[source.rabbit]\nkind = \"rabbitmq\"\nqueue = \"q\"\nidempotency_key = \"message-id\"\narguments = { \"x-single-active-consumer\" = false }",
            &[],
            "demo.toml: source.rabbit.arguments: \"x-single-active-consumer\" is set by the bridge itself: leave it out; a bridge always declares it, but for streams",
        ),
        (
            "[source.rabbit]\nkind = \"rabbitmq\"\nqueue = \"q\"\nidempotency_key = \"message-id\"\ndelivery_limit = 5\narguments = { \"x-delivery-limit\" = 9 }",
            &[],
            "demo.toml: source.rabbit.arguments: \"x-delivery-limit\" is set by delivery_limit as well: leave one of them out",
        ),
        (
            "[source.rabbit]\nkind = \"rabbitmq\"\nqueue = \"q\"",
            &[],
            "demo.toml: source.rabbit.idempotency_key: name what identifies an event, or set at_least_once = true and have doubles",
        ),
        (
            "[source.rabbit]\nkind = \"rabbitmq\"\nqueue = \"q\"\nqueue_type = \"stream\"\nat_least_once = true",
            &[],
            "demo.toml: source.rabbit.at_least_once: a stream has offsets, and is exactly once: leave it out",
        ),
        (
            "[source.rabbit]\nkind = \"rabbitmq\"\nqueue = \"q\"\nidempotency_key = \"header:\"",
            &[],
            "demo.toml: source.rabbit.idempotency_key: \"header:\" names no header: write \"header:<name>\"",
        ),
        (
            "[source.rabbit]\nkind = \"rabbitmq\"\nqueue = \"q\"\nidempotency_key = \"message-id\"\nkey = \"header:\"",
            &[],
            "demo.toml: source.rabbit.key: \"header:\" names no header: write \"header:<name>\"",
        ),
        ("[dedupe]\nkey = \"header:\"", &[], "demo.toml: dedupe.key: \"header:\" names no header: write header:<name>"),
        (
            "[rabbitmq]\nurl = \"amqp://me:hunter2@host:5672\"",
            &[],
            "demo.toml: rabbitmq.url: a user or password does not belong into a URL in this file: use rabbitmq.username and rabbitmq.password_file, or set the whole URL in the environment",
        ),
        (
            "[rabbitmq]\nmanagement_url = \"http://me:hunter2@host:15672\"",
            &[],
            "demo.toml: rabbitmq.management_url: a user or password does not belong into a URL in this file: use rabbitmq.username and rabbitmq.password_file, or set the whole URL in the environment",
        ),
        (
            "[rabbitmq]\npassword = \"hunter2\"",
            &[],
            "demo.toml: rabbitmq.password: a secret does not belong into this file: set it in the environment, or name its file in rabbitmq.password_file",
        ),
        (
            "[rabbitmq]\npassword_file = \"x\"",
            &[("BRIDGE__RABBITMQ__PASSWORD", "hunter2")],
            "environment variable BRIDGE__RABBITMQ__PASSWORD: rabbitmq.password: and password_file are both set: leave one out",
        ),
        (
            "[kafka.sasl]\nusername = \"me\"",
            &[],
            "demo.toml: kafka.sasl.mechanism: is \"none\", but kafka.sasl names a user or a password: allowed are \"PLAIN\", \"SCRAM-SHA-256\", \"SCRAM-SHA-512\"",
        ),
        (
            "[kafka.tls]\nca_file = \"ca.pem\"",
            &[],
            "demo.toml: kafka.tls.enabled: is false, but kafka.tls names files: set it to true, or leave them out",
        ),
        (
            "[pulsar.tls]\nenabled = true",
            &[],
            "demo.toml: pulsar.tls.enabled: is for Kafka only: Pulsar speaks TLS when pulsar.url begins with pulsar+ssl://",
        ),
        (
            "[contract]\nmode = \"mirror\"",
            &[],
            "demo.toml: contract.mode: \"mirror\" is for Avro values, and source.kafka has none",
        ),
    ];
    let mut wrong = String::new();
    for (more, variables, expected) in cases {
        let found = demo_with(more).error(variables);
        if !(found == *expected || expected.ends_with("TOML: ") && found.starts_with(expected)) {
            wrong += &format!("\nexpected {expected}\n   found {found}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

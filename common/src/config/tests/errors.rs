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
            "demo.toml: unknown key kafka.brokrs. Did you mean kafka.brokers? Allowed here: brokers, session_timeout_ms, instance_id, tls, sasl, properties.",
        ),
        (
            "[limit]\nmemory_mib = 64",
            &[],
            "demo.toml: unknown key limit. Did you mean limits? Allowed here: stream, kafka, rabbitmq, pulsar, registry, source, contract, target, route, dedupe, dead_letters, limits, http, health, shutdown, fleet, setup.",
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
            "demo.toml: limits.memory_mib: expected an integer, found string \"64 MiB\"",
        ),
        ("[limits]\nmemory_mib = 4", &[], "demo.toml: limits.memory_mib: 4 is out of range: 8 to 65536"),
        (
            "",
            &[("BRIDGE__LIMITS__BATCH_KIB", "-1")],
            "environment variable BRIDGE__LIMITS__BATCH_KIB: limits.batch_kib: expected an integer, found string \"-1\"",
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
        ("[target]\ncompresion = \"lz4\"", &[], ""),
        ("[source.rabbit]\nkind = \"rabbitmq\"\nqueue = \"q\"\nidempotency_keys = \"message-id\"", &[], ""),
        ("[[source.rabbit.bind]]\nexchnage = \"e\"\n[source.rabbit]\nkind = \"rabbitmq\"\nqueue = \"q\"", &[], ""),
        ("[source.poll]\nkind = \"poll\"\n[source.poll.endpoint.a]\nkind = \"kafkaa\"", &[], ""),
        ("[route.a]\nfeild = \"x\"\nequals = \"y\"\ntopic = \"persistent://public/default/o\"", &[], ""),
        ("[kafka.tls]\ncafile = \"x\"", &[], ""),
        ("linger = \"5ms\"", &[], ""),
        ("", &[("BRIDGE__LIMTS__MEMORY_MIB", "64")], ""),
        // Units and shapes.
        ("[limits]\nmemory_mib = \"64\"", &[], ""),
        ("[limits]\nmemory_mib = 64.5", &[], ""),
        ("[limits]\nbytes_per_second = -1", &[], ""),
        ("[health]\nstall_seconds = \"60s\"", &[], ""),
        ("[dedupe]\nwindow_seconds = \"10m\"", &[], ""),
        ("[shutdown]\ndeadline_seconds = 0", &[], ""),
        ("[stream]\npaused = \"maybe\"", &[], ""),
        ("[setup]\nretention_days = 0", &[], ""),
        ("[dead_letters]\nmax_ratio = 50", &[], ""),
        ("[target]\ntopic = [\"a\"]", &[], ""),
        ("kafka = \"broker:9092\"", &[], ""),
        ("[kafka]\nbrokers = \"broker\"", &[], ""),
        // Contradictions.
        (
            "[source.rabbit]\nkind = \"rabbitmq\"\nqueue = \"q\"\nidempotency_key = \"message-id\"\ndeclare = false\n[[source.rabbit.bind]]\nexchange = \"e\"",
            &[],
            "",
        ),
        (
            "[source.rabbit]\nkind = \"rabbitmq\"\nqueue = \"q\"\nidempotency_key = \"message-id\"\nat_least_once = true",
            &[],
            "",
        ),
        ("[source.rabbit]\nkind = \"rabbitmq\"\nqueue = \"q\"\nat_least_once = true\n[dedupe]\nkey = \"id\"", &[], ""),
        (
            "[source.rabbit]\nkind = \"rabbitmq\"\nqueue = \"q\"\nidempotency_key = \"message-id\"\narguments = { \"x-queue-type\" = \"classic\" }",
            &[],
            "",
        ),
        (
            "[source.rabbit]\nkind = \"rabbitmq\"\nqueue = \"q\"\nidempotency_key = \"message-id\"\narguments = { \"x-single-active-consumer\" = false }",
            &[],
            "",
        ),
        (
            "[source.rabbit]\nkind = \"rabbitmq\"\nqueue = \"q\"\nidempotency_key = \"message-id\"\ndelivery_limit = 5\narguments = { \"x-delivery-limit\" = 9 }",
            &[],
            "",
        ),
        ("[source.rabbit]\nkind = \"rabbitmq\"\nqueue = \"q\"", &[], ""),
        ("[source.rabbit]\nkind = \"rabbitmq\"\nqueue = \"q\"\nqueue_type = \"stream\"\nat_least_once = true", &[], ""),
        ("[source.rabbit]\nkind = \"rabbitmq\"\nqueue = \"q\"\nidempotency_key = \"header:\"", &[], ""),
        (
            "[source.rabbit]\nkind = \"rabbitmq\"\nqueue = \"q\"\nidempotency_key = \"message-id\"\nkey = \"header:\"",
            &[],
            "",
        ),
        ("[dedupe]\nkey = \"header:\"", &[], ""),
        ("[rabbitmq]\nurl = \"amqp://me:hunter2@host:5672\"", &[], ""),
        ("[rabbitmq]\nmanagement_url = \"http://me:hunter2@host:15672\"", &[], ""),
        ("[rabbitmq]\npassword = \"hunter2\"", &[], ""),
        ("[rabbitmq]\npassword_file = \"x\"", &[("BRIDGE__RABBITMQ__PASSWORD", "hunter2")], ""),
        ("[kafka.sasl]\nusername = \"me\"", &[], ""),
        ("[kafka.tls]\nca_file = \"ca.pem\"", &[], ""),
        ("[pulsar.tls]\nenabled = true", &[], ""),
        ("[contract]\nmode = \"mirror\"", &[], ""),
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

//! What comes with Pulsar and RabbitMQ: Pulsar's sources, run as its tools run them, and the load generators of both.

use std::process::Command;

use bridge_tests::Result;
use serde_json::json;

use super::{Ground, Job, Origin};
use crate::events::{Bodies, Form};
use crate::load::mark;

/// `pulsar-admin sources localrun` for this job, with the connector's defaults but for LZ4, which all contenders have.
pub(crate) fn pulsar_io(job: &Job, ground: &Ground, once: bool) -> Result<Command> {
    let archives = ground.pulsar_io.as_ref().ok_or("Pulsar IO's archives are not there: see --pulsar-io")?;
    let (archive, configs) = match &job.origin {
        Origin::Kafka { topic, .. } => ("pulsar-io-kafka.nar", kafka(job, ground, topic)),
        Origin::Rabbit { queue, .. } => ("pulsar-io-rabbitmq.nar", rabbit(ground, queue)?),
    };
    let (tenant, namespace) = job.target.namespace.split_once('/').unwrap_or(("public", "default"));
    let config = json!({
        "tenant": tenant,
        "namespace": namespace,
        "name": "source",
        "archive": archives.join(archive),
        "topicName": job.target.topic,
        "parallelism": 1,
        "processingGuarantees": if once { "EFFECTIVELY_ONCE" } else { "ATLEAST_ONCE" },
        "producerConfig": {"compressionType": "LZ4"},
        "configs": configs,
    });
    let file = ground.directory.join(format!("{}.yaml", job.name));
    // JSON is YAML.
    std::fs::write(&file, config.to_string())?;
    let mut command = tool(ground, "pulsar-admin")?;
    command.args(["--admin-url", ground.stack.pulsar_admin()]).args(["sources", "localrun", "--source-config-file"]);
    command.arg(file).args(["--broker-service-url", &job.pulsar]);
    Ok(command)
}

fn kafka(job: &Job, ground: &Ground, topic: &str) -> serde_json::Value {
    let mut configs = json!({
        "bootstrapServers": ground.stack.kafka(),
        "groupId": job.name,
        "topic": topic,
        "consumerConfigProperties": {"auto.offset.reset": "earliest"},
        "valueDeserializationClass": "org.apache.kafka.common.serialization.ByteArrayDeserializer",
    });
    if matches!(job.form, Form::ConfluentSame | Form::ConfluentEvolved) {
        configs["valueDeserializationClass"] = json!("io.confluent.kafka.serializers.KafkaAvroDeserializer");
        configs["consumerConfigProperties"]["schema.registry.url"] = json!(ground.stack.registry());
    }
    configs
}

fn rabbit(ground: &Ground, queue: &str) -> Result<serde_json::Value> {
    let address = ground.stack.rabbitmq();
    let host = address.rsplit_once('@').map_or(address, |(_, host)| host).split('/').next().unwrap_or_default();
    let (host, port) = host.split_once(':').ok_or("RabbitMQ's address has no port")?;
    Ok(json!({
        "host": host, "port": port.parse::<u16>()?, "virtualHost": "/", "username": "guest", "password": "guest",
        "queueName": queue, "connectionName": "bench", "passive": true,
        "prefetchCount": 10_000, "prefetchGlobal": false,
    }))
}

/// `pulsar-perf produce` of as many messages as the job has records, with LZ4, our batches, and bodies as the contenders'.
pub(crate) fn pulsar_perf(job: &Job, ground: &Ground) -> Result<Command> {
    let mut bodies = Bodies::new(job.form, 0)?;
    let mut payloads = Vec::new();
    for number in 0..2_000 {
        payloads.extend_from_slice(bodies.body(mark(number, 1, number)));
        payloads.push(b'\n');
    }
    let file = ground.directory.join(format!("{}.payloads", job.name));
    std::fs::write(&file, payloads)?;
    let mut command = tool(ground, "pulsar-perf")?;
    let records = job.records.to_string();
    command.args(["produce", "--service-url", &job.pulsar, "--rate", "100000000", "--num-messages", &records]);
    command.args(["--max-outstanding", "100000", "--max-outstanding-across-partitions", "400000", "-z", "LZ4"]);
    command.args(["-bm", "100000", "-bb", "524288", "-b", "10", "--payload-delimiter", "\\n", "--payload-file"]);
    command.arg(file).arg(&job.target.topic);
    // The memory that the tool gives itself is for a laptop.
    command.env("PULSAR_MEM", "-Xmx1g -XX:MaxDirectMemorySize=1g");
    Ok(command)
}

/// RabbitMQ's PerfTest as a consumer alone, with our kind of prefetch and acknowledgements, until it has read so many. It tells
/// its rate every second, and in the end on the average.
pub(crate) fn perf_test(job: &Job, ground: &Ground) -> Result<Command> {
    let Origin::Rabbit { queue, .. } = &job.origin else { return Err("PerfTest reads RabbitMQ".into()) };
    let jars = ground.perf_test.as_ref().ok_or("PerfTest's jars are not there: see --perf-test")?;
    let mut command = Command::new("java");
    command.args(["-Xmx512m", "-cp", &format!("{}/*", jars.display()), "com.rabbitmq.perf.PerfTest"]);
    command.args(["--uri", ground.stack.rabbitmq(), "--producers", "0", "--consumers", "1", "--predeclared"]);
    command.args(["--queue", queue, "--qos", "10000", "--multi-ack-every", "500"]);
    command.args(["--cmessages", &job.records.to_string()]).current_dir(&ground.directory);
    Ok(command)
}

fn tool(ground: &Ground, name: &str) -> Result<Command> {
    let mut command = Command::new(ground.stack.home("pulsar")?.join("bin").join(name));
    command.env("PULSAR_LOG_DIR", &ground.directory).current_dir(&ground.directory);
    Ok(command)
}

//! Parts of the fast path by themselves, each beside a reference that does the like by a well-known library in the same run:
//! what counts is the ratio. `cargo bench -p bridge-bench`.

#[path = "../../src/events.rs"]
#[allow(dead_code, unused_imports, reason = "only the bodies are wanted here, and this is no test")]
mod events;
mod lane;

use std::hint::black_box;
use std::sync::Arc;

use apache_avro::{Schema, from_avro_datum, to_avro_datum};
use bridge_common::pulsar::{BatchBuilder, Compression, OutgoingMessage, Seal};
use bridge_common::record::{Coordinates, SourcePartition};
use bridge_common::translate::{
    AvroSchemas, AvroTranslator, Contract, Drift, JsonPlan, OnUnknownField, Scratch, WriterSchema,
};
use bridge_tests::Result;
use events::{Bodies, Form, Mark, contract, writer_schema};

/// Records that are gone round in.
const RECORDS: usize = 4_096;
/// Rounds over them; the fastest counts.
const ROUNDS: usize = 30;
/// The schema that Confluent bodies name.
const SCHEMA_ID: u32 = 7;
/// Messages of a batch, as many of these as make one of about 512 KiB.
const BATCH: usize = 1_400;

fn main() -> Result<()> {
    println!("{:<44} {:>10} {:>10}   reference", "part", "ns/record", "ratio");
    json()?;
    avro(Form::ConfluentSame, "Confluent Avro, contract's schema")?;
    avro(Form::ConfluentEvolved, "Confluent Avro, resolved")?;
    frames()?;
    lane::show_lane();
    Ok(())
}

/// CPU time of this thread, in nanoseconds.
pub(crate) fn cpu_ns() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or_default()
}

/// The least CPU time per record of all rounds.
pub(crate) fn fastest(records: usize, mut round: impl FnMut()) -> f64 {
    round();
    let times = (0..ROUNDS).map(|_| {
        let before = cpu_ns();
        round();
        cpu_ns() - before
    });
    times.min().unwrap_or_default() as f64 / records as f64
}

/// One line: ours, and how often it goes into the reference.
pub(crate) fn show(part: &str, ours: f64, reference: f64, what: &str) {
    println!("{part:<44} {ours:>10.0} {:>9.2}x   {what}: {reference:.0} ns", reference / ours);
}

fn bodies(form: Form) -> Result<Vec<Vec<u8>>> {
    let mut bodies = Bodies::new(form, SCHEMA_ID)?;
    let mark = |number| Mark { partition: 0, sequence: number as u64, micros: 1_700_000_000_000_000 };
    Ok((0..RECORDS).map(|number| bodies.body(mark(number)).to_vec()).collect())
}

fn json() -> Result<()> {
    let bodies = bodies(Form::Event)?;
    let plan = JsonPlan::compile(&Contract::parse(&contract()?)?, OnUnknownField::Count)?;
    let source = SourcePartition { cluster_id: "c".into(), topic: "t".into(), partition: 0 };
    let (mut scratch, mut drift, mut out) = (Scratch::default(), Drift::new(), Vec::new());
    let ours = fastest(RECORDS, || {
        for (offset, body) in (0..).zip(&bodies) {
            out.clear();
            let coordinates = Coordinates { source: &source, offset };
            plan.translate(&mut scratch, body, &coordinates, &mut out, &mut drift).expect("sound events");
            black_box(&out);
        }
    });
    let reference = fastest(RECORDS, || {
        for body in &bodies {
            black_box(serde_json::from_slice::<serde_json::Value>(body).expect("sound events"));
        }
    });
    show("JSON to the Avro contract", ours, reference, "serde_json parses it into a Value");
    Ok(())
}

fn avro(form: Form, part: &str) -> Result<()> {
    let bodies = bodies(form)?;
    let writer = writer_schema(form)?;
    let schemas = Arc::new(AvroSchemas::to_contract(Arc::new(Contract::parse(&contract()?)?), OnUnknownField::Count));
    schemas.install(SCHEMA_ID, Ok(WriterSchema::parse(&writer.to_string(), &[])?));
    let mut translator = AvroTranslator::registered(schemas);
    let (mut drift, mut out) = (Drift::new(), Vec::new());
    let ours = fastest(RECORDS, || {
        for body in &bodies {
            out.clear();
            assert!(translator.missing(body).is_none(), "its schema is installed");
            translator.translate(body, &mut out, &mut drift).expect("sound events");
            black_box(&out);
        }
    });
    let (writer, reader) = (Schema::parse(&writer)?, Schema::parse_str(&contract()?)?);
    let reference = fastest(RECORDS, || {
        for body in &bodies {
            let value = from_avro_datum(&writer, &mut &body[5..], Some(&reader)).expect("sound events");
            black_box(to_avro_datum(&reader, value).expect("sound events"));
        }
    });
    show(part, ours, reference, "apache-avro reads and writes it by values");
    Ok(())
}

fn frames() -> Result<()> {
    let bodies = bodies(Form::Sized(280))?;
    let mut builder = BatchBuilder::new();
    let seal = Seal {
        producer_name: "bridge/bench/cluster/topic/0",
        producer_id: 1,
        publish_time_ms: 1_700_000_000_000,
        compression: Compression::Lz4,
        schema_version: None,
    };
    let ours = fastest(BATCH, || {
        for (sequence_id, body) in (0..).zip(&bodies[..BATCH]) {
            let message = OutgoingMessage {
                sequence_id,
                key: Some(b"job-00001234"),
                event_time_ms: Some(1_700_000_000_000),
                value: Some(body),
            };
            builder.push(&message, []);
        }
        black_box(builder.seal(&seal).expect("LZ4 fails at nothing"));
    });
    let mut plain: Vec<u8> = Vec::new();
    let reference = fastest(BATCH, || {
        plain.clear();
        bodies[..BATCH].iter().for_each(|body| plain.extend_from_slice(body));
        let packed = lz4_flex::block::compress(&plain);
        black_box(crc32c::crc32c(&packed));
        black_box(packed);
    });
    show("batches of 1,400 messages into frames", ours, reference, "copy, LZ4 and CRC-32C of the bodies alone");
    Ok(())
}

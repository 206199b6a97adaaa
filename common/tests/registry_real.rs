//! Schemas from a real registry of Confluent's kind (Apicurio).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bridge_common::cli::install_tls;
use bridge_common::config::{RegistrySection, Secret};
use bridge_common::registry::{Registry, RegistryError};
use bridge_common::translate::{AvroSchemas, AvroTranslator, Contract, Drift, OnUnknownField, Permanent};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn url() -> String {
    std::env::var("SCHEMA_REGISTRY_URL").expect("tests/run sets SCHEMA_REGISTRY_URL")
}

fn registry(url: &str) -> Registry {
    install_tls();
    Registry::new(&RegistrySection { url: url.to_owned(), ..RegistrySection::default() }).unwrap()
}

/// A subject of this test's own.
fn subject(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{name}/{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// By `curl`, so that what is tested is not what sets it up.
fn call(method: &str, path: &str, body: &Value) -> Value {
    let output = Command::new("curl")
        .args(["-sS", "-X", method, "-H", "Content-Type: application/vnd.schemaregistry.v1+json", "-d"])
        .args([body.to_string(), format!("{}/{path}", url())])
        .output()
        .expect("curl runs");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn register(subject: &str, body: Value) -> u32 {
    let answer = call("POST", &format!("subjects/{}/versions", subject.replace('/', "%2F")), &body);
    answer["id"].as_u64().unwrap_or_else(|| panic!("{answer}")) as u32
}

fn delete(subject: &str) -> Value {
    call("DELETE", &format!("subjects/{}", subject.replace('/', "%2F")), &json!({}))
}

/// A type name of this test's own: the registry gives equal schemas one id.
fn unique(name: &str) -> String {
    subject(name).replace(['/', '-'], "_")
}

#[tokio::test]
#[ignore = "needs a schema registry: tests/run starts one"]
async fn schemas_come_with_all_that_they_refer_to() {
    let (leaf, inner, outer) = (subject("leaf"), subject("inner"), subject("outer"));
    let (e, i, o) = (unique("E"), unique("I"), unique("O"));
    let schema = json!({"type": "enum", "name": format!("n.{e}"), "symbols": ["A", "B"]});
    register(&leaf, json!({"schema": schema.to_string()}));
    let schema =
        json!({"type": "record", "name": format!("n.{i}"), "fields": [{"name": "e", "type": format!("n.{e}")}]});
    let to_leaf = json!({"name": format!("n.{e}"), "subject": leaf, "version": 1});
    register(&inner, json!({"schema": schema.to_string(), "references": [to_leaf]}));
    let schema = json!({"type": "record", "name": format!("n.{o}"), "fields": [
        {"name": "inner", "type": ["null", format!("n.{i}")]}, {"name": "e", "type": format!("n.{e}")}]});
    let to_inner = json!({"name": format!("n.{i}"), "subject": inner, "version": 1});
    let id = register(&outer, json!({"schema": schema.to_string(), "references": [to_inner, to_leaf]}));

    let registry = registry(&url());
    let schema = registry.schema(id).await.unwrap();
    apache_avro::Schema::parse_str(schema.json()).expect("one schema by itself");
    // Ids outlive their subjects.
    assert_eq!(delete(&outer), json!([1]));
    let again = registry.schema(id).await.unwrap();
    assert_eq!(schema.json(), again.json());

    let contract = json!({"type": "record", "name": o, "fields": [{"name": "e", "type":
        {"type": "enum", "name": e, "symbols": ["B"], "default": "B"}}]});
    let contract = Arc::new(Contract::parse(&contract.to_string()).unwrap());
    let schemas = Arc::new(AvroSchemas::to_contract(contract, OnUnknownField::Count));
    let mut lane = AvroTranslator::registered(schemas.clone());
    let body = [&[0], &id.to_be_bytes()[..], &[2, 2, 0]].concat();
    assert_eq!(lane.missing(&body), Some(id));
    schemas.install(id, Ok(again));
    assert_eq!(lane.missing(&body), None);
    let (mut out, mut drift) = (Vec::new(), Drift::new());
    lane.translate(&body, &mut out, &mut drift).unwrap();
    assert_eq!((out, drift.counts().collect::<Vec<_>>()), (vec![0], vec![("inner", 1)]));
}

#[tokio::test]
#[ignore = "needs a schema registry: tests/run starts one"]
async fn ids_that_are_unknown_or_not_avro_are_permanent() {
    let registry = registry(&url());
    let unknown = registry.schema(i32::MAX as u32).await.unwrap_err();
    assert!(matches!(unknown.permanent(), Some(Permanent::Unknown(_))), "{unknown}");
    let json_schema =
        json!({"$schema": "http://json-schema.org/draft-07/schema#", "title": unique("J"), "type": "object"});
    let id = register(&subject("json"), json!({"schemaType": "JSON", "schema": json_schema.to_string()}));
    let other = registry.schema(id).await.unwrap_err();
    assert!(matches!(other.permanent(), Some(Permanent::OtherType(kind)) if kind == "JSON"), "{other}");
    let protobuf = format!("syntax = \"proto3\"; message {} {{ string a = 1; }}", unique("P"));
    let id = register(&subject("protobuf"), json!({"schemaType": "PROTOBUF", "schema": protobuf}));
    let other = registry.schema(id).await.unwrap_err();
    assert!(matches!(other.permanent(), Some(Permanent::OtherType(kind)) if kind == "PROTOBUF"), "{other}");
}

#[tokio::test]
#[ignore = "needs a schema registry: tests/run starts one"]
async fn a_wrong_path_is_no_unknown_id() {
    let wrong = registry(&format!("{}/not-here", url())).schema(1).await.unwrap_err();
    assert!(matches!(wrong, RegistryError::Unavailable { .. }), "{wrong}");
}

/// A registry that is away: nothing in front of it answers, then it does.
#[tokio::test]
#[ignore = "needs a schema registry: tests/run starts one"]
async fn a_registry_that_is_away_is_unavailable_until_it_is_back() {
    let schema = json!({"type": "fixed", "name": unique("F"), "size": 2});
    let id = register(&subject("fixed"), json!({"schema": schema.to_string()}));
    let target = url();
    let (host, path) = target.trim_start_matches("http://").split_once('/').unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let registry = registry(&format!("http://{address}/{path}"));
    for _ in 0..3 {
        let away = registry.schema(id).await.unwrap_err();
        assert!(matches!(away, RegistryError::Unavailable { .. }), "{away}");
        assert!(away.to_string().contains("Records wait"), "{away}");
    }
    let listener = TcpListener::bind(address).await.unwrap();
    let host = host.to_owned();
    let forward = tokio::spawn(async move {
        loop {
            let (mut ours, _) = listener.accept().await.unwrap();
            let mut theirs = tokio::net::TcpStream::connect(&host).await.unwrap();
            tokio::spawn(async move { drop(tokio::io::copy_bidirectional(&mut ours, &mut theirs).await) });
        }
    });
    registry.schema(id).await.expect("back");
    forward.abort();
}

const ORDERS: &str = r#"{"type":"record","name":"shop.Order","fields":[
    {"name":"id","type":"string","aliases":["order_id"]},{"name":"count","type":"long"},{"name":"price","type":"double"},
    {"name":"level","type":{"type":"enum","name":"Level","symbols":["NEW","LOW","HIGH"]},"default":"NEW"},
    {"name":"note","type":["null","string"],"default":null},
    {"name":"parts","type":{"type":"map","values":{"type":"array","items":"long"}},"default":{}}]}"#;

/// Confluent's serializer for Python writes; fastavro says what it means by the contract.
#[tokio::test]
#[ignore = "needs a schema registry: tests/run starts one"]
async fn what_confluents_serializer_writes_becomes_the_contracts() {
    let repository = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let clients = repository.join("tests/clients");
    assert!(Command::new(clients.join("prepare")).status().unwrap().success());
    let mut command = Command::new(repository.join("target/clients/venv/bin/python"));
    let output = command.arg(clients.join("serialize.py")).args([&url(), &unique("s"), ORDERS]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let registry = registry(&url());
    let contract = Arc::new(Contract::parse(ORDERS).unwrap());
    let schemas = Arc::new(AvroSchemas::to_contract(contract, OnUnknownField::Count));
    let (mut lane, mut drift) = (AvroTranslator::registered(schemas.clone()), Drift::new());
    let mut count = 0;
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let (body, datum) = (bytes(&event["body"]), bytes(&event["datum"]));
        if let Some(id) = lane.missing(&body) {
            schemas.install(id, Ok(registry.schema(id).await.unwrap()));
            assert_eq!(lane.missing(&body), None);
        }
        let mut out = Vec::new();
        lane.translate(&body, &mut out, &mut drift).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_eq!(out, datum, "{line}");
        count += 1;
    }
    assert_eq!((count, drift.counts().collect::<Vec<_>>()), (5, vec![("extra", 1)]));
}

fn bytes(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().unwrap();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// Not a registry: what answers without end, or asks for a password.
#[tokio::test]
async fn endless_answers_are_cut_and_logins_are_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let mut heads = Vec::new();
        for answer in
            ["HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno", "HTTP/1.1 200 OK\r\n\r\n"]
        {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            heads.push(String::from_utf8(head).unwrap());
            stream.write_all(answer.as_bytes()).await.unwrap();
            while answer.contains("200") && stream.write_all(&[b' '; 65_536]).await.is_ok() {}
        }
        heads
    });
    install_tls();
    let settings = RegistrySection {
        url: format!("http://{address}/base/"),
        username: Some("bridge".to_owned()),
        password: Some(Secret::new("secret")),
        ..RegistrySection::default()
    };
    let registry = Registry::new(&settings).unwrap();
    let refused = registry.schema(7).await.unwrap_err();
    assert!(matches!(refused, RegistryError::Refused { status: 403, .. }), "{refused}");
    let endless = registry.schema(7).await.unwrap_err();
    assert!(matches!(&endless, RegistryError::Unavailable { cause, .. } if cause.contains("more than")), "{endless}");
    let heads = server.await.unwrap();
    assert!(heads[0].starts_with("GET /base/schemas/ids/7 HTTP/1.1\r\n"), "{}", heads[0]);
    assert!(heads[0].contains("authorization: Basic YnJpZGdlOnNlY3JldA=="), "{}", heads[0]);
}

//! Avro with a schema registry, from Kafka into a real Pulsar: Confluent's own serializer writes, with schemas that change;
//! what arrives is read by foreign clients. `tests/run` runs these; by hand:
//! `cargo test -p bridge-tests --test avro_to_pulsar -- --ignored --test-threads=1 --nocapture NAME`.

use bridge_tests::avro_scene::{AvroScene, Published, mixed, translated, value};
use bridge_tests::{Result, http};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn what_confluent_s_serializer_writes_arrives_under_the_contract() -> Result<()> {
    let sections = "[contract]\nfile = \"contract.avsc\"\n[setup]\npartitions = 2\n";
    let mut scene = AvroScene::new("avro", sections).await?;
    let ids = tokio::task::block_in_place(|| scene.publish(vec![Published::Version(1); 20]))?;
    tokio::task::block_in_place(|| scene.publish(mixed(30_000, 3, &ids[0])))?;
    scene.say(format!("{} records published", scene.published.len()));
    scene.kill_some(5).await?;
    let bridge = scene.bridge(&[])?;
    scene.caught_up(&bridge).await?;

    // Held back and refused: what the bridge keeps open is of no use either.
    scene.registry.refuse(true);
    scene.registry.stall(true);
    let before = scene.arrived().await;
    let records = [vec![Published::Version(2); 30], vec![Published::Version(3); 200], mixed(500, 7, &ids[0])].concat();
    tokio::task::block_in_place(|| scene.publish(records))?;
    scene.stalled(&bridge, "Check that the schema registry runs").await?;
    let meanwhile = scene.arrived().await - before;
    assert!((1..=30).contains(&meanwhile), "{meanwhile} went on, of the 30 whose schema was known");
    bridge.kill()?;
    scene.say(format!("kill -9 while it waits for the registry; {meanwhile} records went before"));
    let bridge = scene.bridge(&[])?;
    scene.stalled(&bridge, "Check that the schema registry runs").await?;
    scene.registry.stall(false);
    scene.registry.refuse(false);
    scene.finish(bridge).await?;
    let versions = tokio::task::block_in_place(|| scene.check("newest", translated))?;
    assert_eq!(versions.len(), 1, "the contract is the only schema");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn a_mirror_keeps_every_writer_s_schema_as_a_version() -> Result<()> {
    let sections = "[contract]\nmode = \"mirror\"\n[setup]\npartitions = 2\nschema_compatibility = \"BACKWARD\"\n";
    let mut scene = AvroScene::new("mirror", sections).await?;
    let ids = tokio::task::block_in_place(|| scene.publish(vec![Published::Version(1); 20]))?;
    tokio::task::block_in_place(|| scene.publish(mixed(20_000, 5, &ids[0])))?;
    scene.say(format!("{} records published", scene.published.len()));
    scene.kill_some(5).await?;
    let bridge = scene.bridge(&[])?;
    scene.caught_up(&bridge).await?;
    let versions = tokio::task::block_in_place(|| scene.check("version", value))?;
    assert_eq!(versions.len(), 2, "{versions:?}");

    // The registry takes it, the topic does not.
    let subject = format!("{}/config/{}-value", scene.stack.registry(), scene.topic);
    http::send(reqwest::Method::PUT, &subject, &json!({"compatibility": "NONE"})).await?;
    tokio::task::block_in_place(|| scene.publish(vec![Published::Version(4); 20]))?;
    tokio::task::block_in_place(|| scene.publish(mixed(500, 9, &ids[0])))?;
    scene.stalled(&bridge, "is no version of the target's schema").await?;
    let path = scene.target.replacen("://", "/", 1);
    let policy = format!("{}/admin/v2/{path}/schemaCompatibilityStrategy", scene.stack.pulsar_admin());
    http::send(reqwest::Method::PUT, &policy, &json!("ALWAYS_COMPATIBLE")).await?;
    scene.finish(bridge).await?;
    let versions = tokio::task::block_in_place(|| scene.check("version", value))?;
    assert_eq!(versions.len(), 3, "{versions:?}");
    Ok(())
}

//! The five streams on real brokers, each with its own contract and sources; each test ends in the checker. `tests/run`
//! runs them; by hand: `cargo test -p bridge-tests --test five_streams -- --ignored --test-threads=1 --nocapture NAME`.

use bridge_tests::Result;
use bridge_tests::events::Shares;
use bridge_tests::generator::{Generator, Settings};
use bridge_tests::rabbit::QueueKind;
use bridge_tests::scenario::{seconds, within};
use bridge_tests::scene::{Plan, Scene};
use bridge_tests::streams::Stream;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn twins_over_kafka_and_rabbitmq_arrive_once_also_over_kills() -> Result<()> {
    within(seconds(150), async {
        let plan = Plan {
            kafka: Some(Stream::Notifications),
            is_unroutable: true,
            dedupe: true,
            ..Plan::queue(QueueKind::Quorum)
        };
        let scene = Scene::new("twins", plan).await?;
        let shares = Shares { repeated: 0.02, ..Shares::default() };
        let feed = Settings { rate: Some(1_500), seed: 60, twins: 0.4, shares, ..scene.feed(Stream::Notifications) };
        let generator = Generator::start(feed);
        for round in 1..=5 {
            let bridge = scene.bridge().await?;
            scene.progress(1_500).await?;
            bridge.kill()?;
            scene.say(format!("kill -9 {round}"));
        }
        let bridge = scene.bridge().await?;
        scene.progress(1_500).await?;
        scene.finish(vec![generator], bridge, 8_000).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn alerts_go_by_their_route_and_nothing_else_does() -> Result<()> {
    within(seconds(90), async {
        let plan = Plan { routes_alerts: true, ..Plan::kafka(Stream::Notifications) };
        let scene = Scene::new("routes", plan).await?;
        let generator = Generator::start(Settings { rate: Some(5_000), seed: 61, ..scene.feed(Stream::Notifications) });
        for _ in 0..3 {
            let bridge = scene.bridge().await?;
            scene.progress(3_000).await?;
            bridge.kill()?;
        }
        let bridge = scene.bridge().await?;
        let parity = scene.finish(vec![generator], bridge, 9_000).await?;
        assert!(parity.topic_total("route alerts").expected > 500, "{parity}");
        Ok(())
    })
    .await
}

/// Feeds a stream by Kafka, kills its bridge once, and compares.
async fn by_kafka(name: &'static str, plan: Plan, seed: u64) -> Result<()> {
    within(seconds(90), async {
        let scene = Scene::new(name, plan).await?;
        let generator = Generator::start(Settings { rate: Some(5_000), seed, ..scene.feed(plan.stream) });
        let bridge = scene.bridge().await?;
        scene.progress(5_000).await?;
        bridge.kill()?;
        let bridge = scene.bridge().await?;
        scene.progress(5_000).await?;
        scene.finish(vec![generator], bridge, 10_000).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn the_audit_trail_carries_the_digest_of_its_source() -> Result<()> {
    let plan = Plan { digest: true, target_partitions: 5, ..Plan::kafka(Stream::AuditTrail) };
    by_kafka("audit", plan, 62).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn job_metrics_without_event_id_get_one_of_their_coordinates() -> Result<()> {
    by_kafka("metrics", Plan { target_partitions: 2, ..Plan::kafka(Stream::JobMetrics) }, 63).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn broker_metrics_come_by_kafka_and_by_a_queue() -> Result<()> {
    within(seconds(90), async {
        let plan = Plan {
            stream: Stream::BrokerMetrics,
            kafka: Some(Stream::SystemHealth),
            target_partitions: 1,
            ..Plan::queue(QueueKind::Quorum)
        };
        let scene = Scene::new("brokers", plan).await?;
        let feed = |stream, seed| Settings { rate: Some(1_000), seed, ..scene.feed(stream) };
        let health = Generator::start(feed(Stream::SystemHealth, 64));
        let figures = Generator::start(feed(Stream::BrokerMetrics, 65));
        let bridge = scene.bridge().await?;
        scene.progress(3_000).await?;
        bridge.kill()?;
        let bridge = scene.bridge().await?;
        scene.progress(3_000).await?;
        scene.finish(vec![health, figures], bridge, 6_000).await?;
        Ok(())
    })
    .await
}

//! Every image in a container, on real brokers: each stream's records arrive exactly once, and `bridgectl` sets up and checks.
//! `tests/run --full` builds the images and runs these; by hand: `tests/deploy/images NAME...` for all folders of `bridges/`, then
//! `cargo test -p bridge-tests --test all_containers -- --ignored --test-threads=1 --nocapture NAME`.

use std::time::Duration;

use bridge_tests::Result;
use bridge_tests::container::Image;
use bridge_tests::generator::{Generator, Settings};
use bridge_tests::rabbit::QueueKind;
use bridge_tests::scenario::{PATIENCE, Scenario, within};
use bridge_tests::scene::{Plan, Scene};
use bridge_tests::streams::Stream;

const BUDGET: Duration = Duration::from_secs(180);

/// Feeds a stream, whose bridge is a container, kills that once, and compares.
async fn mirrors(name: &'static str, plan: Plan, feed: Stream, seed: u64) -> Result<()> {
    within(BUDGET, async {
        let scene = Scene::new(name, plan).await?;
        let image = Image::of(plan.stream.bridge())?;
        let generator = Generator::start(Settings { rate: Some(1_000), seed, ..scene.feed(feed) });
        for _ in 0..2 {
            let mut bridge = scene.start_image(&image, &scene.settings())?;
            bridge.ready(PATIENCE).await?;
            scene.progress(1_500).await?;
            bridge.kill()?;
        }
        let mut bridge = scene.start_image(&image, &scene.settings())?;
        bridge.ready(PATIENCE).await?;
        scene.finish(vec![generator], bridge, 3_000).await.map(drop)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers and all images: tests/run --full"]
async fn job_lifecycle() -> Result<()> {
    mirrors("image-lifecycle", Plan::kafka(Stream::JobLifecycle), Stream::JobLifecycle, 100).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers and all images: tests/run --full"]
async fn job_metrics() -> Result<()> {
    mirrors("image-metrics", Plan::kafka(Stream::JobMetrics), Stream::JobMetrics, 101).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers and all images: tests/run --full"]
async fn notifications() -> Result<()> {
    mirrors("image-notifications", Plan::queue(QueueKind::Quorum), Stream::Notifications, 102).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers and all images: tests/run --full"]
async fn audit_trail() -> Result<()> {
    let plan = Plan { digest: true, ..Plan::kafka(Stream::AuditTrail) };
    mirrors("image-audit", plan, Stream::AuditTrail, 103).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers and all images: tests/run --full"]
async fn broker_metrics() -> Result<()> {
    let plan =
        Plan { stream: Stream::BrokerMetrics, kafka: Some(Stream::SystemHealth), ..Plan::kafka(Stream::JobMetrics) };
    mirrors("image-brokers", plan, Stream::SystemHealth, 104).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers and all images: tests/run --full"]
async fn bridgectl_sets_up_and_then_finds_nothing_wrong() -> Result<()> {
    within(BUDGET, async {
        let scenario = Scenario::bare("image-bridgectl").await?;
        let image = Image::of("bridgectl")?;
        let run = |arguments: &[&str]| -> Result<(Option<i32>, String)> {
            let output = tokio::task::block_in_place(|| image.run(arguments, &scenario.settings()))?;
            let said = [output.stdout, output.stderr].concat();
            Ok((output.status.code(), String::from_utf8_lossy(&said).into_owned()))
        };
        let (before, said) = run(&["check", "job-lifecycle"])?;
        assert_eq!(before, Some(1), "there is nothing in Pulsar yet: {said}");
        let (set_up, said) = run(&["setup", "job-lifecycle"])?;
        assert_eq!(set_up, Some(0), "{said}");
        // 3: warnings, of a broker that is set up for tests.
        let (after, said) = run(&["check", "job-lifecycle"])?;
        assert!(matches!(after, Some(0 | 3)), "{after:?}: {said}");
        Ok(())
    })
    .await
}

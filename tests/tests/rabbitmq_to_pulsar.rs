//! RabbitMQ's queues and a real Pulsar, under faults; each test ends in the checker: every message that RabbitMQ confirmed
//! exactly once in the target or in the dead letters, with the same content. `tests/run` runs them; by hand:
//! `cargo test -p bridge-tests --test rabbitmq_to_pulsar -- --ignored --test-threads=1 --nocapture NAME`.

use std::time::Duration;

use bridge_tests::Result;
use bridge_tests::events::{Random, Shares};
use bridge_tests::generator::{Generator, Settings};
use bridge_tests::proxy::Proxy;
use bridge_tests::rabbit::QueueKind;
use bridge_tests::scenario::{PATIENCE, seconds, within};
use bridge_tests::scene::{Plan, Scene};
use bridge_tests::streams::Stream;
use bridge_tests::wait;

const PUBLISHED: &str = "stream_bridge_records_published_total";

fn feed(scene: &Scene, rate: u64, seed: u64) -> Settings {
    Settings { rate: Some(rate), seed, ..scene.feed(Stream::Notifications) }
}

async fn twenty_kills(kind: QueueKind, name: &'static str, seed: u64) -> Result<()> {
    within(seconds(180), async {
        let scene = Scene::new(name, Plan::queue(kind)).await?;
        let generator = Generator::start(feed(&scene, 2_000, seed));
        let mut random = Random::new(std::process::id().into());
        for round in 1..=20 {
            let bridge = scene.start()?;
            // Every second one is killed at work, however slow the machine; of the others some meet the opening.
            if round % 2 == 0 {
                wait::until("the bridge to publish", PATIENCE, async || match bridge.metric(PUBLISHED).await {
                    Ok(published) if published > 0.0 => Ok(()),
                    Ok(_) => Err(bridge.log_tail()),
                    Err(error) => Err(format!("{error}\n{}", bridge.log_tail())),
                })
                .await?;
            }
            let moment = Duration::from_millis(random.below(if round % 2 == 0 { 800 } else { 1_800 }));
            tokio::time::sleep(moment).await;
            let published = bridge.metric(PUBLISHED).await.unwrap_or_default();
            bridge.kill()?;
            scene.say(format!("kill -9 {round} after {moment:?}, {published} records published"));
        }
        let bridge = scene.bridge().await?;
        scene.finish(vec![generator], bridge, 10_000).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn twenty_kills_with_a_quorum_queue_lose_and_double_nothing() -> Result<()> {
    twenty_kills(QueueKind::Quorum, "quorum-kills", 50).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn twenty_kills_with_a_stream_lose_double_and_reorder_nothing() -> Result<()> {
    twenty_kills(QueueKind::Stream, "stream-kills", 51).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn a_classic_queue_without_faults_arrives_in_order_too() -> Result<()> {
    within(seconds(60), async {
        let scene = Scene::new("classic", Plan::queue(QueueKind::Classic)).await?;
        let bridge = scene.bridge().await?;
        let generator = Generator::start(Settings { records: Some(20_000), ..feed(&scene, 5_000, 52) });
        scene.progress(15_000).await?;
        scene.finish(vec![generator], bridge, 10_000).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn a_node_stopped_killed_and_its_connections_closed_lose_and_double_nothing() -> Result<()> {
    within(seconds(180), async {
        let scene = Scene::new("node", Plan::queue(QueueKind::Quorum)).await?;
        let generator = Generator::start(feed(&scene, 1_000, 53));
        let bridge = scene.bridge().await?;
        scene.progress(1_000).await?;
        let closed =
            wait::until("the management API to know the bridge's connection", seconds(30), async || {
                match scene.rabbit.close_connections().await {
                    Ok(0) => Err("none is known".to_owned()),
                    Ok(closed) => Ok(closed),
                    Err(error) => Err(error.to_string()),
                }
            })
            .await?;
        scene.say(format!("{closed} connections closed by the broker"));
        scene.progress(1_000).await?;
        tokio::task::block_in_place(|| scene.stack.stop("rabbitmq"))?;
        scene.say("the node is stopped");
        assert_eq!(bridge.get("/livez").await?.0, 200, "an outage of a broker must not restart the bridge");
        tokio::task::block_in_place(|| scene.stack.start("rabbitmq"))?;
        scene.say("the node is back");
        scene.progress(1_000).await?;
        tokio::task::block_in_place(|| scene.stack.kill("rabbitmq"))?;
        tokio::task::block_in_place(|| scene.stack.start("rabbitmq"))?;
        scene.say("the node was killed and is back");
        scene.progress(1_000).await?;
        scene.finish(vec![generator], bridge, 4_000).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn a_queue_that_is_deleted_is_declared_again_and_goes_on() -> Result<()> {
    within(seconds(90), async {
        let scene = Scene::new("deleted", Plan::queue(QueueKind::Quorum)).await?;
        let bridge = scene.bridge().await?;
        let before = Generator::start(Settings { records: Some(5_000), ..feed(&scene, 5_000, 54) });
        tokio::task::block_in_place(|| before.wait())?;
        // What is in a queue that is deleted is lost by the broker, so it is empty first.
        scene.caught_up(&bridge).await?;
        scene.rabbit.delete_queue(&scene.queue()).await?;
        scene.say("the queue is deleted");
        wait::until("the bridge to declare the queue again", PATIENCE, async || {
            scene.rabbit.depth(&scene.queue()).await.map_err(|error| error.to_string())
        })
        .await?;
        scene.say("the queue is there again");
        // Until it is bound, what is published comes back, and does not count.
        let after = Generator::start(feed(&scene, 2_000, 55));
        scene.progress(3_000).await?;
        scene.finish(vec![after], bridge, 8_000).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn deliveries_that_time_out_while_pulsar_stalls_come_again_and_are_recognised() -> Result<()> {
    within(seconds(120), async {
        let scene = Scene::new("timeout", Plan::queue(QueueKind::Quorum)).await?;
        // Looked at once a second instead of once a minute; both hold for channels that are opened from now on.
        let short = "application:set_env(rabbit, consumer_timeout, 3000), \
            application:set_env(rabbit, channel_tick_interval, 1000).";
        tokio::task::block_in_place(|| scene.stack.rabbitmqctl(&["eval", short]))?;
        let proxy = Proxy::before(scene.stack.pulsar()).await?;
        let generator = Generator::start(feed(&scene, 1_000, 56));
        let mut bridge = scene.start_with(&scene.settings_through(&proxy.url()))?;
        bridge.ready(PATIENCE).await?;
        scene.progress(2_000).await?;
        proxy.stall(true);
        let timed_out = async || match scene.stack.log("rabbitmq") {
            Ok(log) if log.contains("Timeout value used: 3000 ms") => Ok(()),
            Ok(_) => Err("no delivery has timed out".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        wait::until("a delivery to time out", seconds(40), timed_out).await?;
        scene.say("RabbitMQ has closed the channel");
        proxy.stall(false);
        scene.progress(2_000).await?;
        let finished = scene.finish(vec![generator], bridge, 4_000).await;
        let usual = "application:set_env(rabbit, consumer_timeout, 1800000), \
            application:set_env(rabbit, channel_tick_interval, 60000).";
        tokio::task::block_in_place(|| scene.stack.rabbitmqctl(&["eval", usual]))?;
        finished.map(drop)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn what_a_publisher_sends_twice_arrives_twice_but_where_a_kill_falls_between() -> Result<()> {
    within(seconds(90), async {
        // A kill after the first copy was acknowledged and before the second was stored: to whoever comes next, the second
        // looks like the first whose acknowledgement was lost. A kill can fall between two copies once.
        let plan = Plan { copies_in_doubt: 4, ..Plan::queue(QueueKind::Quorum) };
        let scene = Scene::new("repeated", plan).await?;
        let shares = Shares { repeated: 0.25, ..Shares::default() };
        let generator = Generator::start(Settings { shares, ..feed(&scene, 1_500, 57) });
        for _ in 0..4 {
            let bridge = scene.bridge().await?;
            scene.progress(1_000).await?;
            bridge.kill()?;
        }
        let bridge = scene.bridge().await?;
        scene.finish(vec![generator], bridge, 4_000).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn of_two_instances_one_killed_and_one_frozen_lose_and_double_nothing() -> Result<()> {
    within(seconds(180), async {
        let scene = Scene::new("instances", Plan::queue(QueueKind::Quorum)).await?;
        let generator = Generator::start(feed(&scene, 1_000, 58));
        let first = scene.bridge().await?;
        scene.progress(1_000).await?;
        let second = scene.start()?;
        scene.progress(1_000).await?;
        first.kill()?;
        scene.say("the first instance is killed");
        scene.progress(2_000).await?;
        let third = scene.start()?;
        second.freeze()?;
        scene.say("the second instance is frozen");
        scene.progress(2_000).await?;
        second.thaw()?;
        scene.say("the second instance is awake again");
        scene.progress(2_000).await?;
        second.kill()?;
        scene.finish(vec![generator], third, 8_000).await?;
        Ok(())
    })
    .await
}

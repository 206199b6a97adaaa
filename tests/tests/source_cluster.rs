//! The job-lifecycle bridge on a Kafka cluster of three nodes whose leaders move, freeze, die, and lose records. `tests/run` runs
//! them; by hand: `cargo test -p bridge-tests --test source_cluster -- --ignored --test-threads=1 --nocapture NAME`.

use bridge_tests::Result;
use bridge_tests::bridge::Bridge;
use bridge_tests::events::Shares;
use bridge_tests::generator::{Generator, Settings};
use bridge_tests::kafka::{create_topic_with, offsets};
use bridge_tests::kafka_cluster::{KafkaCluster, NODES, servers};
use bridge_tests::scenario::{PATIENCE, SOURCE_PARTITIONS, Scenario, seconds, stopped, within};
use bridge_tests::stack::Stack;
use bridge_tests::wait;
use rdkafka::admin::TopicReplication;

/// A scenario with its topic on the cluster.
async fn on_cluster(
    name: &'static str,
    partitions: i32,
    replication: TopicReplication<'_>,
    settings: &[(&str, &str)],
) -> Result<Scenario> {
    let stack = Stack::up_with(&servers())?;
    let brokers = stack.kafka_cluster().to_owned();
    let scenario = Scenario::at(name, stack, brokers);
    create_topic_with(&scenario.brokers, &scenario.topic, partitions, replication, settings).await?;
    scenario.setup(&[])?;
    scenario.say("servers and source topic are there");
    Ok(scenario)
}

fn blocking<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    tokio::task::block_in_place(work)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn leaders_that_move_freeze_and_die_lose_double_and_reorder_nothing() -> Result<()> {
    within(seconds(600), async {
        let three = TopicReplication::Fixed(3);
        let scenario = on_cluster("leaders", SOURCE_PARTITIONS, three, &[("min.insync.replicas", "2")]).await?;
        let cluster = KafkaCluster::of(&scenario.stack);
        let generator = Generator::start(Settings { rate: Some(2_000), seed: 60, ..scenario.feed() });
        let bridge = scenario.bridge().await?;
        scenario.progress(4_000).await?;

        // Every node leads some partitions: whenever one goes they move, and move back when it has come.
        cluster.led_as_preferred(&scenario.topic).await?;
        let leaders = blocking(|| cluster.leaders(&scenario.topic))?;
        assert!((1..=3).all(|node| leaders.contains(&node)), "{leaders:?}");

        blocking(|| scenario.stack.kill("kafka2"))?;
        scenario.say("a node is killed");
        scenario.progress(8_000).await?;
        blocking(|| scenario.stack.start("kafka2"))?;
        cluster.healed(&scenario.topic, 3).await?;
        cluster.led_as_preferred(&scenario.topic).await?;
        scenario.say("it is back, and leads again");

        // Longer than its session with the controller: it wakes as somebody whose partitions others lead by now.
        scenario.stack.freeze("kafka3")?;
        let went_on = scenario.progress(8_000).await;
        tokio::time::sleep(seconds(3)).await;
        scenario.stack.thaw("kafka3")?;
        went_on?;
        cluster.healed(&scenario.topic, 3).await?;
        cluster.led_as_preferred(&scenario.topic).await?;
        scenario.say("a node was frozen, is awake, and leads again");

        for node in NODES {
            blocking(|| scenario.stack.stop(node).and_then(|()| scenario.stack.start(node)))?;
            cluster.healed(&scenario.topic, 3).await?;
            cluster.led_as_preferred(&scenario.topic).await?;
            scenario.say(format!("{node} was restarted, and leads again"));
        }
        scenario.progress(4_000).await?;
        // The end comes by SIGTERM alone: it has not ended by itself, and no partition was stopped.
        scenario.finish(generator, bridge, 24_000).await
    })
    .await
}

/// Feeds so many sound records, all at once.
fn feed(scenario: &Scenario, records: u64, seed: u64) -> Result<()> {
    let shares = Shares { broken: 0.0, ..Shares::default() };
    let generator = Generator::start(Settings { records: Some(records), seed, shares, ..scenario.feed() });
    blocking(|| generator.wait()).map(drop)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn a_log_that_an_unclean_election_has_cut_stops_the_partition() -> Result<()> {
    within(seconds(400), async {
        // The first node leads, the second follows; the third only votes.
        let copies: [&[i32]; 1] = [&[1, 2]];
        let settings = [("unclean.leader.election.enable", "true"), ("min.insync.replicas", "1")];
        let scenario = on_cluster("truncated", 1, TopicReplication::Variable(&copies), &settings).await?;
        let cluster = KafkaCluster::of(&scenario.stack);
        feed(&scenario, 1_000, 61)?;
        let bridge = scenario.bridge().await?;
        scenario.caught_up(&bridge, PATIENCE).await?;
        let copied = blocking(|| offsets(&scenario.brokers, &scenario.topic))?[0].1;

        blocking(|| scenario.stack.kill("kafka2"))?;
        feed(&scenario, 1_000, 62)?;
        scenario.caught_up(&bridge, PATIENCE).await?;
        scenario.say("the leader alone has what the bridge has mirrored last");
        let mirrored = blocking(|| offsets(&scenario.brokers, &scenario.topic))?[0].1;
        assert!(copied < mirrored);
        // It has read nothing since its start but what it knows its last record by: that must be enough.
        end(bridge).await?;
        let bridge = scenario.bridge().await?;
        scenario.caught_up(&bridge, PATIENCE).await?;
        blocking(|| scenario.stack.kill("kafka1"))?;
        blocking(|| scenario.stack.start("kafka2"))?;
        // Without clean candidates the one that has less leads now; what it lacks is gone.
        wait::until("the follower to lead", PATIENCE, async || match blocking(|| cluster.leaders(&scenario.topic)) {
            Ok(leaders) if leaders == [2] => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await?;
        // Grown beyond the position at once: nothing but the epochs tells that the log was cut.
        feed(&scenario, 3_000, 63)?;
        stopped(&bridge, "truncat").await?;
        stopped(&bridge, "set source.<name>.generation to start a new sequence").await?;
        scenario.say("stopped");
        end(bridge).await?;

        let bridge = Bridge::start(&scenario.settings())?;
        stopped(&bridge, "generation").await?;
        scenario.say("and stopped again after a restart");
        end(bridge).await?;
        assert_eq!(scenario.admin().messages_in(&scenario.target).await? as i64, mirrored);
        blocking(|| scenario.stack.start("kafka1"))?;
        cluster.healed(&scenario.topic, 2).await
    })
    .await
}

async fn end(mut bridge: Bridge) -> Result<()> {
    let status = bridge.terminate(seconds(30)).await?;
    assert_eq!(status.code(), Some(0), "{}", bridge.log_tail());
    Ok(())
}

//! Two instances of a bridge whose sources share keys (`dedupe.key`), under faults; each test ends in the checker.
//! `tests/run` runs them; by hand:
//! `cargo test -p bridge-tests --test shared_keys -- --ignored --test-threads=1 --nocapture NAME`.

use bridge_tests::Result;
use bridge_tests::bridge::Setting;
use bridge_tests::generator::{Generator, Settings};
use bridge_tests::rabbit::QueueKind;
use bridge_tests::scenario::{seconds, within};
use bridge_tests::scene::{Plan, Scene};
use bridge_tests::streams::Stream;
use bridge_tests::wait;

fn plan() -> Plan {
    Plan { kafka: Some(Stream::Notifications), is_unroutable: true, dedupe: true, ..Plan::queue(QueueKind::Quorum) }
}

fn feed(scene: &Scene, seed: u64) -> Generator {
    let feed = Settings { rate: Some(800), seed, twins: 0.4, ..scene.feed(Stream::Notifications) };
    Generator::start(feed)
}

/// As two pods of a deployment have them: members of their own, and not waited for for long.
fn settings(scene: &Scene) -> Vec<Setting> {
    let mut settings = scene.settings();
    settings.retain(|(name, _)| name != "BRIDGE__KAFKA__INSTANCE_ID");
    settings.push(("BRIDGE__KAFKA__SESSION_TIMEOUT_MS".to_owned(), "6000".to_owned()));
    settings
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn an_owner_that_was_frozen_stands_by_and_keeps_nothing_from_the_new_one() -> Result<()> {
    within(seconds(240), async {
        let scene = Scene::new("frozen", plan()).await?;
        let generator = feed(&scene, 70);
        let mut first = scene.start_with(&settings(&scene))?;
        first.ready(seconds(40)).await?;
        scene.progress(800).await?;
        let second = scene.start_with(&settings(&scene))?;
        scene.progress(800).await?;
        first.freeze()?;
        scene.say("the owner is frozen");
        scene.progress(800).await?;
        first.thaw()?;
        scene.say("it is awake again");
        // Long enough for what it is a member of to be shared out again.
        tokio::time::sleep(seconds(8)).await;
        scene.progress(800).await?;
        let finished = scene.finish(vec![generator], second, 3_000).await;
        if finished.is_err() {
            println!("{}", first.log());
        }
        finished.map(drop)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn whoever_owns_the_keys_after_a_restart_of_pulsar_goes_on() -> Result<()> {
    within(seconds(280), async {
        let scene = Scene::new("restarted", plan()).await?;
        let generator = feed(&scene, 71);
        let mut first = scene.start_with(&settings(&scene))?;
        first.ready(seconds(40)).await?;
        scene.progress(800).await?;
        let mut second = scene.start_with(&settings(&scene))?;
        second.ready(seconds(40)).await?;
        for round in 1..=2 {
            tokio::task::block_in_place(|| scene.stack.stop("pulsar"))?;
            tokio::task::block_in_place(|| scene.stack.start("pulsar"))?;
            scene.say(format!("Pulsar was stopped and is back: {round}"));
            scene.progress(1_500).await?;
        }
        // Whichever of the two it is, the other one has let go of everything.
        let standing_by = async |bridge: &bridge_tests::bridge::Bridge| {
            let (_, status) = bridge.get("/status").await.map_err(|error| error.to_string())?;
            Ok::<bool, String>(status.contains("standing by"))
        };
        let first_stands_by = wait::until("one of them to stand by", seconds(30), async || {
            match (standing_by(&first).await?, standing_by(&second).await?) {
                (true, false) => Ok(true),
                (false, true) => Ok(false),
                both => Err(format!("{both:?}")),
            }
        })
        .await?;
        scene.say(format!("the first stands by: {first_stands_by}"));
        let (mut idle, busy) = if first_stands_by { (first, second) } else { (second, first) };
        assert_eq!(idle.terminate(seconds(30)).await?.code(), Some(0));
        scene.finish(vec![generator], busy, 2_000).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn a_drain_lets_go_of_queues_too() -> Result<()> {
    within(seconds(170), async {
        let scene = Scene::new("drained", plan()).await?;
        let token = scene.journal().with_file_name("token");
        std::fs::write(&token, "let-me")?;
        let mut with_token = settings(&scene);
        with_token.push(("BRIDGE__HTTP__TOKEN_FILE".to_owned(), token.display().to_string()));
        let generator = feed(&scene, 72);
        let mut first = scene.start_with(&with_token)?;
        first.ready(seconds(40)).await?;
        let second = scene.start_with(&settings(&scene))?;
        scene.progress(800).await?;
        first.post("/drain", "let-me").await?;
        wait::until("every partition to be let go of", seconds(40), async || {
            let (_, status) = first.get("/status").await.map_err(|error| error.to_string())?;
            let status: serde_json::Value = serde_json::from_str(&status).unwrap_or_default();
            let open = ["running", "opening", "draining", "waiting-for-name"];
            let text = status["partitions"].to_string();
            match open.iter().find(|state| text.contains(&format!("\"{state}\""))) {
                None => Ok(()),
                Some(state) => Err(format!("a partition is {state}: {text}")),
            }
        })
        .await?;
        scene.say("drained; the other instance takes over");
        scene.progress(800).await?;
        scene.finish(vec![generator], second, 1_500).await?;
        assert_eq!(first.terminate(seconds(30)).await?.code(), Some(0));
        Ok(())
    })
    .await
}

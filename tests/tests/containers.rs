//! The bridges as containers: what is in an image, and what one does on real brokers, alone and beside its next generation.
//! `tests/run` builds the image and runs these; by hand: `tests/deploy/images job-lifecycle`, then
//! `cargo test -p bridge-tests --test containers -- --ignored --test-threads=1 --nocapture NAME`.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::path::Path;

use bridge_common::pulsar::{Client, ClientConfig};
use bridge_tests::bridge::{Bridge, Setting};
use bridge_tests::container::{Image, RESOLVER};
use bridge_tests::generator::{Generator, Settings};
use bridge_tests::resolver::Resolver;
use bridge_tests::scenario::{PATIENCE, SOURCE_PARTITIONS, Scenario, seconds, with, within};
use bridge_tests::scene::{Plan, Scene};
use bridge_tests::stack::repository;
use bridge_tests::streams::Stream;
use bridge_tests::{Result, wait};
use serde_json::Value;

const CERTIFICATES: &str = "etc/ssl/certs/ca-certificates.crt";
/// The image of the tests that every run has.
const NAME: &str = "job-lifecycle";

/// The same servers by names that only this resolver knows.
async fn by_names(scenario: &Scenario) -> Result<(Resolver, Vec<Setting>)> {
    let (kafka, pulsar) = ("kafka.bridges.test", "pulsar.bridges.test");
    let names = [kafka, pulsar].map(|name| (name.to_owned(), Ipv4Addr::LOCALHOST));
    let resolver = Resolver::start(HashMap::from(names)).await?;
    let mut settings = scenario.settings();
    for (name, value) in &mut settings {
        let host = if name.starts_with("BRIDGE__KAFKA__") { kafka } else { pulsar };
        *value = value.replace("127.0.0.1", host).replace("localhost", host);
    }
    settings.push((RESOLVER.to_owned(), resolver.address.to_string()));
    Ok((resolver, settings))
}

/// Without any right, unable to get one, and on a root that cannot be written to.
fn is_confined(bridge: &Bridge) -> Result<()> {
    let process = bridge.process_id()?;
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let has = |line: &str| status.lines().any(|other| other.split_whitespace().eq(line.split_whitespace()));
    for line in
        ["Uid: 65532 65532 65532 65532", "CapEff: 0000000000000000", "CapBnd: 0000000000000000", "NoNewPrivs: 1"]
    {
        assert!(has(line), "not '{line}': {status}");
    }
    let mounts = std::fs::read_to_string(format!("/proc/{process}/mountinfo"))?;
    let root = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/")).ok_or("no root")?;
    assert!(root.split(' ').nth(5).is_some_and(|options| options.split(',').any(|one| one == "ro")), "{root}");
    Ok(())
}

/// What the image itself says of a bridge that runs at this address.
fn healthcheck(image: &Image, bridge: &Bridge) -> Result<Option<i32>> {
    let settings = [("BRIDGE__HTTP__LISTEN".to_owned(), bridge.address()?.to_owned())];
    Ok(tokio::task::block_in_place(|| image.run(&["healthcheck"], &settings))?.status.code())
}

/// The files below a directory, with their sizes.
fn files(root: &Path) -> Result<BTreeMap<String, u64>> {
    let (mut found, mut directories) = (BTreeMap::new(), vec![root.to_path_buf()]);
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                directories.push(path);
            } else {
                let size = path.symlink_metadata()?.len();
                found.insert(path.strip_prefix(root)?.display().to_string(), size);
            }
        }
    }
    Ok(found)
}

#[test]
#[ignore = "needs an image: tests/run"]
fn an_image_holds_a_static_binary_its_configuration_and_certificates_and_nothing_else() -> Result<()> {
    let images = repository().join("target/images");
    let mut seen = 0;
    for entry in std::fs::read_dir(&images).map_err(|error| format!("{}: {error}", images.display()))? {
        let directory = entry?.path();
        if !directory.join("image.json").is_file() {
            continue;
        }
        let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let image = Image::of(&name)?;
        let files = files(&image.root)?;
        let size: u64 = files.values().sum();
        println!("  {name}: {size} bytes, of them {} the binary", files.get("bridge").copied().unwrap_or_default());
        assert!(size < 20_000_000, "{name}: {size} bytes");
        let is_known = |path: &str| {
            let is_config = path.starts_with("config/") && path.ends_with(".toml");
            let is_sbom = path.starts_with("usr/share/sbom/") && path.ends_with(".cdx.json");
            // The last two a runtime has put there, to mount over.
            is_config || is_sbom || ["bridge", CERTIFICATES, "etc/resolv.conf", "etc/hosts"].contains(&path)
        };
        let strange: Vec<_> = files.keys().filter(|path| !is_known(path)).collect();
        assert!(strange.is_empty(), "{name}: {strange:?}");
        assert!(
            !std::fs::read(image.root.join("bridge"))?
                .windows(8)
                .any(|part| part == b"/ld-musl" || part == b"/ld-linu")
        );
        let certificates = std::fs::read_to_string(image.root.join(CERTIFICATES))?;
        assert!(certificates.matches("BEGIN CERTIFICATE").count() > 50, "{name}: too few certificates");
        assert_eq!(image.config["User"], "65532:65532", "{name}");
        for label in ["title", "version", "revision", "created", "licenses"] {
            let value = &image.config["Labels"][format!("org.opencontainers.image.{label}")];
            assert!(
                value.as_str().is_some_and(|value| !value.is_empty() && value != "unknown"),
                "{name}: {label}: {value}"
            );
        }
        let sbom = files.keys().find(|path| path.ends_with(".cdx.json")).ok_or("no bill of materials")?;
        let sbom: Value = serde_json::from_slice(&std::fs::read(image.root.join(sbom))?)?;
        let components = sbom["components"].as_array().cloned().unwrap_or_default();
        for part in ["tokio", "rustls", "rust-std", "ca-certificates"] {
            assert!(components.iter().any(|one| one["name"] == part), "{name}: the bill of materials lacks {part}");
        }
        // What only tests use is not in it.
        assert!(!components.iter().any(|one| one["name"] == "proptest"), "{name}: more than what is compiled in");
        seen += 1;
    }
    assert!(seen > 0, "there are no images in {}: `tests/deploy/images {NAME}`", images.display());
    Ok(())
}

/// The sum of the positions that the checkpoints name: offsets begin at 0, so it is how many records are settled.
async fn settled_records(scenario: &Scenario) -> Result<u64> {
    let client = Client::new(ClientConfig::new(scenario.stack.pulsar()))?;
    let topic = format!("persistent://{}/bridge-checkpoints", scenario.namespace);
    let listed = bridge_common::checkpoint::list(&client, &topic, "bridge/job-lifecycle/").await?;
    Ok(listed.values().map(|entry| entry.stored.checkpoint.position).sum())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers and an image: tests/run"]
async fn a_container_mirrors_exactly_once_by_names_that_only_its_resolver_knows_and_stops_cleanly() -> Result<()> {
    within(seconds(180), async {
        let scenario = Scenario::new("container").await?;
        let image = Image::of(NAME)?;
        let (resolver, settings) = by_names(&scenario).await?;
        let generator = Generator::start(Settings { rate: Some(2_000), seed: 90, ..scenario.feed() });
        let mut bridge = Bridge::start_image(&image, None, &settings)?;
        bridge.ready(PATIENCE).await?;
        is_confined(&bridge)?;
        assert_eq!(healthcheck(&image, &bridge)?, Some(0), "{}", bridge.log_tail());
        scenario.progress(4_000).await?;
        let asked = resolver.asked();
        assert!(asked.contains("kafka.bridges.test") && asked.contains("pulsar.bridges.test"), "asked for {asked:?}");
        scenario.say(format!("it asked its own resolver for {asked:?}"));

        bridge.kill()?;
        let mut bridge = Bridge::start_image(&image, None, &settings)?;
        bridge.ready(PATIENCE).await?;
        scenario.progress(4_000).await?;
        assert_eq!(bridge.terminate(seconds(30)).await?.code(), Some(0), "{}", bridge.log_tail());
        assert_eq!(healthcheck(&image, &bridge)?, Some(1), "nobody answers there any more");
        let settled = settled_records(&scenario).await?;
        let stored = scenario.admin().messages_in(&scenario.target).await?;
        scenario.say(format!("stopped at {settled} records settled, {stored} of them in the target"));
        assert!(settled >= stored && stored >= 8_000, "the checkpoints are behind what is stored");

        // What was stopped cleanly has settled all that it sent: its successor finds nothing above the checkpoints.
        let mut bridge = Bridge::start_image(&image, None, &settings)?;
        bridge.ready(PATIENCE).await?;
        scenario.progress(2_000).await?;
        assert_eq!(bridge.metric("stream_bridge_records_suppressed_total").await?, 0.0, "it sent what was not settled");
        scenario.finish(generator, bridge, 10_000).await
    })
    .await
}

/// The partitions that a bridge mirrors now.
async fn running(bridge: &Bridge) -> std::result::Result<usize, String> {
    let (_, status) = bridge.get("/status").await.map_err(|error| error.to_string())?;
    let status: Value = serde_json::from_str(&status).map_err(|error| error.to_string())?;
    let partitions = status["partitions"].as_array().cloned().unwrap_or_default();
    Ok(partitions.iter().filter(|partition| partition["state"] == "running").count())
}

/// Waits until they mirror as many partitions as these.
async fn share(what: &str, bridges: &[&Bridge], is_it: impl Fn(&[usize]) -> bool) -> Result<()> {
    let shared = wait::until(what, PATIENCE, async || {
        let mut counts = Vec::new();
        for bridge in bridges {
            counts.push(running(bridge).await?);
        }
        if is_it(&counts) { Ok(()) } else { Err(format!("{counts:?} partitions are running")) }
    });
    let logs = || bridges.iter().map(|bridge| bridge.log_tail()).collect::<Vec<_>>().join("\n");
    shared.await.map_err(|error| format!("{error}\n{}", logs()).into())
}

/// A rolling update that starts the new one before it stops the old (a Deployment, a surge).
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers and an image: tests/run"]
async fn two_generations_overlap_in_a_rolling_update_and_nothing_is_doubled_or_missing() -> Result<()> {
    within(seconds(240), async {
        let scenario = Scenario::new("rolling").await?;
        let image = Image::of(NAME)?;
        let all = SOURCE_PARTITIONS as usize;
        let generator = Generator::start(Settings { rate: Some(1_000), seed: 91, ..scenario.feed() });
        let mut old = Bridge::start_image(&image, None, &scenario.dynamic())?;
        share("the old generation to have all", &[&old], |counts| counts == [all]).await?;
        scenario.progress(1_500).await?;
        let new = Bridge::start_image(&image, None, &scenario.dynamic())?;
        let both = |counts: &[usize]| counts.iter().sum::<usize>() == all && !counts.contains(&0);
        share("both generations to share", &[&old, &new], both).await?;
        scenario.say("both generations run");
        scenario.progress(1_500).await?;
        assert_eq!(old.terminate(seconds(30)).await?.code(), Some(0), "{}", old.log_tail());
        share("the new generation to have all", &[&new], |counts| counts == [all]).await?;
        scenario.say("the old one has ended with 0, and the new one has all");
        scenario.progress(1_500).await?;
        scenario.finish(generator, new, 4_500).await
    })
    .await
}

/// Where the group shares nothing out, the name alone decides: a pod that a lost node still runs, and its replacement; here the
/// keys of a stream with `dedupe.key`, which one instance owns.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers and an image: tests/run"]
async fn the_next_generation_waits_for_the_name_without_a_crash_and_takes_over_at_sigterm() -> Result<()> {
    within(seconds(240), async {
        let plan = Plan { dedupe: true, ..Plan::kafka(Stream::JobLifecycle) };
        let scene = Scene::new("fence", plan).await?;
        let image = Image::of(NAME)?;
        let mut settings = with(scene.settings(), "BRIDGE__KAFKA__SESSION_TIMEOUT_MS", "6000");
        settings.retain(|(name, _)| name != "BRIDGE__KAFKA__INSTANCE_ID");
        let feed = Settings { rate: Some(1_000), seed: 92, ..scene.feed(Stream::JobLifecycle) };
        let generator = Generator::start(feed);
        let mut old = scene.start_image(&image, &settings)?;
        old.ready(PATIENCE).await?;
        scene.progress(1_500).await?;
        let mut new = scene.start_image(&image, &settings)?;
        new.ready(PATIENCE).await?;
        wait::until("the new generation to wait for the name", seconds(60), async || {
            let (_, status) = new.get("/status").await.map_err(|error| error.to_string())?;
            if status.contains("standing by") { Ok(()) } else { Err(status) }
        })
        .await?;
        scene.say("the new generation stands by, and is ready");
        let process = new.process_id()?;
        scene.progress(1_500).await?;
        assert_eq!(new.get("/livez").await?.0, 200);
        assert_eq!(new.metric("stream_bridge_records_published_total").await?, 0.0, "both publish");
        assert_eq!(old.terminate(seconds(30)).await?.code(), Some(0), "{}", old.log_tail());
        scene.progress(1_500).await?;
        assert_eq!(new.process_id()?, process, "it was started again");
        scene.say("the old one has ended with 0, and the same process of the new one goes on");
        scene.finish(vec![generator], new, 4_500).await.map(drop)
    })
    .await
}

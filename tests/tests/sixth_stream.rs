//! What the README says of a stream of one's own, done to the letter: a folder with a contract and a main of a dozen lines,
//! and one file of configuration. `tests/run` runs it; by hand: `cargo test -p bridge-tests --test sixth_stream -- --ignored
//! --nocapture`.
#![allow(clippy::unwrap_used, reason = "these are tests, helpers too")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use bridge_tests::Result;
use bridge_tests::bridge::{Bridge, Setting};
use bridge_tests::checker;
use bridge_tests::generator::create_topic;
use bridge_tests::scenario::PATIENCE;
use bridge_tests::stack::{Stack, repository, unique};
use bridge_tests::wait;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use serde_json::{Value, json};

const RECORDS: u64 = 1_000;
/// Of these, so many lack what the contract demands.
const BROKEN: u64 = 10;
const SOURCE_PARTITIONS: i32 = 4;
/// How long compiling the two small packages may take on a busy machine; all else is built before.
const BUILD_BUDGET: Duration = Duration::from_secs(400);

/// The repository with a sixth stream in it: all that is there by links, so that nothing of it is changed or compiled again.
struct Sixth {
    root: PathBuf,
}

impl Sixth {
    fn new(unique: &str, target: &str) -> Result<Self> {
        let (repository, sixth) = (repository(), Self { root: repository().join("target/scenes").join(unique) });
        let root = &sixth.root;
        fs::create_dir_all(root.join("bridges"))?;
        for file in ["Cargo.toml", "Cargo.lock"] {
            fs::copy(repository.join(file), root.join(file))?;
        }
        for folder in ["common", "tests"] {
            symlink(repository.join(folder), root.join(folder))?;
        }
        for bridge in fs::read_dir(repository.join("bridges"))? {
            let (bridge, name) = bridge.map(|entry| (entry.path(), entry.file_name()))?;
            match name == "bridgectl" {
                // It looks for contracts beside itself, and a link would lead it back.
                true => copy_tree(&bridge, &root.join("bridges").join(name))?,
                false => symlink(bridge, root.join("bridges").join(name))?,
            }
        }
        fs::create_dir(root.join("config"))?;
        fs::copy(repository.join("config/default.toml"), root.join("config/default.toml"))?;
        sixth.add_orders(&repository, unique, target)?;
        Ok(sixth)
    }

    /// The three steps.
    fn add_orders(&self, repository: &Path, topic: &str, target: &str) -> Result<()> {
        let (like, orders) = (repository.join("bridges/job-lifecycle"), self.root.join("bridges/orders"));
        let contract = contract_of_the_readme(repository)?;
        for folder in ["history", "src"] {
            fs::create_dir_all(orders.join(folder))?;
        }
        fs::write(orders.join("contract.avsc"), &contract)?;
        fs::write(orders.join("history/1.avsc"), &contract)?;
        for file in ["Cargo.toml", "src/main.rs"] {
            let text = fs::read_to_string(like.join(file))?;
            fs::write(orders.join(file), text.replace("job-lifecycle", "orders"))?;
        }
        let config = format!(
            "[stream]\nname = \"orders\"\n[source.shop]\nkind = \"kafka\"\ntopic = \"{topic}\"\n\
             [target]\ntopic = \"{target}\"\n[http]\nlisten = \"127.0.0.1:9471\"\n[setup]\npartitions = 2\n"
        );
        fs::write(self.root.join("config/orders.toml"), config)?;
        Ok(())
    }

    fn contract(&self) -> PathBuf {
        self.root.join("bridges/orders/contract.avsc")
    }

    fn config(&self) -> PathBuf {
        self.root.join("config")
    }

    /// Builds the bridge and bridgectl; beside them, for its sources of every kind, one whose libraries are there already.
    /// Gives the directory of the binaries.
    fn build(&self) -> Result<PathBuf> {
        let target = repository().join("target");
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--offline", "-p", "bridgectl", "-p", "orders-bridge", "-p", "broker-metrics-bridge"]);
        cargo.current_dir(&self.root).stdin(Stdio::null());
        // What the cargo that runs this test tells the test would make libraries seem out of date.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name == "LD_LIBRARY_PATH" || name.starts_with("CARGO") && name != "CARGO_HOME" {
                cargo.env_remove(name);
            }
        }
        cargo.env("CARGO_TARGET_DIR", &target);
        let output = cargo.output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        println!("{said}");
        match output.status.success() {
            true => Ok(target.join("debug")),
            false => Err(format!("cargo build: {}\n{said}", output.status).into()),
        }
    }
}

impl Drop for Sixth {
    fn drop(&mut self) {
        // The logs are elsewhere; of this nothing is worth keeping.
        let _ = fs::remove_dir_all(&self.root);
    }
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let (entry, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        if entry.is_dir() {
            copy_tree(&entry, &to.join(name))?;
        } else {
            fs::copy(&entry, to.join(name))?;
        }
    }
    Ok(())
}

/// The example of the section "Adding a stream".
fn contract_of_the_readme(repository: &Path) -> Result<String> {
    let readme = fs::read_to_string(repository.join("README.md"))?;
    let section = readme.split("## Adding a stream").nth(1).ok_or("the README does not say how to add a stream")?;
    let example = section.split("```json").nth(1).and_then(|rest| rest.split("```").next());
    Ok(example.ok_or("the README shows no contract")?.to_owned())
}

/// The order with this number as the shop publishes it; every hundredth lacks its customer.
fn order(number: u64) -> Value {
    if number % (RECORDS / BROKEN) == 7 {
        return json!({ "order_id": format!("o-{number}"), "total": 1.5 });
    }
    let mut order = json!({ "customer": { "name": "Zoë", "city": format!("city {}", number % 17) } });
    match number % 3 {
        // Its id is where it stands in the topic, and its city the default.
        0 => order["customer"] = json!([number, null]),
        1 => order["order_id"] = json!(format!("o-{number}")),
        _ => order["order_id"] = Value::Null,
    }
    if number.is_multiple_of(2) {
        order["total"] = json!(number as f64 / 8.0);
    }
    order
}

fn feed(brokers: &str, topic: &str) -> Result<()> {
    let producer: ThreadedProducer<_> =
        ClientConfig::new().set("bootstrap.servers", brokers).set("acks", "all").create()?;
    for number in 0..RECORDS {
        let (key, body) = (format!("customer-{}", number % 40), order(number).to_string());
        producer.send(BaseRecord::to(topic).key(&key).payload(&body)).map_err(|(error, _)| error)?;
    }
    producer.flush(Duration::from_secs(30))?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn a_contract_a_short_main_and_a_configuration_make_a_bridge() -> Result<()> {
    let stack = Stack::up()?;
    let topic = unique("orders");
    let target = format!("persistent://public/{topic}/orders");
    let sixth = Sixth::new(&topic, &target)?;
    create_topic(stack.kafka(), &topic, SOURCE_PARTITIONS).await?;
    feed(stack.kafka(), &topic)?;

    let started = std::time::Instant::now();
    let binaries = tokio::task::block_in_place(|| sixth.build())?;
    assert!(started.elapsed() < BUILD_BUDGET, "a small package takes {:?}", started.elapsed());
    let settings: Vec<Setting> = [
        ("BRIDGE__KAFKA__BROKERS", stack.kafka()),
        ("BRIDGE__PULSAR__URL", stack.pulsar()),
        ("BRIDGE__PULSAR__ADMIN_URL", stack.pulsar_admin()),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    let setup = Command::new(binaries.join("bridgectl"))
        .args(["setup", "orders", "--config"])
        .arg(sixth.config())
        .envs(settings.iter().cloned())
        .stdin(Stdio::null())
        .output()?;
    assert!(setup.status.success(), "{setup:?}");

    let mut bridge = Bridge::start_program(&binaries.join("orders-bridge"), &sixth.config(), &settings)?;
    bridge.ready(PATIENCE).await?;
    wait::until("all records to be settled", PATIENCE, async || {
        let settled = async |name| bridge.metric(name).await.map_err(|error| error.to_string());
        let published = settled("stream_bridge_records_published_total").await?;
        let dead = settled("stream_bridge_records_dead_lettered_total").await?;
        if published + dead >= RECORDS as f64 { Ok(()) } else { Err(format!("{published} and {dead}")) }
    })
    .await?;
    let ended = bridge.terminate(Duration::from_secs(30)).await?;
    assert_eq!(ended.code(), Some(0), "{}", bridge.log_tail());

    let settings = checker::Settings::new(stack.kafka(), &topic, stack.pulsar(), &target, sixth.contract());
    let parity = checker::check(&settings).await?;
    println!("{parity}");
    assert!(parity.holds(), "{parity}");
    assert_eq!(parity.target_total().observed, RECORDS - BROKEN);
    assert_eq!(parity.dead_letters_total().observed, BROKEN);
    Ok(())
}

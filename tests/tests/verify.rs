//! `bridgectl verify` and `replay` against faults that are planted behind the bridge's back: a copy of what the bridge has
//! published, under its own producers' names, in which records are deleted, doubled, swapped and altered. `tests/run` runs
//! them; by hand: `cargo test -p bridge-tests --test verify -- --ignored --test-threads=1 --nocapture NAME`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::process::{Child, Command, Stdio};

use bridge_common::pulsar::{
    BatchBuilder, Client, ClientConfig, Compression, Entry, Opened, OutgoingMessage, ProducerEvent, ReaderStart, Seal,
};
use bridge_tests::Result;
use bridge_tests::bridge::{Setting, binary};
use bridge_tests::kafka::Transactions;
use bridge_tests::scenario::{Scenario, TARGET_PARTITIONS, seconds, with, within};
use bridge_tests::stack::repository;
use bridge_tests::wait;
use serde_json::Value;
use tokio::sync::mpsc;

/// A message of the target, as far as it is copied.
#[derive(Debug, Clone)]
struct Copied {
    producer: String,
    id: u64,
    key: Option<Vec<u8>>,
    event_time_ms: Option<u64>,
    value: Option<Vec<u8>>,
    properties: Vec<(String, String)>,
}

impl Copied {
    /// The source partition, by the producer's name.
    fn partition(&self) -> u64 {
        self.producer.split('/').nth(4).unwrap().parse().unwrap()
    }

    fn place(&self) -> (u64, u64) {
        (self.partition(), self.id)
    }
}

fn copied(entry: &Entry) -> Vec<Copied> {
    let batch = entry.batch().unwrap();
    let copy = |message: bridge_common::pulsar::Message<'_>| Copied {
        producer: entry.producer_name.clone(),
        id: message.sequence_id,
        key: message.key.as_deref().map(<[u8]>::to_vec),
        event_time_ms: message.event_time_ms,
        value: (!message.null_value).then(|| message.value.to_vec()),
        properties: message.properties().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
    };
    batch.messages().map(|message| copy(message.unwrap())).collect()
}

/// All messages of a topic partition.
async fn read(client: &Client, topic: &str) -> Result<Vec<Copied>> {
    let mut reader = client.open_reader(topic, ReaderStart::Earliest, false).await?;
    let (end, mut all) = (reader.last_message_id().await?, Vec::new());
    let mut last = None;
    while end.is_some() && last < end {
        let entry = tokio::time::timeout(seconds(30), reader.next()).await??;
        last = Some(entry.id);
        all.extend(copied(&entry));
    }
    Ok(all)
}

/// A producer, what it is told, and how much it has sent.
type Writing = (Opened, mpsc::UnboundedReceiver<(u64, ProducerEvent)>, usize);

/// Writes messages one by one, each under the name that it had, in this order: one connection carries them all.
async fn write(client: &Client, topic: &str, messages: &[Copied]) -> Result<()> {
    let mut producers: HashMap<&str, Writing> = HashMap::new();
    for message in messages {
        if !producers.contains_key(message.producer.as_str()) {
            let (out, events) = mpsc::unbounded_channel();
            let opened = client.open_producer(topic, &message.producer, None, out, 0).await?;
            producers.insert(&message.producer, (opened, events, 0));
        }
        let (opened, _, sent) = producers.get_mut(message.producer.as_str()).unwrap();
        let mut builder = BatchBuilder::new();
        let outgoing = OutgoingMessage {
            sequence_id: message.id,
            key: message.key.as_deref(),
            event_time_ms: message.event_time_ms,
            value: message.value.as_deref(),
        };
        builder.push(&outgoing, message.properties.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let seal = Seal {
            producer_name: &message.producer,
            producer_id: opened.producer.id(),
            publish_time_ms: bridge_tests::events::now_ms(),
            compression: Compression::None,
            schema_version: None,
        };
        opened.producer.send(&builder.seal(&seal)?)?;
        *sent += 1;
    }
    for (opened, events, sent) in producers.values_mut() {
        for _ in 0..*sent {
            match tokio::time::timeout(seconds(30), events.recv()).await? {
                Some((_, ProducerEvent::Receipt { message_id: Some(_), .. })) => {}
                other => return Err(format!("{topic}: {other:?} for {}", opened.producer.name()).into()),
            }
        }
        opened.producer.close().await?;
    }
    Ok(())
}

fn command(arguments: &[&str], settings: &[Setting]) -> Result<Command> {
    let mut command = Command::new(binary("bridgectl")?);
    command.args(arguments).arg("--config").arg(repository().join("config"));
    command.envs(settings.iter().cloned()).stdin(Stdio::null());
    Ok(command)
}

/// Runs `bridgectl`: its exit code, what it wrote, and what it said beside.
fn bridgectl(arguments: &[&str], settings: &[Setting]) -> Result<(Option<i32>, String, String)> {
    let output = tokio::task::block_in_place(|| command(arguments, settings)?.output().map_err(Into::into));
    let output: std::process::Output = output.map_err(|error: Box<dyn std::error::Error + Send + Sync>| error)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((output.status.code(), text(&output.stdout), text(&output.stderr)))
}

/// `verify --json` of everything: the exit code and the document.
fn verify(settings: &[Setting], more: &[&str]) -> Result<(Option<i32>, Value)> {
    let output = repository().join("target/verify-test");
    let output = output.to_str().ok_or("the path is no text")?;
    let arguments = ["verify", "job-lifecycle", "--json", "--output", output, "--lag-seconds", "0", "--named", "2000"];
    let (code, text, said) = bridgectl(&[&arguments[..], more].concat(), settings)?;
    let document = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}{said}"))?;
    Ok((code, document))
}

type Faults = BTreeSet<(String, u64, u64)>;

fn faults(document: &Value) -> Faults {
    let findings = document["findings"].as_array().unwrap().iter();
    findings
        .map(|finding| {
            let number = |name: &str| finding[name].as_u64().unwrap();
            assert_eq!(finding["message_id"].is_null(), finding["fault"] == "missing", "{finding}");
            (finding["fault"].as_str().unwrap().to_owned(), number("partition"), number("offset"))
        })
        .collect()
}

fn total(document: &Value, name: &str) -> u64 {
    document["totals"][name].as_u64().unwrap()
}

/// What was planted into the copy of the target's partitions and its dead letters.
struct Plants {
    topics: Vec<Vec<Copied>>,
    faults: Faults,
}

impl Plants {
    fn plant(&mut self, fault: &str, place: (u64, u64)) {
        self.faults.insert((fault.to_owned(), place.0, place.1));
    }

    /// The topic and the place of a record that has not been touched, well inside its lane.
    fn find(&self, partition: u64, id: u64) -> (usize, usize) {
        let found = self.topics.iter().enumerate().find_map(|(topic, messages)| {
            Some((topic, messages.iter().position(|message| message.place() == (partition, id))?))
        });
        found.unwrap_or_else(|| panic!("{partition}/{id} is nowhere"))
    }

    fn remove(&mut self, partition: u64, id: u64) {
        let (topic, at) = self.find(partition, id);
        self.topics[topic].remove(at);
        self.plant("missing", (partition, id));
    }

    /// The ids of a partition's lane in the target, rising.
    fn lane(&self, partition: u64) -> Vec<u64> {
        let target = self.topics[..TARGET_PARTITIONS as usize].iter().flatten();
        target.filter(|message| message.partition() == partition).map(|message| message.id).collect()
    }
}

/// Deletes, doubles, swaps, alters, and adds what the source does not have.
fn plant(topics: Vec<Vec<Copied>>) -> Plants {
    let mut plants = Plants { topics, faults: Faults::new() };
    // A stretch in three partitions, some alone, and a dead letter.
    for (partition, from, to) in [(2, 50, 250), (4, 100, 400), (7, 10, 60)] {
        let lane = plants.lane(partition);
        lane[from..to].iter().for_each(|id| plants.remove(partition, *id));
    }
    for partition in [0, 1, 9] {
        let lane = plants.lane(partition);
        plants.remove(partition, lane[100]);
    }
    // Not the first of its partition: what lies before everything that is left may be gone by retention, and is left out.
    let letters: Vec<(u64, u64)> = plants.topics[TARGET_PARTITIONS as usize].iter().map(Copied::place).collect();
    let is_behind = |(at, (partition, _)): &(usize, &(u64, u64))| letters[..*at].iter().any(|(of, _)| of == partition);
    let (partition, id) =
        letters.iter().enumerate().find(is_behind).map(|(_, place)| *place).expect("a later dead letter");
    plants.remove(partition, id);
    let lane = plants.lane(3);
    let (topic, at) = plants.find(3, lane[40]);
    let double = plants.topics[topic][at].clone();
    plants.topics[topic].insert(at + 7, double);
    plants.plant("doubled", (3, lane[40]));
    // Two neighbours of one lane: the lower one now stands behind.
    let ((topic, one), (_, other)) = (plants.find(3, lane[80]), plants.find(3, lane[81]));
    plants.topics[topic].swap(one, other);
    plants.plant("reordered", (3, lane[80]));
    let (topic, at) = plants.find(3, lane[120]);
    plants.topics[topic][at].key = Some(b"another".to_vec());
    plants.plant("different", (3, lane[120]));
    let (topic, at) = plants.find(3, lane[130]);
    plants.topics[topic][at].properties.push(("added".to_owned(), "later".to_owned()));
    plants.plant("different", (3, lane[130]));
    // The offset of a transaction's marker: no record has it.
    let all: BTreeSet<(u64, u64)> = plants.topics.iter().flatten().map(Copied::place).collect();
    let lane = plants.lane(5);
    let hole = (lane[0]..*lane.last().unwrap()).find(|id| !all.contains(&(5, *id))).expect("a transaction's marker");
    let (topic, at) = plants.find(5, *lane.iter().rfind(|id| **id < hole).unwrap());
    let extra = Copied { id: hole, ..plants.topics[topic][at].clone() };
    plants.topics[topic].insert(at + 1, extra);
    plants.plant("extra", (5, hole));
    plants
}

fn topics_of(target: &str) -> Vec<String> {
    let mut topics: Vec<String> = (0..TARGET_PARTITIONS).map(|n| format!("{target}-partition-{n}")).collect();
    topics.push(format!("{target}-dead-letters"));
    topics
}

/// Starts a replay, and kills it once it has published something.
async fn killed(scenario: &Scenario, copy: &str, arguments: &[&str], settings: &[Setting]) -> Result<()> {
    let admin = scenario.admin();
    let before = admin.messages_in(copy).await?;
    let mut child: Child = command(arguments, settings)?.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let published = wait::until("the replay to publish", seconds(60), async || match admin.messages_in(copy).await {
        Ok(now) if now > before => Ok(()),
        Ok(now) => Err(format!("{now} messages")),
        Err(error) => Err(error.to_string()),
    });
    let published = published.await;
    child.kill()?;
    let status = child.wait()?;
    published?;
    assert_eq!(status.code(), None, "it was killed before it had ended");
    Ok(())
}

/// A bridge mirrors; its work is compared, then copied with faults, compared, mended and compared.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn planted_faults_are_named_and_what_is_missing_is_replayed_once_over_kills() -> Result<()> {
    within(seconds(150), async {
        let scenario = Scenario::new("verify").await?;
        scenario.fed(3_000, 1)?;
        tokio::task::block_in_place(|| -> Result<()> {
            let mut transactions = Transactions::to(&scenario.brokers, &scenario.topic, "t")?;
            transactions.open(300)?;
            transactions.commit()?;
            transactions.open(300)?;
            transactions.abort()
        })?;
        scenario.fed(3_000, 2)?;
        let bridge = scenario.bridge().await?;
        scenario.settled(vec![bridge]).await?;

        let (code, document) = verify(&scenario.settings(), &["--since-start"])?;
        assert_eq!((code, &document["verdict"]), (Some(0), &"parity".into()), "{document:#}");
        assert_eq!(total(&document, "source"), 6_300);
        assert!(total(&document, "dead_letters") > 4, "{document:#}");
        let (code, hour) = verify(&scenario.settings(), &[])?;
        assert_eq!((code, total(&hour, "found")), (Some(0), total(&document, "found")), "{hour:#}");
        scenario.say("parity of what the bridge did, by readers of their own");

        // The copy has a namespace of its own, and no deduplication while it is written.
        let client = Client::new(ClientConfig::new(scenario.stack.pulsar()))?;
        let copy = format!("persistent://public/{}-copy/job-status-changed", scenario.topic);
        let settings = with(scenario.settings(), "BRIDGE__TARGET__TOPIC", &copy);
        scenario.setup(&settings)?;
        let dead_letters = format!("{copy}-dead-letters");
        for topic in [&copy, &dead_letters] {
            scenario.admin().deduplicate(topic, false).await?;
        }
        let mut topics = Vec::new();
        for topic in topics_of(&scenario.target) {
            topics.push(read(&client, &topic).await?);
        }
        let checkpoints = read(&client, &format!("persistent://{}/bridge-checkpoints", scenario.namespace)).await?;
        write(&client, &format!("persistent://public/{}-copy/bridge-checkpoints", scenario.topic), &checkpoints)
            .await?;
        let plants = plant(topics);
        for (topic, messages) in topics_of(&copy).iter().zip(&plants.topics) {
            write(&client, topic, messages).await?;
        }
        for topic in [&copy, &dead_letters] {
            scenario.admin().deduplicate(topic, true).await?;
        }
        let (code, document) = verify(&settings, &["--since-start"])?;
        assert_eq!((code, &document["verdict"]), (Some(1), &"no-parity".into()), "{document:#}");
        assert_eq!(faults(&document), plants.faults);
        scenario.say(format!("{} planted faults, each named, and no other", plants.faults.len()));

        let lost = total(&document, "missing");
        let replay = ["replay", "job-lifecycle", "--missing", "--since-start", "--yes", "--rate", "50"];
        for _ in 0..2 {
            killed(&scenario, &copy, &replay, &settings).await?;
        }
        let (code, text, said) = bridgectl(&[&replay[..6], &["0", "--json"]].concat(), &settings)?;
        assert_eq!(code, Some(0), "{text}{said}");
        let (_, document) = verify(&settings, &["--since-start"])?;
        let rest: Faults = plants.faults.iter().filter(|(fault, ..)| fault != "missing").cloned().collect();
        assert_eq!(faults(&document), rest, "nothing is missing any more, and nothing was published twice");
        let replayed: u64 = total(&document, "replayed");
        assert_eq!(replayed + 1, lost, "all but the dead letter are in the target, marked");
        let (code, text, _) = bridgectl(&[&replay[..6], &["0"]].concat(), &settings)?;
        assert!(code == Some(0) && text.contains("0 records are missing"), "{text}");
        scenario.say(format!("{lost} missing records replayed, once each, over two kills"));

        let output = repository().join("target/verify-test");
        let reread = ["verify", "job-lifecycle", "--reread", "--output", output.to_str().unwrap()];
        let (code, text, said) = bridgectl(&reread, &settings)?;
        assert!(code == Some(0) && text.contains("THE SAME SEQUENCE"), "{text}{said}");
        Ok(())
    })
    .await
}

/// A window goes to another topic in order, once, though it is killed on the way.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers: tests/run"]
async fn a_window_is_replayed_elsewhere_once_and_in_order_over_a_kill() -> Result<()> {
    within(seconds(120), async {
        let scenario = Scenario::new("elsewhere").await?;
        scenario.fed(6_000, 3)?;
        let (namespace, settings) = (&scenario.namespace, scenario.settings());
        let topic = format!("persistent://{namespace}/again");
        scenario.admin().create_topic(&topic, 2).await?;
        let replay = ["replay", "job-lifecycle", "--to", &topic, "--since-start", "--yes", "--id", "first", "--rate"];
        let (code, text, said) = bridgectl(&[&replay[..], &["0"]].concat(), &settings)?;
        assert!(code == Some(1) && said.contains("deduplication"), "{text}{said}");

        let topic = format!("persistent://{namespace}/once-more");
        scenario.admin().create_topic(&topic, 2).await?;
        scenario.admin().deduplicate(&topic, true).await?;
        scenario.admin().keep_nothing(&topic).await?;
        let replay = ["replay", "job-lifecycle", "--to", &topic, "--since-start", "--yes", "--id", "first", "--rate"];
        killed(&scenario, &topic, &[&replay[..], &["1000"]].concat(), &settings).await?;
        let (code, text, said) = bridgectl(&[&replay[..], &["0"]].concat(), &settings)?;
        assert_eq!(code, Some(0), "{text}{said}");
        let client = Client::new(ClientConfig::new(scenario.stack.pulsar()))?;
        let mut lanes: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for partition in 0..2 {
            for message in read(&client, &format!("{topic}-partition-{partition}")).await? {
                assert_eq!(message.partition() % 2, partition);
                lanes.entry(message.partition()).or_default().push(message.id);
            }
        }
        assert!(lanes.values().all(|ids| ids.windows(2).all(|pair| pair[0] < pair[1])), "in order, once");
        let there: usize = lanes.values().map(Vec::len).sum();
        assert!((5_950..6_000).contains(&there), "all but the broken ones: {there}");
        scenario.say(format!("{there} records elsewhere, in order, once, over a kill"));

        // The name of one window is none of another, lower one; a window is one, and all there.
        let other = |window: &str| -> Result<(Option<i32>, String)> {
            let arguments = ["replay", "job-lifecycle", "--to", &topic, "--yes", "--id", "other", "--offsets", window];
            let (code, _, said) = bridgectl(&arguments, &settings)?;
            Ok((code, said))
        };
        let (code, said) = other("0=100-200")?;
        assert!(code == Some(0) && said.contains("no retention and no subscription"), "{said}");
        let (code, said) = other("0=0-50")?;
        assert!(code == Some(1) && said.contains("another window"), "{said}");
        assert_eq!(other("0=150-250")?.0, Some(0), "what lies above is published");
        let (code, said) = other("0=0-999999")?;
        assert!(code == Some(1) && said.contains("ends at"), "{said}");

        let output = repository().join("target/verify-test");
        let output = output.to_str().unwrap();
        let (code, _, said) = bridgectl(&["verify", "job-lifecycel", "--output", output], &settings)?;
        assert!(code == Some(2) && said.contains("Did you mean job-lifecycle?"), "{said}");
        let nobody = with(settings.clone(), "BRIDGE__PULSAR__URL", "pulsar://127.0.0.1:1");
        let (code, _, said) = bridgectl(&["verify", "job-lifecycle", "--output", output], &nobody)?;
        assert!(code == Some(1) && said.contains("127.0.0.1:1"), "{said}");
        let nobody = with(settings, "BRIDGE__KAFKA__BROKERS", "127.0.0.1:1");
        let (code, _, said) = bridgectl(&["verify", "job-lifecycle", "--output", output], &nobody)?;
        assert!(code == Some(1) && said.contains("127.0.0.1:1"), "{said}");
        Ok(())
    })
    .await
}

//! What an operator watches, on real servers: a real Prometheus with the rules of `deploy/prometheus` sees a bridge that stands still,
//! and that it goes on, and that it is dead; every query of the dashboards and of the rules is asked; and the pages of `bridgectl` are
//! looked at by a real browser. It takes about two minutes. `tests/run` runs it; by hand:
//! `cargo test -p bridge-tests --test watching -- --ignored --nocapture`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bridge_tests::Result;
use bridge_tests::bridge::{Bridge, Setting, binary};
use bridge_tests::browser;
use bridge_tests::prometheus::{Prometheus, files, names, selectors, stem};
use bridge_tests::scenario::{PATIENCE, Scenario, seconds, with, within};
use bridge_tests::stack::{Stack, repository};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use serde_json::Value;

/// What no bridge exports: an installation may add it, and there is none of it unless it does.
const OPTIONAL: &str = "stream:stream_bridge_may_be_absent";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real brokers, Prometheus and Chromium: tests/run"]
async fn a_bridge_that_stands_still_is_seen_and_so_is_its_recovery() -> Result<()> {
    within(seconds(280), async {
        let scenario = Scenario::new("watching").await?;
        let settings = settings(&scenario);
        let mut bridge = Bridge::start(&settings)?;
        bridge.ready(PATIENCE).await?;
        let address = bridge.address()?.to_owned();
        let desk = with(settings.clone(), "BRIDGE__FLEET__URL", &format!("http://{address}"));
        let prometheus = Prometheus::start("job-lifecycle", &address).await?;
        prometheus.exists("stream_bridge_ready == 1").await?;
        scenario.say("the bridge runs, and Prometheus watches it");
        feed(&scenario, 0..400)?;
        scenario.caught_up(&bridge, PATIENCE).await?;

        // Some of the records were broken, and some had a field that the contract lacks.
        prometheus.until("StreamBridgeDeadLetters", true, PATIENCE).await?;
        prometheus.until("StreamBridgeContractDrift", true, PATIENCE).await?;
        let firing = prometheus.firing().await?;
        let quiet = ["StreamBridgeStalled", "StreamBridgeAbsent", "StreamBridgeNotReady", "StreamBridgeLagGrowing"];
        assert!(names(&firing).iter().all(|name| !quiet.contains(name)), "{firing:#?}");
        the_page_of_a_bridge_that_runs(&desk)?;

        let frozen = Frozen::new(&scenario.stack)?;
        stalls(&scenario, &prometheus).await?;
        everything_that_is_asked_has_an_answer(&prometheus).await?;
        drop(frozen);
        prometheus.until("StreamBridgeStalled", false, PATIENCE).await?;
        prometheus.until("StreamBridgeLagGrowing", false, PATIENCE).await?;
        scenario.caught_up(&bridge, PATIENCE).await?;
        scenario.say("it goes on, and the alert is over");

        the_page_of_a_comparison(&desk)?;
        bridge.kill()?;
        prometheus.until("StreamBridgeAbsent", true, seconds(60)).await?;
        feed(&scenario, 900..950)?;
        the_page_of_a_dead_bridge(&desk)?;
        scenario.say("it is dead, and seen to be");
        Ok(())
    })
    .await
}

/// Pulsar, frozen until this is dropped, however it goes: nobody after us shall meet it so.
struct Frozen<'a>(&'a Stack);

impl<'a> Frozen<'a> {
    fn new(stack: &'a Stack) -> Result<Self> {
        stack.freeze("pulsar")?;
        Ok(Self(stack))
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.thaw("pulsar") {
            eprintln!("Pulsar is perhaps still frozen: {error}");
        }
    }
}

/// A certificate is watched, although nothing here speaks TLS; and no share of broken records stops a partition.
fn settings(scenario: &Scenario) -> Vec<Setting> {
    let certificate = repository().join("common/src/certificates_testdata.pem");
    let settings = with(scenario.settings(), "BRIDGE__REGISTRY__TLS__CA_FILE", &certificate.to_string_lossy());
    with(settings, "BRIDGE__DEAD_LETTERS__MAX_RATIO", "1")
}

/// Publishes events to the partitions in turn: each tenth is broken, and each tenth has a field that the contract lacks.
fn feed(scenario: &Scenario, numbers: std::ops::Range<u64>) -> Result<()> {
    let producer: ThreadedProducer<DefaultProducerContext> =
        ClientConfig::new().set("bootstrap.servers", &scenario.brokers).create()?;
    for number in numbers {
        let body = match number % 10 {
            7 => "not JSON".to_owned(),
            8 => event(number, r#","voucher":1"#),
            _ => event(number, ""),
        };
        // By tens, so that each partition has some of every kind.
        let partition = i32::try_from(number / 10 % 10)?;
        let record: BaseRecord<'_, str, String> = BaseRecord::to(&scenario.topic).payload(&body).partition(partition);
        producer.send(record).map_err(|(error, _)| error)?;
    }
    Ok(producer.flush(seconds(30))?)
}

fn event(number: u64, more: &str) -> String {
    format!(
        r#"{{"event_id":"e-{number}","event_type":"job.submitted","timestamp":"2026-01-01T00:00:00.000Z","correlation_id":"c","user_id":"u","schema_version":1,"payload":{{"job_id":"j-{number}"}}{more}}}"#
    )
}

/// Pulsar is frozen: what comes now waits.
async fn stalls(scenario: &Scenario, prometheus: &Prometheus) -> Result<()> {
    feed(scenario, 400..800)?;
    let alert = prometheus.until("StreamBridgeStalled", true, seconds(90)).await?;
    scenario.say(format!("stalled: {}", alert["annotations"]["description"]));
    assert_eq!(
        (&alert["labels"]["stream"], &alert["labels"]["severity"]),
        (&"job-lifecycle".into(), &"critical".into())
    );
    assert!(alert["annotations"]["description"].as_str().unwrap().starts_with("10 partitions"), "{alert}");
    let growing = prometheus.until("StreamBridgeLagGrowing", true, seconds(60)).await?;
    for alert in [&alert, &growing] {
        let (name, url) =
            (alert["labels"]["alertname"].as_str().unwrap(), alert["annotations"]["runbook_url"].as_str());
        let runbook = format!("/deploy/runbooks/alerts/{name}.md");
        assert!(url.unwrap().starts_with("https://") && url.unwrap().ends_with(&runbook), "{alert}");
    }
    Ok(())
}

/// Every selector of every rule, and every query of every dashboard.
async fn everything_that_is_asked_has_an_answer(prometheus: &Prometheus) -> Result<()> {
    let (mut problems, mut asked) = (Vec::new(), 0);
    for rule in prometheus.rules().await? {
        let (name, expression) = (rule["name"].as_str().unwrap(), rule["query"].as_str().unwrap());
        if rule["health"] != "ok" {
            problems.push(format!("rule {name}: {}", rule["lastError"]));
        }
        asked += selectors(expression).len();
        problems.extend(unanswered(prometheus, name, expression).await?);
    }
    for file in files("deploy/runbooks/alerts", "md")? {
        for expression in promql(&std::fs::read_to_string(&file)?) {
            asked += 1;
            problems.extend(unanswered(prometheus, &stem(&file), &expression).await?);
            // Whether there is anything is another matter; that it can be asked is not.
            prometheus.query(&expression).await?;
        }
    }
    let mut shown = BTreeSet::new();
    for file in files("deploy/grafana/dashboards", "json")? {
        let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(&file)?)?;
        for (panel, query) in queries(&dashboard) {
            let (of, query) = (format!("{}: {panel}", stem(&file)), substituted(&query));
            problems.extend(unanswered(prometheus, &of, &query).await?);
            shown.extend(selectors(&query).iter().map(|selector| metric(selector)));
            asked += 1;
            if prometheus.query(&query).await?.is_empty() {
                problems.push(format!("{of}: nothing for {query}"));
            }
        }
    }
    let text =
        prometheus.query(r#"count by (__name__) ({__name__=~"stream_bridge_.+|process_.+", stream!=""})"#).await?;
    for series in text {
        let name = series["metric"]["__name__"].as_str().unwrap_or_default().to_owned();
        let is_part = ["_sum", "_count"].iter().any(|part| name.ends_with(&format!("seconds{part}")));
        if !is_part && !shown.contains(&name) {
            problems.push(format!("no dashboard shows {name}"));
        }
    }
    println!("  {asked} selectors and queries asked");
    assert!(problems.is_empty() && asked > 150, "{asked} asked:\n{}", problems.join("\n"));
    Ok(())
}

/// The expressions of a runbook, one a line.
fn promql(text: &str) -> Vec<String> {
    let blocks = text.split("```promql\n").skip(1).filter_map(|block| block.split("```").next());
    blocks.flat_map(str::lines).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// The selectors of an expression that there is nothing for: no series, or no rule that records them. What a rule records may be
/// nothing where all is well.
async fn unanswered(prometheus: &Prometheus, of: &str, expression: &str) -> Result<Vec<String>> {
    let rules = prometheus.rules().await?;
    let mut problems = Vec::new();
    for selector in selectors(expression) {
        let name = metric(&selector);
        let is_there = match name.contains(':') {
            true => name == OPTIONAL || rules.iter().any(|rule| rule["name"] == name.as_str()),
            false => !prometheus.query(&format!("last_over_time({selector}[10m])")).await?.is_empty(),
        };
        if !is_there {
            problems.push(format!("{of}: there is no {selector}"));
        }
    }
    Ok(problems)
}

fn metric(selector: &str) -> String {
    selector.split('{').next().unwrap_or_default().to_owned()
}

/// The queries of a dashboard: of its panels, and of its annotations.
fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut found = Vec::new();
    for panel in list(&dashboard["panels"]) {
        let targets = list(&panel["targets"]);
        assert!(panel["type"] == "row" || !targets.is_empty(), "a panel asks something: {}", panel["title"]);
        found.extend(targets.iter().map(|target| (text(&panel["title"]), text(&target["expr"]))));
    }
    let variables = list(&dashboard["templating"]["list"]);
    for variable in variables.iter().filter(|variable| variable["type"] == "query") {
        // label_values(METRIC, LABEL)
        let definition = text(&variable["definition"]);
        let (metric, label) =
            definition.trim_start_matches("label_values(").trim_end_matches(')').rsplit_once(", ").unwrap();
        found.push((text(&variable["name"]), format!("count by ({label}) ({metric})")));
    }
    found
}

/// As Grafana fills in its variables: one stream, all instances, and four scrapes.
fn substituted(query: &str) -> String {
    query.replace("$stream", "job-lifecycle").replace("$instance", ".+").replace("$__rate_interval", "60s")
}

/// Runs `bridgectl` and expects this exit code.
fn bridgectl(desk: &[Setting], arguments: &[&str], expected: i32) -> Result<String> {
    let mut command = Command::new(binary("bridgectl")?);
    command.args(arguments).arg("--config").arg(repository().join("config"));
    let output = command.envs(desk.iter().cloned()).stdin(Stdio::null()).output()?;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(expected), "{arguments:?}: {said}");
    Ok(said)
}

/// The page of the fleet, looked at.
fn page(desk: &[Setting], name: &str, dark: bool, expected: i32) -> Result<String> {
    let file = std::env::temp_dir().join(format!("{name}-{}.html", std::process::id()));
    let arguments = ["status", "job-lifecycle", "--seconds", "1", "--html", &file.to_string_lossy()];
    bridgectl(desk, &arguments, expected)?;
    let document = looked_at(&file, name, dark)?;
    std::fs::remove_file(&file)?;
    Ok(document)
}

/// A page needs nothing but itself, and the browser has nothing to complain of.
fn looked_at(file: &Path, name: &str, dark: bool) -> Result<String> {
    let page = browser::load(file, name, dark)?;
    assert_eq!((&page.console, &page.requests), (&Vec::new(), &Vec::new()), "{}", page.document);
    for part in ["<script", "<img", "<iframe", "<object", "@import", "url("] {
        assert!(!page.document.contains(part), "{part} in {}", page.document);
    }
    assert!(std::fs::metadata(&page.picture)?.len() > 10_000, "an empty picture: {}", page.picture.display());
    println!("  seen: {}", page.picture.display());
    Ok(page.document)
}

fn the_page_of_a_bridge_that_runs(desk: &[Setting]) -> Result<()> {
    let document = page(desk, "fleet-running", false, 0)?;
    assert!(
        document.contains("all is well") && document.contains(r#"<span class="pill good">running</span>"#),
        "{document}"
    );
    assert_eq!(document.matches(r#"<span class="pill good">running</span>"#).count(), 2 + 1 + 10, "{document}");
    assert!(!document.contains("class=\"problems\""), "{document}");
    Ok(())
}

fn the_page_of_a_dead_bridge(desk: &[Setting]) -> Result<()> {
    let document = page(desk, "fleet-dead", true, 1)?;
    assert!(document.contains("1 of 1 bridges need somebody"), "{document}");
    assert!(document.contains("nothing listens there"), "{document}");
    assert!(document.contains(r#"<span class="pill bad">dead</span>"#), "{document}");
    let lag = document.split("<td class=\"lag\">").nth(1).and_then(|rest| rest.split('<').next()).unwrap();
    assert!(lag.parse::<u64>().is_ok_and(|lag| lag >= 50), "a dead bridge has its lag: {lag} in {document}");
    assert!(document.contains("The oldest record of"), "{document}");
    Ok(())
}

fn the_page_of_a_comparison(desk: &[Setting]) -> Result<()> {
    let directory: PathBuf = std::env::temp_dir().join(format!("watching-verify-{}", std::process::id()));
    bridgectl(desk, &["verify", "job-lifecycle", "--since-start", "--output", &directory.to_string_lossy()], 0)?;
    let kept: Vec<PathBuf> =
        std::fs::read_dir(&directory)?.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<_>>()?;
    let file = kept.iter().find(|path| path.extension().is_some_and(|ending| ending == "html")).ok_or("no page")?;
    let document = looked_at(file, "verify", true)?;
    assert!(document.contains(">PARITY<") && document.contains("By source partition"), "{document}");
    assert!(document.matches("<rect").count() >= 11, "a bar for each partition: {document}");
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}

/// The tables of the README, and each alert's own runbook and test.
#[tokio::test]
#[ignore = "needs Prometheus: tests/run"]
async fn every_alert_is_documented_and_nothing_else_is() -> Result<()> {
    let prometheus = Prometheus::start("nothing", "127.0.0.1:1").await?;
    let rules = prometheus.rules().await?;
    let readme = std::fs::read_to_string(repository().join("deploy/prometheus/README.md"))?;
    let alerts: Vec<&Value> = rules.iter().filter(|rule| rule["type"] == "alerting").collect();
    let table: Vec<Value> = rules_as_written()?;
    let mut lines = Vec::new();
    for (alert, (name, severity, lasting, summary)) in alerts.iter().zip(table.iter().map(written)) {
        assert_eq!(alert["name"], name.as_str(), "the rules are read in their order");
        lines.push(format!("| [{name}](../runbooks/alerts/{name}.md) | {severity} | {lasting} | {summary} |"));
    }
    let lines = lines.join("\n");
    assert!(readme.contains(&lines), "deploy/prometheus/README.md lacks this table:\n{lines}");
    let names: BTreeSet<String> = names_of(&alerts);
    let of = |directory: &str, ending: &str| -> Result<BTreeSet<String>> {
        Ok(files(directory, ending)?.iter().map(|file| stem(file)).filter(|stem| stem != "README").collect())
    };
    assert_eq!(of("deploy/prometheus/tests", "yml")?, names, "each alert has a test, and each test its alert");
    assert_eq!(of("deploy/runbooks/alerts", "md")?, names, "each alert has a runbook, and each runbook its alert");
    Ok(())
}

fn names_of(alerts: &[&Value]) -> BTreeSet<String> {
    alerts.iter().filter_map(|alert| alert["name"].as_str().map(str::to_owned)).collect()
}

/// The alerts as they are written: Prometheus was given the faster ones.
fn rules_as_written() -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(repository().join("deploy/prometheus/rules/alerts.yml"))?;
    let mut alerts = Vec::new();
    for block in text.split("- alert: ").skip(1) {
        let after = |key: &str| {
            block
                .lines()
                .find_map(|line| line.trim().strip_prefix(key))
                .unwrap_or_default()
                .trim_matches('\'')
                .to_owned()
        };
        let lasting =
            Some(after("for: ")).filter(|lasting| !lasting.is_empty()).unwrap_or_else(|| "at once".to_owned());
        let name = block.lines().next().unwrap_or_default();
        alerts.push(serde_json::json!([name, after("severity: "), lasting, after("summary: ")]));
    }
    Ok(alerts)
}

/// Name, severity, for how long, and what it says, with the names of templates in place of their values.
fn written(alert: &Value) -> (String, String, String, String) {
    let text = |index: usize| alert[index].as_str().unwrap_or_default().to_owned();
    let mut summary = text(3);
    for (template, word) in [
        ("$labels.stream", "the stream"),
        ("$labels.server", "a server"),
        ("$labels.topic", "a topic"),
        ("$labels.partition", "partition"),
        ("$labels.instance", "a replica"),
        ("$value", "n"),
    ] {
        summary = summary.replace(&format!("{{{{ {template} }}}}"), &format!("*{word}*"));
    }
    (text(0), text(1), text(2), summary)
}

/// Every dashboard can be found by Grafana, and its panels take their data source from its variable.
#[test]
fn dashboards_are_sound() -> Result<()> {
    let mut uids = BTreeSet::new();
    for file in files("deploy/grafana/dashboards", "json")? {
        let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(&file)?)?;
        assert!(uids.insert(dashboard["uid"].to_string()), "{}: its uid is another's", file.display());
        let variables: Vec<&str> =
            dashboard["templating"]["list"].as_array().unwrap().iter().filter_map(|it| it["name"].as_str()).collect();
        assert!(variables.contains(&"datasource") && variables.contains(&"stream"), "{variables:?}");
        let mut ids = BTreeSet::new();
        for panel in dashboard["panels"].as_array().unwrap() {
            assert!(ids.insert(panel["id"].as_u64()), "{}: two panels have one id", panel["title"]);
            if panel["type"] != "row" {
                assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
                let place = &panel["gridPos"];
                assert!(place["x"].as_u64().unwrap() + place["w"].as_u64().unwrap() <= 24, "{}", panel["title"]);
            }
        }
        let sound = queries(&dashboard).iter().all(|(_, query)| !substituted(query).contains('$'));
        assert!(sound, "a variable that the dashboard does not have");
    }
    assert_eq!(uids.len(), 2);
    Ok(())
}

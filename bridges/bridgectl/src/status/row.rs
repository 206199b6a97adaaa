//! One bridge, summed up: the line of the table, and its JSON. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::facts::{Facts, Said};
use super::figures::Buckets;

/// What an operator sees of one bridge.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) stream: String,
    pub(super) state: String,
    /// Those that answer, and all.
    pub(super) replicas: (usize, usize),
    pub(super) in_per_second: Option<f64>,
    pub(super) out_per_second: Option<f64>,
    pub(super) lag_records: Option<u64>,
    pub(super) lag_seconds: Option<f64>,
    pub(super) p99_seconds: Option<f64>,
    /// Since the replicas were started; of a dead bridge those in its topic that are not settled.
    pub(super) dead_letters: Option<u64>,
    /// Fields that the contract lacks.
    pub(super) drift_fields: Option<usize>,
    pub(super) last_error: Option<String>,
    /// How many partitions are in each state.
    pub(super) partitions: BTreeMap<String, usize>,
    /// What is wrong, in words; nothing: all is well.
    pub(super) problems: Vec<String>,
}

impl Row {
    /// Sums up.
    pub(super) fn of(facts: &Facts) -> Self {
        let said: Vec<&Said> = facts.said().collect();
        let partitions: Vec<&Value> = said.iter().flat_map(|said| list(&said.status["partitions"])).collect();
        let mut states = BTreeMap::new();
        for partition in &partitions {
            *states.entry(text(&partition["state"])).or_default() += 1;
        }
        let is_dead = said.is_empty();
        let unowned = unowned(facts, &partitions);
        let mut row = Self {
            stream: facts.stream.clone(),
            state: state(&said, &states),
            replicas: (said.len(), facts.replicas.len()),
            in_per_second: rate(&said, |figures| figures.received),
            out_per_second: rate(&said, |figures| figures.published),
            lag_records: None,
            lag_seconds: None,
            p99_seconds: p99(&said),
            dead_letters: match is_dead {
                true => facts.dead_letters,
                false => Some(said.iter().map(|said| said.figures.dead_lettered as u64).sum()),
            },
            drift_fields: (!is_dead).then(|| drift(&said)),
            last_error: said.iter().find_map(|said| said.status["last_error"].as_str().map(str::to_owned)),
            partitions: states,
            problems: Vec::new(),
        };
        row.lag(facts, &partitions, is_dead, unowned.1);
        row.find_problems(facts, &said, &partitions, unowned.0);
        row
    }

    /// Of a bridge that runs, by its own word and what nobody has; of a dead one by the brokers'.
    fn lag(&mut self, facts: &Facts, partitions: &[&Value], is_dead: bool, unowned_records: u64) {
        let oldest = facts.sources.iter().filter_map(|source| source.oldest_seconds).reduce(f64::max);
        if is_dead {
            // A part of it would look like all of it.
            if !facts.has_all_sources || facts.sources.is_empty() {
                return;
            }
            self.lag_records = Some(facts.sources.iter().flat_map(|source| source.behind.values()).sum());
            self.lag_seconds = oldest.or_else(|| self.lag_records.filter(|lag| *lag == 0).map(|_| 0.0));
            return;
        }
        let own: Vec<u64> = partitions.iter().filter_map(|partition| partition["lag_records"].as_u64()).collect();
        self.lag_records = (!own.is_empty() || unowned_records > 0).then(|| own.iter().sum::<u64>() + unowned_records);
        let own = partitions.iter().filter_map(|partition| partition["lag_seconds"].as_f64()).reduce(f64::max);
        self.lag_seconds = own.or(oldest.filter(|_| unowned_records > 0));
    }

    fn find_problems(&mut self, facts: &Facts, said: &[&Said], partitions: &[&Value], unowned: usize) {
        for (replica, answer) in &facts.replicas {
            if let Err(problem) = answer {
                self.problems.push(format!("{replica}: {problem}"));
            }
        }
        for said in said {
            self.problems.extend(said.unready.clone());
        }
        for partition in partitions.iter().filter(|partition| partition["state"] == "stopped") {
            let (topic, number) = (text(&partition["topic"]), &partition["partition"]);
            let problem = format!("{topic}/{number} is stopped");
            // Mostly /readyz has said so already, with the reason.
            if !self.problems.iter().any(|known| known.contains(&problem)) {
                self.problems.push(problem);
            }
        }
        let is_mirroring = said.iter().any(|said| said.status["state"] == "running");
        if unowned > 0 && is_mirroring {
            self.problems.push(format!("{unowned} partitions are nobody's"));
        }
    }

    /// Whether nothing is wrong.
    pub(super) fn is_well(&self) -> bool {
        self.problems.is_empty()
    }

    /// A format that others read: fields are only added.
    pub(super) fn to_json(&self, facts: &Facts) -> Value {
        let replica = |(name, said): &(String, Result<Said, String>)| match said {
            Ok(said) => json!({
                "address": name, "state": said.status["state"], "version": said.status["version"],
                "uptime_seconds": said.status["uptime_seconds"], "error": null,
            }),
            Err(problem) => json!({
                "address": name, "state": "dead", "version": null, "uptime_seconds": null, "error": problem,
            }),
        };
        json!({
            "stream": self.stream, "state": self.state, "well": self.is_well(),
            "replicas": facts.replicas.iter().map(replica).collect::<Vec<_>>(),
            "in_per_second": self.in_per_second, "out_per_second": self.out_per_second,
            "lag_records": self.lag_records, "lag_seconds": self.lag_seconds, "p99_seconds": self.p99_seconds,
            "dead_letters": self.dead_letters, "drift_fields": self.drift_fields, "last_error": self.last_error,
            "partitions": self.partitions, "problems": self.problems,
        })
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The state in a word or two: what most needs to be seen wins.
fn state(said: &[&Said], partitions: &BTreeMap<String, usize>) -> String {
    if said.is_empty() {
        return "dead".to_owned();
    }
    let all: usize = partitions.values().sum();
    let bridges: BTreeSet<String> = said.iter().map(|said| text(&said.status["state"])).collect();
    let of_bridges = ["draining", "starting", "paused", "running", "standing-by"];
    let of_bridges = of_bridges.into_iter().find(|state| bridges.contains(*state)).unwrap_or("unknown").to_owned();
    let odd =
        |state: &str| partitions.get(state).filter(|count| **count > 0).map(|count| format!("{count}/{all} {state}"));
    match odd("stopped") {
        Some(stopped) => stopped,
        None if of_bridges == "running" => {
            let odd = ["waiting-for-name", "opening", "paused", "draining"].into_iter().find_map(odd);
            odd.unwrap_or(of_bridges)
        }
        None => of_bridges,
    }
}

/// Partitions of Kafka topics that no replica has, and their records. Queues have an owner or wait for one, and say so.
fn unowned(facts: &Facts, partitions: &[&Value]) -> (usize, u64) {
    let owned: BTreeSet<(String, u64)> =
        partitions.iter().map(|it| (text(&it["topic"]), it["partition"].as_u64().unwrap_or_default())).collect();
    let all = facts.sources.iter().flat_map(|source| {
        source.behind.iter().map(|(partition, behind)| (source.name.clone(), u64::from(*partition), *behind))
    });
    let nobodys = all.filter(|(topic, partition, _)| !owned.contains(&(topic.clone(), *partition)));
    nobodys.fold((0, 0), |(count, records), (.., behind)| (count + 1, records + behind))
}

fn rate(said: &[&Said], figure: impl Fn(&super::figures::Figures) -> f64) -> Option<f64> {
    let rates = said.iter().filter_map(|said| {
        let (before, seconds) = said.before.as_ref()?;
        Some((figure(&said.figures) - figure(before)).max(0.0) / seconds.max(0.001))
    });
    rates.reduce(|sum, rate| sum + rate)
}

/// Of what came between the two looks.
fn p99(said: &[&Said]) -> Option<f64> {
    let mut all = Buckets::default();
    for said in said {
        if let Some((before, _)) = &said.before {
            all.add(&said.figures.end_to_end.since(&before.end_to_end));
        }
    }
    all.quantile(0.99)
}

/// Fields that any replica has met, each once.
fn drift(said: &[&Said]) -> usize {
    let fields = said.iter().flat_map(|said| list(&said.status["contract_drift"]["fields"]));
    fields.map(|field| text(&field["field"])).collect::<BTreeSet<_>>().len()
}

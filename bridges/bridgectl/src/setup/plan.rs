//! The plan: a pure function of what is there and what is wanted.

use std::collections::BTreeMap;
use std::fmt;

use bridge_common::admin::TopicPolicy;
use bridge_common::config::TopicName;
use serde_json::{Value, json};

use super::difference;
use super::wanted::{Wanted, WantedTopic};

/// What is there, of what is wanted.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Observed {
    pub(super) namespaces: BTreeMap<String, ObservedNamespace>,
    pub(super) topics: BTreeMap<TopicName, ObservedTopic>,
    /// The retention where neither topic nor namespace has one; `None`: it was not told, or nobody has to know.
    pub(super) broker_retention: Option<Value>,
}

/// An existing namespace.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct ObservedNamespace {
    /// Its own rule about topics that spring into being.
    pub(super) auto_creation: Option<bool>,
    /// Its own retention.
    pub(super) retention: Option<Value>,
}

/// An existing topic.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ObservedTopic {
    /// 0: not partitioned.
    pub(super) partitions: u32,
    pub(super) policies: BTreeMap<TopicPolicy, Value>,
    /// The retention that holds for it, its own or another's, where it was told.
    pub(super) kept: Option<Value>,
    /// The versions of the schema, the newest last: kind and definition.
    pub(super) schemas: Vec<(String, String)>,
    /// Whether the contract, where it is an earlier version, goes with the newer ones.
    pub(super) takes_contract: bool,
}

impl Default for ObservedTopic {
    fn default() -> Self {
        Self { partitions: 0, policies: BTreeMap::new(), kept: None, schemas: Vec::new(), takes_contract: true }
    }
}

impl ObservedTopic {
    /// Whether the contract is among the versions. That is all that a bridge needs: it names the version with what it
    /// writes, and the broker makes no second version of one that it has.
    fn has_contract(&self, contract: &str) -> bool {
        self.schemas.iter().any(|(kind, text)| kind == "AVRO" && same_schema(text, contract))
    }

    /// Whether the contract is a version, and not the newest: after a bridge of a newer version has written.
    pub(super) fn contract_is_earlier(&self, contract: &str) -> bool {
        let newest = self.schemas.last();
        self.has_contract(contract) && newest.is_some_and(|(_, text)| !same_schema(text, contract))
    }
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    CreateNamespace(String),
    ForbidAutoCreation {
        namespace: String,
        from: Option<bool>,
    },
    /// How long what is in the namespace is kept, where a topic has no retention, or where Pulsar passes over the one it has.
    KeepInNamespace {
        namespace: String,
        to: Value,
    },
    CreateTopic {
        topic: TopicName,
        partitions: Option<u32>,
    },
    SetPolicy {
        topic: TopicName,
        policy: TopicPolicy,
        from: Option<Value>,
        to: Value,
    },
    /// `replaces`: the newest version that is there.
    UploadSchema {
        topic: TopicName,
        schema: String,
        replaces: Option<String>,
    },
}

/// What to do, in this order, and what only a person can settle.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) changes: Vec<Change>,
    pub(super) findings: Vec<String>,
}

/// Compares. Policies come before schemas, and deduplication before the other policies, so that it is on before anybody
/// can write.
pub(super) fn plan(wanted: &Wanted, observed: &Observed) -> Plan {
    let mut plan = Plan::default();
    for namespace in wanted.namespaces.keys() {
        plan_namespace(namespace, observed, &mut plan);
    }
    for (topic, want) in &wanted.topics {
        match observed.topics.get(topic) {
            None => {
                plan.changes.push(Change::CreateTopic { topic: topic.clone(), partitions: want.partitions });
                plan_topic(topic, want, &ObservedTopic::default(), &mut plan);
            }
            Some(there) => {
                plan.findings.extend(partitions_finding(topic, want, there));
                plan_topic(topic, want, there, &mut plan);
            }
        }
    }
    // Last: should Pulsar refuse one, all else is there.
    for (namespace, keeps) in &wanted.namespaces {
        plan.changes.extend(keeps.as_ref().and_then(|keeps| keep_in_namespace(namespace, keeps, observed)));
    }
    plan
}

fn plan_namespace(namespace: &str, observed: &Observed, plan: &mut Plan) {
    let there = observed.namespaces.get(namespace);
    if there.is_none() {
        plan.changes.push(Change::CreateNamespace(namespace.to_owned()));
    }
    let from = there.and_then(|there| there.auto_creation);
    if from != Some(false) {
        plan.changes.push(Change::ForbidAutoCreation { namespace: namespace.to_owned(), from });
    }
}

/// Only where the namespace has no retention of its own: that is somebody's decision, for topics that are not ours as well. The broker's
/// default, which it takes the place of, is lengthened and never shortened; where it is not known, nothing is done, and `check` tells.
fn keep_in_namespace(namespace: &str, wanted: &Value, observed: &Observed) -> Option<Change> {
    let to = match (observed.namespaces.get(namespace), &observed.broker_retention) {
        (Some(ObservedNamespace { retention: Some(_), .. }), _) => return None,
        (_, Some(default)) => Some(longer_retention(default, wanted)).filter(|to| to != default)?,
        // Nobody has anything there yet.
        (None, None) => wanted.clone(),
        (Some(_), None) => return None,
    };
    Some(Change::KeepInNamespace { namespace: namespace.to_owned(), to })
}

fn partitions_finding(topic: &TopicName, want: &WantedTopic, there: &ObservedTopic) -> Option<String> {
    let counted = |partitions: u32| match partitions {
        0 => "is not partitioned".to_owned(),
        1 => "has 1 partition".to_owned(),
        many => format!("has {many} partitions"),
    };
    let wanted = want.partitions.unwrap_or(0);
    (there.partitions != wanted).then(|| {
        let advice = match want.partitions {
            Some(_) => "adapt setup.partitions, or change the topic yourself",
            None => "delete it while no bridge runs, if nothing else uses it",
        };
        format!(
            "{topic} {}, where the configuration wants one that {}: {advice}",
            counted(there.partitions),
            counted(wanted)
        )
    })
}

fn plan_topic(topic: &TopicName, want: &WantedTopic, there: &ObservedTopic, plan: &mut Plan) {
    for (policy, value) in &want.policies {
        let from = there.policies.get(policy);
        // What it rests on now, where it has none of its own.
        let rests_on = there.kept.as_ref().filter(|_| *policy == TopicPolicy::Retention);
        let to = policy_value(*policy, from.or(rests_on), value);
        if from != Some(&to) {
            plan.changes.push(Change::SetPolicy { topic: topic.clone(), policy: *policy, from: from.cloned(), to });
        }
    }
    if let Some(schema) = &want.schema {
        plan_schema(topic, schema, there, plan);
    }
}

fn plan_schema(topic: &TopicName, schema: &str, there: &ObservedTopic, plan: &mut Plan) {
    match there.schemas.last() {
        Some((kind, _)) if kind != "AVRO" => plan.findings.push(format!(
            "{topic} has a schema of the kind {kind}: Avro cannot follow it. Choose another target.topic"
        )),
        _ if there.has_contract(schema) && !there.takes_contract => plan.findings.push(format!(
            "{topic} has a newer schema than the contract, which cannot read what was written under it: use the newer \
             contract, or another target.topic"
        )),
        _ if there.has_contract(schema) => {}
        newest => plan.changes.push(Change::UploadSchema {
            topic: topic.clone(),
            schema: schema.to_owned(),
            replaces: newest.map(|(_, text)| text.clone()),
        }),
    }
}

/// What it should be, by what holds now. A retention is only ever lengthened: shortening one deletes data.
fn policy_value(policy: TopicPolicy, from: Option<&Value>, wanted: &Value) -> Value {
    match (policy, from) {
        (TopicPolicy::Retention, Some(from)) => longer_retention(from, wanted),
        (TopicPolicy::InactiveTopics, Some(from)) if from["deleteWhileInactive"] == json!(false) => from.clone(),
        _ => wanted.clone(),
    }
}

fn longer_retention(a: &Value, b: &Value) -> Value {
    let longer = |key: &str| match (a[key].as_i64().unwrap_or(0), b[key].as_i64().unwrap_or(0)) {
        (a, b) if a < 0 || b < 0 => -1,
        (a, b) => a.max(b),
    };
    json!({
        "retentionTimeInMinutes": longer("retentionTimeInMinutes"),
        "retentionSizeInMB": longer("retentionSizeInMB"),
    })
}

/// Whether the broker takes two schemas for the same version: white space, docs and aliases make none.
fn same_schema(a: &str, b: &str) -> bool {
    let parsed = |text| {
        let mut schema = serde_json::from_str::<Value>(text).ok()?;
        remove_words(&mut schema);
        Some(schema)
    };
    matches!((parsed(a), parsed(b)), (Some(a), Some(b)) if a == b)
}

/// Removes docs and aliases, only where schemas stand: never inside a default.
fn remove_words(schema: &mut Value) {
    match schema {
        Value::Array(branches) => branches.iter_mut().for_each(remove_words),
        Value::Object(attributes) => {
            ["doc", "aliases"].iter().for_each(|words| drop(attributes.remove(*words)));
            for inner in ["type", "items", "values", "fields"] {
                attributes.get_mut(inner).into_iter().for_each(remove_words);
            }
        }
        _ => {}
    }
}

impl Change {
    /// Whether it is about this namespace or this topic.
    pub(super) fn is_about(&self, namespace: &str, topic: &TopicName) -> bool {
        match self {
            Self::CreateNamespace(name) | Self::ForbidAutoCreation { namespace: name, .. } => name == namespace,
            // It comes last, wherever.
            Self::KeepInNamespace { .. } => false,
            Self::CreateTopic { topic: name, .. }
            | Self::SetPolicy { topic: name, .. }
            | Self::UploadSchema { topic: name, .. } => name == topic,
        }
    }

    /// Whether it makes something new, as opposed to changing what is there.
    pub(super) fn creates(&self) -> bool {
        matches!(self, Self::CreateNamespace(_) | Self::CreateTopic { .. } | Self::UploadSchema { replaces: None, .. })
    }

    /// As JSON: subject, what, from, to.
    pub(super) fn to_json(&self) -> Value {
        let (subject, what, from, to) = match self {
            Self::CreateNamespace(namespace) => (namespace.clone(), "namespace", Value::Null, json!("created")),
            Self::ForbidAutoCreation { namespace, from } => {
                (namespace.clone(), "autoTopicCreation", json!(from), json!(false))
            }
            Self::KeepInNamespace { namespace, to } => (namespace.clone(), "retention", Value::Null, to.clone()),
            Self::CreateTopic { topic, partitions } => {
                (topic.to_string(), "topic", Value::Null, json!({ "partitions": partitions }))
            }
            Self::SetPolicy { topic, policy, from, to } => (topic.to_string(), policy.name(), json!(from), to.clone()),
            Self::UploadSchema { topic, replaces, .. } => {
                (topic.to_string(), "schema", json!(replaces.is_some()), json!("the contract"))
            }
        };
        json!({ "subject": subject, "what": what, "from": from, "to": to, "differences": self.differences() })
    }

    /// What differs within it, line by line, where it has parts.
    pub(super) fn differences(&self) -> Vec<String> {
        match self {
            Self::SetPolicy { from, to, .. } => difference::policy(from.as_ref(), to),
            Self::UploadSchema { schema, replaces: Some(before), .. } => difference::schema(before, schema),
            _ => Vec::new(),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_unset = |value: Option<String>| value.unwrap_or_else(|| "(unset)".to_owned());
        match self {
            Self::CreateNamespace(namespace) => write!(f, "+ namespace {namespace}"),
            Self::ForbidAutoCreation { namespace, from } => {
                write!(
                    f,
                    "~ namespace {namespace}: autoTopicCreation {} -> false",
                    or_unset(from.map(|on| on.to_string()))
                )
            }
            Self::KeepInNamespace { namespace, to } => {
                write!(f, "~ namespace {namespace}: retention (unset) -> {to}")
            }
            Self::CreateTopic { topic, partitions: Some(1) } => write!(f, "+ topic {topic}, 1 partition"),
            Self::CreateTopic { topic, partitions: Some(count) } => write!(f, "+ topic {topic}, {count} partitions"),
            Self::CreateTopic { topic, partitions: None } => write!(f, "+ topic {topic}, not partitioned"),
            Self::SetPolicy { topic, policy, from, to } => {
                let from = or_unset(from.as_ref().map(Value::to_string));
                write!(f, "~ topic {topic}: {} {from} -> {to}", policy.name())
            }
            Self::UploadSchema { topic, replaces: Some(_), .. } => {
                write!(f, "~ topic {topic}: a new version of the schema, the contract")
            }
            Self::UploadSchema { topic, .. } => write!(f, "+ topic {topic}: the schema, the contract"),
        }
    }
}

//! Names of Pulsar topics.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A persistent Pulsar topic: `persistent://tenant/namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName {
    /// The tenant.
    pub tenant: String,
    /// The namespace, without the tenant.
    pub namespace: String,
    /// The topic's own name, without `-partition-N`.
    pub name: String,
}

impl TopicName {
    /// The namespace as Pulsar's admin API wants it: `tenant/namespace`.
    pub fn full_namespace(&self) -> String {
        format!("{}/{}", self.tenant, self.namespace)
    }

    /// Another topic in the same namespace.
    pub fn sibling(&self, name: &str) -> Self {
        Self { tenant: self.tenant.clone(), namespace: self.namespace.clone(), name: name.to_owned() }
    }

    /// The full name of one partition of this topic.
    pub fn partition(&self, partition: u32) -> String {
        format!("{self}-partition-{partition}")
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "persistent://{}/{}/{}", self.tenant, self.namespace, self.name)
    }
}

impl FromStr for TopicName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is not a topic: write persistent://<tenant>/<namespace>/<name>");
        let rest = text.strip_prefix("persistent://").ok_or_else(wrong)?;
        let mut parts = rest.split('/');
        let (Some(tenant), Some(namespace), Some(name), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong());
        };
        if [tenant, namespace, name].iter().any(|part| !is_plain(part)) {
            return Err(wrong());
        }
        if let Some((_, number)) = name.rsplit_once("-partition-")
            && number.parse::<u32>().is_ok()
        {
            return Err(format!("\"{text}\" is one partition: name the whole topic, without -partition-{number}"));
        }
        Ok(Self { tenant: tenant.to_owned(), namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

/// The characters that need no escaping in any of Pulsar's interfaces.
pub(super) fn is_plain(part: &str) -> bool {
    !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_=.:".contains(c))
}

impl<'de> Deserialize<'de> for TopicName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Serialize for TopicName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

//! Namespaces and what the brokers themselves are told.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Admin, AdminError, existing_is_fine};

/// What is kept where neither topic nor namespace has a retention, out of [`Admin::broker_settings`], in the form of a policy.
/// `None` where the settings do not say so: whoever stands between may show only some of them.
pub fn default_retention(broker_settings: &Value) -> Option<Value> {
    let part = |name: &str| match &broker_settings[name] {
        Value::String(text) => text.parse::<i64>().ok(),
        other => other.as_i64(),
    };
    Some(json!({
        "retentionTimeInMinutes": part("defaultRetentionTimeInMinutes")?,
        "retentionSizeInMB": part("defaultRetentionSizeInMB")?,
    }))
}

impl Admin {
    /// The tenant's namespaces, as `tenant/namespace`.
    pub async fn namespaces(&self, tenant: &str) -> Result<Vec<String>, AdminError> {
        self.get(&format!("namespaces/{tenant}")).await
    }

    /// Creates `tenant/namespace`. The tenant must exist. No error where it exists already.
    pub async fn create_namespace(&self, namespace: &str) -> Result<(), AdminError> {
        existing_is_fine(self.send(Method::PUT, &format!("namespaces/{namespace}"), None).await)
    }

    /// The namespace's own rule about topics that spring into being; `None`: the broker's rule holds.
    pub async fn auto_topic_creation(&self, namespace: &str) -> Result<Option<bool>, AdminError> {
        let rule: Option<Value> = self.get(&format!("namespaces/{namespace}/autoTopicCreation")).await?;
        Ok(rule.and_then(|rule| rule.get("allowAutoTopicCreation")?.as_bool()))
    }

    /// Forbids topics that spring into being by a mere connection.
    pub async fn forbid_auto_topic_creation(&self, namespace: &str) -> Result<(), AdminError> {
        let rule = json!({ "allowAutoTopicCreation": false });
        self.send(Method::POST, &format!("namespaces/{namespace}/autoTopicCreation"), Some(&rule)).await.map(drop)
    }

    /// One of the namespace's policies, as it is set there; `Null`: the broker's holds.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn namespace_policy(&self, namespace: &str, policy: &str) -> Result<Value, AdminError> {
        self.get(&format!("namespaces/{namespace}/{policy}")).await
    }

    /// Sets how long what is in the namespace is kept, where a topic has no rule of its own: `{"retentionTimeInMinutes",
    /// "retentionSizeInMB"}`, -1 for no limit.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn set_namespace_retention(&self, namespace: &str, retention: &Value) -> Result<(), AdminError> {
        self.send(Method::POST, &format!("namespaces/{namespace}/retention"), Some(retention)).await.map(drop)
    }

    /// The settings with which the broker runs that answers, by their names in `broker.conf`. Wants a role with rights on the
    /// whole cluster.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn broker_settings(&self) -> Result<Value, AdminError> {
        self.get("brokers/configuration/runtime").await
    }

    /// Whether the API answers at all, which is what anybody may ask.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn clusters(&self) -> Result<Vec<String>, AdminError> {
        self.get("clusters").await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_that_is_not_told_is_none_and_never_nothing() {
        let told = json!({ "defaultRetentionTimeInMinutes": "-1", "defaultRetentionSizeInMB": 100 });
        let retention = json!({ "retentionTimeInMinutes": -1, "retentionSizeInMB": 100 });
        assert_eq!(default_retention(&told), Some(retention));
        for untold in [json!({}), Value::Null, json!({ "defaultRetentionTimeInMinutes": "-1" })] {
            assert_eq!(default_retention(&untold), None);
        }
    }
}

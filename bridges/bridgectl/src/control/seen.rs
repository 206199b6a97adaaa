//! Whether replicas do what they were told. Pure.

use serde_json::Value;

/// What an operator wants of a bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// These partitions read nothing; without any: none of them does.
    Paused { topic: Option<String>, partitions: Vec<u32> },
    /// These partitions read again; without any: all.
    Resumed { topic: Option<String>, partitions: Vec<u32> },
    /// No replica has a partition.
    Drained,
}

impl Wanted {
    /// The single partitions that it is about.
    pub(super) fn partitions(&self) -> &[u32] {
        match self {
            Self::Paused { partitions, .. } | Self::Resumed { partitions, .. } => partitions,
            Self::Drained => &[],
        }
    }

    /// Of which topic they are.
    pub(super) fn topic(&self) -> Option<&str> {
        match self {
            Self::Paused { topic, .. } | Self::Resumed { topic, .. } => topic.as_deref(),
            Self::Drained => None,
        }
    }

    /// What has to be confirmed: that a whole bridge stops to mirror. `None`: it is about less than that.
    pub(super) fn question(&self, stream: &str) -> Option<String> {
        match self {
            Self::Paused { partitions, .. } if partitions.is_empty() => {
                Some(format!("Every replica of {stream} reads nothing until it is resumed or started again."))
            }
            Self::Drained => Some(format!("Every replica of {stream} leaves its sources until it is started again.")),
            Self::Paused { .. } | Self::Resumed { .. } => None,
        }
    }

    /// As the bridge's HTTP wants it.
    pub(super) fn query(&self) -> Vec<(&'static str, String)> {
        let mut query: Vec<(&str, String)> =
            self.partitions().iter().map(|partition| ("partition", partition.to_string())).collect();
        query.extend(self.topic().map(|topic| ("topic", topic.to_owned())));
        query
    }

    fn is_about(&self, partition: &Value) -> bool {
        let number = partition["partition"].as_u64();
        (self.partitions().is_empty() || self.partitions().iter().any(|wanted| Some(u64::from(*wanted)) == number))
            && self.topic().is_none_or(|topic| partition["topic"] == topic)
    }
}

/// Why replicas with these `/status`es never do it, however long it is waited for; `None`: they may.
pub(super) fn never_done(wanted: &Wanted, statuses: &[Value]) -> Option<String> {
    let drained = statuses.iter().filter(|status| status["state"] == "draining").count();
    // It takes the order, and has left its sources for good: nothing would read again.
    (matches!(wanted, Wanted::Resumed { .. }) && drained > 0).then(|| {
        format!(
            "{drained} of {} replicas were drained, or are about to stop: these read again only when they are started again",
            statuses.len()
        )
    })
}

/// Whether replicas with these `/status`es do it; else what is left, in words.
pub(super) fn is_done(wanted: &Wanted, statuses: &[Value]) -> Result<(), String> {
    if statuses.is_empty() {
        return Err("no replica answers".to_owned());
    }
    let partitions = || statuses.iter().flat_map(|status| status["partitions"].as_array().into_iter().flatten());
    let concerned: Vec<&Value> = partitions().filter(|partition| wanted.is_about(partition)).collect();
    // What is stopped does nothing, paused or not.
    let is_left = |partition: &&&Value| match (wanted, partition["state"].as_str().unwrap_or_default()) {
        (Wanted::Paused { .. }, state) => !matches!(state, "paused" | "stopped"),
        (Wanted::Resumed { .. }, state) => !matches!(state, "running" | "stopped" | "waiting-for-name"),
        (Wanted::Drained, _) => true,
    };
    let left: Vec<String> = concerned
        .iter()
        .filter(is_left)
        .map(|it| {
            format!(
                "{}/{} is {}",
                it["topic"].as_str().unwrap_or_default(),
                it["partition"],
                it["state"].as_str().unwrap_or_default()
            )
        })
        .collect();
    let missing: Vec<String> = wanted
        .partitions()
        .iter()
        .filter(|wanted| !concerned.iter().any(|it| it["partition"].as_u64() == Some(u64::from(**wanted))))
        .map(|partition| format!("no replica has partition {partition} now"))
        .collect();
    let mut left = [left, missing].concat();
    // Without a partition nothing reads, whatever was said to nobody.
    if matches!(wanted, Wanted::Resumed { .. }) && concerned.is_empty() && left.is_empty() {
        left.push("no replica has a partition now".to_owned());
    }
    if left.is_empty() { Ok(()) } else { Err(left.join("; ")) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn replica(partitions: &[(u32, &str)]) -> Value {
        let partitions: Vec<Value> = partitions
            .iter()
            .map(|(number, state)| json!({ "topic": "jobs", "partition": number, "state": state }))
            .collect();
        json!({ "partitions": partitions })
    }

    fn paused(partitions: &[u32]) -> Wanted {
        Wanted::Paused { topic: None, partitions: partitions.to_vec() }
    }

    #[test]
    fn a_pause_is_done_when_what_it_is_about_is_paused_wherever_it_is() {
        let both = [replica(&[(0, "paused"), (1, "running")]), replica(&[(2, "draining")])];
        assert_eq!(is_done(&paused(&[0]), &both), Ok(()));
        assert_eq!(is_done(&paused(&[2]), &both), Err("jobs/2 is draining".to_owned()));
        assert_eq!(is_done(&paused(&[]), &both), Err("jobs/1 is running; jobs/2 is draining".to_owned()));
        assert_eq!(is_done(&paused(&[7]), &both), Err("no replica has partition 7 now".to_owned()));
        let of_another = Wanted::Paused { topic: Some("other".to_owned()), partitions: vec![0] };
        assert!(is_done(&of_another, &both).is_err());
    }

    #[test]
    fn a_drain_is_done_when_nothing_is_left_and_somebody_says_so() {
        assert_eq!(is_done(&Wanted::Drained, &[replica(&[])]), Ok(()));
        assert!(is_done(&Wanted::Drained, &[replica(&[(0, "draining")])]).is_err());
        assert!(is_done(&Wanted::Drained, &[]).is_err());
    }

    #[test]
    fn a_resume_is_done_when_something_reads_again_and_never_after_a_drain() {
        let resumed = Wanted::Resumed { topic: None, partitions: Vec::new() };
        assert_eq!(is_done(&resumed, &[replica(&[(0, "running")]), replica(&[])]), Ok(()));
        assert_eq!(is_done(&resumed, &[replica(&[])]), Err("no replica has a partition now".to_owned()));
        assert!(is_done(&resumed, &[replica(&[(0, "paused")])]).is_err());
        let (mut drained, running) = (replica(&[]), replica(&[(0, "running")]));
        drained["state"] = "draining".into();
        let problem = never_done(&resumed, &[drained.clone(), running.clone()]).unwrap();
        assert!(problem.contains("1 of 2 replicas") && problem.contains("started again"), "{problem}");
        assert_eq!(never_done(&resumed, &[running]), None);
        assert_eq!(never_done(&Wanted::Drained, &[drained]), None);
    }

    #[test]
    fn whole_bridges_are_not_stopped_unasked() {
        assert!(paused(&[]).question("demo").is_some_and(|question| question.contains("demo")));
        assert!(Wanted::Drained.question("demo").is_some());
        assert_eq!(paused(&[3]).question("demo"), None);
        assert_eq!(Wanted::Resumed { topic: None, partitions: Vec::new() }.question("demo"), None);
    }

    #[test]
    fn orders_name_partitions_and_topic_as_the_bridge_reads_them() {
        let wanted = Wanted::Resumed { topic: Some("jobs".to_owned()), partitions: vec![3, 4] };
        let query: Vec<(&str, String)> =
            vec![("partition", "3".to_owned()), ("partition", "4".to_owned()), ("topic", "jobs".to_owned())];
        assert_eq!(wanted.query(), query);
        assert!(paused(&[]).query().is_empty());
    }
}

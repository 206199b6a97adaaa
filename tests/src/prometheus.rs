//! A real Prometheus with the rules of `deploy/prometheus`, made faster: every length of time in them is divided, so that a test
//! sees in seconds what takes minutes. And what expressions are made of.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::http::get;
use crate::stack::{repository, unique};
use crate::{Result, wait};

/// By how much time is divided.
pub const FASTER: u64 = 20;

/// A running Prometheus; ended when dropped, and its data removed.
#[derive(Debug)]
pub struct Prometheus {
    child: Child,
    directory: PathBuf,
    address: String,
}

impl Prometheus {
    /// Starts one that scrapes a bridge of this stream every second and evaluates the rules as often.
    pub async fn start(stream: &str, bridge: &str) -> Result<Self> {
        let directory = repository().join("target").join(unique("prometheus"));
        std::fs::create_dir_all(directory.join("rules"))?;
        for entry in std::fs::read_dir(repository().join("deploy/prometheus/rules"))? {
            let path = entry?.path();
            let name = path.file_name().ok_or("a rule file has a name")?;
            std::fs::write(directory.join("rules").join(name), faster(&std::fs::read_to_string(&path)?))?;
        }
        let config = format!(
            "global: {{ scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }}\nrule_files: [rules/*.yml]\nscrape_configs:\n  \
             - job_name: stream-bridges\n    honor_labels: true\n    static_configs:\n      \
             - {{ targets: [\"{bridge}\"], labels: {{ stream: {stream} }} }}\n"
        );
        std::fs::write(directory.join("prometheus.yml"), config)?;
        let log = File::create(directory.join("log"))?;
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", directory.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", directory.join("data").display()))
            .args(["--web.listen-address=127.0.0.1:0", "--log.level=info"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|error| format!("prometheus: {error}: deploy/local/install tests"))?;
        let mut started = Self { child, directory, address: String::new() };
        started.address = started.listening().await?;
        Ok(started)
    }

    /// It says in its log where it listens.
    async fn listening(&self) -> Result<String> {
        let log = self.directory.join("log");
        wait::until("Prometheus to be ready", Duration::from_secs(60), async || {
            let text = std::fs::read_to_string(&log).map_err(|error| error.to_string())?;
            let line = text.lines().find(|line| line.contains("Listening on")).ok_or_else(|| text.clone())?;
            let address = line.split("address=").nth(1).and_then(|rest| rest.split_whitespace().next());
            let address = address.ok_or_else(|| line.to_owned())?.to_owned();
            match get(&format!("http://{address}/-/ready")).await {
                Ok((200, _)) => Ok(address),
                Ok((_, text)) => Err(text),
                Err(error) => Err(error.to_string()),
            }
        })
        .await
    }

    /// An answer of its API.
    pub async fn api(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value> {
        let url = reqwest::Url::parse_with_params(&format!("http://{}/api/v1/{path}", self.address), parameters)?;
        let (_, body) = get(url.as_str()).await?;
        let answer: Value = serde_json::from_str(&body)?;
        if answer["status"] == "success" { Ok(answer["data"].clone()) } else { Err(format!("{url}: {answer}").into()) }
    }

    /// The series that an expression gives now.
    pub async fn query(&self, expression: &str) -> Result<Vec<Value>> {
        let data = self.api("query", &[("query", expression)]).await?;
        Ok(data["result"].as_array().cloned().unwrap_or_default())
    }

    /// Waits until an expression gives something.
    pub async fn exists(&self, expression: &str) -> Result<()> {
        wait::until(expression, Duration::from_secs(60), async || match self.query(expression).await {
            Ok(series) if series.is_empty() => Err("there is nothing".to_owned()),
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        })
        .await
    }

    /// The alerts that are firing, by name, each with its labels and annotations.
    pub async fn firing(&self) -> Result<Vec<Value>> {
        let data = self.api("alerts", &[]).await?;
        let all = data["alerts"].as_array().cloned().unwrap_or_default();
        Ok(all.into_iter().filter(|alert| alert["state"] == "firing").collect())
    }

    /// Waits until an alert is firing, and gives it; or, with `false`, until it is not.
    pub async fn until(&self, name: &str, is_firing: bool, deadline: Duration) -> Result<Value> {
        let what = format!("{name} to be {}", if is_firing { "firing" } else { "over" });
        wait::until(&what, deadline, async || {
            let firing = self.firing().await.map_err(|error| error.to_string())?;
            let found = firing.iter().find(|alert| alert["labels"]["alertname"] == name).cloned();
            match (found, is_firing) {
                (Some(alert), true) => Ok(alert),
                (None, false) => Ok(Value::Null),
                _ => Err(format!("firing are {:?}", names(&firing))),
            }
        })
        .await
    }

    /// All rules as Prometheus has read them.
    pub async fn rules(&self) -> Result<Vec<Value>> {
        let data = self.api("rules", &[]).await?;
        let groups = data["groups"].as_array().cloned().unwrap_or_default();
        Ok(groups.iter().filter_map(|group| group["rules"].as_array().cloned()).flatten().collect())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// The names of alerts.
pub fn names(alerts: &[Value]) -> Vec<&str> {
    alerts.iter().filter_map(|alert| alert["labels"]["alertname"].as_str()).collect()
}

/// The files of a directory of the repository by their ending, in order.
pub fn files(directory: &str, ending: &str) -> Result<Vec<PathBuf>> {
    let all = std::fs::read_dir(repository().join(directory))?.map(|entry| entry.map(|entry| entry.path()));
    let mut all: Vec<PathBuf> = all.collect::<std::io::Result<_>>()?;
    all.retain(|path| path.extension().is_some_and(|extension| extension == ending));
    all.sort();
    Ok(all)
}

/// A file's name without its ending.
pub fn stem(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The rules with every length of time divided: ranges, offsets, `for`, and what is compared with a length of time.
fn faster(rules: &str) -> String {
    let mut text = String::new();
    for line in rules.lines() {
        let line = match line.split_once("* 0 + ") {
            Some((before, seconds)) => format!("{before}* 0 + {}", seconds.trim().parse().unwrap_or(60) / FASTER),
            None => line.replace("_seconds < 900)", &format!("_seconds < {})", 900 / FASTER)),
        };
        let mut rest = line.as_str();
        while let Some(at) =
            ["[", "offset ", "for: "].iter().filter_map(|mark| Some(rest.find(mark)? + mark.len())).min()
        {
            let (before, after) = rest.split_at(at);
            text += before;
            let digits = after.chars().take_while(char::is_ascii_digit).count();
            let unit = after[digits..].chars().next().and_then(seconds_of);
            rest = match (after[..digits].parse::<u64>(), unit) {
                (Ok(count), Some(unit)) => {
                    text += &format!("{}ms", count * unit * 1000 / FASTER);
                    &after[digits + 1..]
                }
                _ => after,
            };
        }
        text += rest;
        text.push('\n');
    }
    text
}

fn seconds_of(unit: char) -> Option<u64> {
    Some(match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return None,
    })
}

/// The selectors of an expression: each a metric's name with its matchers, as they are written.
pub fn selectors(expression: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = expression;
    // Behind these words come labels in brackets, and no metrics.
    const OF_LABELS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
    const WORDS: [&str; 5] = ["and", "or", "unless", "bool", "offset"];
    while let Some(start) =
        rest.find(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '"' || c == '[' || c.is_ascii_digit())
    {
        rest = &rest[start..];
        let first = rest.chars().next().unwrap_or_default();
        if first == '"' || first == '[' {
            let close = if first == '"' { '"' } else { ']' };
            rest = rest[1..].find(close).map_or("", |end| &rest[end + 2..]);
            continue;
        }
        let end =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':' || c == '.')).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let behind = after.trim_start();
        let next = behind.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
        rest = after;
        if OF_LABELS.contains(&word) {
            rest = behind.find(')').filter(|_| behind.starts_with('(')).map_or(after, |end| &behind[end + 1..]);
        } else if first.is_ascii_digit()
            || WORDS.contains(&word)
            || behind.starts_with('(')
            || ["by", "without"].contains(&next)
        {
            continue;
        } else if behind.starts_with('{') {
            let end = behind.find('}').map_or(behind.len(), |end| end + 1);
            found.push(format!("{word}{}", &behind[..end]));
            rest = &behind[end..];
        } else {
            found.push(word.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_found_with_their_matchers() {
        let expression = r#"sum by (stream, le) (rate(a_bucket{stream=~"x", le="+Inf"}[5m])) > bool on (stream) group_left () (14.4 * (1 - b:c:ratio))
            unless on (stream) (d offset 20m) or vector(0) and last_over_time(e{f="up(g)"}[6h] offset 15m) > 1e3"#;
        assert_eq!(selectors(expression), [r#"a_bucket{stream=~"x", le="+Inf"}"#, "b:c:ratio", "d", r#"e{f="up(g)"}"#]);
    }

    #[test]
    fn every_length_of_time_is_divided_and_nothing_else() {
        let rules =
            "expr: rate(a[5m]) > 15 unless b offset 20m\nfor: 1h\nexpr: x * 0 + 60\nstart_time_seconds < 900)\n1d";
        let divided = "expr: rate(a[15000ms]) > 15 unless b offset 60000ms\nfor: 180000ms\nexpr: x * 0 + 3\nstart_time_seconds < 45)\n1d\n";
        assert_eq!(faster(rules), divided);
    }
}

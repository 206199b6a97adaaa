//! When the certificates end that the configuration names: looked up again and again, since files are renewed under a bridge
//! that runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::certificates::first_end_in;
use crate::config::Config;
use crate::logging::events;
use crate::metrics::Metrics;

/// Towards which server, which kind of certificate, and where.
pub(super) type File = (&'static str, &'static str, PathBuf);

/// How often the files are read.
const LOOK: Duration = Duration::from_secs(60);

/// Tells the metrics, for as long as the process runs. A file that cannot be read is told of once; whoever needs it for a
/// connection says so, too.
pub(super) async fn watch(files: Vec<File>, metrics: Metrics) {
    if files.is_empty() {
        return;
    }
    let mut said = BTreeMap::new();
    loop {
        for (server, kind, file) in &files {
            match first_end(file.clone()).await {
                Ok(end) => {
                    metrics.certificate_ends(server, kind, end);
                    said.remove(file);
                }
                Err(problem) if said.get(file) != Some(&problem) => {
                    tracing::warn!(event = events::CERTIFICATE_UNREADABLE, file = %file.display(), "{problem}");
                    said.insert(file.clone(), problem);
                }
                Err(_) => {}
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn first_end(file: PathBuf) -> Result<i64, String> {
    let read = tokio::task::spawn_blocking(move || first_end_in(&file)).await;
    read.unwrap_or_else(|error| Err(format!("reading certificates broke off: {error}")))
}

/// The certificate files of a configuration.
pub(super) fn files(config: &Config) -> Vec<File> {
    let sections = [
        ("kafka", &config.kafka.tls),
        ("rabbitmq", &config.rabbitmq.tls),
        ("pulsar", &config.pulsar.tls),
        ("registry", &config.registry.tls),
    ];
    let files = sections.into_iter().flat_map(|(server, tls)| {
        [(server, "authority", tls.ca_file.as_deref()), (server, "client", tls.certificate_file.as_deref())]
    });
    files.filter_map(|(server, kind, file)| Some((server, kind, file.map(Path::to_path_buf)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_are_told_of_by_server_and_kind_and_one_that_is_missing_hides_no_other() {
        let file = std::env::temp_dir().join(format!("watched-{}.pem", std::process::id()));
        std::fs::write(&file, include_str!("../certificates_testdata.pem")).expect("a file can be written");
        let files = vec![
            ("kafka", "authority", file.clone()),
            ("pulsar", "client", file.clone()),
            ("registry", "authority", "/nowhere/ca.pem".into()),
        ];
        let metrics = Metrics::new("demo", "1");
        let told = tokio::time::timeout(Duration::from_secs(20), async {
            let watch = tokio::spawn(watch(files, metrics.clone()));
            while metrics.render().matches("stream_bridge_certificate_expiry_timestamp_seconds{").count() < 2 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            watch.abort();
            metrics.render()
        });
        let text = told.await.expect("it is told at once");
        std::fs::remove_file(&file).expect("it is there");
        let name = "stream_bridge_certificate_expiry_timestamp_seconds{stream=\"demo\"";
        assert!(text.contains(&format!("{name},server=\"kafka\",certificate=\"authority\"}} 1893456000")), "{text}");
        assert!(text.contains(&format!("{name},server=\"pulsar\",certificate=\"client\"}} 1893456000")), "{text}");
    }
}

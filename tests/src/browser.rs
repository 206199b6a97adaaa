//! A real browser, headless: what it makes of a page, what it complains of, and what the page asks for elsewhere.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Result;
use crate::stack::{repository, unique};

/// How long a page may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// What the page's own requests have for an initiator; the browser's own say this instead.
const OF_THE_BROWSER: &str = "not an origin";

/// A page as the browser has it.
#[derive(Debug)]
pub struct Page {
    /// The document, after everything has run.
    pub document: String,
    /// What the console says.
    pub console: Vec<String>,
    /// What the page asks for beyond itself.
    pub requests: Vec<String>,
    /// The picture of it.
    pub picture: PathBuf,
}

/// Loads a file, in the dark where somebody prefers that. Nothing leaves the machine: no name can be resolved. The picture is kept
/// under `test-output/pages` by this name.
pub fn load(file: &Path, name: &str, dark: bool) -> Result<Page> {
    let kept = repository().join("test-output/pages");
    std::fs::create_dir_all(&kept)?;
    let picture = kept.join(format!("{name}.png"));
    let directory = std::env::temp_dir().join(unique("browser"));
    std::fs::create_dir_all(&directory)?;
    let page = run(file, &directory, &picture, dark);
    let removed = std::fs::remove_dir_all(&directory);
    let (document, log, requests) = page?;
    removed?;
    let console = log.lines().filter(|line| line.contains(":CONSOLE:")).map(str::to_owned).collect();
    Ok(Page { document, console, requests, picture })
}

type Loaded = (String, String, Vec<String>);

fn run(file: &Path, directory: &Path, picture: &Path, dark: bool) -> Result<Loaded> {
    let net_log = directory.join("net.json");
    let (out, log) = (directory.join("document"), directory.join("log"));
    let mut command = Command::new("chromium");
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"])
        .args(["--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--hide-scrollbars"])
        .arg(format!("--blink-settings=preferredColorScheme={}", if dark { 0 } else { 1 }))
        .arg(format!("--user-data-dir={}", directory.join("profile").display()))
        .arg(format!("--log-net-log={}", net_log.display()))
        .args(["--window-size=1300,1500", "--dump-dom"])
        .arg(format!("--screenshot={}", picture.display()))
        .arg(format!("file://{}", file.canonicalize()?.display()))
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&out)?)
        .stderr(std::fs::File::create(&log)?);
    let mut browser = command.spawn().map_err(|error| format!("chromium: {error}: deploy/local/install tests"))?;
    let began = Instant::now();
    let status = loop {
        match browser.try_wait()? {
            Some(status) => break status,
            None if began.elapsed() > PATIENCE => {
                browser.kill()?;
                browser.wait()?;
                return Err(format!("chromium does not end\n{}", std::fs::read_to_string(&log)?).into());
            }
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    };
    let log = std::fs::read_to_string(&log)?;
    if !status.success() {
        return Err(format!("chromium has ended with {status}\n{log}").into());
    }
    Ok((std::fs::read_to_string(out)?, log, requests(&std::fs::read_to_string(net_log)?)?))
}

/// The addresses that the page itself has asked for, by the browser's log of its network.
fn requests(net_log: &str) -> Result<Vec<String>> {
    // A browser that has just ended may have left the list open.
    let whole = serde_json::from_str(net_log);
    let log: Value = match whole {
        Ok(log) => log,
        Err(_) => serde_json::from_str(&format!("{}]}}", net_log.trim_end().trim_end_matches(',')))?,
    };
    let events = log["events"].as_array().ok_or("the log of the network has no events")?;
    let of_the_page = events.iter().map(|event| &event["params"]).filter_map(|parameters| {
        let initiator = parameters["initiator"].as_str()?;
        (initiator != OF_THE_BROWSER).then(|| parameters["url"].as_str().unwrap_or_default().to_owned())
    });
    Ok(of_the_page.filter(|url| !url.starts_with("file:") && !url.starts_with("data:")).collect())
}

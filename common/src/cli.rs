//! The command line that all bridges share.

use std::future::Future;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Parser, Subcommand};

use crate::check::{self, Report};
use crate::config::{self, Config, LogFormat};
use crate::logging::{self, events};
use crate::shutdown::Exit;

mod healthcheck;

/// librdkafka's too. The fuzz tests count what is allocated by an allocator of their own.
#[cfg(not(feature = "fuzzing"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What one bridge is: all that its `main.rs` says.
#[derive(Debug, Clone, Copy)]
pub struct Stream {
    /// The stream's name: that of its configuration file, too.
    pub name: &'static str,
    /// The contract that is compiled in: an Avro schema in JSON. `contract.file` in the configuration replaces it.
    pub contract: &'static str,
    /// The version of the binary: `env!("CARGO_PKG_VERSION")`.
    pub version: &'static str,
}

impl Stream {
    /// The contract's text: that of `contract.file` where it is set, the compiled one otherwise.
    ///
    /// # Errors
    /// When the file cannot be read; the message names it.
    pub fn contract_text(&self, config: &Config) -> Result<String, String> {
        match &config.contract.file {
            None => Ok(self.contract.to_owned()),
            Some(file) => std::fs::read_to_string(file)
                .map_err(|error| format!("contract.file: {}: cannot be read: {error}", file.display())),
        }
    }
}

#[derive(Debug, Parser)]
#[command(about = "Mirrors one stream into Pulsar, exactly once", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Directory of default.toml and the stream's own file
    #[arg(long, global = true, value_name = "DIR", default_value = "config")]
    config: PathBuf,
    /// How log lines are written, to standard error, whatever `log.format` says
    #[arg(long, global = true, value_enum)]
    log_format: Option<LogFormat>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
enum Command {
    /// Mirror until SIGTERM (the default)
    Run,
    /// Look at everything that the configuration names, change nothing, and say what is wrong and what to do
    ///
    /// Exit codes: 0 all well, 1 errors, 2 the configuration is wrong, 3 nothing worse than warnings.
    Check {
        /// Write one JSON document
        #[arg(long)]
        json: bool,
        /// Check the configuration alone, and ask no server
        #[arg(long, conflicts_with = "json")]
        offline: bool,
    },
    /// Ask the bridge that runs here, at http.listen, whether it is ready, and say what it says
    ///
    /// For containers, which have nothing else to ask with. Exit codes: 0 ready, 1 not ready or no answer, 2 the configuration
    /// is wrong.
    Healthcheck,
}

/// The whole `main` of a bridge: reads command line and configuration, sets up logging and TLS, and runs `pipeline` on a
/// runtime until it says how it ended. `check` asks the same servers, and runs no pipeline.
pub fn main<F>(stream: Stream, pipeline: impl FnOnce(Stream, Config) -> F) -> ExitCode
where
    F: Future<Output = Exit>,
{
    let stream = Stream { version: version(stream.version), ..stream };
    let arguments = match parse(stream, std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are errors to clap, too; where even printing fails, nothing is left to say.
            let _ = error.print();
            return if error.use_stderr() { Exit::Config.into() } else { Exit::Clean.into() };
        }
    };
    let config = match configure(stream, &arguments) {
        Ok(config) => config,
        Err(problem) => {
            // What `[log]` says is not known then.
            let from_environment = std::env::var("BRIDGE__LOG__FORMAT").is_ok_and(|text| text == "json");
            let usual = if from_environment { LogFormat::Json } else { LogFormat::Text };
            eprint!("{}", logging::refusal(stream.name, arguments.log_format.unwrap_or(usual), &problem));
            return Exit::Config.into();
        }
    };
    if let Some(Command::Check { json, offline }) = arguments.command {
        return check(stream, &config, json, offline).into();
    }
    if arguments.command == Some(Command::Healthcheck) {
        return healthcheck::healthcheck(config.http.listen).into();
    }
    logging::start(&config, arguments.log_format);
    let exit = run(stream, config, pipeline);
    logging::flush();
    exit.into()
}

/// The version that a binary tells of itself: its own, and the commit that it was built from where the build says so by
/// `BRIDGE_COMMIT` (`0.1.0+9f3c2ab`, as semantic versioning writes it).
pub fn version(of: &'static str) -> &'static str {
    match option_env!("BRIDGE_COMMIT").filter(|commit| !commit.is_empty()) {
        // Once in a process.
        Some(commit) => Box::leak(format!("{of}+{commit}").into_boxed_str()),
        None => of,
    }
}

fn parse(stream: Stream, arguments: impl IntoIterator<Item = std::ffi::OsString>) -> Result<Arguments, clap::Error> {
    use clap::{CommandFactory, FromArgMatches};
    let name = format!("{}-bridge", stream.name);
    let command = Arguments::command().display_name(&name).bin_name(name).version(stream.version);
    Arguments::from_arg_matches(&command.try_get_matches_from(arguments)?)
}

/// Reads and checks all that can be checked without a server.
fn configure(stream: Stream, arguments: &Arguments) -> Result<Config, String> {
    let config = config::load(&arguments.config, stream.name, environment()).map_err(|error| error.to_string())?;
    config.check_files().map_err(|error| error.to_string())?;
    stream.contract_text(&config)?;
    Ok(config)
}

/// The environment's variables that are text; no setting can be anything else.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Writes to standard output what somebody has asked to see. Where nobody reads any more (`... | head`), the process ends quietly, as
/// programs do; not for what is said in the midst of a change, or before an exit code that tells something: see [`say`].
pub fn out(text: &str) {
    let _ = write_out(text).map_err(end_if_unread);
}

/// Ends the process where this is why writing failed: nobody reads any more.
pub fn end_if_unread(error: std::io::Error) -> std::io::Error {
    if error.kind() == ErrorKind::BrokenPipe {
        std::process::exit(Exit::Clean.code().into());
    }
    error
}

/// Writes to standard output, and goes on where that cannot be written to.
pub fn say(text: &str) {
    let _ = write_out(text);
}

/// Whether something could not be written, though there is somebody who reads: a full disk is no success.
static WRITE_FAILED: AtomicBool = AtomicBool::new(false);

/// The exit of a process whose words may not have been written.
pub fn exit_of(exit: Exit) -> Exit {
    if exit == Exit::Clean && WRITE_FAILED.load(Ordering::Relaxed) { Exit::Fault } else { exit }
}

fn write_out(text: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    if let Err(error) = &written
        && error.kind() != ErrorKind::BrokenPipe
        && !WRITE_FAILED.swap(true, Ordering::Relaxed)
    {
        eprintln!("standard output cannot be written to: {error}");
    }
    written
}

fn check(stream: Stream, config: &Config, json: bool, offline: bool) -> Exit {
    if offline {
        out(&format!("{}: the configuration is good\n", stream.name));
        return Exit::Clean;
    }
    install_tls();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("{}-bridge: the system gives no event queue: {error}", stream.name);
            return Exit::Fault;
        }
    };
    let found = stream.contract_text(config).and_then(|text| runtime.block_on(check::check(config, Some(&text))));
    runtime.shutdown_background();
    match found {
        Ok(findings) => {
            let mut report = Report::default();
            report.add(stream.name, findings);
            report.print(json);
            report.exit()
        }
        Err(problem) => {
            eprintln!("{}-bridge: {problem}", stream.name);
            Exit::Config
        }
    }
}

fn run<F>(stream: Stream, config: Config, pipeline: impl FnOnce(Stream, Config) -> F) -> Exit
where
    F: Future<Output = Exit>,
{
    install_tls();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(event = events::START_FAILED, "the system gives no threads or event queue: {error}");
            return Exit::Fault;
        }
    };
    let exit = runtime.block_on(pipeline(stream, config));
    // The pipeline has settled what it could: threads that still hang in a library must not keep the process.
    runtime.shutdown_background();
    exit
}

/// Makes ring the process's TLS provider. Safe to call again.
pub fn install_tls() {
    // Err says that it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEMO: Stream = Stream { name: "demo", contract: "{}", version: "1.2.3" };

    fn parsed(arguments: &[&str]) -> Result<Arguments, clap::Error> {
        parse(DEMO, std::iter::once("demo-bridge").chain(arguments.iter().copied()).map(Into::into))
    }

    #[test]
    fn running_is_the_default_and_options_go_anywhere() {
        let plain = parsed(&[]).unwrap();
        assert_eq!((plain.command, plain.config), (None, PathBuf::from("config")));
        let check = parsed(&["check", "--config", "/etc/bridge", "--log-format", "json"]).unwrap();
        assert_eq!(
            (check.command, check.config),
            (Some(Command::Check { json: false, offline: false }), PathBuf::from("/etc/bridge"))
        );
        assert_eq!(parsed(&["--config", "x", "run"]).unwrap().command, Some(Command::Run));
    }

    #[test]
    fn version_help_and_mistakes_are_told_apart() {
        let version = parsed(&["--version"]).unwrap_err();
        assert!(!version.use_stderr() && version.to_string() == "demo-bridge 1.2.3\n", "{version}");
        assert!(!parsed(&["--help"]).unwrap_err().use_stderr());
        assert!(parsed(&["--confg", "x"]).unwrap_err().use_stderr());
    }

    #[test]
    fn configuration_problems_are_found_before_anything_is_built() {
        let arguments = parsed(&["--config", "/nonexistent"]).unwrap();
        let problem = configure(DEMO, &arguments).unwrap_err();
        assert!(problem.contains("/nonexistent/default.toml"), "{problem}");
    }
}

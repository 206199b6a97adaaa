//! Real servers by `deploy/local/stack`, down again when the last user is gone, however it went.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::Result;
use crate::rabbit::Rabbit;

/// Servers on ports of their own. Dropped, it stops them and removes their data, unless they were there before: those of
/// `tests/run` (it sets `STACK_DIR` and `TESTS_STACK_IS_UP`) are shared by all tests.
#[derive(Debug)]
pub struct Stack {
    directory: PathBuf,
    addresses: HashMap<String, String>,
    is_ours: bool,
    /// Pulsar is the cluster of several brokers.
    is_cluster: bool,
}

/// The root of the repository.
pub fn repository() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().map_or_else(|| manifest.to_path_buf(), Path::to_path_buf)
}

/// A name that nothing else uses: for topics, namespaces and directories.
pub fn unique(prefix: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let millis = crate::events::now_ms() % 100_000_000;
    format!("{prefix}-{}-{millis}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// The brokers of the cluster, as servers of the stack.
pub const BROKERS: [&str; 2] = ["broker1", "broker2"];

impl Stack {
    /// Kafka and Pulsar: those that `tests/run` has up, or our own.
    pub fn up() -> Result<Self> {
        Self::up_with(&["kafka", "pulsar"])
    }

    /// These of `kafka`, `pulsar`, `pulsar-cluster`, `rabbitmq` and `registry`: those that `tests/run` has up, or our own.
    pub fn up_with(servers: &[&str]) -> Result<Self> {
        let shared = std::env::var_os("STACK_DIR").filter(|_| std::env::var_os("TESTS_STACK_IS_UP").is_some());
        let is_ours = shared.is_none();
        let directory = shared.map_or_else(|| repository().join("target").join(unique("test-stack")), PathBuf::from);
        let is_cluster = servers.contains(&"pulsar-cluster");
        let mut stack = Self { directory, addresses: HashMap::new(), is_ours, is_cluster };
        // A shared stack may have been brought up for less than this test needs.
        if is_ours || stack.read_addresses(servers).is_err() {
            stack.run("up", servers)?;
            stack.read_addresses(servers)?;
        }
        Ok(stack)
    }

    /// Kafka's bootstrap servers.
    pub fn kafka(&self) -> &str {
        self.address("KAFKA_BROKERS")
    }

    /// The bootstrap servers of the cluster of three, `kafka1` to `kafka3`.
    pub fn kafka_cluster(&self) -> &str {
        self.address("KAFKA_CLUSTER_BROKERS")
    }

    /// Pulsar's binary address.
    pub fn pulsar(&self) -> &str {
        self.address(if self.is_cluster { "PULSAR_CLUSTER_URL" } else { "PULSAR_URL" })
    }

    /// Pulsar's HTTP address: of the cluster, the first broker's.
    pub fn pulsar_admin(&self) -> &str {
        if self.is_cluster { self.broker_admin(BROKERS[0]) } else { self.address("PULSAR_ADMIN_URL") }
    }

    /// The HTTP address of a broker of the cluster.
    pub fn broker_admin(&self, broker: &str) -> &str {
        self.address(&format!("PULSAR_{}_ADMIN_URL", broker.to_uppercase()))
    }

    /// The binary address of a broker of the cluster.
    pub fn broker_url(&self, broker: &str) -> &str {
        self.address(&format!("PULSAR_{}_URL", broker.to_uppercase()))
    }

    /// RabbitMQ's AMQP address, with user and password.
    pub fn rabbitmq(&self) -> &str {
        self.address("RABBITMQ_URL")
    }

    /// RabbitMQ's management address, with user and password.
    pub fn rabbitmq_management(&self) -> &str {
        self.address("RABBITMQ_MANAGEMENT_URL")
    }

    /// The schema registry's address.
    pub fn registry(&self) -> &str {
        self.address("SCHEMA_REGISTRY_URL")
    }

    /// RabbitMQ in the test's hands.
    pub fn rabbit(&self) -> Rabbit {
        Rabbit::at(self.rabbitmq(), self.rabbitmq_management())
    }

    /// Stops a server cleanly; its data stays.
    pub fn stop(&self, server: &str) -> Result<()> {
        self.run("down", &[server]).map(drop)
    }

    /// Stops a server as a power cut does; its data stays.
    pub fn kill(&self, server: &str) -> Result<()> {
        self.run("kill", &[server]).map(drop)
    }

    /// Stops a server's processes where they are, connections open.
    pub fn freeze(&self, server: &str) -> Result<()> {
        self.run("freeze", &[server]).map(drop)
    }

    /// Lets a frozen server go on.
    pub fn thaw(&self, server: &str) -> Result<()> {
        self.run("thaw", &[server]).map(drop)
    }

    /// Starts a server again on its data and ports, and waits until it is ready.
    pub fn start(&self, server: &str) -> Result<()> {
        self.run("up", &[server]).map(drop)
    }

    /// The directory of a server's own tools and jars.
    pub fn home(&self, server: &str) -> Result<PathBuf> {
        Ok(PathBuf::from(self.run("home", &[server])?.trim()))
    }

    /// Runs `rabbitmqctl` against this stack's node, as the stack's own scripts start it.
    pub fn rabbitmqctl(&self, arguments: &[&str]) -> Result<String> {
        let ports = std::fs::read_to_string(self.directory.join("ports/rabbitmq"))?;
        let epmd = ports.lines().find_map(|line| line.strip_prefix("rabbitmq_epmd_port="));
        let output = Command::new("/usr/lib/rabbitmq/bin/rabbitmqctl")
            .args(arguments)
            .env("HOME", self.directory.join("rabbitmq/data"))
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("ERL_EPMD_PORT", epmd.ok_or("the stack has no port for epmd")?)
            .env("RABBITMQ_NODENAME", "bridges@localhost")
            .stdin(Stdio::null())
            .output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = [output.stdout, output.stderr].concat();
        Err(format!("rabbitmqctl {}: {}", arguments.join(" "), String::from_utf8_lossy(&said)).into())
    }

    /// All that a server has logged.
    pub fn log(&self, server: &str) -> Result<String> {
        let mut log = String::new();
        for entry in std::fs::read_dir(self.directory.join(server).join("log"))? {
            let path = entry?.path();
            if path.is_file() {
                log += &String::from_utf8_lossy(&std::fs::read(path)?);
            }
        }
        Ok(log)
    }

    fn address(&self, name: &str) -> &str {
        self.addresses.get(name).map_or("", String::as_str)
    }

    fn read_addresses(&mut self, servers: &[&str]) -> Result<()> {
        let text = self.run("env", servers)?;
        self.addresses = text
            .lines()
            .filter_map(|line| line.trim_start_matches("export ").split_once('='))
            .map(|(name, value)| (name.to_owned(), value.trim_matches(['\'', '"']).to_owned()))
            .collect();
        for server in servers {
            let name = match *server {
                "kafka" => "KAFKA_BROKERS",
                "kafka1" | "kafka2" | "kafka3" => "KAFKA_CLUSTER_BROKERS",
                "pulsar" => "PULSAR_ADMIN_URL",
                "pulsar-cluster" => "PULSAR_CLUSTER_URL",
                "rabbitmq" => "RABBITMQ_MANAGEMENT_URL",
                _ => "SCHEMA_REGISTRY_URL",
            };
            if self.address(name).is_empty() {
                return Err(format!("deploy/local/stack env does not name {server}:\n{text}").into());
            }
        }
        Ok(())
    }

    fn run(&self, verb: &str, servers: &[&str]) -> Result<String> {
        let script = repository().join("deploy/local/stack");
        let output = Command::new(&script)
            .arg(verb)
            .args(servers)
            .env("STACK_DIR", &self.directory)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("{}: {error}", script.display()))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("deploy/local/stack {verb} {}: {}\n{said}", servers.join(" "), output.status).into())
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if self.is_ours
            && let Err(error) = self.run("down", &[])
        {
            eprintln!("the stack in {} is perhaps still up: {error}", self.directory.display());
        }
    }
}

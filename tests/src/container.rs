//! Containers without a daemon: what `tests/deploy/images` has built, run by `crun` as an orchestrator would run it with the
//! strictest settings: without rights, without a shell, nothing writable. The network is this machine's own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::Result;
use crate::bridge::Setting;
use crate::stack::{repository, unique};

/// An image, unpacked.
#[derive(Debug)]
pub struct Image {
    /// All that is in it.
    pub root: PathBuf,
    /// What it says about itself: the part that runtimes read.
    pub config: Value,
}

impl Image {
    /// The image of a folder of `bridges/`.
    pub fn of(name: &str) -> Result<Self> {
        let directory = repository().join("target/images").join(name);
        let told = std::fs::read_to_string(directory.join("image.json"))
            .map_err(|error| format!("{}: {error}: `tests/deploy/images {name}` builds it", directory.display()))?;
        let told: Value = serde_json::from_str(&told)?;
        Ok(Self { root: directory.join("rootfs"), config: told["OCIv1"]["config"].clone() })
    }

    /// The list of texts that the image's configuration has under this name.
    pub fn list(&self, name: &str) -> Vec<String> {
        let list = self.config[name].as_array().cloned().unwrap_or_default();
        list.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect()
    }

    /// Runs it with these arguments to its end.
    pub fn run(&self, arguments: &[&str], settings: &[Setting]) -> Result<Output> {
        let container = Container::new(self, arguments, None, settings)?;
        Ok(container.command().stdin(Stdio::null()).output()?)
    }
}

/// One container; it is gone when dropped.
#[derive(Debug)]
pub struct Container {
    directory: PathBuf,
    name: String,
}

impl Container {
    /// Prepares one: this image with these arguments and, in place of its own, this configuration.
    pub fn new(image: &Image, arguments: &[&str], config: Option<&Path>, settings: &[Setting]) -> Result<Self> {
        let name = unique("container");
        let directory = repository().join("target/containers").join(&name);
        std::fs::create_dir_all(&directory)?;
        // Where the host looks names up is nothing to a container; whoever wants names sets a resolver with `RESOLVER`.
        let resolver = settings.iter().find(|(name, _)| name == RESOLVER).map_or("", |(_, address)| address);
        std::fs::write(
            directory.join("resolv.conf"),
            format!("nameserver {resolver}\noptions timeout:2 attempts:2\n"),
        )?;
        std::fs::write(directory.join("hosts"), "127.0.0.1 localhost\n")?;
        let specification = specification(image, arguments, config, settings, &directory)?;
        std::fs::write(directory.join("config.json"), serde_json::to_vec_pretty(&specification)?)?;
        Ok(Self { directory, name })
    }

    /// Runs it in the foreground; ends as it ends.
    pub fn command(&self) -> Command {
        let mut command = self.crun();
        command.arg("run").arg("--bundle").arg(&self.directory).arg("--pid-file").arg(self.pid_file()).arg(&self.name);
        command
    }

    /// The process in it, as this machine knows it.
    pub fn process_id(&self) -> Result<u32> {
        let text = std::fs::read_to_string(self.pid_file()).map_err(|error| format!("no container yet: {error}"))?;
        Ok(text.trim().parse()?)
    }

    fn pid_file(&self) -> PathBuf {
        self.directory.join("pid")
    }

    /// crun refuses to start where both versions of control groups are mounted, though it is to leave them alone: it is
    /// shown the first alone, in a mount namespace of its own.
    fn crun(&self) -> Command {
        const SHOWN_ONE: &str = "umount /sys/fs/cgroup/unified 2>/dev/null; exec crun \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", SHOWN_ONE, "crun"]);
        command.arg("--root").arg(self.directory.join("state")).args(["--cgroup-manager", "disabled"]);
        command
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // It may have ended, and be gone, already.
        let _ = self.crun().args(["delete", "--force"]).arg(&self.name).stderr(Stdio::null()).status();
    }
}

/// The setting that names the address of the container's resolver; no environment variable of it.
pub const RESOLVER: &str = "resolver";

/// What the runtime is told, all of it from the image but for the settings.
fn specification(
    image: &Image,
    arguments: &[&str],
    config: Option<&Path>,
    settings: &[Setting],
    directory: &Path,
) -> Result<Value> {
    let user = image.config["User"].as_str().unwrap_or_default();
    let (user, group) = user.split_once(':').ok_or_else(|| format!("the image's user is '{user}', no two numbers"))?;
    let mut args = image.list("Entrypoint");
    args.extend(arguments.iter().map(|&argument| argument.to_owned()));
    let mut env = image.list("Env");
    env.extend(settings.iter().filter(|(name, _)| name != RESOLVER).map(|(name, value)| format!("{name}={value}")));
    let mut mounts = vec![
        json!({"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]}),
        json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "ro"]}),
        shown(&directory.join("resolv.conf"), "/etc/resolv.conf"),
        shown(&directory.join("hosts"), "/etc/hosts"),
    ];
    mounts.extend(config.map(|config| shown(config, "/config")));
    Ok(json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": user.parse::<u32>()?, "gid": group.parse::<u32>()?},
            "args": args,
            "env": env,
            "cwd": image.config["WorkingDir"].as_str().filter(|path| !path.is_empty()).unwrap_or("/"),
            "noNewPrivileges": true,
            "capabilities": {"bounding": [], "effective": [], "inheritable": [], "permitted": [], "ambient": []},
        },
        "root": {"path": image.root, "readonly": true},
        "hostname": "bridge",
        "mounts": mounts,
        "linux": {"namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}]},
    }))
}

/// A file or directory of this machine at a place in the container, not to be written to.
fn shown(source: &Path, destination: &str) -> Value {
    json!({"destination": destination, "type": "bind", "source": source, "options": ["bind", "ro", "nosuid", "nodev"]})
}

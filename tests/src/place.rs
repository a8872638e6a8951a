//! A place where `feira up` runs a cluster, as a person would have it: commands on it, what they must say, its parts.
//! Everything ends with the value.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::cluster::PATIENCE;
use crate::process::Dialogue;
use crate::wait;

/// What a whole cluster may take to come up or to stop, on a machine that runs other tests too.
pub const LONG: Duration = Duration::from_secs(120);

/// A byte of the first entry of a log's first file.
const IN_FIRST_ENTRY: u64 = 600;

/// A place for clusters, whether one runs or not.
pub struct Place {
    /// Goes with the value.
    folder: TempDir,
    /// The program.
    feira: PathBuf,
}

/// A cluster that `feira up` runs.
pub struct Up {
    /// The supervisor.
    pub tool: Dialogue,
    /// What it says of each part.
    pub parts: Vec<Part>,
}

/// A part of it, as it was when everything served.
#[derive(Debug)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// Where it serves.
    pub address: String,
    /// Its process; `None`: it was not started.
    pub pid: Option<i32>,
    /// Its log.
    pub log: PathBuf,
}

impl Place {
    /// An empty one, for this program.
    #[must_use]
    pub fn new(feira: &str) -> Place {
        let folder = tempfile::Builder::new().prefix("feira-test-up-").tempdir().unwrap();
        Place { folder, feira: PathBuf::from(feira) }
    }

    /// Its folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The program with arguments, on the cluster that is here.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.feira);
        command.arg("--config").arg(self.path().join("feira.toml")).args(arguments);
        command
    }

    /// Runs a tool to its end.
    #[must_use]
    pub fn tool(&self, arguments: &[&str]) -> Output {
        let mut tool = Dialogue::start(self.command(arguments));
        tool.hang_up();
        tool.output_within(LONG)
    }

    /// Runs a tool that must do what it is asked; what it said.
    #[track_caller]
    pub fn done(&self, arguments: &[&str]) -> String {
        let output = self.tool(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a tool that must fail so, and say so.
    #[track_caller]
    pub fn fails(&self, arguments: &[&str], code: i32, saying: &str) {
        let output = self.tool(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(saying), "{saying} is not in: {said}");
    }

    /// Starts a cluster and waits until it says that everything serves.
    #[must_use]
    pub fn up(&self, shape: &[&str]) -> Up {
        let mut tool = Dialogue::start(self.command(&[&["--json", "up"][..], shape].concat()));
        tool.hears(" serves; Ctrl-C", LONG);
        tool.hears("}\n", PATIENCE);
        let said = tool.said();
        let told: Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
        let text = |part: &Value, name: &str| part[name].as_str().unwrap().to_owned();
        let parts = told["parts"].as_array().unwrap().iter().map(|part| Part {
            name: text(part, "part"),
            address: text(part, "address"),
            pid: part["pid"].as_i64().map(|pid| i32::try_from(pid).unwrap()),
            log: PathBuf::from(text(part, "log")),
        });
        Up { parts: parts.collect(), tool }
    }

    /// What `feira status` says.
    #[must_use]
    pub fn status(&self) -> Value {
        // A cluster that serves, or that elects a leader just now.
        let output = self.tool(&["--json", "status"]);
        assert!(matches!(output.status.code(), Some(0 | 3)), "{output:?}");
        let said = String::from_utf8(output.stdout).unwrap();
        serde_json::from_str(said.lines().next().unwrap()).unwrap()
    }

    /// The id of the node that leads, once one does.
    #[must_use]
    pub fn leader(&self) -> String {
        wait::until_blocking("a leader", PATIENCE, || {
            let status = self.status();
            let nodes = status["nodes"].as_array().unwrap();
            let epoch = nodes.iter().filter_map(|node| node["epoch"].as_u64()).max();
            let leads = |node: &&Value| node["role"] == "leader" && node["epoch"].as_u64() == epoch;
            match nodes.iter().find(leads) {
                Some(node) => Ok(node["node"].to_string()),
                None => Err(status.to_string()),
            }
        })
    }
}

impl Up {
    /// The process of a part.
    #[must_use]
    pub fn pid(&self, name: &str) -> i32 {
        let part = self.parts.iter().find(|part| part.name == name).unwrap_or_else(|| panic!("no {name}"));
        part.pid.unwrap_or_else(|| panic!("{name} was not started"))
    }

    /// Where its parts serve.
    #[must_use]
    pub fn addresses(&self) -> BTreeSet<String> {
        self.parts.iter().map(|part| part.address.clone()).collect()
    }

    /// Waits until every part is gone.
    pub fn all_gone(&self) {
        for Part { name, pid, .. } in &self.parts {
            if let Some(pid) = pid {
                gone(name, *pid);
            }
        }
    }

    /// Waits for the supervisor's end, which must be a good one.
    pub fn ends_well(mut self) {
        let status = self.tool.ends_within(LONG);
        assert!(status.success(), "{status}: {}", self.tool.complained());
        self.all_gone();
    }
}

/// A test that fails leaves nothing running.
impl Drop for Up {
    fn drop(&mut self) {
        if self.tool.ended().is_none() {
            self.tool.signal(Signal::SIGKILL);
        }
        for part in self.parts.iter().filter(|_| std::thread::panicking()) {
            if let Some(pid) = part.pid {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }
}

/// Changes one byte where the first entry of a replica's log is.
///
/// # Panics
/// If the folder has no log.
pub fn damage_log(group: &Path) {
    let file = File::options().read(true).write(true).open(group.join("log.0")).expect("a log");
    let mut byte = [0];
    file.read_exact_at(&mut byte, IN_FIRST_ENTRY).expect("it has an entry");
    file.write_all_at(&[!byte[0]], IN_FIRST_ENTRY).expect("it can be written");
}

/// Whether a process is there.
#[must_use]
pub fn is_there(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH)
}

/// Waits until a process is gone.
pub fn gone(name: &str, pid: i32) {
    wait::until_blocking(&format!("the end of {name}"), PATIENCE, || {
        if is_there(pid) { Err(format!("pid {pid} is there")) } else { Ok(()) }
    });
}

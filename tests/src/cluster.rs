//! A whole cluster of real processes in a temporary folder: store nodes, a broker, portals, each on a port of its
//! own, each to be killed, stopped and started again as the test likes. Everything ends with the value.

mod endpoints;
mod waits;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use proto::store::Role;
use tempfile::TempDir;

use crate::chaos::hung_disk::HungDisks;
use crate::mesh::Mesh;
use crate::mosquitto::Mosquitto;
use crate::port::Port;
use crate::process::{Dialogue, Process};
use crate::wait;

/// Lines of each process's log that a failed test shows.
const LOG_LINES_SHOWN: usize = 25;

/// How long anything may take that is not itself under test.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The path of the program under test: built with the tests, so never stale. To be used in integration tests, the
/// only place where cargo names it.
#[macro_export]
macro_rules! feira {
    () => {
        env!("CARGO_BIN_EXE_feira-under-test")
    };
}

/// What a test wants.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Shards of the ring.
    pub shards: u64,
    /// Store nodes of each shard: node-1 and so on are the first's.
    pub nodes: u64,
    /// The shards are on the same nodes, each of which holds a replica of every one.
    pub shared: bool,
    /// Administrators' portals.
    pub admin_portals: usize,
    /// Shoppers' portals.
    pub client_portals: usize,
    /// Use the embedded broker instead of mosquitto.
    pub embedded_broker: bool,
    /// Use this broker, which another cluster of the same name uses too.
    pub shared_broker: Option<SocketAddr>,
    /// More lines for the `[store]` section.
    pub store: &'static str,
    /// Let the nodes' disks hang when the test says so.
    pub disks_hang: bool,
    /// Let the nodes reach each other over a [`Mesh`], whose wires can be cut.
    pub wired: bool,
    /// How many files each process may have open (`ulimit -n`).
    pub descriptors: Option<u32>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            shards: 1,
            nodes: 3,
            shared: false,
            admin_portals: 1,
            client_portals: 1,
            embedded_broker: false,
            shared_broker: None,
            store: "",
            disks_hang: false,
            wired: false,
            descriptors: None,
        }
    }
}

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    /// Everything is in here, and goes with the value.
    folder: TempDir,
    /// The program.
    feira: PathBuf,
    /// The processes by name (`node-1`, `admin-1`, `shop-1`, `broker`); those that are dead are absent.
    running: BTreeMap<String, Process>,
    /// Where each process serves, by name.
    addresses: BTreeMap<String, String>,
    /// Keeps the ports of those addresses.
    ports: Vec<Port>,
    /// How to start each process, by name.
    commands: BTreeMap<String, Vec<String>>,
    /// Shards of the ring, and the nodes with which each began.
    shards: (u64, u64),
    /// Those are the same nodes for all shards.
    shared: bool,
    /// The broker, unless it is the embedded one.
    pub mosquitto: Option<Mosquitto>,
    /// The nodes' disks, if the test wants them to hang.
    pub hung_disks: Option<HungDisks>,
    /// The wires between the nodes, if the test wants some.
    pub mesh: Option<Mesh>,
    /// What a failed test leaves to be read stays in its folder.
    pub keep_if_failed: bool,
    /// How many files each process may have open.
    descriptors: Option<u32>,
}

impl Cluster {
    /// Starts a cluster and waits until it has a leader and every portal is live.
    ///
    /// # Panics
    /// If it does not come up.
    pub async fn start(feira: &str, options: Options) -> Cluster {
        let mut cluster = Cluster::prepare(feira, options);
        cluster.begin().await;
        cluster
    }

    /// A cluster that is configured and not founded: its nodes' folders ([`Cluster::data_of`]) are not made yet.
    ///
    /// # Panics
    /// If its folder cannot be written.
    #[must_use]
    pub fn prepare(feira: &str, options: Options) -> Cluster {
        let folder = tempfile::Builder::new().prefix("feira-test-").tempdir().expect("a temporary folder");
        let own_mosquitto = !options.embedded_broker && options.shared_broker.is_none();
        let mosquitto = own_mosquitto.then(|| Mosquitto::start(folder.path()));
        let hung_disks = options.disks_hang.then(|| HungDisks::build(folder.path()));
        let mut cluster = Cluster {
            folder,
            feira: PathBuf::from(feira),
            running: BTreeMap::new(),
            addresses: BTreeMap::new(),
            ports: Vec::new(),
            commands: BTreeMap::new(),
            shards: (options.shards, options.nodes),
            shared: options.shared,
            mosquitto,
            hung_disks,
            mesh: None,
            keep_if_failed: false,
            descriptors: options.descriptors,
        };
        cluster.configure(options);
        cluster
    }

    /// Founds what was prepared, starts it, and waits until it has a leader and every portal is live.
    ///
    /// # Panics
    /// If it does not come up.
    pub async fn begin(&mut self) {
        self.found();
        self.run_all().await;
    }

    /// Starts everything, and waits until there is a leader and every portal is live.
    ///
    /// # Panics
    /// If it does not come up.
    pub async fn run_all(&mut self) {
        let names: Vec<String> = self.commands.keys().cloned().collect();
        for name in names.iter().filter(|name| !self.running.contains_key(*name)).cloned().collect::<Vec<_>>()
        {
            self.run(&name);
        }
        for shard in 1..=self.shards.0 {
            self.leader_of(shard).await;
        }
        self.wait_until_live().await;
    }

    fn configure(&mut self, options: Options) {
        use std::fmt::Write as _;
        let listen = |cluster: &mut Cluster, name: String, role: &[&str]| {
            let port = Port::lease();
            let address = SocketAddr::from(([127, 0, 0, 1], port.number)).to_string();
            cluster.ports.push(port);
            cluster.addresses.insert(name.clone(), address.clone());
            cluster.commands.insert(name, role.iter().map(ToString::to_string).collect());
            address
        };
        let mut text =
            format!("cluster = \"test\"\nfolder = \"data\"\nrehearsal = true\n[store]\n{}\n", options.store);
        let count = if options.shared { options.nodes } else { options.nodes * options.shards };
        for id in 1..=count {
            let address = listen(self, format!("node-{id}"), &["store", "--node", &id.to_string()]);
            let shard = match (id - 1) / options.nodes {
                _ if options.shared => {
                    format!("shards = {:?}\n", (1..=options.shards).collect::<Vec<u64>>())
                }
                0 => String::new(),
                more => format!("shard = {}\n", more + 1),
            };
            writeln!(text, "[[store.nodes]]\nid = {id}\n{shard}listen = \"{address}\"").expect("text grows");
        }
        let external = self.mosquitto.as_ref().map(|own| own.address).or(options.shared_broker);
        let (kind, address) = match external {
            Some(address) => ("external", address.to_string()),
            None => ("embedded", listen(self, "broker".to_owned(), &["broker"])),
        };
        writeln!(text, "[broker]\nkind = \"{kind}\"\nlisten = \"{address}\"").expect("text grows");
        let portals = [("admin", options.admin_portals), ("client", options.client_portals)];
        for (kind, count) in portals {
            for at in 1..=count {
                let role = [&format!("{kind}-portal"), "--instance", &at.to_string()];
                let address = listen(self, format!("{kind}-{at}"), &role);
                writeln!(text, "[[{kind}_portals]]\nlisten = \"{address}\"").expect("text grows");
            }
        }
        std::fs::write(self.config(), &text).expect("the test's folder can be written");
        if options.wired {
            self.lay_wires(options.nodes, &text);
        }
    }

    /// Gives each node a configuration of its own, in which the others are reached over wires.
    fn lay_wires(&mut self, nodes: u64, text: &str) {
        let at = |id: u64| self.address(&format!("node-{id}")).parse().expect("an address");
        let mesh = Mesh::between(&(1..=nodes).map(|id| (id, at(id))).collect());
        for from in 1..=nodes {
            let mut own = text.to_owned();
            for to in (1..=nodes).filter(|to| *to != from) {
                let listen = format!("listen = \"{}\"", self.address(&format!("node-{to}")));
                own = own.replace(&listen, &format!("{listen}\naddress = \"{}\"", mesh.address(from, to)));
            }
            let path = self.path().join(format!("node-{from}.toml"));
            std::fs::write(path, own).expect("the test's folder can be written");
        }
        self.mesh = Some(mesh);
    }

    /// Makes the folders of the nodes, if they are not made yet.
    ///
    /// # Panics
    /// If they cannot be made.
    pub fn found(&self) {
        let output = self.tool(&["bootstrap"]);
        assert!(output.status.success(), "bootstrap: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// A node that `feira member add` has put into the configuration: it can be run from now on.
    ///
    /// # Panics
    /// If the configuration has no such node.
    pub fn joined(&mut self, id: u64) {
        let text = std::fs::read_to_string(self.config()).expect("the configuration can be read");
        let (_, node) = text.split_once(&format!("id = {id}\nlisten = \"")).expect("the node is in it");
        let address = node.split('"').next().expect("an address").to_owned();
        let name = format!("node-{id}");
        self.addresses.insert(name.clone(), address);
        self.commands.insert(name, vec!["store".to_owned(), "--node".to_owned(), id.to_string()]);
    }

    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.path().join("feira.toml")
    }

    /// The configuration that a process is started with.
    fn config_of(&self, name: &str) -> PathBuf {
        if self.mesh.is_some() && name.starts_with("node-") {
            return self.path().join(format!("{name}.toml"));
        }
        self.config()
    }

    /// The folder of a node's data.
    #[must_use]
    pub fn data_of(&self, node: &str) -> PathBuf {
        self.path().join("data").join(node)
    }

    /// The folder of everything.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Starts a process (again).
    ///
    /// # Panics
    /// If there is none of that name, or it runs.
    pub fn run(&mut self, name: &str) {
        self.run_with(name, &[]);
    }

    /// Starts a process (again), with more in its environment.
    ///
    /// # Panics
    /// If there is none of that name, or it runs.
    pub fn run_with(&mut self, name: &str, environment: &[(&str, &str)]) {
        assert!(!self.running.contains_key(name), "{name} runs already");
        let mut command = match self.descriptors {
            None => Command::new(&self.feira),
            Some(most) => {
                let mut shell = Command::new("sh");
                shell.arg("-c").arg(format!("ulimit -n {most} && exec \"$0\" \"$@\"")).arg(&self.feira);
                shell
            }
        };
        command.arg("--config").arg(self.config_of(name)).args(&self.commands[name]);
        command.envs(environment.iter().copied());
        if let Some(disks) = self.hung_disks.as_ref().filter(|_| name.starts_with("node-")) {
            command.envs(disks.environment(name));
        }
        let log = self.path().join(format!("{name}.log"));
        self.running.insert(name.to_owned(), Process::start(name, command, &log));
    }

    /// Starts a process at another address than the one that everybody else's configuration has.
    ///
    /// # Panics
    /// As [`Cluster::run`].
    pub fn run_at(&mut self, name: &str, address: &str) {
        let text = std::fs::read_to_string(self.config()).expect("the configuration can be read");
        // Whoever has that address here takes this one's, so that none is named twice.
        let (home, elsewhere) = (format!("{:?}", self.address(name)), format!("{address:?}"));
        let moved = text.replace(&elsewhere, "\u{0}").replace(&home, &elsewhere).replace('\u{0}', &home);
        let path = self.path().join(format!("{name}.moved.toml"));
        std::fs::write(&path, moved).expect("the test's folder can be written");
        let mut command = Command::new(&self.feira);
        command.arg("--config").arg(path).args(&self.commands[name]);
        let log = self.path().join(format!("{name}.log"));
        self.running.insert(name.to_owned(), Process::start(name, command, &log));
    }

    /// Everything that was configured, by name.
    #[must_use]
    pub fn parts(&self) -> Vec<String> {
        self.commands.keys().cloned().collect()
    }

    /// kill -9.
    ///
    /// # Panics
    /// If it does not run.
    pub fn kill(&mut self, name: &str) {
        self.running.remove(name).unwrap_or_else(|| panic!("{name} does not run")).kill();
    }

    /// The process id of one that runs.
    ///
    /// # Panics
    /// If it does not run.
    #[must_use]
    pub fn pid(&self, name: &str) -> u32 {
        self.running[name].id()
    }

    /// Whether a process that was started has not ended.
    ///
    /// # Panics
    /// If it was not started.
    #[must_use]
    pub fn is_running(&self, name: &str) -> bool {
        self.running[name].is_running()
    }

    /// Waits until a process has ended by itself; how it did.
    ///
    /// # Panics
    /// If it does not run, or does not end in time.
    pub async fn ended(&mut self, name: &str) -> std::process::ExitStatus {
        let mut process = self.running.remove(name).unwrap_or_else(|| panic!("{name} does not run"));
        let process = std::sync::Mutex::new(&mut process);
        wait::until(&format!("the end of {name}"), PATIENCE, || async {
            process.lock().expect("nobody else has it").ended().ok_or("it runs")
        })
        .await
    }

    /// A graceful stop.
    ///
    /// # Panics
    /// If it does not run, does not end in time, or reports a failure.
    pub fn stop(&mut self, name: &str) {
        let mut process = self.running.remove(name).unwrap_or_else(|| panic!("{name} does not run"));
        let status = process.terminate(PATIENCE);
        assert!(status.success(), "{name} ended with {status}: {}", process.output());
    }

    /// Sends a signal, for example SIGSTOP and SIGCONT.
    pub fn signal(&self, name: &str, signal: Signal) {
        self.running[name].signal(signal);
    }

    /// The memory of its own that a process has in use, bytes (`RssAnon` of `/proc/PID/status`).
    ///
    /// # Panics
    /// If it does not run, or the system does not say.
    #[must_use]
    pub fn memory_of(&self, name: &str) -> u64 {
        self.running[name].memory()
    }

    /// A process that runs.
    ///
    /// # Panics
    /// If it does not run.
    #[must_use]
    pub fn process(&self, name: &str) -> &Process {
        &self.running[name]
    }

    /// What a process has logged.
    #[must_use]
    pub fn log_of(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(format!("{name}.log"))).unwrap_or_default()
    }

    /// Runs the program with arguments, to its end.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn tool(&self, arguments: &[&str]) -> std::process::Output {
        self.tool_given(arguments, "")
    }

    /// Runs the program with arguments and a script on standard input, to its end.
    ///
    /// # Panics
    /// If it cannot be started, or does not end in time.
    pub fn tool_given(&self, arguments: &[&str], script: &str) -> std::process::Output {
        let mut tool = Dialogue::start(self.command(arguments));
        tool.say(script);
        tool.hang_up();
        tool.output_within(PATIENCE * 2)
    }

    /// The program with arguments and this cluster's configuration, not started.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.feira);
        command.arg("--config").arg(self.config()).args(arguments);
        // Of the test, and not of whoever runs it.
        command.env("FEIRA_HISTORY", self.path().join("history"));
        command
    }

    /// Starts the processes again that have ended by themselves; how many that were.
    pub fn run_those_that_ended(&mut self) -> usize {
        let ended =
            self.running.iter_mut().filter_map(|(name, process)| process.ended().map(|_| name.clone()));
        let ended: Vec<String> = ended.collect();
        for name in &ended {
            self.running.remove(name);
            self.run(name);
        }
        ended.len()
    }

    /// Where the store nodes serve, host:port each.
    #[must_use]
    pub fn node_addresses(&self) -> Vec<String> {
        let nodes = self.addresses.iter().filter(|(name, _)| name.starts_with("node-"));
        nodes.map(|(_, address)| address.clone()).collect()
    }

    /// Each store node's id, and where it serves.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn node_places(&self) -> Vec<(u64, String)> {
        let id = |name: &String| name.strip_prefix("node-").and_then(|id| id.parse().ok());
        self.addresses.iter().filter_map(|(name, address)| Some((id(name)?, address.clone()))).collect()
    }

    /// The nodes that run.
    #[must_use]
    pub fn nodes(&self) -> Vec<String> {
        self.running.keys().filter(|name| name.starts_with("node-")).cloned().collect()
    }

    /// Where a process serves, host:port.
    ///
    /// # Panics
    /// If there is none of that name.
    #[must_use]
    pub fn address(&self, name: &str) -> &str {
        self.addresses.get(name).unwrap_or_else(|| panic!("there is no {name}"))
    }

    /// Every process that was not killed or stopped runs, and none has said that it panicked.
    ///
    /// # Panics
    /// If one has ended by itself or panicked, with what it said.
    pub fn all_run(&mut self) {
        for (name, process) in &mut self.running {
            let (ended, said) = (process.ended(), process.output());
            assert!(ended.is_none(), "{name} ended ({ended:?}): {said}");
            assert!(!said.contains("panicked"), "{name}: {said}");
        }
    }

    /// The name of the leader, once exactly one running node says that it leads the highest epoch, and a majority of
    /// the nodes that run follow it.
    pub async fn leader(&self) -> String {
        self.leader_of(1).await
    }

    /// As [`Cluster::leader`], of one shard of a ring.
    pub async fn leader_of(&self, shard: u64) -> String {
        wait::until("a leader", PATIENCE, || self.find_leader(shard)).await
    }

    /// The shards of the ring, from 1.
    #[must_use]
    pub fn shards(&self) -> std::ops::RangeInclusive<u64> {
        1..=self.shards.0
    }

    /// The nodes of a shard that run.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn nodes_of(&self, shard: u64) -> Vec<String> {
        let (shards, each) = self.shards;
        let id = |name: &String| name.strip_prefix("node-").and_then(|id| id.parse::<u64>().ok());
        let mut nodes = self.nodes();
        let is_of = |id: u64| shards == 1 || self.shared || (id - 1) / each + 1 == shard;
        nodes.retain(|name| id(name).is_some_and(is_of));
        nodes
    }

    async fn find_leader(&self, shard: u64) -> Result<String, String> {
        let mut seen = Vec::new();
        for node in self.nodes_of(shard) {
            if let Ok(status) = self.status_in(shard, &node).await {
                seen.push((status.epoch, status.role() == Role::Leader, node));
            }
        }
        let highest = seen.iter().map(|(epoch, ..)| *epoch).max().ok_or("no node answers")?;
        let leaders: Vec<_> = seen.iter().filter(|(epoch, leads, _)| *leads && *epoch == highest).collect();
        match leaders.as_slice() {
            [(_, _, node)] => Ok(node.clone()),
            _ => Err(format!("{seen:?}")),
        }
    }
}

/// What a failed test leaves to be read: the end of every process's log.
impl Drop for Cluster {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        if self.keep_if_failed {
            self.folder.disable_cleanup(true);
            eprintln!("folders and logs are left in {}", self.path().display());
        }
        let brokers = self.mosquitto.iter().map(|_| "mosquitto".to_owned());
        for name in self.commands.keys().cloned().chain(brokers) {
            let log = self.log_of(&name);
            let from = log.lines().count().saturating_sub(LOG_LINES_SHOWN);
            let lines: Vec<&str> = log.lines().skip(from).collect();
            eprintln!("the end of the log of {name}:\n{}", lines.join("\n"));
        }
    }
}

/// A request that a dead or stopped process cannot hold up for long.
pub fn with_timeout<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(Duration::from_secs(2));
    request
}

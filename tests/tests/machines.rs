//! Nodes on machines of their own, each with its folder, its copy of the key and one configuration for all, as
//! `docs/OPERATIONS.md` says: they listen everywhere, and reach each other where each says that it is reached.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use feira_tests::cluster::PATIENCE;
use feira_tests::machines::{Machines, host};
use feira_tests::place::LONG;
use feira_tests::process::{Dialogue, Process};
use feira_tests::wait;
use serde_json::Value;
use tempfile::TempDir;

const MACHINES: usize = 3;

/// A cluster over machines.
struct Spread {
    machines: Machines,
    folder: TempDir,
    /// What runs, by its log.
    parts: BTreeMap<PathBuf, Process>,
}

impl Spread {
    /// Its folders are made in one place; each then goes to its node's machine.
    fn found(machines: Machines) -> Spread {
        let folder = tempfile::Builder::new().prefix("feira-test-machines-").tempdir().unwrap();
        let nodes = (1..=MACHINES).map(|id| {
            let address = address(id);
            format!("[[store.nodes]]\nid = {id}\nlisten = \"0.0.0.0:7401\"\naddress = \"{address}\"\n")
        });
        let text = format!(
            "cluster = \"spread\"\nfolder = \"data\"\n[broker]\nlisten = \"{}:7431\"\n\
             [[admin_portals]]\nlisten = \"{}:7411\"\n[[client_portals]]\nlisten = \"{}:7421\"\n{}",
            host(1),
            host(2),
            host(3),
            nodes.collect::<String>()
        );
        let spread = Spread { machines, folder, parts: BTreeMap::new() };
        for machine in 1..=MACHINES {
            std::fs::create_dir(spread.home(machine)).unwrap();
            std::fs::write(spread.home(machine).join("feira.toml"), &text).unwrap();
        }
        let output = spread.tool(1, &["bootstrap"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let key = Path::new("cluster.key");
        for machine in 2..=MACHINES {
            let node = PathBuf::from(format!("data/node-{machine}"));
            std::fs::create_dir(spread.home(machine).join("data")).unwrap();
            std::fs::rename(spread.home(1).join(&node), spread.home(machine).join(&node)).unwrap();
            std::fs::copy(spread.home(1).join(key), spread.home(machine).join(key)).unwrap();
        }
        spread
    }

    /// What stands for the disk of a machine.
    fn home(&self, machine: usize) -> PathBuf {
        self.folder.path().join(format!("machine-{machine}"))
    }

    fn command(&self, machine: usize, arguments: &[&str]) -> Command {
        let mut command = Command::new(feira_tests::feira!());
        command.arg("--config").arg(self.home(machine).join("feira.toml")).args(arguments);
        self.machines.on(machine, &command)
    }

    /// A tool on a machine, to its end.
    fn tool(&self, machine: usize, arguments: &[&str]) -> Output {
        let mut tool = Dialogue::start(self.command(machine, arguments));
        tool.hang_up();
        tool.output_within(LONG)
    }

    /// Starts a part on a machine.
    fn run(&mut self, machine: usize, part: &[&str]) {
        let log = self.log(machine, part[0]);
        let process = Process::start(part[0], self.command(machine, part), &log);
        self.parts.insert(log, process);
    }

    fn run_node(&mut self, machine: usize) {
        self.run(machine, &["store", "--node", &machine.to_string()]);
    }

    fn kill_node(&mut self, machine: usize) {
        self.parts.remove(&self.log(machine, "store")).unwrap().kill();
    }

    fn log(&self, machine: usize, part: &str) -> PathBuf {
        self.home(machine).join(format!("{part}.log"))
    }

    /// What a machine's `feira status` says of the nodes, once so many answer and one of them leads; and who.
    fn leader(&self, machine: usize, answering: usize) -> (usize, Value) {
        wait::until_blocking(&format!("a leader, seen from machine {machine}"), 2 * PATIENCE, || {
            let output = self.tool(machine, &["--json", "status"]);
            let said = String::from_utf8(output.stdout).unwrap();
            let status: Value = serde_json::from_str(said.lines().next().unwrap_or("{}")).unwrap();
            let nodes = status["nodes"].as_array().cloned().unwrap_or_default();
            let leads = nodes.iter().find(|node| node["role"] == "leader");
            let follow = nodes.iter().filter(|node| node["role"] == "follower").count();
            match leads.and_then(|node| node["node"].as_u64()) {
                Some(id) if follow + 1 == answering => Ok((usize::try_from(id).unwrap(), status)),
                _ => Err(format!("{said}{}", String::from_utf8_lossy(&output.stderr))),
            }
        })
    }

    /// What a tool on a machine says, which must do what it is asked.
    #[track_caller]
    fn done(&self, machine: usize, arguments: &[&str]) -> String {
        let output = self.tool(machine, arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

/// What a test that fails leaves to be read.
impl Drop for Spread {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said =
                self.parts.iter().map(|(log, process)| format!("{}: {}", log.display(), process.output()));
            said.for_each(|said| eprintln!("{said}"));
        }
    }
}

/// Where a node is reached.
fn address(machine: usize) -> String {
    format!("{}:7401", host(machine))
}

#[test]
fn nodes_of_three_machines_that_all_listen_everywhere_reach_each_other_where_each_says() {
    let machines = match Machines::join(MACHINES) {
        Ok(machines) => machines,
        Err(why) => {
            eprintln!("LEFT OUT, three machines: {why}");
            return;
        }
    };
    let mut spread = Spread::found(machines);
    (1..=MACHINES).for_each(|machine| spread.run_node(machine));
    spread.run(1, &["broker"]);
    spread.run(2, &["admin-portal"]);
    spread.run(3, &["client-portal"]);
    // Each machine sees all of them, at their own addresses.
    let mut leader = 0;
    for machine in 1..=MACHINES {
        spread.done(machine, &["health", "--strict", "--wait", "60"]);
        let (leads, status) = spread.leader(machine, MACHINES);
        for (id, node) in (1..).zip(status["nodes"].as_array().unwrap()) {
            assert_eq!(node["address"], address(id), "{status}");
        }
        leader = leads;
    }
    let stock = "insert-client ana {}; insert-product fig description=Fig quantity=9 price=2";
    spread.done(1, &["admin", "-c", stock]);
    // The leader is gone: another leads, and the shop sells on.
    spread.kill_node(leader);
    let elsewhere = leader % MACHINES + 1;
    let (next, _) = spread.leader(elsewhere, MACHINES - 1);
    assert_ne!(next, leader);
    spread.done(elsewhere, &["health", "--wait", "60"]);
    spread.done(elsewhere, &["shop", "--cid", "ana", "create-order", "fig=2"]);
    spread.run_node(leader);
    spread.leader(leader, MACHINES);
    spread.done(leader, &["shop", "--cid", "ana", "create-order", "fig=3"]);
    spread.done(leader, &["audit"]);
    let fig = spread.done(leader, &["--json", "admin", "get-product", "fig"]);
    let fig: Value = serde_json::from_str(&fig).unwrap();
    assert_eq!(fig["stock"]["available"], 4, "{fig}");
    // What they tell each other, tools and operators is never the address that means every address.
    let members = spread.done(leader, &["--json", "member", "list"]);
    for machine in 1..=MACHINES {
        assert!(members.contains(&address(machine)) && !members.contains("0.0.0.0"), "{members}");
    }
    for process in spread.parts.values() {
        assert!(process.is_running() && !process.output().contains("panicked"), "{}", process.output());
    }
}

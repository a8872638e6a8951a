//! Machines of their own on this one: network namespaces, each with one address, joined by a bridge in a namespace that holds
//! nothing else. Nothing of it is seen from outside, and all of it goes with the value. Needs root, and the programs `ip`
//! (iproute2), `unshare` and `nsenter` (util-linux).
//!
//! ```text
//!   machine 1: eth0 10.77.0.1 ─┐
//!   machine 2: eth0 10.77.0.2 ─┼─ bridge, in the namespace of the switch
//!   machine 3: eth0 10.77.0.3 ─┘
//! ```

use std::process::Command;

use crate::cluster::PATIENCE;
use crate::process::Dialogue;
use crate::wait;

/// What holds a namespace open says when it does.
const READY: &str = "ready";

/// The machines.
pub struct Machines {
    /// Each holds a namespace until its input ends, which it does with this process, too.
    holders: Vec<Dialogue>,
    /// Holds the one with the bridge.
    _switch: Dialogue,
}

impl Machines {
    /// So many, which reach each other.
    ///
    /// # Errors
    /// They may not be made here, or a program for it is not there.
    pub fn join(count: usize) -> Result<Machines, String> {
        let switch = hold()?;
        let holders = (0..count).map(|_| hold()).collect::<Result<Vec<Dialogue>, String>>()?;
        ip(&switch, "link add bridge type bridge")?;
        ip(&switch, "link set bridge up")?;
        for (at, machine) in (1..).zip(&holders) {
            ip(&switch, &format!("link add port{at} type veth peer name eth0 netns {}", machine.id()))?;
            ip(&switch, &format!("link set port{at} master bridge up"))?;
            ip(machine, "link set lo up")?;
            ip(machine, &format!("address add {}/24 dev eth0", host(at)))?;
            ip(machine, "link set eth0 up")?;
        }
        Ok(Machines { holders, _switch: switch })
    }

    /// The command on one of them, from 1.
    #[must_use]
    pub fn on(&self, machine: usize, command: &Command) -> Command {
        inside(&self.holders[machine - 1], command)
    }
}

/// Where a machine is reached, from 1.
#[must_use]
pub fn host(machine: usize) -> String {
    format!("10.77.0.{machine}")
}

/// Holds a new network namespace.
fn hold() -> Result<Dialogue, String> {
    let mut unshare = Command::new("unshare");
    unshare.args(["--net", "sh", "-c", "echo ready; exec cat"]);
    is_there("unshare")?;
    let mut holder = Dialogue::start(unshare);
    wait::until_blocking("a network namespace", PATIENCE, || {
        let held = holder.said().contains(READY);
        match holder.ended() {
            _ if held => Ok(Ok(())),
            Some(_) => Ok(Err(format!("no network namespace: {}", holder.complained()))),
            None => Err("not yet"),
        }
    })?;
    Ok(holder)
}

fn inside(holder: &Dialogue, command: &Command) -> Command {
    let mut inside = Command::new("nsenter");
    inside.arg(format!("--net=/proc/{}/ns/net", holder.id())).arg(command.get_program());
    inside.args(command.get_args());
    inside
}

fn ip(on: &Dialogue, arguments: &str) -> Result<(), String> {
    is_there("ip")?;
    let mut ip = Command::new("ip");
    ip.args(arguments.split(' '));
    let output = inside(on, &ip).output().map_err(|error| format!("nsenter: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("ip {arguments}: {said}")) }
}

fn is_there(program: &str) -> Result<(), String> {
    Command::new(program).arg("-V").output().map(drop).map_err(|error| format!("{program}: {error}"))
}

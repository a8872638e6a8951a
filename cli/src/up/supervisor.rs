//! All children of a local cluster: started in order, broken and mended on request, stopped in order.
//!
//! A child that ends is not started again by itself: the person (or test) that watches decides, and sees why.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::child::{Child, State};
use super::parts::{Kind, Part, parts};
use crate::args::Act;
use crate::config::load::{Loaded, Sources, load};
use crate::failure::Failure;

/// What a part gets to stop gracefully: requests under way, leadership handed over, files closed.
const STOP_GRACE: Duration = Duration::from_secs(15);
/// SIGKILL takes no time of the process's own.
const KILL_GRACE: Duration = Duration::from_secs(5);

/// Refuses addresses that something else listens on.
fn require_free<'a>(parts: impl Iterator<Item = &'a Part>) -> Result<(), Failure> {
    let in_use = parts.filter_map(|part| {
        let error = TcpListener::bind(&part.address).err()?;
        Some(format!("{} at {}: {error}", part.name, part.address))
    });
    let in_use: Vec<String> = in_use.collect();
    if in_use.is_empty() {
        return Ok(());
    }
    Err(Failure::refused(format!("cannot listen for {}", in_use.join("; "))).next(
        "another cluster may run there (feira down in its folder); or change the ports in the file, 0 takes any free one",
    ))
}

/// The children.
pub struct Supervisor {
    /// The configuration they run by.
    pub loaded: Loaded,
    /// All parts.
    pub children: Vec<Child>,
    /// This binary.
    program: PathBuf,
}

impl Supervisor {
    /// The parts of a configuration, none started. Makes the folders for logs and control.
    ///
    /// # Errors
    /// A folder cannot be made, or this binary cannot be found.
    pub fn new(loaded: Loaded) -> Result<Supervisor, Failure> {
        let program = std::env::current_exe()
            .map_err(|e| Failure::refused(format!("cannot find this program's own file: {e}")))?;
        let logs = loaded.folder().join("log");
        std::fs::create_dir_all(&logs).map_err(|e| Failure::file("make", &logs, &e))?;
        let children = parts(&loaded.config).into_iter().map(|part| Child::new(part, &logs)).collect();
        Ok(Supervisor { loaded, children, program })
    }

    /// Marks nodes that are not to be started with the others.
    pub fn leave_out(&mut self, ids: impl Iterator<Item = u64>) {
        for id in ids {
            // One that the configuration does not have is no part.
            if let Some(child) = self.children.iter_mut().find(|child| child.part.kind == Kind::Node(id)) {
                child.left_out = true;
            }
        }
    }

    /// Reads the configuration again: parts that came wait for their start, parts that went must have ended.
    ///
    /// # Errors
    /// The configuration is wrong, or a part that is not in it any more runs.
    pub fn renew(&mut self) -> Result<String, Failure> {
        let sources = Sources { file: Some(self.loaded.path.clone()), set: self.loaded.set.clone() };
        let loaded = load(&sources)?;
        let wanted = parts(&loaded.config);
        self.notice();
        let gone = |child: &Child| !wanted.contains(&child.part);
        if let Some(child) = self.children.iter().find(|child| gone(child) && child.end().is_none()) {
            let name = &child.part.name;
            return Err(Failure::refused(format!(
                "{name} runs, and is not so in the configuration any more"
            ))
            .next(format!("stop it first: feira node stop {name}")));
        }
        let logs = loaded.folder().join("log");
        let mut before: Vec<Child> = self.children.drain(..).filter(|child| !gone(child)).collect();
        for part in wanted {
            let kept = before.iter().position(|child| child.part == part);
            self.children.push(kept.map_or_else(|| Child::new(part, &logs), |at| before.remove(at)));
        }
        self.loaded = loaded;
        Ok("the configuration was read again".to_owned())
    }

    /// Starts all parts but those left out. Whatever listens on an address of theirs already would be taken for them, so nothing may.
    ///
    /// # Errors
    /// An address is in use, and nothing was started; or a part cannot be started, and those before it run.
    pub fn start(&mut self) -> Result<(), Failure> {
        require_free(self.children.iter().filter(|child| !child.left_out).map(|child| &child.part))?;
        for child in self.children.iter_mut().filter(|child| !child.left_out) {
            child.start(&self.program, &self.loaded)?;
        }
        Ok(())
    }

    /// The child of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn child(&mut self, name: &str) -> Result<&mut Child, Failure> {
        self.children
            .iter_mut()
            .find(|child| child.part.name == name)
            .ok_or_else(|| Failure::usage(format!("there is no part {name:?}")))
    }

    /// Parts that ended by themselves since the last call, and how.
    pub fn notice(&mut self) -> Vec<(Part, String)> {
        self.children
            .iter_mut()
            .filter_map(|child| child.notice().map(|how| (child.part.clone(), how)))
            .collect()
    }

    /// Breaks or mends a part; says what was done.
    ///
    /// # Errors
    /// There is no such part, or it is not in a state for this.
    pub async fn act(&mut self, name: &str, act: Act) -> Result<String, Failure> {
        let (program, loaded) = (self.program.clone(), self.loaded.clone());
        let child = self.child(name)?;
        child.notice();
        match (act, &child.state) {
            (Act::Start, State::Running(_) | State::Paused(_)) => {
                Err(Failure::refused(format!("{name} runs already"))
                    .next(format!("stop it first: feira node restart {name} does both")))
            }
            (Act::Start, _) => {
                child.start(&program, &loaded)?;
                Ok(format!("{name} started"))
            }
            (Act::Restart, _) => {
                let running = !matches!(child.state, State::New | State::Ended(_));
                if running {
                    child.stop(STOP_GRACE).await;
                }
                child.start(&program, &loaded)?;
                Ok(format!("{name} restarted"))
            }
            (_, State::New | State::Ended(_)) => Err(Failure::refused(format!("{name} does not run"))
                .next(format!("start it: feira node start {name}"))),
            (Act::Kill, _) => {
                child.signal(Signal::SIGKILL);
                child.ended_within(KILL_GRACE).await;
                Ok(format!("{name} killed"))
            }
            (Act::Stop, _) => {
                let forced = child.stop(STOP_GRACE).await;
                Ok(format!("{name} stopped{}", if forced { " by force: its grace was over" } else { "" }))
            }
            (Act::Pause, _) => {
                child.signal(Signal::SIGSTOP);
                Ok(format!("{name} paused"))
            }
            (Act::Resume, _) => {
                child.signal(Signal::SIGCONT);
                Ok(format!("{name} goes on"))
            }
            (Act::HoldCommit | Act::HandOver | Act::Resync, _) => {
                Err(Failure::usage("this is asked of the node itself, not of its supervisor"))
            }
        }
    }

    /// Stops everything: portals, then nodes, then the broker; parts of a kind at the same time.
    pub async fn stop(&mut self) {
        let wave = |kind: Kind| match kind {
            Kind::AdminPortal(_) | Kind::ClientPortal(_) => 0,
            Kind::Node(_) => 1,
            Kind::Broker => 2,
        };
        for now in 0..3 {
            let of_wave = self.children.iter_mut().filter(|child| wave(child.part.kind) == now);
            futures::future::join_all(of_wave.map(|child| child.stop(STOP_GRACE))).await;
        }
    }

    /// The folder for what only lives while the cluster runs.
    #[must_use]
    pub fn run_folder(loaded: &Loaded) -> PathBuf {
        loaded.folder().join("run")
    }
}

/// Locks a cluster's folder: one supervisor at a time. The lock ends with the process.
///
/// # Errors
/// Another `feira up` runs it, or the folder cannot be used.
pub fn lock(run_folder: &Path) -> Result<std::fs::File, Failure> {
    let held = || {
        Failure::refused(format!("another feira up runs the cluster in {}", run_folder.display()))
            .next("stop it with feira down, or name another configuration with --config")
    };
    lock_file(run_folder, "up.lock", held)
}

/// Locks something else of a cluster's folder, which ends with the process too.
///
/// # Errors
/// It is locked, or the folder cannot be used.
pub fn lock_named(loaded: &Loaded, name: &str, held: &str) -> Result<std::fs::File, Failure> {
    let held = || Failure::refused(held).next("wait until it has ended");
    lock_file(&Supervisor::run_folder(loaded), name, held)
}

fn lock_file(
    run_folder: &Path,
    name: &str,
    held: impl FnOnce() -> Failure,
) -> Result<std::fs::File, Failure> {
    std::fs::create_dir_all(run_folder).map_err(|e| Failure::file("make", run_folder, &e))?;
    let path = run_folder.join(name);
    let open = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = open.map_err(|e| Failure::file("open", &path, &e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(held()),
        Err(std::fs::TryLockError::Error(e)) => Err(Failure::file("lock", &path, &e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_whose_address_another_program_has_is_not_taken_for_serving() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = other.local_addr().unwrap().to_string();
        let part = Part { kind: Kind::Node(1), name: "node-1".to_owned(), address: address.clone() };
        let failure = require_free([&part].into_iter()).unwrap_err();
        assert!(failure.message.contains(&address) && failure.message.contains("node-1"), "{failure}");
        drop(other);
        assert!(require_free([&part].into_iter()).is_ok());
    }
}

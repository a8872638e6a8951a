//! All children of a local cluster: started in order, broken and mended on request, stopped in order.
//!
//! A child that ends by itself is started again after a pause that grows, and that is said; not one that was stopped, nor one
//! that says that its files are damaged, nor any where a person (or test) wants to decide.
//!
//! Every child inherits a lock on the folder's `parts.lock`: after a kill of this process the next start of the cluster
//! waits until the last of them has ended.

use std::fs::{File, TryLockError};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::Signal;

use super::child::{Child, State};
use super::parts::{Kind, Part, parts};
use super::voice::Voice;
use crate::args::Act;
use crate::config::load::{Loaded, Sources, load};
use crate::config::shape::{BrokerKind, Node};
use crate::failure::Failure;
use crate::private;
use crate::reach::whose::named;

/// The time of a part to stop gracefully: requests under way, leadership transferred, files closed.
const STOP_GRACE: Duration = Duration::from_secs(15);
/// SIGKILL takes no time of the process's own.
const KILL_GRACE: Duration = Duration::from_secs(5);

/// What the parts of a `feira up` that was killed may take to end.
pub const PARTS_END_MAX: Duration = Duration::from_secs(60);
/// How often it is looked whether they have.
const PARTS_LOOK: Duration = Duration::from_millis(50);
/// A log is cut by its supervisor when it has so many times the bytes at which its part begins the next.
const LOG_TIMES_MAX: u64 = 2;

/// Refuses addresses that something else listens on, or two parts.
///
/// # Errors
/// There is such an address.
pub fn require_free<'a>(parts: impl Iterator<Item = &'a Part> + Clone) -> Result<(), Failure> {
    for (at, part) in parts.clone().enumerate() {
        if let Some(other) = parts.clone().take(at).find(|other| other.address == part.address) {
            let message = format!("{} and {} both listen at {}", other.name, part.name, part.address);
            return Err(Failure::refused(message).next(
                "feira up runs everything on one machine; start the nodes of several by feira store --node ID, each on its own",
            ));
        }
    }
    let in_use = parts.filter_map(|part| {
        let error = TcpListener::bind(&part.address).err()?;
        Some(format!("{} at {}: {error}", part.name, part.address))
    });
    let in_use: Vec<String> = in_use.collect();
    if in_use.is_empty() {
        return Ok(());
    }
    Err(Failure::refused(format!("cannot listen for {}", in_use.join("; "))).next(
        "stop what listens there (another cluster: feira down in its folder); a cluster that was founded keeps its ports, \
         which portals and tools elsewhere know; for a new one: feira up --any-ports where no file is yet",
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
    /// What it says.
    pub voice: Voice,
    /// Parts that ended by themselves are started again.
    pub restarts: bool,
    /// The lock that children inherit.
    _parts: File,
}

impl Supervisor {
    /// The parts of a configuration, none started. Makes the folders for logs and control. Waits until the parts that another
    /// left behind have ended.
    ///
    /// # Errors
    /// A folder cannot be made, this binary cannot be found, or parts of another run on.
    pub async fn new(loaded: Loaded, voice: Voice) -> Result<Supervisor, Failure> {
        let parts_lock = parts_lock(&Supervisor::run_folder(&loaded), &voice).await?;
        let program = std::env::current_exe()
            .map_err(|e| Failure::refused(format!("cannot find this program's own file: {e}")))?;
        let logs = loaded.folder().join("log");
        std::fs::create_dir_all(&logs).map_err(|e| Failure::file("make", &logs, &e))?;
        private::keep(&logs);
        private::keep(&Supervisor::run_folder(&loaded));
        let children = parts(&loaded.config).into_iter().map(|part| Child::new(part, &logs)).collect();
        Ok(Supervisor { loaded, children, program, voice, restarts: false, _parts: parts_lock })
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
        let loaded = named(load(&sources)?)?;
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
    pub fn notice(&mut self) -> Vec<(Part, ExitStatus)> {
        self.children
            .iter_mut()
            .filter_map(|child| child.notice().map(|how| (child.part.clone(), how)))
            .collect()
    }

    /// Starts the parts again whose pause is over, and says so.
    pub fn start_due(&mut self) {
        let now = Instant::now();
        for child in self.children.iter_mut().filter(|child| child.end().is_some()) {
            if child.again.is_due(now) {
                let name = child.part.name.clone();
                match child.start(&self.program, &self.loaded) {
                    Ok(()) => self.voice.say(&format!("{name} was started again")),
                    Err(failure) => {
                        let pause = child.again.ended(now);
                        self.voice.insist(&format!("{failure}; tried again in {} s", pause.as_secs()));
                    }
                }
            }
        }
    }

    /// Keeps the logs of all parts within their bounds.
    pub fn trim_logs(&self) {
        let (bytes, kept) = (self.loaded.config.log_bytes, self.loaded.config.log_files_kept);
        self.children.iter().for_each(|child| child.trim_log(bytes.saturating_mul(LOG_TIMES_MAX), kept));
    }

    /// Breaks or mends a part; says what was done, and to which replicas if a node holds several.
    ///
    /// # Errors
    /// There is no such part, or it is not in a state for this.
    pub async fn act(&mut self, name: &str, act: Act) -> Result<String, Failure> {
        let done = self.act_on(name, act).await?;
        let node = self.loaded.config.store.nodes.iter().find(|node| node.name() == name);
        let of = node.map(Node::with_its_replicas).unwrap_or_default();
        Ok(if of.is_empty() { done } else { format!("{done}, {of}") })
    }

    async fn act_on(&mut self, name: &str, act: Act) -> Result<String, Failure> {
        let (program, loaded) = (self.program.clone(), self.loaded.clone());
        let child = self.child(name)?;
        child.notice();
        let waited = child.again.forget();
        match (act, &child.state) {
            (Act::Stop | Act::Kill, State::Ended(_)) if waited => {
                Ok(format!("{name} had ended, and is not started again by itself"))
            }
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
                    child.stop(Signal::SIGTERM, STOP_GRACE).await;
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
                let forced = child.stop(Signal::SIGTERM, STOP_GRACE).await;
                Ok(format!("{name} stopped{}", if forced { " by force: its grace was over" } else { "" }))
            }
            (Act::Pause, _) => {
                child.signal(Signal::SIGSTOP);
                Ok(format!("{name} paused"))
            }
            (Act::Resume, _) => {
                child.signal(Signal::SIGCONT);
                Ok(format!("{name} resumed"))
            }
            (Act::HoldCommit | Act::TransferLeadership | Act::Resync, _) => {
                Err(Failure::usage("this is asked of the node itself, not of its supervisor"))
            }
        }
    }

    /// Stops everything, by this signal: portals, then nodes, then the broker; parts of a kind at the same time.
    pub async fn stop(&mut self, signal: Signal) {
        // To mosquitto SIGHUP is the order to read its settings again.
        let is_mosquitto = self.loaded.config.broker.kind == BrokerKind::Mosquitto;
        let of_part = |kind: Kind| match kind {
            Kind::Broker if is_mosquitto => Signal::SIGTERM,
            _ => signal,
        };
        let wave = |kind: Kind| match kind {
            Kind::AdminPortal(_) | Kind::ClientPortal(_) => 0,
            Kind::Node(_) => 1,
            Kind::Broker => 2,
        };
        for now in 0..3 {
            let of_wave = self.children.iter_mut().filter(|child| wave(child.part.kind) == now);
            let stops = of_wave.map(|child| child.stop(of_part(child.part.kind), STOP_GRACE));
            futures::future::join_all(stops).await;
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
pub fn lock(run_folder: &Path) -> Result<File, Failure> {
    let held = || {
        Failure::refused(format!("another feira up runs the cluster in {}", run_folder.display()))
            .next("stop it with feira down, or name another configuration with --config")
    };
    lock_file(run_folder, "up.lock", held)
}

/// The lock of this supervisor's parts, which all of them inherit. Waits until those of the one before, which was killed, have
/// ended: they see that it is gone and stop, and until then they have the ports and the nodes' folders.
async fn parts_lock(run_folder: &Path, voice: &Voice) -> Result<File, Failure> {
    let path = run_folder.join("parts.lock");
    let failed = |e: std::io::Error| Failure::file("lock", &path, &e);
    let file = open_lock(run_folder, &path)?;
    let deadline = Instant::now() + PARTS_END_MAX;
    let mut is_told = false;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(e)) => return Err(failed(e)),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                let message =
                    format!("parts of a feira up that was killed still run after {PARTS_END_MAX:?}");
                return Err(Failure::refused(message)
                    .next(format!("fuser {} names their processes; end them by hand", path.display())));
            }
            Err(TryLockError::WouldBlock) => {}
        }
        if !is_told {
            voice.say("the parts of a feira up that was killed are still ending; waiting for them");
            is_told = true;
        }
        tokio::time::sleep(PARTS_LOOK).await;
    }
    // Nobody else takes it meanwhile: whoever would has to have the supervisor's own lock first.
    file.lock_shared().map_err(failed)?;
    fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty())).map_err(|e| failed(e.into()))?;
    Ok(file)
}

fn open_lock(run_folder: &Path, path: &Path) -> Result<File, Failure> {
    std::fs::create_dir_all(run_folder).map_err(|e| Failure::file("make", run_folder, &e))?;
    let open = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(path);
    open.map_err(|e| Failure::file("open", path, &e))
}

/// Locks something else of a cluster's folder, which ends with the process too.
///
/// # Errors
/// It is locked, or the folder cannot be used.
pub fn lock_named(loaded: &Loaded, name: &str, held: &str) -> Result<File, Failure> {
    let held = || Failure::refused(held).next("wait until it has ended");
    lock_file(&Supervisor::run_folder(loaded), name, held)
}

fn lock_file(run_folder: &Path, name: &str, held: impl FnOnce() -> Failure) -> Result<File, Failure> {
    let path = run_folder.join(name);
    let file = open_lock(run_folder, &path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(held()),
        Err(TryLockError::Error(e)) => Err(Failure::file("lock", &path, &e)),
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
        let same = Part { kind: Kind::Node(2), name: "node-2".to_owned(), ..part.clone() };
        let failure = require_free([&part, &same].into_iter()).unwrap_err().to_string();
        assert!(failure.contains("node-1 and node-2 both listen at"), "{failure}");
    }
}

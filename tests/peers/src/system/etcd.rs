//! etcd: three members on one machine, with default settings.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use etcd_client::{Client, ConnectOptions};
use nix::sys::signal::Signal;

use super::ready::ready;
use crate::folder;
use crate::install;
use crate::ports;
use crate::process::{Launch, Process};

/// For the head of the report.
pub const SETUP: &str =
    "3 members, default settings (every commit is synchronised on a majority before it is acknowledged)";
/// Members.
const MEMBERS: usize = 3;
/// A member that does not answer a question within this is asked again.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// etcd, not started.
#[derive(Clone, Debug)]
pub struct Etcd {
    /// Its server.
    pub program: PathBuf,
}

/// etcd, started.
#[derive(Debug)]
pub struct Running {
    /// Its members, in their order.
    pub processes: Vec<Process>,
    program: PathBuf,
    folder: PathBuf,
    /// For clients and for peers, of each member.
    ports: [u16; 2 * MEMBERS],
}

impl Etcd {
    /// The program that is there, or is brought.
    ///
    /// # Errors
    /// It cannot be had.
    pub fn found() -> anyhow::Result<Etcd> {
        Ok(Etcd { program: install::etcd()? })
    }

    /// Starts three members that know each other, and waits for a leader.
    ///
    /// # Errors
    /// A member ends, or none leads in time.
    pub async fn start(&self, folder: &Path) -> anyhow::Result<Running> {
        let mut running = Running {
            processes: Vec::new(),
            program: self.program.clone(),
            folder: folder.to_owned(),
            ports: ports::free()?,
        };
        for member in 0..MEMBERS {
            let process = running.launch(member)?;
            running.processes.push(process);
        }
        running.ready().await?;
        Ok(running)
    }
}

impl Running {
    fn launch(&self, member: usize) -> anyhow::Result<Process> {
        let client = self.endpoint(member);
        let peer = |member: usize| format!("http://127.0.0.1:{}", self.ports[MEMBERS + member]);
        let all: Vec<String> = (0..MEMBERS).map(|each| format!("{}={}", name(each), peer(each))).collect();
        let folder = folder::below(&self.folder, &name(member))?;
        let arguments = [
            format!("--name={}", name(member)),
            format!("--data-dir={}", folder.join("data").display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={}", peer(member)),
            format!("--initial-advertise-peer-urls={}", peer(member)),
            format!("--initial-cluster={}", all.join(",")),
            "--initial-cluster-state=new".to_owned(),
        ];
        let name = format!("etcd-{}", name(member));
        let program = &self.program;
        Launch { name: &name, program, folder: &folder, account: None, stop: Signal::SIGKILL }
            .start(&arguments)
    }

    /// Where a member answers clients.
    #[must_use]
    pub fn endpoint(&self, member: usize) -> String {
        format!("http://127.0.0.1:{}", self.ports[member])
    }

    /// Where each does.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        (0..MEMBERS).map(|member| self.endpoint(member)).collect()
    }

    /// The number of the member that leads.
    ///
    /// # Errors
    /// They do not agree on one, or one does not answer.
    pub async fn leader(&self) -> anyhow::Result<usize> {
        leader(&self.endpoints()).await
    }

    /// Waits until every member knows one leader; its number.
    ///
    /// # Errors
    /// A member ends, or that does not come in time.
    pub async fn ready(&mut self) -> anyhow::Result<usize> {
        let endpoints = self.endpoints();
        ready("etcd", &mut self.processes, async || leader(&endpoints).await).await
    }

    /// Kills a member as a machine dies.
    pub fn kill(&mut self, member: usize) {
        self.processes[member].end();
    }

    /// Starts a member that was killed, on its own folder.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn restart(&mut self, member: usize) -> anyhow::Result<()> {
        self.processes[member] = self.launch(member)?;
        Ok(())
    }
}

/// The member that leads, as all of them say.
async fn leader(endpoints: &[String]) -> anyhow::Result<usize> {
    let mut leaders = Vec::new();
    let mut ids = Vec::new();
    for endpoint in endpoints {
        let options = ConnectOptions::new().with_timeout(ANSWER_MAX).with_connect_timeout(ANSWER_MAX);
        let mut client = Client::connect([endpoint], Some(options)).await?;
        let status = client.status().await?;
        ids.push(status.header().context("a status has no header")?.member_id());
        leaders.push(status.leader());
    }
    let led = leaders[0];
    if led == 0 || leaders.iter().any(|leader| *leader != led) {
        bail!("its members do not agree on a leader");
    }
    ids.iter().position(|id| *id == led).context("the leader is none of its members")
}

fn name(member: usize) -> String {
    format!("m{}", member + 1)
}

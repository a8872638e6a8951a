//! Redis: a primary and two replicas, each with an append-only file that is synchronised after every write.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use nix::sys::signal::Signal;

use super::ready::ready;
use crate::folder;
use crate::ports;
use crate::process::{Launch, Process};

/// For the head of the report.
pub const SETUP: &str = "primary and 2 replicas, appendonly yes, appendfsync always; each write is followed by WAIT 1, which promises \
                         less than a quorum: a replica has received it, and a failover can lose it";
/// The servers; the primary comes first.
const SERVERS: [&str; 3] = ["redis-primary", "redis-replica-1", "redis-replica-2"];

/// Redis, not started.
#[derive(Clone, Debug)]
pub struct Redis {
    /// Its server.
    pub program: PathBuf,
}

/// Redis, started.
#[derive(Debug)]
pub struct Running {
    /// The primary, and its replicas.
    pub processes: Vec<Process>,
    /// Of the primary.
    port: u16,
}

impl Redis {
    /// Starts all three, and waits until both replicas follow.
    ///
    /// # Errors
    /// One ends, or that does not come in time.
    pub async fn start(&self, folder: &Path) -> anyhow::Result<Running> {
        let ports: [u16; SERVERS.len()] = ports::free()?;
        let mut processes = Vec::new();
        for (name, port) in SERVERS.into_iter().zip(ports) {
            let folder = folder::below(folder, name)?;
            let mut arguments: Vec<String> =
                ["--bind", "127.0.0.1", "--appendonly", "yes", "--appendfsync", "always"]
                    .map(str::to_owned)
                    .to_vec();
            // No snapshots beside the file of all writes, and no pause before a replica gets its first copy.
            arguments.extend(["--save", "", "--repl-diskless-sync-delay", "0"].map(str::to_owned));
            arguments.extend([
                "--port".to_owned(),
                port.to_string(),
                "--dir".to_owned(),
                folder.display().to_string(),
            ]);
            if port != ports[0] {
                arguments.extend(["--replicaof".to_owned(), "127.0.0.1".to_owned(), ports[0].to_string()]);
            }
            let launch = Launch {
                name,
                program: &self.program,
                folder: &folder,
                account: None,
                stop: Signal::SIGKILL,
            };
            processes.push(launch.start(&arguments)?);
        }
        let mut running = Running { processes, port: ports[0] };
        let client = running.client()?;
        ready("Redis", &mut running.processes, async || follow(&client).await).await?;
        Ok(running)
    }
}

impl Running {
    /// A client of the primary, not connected yet.
    ///
    /// # Errors
    /// The address is none.
    pub fn client(&self) -> anyhow::Result<redis::Client> {
        let address = format!("redis://127.0.0.1:{}/", self.port);
        redis::Client::open(address.as_str()).with_context(|| format!("{address} is no address of Redis"))
    }
}

/// That both replicas follow the primary.
async fn follow(client: &redis::Client) -> anyhow::Result<()> {
    let mut connection = client.get_multiplexed_async_connection().await?;
    let info: String = redis::cmd("INFO").arg("replication").query_async(&mut connection).await?;
    let online =
        info.lines().filter(|line| line.starts_with("slave") && line.contains("state=online")).count();
    if online < SERVERS.len() - 1 {
        bail!("{online} of its replicas follow");
    }
    Ok(())
}

//! PostgreSQL: a primary and two streaming standbys, of which any one has to have a commit on its disk.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, bail};
use nix::sys::signal::Signal;
use tokio_postgres::{Client, Config, NoTls};

use super::ready::ready;
use crate::folder::Account;
use crate::install;
use crate::ports;
use crate::process::{Launch, Process, command_as};

/// For the head of the report.
const SETUP: &str = "primary and 2 streaming standbys, synchronous_standby_names = 'ANY 1 (s1, s2)', synchronous_commit = on, \
                     fsync = on; isolation read committed, a pool of at most 64 connections; an order is BEGIN, SELECT FOR UPDATE, UPDATE, \
                     INSERT, COMMIT";
const SETUP_CTE: &str = "as postgres, but an order is one statement";
/// The account under which it runs for root, which it refuses to serve.
const ACCOUNT: &str = "postgres";
/// The servers; the primary comes first.
const SERVERS: [&str; 3] = ["primary", "s1", "s2"];

/// PostgreSQL, not started.
#[derive(Clone, Debug)]
pub struct Postgres {
    /// The folder of its programs.
    pub programs: PathBuf,
    /// Orders go as one statement, and nothing else is measured.
    pub one_statement: bool,
    account: Option<Account>,
}

/// PostgreSQL, started.
#[derive(Debug)]
pub struct Running {
    /// The primary, and its standbys.
    pub processes: Vec<Process>,
    /// Orders go as one statement.
    pub one_statement: bool,
    /// Of the primary.
    port: u16,
}

impl Postgres {
    /// The programs that are there, or are installed.
    ///
    /// # Errors
    /// They cannot be had, or the account is missing.
    pub fn found(one_statement: bool) -> anyhow::Result<Postgres> {
        let programs = install::postgres()?;
        Ok(Postgres { programs, one_statement, account: Account::unless_common(ACCOUNT)? })
    }

    /// For the head of the report.
    #[must_use]
    pub fn setup(&self) -> &'static str {
        if self.one_statement { SETUP_CTE } else { SETUP }
    }

    /// Starts the primary, copies it twice, and waits until both copies follow.
    ///
    /// # Errors
    /// A step fails, or that does not come in time.
    pub async fn start(&self, folder: &Path) -> anyhow::Result<Running> {
        if let Some(account) = self.account {
            account.own(folder)?;
        }
        let ports: [u16; SERVERS.len()] = ports::free()?;
        let data = |server: usize| folder.join(SERVERS[server]);
        let primary = data(0).display().to_string();
        let options = [
            "--auth=trust",
            "--username=postgres",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
            "--pgdata",
        ];
        self.run("initdb", &options, &primary)?;
        let names = "synchronous_standby_names = 'ANY 1 (s1, s2)'\nsynchronous_commit = on\nfsync = on\n";
        self.configure(&data(0), &format!("{}{names}", settings(SERVERS[0], ports[0])))?;
        let mut running = Running {
            processes: vec![self.launch(folder, 0)?],
            one_statement: self.one_statement,
            port: ports[0],
        };
        let config = running.config();
        ready("PostgreSQL", &mut running.processes, async || connected(&config).await.map(drop)).await?;
        for server in 1..SERVERS.len() {
            let from = format!("--port={}", ports[0]);
            let options = [
                &from,
                "--host=127.0.0.1",
                "--username=postgres",
                "--write-recovery-conf",
                "--checkpoint=fast",
                "--pgdata",
            ];
            self.run("pg_basebackup", &options, &data(server).display().to_string())?;
            self.configure(&data(server), &settings(SERVERS[server], ports[server]))?;
            running.processes.push(self.launch(folder, server)?);
        }
        ready("PostgreSQL", &mut running.processes, async || follow(&config).await).await?;
        Ok(running)
    }

    fn launch(&self, folder: &Path, server: usize) -> anyhow::Result<Process> {
        let name = format!("postgres-{}", SERVERS[server]);
        let program = &self.programs.join("postgres");
        // By SIGQUIT it gives its shared memory back, which a kill would leave behind.
        let account = self.account.as_ref();
        let launch = Launch { name: &name, program, folder, account, stop: Signal::SIGQUIT };
        launch.start(&["-D".as_ref(), folder.join(SERVERS[server]).as_os_str()])
    }

    /// Runs one of its programs to its end.
    fn run(&self, program: &str, options: &[&str], folder: &str) -> anyhow::Result<()> {
        let path = self.programs.join(program);
        let mut command = command_as(self.account.as_ref(), None, &path);
        command.args(options).arg(folder).stdin(Stdio::null()).current_dir("/");
        let output =
            command.output().with_context(|| format!("cannot run {} by setpriv(1)", path.display()))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{program}: {}: {}", output.status, said.lines().last().unwrap_or("it wrote nothing"));
        }
        Ok(())
    }

    /// Adds settings; of two for one name the later counts.
    fn configure(&self, data: &Path, settings: &str) -> anyhow::Result<()> {
        let file = data.join("postgresql.conf");
        let opened = OpenOptions::new().append(true).open(&file);
        let written = opened.and_then(|mut file| file.write_all(settings.as_bytes()));
        written.with_context(|| format!("cannot write {}", file.display()))
    }
}

fn settings(name: &str, port: u16) -> String {
    format!(
        "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = ''\ncluster_name = '{name}'\n"
    )
}

impl Running {
    /// How the primary is reached.
    #[must_use]
    pub fn config(&self) -> Config {
        let mut config = Config::new();
        config.host("127.0.0.1").port(self.port).user("postgres").dbname("postgres");
        config
    }
}

/// A connection, driven by a task of its own until the client is dropped.
///
/// # Errors
/// The server does not take it.
pub async fn connected(config: &Config) -> anyhow::Result<Client> {
    let (client, connection) = config.connect(NoTls).await?;
    // Its error comes to whoever uses the client.
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}

/// That both standbys follow, and are waited for.
async fn follow(config: &Config) -> anyhow::Result<()> {
    let client = connected(config).await?;
    let query =
        "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = 'quorum'";
    let following: i64 = client.query_one(query, &[]).await?.get(0);
    if following < 2 {
        bail!("{following} of its standbys follow");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_listens_on_the_loopback_network_alone() {
        let text = settings("s1", 4_000);
        assert!(
            text.contains("listen_addresses = '127.0.0.1'\n")
                && text.contains("unix_socket_directories = ''\n")
        );
        assert!(text.contains("port = 4000\n") && text.contains("cluster_name = 's1'\n"));
    }
}

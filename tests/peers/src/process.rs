//! A server process: started in a process group of its own with its output in a file, and ended with all below it.
//!
//! Promises: dropping it ends it and every process below it, and waits for it. If the bench itself is killed, the kernel
//! sends it the signal by which it stops (`setpriv --pdeathsig`), so that nothing outlives the bench.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cpu::Snapshot;
use crate::folder::Account;
use crate::wait;

/// A server that is asked to stop gets so long; then it is killed.
const GRACE: Duration = Duration::from_secs(5);
/// Lines of a server's output that an error shows.
const LINES_SHOWN: usize = 5;

/// A server process.
#[derive(Debug)]
pub struct Process {
    /// Its name in messages.
    pub name: String,
    child: Child,
    log: PathBuf,
    /// By which it is ended.
    stop: Signal,
}

/// A program with its arguments, to be started.
#[derive(Debug)]
pub struct Launch<'a> {
    /// Its name in messages, and of its log.
    pub name: &'a str,
    /// Where it is.
    pub program: &'a Path,
    /// The folder in which it runs and its log is.
    pub folder: &'a Path,
    /// The account under which it runs; `None`: this one.
    pub account: Option<&'a Account>,
    /// By which it is ended, and by the kernel if the bench is killed: SIGKILL only for one that starts no others.
    pub stop: Signal,
}

impl Launch<'_> {
    /// Starts it. To be called by the main thread alone: the kernel takes the end of the thread for that of the bench.
    ///
    /// # Errors
    /// The log cannot be written, or the program not be started.
    pub fn start<S: AsRef<OsStr>>(&self, arguments: &[S]) -> anyhow::Result<Process> {
        let log = self.folder.join(format!("{}.log", self.name));
        let open = File::options().create(true).append(true).open(&log);
        let out = open.with_context(|| format!("cannot write {}", log.display()))?;
        let err = out.try_clone().with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = command_as(self.account, Some(self.stop), self.program);
        command.args(arguments).current_dir(self.folder).process_group(0);
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        let child = command.spawn();
        let child =
            child.with_context(|| format!("cannot start {} by setpriv(1)", self.program.display()))?;
        Ok(Process { name: self.name.to_owned(), child, log, stop: self.stop })
    }
}

/// A command that runs under an account, and is told of our end by a signal.
#[must_use]
pub fn command_as(account: Option<&Account>, at_our_end: Option<Signal>, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    if let Some(account) = account {
        command.arg(format!("--reuid={}", account.uid)).arg(format!("--regid={}", account.gid));
        command.arg("--clear-groups");
    }
    if let Some(signal) = at_our_end {
        command.args(["--pdeathsig", signal.as_str().trim_start_matches("SIG")]);
    }
    command.arg("--").arg(program);
    command
}

impl Process {
    /// Its id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// That it still runs.
    ///
    /// # Errors
    /// It has ended: how, and the last of its output.
    pub fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => bail!("{} ended ({status}); {}", self.name, self.last_words()),
            Err(error) => Err(error).with_context(|| format!("cannot look after {}", self.name)),
        }
    }

    /// The last lines of its output, for messages.
    #[must_use]
    pub fn last_words(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let mut lines: Vec<&str> = text.lines().rev().take(LINES_SHOWN).collect();
        lines.reverse();
        if lines.is_empty() {
            "it wrote nothing".to_owned()
        } else {
            format!("its last output: {}", lines.join(" | "))
        }
    }

    /// Ends it and all below it, and waits for it.
    pub fn end(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        if self.stop != Signal::SIGKILL {
            signal(self.pid(), self.stop);
            let has_ended = || !matches!(self.child.try_wait(), Ok(None));
            if wait::holds_within(GRACE, has_ended) {
                return;
            }
        }
        // Stopped first, so that it starts nothing again while its tree is looked up.
        signal(self.pid(), Signal::SIGSTOP);
        let below = Snapshot::taken().map(|all| all.tree(&[self.pid()])).unwrap_or_default();
        signal(self.pid(), Signal::SIGKILL);
        below.into_iter().for_each(|pid| signal(pid, Signal::SIGKILL));
        // An error here is that it was waited for already.
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// Sends a signal; a process that is gone takes none.
pub fn signal(pid: u32, signal: Signal) {
    if let Ok(pid) = i32::try_from(pid) {
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn launch(folder: &Path, stop: Signal) -> Process {
        let shell = Path::new("/bin/sh");
        let launch = Launch { name: "shell", program: shell, folder, account: None, stop };
        launch.start(&["-c", "echo begun; sleep 600 & wait"]).unwrap()
    }

    #[test]
    fn what_is_dropped_ends_with_all_below_it() {
        let folder = tempfile::tempdir().unwrap();
        let process = launch(folder.path(), Signal::SIGKILL);
        let tree = || Snapshot::taken().unwrap().tree(&[process.pid()]);
        assert!(wait::holds_within(PATIENCE, || tree().len() == 2));
        let all = tree();
        drop(process);
        assert!(wait::holds_within(PATIENCE, || all.iter().all(|pid| is_gone(*pid))));
    }

    /// A process that nobody waited for yet has ended all the same.
    fn is_gone(pid: u32) -> bool {
        std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
    }

    #[test]
    fn one_that_ended_is_told_with_its_last_output() {
        let folder = tempfile::tempdir().unwrap();
        let shell = Path::new("/bin/sh");
        let launch = Launch {
            name: "shell",
            program: shell,
            folder: folder.path(),
            account: None,
            stop: Signal::SIGTERM,
        };
        let mut process = launch.start(&["-c", "echo the port is taken; exit 3"]).unwrap();
        let _ = process.child.wait();
        let told = process.check().expect_err("it ended").to_string();
        assert!(told.contains("exit status: 3") && told.contains("the port is taken"), "{told}");
    }
}

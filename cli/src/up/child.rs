//! One child process: started, signalled, reaped; its output in a file of its own.
//!
//! It is in a process group of its own, so that Ctrl-C reaches only the supervisor, which stops parts in order.
//! A pipe on its standard input ends when the supervisor is gone, however that happened; the child then stops.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child as Process, ChildStdin, Command};
use tokio::time::timeout;

use super::again::Again;
use super::control::Ended;
use super::parts::Part;
use crate::config::load::Loaded;
use crate::failure::Failure;

/// How a child is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// Not started yet.
    New,
    /// Running, with this process id.
    Running(u32),
    /// Stopped by SIGSTOP.
    Paused(u32),
    /// Ended, and how.
    Ended(String),
}

/// A part and its process.
pub struct Child {
    /// What it is.
    pub part: Part,
    /// It is not started with the others: something has to be done about it first.
    pub left_out: bool,
    /// How it is.
    pub state: State,
    process: Option<Process>,
    /// Held open while the child shall live.
    lifeline: Option<ChildStdin>,
    log: PathBuf,
    /// The length of its log when it was started last.
    log_from: u64,
    /// When it is started again, if it ended by itself.
    pub again: Again,
}

impl Child {
    /// A part that is not started yet; its log will be in `logs`.
    #[must_use]
    pub fn new(part: Part, logs: &Path) -> Child {
        let log = logs.join(format!("{}.log", part.name));
        Child {
            part,
            left_out: false,
            state: State::New,
            process: None,
            lifeline: None,
            log,
            log_from: 0,
            again: Again::default(),
        }
    }

    /// Its log file.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Starts it.
    ///
    /// # Errors
    /// The log cannot be opened, or the process not started.
    pub fn start(&mut self, program: &Path, loaded: &Loaded) -> Result<(), Failure> {
        let open = OpenOptions::new().create(true).append(true).open(&self.log);
        let log = open.map_err(|e| Failure::file("open the log", &self.log, &e))?;
        let again = log.try_clone().map_err(|e| Failure::file("open the log", &self.log, &e))?;
        self.log_from = log.metadata().map_or(0, |log| log.len());
        let mut command = Command::new(program);
        command.arg("--config").arg(&loaded.path);
        for set in &loaded.set {
            command.arg("--set").arg(set);
        }
        command.args(self.part.arguments());
        command.stdin(Stdio::piped()).stdout(log).stderr(again).process_group(0).kill_on_drop(true);
        let mut process =
            command.spawn().map_err(|e| Failure::refused(format!("cannot start {}: {e}", self.part.name)))?;
        self.lifeline = process.stdin.take();
        self.state = State::Running(process.id().unwrap_or(0));
        self.process = Some(process);
        self.again.started(Instant::now());
        Ok(())
    }

    /// Notices whether it has ended by itself; returns how, once.
    pub fn notice(&mut self) -> Option<ExitStatus> {
        let ended = self.process.as_mut()?.try_wait().ok().flatten()?;
        self.gone(ended.to_string());
        Some(ended)
    }

    fn gone(&mut self, how: String) {
        self.state = State::Ended(how);
        self.process = None;
        self.lifeline = None;
    }

    /// Sends a signal. A child that has ended takes none.
    pub fn signal(&mut self, signal: Signal) {
        let (State::Running(pid) | State::Paused(pid)) = self.state else { return };
        let Ok(raw) = i32::try_from(pid) else { return };
        // It was not reaped yet, so that the number is still its own.
        if self.process.is_some() && kill(Pid::from_raw(raw), signal).is_ok() {
            match signal {
                Signal::SIGSTOP => self.state = State::Paused(pid),
                Signal::SIGCONT => self.state = State::Running(pid),
                _ => {}
            }
        }
    }

    /// Waits until it has ended; false if it has not within `patience`.
    pub async fn ended_within(&mut self, patience: Duration) -> bool {
        let Some(process) = self.process.as_mut() else { return true };
        match timeout(patience, process.wait()).await {
            Ok(ended) => {
                let how = ended.map_or_else(|e| e.to_string(), |status| status.to_string());
                self.gone(how);
                true
            }
            Err(_) => false,
        }
    }

    /// Stops it gracefully, by this signal, and by force when its grace is over. Returns whether force was needed.
    pub async fn stop(&mut self, signal: Signal, grace: Duration) -> bool {
        self.signal(signal);
        // A paused process takes the signal only when it goes on.
        self.signal(Signal::SIGCONT);
        if self.ended_within(grace).await {
            return false;
        }
        self.signal(Signal::SIGKILL);
        self.ended_within(grace).await;
        true
    }

    /// How it ended and what it said last; `None`: it runs. As it was noticed last.
    #[must_use]
    pub fn end(&self) -> Option<Ended> {
        match &self.state {
            State::Running(_) | State::Paused(_) => None,
            State::New => Some(Ended { how: "not started".to_owned(), words: String::new() }),
            State::Ended(how) => Some(Ended { how: how.clone(), words: self.last_words() }),
        }
    }

    /// Puts what it has written aside when that is more than `bytes`, and lets it go on in the same file. Parts of ours begin
    /// the next file themselves, long before: this is for mosquitto, and for what a part writes besides its log. A line that
    /// is written at this very moment may be lost.
    pub fn trim_log(&self, bytes: u64, kept: usize) {
        let is_long = std::fs::metadata(&self.log).is_ok_and(|log| log.len() > bytes);
        if !is_long {
            return;
        }
        let older = |at: usize| self.log.with_extension(format!("log.{at}"));
        for at in (1..kept).rev() {
            // One that is not there yet need not move.
            let _ = std::fs::rename(older(at), older(at + 1));
        }
        let copied = std::fs::copy(&self.log, older(1))
            .and_then(|_| OpenOptions::new().write(true).open(&self.log)?.set_len(0));
        if let Err(error) = copied {
            tracing::warn!(part = self.part.name, %error, "a log that is too long cannot be put aside");
        }
    }

    /// The last lines of its log since it was started, for explaining why it ended.
    #[must_use]
    pub fn last_words(&self) -> String {
        const LINES: usize = 8;
        const BYTES: u64 = 8 << 10;
        let mut text = Vec::new();
        // A log that cannot be read explains nothing.
        let _ = File::open(&self.log).and_then(|mut log| {
            let end = log.metadata()?.len();
            // The next file was begun meanwhile.
            let from = if self.log_from > end { 0 } else { self.log_from };
            log.seek(SeekFrom::Start(from.max(end.saturating_sub(BYTES))))?;
            log.take(BYTES).read_to_end(&mut text)
        });
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::parts::Kind;
    use super::*;

    #[test]
    fn a_log_that_its_part_does_not_cut_is_cut_and_written_on() {
        let folder = tempfile::tempdir().unwrap();
        let part = Part { kind: Kind::Broker, name: Kind::Broker.name(), address: "127.0.0.1:1".to_owned() };
        let child = Child::new(part, folder.path());
        let mut log = OpenOptions::new().create(true).append(true).open(child.log()).unwrap();
        for at in 0..5 {
            writeln!(log, "{at} is told by mosquitto").unwrap();
            child.trim_log(10, 2);
        }
        writeln!(log, "5 is told by mosquitto").unwrap();
        child.trim_log(1_000, 2);
        let text = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap_or_default();
        let all = ["broker.log", "broker.log.1", "broker.log.2", "broker.log.3"].map(text);
        assert_eq!(
            all,
            ["5 is told by mosquitto\n", "4 is told by mosquitto\n", "3 is told by mosquitto\n", ""]
        );
    }
}

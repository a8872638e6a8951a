//! A real child process that never outlives its test: its output goes to a file, signals are real signals. With a
//! [`Dialogue`] a test talks to one over pipes or a terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use crate::wait;

/// A running (or ended) child.
#[derive(Debug)]
pub struct Process {
    /// What it is called in messages.
    name: String,
    /// The child itself.
    child: Child,
    /// Where its output goes.
    log: PathBuf,
}

impl Process {
    /// Starts `command` with its output going to `log` (appended).
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(name: &str, mut command: Command, log: &Path) -> Process {
        let out = File::options().create(true).append(true).open(log).expect("the log file can be opened");
        let err = out.try_clone().expect("a file handle can be cloned");
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn();
        let child = child.unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        Process { name: name.to_owned(), child, log: log.to_owned() }
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal. After SIGSTOP all of its threads stand still: until the one thread that takes the signal is scheduled,
    /// the others go on, which on a busy machine is long enough to answer.
    ///
    /// # Panics
    /// If it is not there any more.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid fits"));
        kill(pid, signal).unwrap_or_else(|error| panic!("cannot signal {}: {error}", self.name));
        if signal == Signal::SIGSTOP {
            let stopped =
                waitid(Id::Pid(pid), WaitPidFlag::WSTOPPED | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
            stopped.unwrap_or_else(|error| panic!("{} cannot be waited for: {error}", self.name));
        }
    }

    /// kill -9, and waits until it is gone.
    ///
    /// # Panics
    /// If it cannot be waited for.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        self.child.wait().expect("a killed child can be waited for");
    }

    /// Asks it to end (SIGTERM) and waits.
    ///
    /// # Panics
    /// If it does not end within `within`.
    pub fn terminate(&mut self, within: Duration) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        let name = self.name.clone();
        wait::until_blocking(&format!("the end of {name}"), within, || {
            self.child.try_wait().expect("a child can be waited for").ok_or("still running")
        })
    }

    /// How it ended, if it has.
    ///
    /// # Panics
    /// If it cannot be waited for.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Whether it has not ended; one that has ended stays to be asked how.
    ///
    /// # Panics
    /// If the system does not say.
    #[must_use]
    pub fn is_running(&self) -> bool {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid fits"));
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        waitid(Id::Pid(pid), look).expect("a child can be looked at") == WaitStatus::StillAlive
    }

    /// How many files it may have open: the soft bound and the hard one.
    ///
    /// # Panics
    /// If the system does not say.
    #[must_use]
    pub fn files_max(&self) -> (u64, u64) {
        let path = format!("/proc/{}/limits", self.child.id());
        let text = std::fs::read_to_string(path).expect("a child has limits");
        let line = text.lines().find_map(|line| line.strip_prefix("Max open files")).expect("it says so");
        let mut numbers = line.split_whitespace().map(|word| word.parse().unwrap_or(u64::MAX));
        (numbers.next().expect("soft"), numbers.next().expect("hard"))
    }

    /// Lets it open so many files at most from now on; those that are open stay so.
    ///
    /// # Errors
    /// The program `prlimit` (of util-linux) is not there, or may not.
    pub fn bound_files(&self, most: u64) -> Result<(), String> {
        let mut prlimit = Command::new("prlimit");
        prlimit.arg(format!("--pid={}", self.child.id())).arg(format!("--nofile={most}:"));
        let output = prlimit.output().map_err(|error| format!("prlimit: {error}"))?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(()) } else { Err(said) }
    }

    /// The time for which it has used a processor, its own work and the system's for it.
    ///
    /// # Panics
    /// If the system does not say.
    #[must_use]
    pub fn worked(&self) -> Duration {
        let path = format!("/proc/{}/stat", self.child.id());
        let text = std::fs::read_to_string(path).expect("a child has numbers");
        // The name, in brackets, may have blanks.
        let (_, numbers) = text.rsplit_once(')').expect("a name");
        let numbers: Vec<&str> = numbers.split_whitespace().collect();
        let ticks: u64 = numbers[11..13].iter().map(|one| one.parse::<u64>().expect("ticks")).sum();
        // Of USER_HZ, which is 100 wherever feira is built for (proc(5)).
        Duration::from_millis(10 * ticks)
    }

    /// The memory of its own that it has in use, bytes.
    ///
    /// # Panics
    /// If the system does not say.
    #[must_use]
    pub fn memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let text = std::fs::read_to_string(path).expect("a child has a status");
        let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("it says so");
        let kib = line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of kB");
        kib << 10
    }

    /// What it has written so far.
    #[must_use]
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a terminal program asks to know where the cursor is, and what a terminal answers (ECMA-48, CPR).
const WHERE_IS_THE_CURSOR: &[u8] = b"\x1b[6n";
const AT_THE_TOP: &[u8] = b"\x1b[1;1R";

/// A child to talk to: what is said is its input, what it says is collected as it comes.
#[derive(Debug)]
pub struct Dialogue {
    /// The child itself.
    child: Child,
    /// Its input; `None` once there is no more.
    input: Option<File>,
    /// Its standard output so far, or all that it drew on its terminal.
    said: Arc<Mutex<Vec<u8>>>,
    /// Its standard error so far.
    complained: Arc<Mutex<Vec<u8>>>,
    /// The threads that collect.
    listening: Vec<JoinHandle<()>>,
}

impl Dialogue {
    /// Starts `command` with pipes.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(mut command: Command) -> Dialogue {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program can be started");
        let (said, complained) = (Arc::default(), Arc::default());
        let out = child.stdout.take().expect("a pipe was asked for");
        let err = child.stderr.take().expect("a pipe was asked for");
        let listening =
            vec![listen(out, None, Arc::clone(&said)), listen(err, None, Arc::clone(&complained))];
        let input = child.stdin.take().map(|pipe| File::from(std::os::fd::OwnedFd::from(pipe)));
        Dialogue { child, input, said, complained, listening }
    }

    /// Starts `command` on a terminal of its own, 120 columns by 40 lines.
    ///
    /// # Panics
    /// If the machine has no terminal to give, or the program cannot be started.
    #[must_use]
    pub fn on_terminal(command: Command) -> Dialogue {
        Dialogue::on_terminal_of(command, 120)
    }

    /// The same on a terminal with so many columns.
    ///
    /// # Panics
    /// As [`Dialogue::on_terminal`].
    #[must_use]
    pub fn on_terminal_of(mut command: Command, columns: u16) -> Dialogue {
        let size = Winsize { ws_row: 40, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).expect("the machine has pseudo terminals");
        let (ours, theirs) = (File::from(pty.master), File::from(pty.slave));
        let end = || Stdio::from(theirs.try_clone().expect("a file handle can be cloned"));
        let command = command.env("TERM", "xterm").stdin(end()).stdout(end()).stderr(end());
        let child = command.spawn().expect("the program can be started");
        let said = Arc::default();
        let again = |file: &File| file.try_clone().expect("a file handle can be cloned");
        let listening = vec![listen(again(&ours), Some(again(&ours)), Arc::clone(&said))];
        Dialogue { child, input: Some(ours), said, complained: Arc::default(), listening }
    }

    /// Says something, to the byte. A child that has ended hears nothing.
    pub fn say(&mut self, text: &str) {
        if let Some(input) = &mut self.input {
            let _ = input.write_all(text.as_bytes());
        }
    }

    /// Says no more.
    pub fn hang_up(&mut self) {
        self.input = None;
    }

    /// Its standard output so far, or all that it drew on its terminal.
    #[must_use]
    pub fn said(&self) -> String {
        text(&self.said)
    }

    /// Its standard error so far.
    #[must_use]
    pub fn complained(&self) -> String {
        text(&self.complained)
    }

    /// Waits until it has said something, on either output.
    ///
    /// # Panics
    /// If it does not within `within`.
    pub fn hears(&mut self, what: &str, within: Duration) {
        wait::until_blocking(&format!("{what:?} to be said"), within, || {
            let (said, complained) = (self.said(), self.complained());
            let heard = said.contains(what) || complained.contains(what);
            if heard { Ok(()) } else { Err(format!("{said}\n{complained}")) }
        });
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// If it is not there any more.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid fits"));
        kill(pid, signal).expect("a running child takes signals");
    }

    /// How it ended, if it has.
    ///
    /// # Panics
    /// If it cannot be waited for.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it does not end within `within`.
    pub fn ends_within(&mut self, within: Duration) -> ExitStatus {
        wait::until_blocking("the end of a program", within, || match self.ended() {
            Some(status) => Ok(status),
            None => Err(format!("it said: {}\n{}", self.said(), self.complained())),
        })
    }

    /// Waits for its end and for all that it said.
    ///
    /// # Panics
    /// If it does not end within `within`.
    pub fn output_within(mut self, within: Duration) -> Output {
        let status = self.ends_within(within);
        for listening in self.listening.drain(..) {
            listening.join().expect("a listener does not panic");
        }
        let whole = |bytes: &Mutex<Vec<u8>>| bytes.lock().expect("a listener does not panic").clone();
        Output { status, stdout: whole(&self.said), stderr: whole(&self.complained) }
    }
}

impl Drop for Dialogue {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(bytes: &Mutex<Vec<u8>>) -> String {
    String::from_utf8_lossy(&bytes.lock().expect("a listener does not panic")).into_owned()
}

/// Collects what comes, until it ends; on a terminal it also tells where the cursor is, as any terminal does.
fn listen(
    mut from: impl Read + Send + 'static,
    to: Option<File>,
    into: Arc<Mutex<Vec<u8>>>,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let (mut chunk, mut answered) = ([0; 4_096], 0);
        while let Ok(bytes) = from.read(&mut chunk) {
            if bytes == 0 {
                return;
            }
            let mut all = into.lock().expect("a listener does not panic");
            all.extend_from_slice(&chunk[..bytes]);
            let Some(mut to) = to.as_ref() else { continue };
            let asked =
                all.windows(WHERE_IS_THE_CURSOR.len()).filter(|it| *it == WHERE_IS_THE_CURSOR).count();
            for _ in answered..asked {
                let _ = to.write_all(AT_THE_TOP);
            }
            answered = asked;
        }
    })
}

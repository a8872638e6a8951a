//! The words that a person types at `feira up`, and only while it is in the foreground of its terminal: a program in the
//! background that reads is stopped by the kernel, and the shop with it.

use std::io::{IsTerminal, stdin};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{getpgrp, tcgetpgrp};
use tokio::sync::mpsc;

/// How often it is looked whether a program in the background has come to the foreground.
const LOOK: Duration = Duration::from_millis(500);

/// Reads lines on a thread of its own, to their end.
#[must_use]
pub fn words() -> mpsc::Receiver<String> {
    let (send, words) = mpsc::channel(1);
    let read = move || {
        // With this signal blocked, a read in the background fails instead of stopping the process.
        let mut background = SigSet::empty();
        background.add(Signal::SIGTTIN);
        let is_terminal = stdin().is_terminal() && background.thread_block().is_ok();
        while let Some(line) = next(is_terminal) {
            if send.blocking_send(line).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("words".into()).spawn(read).expect("a thread can be started");
    words
}

/// The next line; `None`: there will be none.
fn next(is_terminal: bool) -> Option<String> {
    let mut line = String::new();
    loop {
        match is_terminal.then(|| tcgetpgrp(stdin())) {
            // A file or a pipe, a terminal that is not the one of this session, or in the foreground.
            None | Some(Err(Errno::ENOTTY)) => {}
            Some(Ok(group)) if group == getpgrp() => {}
            Some(Ok(_)) => {
                std::thread::sleep(LOOK);
                continue;
            }
            // The terminal is gone.
            Some(Err(_)) => return None,
        }
        match stdin().read_line(&mut line) {
            Ok(0) => return None,
            Ok(_) => return Some(line),
            // It was sent to the background meanwhile.
            Err(e) if is_terminal && e.raw_os_error() == Some(Errno::EIO as i32) => std::thread::sleep(LOOK),
            Err(_) => return None,
        }
    }
}

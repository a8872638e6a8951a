//! The terminal between two lines, while a command runs.
//!
//! ```text
//!   read_line: raw │ a command runs: held │ read_line: raw │ … │ left: as it was before
//! ```
//!
//! Promises: what is typed or pasted while a command runs waits for the next line, unchanged; Ctrl-C is a signal
//! then; the terminal is given back as it was. Left alone, the terminal would turn each Enter typed meanwhile into a
//! line feed, which the line editor reads as Ctrl-J: it takes the first line and drops the rest of what came with it.

use std::io::stdin;

use futures::FutureExt;
use nix::sys::termios::{
    InputFlags, LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr,
};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A terminal that keeps what is typed for later. Gives it back when dropped.
pub struct Held {
    /// As it was before.
    before: Termios,
}

impl Held {
    /// Holds the terminal on standard input; `None` if there is none.
    #[must_use]
    pub fn hold() -> Option<Held> {
        let before = tcgetattr(stdin()).ok()?;
        let mut held = before.clone();
        held.input_flags.remove(InputFlags::ICRNL | InputFlags::INLCR | InputFlags::IGNCR);
        held.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
        held.control_chars[SpecialCharacterIndices::VMIN as usize] = 1;
        held.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
        tcsetattr(stdin(), SetArg::TCSANOW, &held).ok()?;
        Some(Held { before })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing given back.
        let _ = tcsetattr(stdin(), SetArg::TCSANOW, &self.before);
    }
}

/// Ctrl-C of a person who waits. Without a person, SIGINT ends the process as it always does.
pub struct Interrupts(Option<Signal>);

impl Interrupts {
    /// Takes Ctrl-C from here on, if there is a `person`. To be called inside a tokio runtime.
    #[must_use]
    pub fn of(person: bool) -> Interrupts {
        Interrupts(person.then(|| signal(SignalKind::interrupt()).ok()).flatten())
    }

    /// Forgets those that came before: they were meant for something else.
    pub fn forget(&mut self) {
        if let Some(signal) = &mut self.0 {
            while signal.recv().now_or_never().flatten().is_some() {}
        }
    }

    /// Ready at the next one; never without a person.
    pub async fn next(&mut self) {
        match &mut self.0 {
            Some(signal) => drop(signal.recv().await),
            None => std::future::pending().await,
        }
    }
}

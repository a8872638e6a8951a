//! The words of `feira up`: on its terminal, and in a log of its own, which is there when the terminal is gone.

use crate::show::out::Out;

/// The name of that log.
pub const PART: &str = "up";

/// Where it says it.
#[derive(Clone)]
pub struct Voice {
    /// The terminal; `None`: there is none, and nobody to read.
    out: Option<Out>,
}

impl Voice {
    /// On this terminal and in the log.
    #[must_use]
    pub fn on(out: &Out) -> Voice {
        Voice { out: Some(out.clone()) }
    }

    /// In the log alone.
    #[must_use]
    pub fn in_log() -> Voice {
        Voice { out: None }
    }

    /// Says something that must be known, also to whoever wants to hear nothing beside answers.
    pub fn insist(&self, text: &str) {
        if let Some(out) = &self.out {
            out.insist(text);
        }
        tracing::info!("{text}");
    }

    /// Says something.
    pub fn say(&self, text: &str) {
        if let Some(out) = &self.out {
            out.say(text);
        }
        tracing::info!("{text}");
    }
}

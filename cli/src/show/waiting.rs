//! One line on a terminal that says what is waited for, rewritten as that changes and gone when the wait is over.
//!
//! Promises: it is drawn on standard error only, and only if that is a terminal; it never wraps and never stays behind. Leaves
//! out why somebody waits.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::written::in_line;

/// The line of one wait.
#[derive(Debug, Default)]
pub struct Waiting {
    /// Whether there is a terminal, and somebody who looks at it.
    wanted: bool,
    /// While it is shown.
    bar: Option<ProgressBar>,
}

impl Waiting {
    /// For whoever looks at standard error, if `wanted` and if that is a terminal.
    #[must_use]
    pub fn on_terminal(wanted: bool) -> Waiting {
        Waiting { wanted: wanted && std::io::stderr().is_terminal(), bar: None }
    }

    /// Whether what is shown is seen.
    #[must_use]
    pub fn is_seen(&self) -> bool {
        self.wanted
    }

    /// Shows this in the place of what was shown before.
    pub fn show(&mut self, text: &str) {
        if !self.wanted {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.set_style(
                ProgressStyle::with_template("{wide_msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_spinner()),
            );
            bar
        });
        bar.set_message(in_line(text).into_owned());
        bar.tick();
    }

    /// Takes the line away.
    pub fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.clear();
    }
}

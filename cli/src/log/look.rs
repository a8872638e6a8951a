//! `feira log show`: one look at a log or at all of them, or one look after the other.

use std::time::Duration;

use super::show::{self, Wanted};
use super::side_by_side;
use crate::config::load::Loaded;
use crate::failure::Failure;
use crate::repl::mode::Interrupts;
use crate::show::out::Out;

/// Between two looks at what is followed.
const FOLLOW: Duration = Duration::from_secs(1);

/// The logs that are to be shown.
#[derive(Clone, Copy, Debug)]
pub enum Of {
    /// Of this node.
    Node(u64),
    /// Of all nodes, side by side.
    All,
}

/// Shows logs: once, or again and again until Ctrl-C.
///
/// # Errors
/// There is no such node, or its folder cannot be read.
pub async fn run(
    loaded: &Loaded,
    of: Of,
    wanted: Wanted,
    folder: bool,
    follow: bool,
    out: &Out,
) -> Result<(), Failure> {
    // Taken before the first look: who sees it may press Ctrl-C at once.
    let mut interrupts = Interrupts::of(follow);
    loop {
        let looked = async {
            match of {
                Of::Node(id) => show::show(loaded, id, wanted, folder).await,
                Of::All => side_by_side::show(loaded, wanted, folder).await,
            }
        };
        let answer = tokio::select! {
            answer = looked => answer?,
            () = interrupts.next() => return Ok(()),
        };
        if follow {
            out.clear();
        }
        out.answer(&answer);
        out.check()?;
        if !follow || out.is_closed() {
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(FOLLOW) => {}
            () = interrupts.next() => return Ok(()),
        }
    }
}

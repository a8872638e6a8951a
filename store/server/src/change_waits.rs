//! A change of members that waits for silent nodes, as a problem for the operator: until they answer or come
//! back, nothing is committed.
//!
//! Promises: named in this leader's `problem`, with the nodes, while it waits for longer than a change needs. Leaves out the
//! change itself ([`crate::members`]).

use std::time::{Duration, Instant};

use store_core::{NodeId, Offset};
use store_engine::Status;

use crate::problems::{About, Problems};

/// A change that has waited for so long is a problem.
const WAITS: Duration = Duration::from_secs(1);

/// How long the change under way has waited.
#[derive(Debug, Default)]
pub(crate) struct ChangeWaits {
    /// The membership in force that is not committed, and since when.
    since: Option<(Offset, Instant)>,
}

impl ChangeWaits {
    /// Looks at the node's word, and raises or clears the problem.
    pub(crate) fn look(&mut self, problems: &Problems, status: &Status, now: Instant) {
        if status.awaited.is_empty() {
            self.since = None;
            if problems.clear(About::ChangeWaits) {
                tracing::info!("the change of members goes on");
            }
            return;
        }
        let at = status.members_at;
        let since = match self.since {
            Some((waits, since)) if waits == at => since,
            _ => now,
        };
        self.since = Some((at, since));
        if now.saturating_duration_since(since) >= WAITS {
            let text = text(at, &status.awaited);
            if problems.raise(About::ChangeWaits, text.clone()) {
                tracing::warn!("{text}");
            }
        }
    }
}

fn text(at: Offset, awaited: &[NodeId]) -> String {
    let nodes: Vec<String> = awaited.iter().map(|node| node.0.to_string()).collect();
    let (word, names) = (if nodes.len() == 1 { "node" } else { "nodes" }, nodes.join(", "));
    format!(
        "a change of members (offset {at}) waits for {word} {names}: until a majority of the voters before it and one of those \
         after it have it, no write is committed; start what is down"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_waits_is_named_with_the_nodes_that_it_waits_for() {
        let told = text(Offset(7), &[NodeId(2), NodeId(3)]);
        assert!(told.contains("(offset 7) waits for nodes 2, 3"), "{told}");
    }
}

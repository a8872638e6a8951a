//! Giving leadership away and waiting until somebody else has it, bounded.

use std::time::Duration;

use proto::store::LeaderHint;
use store_core::{NodeId, Role, RoleView};
use store_engine::Job;

use crate::shared::Shared;

/// Transfers leadership; returns the new leader. `None`: it was given up, or took too long.
pub(crate) async fn transfer_leadership(
    shared: &Shared,
    to: Option<NodeId>,
    limit: Duration,
) -> Option<LeaderHint> {
    let me = shared.me.member.node;
    let mut role = shared.role.subscribe();
    let mut failed = shared.transfer_failed.subscribe();
    failed.mark_unchanged();
    shared.inbox.post([Job::TransferLeadership { to }]);
    let another =
        |view: &RoleView| view.role != Role::Leader && view.leader.is_some_and(|leader| leader != me);
    let handed = async {
        tokio::select! {
            view = role.wait_for(another) => view.ok().map(|view| *view),
            _ = failed.changed() => None,
        }
    };
    let view = tokio::time::timeout(limit, handed).await.ok().flatten()?;
    shared.leader_hint(view.leader, view.epoch)
}

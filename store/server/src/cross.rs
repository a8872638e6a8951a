//! The driver of transactions over several groups ([`store_cross`]), on this replica's node and the handle on its ring.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use proto::store::{Failure, LeaderHint};
use store_client::Sharded;
use store_core::{Epoch, NodeId, RoleView};
use store_cross::gate::Gate;
use store_cross::{Append, Host};
use store_engine::Applied;
use store_engine::front::NodeResponse;
use tokio::sync::watch;

use crate::shared::{Ask, Shared, Table};

/// The driver.
pub(crate) type Cross = store_cross::Cross<Shared, Sharded>;

/// Starts the driver of a node of a ring of several shards; `None`: there is only one.
pub(crate) fn start(shared: &Arc<Shared>) -> Result<Option<Arc<Cross>>, Failure> {
    let Some(forward) = shared.forward.as_ref().filter(|forward| !forward.is_whole()) else {
        return Ok(None);
    };
    let deadline = Duration::from_millis(Cross::PARTICIPANT_MS_MAX);
    let groups = forward.new_handle(shared.keys.borrow().id(), deadline)?;
    Ok(Cross::start(shared, groups))
}

impl Host for Shared {
    type Table = Table;

    fn group(&self) -> u64 {
        self.me.route.group
    }

    fn node(&self) -> NodeId {
        self.me.member.node
    }

    fn request_ms_max(&self) -> u64 {
        self.config.request_ms_max
    }

    fn table(&self) -> &Table {
        &self.table
    }

    fn gate(&self) -> &Gate {
        &self.gate
    }

    fn role(&self) -> watch::Receiver<RoleView> {
        self.role.subscribe()
    }

    fn applied(&self) -> watch::Receiver<Applied> {
        self.applied.subscribe()
    }

    fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }

    fn leader_hint(&self, leader: Option<NodeId>, epoch: Epoch) -> Option<LeaderHint> {
        Shared::leader_hint(self, leader, epoch)
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }

    async fn append(&self, append: Append) -> Result<NodeResponse, Failure> {
        self.ask(asked(append)).await
    }

    async fn append_for_ever(&self, append: Append) -> Result<NodeResponse, Failure> {
        self.ask_for_ever(asked(append)).await
    }
}

fn asked(append: Append) -> Ask {
    match append {
        Append::Write(command) => Ask::Write(command),
        Append::WriteAnyway(command) => Ask::WriteAnyway(command),
    }
}

//! The replica and the other groups' leaders, as the driver sees them.
//!
//! Promises: none of its own. A server implements them with its node's inbox and a [`Sharded`], a simulation with its own.

use std::future::Future;

use bytes::Bytes;
use futures::future::BoxFuture;
use proto::store::ask_request::Question;
use proto::store::prepare_request::Part;
use proto::store::{AskAnswer, Failure, FinishAck, Finishing, LeaderHint, PrepareAnswer};
use store_client::pipeline::{self, Pipelined};
use store_client::{Error, Sharded, Store};
use store_core::ring::Ring;
use store_core::{Epoch, NodeId, RoleView};
use store_engine::front::{NodeResponse, Standing, failure_of, reply_of};
use store_engine::{Answer, Applied, Reply};
use tokio::sync::watch;

use crate::gate::Gate;

/// A command for the group's log.
#[derive(Clone, Debug)]
pub enum Append {
    /// A client's.
    Write(Bytes),
    /// One that ends transactions over several groups, or a cut: taken also where clients' writes are refused because replicas differ,
    /// or room is short.
    WriteAnyway(Bytes),
}

/// This replica.
pub trait Host: Standing + Send + Sync + 'static {
    /// Its state machine's table.
    type Table: store_db::Table;

    /// Its group.
    fn group(&self) -> u64;
    /// Its node.
    fn node(&self) -> NodeId;
    /// For so long a request waits at most, milliseconds.
    fn request_ms_max(&self) -> u64;
    /// For reads.
    fn table(&self) -> &Self::Table;
    /// Who waits for keys that are locked.
    fn gate(&self) -> &Gate;
    /// Who leads.
    fn role(&self) -> watch::Receiver<RoleView>;
    /// Where the applier stands.
    fn applied(&self) -> watch::Receiver<Applied>;
    /// True: the node stops.
    fn stopping(&self) -> watch::Receiver<bool>;
    /// The leader, in the form for callers.
    fn leader_hint(&self, leader: Option<NodeId>, epoch: Epoch) -> Option<LeaderHint>;
    /// Runs a task. It watches [`Host::stopping`], or waits only for what ends with the node.
    fn spawn(&self, task: BoxFuture<'static, ()>);

    /// Puts a command to the node and waits for what it is told, for as long as a request waits at most.
    fn append(&self, append: Append) -> impl Future<Output = Result<NodeResponse, Failure>> + Send;

    /// The same, until it is told something or the node stops.
    fn append_for_ever(&self, append: Append) -> impl Future<Output = Result<NodeResponse, Failure>> + Send;
}

/// What the state machine's refusal means to a caller; `Ok` is the reply itself.
pub(crate) fn reply(host: &impl Host, response: NodeResponse) -> Result<Reply, Failure> {
    reply_of(response, |leader, epoch| host.leader_hint(leader, epoch))
}

/// What the node's refusal of a request means to a caller.
pub(crate) fn failure(host: &impl Host, answer: &Answer) -> Failure {
    failure_of(answer, |leader, epoch| host.leader_hint(leader, epoch))
}

/// The leaders of the ring's groups, by slot.
pub trait Leaders: Clone + Send + Sync + 'static {
    /// The ring.
    fn ring(&self) -> &Ring;

    /// Has branches prepared.
    fn prepare(
        &self,
        slot: usize,
        parts: Vec<Part>,
    ) -> impl Future<Output = Result<Vec<PrepareAnswer>, Error>> + Send;

    /// Has prepared branches ended.
    fn finish(
        &self,
        slot: usize,
        finishes: Vec<Finishing>,
    ) -> impl Future<Output = Result<Vec<FinishAck>, Error>> + Send;

    /// Asks what was decided.
    fn ask(
        &self,
        slot: usize,
        questions: Vec<Question>,
    ) -> impl Future<Output = Result<Vec<AskAnswer>, Error>> + Send;
}

impl<S: Store + Pipelined + Clone + Send + Sync + 'static> Leaders for Sharded<S> {
    fn ring(&self) -> &Ring {
        Sharded::ring(self)
    }

    async fn prepare(&self, slot: usize, parts: Vec<Part>) -> Result<Vec<PrepareAnswer>, Error> {
        pipeline::prepare(self.shard(slot), parts).await
    }

    async fn finish(&self, slot: usize, finishes: Vec<Finishing>) -> Result<Vec<FinishAck>, Error> {
        pipeline::finish(self.shard(slot), finishes).await
    }

    async fn ask(&self, slot: usize, questions: Vec<Question>) -> Result<Vec<AskAnswer>, Error> {
        pipeline::ask(self.shard(slot), questions).await
    }
}

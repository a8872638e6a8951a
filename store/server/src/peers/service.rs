//! The `Replication` service: what peers begin here. Only members call it; who does not say rightly who he is and
//! whom he means is refused with what differs.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use prost::Message as _;
use proto::store::replication_server::Replication;
use proto::store::{
    FetchSnapshotRequest, Peer, PushMessage, PushReply, SnapshotBlock, VoteReply, VoteRequest,
};
use store_client::failure::{failure, invalid, status_from};
use store_core::{Incarnation, Member, Message, NodeId, Position};
use store_engine::{Job, Snapshots, convert};
use tonic::{Code, Request, Response, Status, Streaming};

use super::introduce::{REMOVED, from_peer};
use super::mailbox::Replies;
use super::{Peers, serve_snapshot};
use crate::config::CLUSTER_NAME_BYTES_MAX;
use crate::problems::About;
use crate::shared::{Disk, Shared, contains, stopping};

/// The service.
#[derive(Clone)]
pub(crate) struct ReplicationService {
    peers: Arc<Peers>,
    snapshots: Arc<Snapshots<Disk>>,
}

impl ReplicationService {
    pub(crate) fn new(peers: Arc<Peers>, snapshots: Arc<Snapshots<Disk>>) -> ReplicationService {
        ReplicationService { peers, snapshots }
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.peers.shared
    }

    /// Who calls; a caller who is mixed up is told, and so is whoever looks after this node.
    ///
    /// A leader may be a folder that is not known here yet: its epoch will tell. So may a candidate, whose log then `ends`
    /// after the one here.
    fn introduced(
        &self,
        peer: Option<&Peer>,
        ends: Option<Position>,
        address: Option<SocketAddr>,
    ) -> Result<Member, Status> {
        let checked = check_peer(self.shared(), peer).and_then(|member| {
            let behind = ends.is_some_and(|ends| ends <= self.shared().status().last);
            if behind { check_folder(self.shared(), member) } else { Ok(member) }
        });
        if let Err(refused) = &checked {
            let from = address.map_or_else(|| "somewhere".to_owned(), |address| address.to_string());
            let named = peer.map_or(0, |peer| peer.node);
            let why = refused.message();
            let text = format!("a caller at {from}{}{why}", refused_as(named));
            if self.shared().problems.notice(About::Caller, text) {
                tracing::warn!(from, node = named, why, "a peer's call was refused: it does not belong here");
            }
        } else if let Some(peer) = peer {
            // Whoever was mixed up (with a folder that was replaced, say) has found its way.
            let was = refused_as(peer.node);
            self.shared().problems.clear_if(About::Caller, |text| text.contains(&was));
        }
        checked
    }
}

fn refused_as(node: u64) -> String {
    format!(", as node {node}, was refused: ")
}

/// Refuses a peer that is of another cluster, group or ring, means another node, or is not who it was.
fn check_peer(shared: &Shared, peer: Option<&Peer>) -> Result<Member, Status> {
    let mixed = |field: &str, message: String| status_from(&invalid(format!("peer.{field}"), message));
    let peer = peer.ok_or_else(|| mixed("cluster", "the introduction is missing".to_owned()))?;
    let me = &shared.me;
    if peer.cluster != me.cluster.as_bytes() {
        let theirs = &peer.cluster[..peer.cluster.len().min(CLUSTER_NAME_BYTES_MAX)];
        let theirs = theirs.escape_ascii();
        return Err(mixed("cluster", format!("this is cluster {}, not {theirs}", me.cluster)));
    }
    if (peer.group, peer.ring_version) != (me.route.group, me.route.ring_version) {
        let (group, ring) = (me.route.group, me.route.ring_version);
        return Err(mixed("group", format!("this is group {group} of ring version {ring}")));
    }
    if peer.to_node != me.member.node.0 {
        return Err(mixed("to_node", format!("this is node {}, not {}", me.member.node.0, peer.to_node)));
    }
    if peer.to_incarnation != me.member.incarnation.0 {
        let (mine, meant) = (me.member.incarnation.0, peer.to_incarnation);
        return Err(mixed(
            "to_incarnation",
            format!("this folder is incarnation {mine:x}, not {meant:x}: it is a new member"),
        ));
    }
    // A node that is not known here may have become a member since: its epoch will tell.
    match peer.node {
        0 => Err(mixed("node", "node 0 is nobody".to_owned())),
        node if node == me.member.node.0 => Err(mixed("node", format!("node {node} speaks to itself"))),
        node => Ok(Member { node: NodeId(node), incarnation: Incarnation(peer.incarnation) }),
    }
}

/// Refuses a folder of a node that is known as another.
fn check_folder(shared: &Shared, peer: Member) -> Result<Member, Status> {
    let members = shared.members();
    let (node, theirs) = (peer.node, peer.incarnation.0);
    match members.by_node.get(&node.0).map(|known| known.incarnation) {
        Some(known) if known != theirs => {
            let message = format!("node {} is known as incarnation {known:x}, not {theirs:x}", node.0);
            Err(status_from(&invalid("peer.incarnation", message)))
        }
        _ => Ok(peer),
    }
}

/// Refuses a candidate that was removed and cannot know: the membership without it is committed here, and its log does
/// not reach as far as this one. The core would not vote for it either, but could not say why. Whether this membership
/// is the newest does not matter: who was let in by a later one has more in his log than this node.
fn check_candidate(shared: &Shared, peer: Member, last: Position) -> Result<(), Status> {
    let (members, status) = (shared.members(), shared.status());
    let known = members.membership.voters.is_empty() || contains(&members.membership, peer);
    if known || status.committed < status.members_at || last >= status.last {
        return Ok(());
    }
    let message = format!(
        "{} (incarnation {:x}) was removed from the group: the membership at offset {} is without it",
        peer.node, peer.incarnation.0, status.members_at
    );
    Err(status_from(&invalid(REMOVED, message)))
}

/// There is no place for another caller who is no member.
fn crowded() -> Status {
    let message = "too many nodes that are no members of this group speak to this node";
    status_from(&failure(proto::store::FailureReason::Overloaded, message))
}

/// Tells the node, when it is dropped, that nothing more comes from a peer on this stream.
struct Lost {
    shared: Arc<Shared>,
    peer: NodeId,
}

impl Drop for Lost {
    fn drop(&mut self) {
        self.shared.inbox.post([Job::Reconnected { peer: self.peer }]);
    }
}

/// Brings a peer's pushes to the node until the stream ends.
async fn take_pushes(
    shared: Arc<Shared>,
    peer: Member,
    first: Option<PushMessage>,
    mut pushes: Streaming<PushMessage>,
) -> Result<(), Status> {
    let _lost = Lost { shared: Arc::clone(&shared), peer: peer.node };
    // An introduction may come alone.
    let mut next = first.filter(|first| first.message.is_some());
    loop {
        let push = match next.take() {
            Some(push) => push,
            None => match pushes.message().await? {
                Some(push) => push,
                None => return Ok(()),
            },
        };
        let bytes = push.encoded_len();
        let (message, entries) =
            convert::push_in(push).map_err(|error| status_from(&invalid("message", error.to_string())))?;
        let job = Job::Peer { from: peer, message, entries };
        shared.inbox.receive(job, bytes).await.map_err(|_| status_from(&stopping()))?;
    }
}

/// The answers on a push stream; the task that takes the pushes ends with it.
struct PushReplies {
    replies: Replies,
    taking: tokio::task::JoinHandle<Result<(), Status>>,
    /// The end of `taking` was told.
    told: bool,
}

impl Drop for PushReplies {
    fn drop(&mut self) {
        self.taking.abort();
    }
}

impl Stream for PushReplies {
    type Item = Result<PushReply, Status>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        use std::future::Future;
        use std::task::Poll;

        if let Poll::Ready(reply) = Pin::new(&mut self.replies).poll_next(context) {
            return Poll::Ready(reply);
        }
        if self.told {
            return Poll::Ready(None);
        }
        let ended = std::task::ready!(Pin::new(&mut self.taking).poll(context));
        self.told = true;
        // Why its pushes are not taken any more: the peer's log says so.
        Poll::Ready(ended.ok().and_then(Result::err).map(Err))
    }
}

#[tonic::async_trait]
impl Replication for ReplicationService {
    type PushStream = Pin<Box<dyn Stream<Item = Result<PushReply, Status>> + Send>>;
    type FetchSnapshotStream = Pin<Box<dyn Stream<Item = Result<SnapshotBlock, Status>> + Send>>;

    async fn push(
        &self,
        request: Request<Streaming<PushMessage>>,
    ) -> Result<Response<Self::PushStream>, Status> {
        let address = request.remote_addr();
        let mut pushes = request.into_inner();
        let first = pushes.message().await?;
        let hello = first.as_ref().and_then(|first| first.peer.as_ref());
        let peer = self.introduced(hello, None, address)?;
        self.shared().spoken_to(peer, hello.map_or("", |hello| &hello.address));
        let replies = self.peers.answers(peer.node).ok_or_else(crowded)?;
        let taking = tokio::spawn(take_pushes(Arc::clone(self.shared()), peer, first, pushes));
        Ok(Response::new(Box::pin(PushReplies { replies, taking, told: false })))
    }

    async fn vote(&self, request: Request<VoteRequest>) -> Result<Response<VoteReply>, Status> {
        let address = request.remote_addr();
        let request = request.into_inner();
        let ends = convert::position_in(request.last);
        let peer = self.introduced(request.peer.as_ref(), Some(ends), address)?;
        let message = convert::vote_request_in(&request)
            .map_err(|error| status_from(&invalid("epoch", error.to_string())))?;
        if let Message::VoteRequest(asked) = &message {
            check_candidate(self.shared(), peer, asked.last)?;
        }
        let answer = self.peers.votes.wait(peer.node, &self.shared().members()).ok_or_else(crowded)?;
        let brought = self.shared().inbox.receive(from_peer(peer, message), 0).await;
        brought.map_err(|_| status_from(&stopping()))?;
        let limit = Duration::from_millis(self.shared().config.request_ms_max);
        match tokio::time::timeout(limit, answer).await {
            Ok(Ok(Message::VoteReply(reply))) => Ok(Response::new(convert::vote_reply_out(&reply))),
            _ => Err(status_from(&failure(
                proto::store::FailureReason::Overloaded,
                "a later request of the same peer, or none in time, was answered",
            ))),
        }
    }

    async fn fetch_snapshot(
        &self,
        request: Request<FetchSnapshotRequest>,
    ) -> Result<Response<Self::FetchSnapshotStream>, Status> {
        let address = request.remote_addr();
        let request = request.into_inner();
        // The leader knows whom it offers a snapshot.
        self.introduced(request.peer.as_ref(), Some(Position::ZERO), address)?;
        let rate = self.shared().config.snapshot_bytes_per_second;
        let at = convert::position_in(request.at);
        let streamed = serve_snapshot::stream(Arc::clone(&self.snapshots), request, rate).await;
        let blocks = streamed.inspect_err(|refused| {
            if refused.code() == Code::NotFound {
                self.shared().inbox.post([Job::SnapshotWanted { at: at.offset }]);
            }
        })?;
        Ok(Response::new(Box::pin(blocks)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::mailbox::Mailbox;
    use futures::StreamExt;

    #[tokio::test]
    async fn a_push_that_could_not_be_taken_ended_the_stream_without_a_reason() {
        let taking = tokio::spawn(async { Err(status_from(&stopping())) });
        while !taking.is_finished() {
            tokio::task::yield_now().await;
        }
        let replies = Arc::new(Mailbox::default()).open();
        let mut answers = PushReplies { replies, taking, told: false };
        let why = answers.next().await.expect("an answer").expect_err("a refusal");
        assert!(why.message().contains("stopping"), "{why}");
        assert!(answers.next().await.is_none());
    }
}

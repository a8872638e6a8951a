//! The `Replication` service: the streams and calls that peers begin here. Only members are heard, and each frame proves
//! that it comes from one ([`super::session`]). A caller that names itself or this node wrongly is refused, with the
//! difference. Unproven callers take no place and reach no core.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use admission::Place;
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use prost::Message as _;
use proto::store::{FetchSnapshotRequest, Frame, Hello, Peer, VoteReply, VoteRequest, Welcome};
use store_client::failure::{failure, invalid, status_from};
use store_core::{Epoch, Incarnation, Member, NodeId, Position};
use store_engine::{Job, Snapshots, convert};
use store_keys::{Hearing, Kind, Responder, Speaking};
use tonic::{Code, Request, Response, Status, Streaming};

use super::entrance::unproven;
use super::introduce::from_peer;
use super::mailbox::Replies;
use super::session::{counted, decode, is_believed, peer_keys, wants_introduction};
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

    /// Lets a caller with a member's proof in, and returns the member; a refused caller is counted, and a problem for this
    /// node's operator.
    fn let_in(
        &self,
        kind: Kind,
        frame: &Frame,
        address: Option<SocketAddr>,
    ) -> Result<(Member, Responder), Status> {
        let hello = frame.hello.as_ref();
        let checked = check_hello(self.shared(), hello).and_then(|member| {
            let responder = self.peers.entrance.open(&peer_keys(self.shared()), kind, frame)?;
            Ok((member, responder))
        });
        self.logged(hello, address, checked)
    }

    /// Counts and tells of a caller that is refused, unless a member begins another session at once.
    fn logged<T>(
        &self,
        hello: Option<&Hello>,
        address: Option<SocketAddr>,
        checked: Result<T, Status>,
    ) -> Result<T, Status> {
        if let Err(refused) = &checked
            && !wants_introduction(refused)
        {
            let node = hello.and_then(|hello| hello.peer.as_ref()).map_or(0, |peer| peer.node);
            self.shared().strangers.refuse(
                &self.shared().problems,
                &format!("as node {node}"),
                address,
                refused,
            );
        }
        checked
    }

    /// Refuses a folder of a node that is known as another, unless its log `ends` after the one here: a candidate may be a newer
    /// one. So may a leader, whose epoch will tell.
    fn check_known(&self, member: Member, ends: Position, address: Option<SocketAddr>) -> Result<(), Status> {
        if ends > self.shared().status().last {
            self.found(member);
            return Ok(());
        }
        let checked = check_folder(self.shared(), member);
        if let Err(refused) = &checked {
            let who = format!("as node {}", member.node.0);
            self.shared().strangers.refuse(&self.shared().problems, &who, address, refused);
        }
        checked.inspect(|()| self.found(member))
    }

    /// A member that was mixed up (with a folder that was replaced, say) has found its way.
    fn found(&self, member: Member) {
        let was = refused_as(member.node.0);
        self.shared().problems.clear_if(About::Caller, |text| text.contains(&was));
    }
}

/// Refuses a peer that is of another cluster, whatever its name.
fn check_hello(shared: &Shared, hello: Option<&Hello>) -> Result<Member, Status> {
    let member = check_peer(shared, hello.and_then(|hello| hello.peer.as_ref()))?;
    let (mine, theirs) = (shared.keys.borrow().id(), hello.map_or(0, |hello| hello.cluster_id));
    if theirs != mine.get() {
        let message =
            format!("this is cluster {} ({mine}), not {theirs:016x} of the same name", shared.me.cluster);
        return Err(status_from(&invalid("peer.cluster", message)));
    }
    Ok(member)
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
fn check_folder(shared: &Shared, peer: Member) -> Result<(), Status> {
    let members = shared.members();
    let (node, theirs) = (peer.node, peer.incarnation.0);
    match members.by_node.get(&node.0).map(|known| known.incarnation) {
        Some(known) if known != theirs => {
            let message = format!("node {} is known as incarnation {known:x}, not {theirs:x}", node.0);
            Err(status_from(&invalid("peer.incarnation", message)))
        }
        _ => Ok(()),
    }
}

/// Why a candidate can never be voted for here that was removed and cannot know; empty: it was not. The membership without it
/// is committed here, and its log does not reach as far as this one. The core would not vote for it either, but could not say
/// why. Whether this membership is the newest does not matter: who was let in by a later one has more in his log than this
/// node.
fn removed(shared: &Shared, peer: Member, last: Position) -> String {
    let (members, status) = (shared.members(), shared.status());
    let known = members.membership.voters.is_empty() || contains(&members.membership, peer);
    if known || status.committed < status.members_at || last >= status.last {
        return String::new();
    }
    format!(
        "{} (incarnation {:x}) was removed from the group: the membership at offset {} is without it",
        peer.node, peer.incarnation.0, status.members_at
    )
}

/// The connection is a member's: it is not closed for others, whatever comes.
fn keeps_its_place(place: Option<&Place>) {
    if let Some(place) = place {
        place.is_members();
    }
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

/// Brings a peer's pushes to the node until the stream ends, or its key is believed no more.
async fn take_pushes(
    shared: Arc<Shared>,
    peer: Member,
    session: Responder,
    mut hearing: Hearing,
    mut pushes: Streaming<Frame>,
) -> Result<(), Status> {
    let _lost = Lost { shared: Arc::clone(&shared), peer: peer.node };
    let mut keys = shared.keys.clone();
    loop {
        let next = tokio::select! {
            next = pushes.message() => next?,
            // Without a sender the key stays as it is.
            Ok(()) = keys.changed() => {
                if is_believed(&shared, session.from()) {
                    continue;
                }
                return Err(unproven("session", "the key of this stream is believed no more"));
            }
        };
        let Some(frame) = next else { return Ok(()) };
        if let Err(why) = hearing.believe(&frame.body, &frame.mac) {
            let refused = unproven("peer.proof", why.to_string());
            let who = format!("on a stream of {}", peer.node);
            shared.strangers.refuse(&shared.problems, &who, None, &refused);
            return Err(refused);
        }
        let bytes = frame.body.len();
        let (message, entries) = convert::push_in(decode(frame.body)?)
            .map_err(|error| status_from(&invalid("message", error.to_string())))?;
        let job = Job::Peer { from: peer, message, entries };
        shared.inbox.receive(job, bytes).await.map_err(|_| status_from(&stopping()))?;
    }
}

/// The answers on a push stream; the task that takes the pushes ends with it.
struct PushReplies {
    replies: Replies,
    speaking: Speaking,
    taking: tokio::task::JoinHandle<Result<(), Status>>,
    /// The end of `taking` was told.
    logged: bool,
}

impl Drop for PushReplies {
    fn drop(&mut self) {
        self.taking.abort();
    }
}

impl Stream for PushReplies {
    type Item = Result<Frame, Status>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        use std::future::Future;
        use std::task::Poll;

        if let Poll::Ready(reply) = Pin::new(&mut self.replies).poll_next(context) {
            return Poll::Ready(reply.map(|reply| {
                let body = Bytes::from(reply?.encode_to_vec());
                let mac = self.speaking.seal(&body).mac;
                Ok(counted(body, mac))
            }));
        }
        if self.logged {
            return Poll::Ready(None);
        }
        let ended = std::task::ready!(Pin::new(&mut self.taking).poll(context));
        self.logged = true;
        // Why its pushes are not taken any more: the peer's log says so.
        Poll::Ready(ended.ok().and_then(Result::err).map(Err))
    }
}

/// Frames to a peer, one after another.
pub(crate) type Frames = Pin<Box<dyn Stream<Item = Result<Frame, Status>> + Send>>;

/// The calls of [`proto::store::replication_server::Replication`], for this replica.
impl ReplicationService {
    pub(crate) fn introduce(&self, request: Request<Hello>) -> Result<Response<Welcome>, Status> {
        let address = request.remote_addr();
        let hello = request.into_inner();
        let welcome = check_hello(self.shared(), Some(&hello))
            .and_then(|_| self.peers.entrance.welcome(&peer_keys(self.shared()), &hello));
        self.logged(Some(&hello), address, welcome).map(Response::new)
    }

    /// A stream of pushes, whose first frame was taken to know whose it is.
    pub(crate) fn push(
        &self,
        first: Frame,
        request: Request<Streaming<Frame>>,
    ) -> Result<Response<Frames>, Status> {
        let address = request.remote_addr();
        let place = request.extensions().get::<Place>().cloned();
        let pushes = request.into_inner();
        let (peer, session) = self.let_in(Kind::Push, &first, address)?;
        keeps_its_place(place.as_ref());
        let at = first.hello.and_then(|hello| hello.peer).map(|peer| peer.address).unwrap_or_default();
        self.found(peer);
        self.shared().spoken_to(peer, &at);
        let replies = self.peers.answers(peer.node).ok_or_else(crowded)?;
        let (hearing, speaking) = session.stream();
        let taking = tokio::spawn(take_pushes(Arc::clone(self.shared()), peer, session, hearing, pushes));
        Ok(Response::new(Box::pin(PushReplies { replies, speaking, taking, logged: false })))
    }

    pub(crate) async fn vote(&self, request: Request<Frame>) -> Result<Response<Frame>, Status> {
        let address = request.remote_addr();
        let place = request.extensions().get::<Place>().cloned();
        let frame = request.into_inner();
        let (peer, session) = self.let_in(Kind::Vote, &frame, address)?;
        keeps_its_place(place.as_ref());
        let asked: VoteRequest = decode(frame.body)?;
        self.check_known(peer, convert::position_in(asked.last), address)?;
        let reply = self.vote_of(peer, &asked).await?;
        let body = Bytes::from(reply.encode_to_vec());
        let mac = session.answer(0, &body);
        Ok(Response::new(counted(body, mac)))
    }

    pub(crate) async fn fetch_snapshot(&self, request: Request<Frame>) -> Result<Response<Frames>, Status> {
        let address = request.remote_addr();
        let place = request.extensions().get::<Place>().cloned();
        let frame = request.into_inner();
        let (peer, session) = self.let_in(Kind::Fetch, &frame, address)?;
        keeps_its_place(place.as_ref());
        let request: FetchSnapshotRequest = decode(frame.body)?;
        // The leader knows whom it offers a snapshot.
        self.check_known(peer, Position::ZERO, address)?;
        let rate = self.shared().config.snapshot_bytes_per_second;
        let at = convert::position_in(request.at);
        let streamed = serve_snapshot::stream(Arc::clone(&self.snapshots), request, rate).await;
        let blocks = streamed.inspect_err(|refused| {
            if refused.code() == Code::NotFound {
                self.shared().inbox.post([Job::SnapshotWanted { at: at.offset }]);
            }
        })?;
        let mut part = 0;
        let sealed = blocks.map(move |block| {
            let body = Bytes::from(block?.encode_to_vec());
            let mac = session.answer(part, &body);
            part += 1;
            Ok(counted(body, mac))
        });
        Ok(Response::new(Box::pin(sealed)))
    }

    /// This node's answer to a member's request for its vote.
    async fn vote_of(&self, peer: Member, asked: &VoteRequest) -> Result<VoteReply, Status> {
        let message = convert::vote_request_in(asked)
            .map_err(|error| status_from(&invalid("epoch", error.to_string())))?;
        let removed = removed(self.shared(), peer, convert::position_in(asked.last));
        if !removed.is_empty() {
            return Ok(VoteReply { removed, ..VoteReply::default() });
        }
        let answer = self
            .peers
            .votes
            .wait(peer.node, (Epoch(asked.epoch), asked.pre), &self.shared().members())
            .ok_or_else(crowded)?;
        let brought = self.shared().inbox.receive(from_peer(peer, message), 0).await;
        brought.map_err(|_| status_from(&stopping()))?;
        let limit = Duration::from_millis(self.shared().config.request_ms_max);
        match tokio::time::timeout(limit, answer).await {
            Ok(Ok(reply)) => {
                Ok(VoteReply { clock_ms: store_client::now_ms(), ..convert::vote_reply_out(&reply) })
            }
            _ => Err(status_from(&failure(
                proto::store::FailureReason::Overloaded,
                "a later request of the same peer, or none in time, was answered",
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::mailbox::Mailbox;
    use store_keys::{Admission, ClusterId, ClusterKey, End, Hello, KEY_BYTES, Purpose, Secret};

    fn speaking() -> Speaking {
        let cluster = ClusterId::new(1).expect("not 0");
        let keys = ClusterKey::new(cluster, Secret::new([1; KEY_BYTES])).keys(Purpose::Peer);
        let (end, key) = (End { node: 1, incarnation: 1 }, keys.first().id());
        let hello = Hello {
            kind: Kind::Push,
            cluster,
            group: 1,
            ring: 1,
            caller: end,
            responder: end,
            address: String::new(),
            nonce: [0; 16],
            key,
        };
        let mut admission = Admission::new([2; KEY_BYTES]);
        let welcome = admission.welcome(&keys, &hello).expect("the key is believed");
        let mut caller = store_keys::Caller::welcomed(&hello, &keys, &welcome).expect("it is proven");
        let opening = caller.seal(b"");
        let opened = admission.open(&keys, &hello, &welcome.cookie, opening.number, b"", &opening.mac.0);
        opened.expect("it is proven").stream().1
    }

    #[tokio::test]
    async fn a_push_that_cannot_be_taken_ends_the_stream_with_its_reason() {
        let taking = tokio::spawn(async { Err(status_from(&stopping())) });
        while !taking.is_finished() {
            tokio::task::yield_now().await;
        }
        let replies = Arc::new(Mailbox::default()).open();
        let mut answers = PushReplies { replies, speaking: speaking(), taking, logged: false };
        let why = answers.next().await.expect("an answer").expect_err("a refusal");
        assert!(why.message().contains("stopping"), "{why}");
        assert!(answers.next().await.is_none());
    }
}

//! This node's connection to one peer: the push stream while it leads, and requests for votes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message as _;
use proto::store::replication_client::ReplicationClient;
use proto::store::{FailureReason, Frame, PushMessage, PushReply, VoteReply};
use store_client::backoff::Backoff;
use store_client::failure::failure_from;
use store_core::limits::ELECTION_DOUBLINGS;
use store_core::{Incarnation, Member, NodeId, Role, VoteRequest};
use store_engine::{Job, Polled, Replicator, ReplicatorInbox, ReplicatorJob, ReplicatorOut, convert};
use store_keys::{Caller, Hearing, Kind};
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use super::dial::{Kept, address_of};
use super::introduce::{MESSAGE_BYTES_MAX, from_peer, told_by_peer};
use super::lines::dial_at;
use super::session::{Begun, begin, counted, decode, peer_keys, wants_introduction};
use crate::shared::{Disk, Shared};
use crate::trace;

/// Messages between the replicator and the connection: what a peer that stands still holds in memory, each at most
/// [`MESSAGE_BYTES_MAX`].
const MESSAGES_BUFFERED: usize = 4;
/// Messages made before the stream is looked at again.
const MESSAGES_PER_POLL: usize = 4;
/// Between two looks at what a peer tells of its clock and its program with every answer.
const TOLD_INTERVAL: Duration = Duration::from_secs(1);
/// The peer must open the stream within this.
const OPEN_MS_MAX: u64 = 1_000;
const BACKOFF_MS_FIRST: u64 = 10;
const BACKOFF_MS_MAX: u64 = 500;

/// The line to one peer.
pub(super) struct PeerConnection {
    inbox: ReplicatorInbox,
    /// Something was posted.
    posted: Arc<Notify>,
    /// The newest request for a vote.
    vote: Arc<(Mutex<Option<VoteRequest>>, Notify)>,
    tasks: [JoinHandle<()>; 2],
}

impl PeerConnection {
    /// Opens the line: its tasks connect when there is something to say.
    pub(super) fn open(
        runtime: &Handle,
        shared: Arc<Shared>,
        peer: NodeId,
        inbox: ReplicatorInbox,
        replicator: Replicator<Disk>,
    ) -> Arc<PeerConnection> {
        let posted = Arc::new(Notify::new());
        let vote = Arc::new((Mutex::new(None), Notify::new()));
        let pushing = Pushing {
            shared: Arc::clone(&shared),
            peer,
            replicator: Arc::new(Mutex::new(replicator)),
            inbox: inbox.clone(),
            posted: Arc::clone(&posted),
        };
        let tasks =
            [runtime.spawn(pushing.run()), runtime.spawn(ask_for_votes(shared, peer, Arc::clone(&vote)))];
        Arc::new(PeerConnection { inbox, posted, vote, tasks })
    }

    /// For the push stream; merges with what was not sent yet.
    pub(super) fn post(&self, job: ReplicatorJob) {
        self.inbox.post(job);
        self.posted.notify_one();
    }

    /// Asks for a vote; replaces a request that was not sent yet.
    pub(super) fn ask_vote(&self, request: VoteRequest) {
        *self.vote.0.lock() = Some(request);
        self.vote.1.notify_one();
    }

    /// Whether it says nothing any more.
    pub(super) fn is_closed(&self) -> bool {
        self.tasks.iter().all(JoinHandle::is_finished)
    }

    pub(super) fn close(&self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Why a stream is down.
struct Down {
    why: String,
    /// It may be the connection's fault: other streams had better begin on another one.
    is_of_line: bool,
}

impl From<String> for Down {
    fn from(why: String) -> Down {
        Down { why, is_of_line: true }
    }
}

impl Down {
    /// By the peer itself, which refuses this stream, or by the connection.
    fn said(status: &Status) -> Down {
        let is_of_line = failure_from(status).reason() == FailureReason::Unspecified;
        Down { why: status.message().to_owned(), is_of_line }
    }
}

/// The push stream over all its lives.
struct Pushing {
    shared: Arc<Shared>,
    peer: NodeId,
    /// Locked for one poll at a time, by this task or by the thread that reads the log for it.
    replicator: Arc<Mutex<Replicator<Disk>>>,
    inbox: ReplicatorInbox,
    posted: Arc<Notify>,
}

impl Pushing {
    async fn run(mut self) {
        let mut backoff = Backoff::new(BACKOFF_MS_FIRST, BACKOFF_MS_MAX);
        loop {
            while !self.inbox.has_work() {
                self.posted.notified().await;
            }
            let began = Instant::now();
            match self.stream().await {
                Ok(()) => {}
                Err(why) => {
                    tracing::debug!(peer = %self.peer, why, "the push stream is down");
                    tokio::time::sleep(backoff.after(began.elapsed())).await;
                }
            }
        }
    }

    /// One stream, for as long as this node leads.
    async fn stream(&mut self) -> Result<(), String> {
        let lines = Arc::clone(&self.shared.lines);
        let line = lines.to(address_of(&self.shared, self.peer)?, self.shared.me.route.group)?;
        self.stream_on(line.channel.clone()).await.map_err(|down| {
            if down.is_of_line {
                lines.broke(&line);
            }
            down.why
        })
    }

    async fn stream_on(&mut self, channel: Channel) -> Result<(), Down> {
        let peer = self.peer;
        let mut client = ReplicationClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let member = self.shared.members().by_node.get(&peer.0).cloned();
        let member = member.ok_or_else(|| format!("{peer} is not a member"))?;
        // It takes the stream only if it is this very folder.
        let folder = Member { node: peer, incarnation: Incarnation(member.incarnation) };
        let limit = Duration::from_millis(OPEN_MS_MAX);
        let Ok(opened) = tokio::time::timeout(limit, open(&self.shared, &mut client, &member)).await else {
            return Err(format!("not opened within {OPEN_MS_MAX} ms").into());
        };
        told_by_peer(&self.shared, peer, opened.as_ref());
        let (mut caller, sender, replies) = opened.map_err(|status| Down::said(&status))?;
        let hearing = caller.hearing();
        self.inbox.disconnected();
        self.shared.inbox.post([Job::Reconnected { peer }]);
        let shared = Arc::clone(&self.shared);
        let result = tokio::select! {
            ended = hear(&shared, folder, hearing, replies) => ended,
            ended = self.say(&mut caller, &sender) => ended,
        };
        self.inbox.disconnected();
        self.shared.inbox.post([Job::Reconnected { peer }]);
        Ok(result?)
    }

    /// Lets the replicator make messages; true if there may be more. The log is read from disk on another thread: this one
    /// has heartbeats of others to send.
    async fn poll(&self, outs: &mut Vec<ReplicatorOut>) -> Result<bool, String> {
        let polled = match self.replicator.try_lock() {
            Some(mut replicator) => {
                replicator.poll_in_memory(MESSAGES_PER_POLL, outs).map_err(|error| error.to_string())?
            }
            None => Polled::NeedsDisk,
        };
        if polled != Polled::NeedsDisk || !outs.is_empty() {
            return Ok(polled != Polled::Idle);
        }
        let (made, more) = poll_on_disk(Arc::clone(&self.replicator)).await?;
        outs.extend(made);
        Ok(more)
    }

    /// Sends what the replicator makes, as the stream has room. `Ok`: this node does not lead any more.
    async fn say(&self, caller: &mut Caller, sender: &mpsc::Sender<Frame>) -> Result<(), String> {
        let mut role = self.shared.role.subscribe();
        let mut keys = self.shared.keys.clone();
        let mut outs = Vec::new();
        loop {
            let more = self.poll(&mut outs).await?;
            let idle = outs.is_empty() && !more;
            for out in outs.drain(..) {
                match out {
                    ReplicatorOut::Send(message) => {
                        if self.shared.trace.is_watched() {
                            let event = trace::pushed(self.peer, &message);
                            event.into_iter().for_each(|event| self.shared.trace.record(|| event));
                        }
                        let body = Bytes::from(message.encode_to_vec());
                        let mac = caller.seal(&body).mac;
                        let sent = sender.send(counted(body, mac)).await;
                        sent.map_err(|_| "the connection is lost".to_owned())?;
                    }
                    ReplicatorOut::Purged => self.shared.inbox.post([Job::Reconnected { peer: self.peer }]),
                }
            }
            if !idle {
                continue;
            }
            tokio::select! {
                () = self.posted.notified() => {}
                // Without a sender the key stays as it is.
                Ok(()) = keys.changed() => {
                    if caller.from() != peer_keys(&self.shared).first().id() {
                        return Err("another key proves from now on".to_owned());
                    }
                }
                changed = role.changed() => {
                    let leads = changed.is_ok() && role.borrow_and_update().role == Role::Leader;
                    if !leads {
                        return Ok(());
                    }
                }
            }
        }
    }
}

/// A push stream that was opened: what seals, where frames go in, and where answers come out.
type Opened = (Caller, mpsc::Sender<Frame>, Streaming<Frame>);

/// Opens a push stream to a member, in a session of its own. The frame that opens it goes alone, so that nothing is said to who
/// does not hear.
async fn open(
    shared: &Shared,
    client: &mut ReplicationClient<Channel>,
    member: &proto::store::Member,
) -> Result<Opened, Status> {
    let mut begun = begin(shared, client, Kind::Push, member).await?;
    let (sender, receiver) = mpsc::channel(MESSAGES_BUFFERED);
    let opening = begun.call(&PushMessage::default());
    sender.try_send(opening).map_err(|error| Status::internal(error.to_string()))?;
    let replies = client.push(ReceiverStream::new(receiver)).await?.into_inner();
    Ok((begun.caller, sender, replies))
}

/// Turns a replicator on a thread that may wait for a disk. If nobody waits for it any more, its messages are lost with their
/// stream, of which the node hears.
async fn poll_on_disk(
    replicator: Arc<Mutex<Replicator<Disk>>>,
) -> Result<(Vec<ReplicatorOut>, bool), String> {
    let turning = tokio::task::spawn_blocking(move || {
        let mut outs = Vec::new();
        let more = replicator.lock().poll(MESSAGES_PER_POLL, &mut outs).map_err(|error| error.to_string())?;
        Ok((outs, more))
    });
    turning.await.map_err(|error| error.to_string())?
}

/// What a peer tells of itself; said again and again, since a node that begins to lead has forgotten it.
fn told(peer: NodeId, reply: &PushReply) -> impl Iterator<Item = Job> {
    let (wall_ms, version) = (reply.clock_ms, reply.state_machine_version);
    let clock = (wall_ms != 0).then_some(Job::PeerClock { peer, wall_ms });
    clock.into_iter().chain([Job::PeerVersion { peer, version }])
}

/// Hears the peer's answers.
async fn hear(
    shared: &Shared,
    peer: Member,
    mut hearing: Hearing,
    mut replies: Streaming<Frame>,
) -> Result<(), String> {
    let (mut is_out_of_space, mut told_at) = (None, None::<Instant>);
    loop {
        match replies.message().await {
            Ok(Some(frame)) => {
                hearing.believe(&frame.body, &frame.mac).map_err(|why| why.to_string())?;
                let reply: PushReply = decode(frame.body).map_err(|status| status.message().to_owned())?;
                if told_at.is_none_or(|at| at.elapsed() >= TOLD_INTERVAL) {
                    told_at = Some(Instant::now());
                    shared.inbox.post(told(peer.node, &reply));
                }
                if is_out_of_space.replace(reply.out_of_space) != Some(reply.out_of_space) {
                    shared
                        .inbox
                        .post([Job::PeerHeadroom { peer: peer.node, is_out_of_space: reply.out_of_space }]);
                }
                let message = convert::reply_in(reply).map_err(|error| error.to_string())?;
                let brought = shared.inbox.receive(from_peer(peer, message), 0).await;
                brought.map_err(|_| "this node is stopping".to_owned())?;
            }
            Ok(None) => return Err("the peer ended the stream".to_owned()),
            Err(status) => return Err(status.message().to_owned()),
        }
    }
}

/// Waits until there is a newer request. (A wake alone says nothing: it may be of the request that was taken.)
async fn replaced(slot: &(Mutex<Option<VoteRequest>>, Notify)) {
    while slot.0.lock().is_none() {
        slot.1.notified().await;
    }
}

/// Asks for votes, one call at a time; a newer request replaces the one under way.
async fn ask_for_votes(shared: Arc<Shared>, peer: NodeId, slot: Arc<(Mutex<Option<VoteRequest>>, Notify)>) {
    let ticks =
        |count: u32| Duration::from_millis(shared.config.tick_ms.saturating_mul(u64::from(count)).max(1));
    // The connection is then no good, unless everything is slow: candidates wait for longer then (see ELECTION_DOUBLINGS).
    let slow = ticks(shared.config.election_ticks_min);
    let limit = ticks(shared.config.election_ticks_max).saturating_mul(1_u32 << ELECTION_DOUBLINGS);
    let (mut kept, mut session) = (Kept::new(), None);
    loop {
        let next = slot.0.lock().take();
        let Some(request) = next else {
            slot.1.notified().await;
            continue;
        };
        let Some(member) = shared.members().by_node.get(&peer.0).cloned() else { continue };
        let Ok(channel) = address_of(&shared, peer).and_then(|address| kept.to(&address, dial_at)) else {
            continue;
        };
        let mut client = ReplicationClient::new(channel);
        let folder = Member { node: peer, incarnation: Incarnation(member.incarnation) };
        let asking = convert::vote_request_out(&request);
        let begun = Instant::now();
        let call = tokio::time::timeout(limit, ask(&shared, &mut client, &mut session, &member, &asking));
        let answer = tokio::select! {
            answer = call => answer,
            () = replaced(&slot) => {
                if begun.elapsed() >= slow {
                    kept.broke();
                }
                continue;
            }
        };
        if let Ok(told) = &answer {
            told_by_peer(&shared, peer, told.as_ref());
        }
        if !matches!(answer, Ok(Ok(_))) {
            kept.broke();
        }
        match answer {
            Ok(Ok(reply)) if !reply.removed.is_empty() => shared.told_removed(peer, &reply.removed),
            Ok(Ok(reply)) => match convert::vote_reply_in(&reply) {
                Ok(message) => {
                    let told =
                        (reply.clock_ms != 0).then_some(Job::PeerClock { peer, wall_ms: reply.clock_ms });
                    shared.inbox.post(told.into_iter().chain([from_peer(folder, message)]));
                }
                Err(error) => tracing::warn!(%peer, %error, "a vote that makes no sense"),
            },
            Ok(Err(status)) => tracing::debug!(%peer, why = status.message(), "no vote"),
            Err(_) => tracing::debug!(%peer, "no vote in time"),
        }
    }
}

/// The session in which a member is asked for votes, and whose it is.
type Asking = Option<(proto::store::Member, Begun)>;

/// Asks a member for its vote, in the session that is there. One that it does not know any more is begun anew at once.
async fn ask(
    shared: &Shared,
    client: &mut ReplicationClient<Channel>,
    session: &mut Asking,
    member: &proto::store::Member,
    asking: &proto::store::VoteRequest,
) -> Result<VoteReply, Status> {
    session.take_if(|(to, begun)| to != member || !begun.is_current(shared));
    loop {
        let is_new = session.is_none();
        let begun = match session {
            Some((_, begun)) => begun,
            None => {
                let begun = begin(shared, client, Kind::Vote, member).await?;
                &mut session.insert((member.clone(), begun)).1
            }
        };
        match client.vote(begun.call(asking)).await {
            Ok(reply) => return begun.heard(0, reply.into_inner()),
            Err(status) if !is_new && wants_introduction(&status) => *session = None,
            Err(status) => {
                *session = None;
                return Err(status);
            }
        }
    }
}

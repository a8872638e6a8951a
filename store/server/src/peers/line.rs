//! What this node says to one peer: the push stream while it leads, and requests for votes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use proto::store::PushMessage;
use proto::store::replication_client::ReplicationClient;
use store_client::backoff::Backoff;
use store_core::{Incarnation, Member, NodeId, Role, VoteRequest};
use store_engine::{Job, Pump, PumpInbox, PumpJob, PumpOut, Turned, convert};
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::dial::{Kept, address_of, dial, dial_at};
use super::introduce::{MESSAGE_BYTES_MAX, from_peer, introduce, told_by_peer};
use crate::shared::{Disk, Shared};

/// Messages between the pump and the connection: what a peer that stands still holds in memory, each at most
/// [`MESSAGE_BYTES_MAX`].
const MESSAGES_BUFFERED: usize = 4;
/// Messages made before the stream is looked at again.
const MESSAGES_PER_TURN: usize = 4;
/// The peer must open the stream within this.
const OPEN_MS_MAX: u64 = 1_000;
const BACKOFF_MS_FIRST: u64 = 10;
const BACKOFF_MS_MAX: u64 = 500;

/// The line to one peer.
pub(super) struct Line {
    inbox: PumpInbox,
    /// Something was posted.
    posted: Arc<Notify>,
    /// The newest request for a vote.
    vote: Arc<(Mutex<Option<VoteRequest>>, Notify)>,
    tasks: [JoinHandle<()>; 2],
}

impl Line {
    /// Opens the line: its tasks connect when there is something to say.
    pub(super) fn open(
        runtime: &Handle,
        shared: Arc<Shared>,
        peer: NodeId,
        inbox: PumpInbox,
        pump: Pump<Disk>,
    ) -> Arc<Line> {
        let posted = Arc::new(Notify::new());
        let vote = Arc::new((Mutex::new(None), Notify::new()));
        let pushing = Pushing {
            shared: Arc::clone(&shared),
            peer,
            pump: Arc::new(Mutex::new(pump)),
            inbox: inbox.clone(),
            posted: Arc::clone(&posted),
        };
        let tasks =
            [runtime.spawn(pushing.run()), runtime.spawn(ask_for_votes(shared, peer, Arc::clone(&vote)))];
        Arc::new(Line { inbox, posted, vote, tasks })
    }

    /// For the push stream; merges with what was not sent yet.
    pub(super) fn post(&self, job: PumpJob) {
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

/// The push stream over all its lives.
struct Pushing {
    shared: Arc<Shared>,
    peer: NodeId,
    /// Locked for one turn at a time, by this task or by the thread that reads the log for it.
    pump: Arc<Mutex<Pump<Disk>>>,
    inbox: PumpInbox,
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
        let peer = self.peer;
        let mut client = ReplicationClient::new(dial(&self.shared, peer)?)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let (sender, receiver) = mpsc::channel(MESSAGES_BUFFERED);
        // The introduction goes alone, so that a mix-up is told before anything is said.
        let hello = introduce(&self.shared, peer).ok_or_else(|| format!("{peer} is not a member"))?;
        // It takes the stream only if it is this very folder.
        let folder = Member { node: peer, incarnation: Incarnation(hello.to_incarnation) };
        sender
            .try_send(PushMessage { peer: Some(hello), message: None })
            .map_err(|error| error.to_string())?;
        let opened = tokio::time::timeout(
            Duration::from_millis(OPEN_MS_MAX),
            client.push(ReceiverStream::new(receiver)),
        );
        let replies = match opened.await {
            Ok(opened) => {
                told_by_peer(&self.shared, peer, opened.as_ref());
                opened.map_err(|status| status.message().to_owned())?.into_inner()
            }
            Err(_) => return Err(format!("not opened within {OPEN_MS_MAX} ms")),
        };
        self.inbox.disconnected();
        self.shared.inbox.post([Job::Reconnected { peer }]);
        let shared = Arc::clone(&self.shared);
        let result = tokio::select! {
            ended = hear(&shared, folder, replies) => ended,
            ended = self.say(&sender) => ended,
        };
        self.inbox.disconnected();
        self.shared.inbox.post([Job::Reconnected { peer }]);
        result
    }

    /// Lets the pump make messages; true if there may be more. The log is read from disk on another thread: this one
    /// has heartbeats of others to send.
    async fn turn(&self, outs: &mut Vec<PumpOut>) -> Result<bool, String> {
        let turned = match self.pump.try_lock() {
            Some(mut pump) => {
                pump.turn_in_memory(MESSAGES_PER_TURN, outs).map_err(|error| error.to_string())?
            }
            None => Turned::NeedsDisk,
        };
        if turned != Turned::NeedsDisk || !outs.is_empty() {
            return Ok(turned != Turned::Idle);
        }
        let (made, more) = turn_on_disk(Arc::clone(&self.pump)).await?;
        outs.extend(made);
        Ok(more)
    }

    /// Sends what the pump makes, as the stream has room. `Ok`: this node does not lead any more.
    async fn say(&self, sender: &mpsc::Sender<PushMessage>) -> Result<(), String> {
        let mut role = self.shared.role.subscribe();
        let mut outs = Vec::new();
        loop {
            let more = self.turn(&mut outs).await?;
            let idle = outs.is_empty() && !more;
            for out in outs.drain(..) {
                match out {
                    PumpOut::Send(message) => {
                        sender.send(message).await.map_err(|_| "the connection is lost".to_owned())?;
                    }
                    PumpOut::Purged => self.shared.inbox.post([Job::Reconnected { peer: self.peer }]),
                }
            }
            if !idle {
                continue;
            }
            tokio::select! {
                () = self.posted.notified() => {}
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

/// Turns a pump on a thread that may wait for a disk. If nobody waits for it any more, its messages are lost with their
/// stream, of which the node hears.
async fn turn_on_disk(pump: Arc<Mutex<Pump<Disk>>>) -> Result<(Vec<PumpOut>, bool), String> {
    let turning = tokio::task::spawn_blocking(move || {
        let mut outs = Vec::new();
        let more = pump.lock().turn(MESSAGES_PER_TURN, &mut outs).map_err(|error| error.to_string())?;
        Ok((outs, more))
    });
    turning.await.map_err(|error| error.to_string())?
}

/// Hears the peer's answers.
async fn hear(
    shared: &Shared,
    peer: Member,
    mut replies: Streaming<proto::store::PushReply>,
) -> Result<(), String> {
    let mut lacks = None;
    loop {
        match replies.message().await {
            Ok(Some(reply)) => {
                if lacks.replace(reply.no_room) != Some(reply.no_room) {
                    shared.inbox.post([Job::PeerRoom { peer: peer.node, lacks: reply.no_room }]);
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
    let limit = Duration::from_millis(
        shared.config.tick_ms.saturating_mul(u64::from(shared.config.election_ticks_min)).max(1),
    );
    let mut kept = Kept::new();
    loop {
        let next = slot.0.lock().take();
        let Some(request) = next else {
            slot.1.notified().await;
            continue;
        };
        let Some(hello) = introduce(&shared, peer) else { continue };
        let Ok(channel) = address_of(&shared, peer).and_then(|address| kept.to(&address, dial_at)) else {
            continue;
        };
        let mut client = ReplicationClient::new(channel);
        let folder = Member { node: peer, incarnation: Incarnation(hello.to_incarnation) };
        let mut asking = convert::vote_request_out(&request);
        asking.peer = Some(hello);
        let call = tokio::time::timeout(limit, client.vote(asking));
        let answer = tokio::select! {
            answer = call => answer,
            () = replaced(&slot) => continue,
        };
        if let Ok(told) = &answer {
            told_by_peer(&shared, peer, told.as_ref());
        }
        if !matches!(answer, Ok(Ok(_))) {
            kept.broke();
        }
        match answer {
            Ok(Ok(reply)) => match convert::vote_reply_in(&reply.into_inner()) {
                Ok(message) => shared.inbox.post([from_peer(folder, message)]),
                Err(error) => tracing::warn!(%peer, %error, "a vote that makes no sense"),
            },
            Ok(Err(status)) => tracing::debug!(%peer, why = status.message(), "no vote"),
            Err(_) => tracing::debug!(%peer, "no vote in time"),
        }
    }
}

//! The conversation of one group's replicas over gRPC: a *connection* to each peer (begun by this node) and the
//! `Replication` service (begun by peers).
//!
//! | from the node | carried by |
//! |---|---|
//! | `Replicator` | the connection's push stream, open while this node leads |
//! | `Vote` request | the connection's vote task, one call at a time, the newest |
//! | `Reply` | the push stream that the peer opened to us |
//! | `Vote` reply | the answer of the peer's call |
//! | `FetchSnapshot` | the snapshot task, one at a time |
//!
//! None of them queues: a connection holds a cursor and the newest of each small message, so that a peer that is slow,
//! stopped or gone costs this node nothing but a connection attempt now and then.

mod connection;
mod dial;
mod entrance;
mod fetch;
mod introduce;
mod lines;
mod mailbox;
mod places;
mod serve_snapshot;
mod service;
mod session;
mod votes;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use proto::store as wire;
use store_core::{NodeId, VoteMessage};
use store_engine::{Replicators, ToPeer};
use tokio::runtime::Handle;

use crate::replica::Connect;
use crate::shared::{Disk, Shared};
use connection::PeerConnection;
pub(crate) use entrance::{Entrance, Strangers};
use fetch::Fetch;
pub(crate) use introduce::MESSAGE_BYTES_MAX;
pub(crate) use lines::Lines;
use mailbox::{Mailbox, Replies};
use places::Places;
pub(crate) use service::{Frames, ReplicationService};
use votes::PendingVotes;

/// What was said last to a member that leaves has this long to be sent.
const FAREWELL_MS: u64 = 1_000;

/// All that this node says to its peers.
pub(crate) struct Peers {
    shared: Arc<Shared>,
    replicators: Mutex<Replicators<Disk>>,
    runtime: Handle,
    /// One for each peer, made when it is first spoken to, and anew when it is another folder or elsewhere.
    connections: Mutex<HashMap<NodeId, (wire::Member, Arc<PeerConnection>)>>,
    /// Lines to members that left, for a moment.
    leaving: Mutex<Vec<Arc<PeerConnection>>>,
    /// Answers to peers that push to us.
    mailboxes: Mutex<Places<Arc<Mailbox>>>,
    /// Peers that wait for our vote.
    votes: PendingVotes,
    fetch: Fetch,
    /// Where others begin sessions.
    entrance: Entrance,
}

impl Peers {
    pub(crate) fn new(connect: Connect, entrance: Entrance, runtime: Handle) -> Arc<Peers> {
        let Connect { shared, replicators, snapshots, fatal } = connect;
        let fetch = Fetch::new(Arc::clone(&shared), snapshots, fatal);
        Arc::new(Peers {
            shared,
            replicators: Mutex::new(replicators),
            runtime,
            connections: Mutex::default(),
            leaving: Mutex::default(),
            mailboxes: Mutex::default(),
            votes: PendingVotes::default(),
            fetch,
            entrance,
        })
    }

    /// Carries what the node says to a peer; called on its thread, never waits.
    pub(crate) fn carry(&self, out: ToPeer) {
        match out {
            ToPeer::Replicator { to, job } => self.connection(to).post(job),
            ToPeer::Reply { to, reply } => {
                // Lost if the peer has no stream: it opens one, and asks again.
                if let Some(mailbox) = self.mailboxes.lock().get(to) {
                    let out_of_space = self.shared.status().shortage.is_some();
                    mailbox.put(&reply, out_of_space, store_client::now_ms());
                }
            }
            ToPeer::Vote { to, message: VoteMessage::Request(request) } => {
                self.connection(to).ask_vote(request);
            }
            ToPeer::Vote { to, message: VoteMessage::Reply(reply) } => self.votes.answer(to, reply),
            ToPeer::Forget { peer } => self.forget(peer),
            ToPeer::FetchSnapshot { from, at } => self.fetch.want(&self.runtime, from, at),
        }
    }

    /// Ends every line and every stream of answers.
    pub(crate) fn close(&self) {
        for mailbox in self.mailboxes.lock().drain() {
            mailbox.close();
        }
        let connections =
            self.connections.lock().drain().map(|(_, (_, connection))| connection).collect::<Vec<_>>();
        for connection in connections.into_iter().chain(self.leaving.lock().drain(..)) {
            connection.close();
        }
        self.fetch.close();
    }

    fn connection(&self, peer: NodeId) -> Arc<PeerConnection> {
        let members = self.shared.members();
        // A leaving member is told so on the connection that is there.
        let member = members.by_node.get(&peer.0);
        let mut connections = self.connections.lock();
        if let Some((who, connection)) = connections.get(&peer) {
            if member.is_none_or(|member| member == who) {
                return Arc::clone(connection);
            }
            connection.close();
        }
        let (inbox, replicator) = self.replicators.lock().replicator(peer);
        let connection =
            PeerConnection::open(&self.runtime, Arc::clone(&self.shared), peer, inbox, replicator);
        connections.insert(peer, (member.cloned().unwrap_or_default(), Arc::clone(&connection)));
        connection
    }

    /// The line to a node that is no member any more, or another folder: it says what it has to say, and ends.
    fn forget(&self, peer: NodeId) {
        let Some((_, connection)) = self.connections.lock().remove(&peer) else { return };
        let mut leaving = self.leaving.lock();
        leaving.retain(|connection| !connection.is_closed());
        leaving.push(Arc::clone(&connection));
        self.runtime.spawn(async move {
            tokio::time::sleep(Duration::from_millis(FAREWELL_MS)).await;
            connection.close();
        });
    }

    /// The answers for a stream that `peer` opens; `None`: too many nodes that are no members have one.
    fn answers(&self, peer: NodeId) -> Option<Replies> {
        let mut mailboxes = self.mailboxes.lock();
        // One that a stream empties has another owner: that stream.
        if !mailboxes.admits(peer, &self.shared.members(), |mailbox| Arc::strong_count(mailbox) > 1) {
            return None;
        }
        if let Some(mailbox) = mailboxes.get(peer) {
            return Some(mailbox.open());
        }
        let mailbox = Arc::new(Mailbox::default());
        let replies = mailbox.open();
        mailboxes.put(peer, mailbox);
        Some(replies)
    }
}

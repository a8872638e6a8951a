//! The conversation of one group's replicas over gRPC: a *line* to each peer (what this node begins) and the `Replication`
//! service (what peers begin here).
//!
//! | from the node | carried by |
//! |---|---|
//! | `Pump` | the line's push stream, open while this node leads |
//! | `Vote` request | the line's vote task, one call at a time, the newest |
//! | `Reply` | the push stream that the peer opened to us |
//! | `Vote` reply | the answer of the peer's call |
//! | `FetchSnapshot` | the snapshot task, one at a time |
//!
//! None of them queues: a line holds a cursor and the newest of each small message, so that a peer that is slow,
//! stopped or gone costs this node nothing but a connection attempt now and then.

mod dial;
mod entrance;
mod fetch;
mod introduce;
mod line;
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
use store_core::{Message, NodeId};
use store_engine::{NodeOut, Pumps};
use tokio::runtime::Handle;

use crate::replica::Connect;
use crate::shared::{Disk, Shared};
pub(crate) use entrance::{Entrance, Strangers};
use fetch::Fetch;
pub(crate) use introduce::MESSAGE_BYTES_MAX;
use line::Line;
use mailbox::{Mailbox, Replies};
use places::Places;
pub(crate) use service::ReplicationService;
use votes::VotesAsked;

/// What was said last to a member that leaves has this long to be sent.
const FAREWELL_MS: u64 = 1_000;

/// All that this node says to its peers.
pub(crate) struct Peers {
    shared: Arc<Shared>,
    pumps: Mutex<Pumps<Disk>>,
    runtime: Handle,
    /// One for each peer, made when it is first spoken to, and anew when it is another folder or elsewhere.
    lines: Mutex<HashMap<NodeId, (wire::Member, Arc<Line>)>>,
    /// Lines to members that left, for a moment.
    leaving: Mutex<Vec<Arc<Line>>>,
    /// Answers to peers that push to us.
    mailboxes: Mutex<Places<Arc<Mailbox>>>,
    /// Peers that wait for our vote.
    votes: VotesAsked,
    fetch: Fetch,
    /// Where others begin sessions.
    entrance: Entrance,
}

impl Peers {
    pub(crate) fn new(connect: Connect, entrance: Entrance, runtime: Handle) -> Arc<Peers> {
        let Connect { shared, pumps, snapshots, fatal } = connect;
        let fetch = Fetch::new(Arc::clone(&shared), snapshots, fatal);
        Arc::new(Peers {
            shared,
            pumps: Mutex::new(pumps),
            runtime,
            lines: Mutex::default(),
            leaving: Mutex::default(),
            mailboxes: Mutex::default(),
            votes: VotesAsked::default(),
            fetch,
            entrance,
        })
    }

    /// Carries what the node says to a peer; called on its thread, never waits.
    pub(crate) fn carry(&self, out: NodeOut) {
        match out {
            NodeOut::Pump { to, job } => self.line(to).post(job),
            NodeOut::Reply { to, message } => {
                // Lost if the peer has no stream: it opens one, and asks again.
                if let Some(mailbox) = self.mailboxes.lock().get(to) {
                    mailbox.put(&message, self.shared.status().lack.is_some());
                }
            }
            NodeOut::Vote { to, message: Message::VoteRequest(request) } => self.line(to).ask_vote(request),
            NodeOut::Vote { to, message } => self.votes.answer(to, &message),
            NodeOut::Forget { peer } => self.forget(peer),
            NodeOut::FetchSnapshot { from, at } => self.fetch.want(&self.runtime, from, at),
            other => unreachable!("not for a peer: {other:?}"),
        }
    }

    /// Ends every line and every stream of answers.
    pub(crate) fn close(&self) {
        for mailbox in self.mailboxes.lock().drain() {
            mailbox.close();
        }
        let lines = self.lines.lock().drain().map(|(_, (_, line))| line).collect::<Vec<_>>();
        for line in lines.into_iter().chain(self.leaving.lock().drain(..)) {
            line.close();
        }
        self.fetch.close();
    }

    fn line(&self, peer: NodeId) -> Arc<Line> {
        let members = self.shared.members();
        // Who leaves is no member any more, and is told so on the line that is there.
        let member = members.by_node.get(&peer.0);
        let mut lines = self.lines.lock();
        if let Some((who, line)) = lines.get(&peer) {
            if member.is_none_or(|member| member == who) {
                return Arc::clone(line);
            }
            line.close();
        }
        let (inbox, pump) = self.pumps.lock().pump(peer);
        let line = Line::open(&self.runtime, Arc::clone(&self.shared), peer, inbox, pump);
        lines.insert(peer, (member.cloned().unwrap_or_default(), Arc::clone(&line)));
        line
    }

    /// The line to a node that is no member any more, or another folder: it says what it has to say, and ends.
    fn forget(&self, peer: NodeId) {
        let Some((_, line)) = self.lines.lock().remove(&peer) else { return };
        let mut leaving = self.leaving.lock();
        leaving.retain(|line| !line.is_closed());
        leaving.push(Arc::clone(&line));
        self.runtime.spawn(async move {
            tokio::time::sleep(Duration::from_millis(FAREWELL_MS)).await;
            line.close();
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

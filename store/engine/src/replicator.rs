//! One peer's replicator: makes the core's wishes for that peer into messages for its push stream, as the stream
//! has room. Between core and stream there is no queue: [`ReplicatorInbox`] keeps *one* cursor over the log and the newest
//! of each small message, so that a slow peer costs memory for one message, whatever happens meanwhile.
//!
//! ```text
//!   core: Push 5..9, then 10..12 (continues)        cursor  previous 4 ───────► up_to 12
//!   stream has room for one message                          sends 5..8, previous 8 ──► 12
//!   core: Push previous 6 (does not continue)                previous 6 ──► …   (the old rest is dropped)
//! ```
//!
//! Promises: appends go out in the order of the log, each within the limits of size; entries are only sent under the
//! epoch in which this replica leads, checked after they were read ([`EntryCache::leads`]); a leadership transfer goes out
//! after all entries before it. Leaves out the stream itself.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use proto::store as wire;
use store_core::{Entry, Epoch, LeaderMessage, NodeId, Offset, Position};
use store_log::Disk;

use crate::cache::Limits;
use crate::convert;
use crate::error::Error;
use crate::limits::{MESSAGE_BYTES_MAX, MESSAGE_ENTRIES_MAX};
use crate::peer_job::{ReplicatorJob, ReplicatorOut};
use crate::source::{Found, Source};

const LIMITS: Limits = Limits { entries: MESSAGE_ENTRIES_MAX, bytes: MESSAGE_BYTES_MAX };

/// Where the core's pushes for one peer are posted; any number of handles.
#[derive(Clone, Debug)]
pub struct ReplicatorInbox {
    /// Held for a few assignments, never across I/O.
    pending: Arc<Mutex<Pending>>,
}

/// What is still to be said to one peer.
#[derive(Debug, Default)]
struct Pending {
    /// The entries to send.
    cursor: Option<Cursor>,
    /// Raised when the cursor is replaced or dropped, so that a reader notices.
    replaced: u64,
    /// The newest commit order not sent yet, alone or with an append.
    commit: Option<LeaderMessage>,
    /// The newest heartbeat.
    heartbeat: Option<LeaderMessage>,
    /// The newest word that this replica's state is wrong.
    quarantine: Option<LeaderMessage>,
    /// The newest offer of a snapshot.
    install: Option<LeaderMessage>,
    /// A leadership transfer, to be sent when nothing else is left.
    transfer_leadership: Option<LeaderMessage>,
}

/// A place in the log, and how far to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Cursor {
    /// The leader's epoch.
    epoch: Epoch,
    /// The entry before the next to send.
    previous: Position,
    /// The last to send.
    up_to: Offset,
    /// An empty append is to be sent even if there is nothing to send.
    probe: bool,
    /// A commit order that rides along.
    committed: Offset,
}

impl Cursor {
    fn is_done(&self) -> bool {
        !self.probe && self.previous.offset >= self.up_to
    }
}

impl Pending {
    fn replace(&mut self, cursor: Option<Cursor>) {
        self.cursor = cursor;
        self.replaced += 1;
    }

    /// A stream goes on only where the last one ended: if that was dropped, the core will hear of it and begin anew.
    fn extend(&mut self, cursor: Cursor) {
        if let Some(now) = &mut self.cursor
            && now.epoch == cursor.epoch
            && now.up_to == cursor.previous.offset
        {
            now.up_to = cursor.up_to;
            now.committed = now.committed.max(cursor.committed);
        }
    }

    fn say(&mut self, message: LeaderMessage) {
        match message {
            LeaderMessage::CommitOrder { .. } => self.commit = Some(message),
            LeaderMessage::Heartbeat { .. } => self.heartbeat = Some(message),
            LeaderMessage::Quarantine { .. } => self.quarantine = Some(message),
            LeaderMessage::InstallSnapshot { .. } => self.install = Some(message),
            LeaderMessage::TransferLeadership { .. } => self.transfer_leadership = Some(message),
        }
    }

    fn has_work(&self) -> bool {
        let small =
            [&self.commit, &self.heartbeat, &self.quarantine, &self.install, &self.transfer_leadership];
        self.cursor.is_some_and(|cursor| !cursor.is_done()) || small.iter().any(|message| message.is_some())
    }
}

impl ReplicatorInbox {
    /// Merges `job` into what is still to be said.
    pub fn post(&self, job: ReplicatorJob) {
        let mut pending = self.pending.lock();
        match job {
            ReplicatorJob::Push { epoch, previous, up_to, continues, committed } => {
                let probe = previous.offset == up_to;
                let cursor = Cursor { epoch, previous, up_to, probe, committed };
                if continues { pending.extend(cursor) } else { pending.replace(Some(cursor)) }
            }
            ReplicatorJob::Say(message) => pending.say(message),
            ReplicatorJob::Stop => {
                let replaced = pending.replaced + 1;
                *pending = Pending { replaced, ..Pending::default() };
            }
        }
    }

    /// The stream was lost, or a new one is about to be used: forgets what was to be sent on it. Call it *before*
    /// the node is told [`crate::Job::Reconnected`], which brings everything again that still matters.
    pub fn disconnected(&self) {
        self.post(ReplicatorJob::Stop);
    }

    /// Whether there is anything to say.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.pending.lock().has_work()
    }
}

/// The source of entries for one poll of the replicator.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Entries {
    /// From memory alone.
    InMemory,
    /// From the log on disk too.
    Anywhere,
}

/// The end of one poll of the replicator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Polled {
    /// Nothing is left to be said.
    Idle,
    /// There is more to say.
    More,
    /// What comes next has to be read from the log on disk.
    NeedsDisk,
}

/// What may be said next.
enum Next {
    /// This.
    Say(ReplicatorOut),
    /// Nothing.
    Nothing,
    /// Entries that are only on disk.
    OnDisk,
}

/// The replicator of one peer.
pub struct Replicator<D: Disk> {
    /// Which peer.
    peer: NodeId,
    /// What the core wants said.
    inbox: ReplicatorInbox,
    /// Where entries come from.
    source: Source<D>,
    /// Entries of the message being made; kept for its memory.
    entries: Vec<Entry<Bytes>>,
}

impl<D: Disk> Replicator<D> {
    /// A replicator with an empty mailbox.
    pub(crate) fn new(peer: NodeId, source: Source<D>) -> (ReplicatorInbox, Replicator<D>) {
        let inbox = ReplicatorInbox { pending: Arc::default() };
        let replicator = Replicator { peer, inbox: inbox.clone(), source, entries: Vec::new() };
        (inbox, replicator)
    }

    /// Which peer this is for.
    #[must_use]
    pub fn peer(&self) -> NodeId {
        self.peer
    }

    /// Makes at most `messages_max` messages; true if there is more to say.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn poll(&mut self, messages_max: usize, outs: &mut Vec<ReplicatorOut>) -> Result<bool, Error> {
        Ok(self.make(messages_max, Entries::Anywhere, outs)? != Polled::Idle)
    }

    /// As [`Replicator::poll`], but never reads a disk: for a thread that others wait for.
    ///
    /// # Errors
    /// As [`Replicator::poll`].
    pub fn poll_in_memory(
        &mut self,
        messages_max: usize,
        outs: &mut Vec<ReplicatorOut>,
    ) -> Result<Polled, Error> {
        self.make(messages_max, Entries::InMemory, outs)
    }

    fn make(
        &mut self,
        messages_max: usize,
        entries: Entries,
        outs: &mut Vec<ReplicatorOut>,
    ) -> Result<Polled, Error> {
        for _ in 0..messages_max {
            match self.next(entries)? {
                Next::Say(out) => outs.push(out),
                Next::Nothing => break,
                Next::OnDisk => return Ok(Polled::NeedsDisk),
            }
        }
        Ok(if self.inbox.has_work() { Polled::More } else { Polled::Idle })
    }

    /// The next message: what keeps leadership and reads alive first, then entries, then what may wait.
    fn next(&mut self, entries: Entries) -> Result<Next, Error> {
        let small = |message: LeaderMessage| Ok(Next::Say(ReplicatorOut::Send(convert::push_out(&message))));
        let (cursor, replaced) = {
            let mut pending = self.inbox.pending.lock();
            let urgent = pending.heartbeat.take().or_else(|| pending.quarantine.take());
            if let Some(message) = urgent.or_else(|| pending.install.take()) {
                return small(message);
            }
            (pending.cursor.filter(|cursor| !cursor.is_done()), pending.replaced)
        };
        if let Some(cursor) = cursor {
            return self.append(cursor, replaced, entries);
        }
        let mut pending = self.inbox.pending.lock();
        match pending.commit.take().or_else(|| pending.transfer_leadership.take()) {
            Some(message) => small(message),
            None => Ok(Next::Nothing),
        }
    }

    /// The next append at `cursor`.
    fn append(&mut self, cursor: Cursor, replaced: u64, entries: Entries) -> Result<Next, Error> {
        self.entries.clear();
        if cursor.up_to > cursor.previous.offset {
            let (from, up_to) = (cursor.previous.offset.next(), cursor.up_to);
            if !self.source.cache().read(from, up_to, LIMITS, &mut self.entries) {
                if entries == Entries::InMemory {
                    return Ok(Next::OnDisk);
                }
                if self.source.read(from, up_to, LIMITS, &mut self.entries)? == Found::Purged {
                    let dropped = self.drop_cursor(replaced);
                    return Ok(if dropped { Next::Say(ReplicatorOut::Purged) } else { Next::Nothing });
                }
            }
        }
        if !self.source.cache().leads(cursor.epoch) {
            self.drop_cursor(replaced);
            return Ok(Next::Nothing);
        }
        let end = self.entries.last().map_or(cursor.previous, |entry| entry.position);
        let committed = self.advance(cursor, end, replaced);
        let entries = self.entries.iter().map(convert::entry_out).collect();
        let append = wire::AppendEntries {
            epoch: cursor.epoch.0,
            previous: Some(convert::position_out(cursor.previous)),
            entries,
            committed: committed.0,
        };
        let message = Some(wire::push_message::Message::Append(append));
        Ok(Next::Say(ReplicatorOut::Send(wire::PushMessage { message })))
    }

    /// Forgets the entries to send, unless the core has said anew meanwhile which those are.
    fn drop_cursor(&self, replaced: u64) -> bool {
        let mut pending = self.inbox.pending.lock();
        let is_same = pending.replaced == replaced;
        if is_same {
            pending.replace(None);
        }
        is_same
    }

    /// Moves the cursor on, unless it was replaced meanwhile; returns the commit order that rides along, which then
    /// need not be sent alone.
    fn advance(&self, cursor: Cursor, end: Position, replaced: u64) -> Offset {
        let mut pending = self.inbox.pending.lock();
        let mut committed = cursor.committed;
        if let Some(LeaderMessage::CommitOrder { epoch, up_to }) = &pending.commit
            && *epoch == cursor.epoch
        {
            committed = committed.max(up_to.offset);
            pending.commit = None;
        }
        if pending.replaced == replaced
            && let Some(now) = &mut pending.cursor
        {
            now.previous = end;
            now.probe = false;
            now.committed = now.committed.max(committed);
        }
        committed
    }
}

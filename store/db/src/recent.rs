//! A memory of what recent entries looked up, for the next: rows of the table in a handier form, never the truth.
//!
//! A write of a session asks whether its sequence was used, whether its session gave it up, and which answers the session has done
//! with. Asked of the table, each of these is a search through every layer and the B-tree below, mostly for what is not there.
//! Whoever writes again within the last [`SESSIONS_MAX`] sessions finds them here.
//!
//! Promises: what is held is what the table has at the position that is noted with it; at another position, all of it is
//! forgotten and read anew. So a batch that came to nothing leaves nothing behind, and the rows and replies of a batch are the
//! same with and without it. Memory is bounded: a session of more than [`SEQUENCES_MAX`] remembered answers is not held. Work is,
//! too: a session is read when it writes for the second time, and one that was too large only after as many writes as it has rows.
//!
//! Leaves out: whether two tables at one position are the same. Whoever replaces a table begins with [`Recent::default`].

use std::collections::VecDeque;
use std::num::NonZeroUsize;

use lru::LruCache;
use proto::store::{Position, SessionState};

use crate::error::Error;
use crate::sessions::{Sequence, SessionId, sequence_of, session_state};
use crate::table::{Read, Space};

/// Sessions held at most.
const SESSIONS_MAX: NonZeroUsize = NonZeroUsize::new(256).expect("it is not 0");
/// Sequences held of one session at most: 40 bytes each.
const SEQUENCES_MAX: usize = 1_024;
/// Rows of the change feed read ahead of their trimming.
const CHANGES_READ: usize = 1_024;

/// See the module.
#[derive(Debug)]
pub struct Recent {
    /// Where the table stands of which this is true.
    at: Option<Position>,
    /// Sessions, the one that wrote last first.
    sessions: LruCache<SessionId, Seen>,
    /// The log time of the oldest remembered answer; `None`: not known.
    pub(crate) oldest_ms: Option<i64>,
    /// The first rows of the change feed, by offset, with their bytes; as many as were read.
    changes: VecDeque<(u64, usize)>,
}

impl Default for Recent {
    fn default() -> Recent {
        let sessions = LruCache::new(SESSIONS_MAX);
        Recent { at: None, sessions, oldest_ms: None, changes: VecDeque::new() }
    }
}

impl Recent {
    /// Begins a batch at the position where the table stands.
    pub(crate) fn begin(&mut self, at: Position) {
        if self.at != Some(at) {
            *self = Recent::default();
        }
        // Until the batch has come to something.
        self.at = None;
    }

    /// Ends a batch: the table stands here, if it is committed.
    pub(crate) fn end(&mut self, at: Position) {
        self.at = Some(at);
    }

    /// A session as the table has it; `None`: it is to be looked up there.
    pub(crate) fn session(&mut self, read: &impl Read, id: &SessionId) -> Result<Option<&mut Held>, Error> {
        let Some(seen) = self.sessions.get_mut(id) else {
            self.sessions.put(*id, Seen::Once);
            return Ok(None);
        };
        match seen {
            Seen::Once => *seen = Held::read(read, id)?.map_or(Seen::TooLarge { writes: 0 }, Seen::Held),
            Seen::TooLarge { writes: SEQUENCES_MAX } => *seen = Seen::Once,
            Seen::TooLarge { writes } => *writes += 1,
            Seen::Held(_) => {}
        }
        Ok(self.held(id))
    }

    /// A session, if it is held.
    pub(crate) fn held(&mut self, id: &SessionId) -> Option<&mut Held> {
        match self.sessions.peek_mut(id) {
            Some(Seen::Held(held)) => Some(held),
            _ => None,
        }
    }

    /// Holds one session no longer, if it became too large.
    pub(crate) fn bound(&mut self, id: &SessionId) {
        if let Some(seen) = self.sessions.peek_mut(id)
            && matches!(seen, Seen::Held(held) if held.sequences.len() > SEQUENCES_MAX)
        {
            *seen = Seen::TooLarge { writes: 0 };
        }
    }

    /// Forgets a session.
    pub(crate) fn forget(&mut self, id: &SessionId) {
        self.sessions.pop(id);
    }

    /// The first row of the change feed, which begins at `first`: its bytes; and where the next one is. `None`: there is no such
    /// row. The caller takes the row away.
    pub(crate) fn take_change(
        &mut self,
        read: &impl Read,
        first: u64,
    ) -> Result<Option<(usize, Option<u64>)>, Error> {
        if self.changes.len() < 2 || self.changes.front().is_none_or(|(offset, _)| *offset != first) {
            self.changes.clear();
            let changes = &mut self.changes;
            read.walk(Space::Changes, &first.to_be_bytes(), &mut |key, row| {
                let offset = key.try_into();
                let offset = offset.map_err(|_| Error::damaged("a key of the change feed is no offset"))?;
                changes.push_back((u64::from_be_bytes(offset), row.len()));
                Ok(changes.len() < CHANGES_READ)
            })?;
        }
        let front = self.changes.pop_front().filter(|(offset, _)| *offset == first);
        Ok(front.map(|(_, bytes)| (bytes, self.changes.front().map(|(next, _)| *next))))
    }
}

/// A session that wrote.
#[derive(Debug)]
enum Seen {
    /// Once, and nothing is known of it.
    Once,
    /// Twice at least.
    Held(Held),
    /// It had more than is held, so many of its writes ago.
    TooLarge {
        /// At most as many as make the next look cheap.
        writes: usize,
    },
}

/// One session as the table has it.
#[derive(Debug)]
pub(crate) struct Held {
    /// `None`: there is no such session.
    pub(crate) state: Option<SessionState>,
    /// Every sequence whose answer is remembered, rising.
    sequences: VecDeque<(u64, Sequence)>,
}

impl Held {
    fn read(read: &impl Read, id: &SessionId) -> Result<Option<Held>, Error> {
        let mut held = Held { state: None, sequences: VecDeque::new() };
        read.walk(Space::Sessions, id, &mut |key, row| {
            if key == id {
                held.state = Some(session_state(row)?);
                return Ok(true);
            }
            let Some(sequence) = sequence_of(key, id) else { return Ok(false) };
            held.sequences.push_back((sequence, Sequence::of(row)?));
            Ok(held.sequences.len() <= SEQUENCES_MAX)
        })?;
        Ok((held.sequences.len() <= SEQUENCES_MAX).then_some(held))
    }

    fn find(&self, sequence: u64) -> Result<usize, usize> {
        // Most are behind all others.
        match self.sequences.back() {
            Some((last, _)) if *last < sequence => Err(self.sequences.len()),
            _ => self.sequences.binary_search_by_key(&sequence, |(known, _)| *known),
        }
    }

    /// What is remembered of a sequence.
    pub(crate) fn get(&self, sequence: u64) -> Option<&Sequence> {
        self.find(sequence).ok().map(|at| &self.sequences[at].1)
    }

    /// Takes a sequence in, in place of what was held of it.
    pub(crate) fn put(&mut self, sequence: u64, row: Sequence) {
        match self.find(sequence) {
            Ok(at) => self.sequences[at].1 = row,
            Err(at) => self.sequences.insert(at, (sequence, row)),
        }
    }

    /// Takes a sequence out.
    pub(crate) fn remove(&mut self, sequence: u64) {
        if let Ok(at) = self.find(sequence) {
            self.sequences.remove(at);
        }
    }

    /// Sequences, rising.
    pub(crate) fn sequences(&self) -> impl Iterator<Item = &(u64, Sequence)> {
        self.sequences.iter()
    }
}

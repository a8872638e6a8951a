//! The state of one group that owns the whole ring, dealt out to the groups of a ring of several: how a shop of one shard grows.
//!
//! ```text
//!   the exported state, chunk by chunk            exported states of the new groups
//!      rows in order ───►  each to the owner  ───► slot 0     rows in order
//!                          of its ring hash   ───► slot 1
//!                                             ───►  …
//! ```
//!
//! | rows of | go |
//! |---|---|
//! | records | to the owner of the key, as they are, with version and offset |
//! | remembered answers and their order | to the owner of the tag |
//! | sessions | their sequences with the answers; their state to each group that has one |
//! | checkpoints | nowhere: they are hashes of the whole |
//! | changes | nowhere: the log that they tell of is gone, and readers are told so (compacted) |
//! | prepared, locks, decisions | there must be none: one group has no transaction over several |
//!
//! Promises: every record is in the group that owns it, and in no other. *Exactly once* holds across it: a request that was answered is answered
//! from memory by the new owner of its tag, and one whose answer may have been forgotten is refused by each new group. A group without an
//! answer of a session takes none of its sequences for new, since it cannot say which of them ran. The same state gives the same bytes.
//!
//! Leaves out: files, and where the new logs begin (`store_engine::backup`). The other way, several groups into fewer, is not here: offsets of two
//! logs have no order, and the order of answers and of the feed is theirs.

use bytes::Bytes;
use prost::Message as _;
use proto::hash::ring_hash;
use proto::store::{AppliedState, Owned, SessionState};
use store_core::ring::Ring;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::checkpoints::CHECKPOINTS;
use crate::error::Error;
use crate::limits::CHUNK_BYTES;
use crate::record::View;
use crate::replies::Ordered;
use crate::sessions::{HASH_BYTES, Sequence, SessionId, session_state};
use crate::state;
use crate::table::Space;
use crate::transfer::{Checker, Row, begun, end_of, has_rows, push_row};

/// What is stored in place of a record: called with the slot that it goes to, its key and its data; `None`: it stays as it is.
pub type Edit<'e> = dyn FnMut(usize, &[u8], &[u8]) -> Option<Vec<u8>> + 'e;

/// A state being dealt out.
pub struct Reshard<'e> {
    ring: Ring,
    ring_version: u64,
    checker: Checker,
    /// By slot of the ring.
    pieces: Vec<Piece>,
    /// Whose sequences come next.
    session: Option<Session>,
    edit: Box<Edit<'e>>,
}

/// What one group of the new ring gets.
struct Piece {
    /// Chunks that are full, and the one that is being filled.
    ready: Vec<Bytes>,
    chunk: Vec<u8>,
    /// Of all chunks that are full, and of all rows.
    hasher: Xxh3,
    rows: u64,
    remembered_count: u64,
    remembered_bytes: u64,
    /// No session that is not known here and was made at or before this is taken for new.
    forgotten_sessions_ms: i64,
}

/// A session, and by slot whether its state is there.
struct Session {
    id: SessionId,
    state: SessionState,
    given: Vec<bool>,
}

impl<'e> Reshard<'e> {
    /// Begins; `ring_version` is that of the new ring, and `edit` may put something else in a record's place.
    #[must_use]
    pub fn new(ring: Ring, ring_version: u64, edit: Box<Edit<'e>>) -> Reshard<'e> {
        let pieces = ring.slots().iter().map(|_| Piece::new()).collect();
        Reshard { ring, ring_version, checker: Checker::default(), pieces, session: None, edit }
    }

    /// Takes the next chunk of the exported state; what comes of it, by slot.
    ///
    /// # Errors
    /// It is not the next one of an export, or of the state of a group that owned a part of a ring, or took part in transactions of several.
    pub fn chunk(&mut self, chunk: &[u8]) -> Result<Vec<(usize, Bytes)>, Error> {
        for row in &self.checker.take(chunk)? {
            self.row(row)?;
        }
        let is_over = self.checker.is_over();
        let mut out = Vec::new();
        for (slot, piece) in self.pieces.iter_mut().enumerate() {
            if is_over {
                piece.end();
            }
            out.extend(piece.ready.drain(..).map(|chunk| (slot, chunk)));
        }
        Ok(out)
    }

    fn row(&mut self, row: &Row<'_>) -> Result<(), Error> {
        match row.space {
            Space::Records => {
                let slot = self.ring.owner(ring_hash(row.key));
                let view = View::of(row.value)?;
                match (self.edit)(slot, row.key, view.data) {
                    Some(data) => {
                        let stored = view.spliced(view.header, 0..view.data.len(), &data);
                        self.pieces[slot].push(row.space, row.key, &stored);
                    }
                    None => self.pieces[slot].push(row.space, row.key, row.value),
                }
            }
            Space::Replies => {
                let slot = self.owner_of(row.key)?;
                self.pieces[slot].push(row.space, row.key, row.value);
            }
            Space::ReplyOrder => {
                let answer = Ordered::of(row.value);
                let answer = answer.ok_or_else(|| Error::damaged("a row of the order of answers"))?;
                let slot = self.owner_of(answer.key)?;
                self.pieces[slot].push(row.space, row.key, row.value);
                self.pieces[slot].remembered_count += 1;
                self.pieces[slot].remembered_bytes += u64::from(answer.bytes);
            }
            Space::Sessions if row.key.len() == size_of::<SessionId>() => self.begin_session(row)?,
            Space::Sessions => self.sequence(row)?,
            Space::Changes => {}
            Space::State if row.key == state::APPLIED => self.state()?,
            // Hashes of the group that was, at offsets of its log.
            Space::State if row.key == CHECKPOINTS => {}
            Space::State => return Err(Error::damaged("a row that says where a state stands is not known")),
            Space::Prepared | Space::Locks | Space::Decisions => return Err(of_several()),
        }
        Ok(())
    }

    /// The slot that owns what begins with a ring hash.
    fn owner_of(&self, key: &[u8]) -> Result<usize, Error> {
        let hash = key.first_chunk::<HASH_BYTES>();
        let hash = hash.ok_or_else(|| Error::damaged("a remembered answer without the hash of its tag"))?;
        Ok(self.ring.owner(u64::from_be_bytes(*hash)))
    }

    fn begin_session(&mut self, row: &Row<'_>) -> Result<(), Error> {
        self.end_session();
        let id = row.key.try_into().expect("it has the length of one");
        let state = session_state(row.value)?;
        self.session = Some(Session { id, state, given: vec![false; self.pieces.len()] });
        Ok(())
    }

    fn sequence(&mut self, row: &Row<'_>) -> Result<(), Error> {
        let slot = self.ring.owner(u64::from_be_bytes(Sequence::of(row.value)?.hash));
        let session = self.session.as_mut().filter(|session| row.key.starts_with(&session.id));
        let session = session.ok_or_else(|| Error::damaged("a session with answers has no state"))?;
        let piece = &mut self.pieces[slot];
        if !std::mem::replace(&mut session.given[slot], true) {
            piece.push(row.space, &session.id, &session.state.encode_to_vec());
        }
        piece.push(row.space, row.key, row.value);
        Ok(())
    }

    /// Groups that have no answer of the session know of it that it is not new.
    fn end_session(&mut self) {
        let Some(Session { state, given, .. }) = self.session.take() else { return };
        for (piece, _) in self.pieces.iter_mut().zip(given).filter(|(_, given)| !given) {
            piece.forgotten_sessions_ms = piece.forgotten_sessions_ms.max(state.created_ms);
        }
    }

    /// Where each of the new groups stands.
    fn state(&mut self) -> Result<(), Error> {
        self.end_session();
        let old = self.checker.state().expect("the checker has just read it").clone();
        let is_whole = old.owned.is_none_or(|owned| owned.after == owned.up_to);
        if !is_whole || old.prepared_count > 0 || old.decided_count > 0 {
            return Err(of_several());
        }
        let offset = state::applied(&old).offset;
        for (slot, piece) in self.pieces.iter_mut().enumerate() {
            let arc = self.ring.arc(slot);
            let owned = Owned { after: arc.after, up_to: arc.up_to, ring_version: self.ring_version };
            let hashed = [old.state_hash.to_le_bytes(), arc.up_to.to_le_bytes()].concat();
            let new = AppliedState {
                state_hash: xxh3_64(&hashed),
                // Nothing of before is to be published any more, nor can be read.
                publish_mark: offset,
                last_change: offset,
                first_change: offset + 1,
                change_rows: 0,
                change_bytes: 0,
                remembered_count: piece.remembered_count,
                remembered_bytes: piece.remembered_bytes,
                forgotten_sessions_ms: old.forgotten_sessions_ms.max(piece.forgotten_sessions_ms),
                owned: Some(owned),
                frozen: None,
                ..old.clone()
            };
            piece.push(Space::State, state::APPLIED, &new.encode_to_vec());
        }
        Ok(())
    }
}

impl Piece {
    fn new() -> Piece {
        Piece {
            ready: Vec::new(),
            chunk: begun(),
            hasher: Xxh3::new(),
            rows: 0,
            remembered_count: 0,
            remembered_bytes: 0,
            forgotten_sessions_ms: 0,
        }
    }

    fn push(&mut self, space: Space, key: &[u8], value: &[u8]) {
        push_row(&mut self.chunk, space, key, value);
        self.rows += 1;
        if self.chunk.len() >= CHUNK_BYTES {
            self.fill();
        }
    }

    /// Ends the chunk, as an export would here.
    fn fill(&mut self) {
        let chunk = std::mem::replace(&mut self.chunk, begun());
        self.hasher.update(&chunk);
        self.ready.push(Bytes::from(chunk));
    }

    fn end(&mut self) {
        if has_rows(&self.chunk) {
            self.fill();
        }
        self.ready.push(end_of(self.rows, &self.hasher));
    }
}

fn of_several() -> Error {
    Error::damaged("a state to be dealt out: it is not of a group that owns the whole ring")
}

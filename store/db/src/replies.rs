//! Exactly once (docs/PROTOCOL.md, 4): the answer to a write is remembered in the transaction of its data.
//!
//! **Rules.** A remembered success answers every attempt. A remembered guard failure answers its own attempt and
//! lower ones; a higher attempt runs. The same id with another digest is ID_REUSED. `Outcome` returns the remembered
//! answer. Unless that is a success it closes the id: a late original, or a higher attempt, is then refused with CLOSED_ID.
//!
//! **Why no clock is trusted.** Remembered answers are dropped in the order in which they were made, after 24 h of
//! log time or when they are too many. Dropping one raises `forgotten_ms` to at least the creation time *that its
//! id carries*; an id that is not remembered and was made at or before `forgotten_ms` is refused (EXPIRED), never
//! run. So whatever the clocks said, an id whose answer was dropped can never run again: the comparison is between
//! two numbers of the ids themselves. A wrong clock can only cause a refusal. That one clock far ahead does not
//! refuse everybody, a leader lets in no id made more than 10 s ahead of its own clock (`proto::check`). It is not
//! compared with the log's time, which may lag behind the wall clock for hours after the whole cluster was off.
//! Besides, an id older than 24 h of log time that is not remembered is refused at once; that is a promise, not what
//! safety rests on.
//!
//! Sessions carry a creation time too and follow the same rule with `forgotten_sessions_ms`: a session is dropped with
//! its last answer, and while some of its answers are dropped its `lowest` rises above them. A session asks for
//! sequences below its `lowest` in vain (EXPIRED). So a session that was idle for a day may find itself forgotten:
//! its writes are refused, and its owner begins another.
//!
//! **Protected by the window only.** An id that a person chose has no creation time (0). While it is remembered it
//! is exactly once; after it was dropped (24 h, or 1,000,000 answers, or 256 MiB) it is a new id, and an `Outcome`
//! that says NOT_DONE speaks of the window only.
//!
//! **The tag.** Answers are kept under the ring hash of the transaction's first key, so that they move with their
//! range. A retry finds its answer only if its tag has the same hash: callers keep it the same for one id.
//!
//! ```text
//!   Replies     hash of tag (8) | 1 | session (16) | sequence (8)   or   hash of tag (8) | 2 | user id  → Remembered
//!   ReplyOrder  offset (8)              → timestamp (8) | creation (8) | bytes (4) | key in Replies
//!   Sessions    see crate::sessions
//! ```

use bytes::Bytes;
use prost::Message as _;
use proto::store::identity::Id;
use proto::store::{
    AppliedState, FailureReason, Identity, Remembered, SessionSequence, SessionState, TxnResponse,
};
use store_core::mutant;

use crate::error::Error;
use crate::limits::{
    EVICTED_PER_ENTRY_MAX, REMEMBERED_BYTES_MAX, REMEMBERED_COUNT_MAX, REMEMBERED_FAILED_MAX,
    REMEMBERED_MS_MIN, REMEMBERED_OVERHEAD_BYTES, REMEMBERED_RESPONSE_BYTES_MAX, SESSION_TRIM_PER_ENTRY_MAX,
};
use crate::recent::{Held, Recent};
use crate::sessions::{HASH_BYTES, Sequence, SessionId, sequence_key, sequence_of, session_state};
use crate::table::{Read, Space, Write};

const SESSION: u8 = 1;
const USER: u8 = 2;
const SESSION_BYTES: usize = proto::check::SESSION_BYTES;

/// Why a write was not executed: the same on every replica.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// The store's reason.
    pub reason: FailureReason,
    /// For people.
    pub message: String,
}

impl Refused {
    pub(crate) fn new(reason: FailureReason, message: impl Into<String>) -> Refused {
        Refused { reason, message: message.into() }
    }
}

/// Where one write's answer is kept.
#[derive(Debug)]
pub(crate) struct Place {
    /// The key in Replies.
    key: Vec<u8>,
    /// When the id (or the session) was made; 0: unknown.
    created_ms: i64,
    session: Option<OfSession>,
}

/// A session's sequence.
#[derive(Clone, Copy, Debug)]
struct OfSession {
    id: SessionId,
    sequence: u64,
    lowest: u64,
    created_ms: i64,
}

/// What is known of a write before it runs.
#[derive(Debug)]
pub(crate) enum Known {
    /// Nothing, and it may run.
    New,
    /// This is remembered.
    Answer(Box<Remembered>),
    /// Nothing, and it must not run.
    Refused(Refused),
}

impl Place {
    /// `None` if the identity has no id that can be remembered.
    pub(crate) fn of(tag: &[u8], identity: &Identity) -> Option<Place> {
        proto::check::request_id(identity).ok()?;
        let mut key = Vec::with_capacity(HASH_BYTES + 1 + proto::check::USER_ID_BYTES_MAX);
        key.extend_from_slice(&proto::hash::ring_hash(tag).to_be_bytes());
        match identity.id.as_ref()? {
            Id::Session(session) => {
                key.push(SESSION);
                key.extend_from_slice(&session.session);
                key.extend_from_slice(&session.sequence.to_be_bytes());
                let SessionSequence { sequence, lowest, created_ms, .. } = *session;
                let id = session.session[..].try_into().ok()?;
                let session = Some(OfSession { id, sequence, lowest, created_ms });
                Some(Place { key, created_ms, session })
            }
            Id::User(user) => {
                key.push(USER);
                key.extend_from_slice(&user.id);
                Some(Place { key, created_ms: user.created_ms, session: None })
            }
        }
    }
}

/// Looks a write up whose session may be held.
pub(crate) fn known_of(
    read: &impl Read,
    recent: &mut Recent,
    state: &AppliedState,
    place: &Place,
) -> Result<Known, Error> {
    let held = match &place.session {
        Some(session) => recent.session(read, &session.id)?,
        None => None,
    };
    known(read, held.as_deref(), state, place)
}

/// Looks a write up.
pub(crate) fn known(
    read: &impl Read,
    held: Option<&Held>,
    state: &AppliedState,
    place: &Place,
) -> Result<Known, Error> {
    // A session that is held says which of its sequences have an answer.
    let used = match (&held, &place.session) {
        (Some(held), Some(session)) => Some(held.get(session.sequence)),
        _ => None,
    };
    let may_be_there =
        used.is_none_or(|used| used.is_some_and(|row| row.hash[..] == place.key[..HASH_BYTES]));
    if may_be_there && let Some(row) = read.get(Space::Replies, &place.key)? {
        return Ok(Known::Answer(Box::new(decode(row)?)));
    }
    let mut may_be_forgotten = place.created_ms > 0;
    let session_state = match (&held, &place.session) {
        (Some(held), _) => held.state,
        (None, Some(session)) => read.get(Space::Sessions, &session.id)?.map(session_state).transpose()?,
        (None, None) => None,
    };
    if let (Some(session), Some(SessionState { lowest, .. })) = (&place.session, session_state) {
        may_be_forgotten = false;
        if session.sequence < lowest && !mutant!(SequencesComeBack) {
            let message =
                format!("the session gave up sequences below {lowest}; this is {}", session.sequence);
            return Ok(Known::Refused(Refused::new(FailureReason::ExpiredId, message)));
        }
        let is_used = match used {
            Some(used) => used.is_some(),
            None => read.get(Space::Sessions, &sequence_key(&session.id, session.sequence))?.is_some(),
        };
        if is_used {
            let message = "this sequence was used for a transaction with another first key";
            return Ok(Known::Refused(Refused::new(FailureReason::IdReused, message)));
        }
    }
    // The first is what is promised for ids made by the library; the second is what makes it safe.
    let window_ms = state.log_time_ms.saturating_sub(REMEMBERED_MS_MIN);
    let forgotten_ms = match &place.session {
        Some(_) => state.forgotten_sessions_ms,
        None => window_ms.max(state.forgotten_ms),
    };
    if may_be_forgotten && !mutant!(WindowWithoutMark) && place.created_ms <= forgotten_ms {
        let message = "the id is older than what is remembered: nobody can say whether it ran; use a new one";
        return Ok(Known::Refused(Refused::new(FailureReason::ExpiredId, message)));
    }
    Ok(Known::New)
}

/// Whether a remembered answer is the one to give: `None` if this attempt is to run.
pub(crate) fn answer(remembered: &Remembered, identity: &Identity) -> Option<Result<TxnResponse, Refused>> {
    let closed = || {
        let message = "the id was closed by Outcome: this write was not executed and never will be";
        Some(Err(Refused::new(FailureReason::ClosedId, message)))
    };
    let Some(response) = &remembered.response else { return closed() };
    if remembered.digest != identity.digest {
        let message = "the id was used for another operation or other arguments";
        return Some(Err(Refused::new(FailureReason::IdReused, message)));
    }
    if response.success || identity.attempt <= remembered.attempt {
        return Some(Ok(TxnResponse { remembered: true, ..response.clone() }));
    }
    if remembered.closed { closed() } else { None }
}

/// Remembers an answer in place of what was remembered under the id, and makes room for it.
pub(crate) fn remember(
    write: &mut impl Write,
    recent: &mut Recent,
    state: &mut AppliedState,
    place: &Place,
    remembered: &Remembered,
    before: Option<&Remembered>,
) -> Result<(), Error> {
    if mutant!(ForgetReply) || (mutant!(OpenAfterOutcome) && remembered.closed) {
        return Ok(());
    }
    if let Some(before) = before {
        forget_row(write, state, before, place)?;
    }
    let offset = remembered.offset;
    let row = remembered.encode_to_vec();
    let bytes = (row.len() + place.key.len()) as u64 + REMEMBERED_OVERHEAD_BYTES;
    let bytes = u32::try_from(bytes).expect("a remembered answer is bounded");
    match before {
        Some(_) => write.put(Space::Replies, &place.key, &row)?,
        None => write.insert(Space::Replies, &place.key, &row)?,
    }
    let mut order = Vec::with_capacity(20 + place.key.len());
    order.extend_from_slice(&remembered.log_time_ms.to_be_bytes());
    order.extend_from_slice(&place.created_ms.to_be_bytes());
    order.extend_from_slice(&bytes.to_be_bytes());
    order.extend_from_slice(&place.key);
    write.insert(Space::ReplyOrder, &offset.to_be_bytes(), &order)?;
    state.remembered_count += 1;
    state.remembered_bytes += u64::from(bytes);
    if let Some(session) = &place.session {
        let hash = *place.key.first_chunk().expect("a key begins with the hash");
        let row = Sequence { hash, order: offset.to_be_bytes(), bytes };
        let sequence = sequence_key(&session.id, session.sequence);
        match before {
            Some(_) => write.put(Space::Sessions, &sequence, &row.encoded())?,
            None => write.insert(Space::Sessions, &sequence, &row.encoded())?,
        }
        if let Some(held) = recent.held(&session.id) {
            held.put(session.sequence, row);
        }
        raise_session(write, recent, state, session, remembered.log_time_ms)?;
        recent.bound(&session.id);
    }
    Ok(())
}

/// Takes away the rows by which an answer that is about to be replaced was found in order.
fn forget_row(
    write: &mut impl Write,
    state: &mut AppliedState,
    before: &Remembered,
    place: &Place,
) -> Result<(), Error> {
    let order = before.offset.to_be_bytes();
    let Some(row) = write.get(Space::ReplyOrder, &order)? else {
        return Err(Error::damaged("a remembered answer is not in the order of answers"));
    };
    let bytes = Ordered::of(row).filter(|row| row.key == place.key).map(|row| row.bytes);
    let bytes = bytes.ok_or_else(|| Error::damaged("the order of answers names another answer"))?;
    write.delete(Space::ReplyOrder, &order)?;
    state.remembered_count -= 1;
    state.remembered_bytes -= u64::from(bytes);
    Ok(())
}

/// Raises a session's lowest sequence to what it says, and drops some of the answers below it.
fn raise_session(
    write: &mut impl Write,
    recent: &mut Recent,
    state: &mut AppliedState,
    session: &OfSession,
    log_time_ms: i64,
) -> Result<(), Error> {
    let mut held = recent.held(&session.id);
    let mut known = match &held {
        Some(held) => held.state,
        None => write.get(Space::Sessions, &session.id)?.map(session_state).transpose()?,
    };
    if known.as_ref().is_none_or(|known| known.lowest < session.lowest) {
        let created_ms = known.as_ref().map_or(session.created_ms, |known| known.created_ms);
        let raised = SessionState { lowest: session.lowest, log_time_ms, created_ms };
        write.put(Space::Sessions, &session.id, &raised.encode_to_vec())?;
        if let Some(held) = &mut held {
            held.state = Some(raised);
        }
        known = Some(raised);
    }
    let lowest = known.map_or(0, |known| known.lowest);
    // What has just been answered stays, though it may be below: a later answer grew old before its own did.
    let is_below = |sequence: u64| sequence < lowest && sequence != session.sequence;
    let mut below: Vec<(u64, Sequence)> = Vec::new();
    match &held {
        Some(held) => {
            let all = held.sequences().take_while(|(sequence, _)| *sequence < lowest);
            below.extend(all.filter(|(sequence, _)| is_below(*sequence)).take(SESSION_TRIM_PER_ENTRY_MAX));
        }
        None => write.walk(Space::Sessions, &sequence_key(&session.id, 0), &mut |key, row| {
            let sequence = sequence_of(key, &session.id).filter(|sequence| *sequence < lowest);
            if let Some(sequence) = sequence.filter(|sequence| is_below(*sequence)) {
                below.push((sequence, Sequence::of(row)?));
            }
            Ok(sequence.is_some() && below.len() < SESSION_TRIM_PER_ENTRY_MAX)
        })?,
    }
    for (sequence, row) in below {
        let reply = [&row.hash[..], &[SESSION], &session.id, &sequence.to_be_bytes()].concat();
        write.remove(Space::Replies, &reply)?;
        write.remove(Space::ReplyOrder, &row.order)?;
        write.remove(Space::Sessions, &sequence_key(&session.id, sequence))?;
        if let Some(held) = &mut held {
            held.remove(sequence);
        }
        state.remembered_count -= 1;
        state.remembered_bytes -= u64::from(row.bytes);
    }
    Ok(())
}

/// Drops the oldest answers while they are too many, too large or older than they need be.
pub(crate) fn evict(
    write: &mut impl Write,
    recent: &mut Recent,
    state: &mut AppliedState,
) -> Result<(), Error> {
    let now_ms = state.log_time_ms;
    for nth in 0.. {
        let too_large = state.remembered_bytes > REMEMBERED_BYTES_MAX;
        let few = mutant!(WindowWithoutMark) && state.remembered_count > 16;
        let too_many = few || state.remembered_count > REMEMBERED_COUNT_MAX;
        let too_old =
            recent.oldest_ms.is_none_or(|oldest| oldest.saturating_add(REMEMBERED_MS_MIN) <= now_ms);
        if !(too_large || (nth < EVICTED_PER_ENTRY_MAX && (too_many || too_old))) {
            break;
        }
        let mut oldest = None;
        write.walk(Space::ReplyOrder, &[], &mut |order, row| {
            oldest = Some((order.to_vec(), row.to_vec()));
            Ok(false)
        })?;
        // Without answers nothing grows old before the first one made from now on.
        let Some((order, row)) = oldest else {
            recent.oldest_ms = Some(now_ms);
            break;
        };
        let row = Ordered::of(&row).ok_or_else(|| Error::damaged("a row of the order of answers"))?;
        let due = row.log_time_ms.saturating_add(REMEMBERED_MS_MIN) <= now_ms;
        if !(too_large || too_many || due) {
            recent.oldest_ms = Some(row.log_time_ms);
            break;
        }
        drop_oldest(write, recent, state, &order, &row)?;
        recent.oldest_ms = None;
    }
    Ok(())
}

fn drop_oldest(
    write: &mut impl Write,
    recent: &mut Recent,
    state: &mut AppliedState,
    order: &[u8],
    row: &Ordered<'_>,
) -> Result<(), Error> {
    write.remove(Space::ReplyOrder, order)?;
    write.remove(Space::Replies, row.key)?;
    state.remembered_count -= 1;
    state.remembered_bytes -= u64::from(row.bytes);
    let id = &row.key[HASH_BYTES + 1..];
    if row.key[HASH_BYTES] == USER {
        state.forgotten_ms = state.forgotten_ms.max(row.created_ms);
        return Ok(());
    }
    let Some((session, sequence)) = id.split_first_chunk::<SESSION_BYTES>() else {
        return Err(Error::damaged("the order of answers names no session"));
    };
    let sequence = sequence.try_into().map(u64::from_be_bytes);
    let sequence = sequence.map_err(|_| Error::damaged("the order of answers names no sequence"))?;
    write.remove(Space::Sessions, &sequence_key(session, sequence))?;
    // It is read anew when it writes again.
    recent.forget(session);
    // First behind it, since the oldest goes first: what is before it is most often gone, row by row.
    let mut has_more = false;
    for from in [sequence.saturating_add(1), 0] {
        if !has_more {
            write.walk(Space::Sessions, &sequence_key(session, from), &mut |key, _| {
                has_more = sequence_of(key, session).is_some();
                Ok(false)
            })?;
        }
    }
    let known = write.get(Space::Sessions, session)?.map(session_state).transpose()?;
    let mut known = known.ok_or_else(|| Error::damaged("a session with answers has no state"))?;
    if has_more {
        known.lowest = known.lowest.max(sequence.saturating_add(1));
        write.put(Space::Sessions, session, &known.encode_to_vec())
    } else {
        state.forgotten_sessions_ms = state.forgotten_sessions_ms.max(known.created_ms);
        write.remove(Space::Sessions, session)
    }
}

/// An answer that is too large to be remembered whole (`None`: it is not), without the records' data; if that does
/// not do, without the results, or with only the first failed guards.
pub(crate) fn trimmed(response: &TxnResponse) -> Option<TxnResponse> {
    if response.encoded_len() <= REMEMBERED_RESPONSE_BYTES_MAX {
        return None;
    }
    let mut small = TxnResponse { trimmed: true, ..response.clone() };
    let records = small.results.iter_mut().map(|result| &mut result.record);
    for record in records.chain(small.failed.iter_mut().map(|failed| &mut failed.record)).flatten() {
        record.data = Bytes::new();
    }
    if small.encoded_len() > REMEMBERED_RESPONSE_BYTES_MAX {
        small.results.clear();
        small.failed.truncate(REMEMBERED_FAILED_MAX);
    }
    Some(small)
}

/// A row of ReplyOrder.
pub(crate) struct Ordered<'a> {
    log_time_ms: i64,
    created_ms: i64,
    pub(crate) bytes: u32,
    /// In Replies.
    pub(crate) key: &'a [u8],
}

impl<'a> Ordered<'a> {
    pub(crate) fn of(row: &'a [u8]) -> Option<Ordered<'a>> {
        let (log_time_ms, rest) = row.split_first_chunk()?;
        let (created_ms, rest) = rest.split_first_chunk()?;
        let (bytes, key) = rest.split_first_chunk()?;
        if key.len() <= HASH_BYTES + 1 {
            return None;
        }
        Some(Ordered {
            log_time_ms: i64::from_be_bytes(*log_time_ms),
            created_ms: i64::from_be_bytes(*created_ms),
            bytes: u32::from_be_bytes(*bytes),
            key,
        })
    }
}

fn decode(row: &[u8]) -> Result<Remembered, Error> {
    Remembered::decode(row).map_err(|error| Error::damaged(format!("a remembered answer: {error}")))
}

//! Committed entries, applied: the only way anything gets into the table.
//!
//! Promises: a deterministic function of the table and the entries. Every mistake of a client is a [`Reply`],
//! the same on every replica; an [`Error`] stops the replica and leaves the table as it was, since a batch is one
//! write transaction. The cut of entries into batches makes no difference to the stored rows.
//!
//! Leaves out: commits, and the receivers of the replies.

use bytes::Bytes;
use prost::Message as _;
use proto::check::{APPEND_SUFFIX_BYTES, KEY_BYTES_MAX, TXN_PARTS_MAX};
use proto::store::command::Kind;
use proto::store::identity::Id;
use proto::store::operation::Action;
use proto::store::outcome_response::Verdict;
use proto::store::{
    AppliedState, Command, FailureReason, Identity, OutcomeCommand, OutcomeResponse, Position, Remembered,
    Txn, TxnCommand, TxnResponse,
};
use store_core::types::{self, Entry, EntryKind};
use xxhash_rust::xxh3::xxh3_64;

use crate::changes;
use crate::error::Error;
use crate::limits::{REPLIES_BYTES_MAX, STATE_MACHINE_VERSION};
use crate::recent::Recent;
use crate::replies::{self, Known, Place, Refused};
use crate::state;
use crate::table::{Space, Write};
use crate::txn::{self, Effect};

/// What applying one entry answers.
#[derive(Clone, PartialEq, Debug)]
pub enum Reply {
    /// Nothing: an empty entry, a membership, a raised version.
    None,
    /// A transaction was decided, now or earlier.
    Txn(TxnResponse),
    /// What became of a write.
    Outcome(OutcomeResponse),
    /// Every change up to this offset was published.
    PublishMark(u64),
    /// A consistent view is to be taken here, before the next entry is applied.
    Audit {
        /// The audit's id.
        id: Bytes,
        /// Which keys the auditor wants.
        prefixes: Vec<Bytes>,
    },
    /// The command was not executed.
    Refused(Refused),
}

/// Applies consecutive committed entries in one write transaction; stops after an audit entry, so that its consistent view
/// can be taken, and when the answers are [`REPLIES_BYTES_MAX`] long. `recent` is kept from batch to batch of one table. One reply for each entry applied: fewer replies than entries means that the rest is still to do.
///
/// # Errors
/// The replica must stop: the table failed, or an entry needs a newer release. Nothing of the batch is kept if the
/// caller's transaction ends with the error.
///
/// # Panics
/// If the first entry does not continue what is applied, or the entries are not consecutive: our own bug.
pub fn apply(
    write: &mut impl Write,
    recent: &mut Recent,
    entries: &[Entry<Bytes>],
) -> Result<Vec<Reply>, Error> {
    let mut state = state::read(write)?;
    recent.begin(state::applied(&state));
    let mut replies = Vec::with_capacity(entries.len());
    let mut bytes = 0;
    for entry in entries {
        let before = state::applied(&state);
        assert_eq!(
            entry.position.offset.0,
            before.offset + 1,
            "applying-is-gapless: entries continue what is applied"
        );
        assert!(entry.position.epoch.0 >= before.epoch, "epochs-never-fall: along what is applied");
        let at = Position { epoch: entry.position.epoch.0, offset: entry.position.offset.0 };
        state.log_time_ms = state.log_time_ms.max(entry.log_time_ms);
        let mut applier = Applier { write, recent, state: &mut state, at };
        let reply = match entry.kind {
            EntryKind::Empty => Reply::None,
            EntryKind::Membership => applier.membership(entry)?,
            EntryKind::Command => {
                let reply = applier.command(entry)?;
                replies::evict(applier.write, applier.recent, applier.state)?;
                reply
            }
        };
        state.applied = Some(at);
        bytes += match &reply {
            Reply::Txn(answer) => answer.encoded_len(),
            _ => 0,
        };
        let ends_batch = matches!(reply, Reply::Audit { .. }) || bytes >= REPLIES_BYTES_MAX;
        replies.push(reply);
        if ends_batch {
            break;
        }
    }
    state::write(write, &state)?;
    recent.end(state::applied(&state));
    Ok(replies)
}

struct Applier<'a, W> {
    write: &'a mut W,
    recent: &'a mut Recent,
    state: &'a mut AppliedState,
    at: Position,
}

impl<W: Write> Applier<'_, W> {
    fn membership(&mut self, entry: &Entry<Bytes>) -> Result<Reply, Error> {
        let membership = proto::store::Membership::decode(entry.payload.clone());
        let membership =
            membership.map_err(|error| not_understood(entry.position, format!("a membership: {error}")))?;
        self.state.membership.get_or_insert_with(|| membership.clone());
        self.state.log_id = state::log_id(self.state);
        self.state.membership = Some(membership);
        self.state.membership_offset = self.at.offset;
        Ok(Reply::None)
    }

    fn command(&mut self, entry: &Entry<Bytes>) -> Result<Reply, Error> {
        let command = Command::decode(entry.payload.clone());
        let command =
            command.map_err(|error| not_understood(entry.position, format!("a command: {error}")))?;
        match command.kind {
            Some(Kind::Txn(command)) => self.txn(entry.position, command),
            Some(Kind::Outcome(command)) => self.outcome(&command),
            Some(Kind::PublishMark(mark)) => {
                self.state.publish_mark = self.state.publish_mark.max(mark.offset);
                Ok(Reply::PublishMark(mark.offset))
            }
            Some(Kind::Audit(audit)) => Ok(Reply::Audit { id: audit.id, prefixes: audit.prefixes }),
            Some(Kind::RaiseVersion(raise)) if raise.version <= STATE_MACHINE_VERSION => {
                self.state.state_machine_version = self.state.state_machine_version.max(raise.version);
                Ok(Reply::None)
            }
            Some(Kind::RaiseVersion(raise)) => {
                let what = format!("state-machine version {} (here {STATE_MACHINE_VERSION})", raise.version);
                Err(not_understood(entry.position, what))
            }
            None => Err(not_understood(entry.position, "a command of an unknown kind".to_owned())),
        }
    }

    fn txn(&mut self, position: types::Position, command: TxnCommand) -> Result<Reply, Error> {
        let txn = command.txn.unwrap_or_default();
        if let Some(what) = unknown_part(&txn) {
            return Err(not_understood(position, what));
        }
        let Some(tag) = txn.tag().filter(|_| fits(&txn)) else {
            return Ok(invalid("the transaction is empty, too long, or has a key of a length not allowed"));
        };
        let Some(identity) = &command.identity else {
            return Ok(Reply::Txn(self.run(&txn)?));
        };
        let Some(place) = Place::of(tag, identity) else {
            return Ok(invalid("the identity cannot be remembered"));
        };
        let before = match replies::known_of(self.write, self.recent, self.state, &place)? {
            Known::Refused(refused) => return Ok(Reply::Refused(refused)),
            Known::New => None,
            Known::Answer(remembered) => match replies::answer(&remembered, identity) {
                Some(Ok(response)) => return Ok(Reply::Txn(response)),
                Some(Err(refused)) => return Ok(Reply::Refused(refused)),
                None => Some(remembered),
            },
        };
        let response = self.run(&txn)?;
        let (small, whole) = match replies::trimmed(&response) {
            Some(small) => (small, Some(response)),
            None => (response, None),
        };
        let remembered = Remembered {
            attempt: identity.attempt,
            digest: identity.digest.clone(),
            response: Some(small),
            ..self.remembered(identity)
        };
        replies::remember(self.write, self.recent, self.state, &place, &remembered, before.as_deref())?;
        Ok(Reply::Txn(whole.or(remembered.response).expect("it was answered just above")))
    }

    /// Runs a transaction and writes its effects down.
    fn run(&mut self, txn: &Txn) -> Result<TxnResponse, Error> {
        let ran = txn::run(&*self.write, txn, self.at)?;
        self.state.state_hash = hashed(self.state.state_hash, &ran.effects);
        for effect in &ran.effects {
            match &effect.stored {
                Some(stored) => self.write.put(Space::Records, &effect.key, stored)?,
                None => {
                    let was_there = self.write.delete(Space::Records, &effect.key)?;
                    assert!(was_there, "only what is there is deleted");
                }
            }
        }
        changes::add(self.write, self.recent, self.state, self.at, &ran.effects)?;
        Ok(ran.response)
    }

    fn outcome(&mut self, command: &OutcomeCommand) -> Result<Reply, Error> {
        let Some(identity) = command.identity.as_ref().map(only_id) else {
            return Ok(invalid("the identity is missing"));
        };
        let fits = (1..=KEY_BYTES_MAX).contains(&command.tag.len());
        let Some(place) = Place::of(&command.tag, &identity).filter(|_| fits) else {
            return Ok(invalid("the identity or the tag is not one that can be remembered"));
        };
        let answer = |verdict: Verdict, response| {
            Reply::Outcome(OutcomeResponse { verdict: verdict.into(), response, position: Some(self.at) })
        };
        match replies::known_of(self.write, self.recent, self.state, &place)? {
            Known::Refused(refused) if refused.reason == FailureReason::ExpiredId => {
                Ok(answer(Verdict::Expired, None))
            }
            Known::Refused(refused) => Ok(Reply::Refused(refused)),
            Known::New => {
                let done = answer(Verdict::NotDone, None);
                let closed = Remembered { closed: true, ..self.remembered(&identity) };
                replies::remember(self.write, self.recent, self.state, &place, &closed, None)?;
                Ok(done)
            }
            Known::Answer(remembered) => {
                let response = remembered.response.clone().map(|it| TxnResponse { remembered: true, ..it });
                match response {
                    None => Ok(answer(Verdict::NotDone, None)),
                    Some(response) if response.success => Ok(answer(Verdict::Done, Some(response))),
                    Some(response) => {
                        let done = answer(Verdict::Refused, Some(response));
                        let closed = Remembered {
                            closed: true,
                            offset: self.at.offset,
                            log_time_ms: self.state.log_time_ms,
                            ..(*remembered).clone()
                        };
                        replies::remember(
                            self.write,
                            self.recent,
                            self.state,
                            &place,
                            &closed,
                            Some(&remembered),
                        )?;
                        Ok(done)
                    }
                }
            }
        }
    }

    /// What is remembered of any write of this entry.
    fn remembered(&self, identity: &Identity) -> Remembered {
        let created_ms = match &identity.id {
            Some(Id::Session(session)) => session.created_ms,
            Some(Id::User(user)) => user.created_ms,
            None => 0,
        };
        Remembered {
            log_time_ms: self.state.log_time_ms,
            offset: self.at.offset,
            created_ms,
            ..Remembered::default()
        }
    }
}

/// Of the identity in an `Outcome` only the id counts: its session gives up no sequences by asking.
fn only_id(identity: &Identity) -> Identity {
    let mut id = identity.id.clone();
    if let Some(Id::Session(session)) = &mut id {
        session.lowest = 0;
    }
    Identity { id, ..Identity::default() }
}

fn invalid(message: &str) -> Reply {
    Reply::Refused(Refused::new(FailureReason::Invalid, message))
}

fn not_understood(position: types::Position, what: String) -> Error {
    Error::NotUnderstood { position, what }
}

/// A guard or operation of a kind that this release does not know: skipping it would make replicas differ.
fn unknown_part(txn: &Txn) -> Option<String> {
    if txn.guards.iter().any(|guard| guard.condition.is_none()) {
        return Some("a guard of an unknown kind".to_owned());
    }
    let unknown = txn.operations.iter().any(|operation| operation.action.is_none());
    unknown.then(|| "an operation of an unknown kind".to_owned())
}

/// Whether every key is one that the table can hold. Admission checks this and more; it is checked again because a
/// committed entry that no replica can apply would stop them all.
fn fits(txn: &Txn) -> bool {
    let guards = txn.guards.iter().all(|guard| (1..=KEY_BYTES_MAX).contains(&guard.key.len()));
    let operations = txn.operations.iter().all(|operation| {
        let is_append = matches!(operation.action, Some(Action::Append(_)));
        let suffix = if is_append { APPEND_SUFFIX_BYTES } else { 0 };
        (1..=KEY_BYTES_MAX - suffix).contains(&operation.key.len())
    });
    guards && operations && txn.guards.len() + txn.operations.len() <= TXN_PARTS_MAX
}

/// The running hash after one entry: xxh3-64 of the hash before it and, for each effect in key order, length and
/// bytes of the key and of the stored record (length 2^32 − 1: none). An entry without effects leaves it.
fn hashed(before: u64, effects: &[Effect]) -> u64 {
    if effects.is_empty() {
        return before;
    }
    let bytes =
        effects.iter().map(|effect| 8 + effect.key.len() + effect.stored.as_ref().map_or(0, Vec::len));
    let mut text = Vec::with_capacity(8 + bytes.sum::<usize>());
    text.extend_from_slice(&before.to_le_bytes());
    let length =
        |bytes: &[u8]| u32::try_from(bytes.len()).expect("keys and records are bounded").to_le_bytes();
    for effect in effects {
        text.extend_from_slice(&length(&effect.key));
        text.extend_from_slice(&effect.key);
        match &effect.stored {
            Some(stored) => {
                text.extend_from_slice(&length(stored));
                text.extend_from_slice(stored);
            }
            None => text.extend_from_slice(&u32::MAX.to_le_bytes()),
        }
    }
    xxh3_64(&text)
}

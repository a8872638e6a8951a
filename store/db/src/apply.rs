//! Committed entries, applied: the only way anything gets into the table.
//!
//! Promises: a deterministic function of the table and the entries. Every mistake of a client is a [`Reply`],
//! the same on every replica; an [`Error`] stops the replica and leaves the table as it was, since a batch is one
//! write transaction. The cut of entries into batches makes no difference to the stored rows.
//!
//! Leaves out: commits, and the receivers of the replies.

use bytes::Bytes;
use prost::Message as _;
use proto::check::KEY_BYTES_MAX;
use proto::store::command::Kind;
use proto::store::identity::Id;
use proto::store::outcome_response::Verdict;
use proto::store::{
    Command, Decide, FailureReason, FinishAck, Holder, Identity, OutcomeCommand, OutcomeResponse, Position,
    PrepareAnswer, PrepareCommand, Remembered, Txn, TxnCommand, TxnResponse,
};
use store_core::mutant;
use store_core::types::{self, Entry, EntryKind};

use crate::applying::Applying;
use crate::cross;
use crate::cut::{self, Still};
use crate::error::Error;
use crate::limits::{REPLIES_BYTES_MAX, STATE_MACHINE_VERSION};
use crate::parts::{fits, misplaced, misplaced_tag, unknown_part};
use crate::recent::Recent;
use crate::replies::{self, Known, Place, Refused};
use crate::state;
use crate::table::Write;
use crate::txn::{self, Frame, Ran, Role};

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
        /// The id of the audit or of the cut.
        id: Bytes,
        /// Which keys the auditor wants.
        prefixes: Vec<Bytes>,
    },
    /// The command was not executed.
    Refused(Refused),
    /// The transaction was not executed and nothing is remembered: a prepared branch is in the way.
    Locked(Holder),
    /// What became of each branch of a prepare, in order.
    Prepared(Vec<PrepareAnswer>),
    /// Ends of branches that are done with; those that are not among them are to be sent again.
    Finished(Vec<FinishAck>),
    /// Decisions were forgotten.
    Forgotten,
    /// The group stands still, or goes on again.
    Frozen,
}

impl Reply {
    /// Whether this entry decided to commit what it was asked: it was executed here, and not answered from memory.
    #[must_use]
    pub fn commits(&self) -> bool {
        matches!(self, Reply::Txn(response) if response.success && !response.remembered)
    }
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
        let mut applier = Applying { write, recent, state: &mut state, at };
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
            Reply::Prepared(answers) => answers.iter().map(|answer| answer.encoded_len()).sum(),
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

impl<W: Write> Applying<'_, W> {
    fn membership(&mut self, entry: &Entry<Bytes>) -> Result<Reply, Error> {
        let membership = proto::store::Membership::decode(entry.payload.clone());
        let membership =
            membership.map_err(|error| not_understood(entry.position, format!("a membership: {error}")))?;
        self.state.membership.get_or_insert_with(|| membership.clone());
        if self.state.membership_offset == 0 {
            self.state.owned = membership.owned;
        }
        self.state.log_id = state::log_id(self.state);
        self.state.membership = Some(membership);
        self.state.membership_offset = self.at.offset;
        Ok(Reply::None)
    }

    fn command(&mut self, entry: &Entry<Bytes>) -> Result<Reply, Error> {
        let command = Command::decode(entry.payload.clone());
        let command =
            command.map_err(|error| not_understood(entry.position, format!("a command: {error}")))?;
        if self.state.frozen.is_some()
            && let Some(still) = cut::refusal(command.kind.as_ref())
        {
            return Ok(match still {
                Still::Unprepared(answers) => Reply::Prepared(answers),
                Still::Refused(refused) => Reply::Refused(refused),
            });
        }
        match command.kind {
            Some(Kind::Txn(command)) => self.txn(entry.position, command),
            Some(Kind::Outcome(command)) => self.outcome(&command),
            Some(Kind::PublishMark(mark)) => {
                self.state.publish_mark = self.state.publish_mark.max(mark.offset);
                Ok(Reply::PublishMark(mark.offset))
            }
            Some(Kind::Audit(audit)) => Ok(Reply::Audit { id: audit.id, prefixes: audit.prefixes }),
            Some(Kind::Prepare(command)) => self.prepare(entry.position, command),
            Some(Kind::Finish(command)) => Ok(match self.state.owned {
                Some(_) => Reply::Finished(cross::finish(self, &command)?),
                None => alone(),
            }),
            Some(Kind::Forget(command)) => Ok(match self.state.owned {
                Some(_) => {
                    cross::forget(self, &command)?;
                    Reply::Forgotten
                }
                None => alone(),
            }),
            Some(Kind::Freeze(command)) => Ok(match cut::begin(self.state, self.at.offset, command) {
                Ok(()) => Reply::Frozen,
                Err(refused) => Reply::Refused(refused),
            }),
            Some(Kind::Cut(command)) => Ok(match cut::check(self.state, &command) {
                Ok(()) => Reply::Audit { id: command.id, prefixes: command.prefixes },
                Err(refused) => Reply::Refused(refused),
            }),
            Some(Kind::Thaw(command)) => {
                cut::end(self.state, &command);
                Ok(Reply::Frozen)
            }
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

    fn prepare(&mut self, position: types::Position, command: PrepareCommand) -> Result<Reply, Error> {
        let unknown = command.branches.iter().find_map(|branch| unknown_part(branch.txn.as_ref()?));
        if let Some(what) = unknown {
            return Err(not_understood(position, what));
        }
        Ok(match self.state.owned {
            Some(_) => Reply::Prepared(cross::prepare(self, command)?),
            None => alone(),
        })
    }

    fn txn(&mut self, position: types::Position, command: TxnCommand) -> Result<Reply, Error> {
        let txn = command.txn.unwrap_or_default();
        if let Some(what) = unknown_part(&txn) {
            return Err(not_understood(position, what));
        }
        let Some(tag) = txn.tag().filter(|_| fits(&txn)) else {
            return Ok(invalid("the transaction is empty, too long, or has a key of a length not allowed"));
        };
        let decide = command.decide.as_ref();
        if let Some(refused) = decide.and_then(|decide| cross::misfit(self.state, self.at, decide, &txn)) {
            return Ok(Reply::Refused(refused));
        }
        if let Some(refused) = misplaced(self.state, &txn) {
            return Ok(Reply::Refused(refused));
        }
        let Some(identity) = &command.identity else {
            return self.run(&txn, decide);
        };
        let Some(place) = Place::of(tag, identity) else {
            return Ok(invalid("the identity cannot be remembered"));
        };
        let before = match replies::known_of(self.write, self.recent, self.state, &place)? {
            Known::Answer(_) if decide.is_some() && mutant!(NoRecheck) => None,
            Known::Refused(refused) => return Ok(Reply::Refused(refused)),
            Known::New => None,
            Known::Answer(remembered) => match replies::answer(&remembered, identity) {
                Some(Ok(response)) => return Ok(Reply::Txn(response)),
                Some(Err(refused)) => return Ok(Reply::Refused(refused)),
                None => Some(remembered),
            },
        };
        let response = match self.run(&txn, decide)? {
            Reply::Txn(response) => response,
            Reply::Locked(_) if mutant!(LockedRemembered) => {
                TxnResponse { position: Some(self.at), ..TxnResponse::default() }
            }
            // Nothing was executed, and nothing is remembered.
            other => return Ok(other),
        };
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

    /// Runs a transaction, or the decider's own part of one, and writes its effects down: [`Reply::Txn`], or why it was not
    /// executed.
    fn run(&mut self, txn: &Txn, decide: Option<&Decide>) -> Result<Reply, Error> {
        if let Some(refusal) = decide.and_then(|decide| decide.refusal.as_ref()) {
            let failed = refusal.failed.clone();
            return Ok(Reply::Txn(TxnResponse { position: Some(self.at), failed, ..TxnResponse::default() }));
        }
        if let Some(decide) = decide
            && let Some(refused) = cross::stops(self, decide)?
        {
            return Ok(Reply::Refused(refused));
        }
        let ignores_locks = decide.is_some() && mutant!(DecideIgnoresLocks);
        let frame = Frame {
            at: self.at,
            places: decide.map(|decide| (&decide.guards[..], &decide.operations[..])),
            log_time_ms: self.log_time_ms(),
            places_appends: self.places_appends(),
            may_be_locked: self.state.prepared_count > 0 && !ignores_locks,
            role: Role::Here,
        };
        let (response, effects) = match txn::run(&*self.write, txn, frame)? {
            Ran::Done { response, effects } => (response, effects),
            Ran::Failed(response) => return Ok(Reply::Txn(response)),
            Ran::Locked(holder) => return Ok(Reply::Locked(holder)),
        };
        let keys = self.store(effects)?;
        self.tell_of(keys)?;
        Ok(Reply::Txn(match decide {
            None => response,
            Some(decide) => cross::decided(self, txn, decide, response)?,
        }))
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
        if let Some(refused) = misplaced_tag(self.state, &command.tag) {
            return Ok(Reply::Refused(refused));
        }
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

/// The answer of a group that owns the whole ring, or does not know what it owns.
fn alone() -> Reply {
    invalid("there is no other group: this one was not founded as one of several")
}

fn not_understood(position: types::Position, what: String) -> Error {
    Error::NotUnderstood { position, what }
}

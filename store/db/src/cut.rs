//! The freeze of a group, for one consistent view of all groups (docs/PROTOCOL.md, 11).
//!
//! Promises: from a freeze to its thaw no record, lock, decision or remembered reply comes to be, but by ends of branches that are
//! prepared: of the entries that a group can have, only those of [`passes`] have an effect, and every other is refused as not executed
//! (FROZEN), the same on every replica. A cut is taken only under the very freeze that it names, and with nothing prepared. The
//! freeze in force is in snapshots and under the state hash.
//!
//! Leaves out: when a leader freezes and thaws, and who says that a group is drained ([`store_core::cut`]).

use proto::store::command::Kind;
use proto::store::prepare_answer::Verdict;
use proto::store::{
    AppliedState, CutCommand, Failure, FailureReason, FreezeCommand, Frozen, PrepareAnswer, PrepareCommand,
    ThawCommand,
};
use store_core::cut::Freeze;
use store_core::mutant;
use xxhash_rust::xxh3::xxh3_64;

use crate::limits::{CUT_ID_BYTES, VERSION_OF_CUTS};
use crate::replies::Refused;

const FROZEN: &str = "the group stands still for a consistent view of all groups: a moment later it goes on";

/// The freeze in force.
#[must_use]
pub fn freeze(state: &AppliedState) -> Option<Freeze> {
    let frozen = state.frozen.as_ref()?;
    Some(Freeze { id: id_of(&frozen.id)?, offset: frozen.offset })
}

/// The number of an id of the right length.
#[must_use]
pub fn id_of(id: &[u8]) -> Option<u128> {
    id.try_into().ok().map(u128::from_be_bytes)
}

/// What is answered to a command of a frozen group that has no effect.
pub(crate) enum Still {
    /// Each branch of a prepare, by itself.
    Unprepared(Vec<PrepareAnswer>),
    /// Anything else.
    Refused(Refused),
}

/// Why a command of a frozen group has no effect; `None`: it has one. Besides commands the log has empty entries and
/// memberships: they have their effects always, or no leader could begin and no change of members end.
pub(crate) fn refusal(kind: Option<&Kind>) -> Option<Still> {
    match kind {
        Some(Kind::Prepare(command)) => Some(Still::Unprepared(unprepared(command))),
        kind if passes(kind) => None,
        _ => Some(Still::Refused(frozen())),
    }
}

/// Whether a command has its effect under a freeze. A mark of what was published, an audit and a raised version change nothing that a
/// cut is of; what is of no known kind must stop the replica, as ever.
fn passes(kind: Option<&Kind>) -> bool {
    match kind {
        Some(
            Kind::Finish(_)
            | Kind::Forget(_)
            | Kind::Freeze(_)
            | Kind::Cut(_)
            | Kind::Thaw(_)
            | Kind::PublishMark(_)
            | Kind::Audit(_)
            | Kind::RaiseVersion(_),
        )
        | None => true,
        Some(Kind::Txn(command)) if command.decide.is_some() => mutant!(FrozenDecides),
        Some(Kind::Txn(_)) => mutant!(FrozenTakesLocal),
        Some(Kind::Prepare(_) | Kind::Outcome(_)) => false,
    }
}

fn frozen() -> Refused {
    Refused::new(FailureReason::Frozen, FROZEN)
}

fn unprepared(command: &PrepareCommand) -> Vec<PrepareAnswer> {
    let refused =
        Failure { reason: FailureReason::Frozen.into(), message: FROZEN.to_owned(), ..Failure::default() };
    let answer = |id| PrepareAnswer { id, verdict: Some(Verdict::Refused(refused.clone())) };
    command.branches.iter().map(|branch| answer(branch.id)).collect()
}

/// Freezes the group. One that is frozen for the same cut stays so, since when it was.
pub(crate) fn begin(state: &mut AppliedState, offset: u64, command: FreezeCommand) -> Result<(), Refused> {
    let invalid = |message: &str| Err(Refused::new(FailureReason::Invalid, message));
    let Some(owned) = &state.owned else {
        return invalid("there is no other group: this one was not founded as one of several");
    };
    if state.state_machine_version < VERSION_OF_CUTS || command.id.len() != CUT_ID_BYTES {
        return invalid("the rules in force know no cut, or its id is none");
    }
    if owned.ring_version != command.ring_version {
        let message =
            format!("the group has ring version {}, not {}", owned.ring_version, command.ring_version);
        return Err(Refused::new(FailureReason::WrongRoute, message));
    }
    match &state.frozen {
        Some(known) if known.id != command.id => Err(frozen()),
        Some(_) => Ok(()),
        None => {
            set(state, Some(Frozen { id: command.id, offset }));
            Ok(())
        }
    }
}

/// Whether the consistent view is taken: the freeze that is meant is in force, and nothing is prepared.
pub(crate) fn check(state: &AppliedState, command: &CutCommand) -> Result<(), Refused> {
    let is_meant =
        |known: &Frozen| known.id == command.id && known.offset == command.frozen_at && known.offset > 0;
    let is_in_force = state.frozen.as_ref().is_some_and(is_meant) || mutant!(CutIgnoresThaw);
    let is_drained = state.prepared_count == 0 || mutant!(CutWithoutDrain) || mutant!(CutIgnoresThaw);
    if is_in_force && is_drained {
        return Ok(());
    }
    let message = "the freeze of this cut is not in force any more: the whole cut is void";
    Err(Refused::new(FailureReason::NotHere, message))
}

/// Ends a freeze, if it is in force.
pub(crate) fn end(state: &mut AppliedState, command: &ThawCommand) {
    if state.frozen.as_ref().is_some_and(|known| known.id == command.id) {
        set(state, None);
    }
}

fn set(state: &mut AppliedState, frozen: Option<Frozen>) {
    let mut text = state.state_hash.to_le_bytes().to_vec();
    text.extend_from_slice(b"frozen");
    text.extend(frozen.iter().flat_map(prost::Message::encode_to_vec));
    state.state_hash = xxh3_64(&text);
    state.frozen = frozen;
}

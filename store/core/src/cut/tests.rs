//! The leader's part and the driver's part in a cut, step by step.

use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::types::Epoch;

const CUT: CutId = 7;
const FROZEN: Freeze = Freeze { id: CUT, offset: 40 };

fn leader() -> FreezeLeader {
    let mut leader = FreezeLeader::default();
    leader.step(FreezeInput::Lead(Epoch(5)));
    leader.step(FreezeInput::Ready);
    leader
}

fn see(frozen: Option<Freeze>, prepared: u64, undecided: usize) -> FreezeInput {
    FreezeInput::See { frozen, prepared, undecided }
}

fn ticks(leader: &mut FreezeLeader, count: u32) -> Vec<FreezeOutput> {
    (0..count).flat_map(|_| leader.step(FreezeInput::Tick)).collect()
}

#[test]
fn a_leader_lets_what_is_under_way_be_decided_before_it_freezes_and_is_drained_without_branches() {
    let mut leader = leader();
    assert!(leader.may_begin());
    assert_eq!(leader.step(FreezeInput::Ask(CUT)), []);
    assert!(!leader.may_begin(), "what begins now would have to be waited for");
    assert_eq!(leader.step(see(None, 2, 1)), [], "one is not decided");
    assert_eq!(leader.step(see(None, 2, 0)), [FreezeOutput::AppendFreeze(CUT)]);
    assert_eq!(leader.step(see(None, 2, 0)), [], "once");
    assert_eq!(leader.step(see(Some(FROZEN), 1, 0)), [], "a branch is prepared");
    assert_eq!(leader.step(see(Some(FROZEN), 0, 0)), [FreezeOutput::Drained(FROZEN)]);
    assert!(!leader.may_begin() && !leader.is_idle());
    assert_eq!(leader.step(see(None, 0, 0)), []);
    assert!(leader.may_begin() && leader.is_idle(), "it was thawed");
}

#[test]
fn what_is_not_decided_in_time_is_not_waited_for() {
    let mut leader = leader();
    leader.step(FreezeInput::Ask(CUT));
    assert_eq!(ticks(&mut leader, DECIDE_TICKS_MAX - 1), []);
    assert_eq!(leader.step(see(None, 0, 9)), []);
    ticks(&mut leader, 1);
    assert_eq!(leader.step(see(None, 0, 9)), [FreezeOutput::AppendFreeze(CUT)]);
    assert_eq!(leader.step(FreezeInput::NotAppended(CUT)), []);
    assert_eq!(leader.step(see(None, 0, 9)), [FreezeOutput::AppendFreeze(CUT)], "the log had no room");
}

#[test]
fn a_leader_says_nothing_before_its_first_entry_is_applied() {
    let mut leader = FreezeLeader::default();
    leader.step(FreezeInput::Lead(Epoch(5)));
    leader.step(FreezeInput::Ask(CUT));
    assert_eq!(leader.step(see(Some(FROZEN), 0, 0)), [], "a thaw of an earlier leader may still come");
    leader.step(FreezeInput::Ready);
    assert_eq!(
        leader.step(see(Some(FROZEN), 0, 0)),
        [FreezeOutput::Drained(FROZEN)],
        "the freeze of another"
    );
}

#[test]
fn a_freeze_that_goes_on_is_ended_by_any_leader_that_sees_it() {
    let mut leader = leader();
    leader.step(see(Some(FROZEN), 0, 0));
    assert_eq!(ticks(&mut leader, THAW_TICKS - 1), []);
    assert_eq!(ticks(&mut leader, 1), [FreezeOutput::AppendThaw(CUT)]);
    assert_eq!(ticks(&mut leader, AGAIN_TICKS), [FreezeOutput::AppendThaw(CUT)], "and again if that is lost");
    // Frozen anew is another freeze, and another leader counts from its own first look.
    leader.step(see(Some(Freeze { offset: 50, ..FROZEN }), 0, 0));
    assert_eq!(ticks(&mut leader, THAW_TICKS - 1), []);
    leader.step(FreezeInput::Lead(Epoch(6)));
    leader.step(see(Some(FROZEN), 0, 0));
    assert_eq!(ticks(&mut leader, THAW_TICKS - 1), []);
    assert_eq!(ticks(&mut leader, 1), [FreezeOutput::AppendThaw(CUT)]);
    leader.step(FreezeInput::Lost);
    assert_eq!(ticks(&mut leader, 3 * THAW_TICKS), [], "who does not lead appends nothing");
}

#[test]
fn a_request_ends_with_a_word_whatever_happens() {
    let refused = |why| [FreezeOutput::Refuse(CUT, why)];
    assert_eq!(FreezeLeader::default().step(FreezeInput::Ask(CUT)), refused(Refusal::NotLeader));
    let mut busy = leader();
    busy.step(FreezeInput::Ask(CUT + 1));
    assert_eq!(busy.step(FreezeInput::Ask(CUT)), refused(Refusal::Busy));
    assert_eq!(busy.step(FreezeInput::Lost), [FreezeOutput::Refuse(CUT + 1, Refusal::NotLeader)]);
    let mut late = leader();
    late.step(FreezeInput::Ask(CUT));
    late.step(see(Some(FROZEN), 1, 0));
    let ended = [FreezeOutput::Refuse(CUT, Refusal::Late), FreezeOutput::AppendThaw(CUT)];
    assert_eq!(ticks(&mut late, ASK_TICKS_MAX), ended);
    assert_eq!(late.step(see(Some(FROZEN), 1, 0)), [], "it is on its way");
    let mut given_up = leader();
    given_up.step(FreezeInput::Ask(CUT));
    assert_eq!(given_up.step(FreezeInput::GivenUp(CUT + 1)), [], "another's");
    assert_eq!(given_up.step(FreezeInput::GivenUp(CUT)), refused(Refusal::Late));
    assert_eq!(given_up.step(see(None, 0, 0)), [], "nothing is frozen for it");
    let mut overtaken = leader();
    overtaken.step(FreezeInput::Ask(CUT));
    let other = Some(Freeze { id: CUT + 1, offset: 3 });
    assert_eq!(overtaken.step(see(other, 0, 0)), refused(Refusal::Busy));
    assert_eq!(overtaken.step(FreezeInput::Ask(CUT)), refused(Refusal::Busy));
}

#[test]
fn a_freeze_of_a_cut_that_is_over_is_not_begun_and_ends_as_soon_as_it_is_seen() {
    let thawed = [FreezeOutput::AppendThaw(CUT)];
    let refused = [FreezeOutput::Refuse(CUT, Refusal::Late)];
    // Its driver has thawed it, while the entry was on its way or the request not even here.
    for is_appended in [true, false] {
        let mut leader = leader();
        if is_appended {
            leader.step(FreezeInput::Ask(CUT));
            assert_eq!(leader.step(see(None, 0, 0)), [FreezeOutput::AppendFreeze(CUT)]);
        }
        leader.step(FreezeInput::GivenUp(CUT));
        assert!(leader.may_begin() && !leader.is_idle());
        assert_eq!(leader.step(FreezeInput::Ask(CUT)), refused, "it overtook its thaw");
        assert!(leader.may_begin());
        assert_eq!(leader.step(see(Some(FROZEN), 1, 0)), thawed);
        assert_eq!(leader.step(see(Some(FROZEN), 0, 0)), [], "once");
        let anew = Freeze { offset: 50, ..FROZEN };
        assert_eq!(leader.step(see(Some(anew), 0, 0)), thawed, "a copy of the entry is another freeze");
        leader.step(see(None, 0, 0));
        assert_eq!(leader.step(FreezeInput::Ask(CUT + 1)), [], "another cut may begin");
    }
    // It was given up as late, with the entry still on its way.
    let mut late = leader();
    late.step(FreezeInput::Ask(CUT));
    assert_eq!(late.step(see(None, 0, 0)), [FreezeOutput::AppendFreeze(CUT)]);
    assert_eq!(ticks(&mut late, ASK_TICKS_MAX), refused);
    assert_eq!(late.step(see(Some(FROZEN), 0, 0)), thawed);
}

#[test]
fn cuts_that_are_over_are_forgotten_in_time_and_when_they_are_many() {
    let mut leader = leader();
    leader.step(FreezeInput::GivenUp(CUT));
    ticks(&mut leader, THAW_TICKS - 1);
    assert_eq!(leader.step(FreezeInput::Ask(CUT)), [FreezeOutput::Refuse(CUT, Refusal::Late)]);
    ticks(&mut leader, 1);
    assert!(leader.is_idle());
    assert_eq!(leader.step(FreezeInput::Ask(CUT)), []);
    leader.step(FreezeInput::GivenUp(CUT));
    (1..=OVER_MAX as u128).for_each(|more| drop(leader.step(FreezeInput::GivenUp(CUT + more))));
    assert_eq!(leader.step(FreezeInput::Ask(CUT + 1)), [FreezeOutput::Refuse(CUT + 1, Refusal::Late)]);
    assert_eq!(leader.step(FreezeInput::Ask(CUT)), [], "the oldest");
    let mut follower = FreezeLeader::default();
    follower.step(FreezeInput::GivenUp(CUT));
    assert!(follower.is_idle(), "who does not lead remembers nothing");
}

#[test]
fn groups_are_cut_when_all_are_drained_and_go_on_when_all_are_cut() {
    let (mut round, begun) = Round::<u64>::begin(2);
    assert_eq!(begun, [RoundOutput::Freeze(0), RoundOutput::Freeze(1)]);
    assert_eq!(round.step(RoundInput::Drained(1, 40)), []);
    assert_eq!(round.step(RoundInput::Drained(1, 40)), [], "said again");
    let cut = [RoundOutput::Cut(0, 30), RoundOutput::Cut(1, 40)];
    assert_eq!(round.step(RoundInput::Drained(0, 30)), cut);
    assert_eq!(round.step(RoundInput::Taken(1, 41)), []);
    let ended = [RoundOutput::Thaw(0), RoundOutput::Thaw(1), RoundOutput::Taken];
    assert_eq!(round.step(RoundInput::Taken(0, 33)), ended);
    assert_eq!(round.positions(), vec![33, 41]);
    assert_eq!(round.step(RoundInput::Refused(0)), [], "it is over");
}

#[test]
fn a_refusal_or_a_second_freeze_voids_the_whole_cut_and_all_go_on() {
    let void = [RoundOutput::Thaw(0), RoundOutput::Thaw(1), RoundOutput::Void];
    let (mut round, _) = Round::<u64>::begin(2);
    round.step(RoundInput::Drained(1, 40));
    assert_eq!(round.step(RoundInput::Refused(0)), void);
    assert_eq!(round.step(RoundInput::Drained(0, 30)), [], "it is over");
    // A group goes on when it has answered: a thaw before that could come before the freeze.
    for answer in [RoundInput::Drained(0, 30), RoundInput::Refused(0)] {
        let (mut round, _) = Round::<u64>::begin(2);
        round.step(RoundInput::Drained(1, 40));
        assert_eq!(round.step(RoundInput::Drained(1, 44)), [RoundOutput::Thaw(1), RoundOutput::Void]);
        assert_eq!(round.step(answer), [RoundOutput::Thaw(0)]);
        assert_eq!(round.step(answer), [], "once");
    }
    let (mut round, _) = Round::<u64>::begin(2);
    round.step(RoundInput::Drained(0, 30));
    round.step(RoundInput::Drained(1, 40));
    round.step(RoundInput::Taken(0, 31));
    assert_eq!(round.step(RoundInput::Refused(1)), void, "half a cut is none");
}

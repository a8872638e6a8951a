//! Elections where votes take longer than the longest election timer: since each that comes to nothing makes the next timers
//! longer, somebody is elected all the same.
#![allow(clippy::unwrap_used)]

mod harness;

use harness::disk::Disk;
use store_core::{
    Ballot, Config, Epoch, Incarnation, Input, Member, Membership, Message, NodeId, Offset, Outgoing, Output,
    Replica, Role,
};

/// Ticks that a message is on its way.
const WAY: u32 = 20;
/// Ticks until a ballot is on the disk. A vote takes two ballots, one after the other, and two ways: 90 ticks, and the longest timer
/// is 60.
const BALLOT: u32 = 25;

/// What is on its way.
enum Coming {
    Vote { to: NodeId, from: Member, message: Message },
    Saved { at: NodeId, ballot: Ballot },
}

/// Three members of a group that has no leader.
fn group(preferred: Option<NodeId>) -> (Vec<Member>, Vec<Replica>) {
    let members: Vec<Member> =
        (1..=3).map(|id| Member { node: NodeId(id), incarnation: Incarnation(id) }).collect();
    let log = Disk::planted(&Membership::of(members.clone()), &[1]);
    let disk = Disk { ballot: Ballot { epoch: Epoch(1), voted_for: None }, log, ..Disk::default() };
    let replica = |member: &Member| {
        Replica::new(Config { preferred, ..Config::new(*member) }, disk.restored(Offset(1)))
    };
    let replicas = members.iter().map(replica).collect();
    (members, replicas)
}

/// Ticks until somebody leads; `None`: nobody within that time. Node 1 is preferred, or nobody.
fn elected_after(seed: u64, preferred: Option<NodeId>, ticks: u32) -> Option<u32> {
    let (members, mut replicas) = group(preferred);
    // Knuth's linear congruential generator (MMIX); its upper bits.
    let mut state = seed;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let mut coming: Vec<(u32, Coming)> = Vec::new();
    // Whose ballot is on its way to the disk: it takes no message meanwhile.
    let mut is_saving = [false; 3];
    for now in 0..ticks {
        let (due, later) = coming.into_iter().partition::<Vec<_>, _>(|(at, _)| *at <= now);
        coming = later;
        let mut inputs: Vec<(NodeId, Input)> =
            members.iter().map(|member| (member.node, Input::Tick { random: random() })).collect();
        inputs.extend(due.into_iter().map(|(_, coming)| match coming {
            Coming::Vote { to, from, message } => (to, Input::Receive { from, message }),
            Coming::Saved { at, ballot } => (at, Input::BallotSaved { ballot }),
        }));
        for (node, input) in inputs {
            let at = usize::try_from(node.0 - 1).unwrap();
            match input {
                Input::Receive { from, message } if is_saving[at] => {
                    coming.push((now + 1, Coming::Vote { to: node, from, message }));
                    continue;
                }
                Input::BallotSaved { .. } => is_saving[at] = false,
                _ => {}
            }
            let mut outputs = Vec::new();
            replicas[at].step(input, &mut outputs);
            is_saving[at] |= outputs.iter().any(|output| matches!(output, Output::SaveBallot(_)));
            for output in outputs {
                match output {
                    Output::SaveBallot(ballot) => {
                        coming.push((now + BALLOT, Coming::Saved { at: node, ballot }));
                    }
                    Output::Send { to, message: Outgoing::Vote(vote) } => {
                        // What a ballot says is said when it is durable.
                        let sent = now + if is_saving[at] { BALLOT } else { 0 };
                        let (from, message) = (members[at], Message::Vote(vote));
                        coming.push((sent + WAY, Coming::Vote { to, from, message }));
                    }
                    _ => {}
                }
            }
            if replicas[at].view().role == Role::Leader {
                return Some(now);
            }
        }
    }
    None
}

#[test]
fn somebody_is_elected_though_a_vote_takes_longer_than_a_timer() {
    for (seed, preferred) in (0..50).flat_map(|seed| [(seed, None), (seed, Some(NodeId(1)))]) {
        let elected = elected_after(seed, preferred, 6_000);
        assert!(elected.is_some(), "nobody in a minute: seed {seed}, preferred {preferred:?}");
    }
}

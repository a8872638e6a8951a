//! A replica alone in its group is its own majority: it wins in the step in which it votes for itself, and leads, to
//! itself and to everybody, once that vote is durable.
#![allow(clippy::unwrap_used)]

mod harness;

use harness::disk::Disk;
use store_core::{
    Ballot, Config, Epoch, Incarnation, Input, Member, Membership, NodeId, Offset, Output, Replica, Role,
};

#[test]
fn a_replica_alone_leads_once_its_own_vote_is_durable() {
    let member = Member { node: NodeId(1), incarnation: Incarnation(1) };
    let log = Disk::planted(&Membership::of(vec![member]), &[1]);
    let disk = Disk { ballot: Ballot { epoch: Epoch(1), voted_for: None }, log, ..Disk::default() };
    let mut alone = Replica::new(Config::new(member), disk.restored(Offset(1)));
    let mut outputs = Vec::new();
    let ballot = loop {
        alone.step(Input::Tick { random: 0 }, &mut outputs);
        let saved = outputs.iter().find_map(|output| match output {
            Output::SaveBallot(ballot) => Some(*ballot),
            _ => None,
        });
        if let Some(ballot) = saved {
            break ballot;
        }
    };
    assert_eq!((alone.view().role, alone.view().leader), (Role::Candidate, None));
    alone.step(Input::BallotSaved { ballot }, &mut outputs);
    assert_eq!((alone.view().role, alone.view().leader), (Role::Leader, Some(member.node)));
    assert!(alone.may_propose());
}

//! Two folders of one node are two members: neither gets the other's vote, and neither takes the other's answers for
//! its own. (A node's disk is lost and replaced while messages of the lost folder are still under way.)
#![allow(clippy::unwrap_used)]

mod harness;

use harness::disk::{Disk, step};
use store_core::{
    Ballot, Config, Epoch, Incarnation, Input, Member, Membership, Message, NodeId, Offset, Outgoing, Output,
    Position, Replica, Role, VoteMessage, VoteReply, VoteRequest,
};

fn folder(node: u64, incarnation: u64) -> Member {
    Member { node: NodeId(node), incarnation: Incarnation(incarnation) }
}

const LOST: u64 = 3;
const NEW: u64 = 103;

fn membership() -> Membership {
    // n3's new folder takes the place of the lost one.
    let outgoing = vec![folder(1, 1), folder(2, 2), folder(3, LOST)];
    Membership { outgoing, ..Membership::of(vec![folder(1, 1), folder(2, 2), folder(3, NEW)]) }
}

fn disk(ballot: Ballot) -> Disk {
    Disk { ballot, log: Disk::planted(&membership(), &[1]), ..Disk::default() }
}

fn replica(member: Member, disk: &Disk) -> Replica {
    Replica::new(Config::new(member), disk.restored(Offset(1)))
}

/// The answer to a request for the vote of epoch 2, and the ballot saved with it.
fn ask(replica: &mut Replica, from: Member) -> (VoteReply, Option<Ballot>) {
    let (epoch, last) = (Epoch(2), Position::new(1, 1));
    let request =
        Message::Vote(VoteMessage::Request(VoteRequest { epoch, last, pre: false, transferred: false }));
    let mut outputs = Vec::new();
    step(replica, Input::Receive { from, message: request }, &mut outputs);
    let saved = outputs.iter().rev().find_map(|output| match output {
        Output::SaveBallot(ballot) => Some(*ballot),
        _ => None,
    });
    let reply = outputs.iter().find_map(|output| match output {
        Output::Send { message: Outgoing::Vote(VoteMessage::Reply(reply)), .. } => Some(*reply),
        _ => None,
    });
    (reply.expect("an answer"), saved)
}

#[test]
fn two_folders_of_one_node_never_both_have_a_vote() {
    let mut voter = replica(folder(2, 2), &disk(Ballot { epoch: Epoch(1), voted_for: None }));
    let (reply, saved) = ask(&mut voter, folder(3, LOST));
    assert!(reply.granted && reply.candidate == Incarnation(LOST), "{reply:?}");
    let (reply, _) = ask(&mut voter, folder(3, NEW));
    assert!(!reply.granted && reply.candidate == Incarnation(NEW), "{reply:?}");
    let (reply, _) = ask(&mut voter, folder(3, LOST));
    assert!(reply.granted, "a request that comes twice is answered twice: {reply:?}");
    // The disk remembers the node and not the folder, so after a restart nobody of that node gets it.
    let mut restarted = replica(folder(2, 2), &disk(saved.expect("a vote is saved")));
    assert!(!ask(&mut restarted, folder(3, NEW)).0.granted);
}

#[test]
fn a_vote_for_the_lost_folder_does_not_elect_the_new_one() {
    for (candidate, elected) in [(LOST, false), (NEW, true)] {
        let mut new = replica(folder(3, NEW), &disk(Ballot { epoch: Epoch(1), voted_for: None }));
        let mut outputs = Vec::new();
        while new.view().role != Role::Candidate {
            step(&mut new, Input::Tick { random: 0 }, &mut outputs);
        }
        for (pre, voter) in [(true, 1), (true, 2), (false, 1), (false, 2)] {
            let candidate = Incarnation(if pre { NEW } else { candidate });
            let last = Position::new(1, 1);
            let reply =
                VoteReply { epoch: Epoch(2), granted: true, pre, last, maybe_lost_tail: false, candidate };
            let from = folder(voter, voter);
            step(
                &mut new,
                Input::Receive { from, message: Message::Vote(VoteMessage::Reply(reply)) },
                &mut outputs,
            );
        }
        assert_eq!(new.view().role == Role::Leader, elected);
    }
}

#[test]
fn what_one_folder_says_is_not_the_others_vote() {
    // n1 asks: n2 and the new folder of n3 are the new majority; of the old one, n3's lost folder is missing.
    let mut candidate = replica(folder(1, 1), &disk(Ballot { epoch: Epoch(1), voted_for: None }));
    let mut outputs = Vec::new();
    while candidate.view().role != Role::Candidate {
        step(&mut candidate, Input::Tick { random: 0 }, &mut outputs);
    }
    let mut say = |from: Member, pre: bool| {
        let last = Position::new(1, 1);
        let candidate_is = Incarnation(1);
        let reply = VoteReply {
            epoch: Epoch(2),
            granted: true,
            pre,
            last,
            maybe_lost_tail: false,
            candidate: candidate_is,
        };
        step(
            &mut candidate,
            Input::Receive { from, message: Message::Vote(VoteMessage::Reply(reply)) },
            &mut outputs,
        );
        candidate.view()
    };
    say(folder(3, NEW), true);
    assert_eq!(say(folder(3, LOST), true).epoch, Epoch(2), "one folder each: both majorities");
    assert_eq!(say(folder(3, NEW), false).role, Role::Candidate);
    assert_eq!(say(folder(2, 2), false).role, Role::Leader);
}

//! Messages that no sound replica would send: a core may ignore them, refuse them or stop with a reason, but it
//! never panics, and never appends what does not continue its log.

mod harness;

use harness::disk::{Disk, step};
use proptest::prelude::*;
use store_core::limits::{EPOCH_JUMP_MAX, EPOCH_MAX};
use store_core::{
    Append, AppendRejection, Ballot, Checkpoint, Config, Epoch, Incarnation, Input, LeaderMessage, Member,
    MemberChange, Membership, Message, NodeId, Offset, Output, Position, PushReply, ReadId, Replica, Round,
    Run, VoteMessage, VoteReply, VoteRequest,
};

fn member(id: u64) -> Member {
    Member { node: NodeId(id), incarnation: Incarnation(id) }
}

fn membership() -> Membership {
    Membership::of(vec![member(1), member(2), member(3)])
}

/// A replica of three with six entries, of which four are committed.
fn replica() -> Replica {
    replica_in(4)
}

/// The same, whose ballot is of this epoch.
fn replica_in(epoch: u64) -> Replica {
    let log = Disk::planted(&membership(), &[1, 1, 2, 2, 4, 4]);
    let disk = Disk { ballot: Ballot { epoch: Epoch(epoch), voted_for: None }, log, ..Disk::default() };
    Replica::new(Config::new(member(1)), disk.restored(Offset(4)))
}

#[test]
fn malformed_appends_are_ignored() {
    let run = |epoch, first, last| Run { epoch: Epoch(epoch), first: Offset(first), last: Offset(last) };
    let cases: [(&str, Position, Vec<Run>, Vec<u64>); 8] = [
        ("a gap after previous", Position::new(4, 6), vec![run(4, 8, 8)], vec![]),
        ("an overlap with previous", Position::new(4, 6), vec![run(4, 6, 7)], vec![]),
        ("a gap between runs", Position::new(4, 6), vec![run(4, 7, 7), run(5, 9, 9)], vec![]),
        ("a run that ends before it begins", Position::new(4, 6), vec![run(4, 7, 6)], vec![]),
        ("epochs that fall", Position::new(4, 6), vec![run(3, 7, 7)], vec![]),
        ("an epoch after the leader's", Position::new(4, 6), vec![run(6, 7, 7)], vec![]),
        ("a membership before the entries", Position::new(4, 6), vec![run(5, 7, 8)], vec![6]),
        ("memberships out of order", Position::new(4, 6), vec![run(5, 7, 8)], vec![8, 7]),
    ];
    for (what, previous, runs, memberships) in cases {
        let mut replica = replica();
        let memberships = memberships.into_iter().map(|at| (Offset(at), membership())).collect();
        let append = Append { epoch: Epoch(5), previous, runs, memberships, committed: Offset(6) };
        let mut outputs = Vec::new();
        step(
            &mut replica,
            Input::Receive { from: member(2), message: Message::Append(append) },
            &mut outputs,
        );
        let ignored = |output: &Output| matches!(output, Output::SaveBallot(_) | Output::RoleChanged(_));
        assert!(outputs.iter().all(ignored), "{what}: {outputs:?}");
        assert_eq!(replica.last(), Position::new(4, 6), "{what}");
    }
}

/// Small numbers, where everything happens, and the ends of the range.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![10 => 0..9_u64, 1 => u64::MAX - 2..=u64::MAX]
}

fn position() -> impl Strategy<Value = Position> {
    (number(), number()).prop_map(|(epoch, offset)| Position::new(epoch, offset))
}

/// Any, joint or without voters.
fn any_membership() -> impl Strategy<Value = Membership> {
    let members = || prop::collection::vec((1..5_u64).prop_map(member), 0..4);
    (members(), members(), members()).prop_map(|(voters, outgoing, learners)| Membership {
        voters,
        outgoing,
        learners,
    })
}

fn append() -> impl Strategy<Value = Message> {
    let run = (number(), number(), number());
    let runs = prop::collection::vec(
        run.prop_map(|(epoch, first, last)| Run {
            epoch: Epoch(epoch),
            first: Offset(first),
            last: Offset(last),
        }),
        0..3,
    );
    let memberships = prop::collection::vec(
        (number(), any_membership()).prop_map(|(at, members)| (Offset(at), members)),
        0..3,
    );
    (number(), position(), runs, memberships, number()).prop_map(
        |(epoch, previous, runs, memberships, committed)| {
            let committed = Offset(committed);
            Message::Append(Append { epoch: Epoch(epoch), previous, runs, memberships, committed })
        },
    )
}

/// An append that continues the log, whatever it is, so that more than the first check is reached.
fn fitting_append() -> impl Strategy<Value = Message> {
    let fields = (4..9_u64, 1..7_u64, 1..4_u64, number(), prop::option::of(any_membership()));
    fields.prop_map(|(epoch, after, count, committed, membership)| {
        let previous = Position::new([0, 1, 1, 2, 2, 4, 4][usize::try_from(after).expect("small")], after);
        let (first, last) = (Offset(after + 1), Offset(after + count));
        let runs = vec![Run { epoch: Epoch(epoch), first, last }];
        let (epoch, committed) = (Epoch(epoch), Offset(committed));
        let memberships = membership.map(|members| (first, members)).into_iter().collect();
        Message::Append(Append { epoch, previous, runs, memberships, committed })
    })
}

fn from_leaders() -> impl Strategy<Value = Message> {
    prop_oneof![
        append(),
        fitting_append(),
        (number(), position()).prop_map(|(epoch, up_to)| Message::Leader(LeaderMessage::CommitOrder {
            epoch: Epoch(epoch),
            up_to
        })),
        (number(), number(), number()).prop_map(|(epoch, round, committed)| Message::Leader(
            LeaderMessage::Heartbeat {
                epoch: Epoch(epoch),
                round: Round(round),
                committed: Offset(committed),
                compare: Offset(round)
            }
        )),
        (number(), position(), number()).prop_map(|(epoch, position, state_hash)| {
            Message::Leader(LeaderMessage::Quarantine {
                epoch: Epoch(epoch),
                at: Checkpoint { position, state_hash, version: 1 },
            })
        }),
        (number(), position()).prop_map(|(epoch, at)| Message::Leader(LeaderMessage::InstallSnapshot {
            epoch: Epoch(epoch),
            at
        })),
        number().prop_map(|epoch| Message::Leader(LeaderMessage::TransferLeadership { epoch: Epoch(epoch) })),
    ]
}

fn to_leaders_and_candidates() -> impl Strategy<Value = Message> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    prop_oneof![
        (number(), position(), number()).prop_map(|(epoch, durable_up_to, round)| Message::Reply(
            PushReply::Ack {
                epoch: Epoch(epoch),
                durable_up_to,
                round: Round(round),
                checkpoint: Some(Checkpoint { position: durable_up_to, state_hash: round, version: 1 }),
                quarantined: round % 3 == 0,
                unfit: round % 5 == 0
            }
        )),
        (number(), position(), prop::option::of((number(), number())), any::<bool>()).prop_map(
            |(epoch, last, conflict, maybe_lost_tail)| Message::Reply(PushReply::AppendRejection(
                AppendRejection {
                    epoch: Epoch(epoch),
                    last,
                    committed: Offset(0),
                    conflict: conflict.map(|(epoch, first)| (Epoch(epoch), Offset(first))),
                    maybe_lost_tail
                }
            ))
        ),
        number().prop_map(|epoch| Message::Reply(PushReply::StaleEpoch { epoch: Epoch(epoch) })),
        (number(), position(), flags).prop_map(|(epoch, last, (pre, transferred, _))| {
            Message::Vote(VoteMessage::Request(VoteRequest { epoch: Epoch(epoch), last, pre, transferred }))
        }),
        (number(), position(), flags).prop_map(|(epoch, last, (granted, pre, maybe_lost_tail))| {
            let candidate = member(1).incarnation;
            Message::Vote(VoteMessage::Reply(VoteReply {
                epoch: Epoch(epoch),
                granted,
                pre,
                last,
                maybe_lost_tail,
                candidate,
            }))
        }),
    ]
}

fn change() -> impl Strategy<Value = MemberChange> {
    let who = || (1..5_u64).prop_map(member);
    prop_oneof![
        who().prop_map(MemberChange::AddLearner),
        who().prop_map(MemberChange::Promote),
        who().prop_map(MemberChange::Remove),
        (who(), who()).prop_map(|(old, new)| MemberChange::Replace { old, new }),
    ]
}

fn input() -> impl Strategy<Value = Input> {
    let sender = (2..5_u64).prop_map(member);
    let message = prop_oneof![from_leaders(), to_leaders_and_candidates()];
    prop_oneof![
        4 => (sender, message).prop_map(|(from, message)| Input::Receive { from, message }),
        1 => any::<u64>().prop_map(|random| Input::Tick { random }),
        1 => (1..4_u64).prop_map(|count| Input::Propose { count }),
        1 => change().prop_map(|change| Input::ChangeMembers { change }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(800) })]

    #[test]
    fn no_message_makes_a_core_panic(inputs in prop::collection::vec(input(), 1..40), stands in any::<bool>()) {
        let mut replica = replica();
        let mut outputs = Vec::new();
        // Half of them begin with a won election, so that leaders are tried as well.
        if stands {
            (0..60).for_each(|_| step(&mut replica, Input::Tick { random: 0 }, &mut outputs));
            for pre in [true, false] {
                let (last, candidate) = (Position::ZERO, member(1).incarnation);
                let reply = VoteReply { epoch: Epoch(5), granted: true, pre, last, maybe_lost_tail: false, candidate };
                let message = Message::Vote(VoteMessage::Reply(reply));
                step(&mut replica, Input::Receive { from: member(2), message }, &mut outputs);
            }
            step(&mut replica, Input::Read { request_id: ReadId(1) }, &mut outputs);
        }
        for input in inputs {
            let mut outputs = Vec::new();
            step(&mut replica, input, &mut outputs);
            for output in &outputs {
                if let Output::Append { write, .. } | Output::AppendMembership { write, .. } = output {
                    step(&mut replica, Input::Persisted { write: *write }, &mut Vec::new());
                }
            }
            if outputs.iter().any(|output| matches!(output, Output::Fatal(_))) {
                break;
            }
        }
    }
}

fn heartbeat(epoch: u64) -> Message {
    Message::Leader(LeaderMessage::Heartbeat {
        epoch: Epoch(epoch),
        round: Round(1),
        committed: Offset(4),
        compare: Offset(0),
    })
}

fn ask(epoch: u64) -> Message {
    let last = Position::new(epoch, 9);
    Message::Vote(VoteMessage::Request(VoteRequest {
        epoch: Epoch(epoch),
        last,
        pre: false,
        transferred: true,
    }))
}

fn stale(epoch: u64) -> Message {
    Message::Reply(PushReply::StaleEpoch { epoch: Epoch(epoch) })
}

/// Nothing but the word that it was refused; nothing to save, nobody to vote for.
#[track_caller]
fn is_refused_aloud(replica: &mut Replica, message: Message) {
    let (own, epoch, mut outputs) = (replica.view().epoch, message.epoch(), Vec::new());
    replica.step(Input::Receive { from: member(2), message }, &mut outputs);
    assert_eq!(outputs, [Output::EpochRefused { from: NodeId(2), epoch }]);
    assert_eq!(replica.view().epoch, own);
}

/// A candidate of epoch 2^62 ended all elections for ever: its epoch was adopted, on disk, and none was left to campaign for.
#[test]
fn an_epoch_that_no_election_can_have_reached_is_refused_aloud_and_adopted_by_nobody() {
    let (own, jump) = (4, EPOCH_JUMP_MAX);
    for message in
        [heartbeat(1 << 62), ask(1 << 62), stale(1 << 62), heartbeat(own + jump + 1), ask(own + jump + 1)]
    {
        is_refused_aloud(&mut replica(), message);
    }
    let (mut replica, mut outputs) = (replica(), Vec::new());
    replica.step(Input::Receive { from: member(2), message: heartbeat(own + jump) }, &mut outputs);
    assert_eq!(replica.view().epoch, Epoch(own + jump), "who was away for years comes back");
}

/// The last epoch was compared with `>`: a replica just before it, for which no jump is too far, adopted it.
#[test]
fn the_last_epoch_of_all_is_refused_aloud_and_the_one_before_it_is_heard() {
    for message in [heartbeat, ask, stale] {
        let mut replica = replica_in(EPOCH_MAX - 2);
        step(
            &mut replica,
            Input::Receive { from: member(2), message: message(EPOCH_MAX - 1) },
            &mut Vec::new(),
        );
        assert_eq!(replica.view().epoch, Epoch(EPOCH_MAX - 1), "heard");
        for late in [EPOCH_MAX, EPOCH_MAX + 1] {
            is_refused_aloud(&mut replica, message(late));
        }
    }
    // The same of a snapshot.
    let mut replica = replica_in(EPOCH_MAX - 1);
    step(
        &mut replica,
        Input::Receive { from: member(2), message: heartbeat(EPOCH_MAX - 1) },
        &mut Vec::new(),
    );
    let mut outputs = Vec::new();
    replica.step(Input::Fetched { position: Position::new(EPOCH_MAX, 9) }, &mut outputs);
    assert_eq!(outputs, [Output::EpochRefused { from: NodeId(2), epoch: Epoch(EPOCH_MAX) }]);
    assert_eq!(replica.view().epoch, Epoch(EPOCH_MAX - 1));
}

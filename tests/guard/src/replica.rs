//! Steps of the core: a leader of three from the proposal to the commit, and a follower that appends.
//!
//! Both are the core's alone: nothing is written, sent or applied but what this file reports in the world's stead.

use store_core::{
    Append, Ballot, Config, Epoch, EpochHistory, Incarnation, Input, Member, Membership, Message, NodeId,
    Offset, Output, Position, PushReply, Replica, Restored, Role, Round, Run, VoteMessage, VoteReply,
    WriteSeq,
};

use crate::scenario::{Call, Scenario};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "core-leader",
        operation: "a leader of three: an entry proposed, acknowledged by both, durable, committed, applied",
        calls: 10_000,
        operations_per_call: 1,
        prepare: lead,
    },
    Scenario {
        name: "core-follower",
        operation: "a follower: an entry appended, durable, acknowledged, the one before it committed, applied",
        calls: 10_000,
        operations_per_call: 1,
        prepare: follow,
    },
];

/// The epoch that node 1 leads.
const EPOCH: Epoch = Epoch(2);

fn member(node: u64) -> Member {
    Member { node: NodeId(node), incarnation: Incarnation(node) }
}

/// One of three replicas with entry 1 in the log, and the outputs of its steps.
struct Stepped {
    replica: Replica,
    out: Vec<Output>,
}

impl Stepped {
    fn new(node: u64, epoch: Epoch) -> Stepped {
        let mut history = EpochHistory::default();
        history.append(Run { epoch: Epoch(1), first: Offset(1), last: Offset(1) });
        let restored = Restored {
            ballot: Ballot { epoch, voted_for: None },
            history,
            committed: Offset(1),
            memberships: vec![(Offset(1), Membership::of([1, 2, 3].map(member).to_vec()))],
            ..Restored::default()
        };
        Stepped { replica: Replica::new(Config::new(member(node)), restored), out: Vec::new() }
    }

    fn step(&mut self, input: Input) {
        self.replica.step(input, &mut self.out);
    }

    fn receive(&mut self, from: u64, message: impl Into<Message>) {
        self.step(Input::Receive { from: member(from), message: message.into() });
    }

    /// The write that was handed to the log; forgets all outputs.
    fn written(&mut self) -> WriteSeq {
        let write = self.out.iter().find_map(|output| match output {
            Output::Append { write, .. } => Some(*write),
            _ => None,
        });
        self.out.clear();
        write.expect("an entry is handed to the log")
    }

    fn grant(&mut self, pre: bool) {
        let reply = VoteReply {
            epoch: EPOCH,
            granted: true,
            pre,
            last: Position::new(1, 1),
            maybe_lost_tail: false,
            candidate: member(1).incarnation,
        };
        self.receive(2, VoteMessage::Reply(reply));
    }

    /// Wins an election.
    fn elected(mut self) -> Stepped {
        while self.replica.view().role != Role::Candidate {
            self.step(Input::Tick { random: 0 });
        }
        self.grant(true);
        self.step(Input::BallotSaved { ballot: Ballot { epoch: EPOCH, voted_for: Some(NodeId(1)) } });
        self.grant(false);
        assert_eq!(self.replica.view().role, Role::Leader);
        self.commit_appended();
        self
    }

    /// Both others acknowledge the end of the log, and then it is durable here.
    fn commit_appended(&mut self) {
        let (write, last) = (self.written(), self.replica.last());
        for from in [2, 3] {
            let ack = PushReply::Ack {
                epoch: EPOCH,
                durable_up_to: last,
                round: Round(0),
                checkpoint: None,
                quarantined: false,
                unfit: false,
            };
            self.receive(from, ack);
        }
        self.step(Input::Persisted { write });
        assert_eq!(self.replica.committed(), last.offset);
        self.step(Input::Applied { up_to: last.offset });
        self.out.clear();
    }
}

fn lead(_calls: usize) -> Call {
    let mut leader = Stepped::new(1, Epoch(1)).elected();
    Box::new(move |_| {
        leader.step(Input::Propose { count: 1 });
        leader.commit_appended();
    })
}

fn follow(_calls: usize) -> Call {
    let mut follower = Stepped::new(2, EPOCH);
    Box::new(move |_| {
        let previous = follower.replica.last();
        let first = previous.offset.next();
        let append = Append {
            epoch: EPOCH,
            previous,
            runs: vec![Run { epoch: EPOCH, first, last: first }],
            memberships: Vec::new(),
            committed: previous.offset,
        };
        follower.receive(1, Message::Append(append));
        let write = follower.written();
        follower.step(Input::Persisted { write });
        assert_eq!(follower.replica.committed(), previous.offset);
        follower.step(Input::Applied { up_to: previous.offset });
        follower.out.clear();
    })
}

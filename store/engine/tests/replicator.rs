//! The messages that a replicator sends, merges and keeps back.
#![allow(clippy::unwrap_used)]

mod fixture;

use fixture::{Hands, Replica};
use proto::store::push_message::Message as Wire;
use store_core::{Epoch, LeaderMessage, NodeId, Offset, Position, Round};
use store_engine::{Job, NodeConfig, NodeOut, Polled, ReplicatorJob, ReplicatorOut};

const PEER: NodeId = NodeId(2);

type Engine = store_engine::Engine<store_log::sim::SimDisk, store_db::Memory, Hands>;

/// Lets a group of one elect itself; its ballot is made durable on the way.
fn elected(engine: &mut Engine) -> Vec<NodeOut> {
    let ballot = |out: &NodeOut| match out {
        NodeOut::SaveBallot(ballot) => Some(*ballot),
        _ => None,
    };
    let (mut outs, mut saved) = (Vec::new(), Vec::new());
    while engine.node.status().role != store_core::Role::Leader {
        let before = outs.len();
        engine.node.poll([Job::Tick], &mut outs).unwrap();
        engine.ballots.poll(outs[before..].iter().filter_map(ballot), &mut saved).unwrap();
        engine.node.poll(saved.drain(..), &mut outs).unwrap();
    }
    outs
}

/// A group of one that leads epoch 2, with these many commands after its first entry, and a replicator of it.
fn leading(commands: u64) -> (Engine, Epoch) {
    let id = NodeId(1);
    let replica = Replica::bootstrap(id, &fixture::members(&[id]));
    let mut engine =
        replica.engine(NodeConfig::new(store_core::Config::new(fixture::member(id)), 1), Hands::default());
    let mut outs = elected(&mut engine);
    let write = |i| Job::Write { request_id: store_engine::RequestId(i), command: vec![1; 100_000].into() };
    engine.node.poll((0..commands).map(write), &mut outs).unwrap();
    let epoch = engine.node.status().epoch;
    (engine, epoch)
}

fn appends(outs: &[ReplicatorOut]) -> Vec<(u64, usize, u64)> {
    let append = |out: &ReplicatorOut| match out {
        ReplicatorOut::Send(proto::store::PushMessage { message: Some(Wire::Append(append)), .. }) => {
            Some((append.previous.unwrap().offset, append.entries.len(), append.committed))
        }
        _ => None,
    };
    outs.iter().filter_map(append).collect()
}

fn push(epoch: Epoch, previous: Position, up_to: u64, continues: bool) -> ReplicatorJob {
    ReplicatorJob::Push { epoch, previous, up_to: Offset(up_to), continues, committed: Offset(1) }
}

#[test]
fn entries_go_out_in_order_within_the_size_of_a_message() {
    let (engine, epoch) = leading(25);
    let (inbox, mut replicator) = engine.replicators.replicator(PEER);
    let mut outs = Vec::new();
    inbox.post(push(epoch, Position::new(1, 1), 20, false));
    inbox.post(push(epoch, Position { epoch, offset: Offset(20) }, 27, true));
    assert!(replicator.poll(1, &mut outs).unwrap(), "there is more");
    assert!(!replicator.poll(100, &mut outs).unwrap());
    // The empty first entry and ten of 100,000 bytes, then ten, then the rest.
    assert_eq!(appends(&outs), [(1, 11, 1), (12, 10, 1), (22, 5, 1)]);
}

#[test]
fn a_replicator_never_reads_the_log_from_disk_on_the_thread_that_polls_it() {
    let id = NodeId(1);
    let replica = Replica::bootstrap(id, &fixture::members(&[id]));
    let config = || NodeConfig::new(store_core::Config::new(fixture::member(id)), 1);
    let mut first = replica.engine(config(), Hands::default());
    lead(&mut first);
    drop(first);
    // What an earlier life of the process wrote is in no memory.
    let mut engine = replica.engine(config(), Hands::default());
    let epoch = lead(&mut engine);
    let (inbox, mut replicator) = engine.replicators.replicator(PEER);
    let mut outs = Vec::new();
    inbox.post(push(epoch, Position::ZERO, 2, false));
    assert_eq!(replicator.poll_in_memory(9, &mut outs).unwrap(), Polled::NeedsDisk);
    assert_eq!(outs, []);
    assert!(!replicator.poll(9, &mut outs).unwrap());
    assert_eq!(appends(&outs), [(0, 2, 1)]);
    inbox.post(push(epoch, Position::new(2, 2), 3, false));
    assert_eq!(
        replicator.poll_in_memory(9, &mut outs).unwrap(),
        Polled::Idle,
        "this life's entry is in memory"
    );
    assert_eq!(outs.len(), 2);
}

/// Lets a group of one elect itself, and write its first entry.
fn lead(engine: &mut Engine) -> Epoch {
    let outs = elected(engine);
    let write = |out| match out {
        NodeOut::Write(job) => Some(job),
        _ => None,
    };
    engine.writer.poll(outs.into_iter().filter_map(write), &mut Vec::new()).unwrap();
    engine.node.status().epoch
}

#[test]
fn a_push_that_does_not_continue_replaces_what_was_to_come() {
    let (engine, epoch) = leading(25);
    let (inbox, mut replicator) = engine.replicators.replicator(PEER);
    let mut outs = Vec::new();
    inbox.post(push(epoch, Position::new(1, 1), 27, false));
    replicator.poll(1, &mut outs).unwrap();
    inbox.post(push(epoch, Position { epoch, offset: Offset(26) }, 26, false));
    replicator.poll(100, &mut outs).unwrap();
    assert_eq!(appends(&outs), [(1, 11, 1), (26, 0, 1)], "one empty probe");
    inbox.post(push(epoch, Position { epoch, offset: Offset(20) }, 27, true));
    assert!(!replicator.poll(100, &mut outs).unwrap(), "it goes on where nothing ended");
    assert_eq!(outs.len(), 2);
}

#[test]
fn small_messages_are_merged_and_a_commit_order_rides_along() {
    let (engine, epoch) = leading(3);
    let (inbox, mut replicator) = engine.replicators.replicator(PEER);
    for offset in 2..=4 {
        let up_to = Position { epoch, offset: Offset(offset) };
        inbox.post(ReplicatorJob::Say(LeaderMessage::CommitOrder { epoch, up_to }));
        inbox.post(ReplicatorJob::Say(LeaderMessage::Heartbeat {
            epoch,
            round: Round(offset),
            committed: Offset(1),
            compare: Offset(0),
        }));
    }
    inbox.post(push(epoch, Position::new(1, 1), 5, false));
    let mut outs = Vec::new();
    assert!(!replicator.poll(100, &mut outs).unwrap());
    assert_eq!(outs.len(), 2, "one heartbeat, one append");
    assert_eq!(appends(&outs), [(1, 4, 4)]);
    let up_to = Position { epoch, offset: Offset(5) };
    inbox.post(ReplicatorJob::Say(LeaderMessage::CommitOrder { epoch, up_to }));
    assert!(!replicator.poll(100, &mut outs).unwrap());
    assert_eq!(outs.len(), 3, "alone when nothing else is to be sent");
}

#[test]
fn nothing_is_sent_under_an_epoch_that_is_not_led() {
    let (engine, epoch) = leading(3);
    let (inbox, mut replicator) = engine.replicators.replicator(PEER);
    let mut outs = Vec::new();
    inbox.post(push(epoch.next(), Position::new(1, 1), 5, false));
    assert!(!replicator.poll(100, &mut outs).unwrap());
    assert_eq!(outs, []);
}

#[test]
fn what_was_to_be_sent_is_forgotten_with_the_stream() {
    let (engine, epoch) = leading(3);
    let (inbox, mut replicator) = engine.replicators.replicator(PEER);
    let mut outs = Vec::new();
    inbox.post(push(epoch, Position::new(1, 1), 4, false));
    inbox.disconnected();
    inbox.post(push(epoch, Position { epoch, offset: Offset(4) }, 5, true));
    assert!(!replicator.poll(100, &mut outs).unwrap());
    assert_eq!(outs, []);
}

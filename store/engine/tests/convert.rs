//! Wire and core: what goes out comes back the same, and nothing that comes in can do worse than be refused.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message as _;
use proto::store as wire;
use store_core::{
    Append, AppendRejection, Checkpoint, Entry, EntryKind, Epoch, Incarnation, LeaderMessage, Message,
    Offset, Position, PushReply, Round, Run, VoteMessage, VoteReply, VoteRequest,
};
use store_engine::convert;
use store_engine::limits::{COMMAND_BYTES_MAX, MEMBERS_MAX, MESSAGE_ENTRIES_MAX};

fn position() -> impl Strategy<Value = Position> {
    (1u64..9, 1u64..99).prop_map(|(epoch, offset)| Position::new(epoch, offset))
}

fn checkpoint(position: Position, state_hash: u64) -> Checkpoint {
    Checkpoint { position, state_hash, version: 1 }
}

fn leaders() -> impl Strategy<Value = LeaderMessage> {
    let epoch = (1u64..9).prop_map(Epoch);
    prop_oneof![
        (epoch.clone(), position()).prop_map(|(epoch, up_to)| LeaderMessage::CommitOrder { epoch, up_to }),
        (epoch.clone(), 0u64..99, 0u64..99).prop_map(|(epoch, round, committed)| LeaderMessage::Heartbeat {
            compare: Offset(round * 8),
            epoch,
            round: Round(round),
            committed: Offset(committed)
        }),
        (epoch.clone(), position(), any::<u64>()).prop_map(|(epoch, at, state_hash)| {
            LeaderMessage::Quarantine { epoch, at: checkpoint(at, state_hash) }
        }),
        (epoch.clone(), position()).prop_map(|(epoch, at)| LeaderMessage::InstallSnapshot { epoch, at }),
        epoch.prop_map(|epoch| LeaderMessage::TransferLeadership { epoch }),
    ]
}

fn replicas() -> impl Strategy<Value = PushReply> {
    let epoch = (1u64..9).prop_map(Epoch);
    let conflict = proptest::option::of((1u64..9, 1u64..99).prop_map(|(e, o)| (Epoch(e), Offset(o))));
    let state = (epoch.clone(), position(), 0u64..99, conflict, any::<bool>());
    prop_oneof![
        (epoch.clone(), position(), 0u64..99).prop_map(|(epoch, durable_up_to, round)| PushReply::Ack {
            checkpoint: (round % 2 == 0).then_some(checkpoint(durable_up_to, round)),
            quarantined: round % 3 == 0,
            unfit: round % 5 == 0,
            epoch,
            durable_up_to,
            round: Round(round)
        }),
        state.prop_map(|(epoch, last, committed, conflict, maybe_lost_tail)| {
            PushReply::AppendRejection(AppendRejection {
                epoch,
                last,
                committed: Offset(committed),
                conflict,
                maybe_lost_tail,
            })
        }),
        epoch.prop_map(|epoch| PushReply::StaleEpoch { epoch }),
    ]
}

proptest! {
    #[test]
    fn small_messages_go_round(leader in leaders(), replica in replicas(), last in position(), flags: [bool; 3]) {
        let bytes = convert::push_out(&leader).encode_to_vec();
        let back = convert::push_in(wire::PushMessage::decode(&bytes[..]).unwrap()).unwrap();
        prop_assert_eq!(back, (Message::Leader(leader), Vec::new()));
        let bytes = convert::reply_out(&replica).encode_to_vec();
        prop_assert_eq!(convert::reply_in(wire::PushReply::decode(&bytes[..]).unwrap()).unwrap(), Message::Reply(replica));
        let [pre, granted, maybe_lost_tail] = flags;
        let request = VoteRequest { epoch: Epoch(3), last, pre, transferred: granted };
        let back = convert::vote_request_in(&convert::vote_request_out(&request)).unwrap();
        prop_assert_eq!(back, Message::Vote(VoteMessage::Request(request)));
        let reply = VoteReply { epoch: Epoch(3), granted, pre, last, maybe_lost_tail, candidate: Incarnation(7) };
        let back = convert::vote_reply_in(&convert::vote_reply_out(&reply)).unwrap();
        prop_assert_eq!(back, Message::Vote(VoteMessage::Reply(reply)));
    }

    #[test]
    fn any_bytes_are_taken_or_refused(bytes: Vec<u8>) {
        if let Ok(message) = wire::PushMessage::decode(&bytes[..]) {
            let _ = convert::push_in(message);
        }
        if let Ok(reply) = wire::PushReply::decode(&bytes[..]) {
            let _ = convert::reply_in(reply);
        }
        let _ = convert::membership_of(&Bytes::from(bytes));
    }

    #[test]
    fn any_numbers_in_an_append_are_taken_or_refused(
        numbers in proptest::collection::vec((any::<u64>(), prop_oneof![0u64..4, any::<u64>()], 0i32..5), 0..6),
        epoch: u64,
        previous: (u64, u64),
    ) {
        let entries = numbers.iter().map(|(epoch, offset, kind)| wire::Entry {
            position: Some(wire::Position { epoch: *epoch, offset: *offset }),
            kind: *kind,
            ..wire::Entry::default()
        });
        let append = wire::AppendEntries {
            epoch,
            previous: Some(wire::Position { epoch: previous.0, offset: previous.1 }),
            entries: entries.collect(),
            committed: u64::MAX,
        };
        let _ = convert::push_in(append_message(append));
    }
}

fn append_message(append: wire::AppendEntries) -> wire::PushMessage {
    wire::PushMessage { message: Some(wire::push_message::Message::Append(append)) }
}

fn entry(epoch: u64, offset: u64, payload: Bytes) -> Entry<Bytes> {
    Entry { position: Position::new(epoch, offset), log_time_ms: 5, kind: EntryKind::Command, payload }
}

fn append(epoch: u64, previous: Position, entries: &[Entry<Bytes>]) -> wire::PushMessage {
    append_message(wire::AppendEntries {
        epoch,
        previous: Some(convert::position_out(previous)),
        entries: entries.iter().map(convert::entry_out).collect(),
        committed: 2,
    })
}

#[test]
fn an_append_is_described_by_its_runs() {
    let member = wire::Member { node: 1, incarnation: 9, address: "a:1".to_owned(), joined: false };
    let membership = wire::Membership { voters: vec![member], ..wire::Membership::default() };
    let payload = Bytes::from(membership.encode_to_vec());
    let changed = Entry { kind: EntryKind::Membership, ..entry(4, 7, payload) };
    let entries = [entry(2, 5, Bytes::from_static(b"a")), entry(2, 6, Bytes::new()), changed];
    let (message, back) = convert::push_in(append(4, Position::new(1, 4), &entries)).unwrap();
    assert_eq!(back, entries);
    let run = |epoch, first, last| Run { epoch: Epoch(epoch), first: Offset(first), last: Offset(last) };
    let Message::Append(Append { epoch, previous, runs, memberships, committed }) = message else {
        panic!("{message:?}");
    };
    assert_eq!((epoch, previous, committed), (Epoch(4), Position::new(1, 4), Offset(2)));
    assert_eq!(runs, [run(2, 5, 6), run(4, 7, 7)]);
    assert_eq!(memberships, [(Offset(7), convert::membership_in(&membership).unwrap())]);
}

#[test]
fn what_no_correct_replica_sends_is_refused_with_its_reason() {
    let previous = Position::new(1, 4);
    let refused = |message| convert::push_in(message).unwrap_err().to_string();
    let at = |epoch, offset| entry(epoch, offset, Bytes::new());
    assert!(refused(append(4, previous, &[at(2, 6)])).contains("does not follow"), "a gap");
    assert!(refused(append(4, previous, &[at(5, 5)])).contains("does not follow"), "later than its leader");
    assert!(refused(append(4, Position::new(3, 4), &[at(2, 5)])).contains("does not follow"), "epochs fall");
    assert!(refused(append(0, Position::ZERO, &[])).contains("epoch 0"));
    assert!(refused(wire::PushMessage::default()).contains("empty"));
    let large = entry(2, 5, vec![0; COMMAND_BYTES_MAX + 1].into());
    assert!(refused(append(4, previous, &[large])).contains("bytes"));
    let many: Vec<_> = (5..6 + MESSAGE_ENTRIES_MAX as u64).map(|offset| at(2, offset)).collect();
    assert!(refused(append(4, previous, &many)).contains("entries"));
    let garbage = Entry { kind: EntryKind::Membership, ..entry(2, 5, Bytes::from_static(&[0xff])) };
    assert!(refused(append(4, previous, &[garbage])).contains("membership"));
}

#[test]
fn a_membership_names_each_node_once_and_has_a_voter() {
    let member = |node| wire::Member { node, incarnation: 1, address: String::new(), joined: false };
    let of = |nodes: &[u64]| wire::Membership {
        voters: nodes.iter().map(|node| member(*node)).collect(),
        ..wire::Membership::default()
    };
    let refused = |nodes: &[u64]| convert::membership_in(&of(nodes)).unwrap_err().to_string();
    assert!(refused(&[]).contains("no voter"));
    assert!(refused(&[1, 2, 1]).contains("twice"));
    assert!(refused(&[0]).contains("nobody"));
    let many: Vec<u64> = (1..=MEMBERS_MAX as u64 + 1).collect();
    assert!(refused(&many).contains("more than"));
    assert_eq!(convert::membership_in(&of(&[3, 1, 2])).unwrap().voters.len(), 3);
}

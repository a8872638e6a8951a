//! The state of one group dealt out to the groups of a ring: each row with its owner, requests answered from memory as before, and nothing of an
//! unknown past taken for new.
#![allow(clippy::unwrap_used)]

mod fixture;

use bytes::Bytes;
use fixture::{Replica, exported, fresh, rows};
use proptest::prelude::*;
use proto::hash::ring_hash;
use proto::store::command::Kind;
use proto::store::{Branch, FailureReason, Identity, Owned, PrepareCommand, Txn, TxnResponse};
use store_core::ring::Ring;
use store_db::changes::{self, Feed};
use store_db::limits::REMEMBERED_MS_MIN;
use store_db::reshard::Reshard;
use store_db::transfer::Import;
use store_db::{Error, Memory, Space, Table as _, checkpoints};

const TAGS: [&str; 12] =
    ["ana", "bia", "caio", "davi", "eva", "fig", "gil", "ida", "joe", "kim", "lia", "max"];

fn key(tag: usize) -> String {
    format!("k/{{{}}}", TAGS[tag])
}

/// What was asked of the group before.
#[derive(Clone, Debug)]
struct Asked {
    identity: Identity,
    txn: Txn,
}

fn asked() -> impl Strategy<Value = Asked> {
    let identity = prop_oneof![
        any::<u16>().prop_map(|id| (0, u64::from(id), 0)),
        (1..4u8, 1..40u64, 0..30u64).prop_map(|(session, sequence, below)| (session, sequence, below)),
    ];
    (0..TAGS.len(), identity, any::<bool>(), -2..3i64).prop_map(
        |(tag, (session, number, below), fails, n)| {
            let digest = [7; 16];
            let identity = match session {
                0 => Identity::user(format!("u{tag}-{number}").into_bytes(), 900_000, 1, digest),
                // Of one tag, as a sequence is.
                _ => {
                    let sequence = number * 12 + tag as u64;
                    Identity::session(
                        [session; 16],
                        1_000,
                        sequence,
                        sequence.saturating_sub(below * 12),
                        1,
                        digest,
                    )
                }
            };
            let txn = Txn::new().put(key(tag), n, format!(r#"{{"n":{n}}}"#)).returning_after();
            let txn = if fails { txn.guard_absent(key(tag)) } else { txn };
            Asked { identity, txn }
        },
    )
}

fn dealt(table: &Memory, ring: &Ring) -> Result<Vec<Vec<Bytes>>, Error> {
    let mut reshard = Reshard::new(ring.clone(), 4, Box::new(|_, _, _| None));
    let mut out = vec![Vec::new(); ring.slots().len()];
    for chunk in exported(table) {
        for (slot, chunk) in reshard.chunk(&chunk)? {
            out[slot].push(chunk);
        }
    }
    Ok(out)
}

/// A replica of a group of the new ring.
fn continued(chunks: &[Bytes], old: &Replica<Memory>) -> Replica<Memory> {
    let table = Memory::new();
    let mut import = Import::begin(table.clone()).unwrap();
    chunks.iter().for_each(|chunk| import.chunk(chunk).unwrap());
    import.finish().unwrap();
    assert_eq!(exported(&table), chunks, "as the group itself would export it");
    let mut replica = Replica::new(table);
    (replica.epoch, replica.offset, replica.log_time_ms) = (old.epoch, old.offset, old.log_time_ms);
    replica
}

fn ring_of(old: &Replica<Memory>, ring: &Ring) -> Vec<Replica<Memory>> {
    dealt(&old.table, ring).unwrap().iter().map(|chunks| continued(chunks, old)).collect()
}

fn owner<'r>(ring: &Ring, groups: &'r mut [Replica<Memory>], txn: &Txn) -> &'r mut Replica<Memory> {
    &mut groups[ring.owner(ring_hash(txn.tag().unwrap()))]
}

fn told(answer: Result<TxnResponse, FailureReason>) -> Result<TxnResponse, FailureReason> {
    answer.map(|response| TxnResponse { remembered: true, ..response })
}

proptest! {
    #[test]
    fn each_row_is_with_its_owner_and_every_request_is_answered_as_before(
        all in prop::collection::vec(asked(), 1..80),
        slots in 2..6usize,
    ) {
        let ring = Ring::even(slots).unwrap();
        let mut old = fresh();
        for Asked { identity, txn } in &all {
            let _ = old.txn_as(identity.clone(), txn.clone());
        }
        let state = old.state();
        old.table.write(|write| checkpoints::note(write, &state)).unwrap();
        let mut groups = ring_of(&old, &ring);
        let mut records: Vec<_> = Vec::new();
        for (slot, group) in groups.iter().enumerate() {
            let mine = rows(&group.table);
            let of = |space| mine.iter().filter(move |row| row.0 == space);
            prop_assert!(of(Space::Records).all(|row| ring.owner(ring_hash(&row.1)) == slot));
            records.extend(of(Space::Records).cloned());
            let state = group.state();
            prop_assert_eq!(usize::try_from(state.remembered_count), Ok(of(Space::Replies).count()));
            prop_assert_eq!(usize::try_from(state.remembered_count), Ok(of(Space::ReplyOrder).count()));
            prop_assert_eq!(group.table.read(checkpoints::read).unwrap(), vec![]);
            let arc = ring.arc(slot);
            prop_assert_eq!(state.owned, Some(Owned { after: arc.after, up_to: arc.up_to, ring_version: 4 }));
        }
        records.sort();
        let before: Vec<_> = old.rows().into_iter().filter(|row| row.0 == Space::Records).collect();
        prop_assert_eq!(&records, &before);
        let bytes: u64 = groups.iter().map(|group| group.state().remembered_bytes).sum();
        prop_assert_eq!(bytes, old.state().remembered_bytes);

        // Repeated, each is answered by its new owner as by the old one, and nothing is done twice.
        for Asked { identity, txn } in &all {
            let before = told(old.txn_as(identity.clone(), txn.clone()));
            let after = told(owner(&ring, &mut groups, txn).txn_as(identity.clone(), txn.clone()));
            prop_assert_eq!(before, after, "{:?}", identity);
        }
        let mut after: Vec<_> =
            groups.iter().flat_map(|group| rows(&group.table)).filter(|row| row.0 == Space::Records).collect();
        after.sort();
        prop_assert_eq!(&after, &before);

        // And all of it grows old as if each group had made it.
        for group in &mut groups {
            group.log_time_ms += REMEMBERED_MS_MIN;
            while group.state().remembered_count > 0 {
                let count = group.state().remembered_count;
                group.command(Kind::Finish(proto::store::FinishCommand { finishes: vec![] }));
                prop_assert!(group.state().remembered_count < count);
            }
            prop_assert_eq!(group.count(Space::Sessions), 0);
        }
    }
}

/// Two tags of different slots of a ring of three.
fn apart(ring: &Ring) -> (usize, usize) {
    let slot = |tag: usize| ring.owner(ring_hash(key(tag).as_bytes()));
    (0, (1..TAGS.len()).find(|other| slot(*other) != slot(0)).unwrap())
}

fn put(tag: usize) -> Txn {
    Txn::new().put(key(tag), 1, "{}")
}

#[test]
fn a_group_without_an_answer_of_a_session_takes_none_of_its_sequences_for_new() {
    let ring = Ring::even(3).unwrap();
    let (here, there) = apart(&ring);
    let session =
        |id: u8, created_ms, sequence| Identity::session([id; 16], created_ms, sequence, 1, 1, [7; 16]);
    let mut old = fresh();
    // What the session did there was given up, and is not remembered any more.
    old.txn_as(session(1, 1_000, 1), put(there)).unwrap();
    old.txn_as(Identity::session([1; 16], 1_000, 2, 2, 1, [7; 16]), put(here)).unwrap();
    let mut groups = ring_of(&old, &ring);
    let mut ask = |identity, tag| {
        let txn = put(tag);
        owner(&ring, &mut groups, &txn).txn_as(identity, txn)
    };
    assert!(ask(session(1, 1_000, 2), here).unwrap().remembered);
    assert_eq!(ask(session(1, 1_000, 1), there), Err(FailureReason::ExpiredId), "it ran there");
    assert_eq!(ask(session(1, 1_000, 3), there), Err(FailureReason::ExpiredId), "nobody can say");
    assert!(ask(session(1, 1_000, 3), here).unwrap().success);
    assert!(ask(session(2, 1_001, 1), there).unwrap().success, "a younger one is new");
}

#[test]
fn readers_of_the_changes_of_before_are_told_that_they_are_gone() {
    let ring = Ring::even(3).unwrap();
    let mut old = fresh();
    (0..TAGS.len()).for_each(|tag| drop(old.txn(put(tag))));
    for (slot, group) in ring_of(&old, &ring).iter_mut().enumerate() {
        let since =
            |group: &Replica<Memory>, from| group.table.read(|read| changes::since(read, from, 9)).unwrap();
        assert_eq!(since(group, old.offset - 1), Feed::CompactedBefore(old.offset + 1));
        let (from, tag) =
            (group.offset, (0..TAGS.len()).find(|tag| ring.owner(ring_hash(key(*tag).as_bytes())) == slot));
        group.txn(put(tag.unwrap()));
        let Feed::Changes(batch) = since(group, from) else { panic!("the changes of its own log") };
        assert_eq!(batch.changes.iter().map(|change| change.previous).collect::<Vec<_>>(), [old.offset]);
    }
}

#[test]
fn a_part_of_a_ring_is_dealt_out_to_nobody() {
    let refused = |table: &Memory| dealt(table, &Ring::even(2).unwrap()).unwrap_err().to_string();
    let mut part = fresh();
    part.found(Owned { after: 5, up_to: u64::MAX, ring_version: 0 });
    assert!(refused(&part.table).contains("owns the whole ring"));
    let mut prepared = fresh();
    prepared.found(Owned::whole());
    let branch = Branch {
        id: Some(proto::store::CrossId::of(2, 1, 1)),
        range: Some(Owned::whole()),
        operations: vec![0],
        txn: Some(put(0)),
        ..Branch::default()
    };
    prepared.command(Kind::Prepare(PrepareCommand { branches: vec![branch] }));
    assert!(prepared.count(Space::Prepared) > 0);
    assert!(refused(&prepared.table).contains("owns the whole ring"));
}

#[test]
fn a_record_can_be_replaced_on_its_way_and_keeps_its_version() {
    let ring = Ring::even(3).unwrap();
    let mut old = fresh();
    (0..3).for_each(|_| drop(old.txn(put(0))));
    let edit =
        |_: usize, key: &[u8], data: &[u8]| (key.starts_with(b"k/") && data == b"{}").then(|| b"[]".to_vec());
    let mut reshard = Reshard::new(ring.clone(), 4, Box::new(edit));
    let mut out = vec![Vec::new(); 3];
    for chunk in exported(&old.table) {
        reshard.chunk(&chunk).unwrap().into_iter().for_each(|(slot, chunk)| out[slot].push(chunk));
    }
    let group = continued(&out[ring.owner(ring_hash(key(0).as_bytes()))], &old);
    assert_eq!(group.data(&key(0)).as_deref(), Some("[]"));
    assert_eq!((group.version(&key(0)), group.get(&key(0)).unwrap().offset()), (3, old.offset));
}

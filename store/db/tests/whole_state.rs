//! The state machine as a whole: alike on both tables and however entries are cut into batches; out and in again;
//! the change feed; what stops a replica.
#![allow(clippy::unwrap_used)]

mod fixture;

use bytes::Bytes;
use fixture::{Replica, entry, exported, fresh, rows, txn_kind};
use proptest::prelude::*;
use prost::Message as _;
use proto::store::command::Kind;
use proto::store::failed_guard::Reason::TooEarly;
use proto::store::scan_request::Range;
use proto::store::{
    AuditCommand, Branch, Command, CrossId, Decide, DecidedBranch, FinishCommand, Finishing, ForgetCommand,
    FreezeCommand, Identity, KeyRange, Member, Membership, OutcomeCommand, Owned, PrepareCommand,
    PublishMark, Quote, RaiseVersion, ThawCommand, Txn, TxnCommand,
};
use store_core::types::{Entry, EntryKind, Position};
use store_db::changes::{self, Feed};
use store_db::limits::{CHANGE_ROWS_MAX, CHUNK_BYTES_MAX, SCAN_BYTES_MAX, STATE_MACHINE_VERSION};
use store_db::transfer::Import;
use store_db::trust::{Reason, Verdict};
use store_db::{Error, Lmdb, Memory, Options, Recent, Reply, Space, Table, Write as _, apply, query, state};

fn lmdb(folder: &tempfile::TempDir) -> (Lmdb, Verdict) {
    Lmdb::open(folder.path(), &Options { map_bytes: 256 << 20, ..Options::new("boot") }).unwrap()
}

fn key() -> impl Strategy<Value = Bytes> {
    prop::sample::select(vec!["a", "b", "{c}x", "{c}y", "d"]).prop_map(Bytes::from)
}

fn guard() -> impl Strategy<Value = Txn> {
    let none = Txn::new;
    prop_oneof![
        3 => Just(none()),
        1 => key().prop_map(move |k| none().guard_exists(k)),
        1 => key().prop_map(move |k| none().guard_absent(k)),
        1 => (key(), 1..4u64).prop_map(move |(k, v)| none().guard_version(k, v)),
        1 => (key(), 1..20u64).prop_map(move |(k, o)| none().guard_offset(k, o)),
        1 => (key(), 0..4i64).prop_map(move |(k, n)| none().guard_json(k, "/n", n.to_string())),
        1 => (key(), 1_000_000..1_020_000i64).prop_map(move |(k, ms)| none().guard_not_before(k, ms)),
    ]
}

fn operation() -> impl Strategy<Value = Txn> {
    let none = Txn::new;
    prop_oneof![
        3 => (key(), 0..5i64).prop_map(move |(k, n)| none().put(k, n, format!("{{\"n\": {n} }}")).returning_after()),
        1 => key().prop_map(move |k| none().put(k, 1, "not JSON")),
        2 => key().prop_map(move |k| none().put(k, 1, r#"{"n":0}"#).stamped(&["/n", "/late"])),
        1 => key().prop_map(move |k| none().delete(k).returning_before()),
        1 => key().prop_map(move |k| none().get(k)),
        3 => (key(), -3..4i64).prop_map(move |(k, n)| none().add(k, 2, "/n", n, Some(0))),
        1 => (key(), 0..9i64).prop_map(move |(k, n)| none().set_json(k, 3, "/m", n.to_string())),
        1 => (key(), any::<bool>()).prop_map(move |(k, quote)| {
            let quotes = if quote { vec![Quote::of(0, "/n", "/q")] } else { vec![] };
            none().append(k, 4, "{}", quotes)
        }),
    ]
}

fn identity() -> impl Strategy<Value = Option<Identity>> {
    prop_oneof![
        Just(None),
        (0..6u8, 0..3i64, 1..4u32, 0..2u8).prop_map(|(id, created, attempt, digest)| {
            Some(Identity::user(vec![b'u', id], created * 900_000, attempt, [digest; 16]))
        }),
        (0..2u8, 1..9u64, 0..4u64, 1..3u32).prop_map(|(session, sequence, below, attempt)| {
            let lowest = sequence.saturating_sub(below);
            Some(Identity::session([session; 16], 1_000, sequence, lowest, attempt, [1; 16]))
        }),
    ]
}

fn txn() -> impl Strategy<Value = Txn> {
    let txn = (prop::collection::vec(guard(), 0..2), prop::collection::vec(operation(), 1..5));
    txn.prop_map(|(guards, operations)| {
        let all = guards.into_iter().chain(operations);
        all.fold(Txn::new(), |mut txn, part| {
            txn.guards.extend(part.guards);
            txn.operations.extend(part.operations);
            txn
        })
    })
}

/// What the log has of transactions over several groups: all of them few, so that they meet.
fn cross() -> impl Strategy<Value = Kind> {
    let id =
        || (1..3u64, 1..4u64, 1..4u64).prop_map(|(group, epoch, number)| CrossId::of(group, epoch, number));
    let places = |count: usize| (0..u32::try_from(count).unwrap()).collect::<Vec<u32>>();
    let branch = (id(), txn()).prop_map(move |(id, txn)| Branch {
        id: Some(id),
        range: Some(Owned::whole()),
        guards: places(txn.guards.len()),
        operations: places(txn.operations.len()),
        txn: Some(txn),
        decider_tag_hash: 5,
    });
    let finishing = (id(), 0..40u64, any::<bool>()).prop_map(|(id, offset, commit)| Finishing {
        id: Some(id),
        offset,
        range: Some(Owned::whole()),
        commit,
    });
    let decision = (id(), txn(), identity()).prop_map(move |(id, txn, identity)| {
        let branch = DecidedBranch { group: 2, range: Some(Owned::whole()), offset: 4, results: Vec::new() };
        let (guards, operations) = (places(txn.guards.len()), places(txn.operations.len()));
        let decide = Decide { id: Some(id), branches: vec![branch], guards, operations, refusal: None };
        Kind::Txn(TxnCommand { txn: Some(txn), identity, decide: Some(decide) })
    });
    prop_oneof![
        prop::collection::vec(branch, 1..4).prop_map(|branches| Kind::Prepare(PrepareCommand { branches })),
        prop::collection::vec(finishing, 1..9).prop_map(|finishes| Kind::Finish(FinishCommand { finishes })),
        decision,
        prop::collection::vec(id(), 1..4).prop_map(|ids| Kind::Forget(ForgetCommand { ids })),
    ]
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        8 => (txn(), identity()).prop_map(|(txn, identity)| txn_kind(txn, identity)),
        6 => cross(),
        1 => (key(), identity()).prop_map(|(tag, identity)| Kind::Outcome(OutcomeCommand { tag, identity })),
        1 => (0..9u64).prop_map(|offset| Kind::PublishMark(PublishMark { offset })),
        1 => (0..2u8).prop_map(|id| Kind::Freeze(FreezeCommand { id: vec![id; 16].into(), ring_version: 0 })),
        2 => (0..2u8).prop_map(|id| Kind::Thaw(ThawCommand { id: vec![id; 16].into() })),
        1 => (1..=STATE_MACHINE_VERSION).prop_map(|version| Kind::RaiseVersion(RaiseVersion { version })),
    ]
}

/// Commands with the time that passes before each: now and then a day.
fn history() -> impl Strategy<Value = Vec<(Kind, i64)>> {
    let passes = prop_oneof![9 => 0..2_000i64, 1 => Just(25 * 3_600_000i64)];
    prop::collection::vec((kind(), passes), 1..60)
}

fn entries(history: Vec<(Kind, i64)>) -> Vec<Entry<Bytes>> {
    let mut log_time_ms = 1_000_000;
    let founding = Membership { owned: Some(Owned::whole()), ..Membership::default() };
    let founding = Entry {
        position: Position::new(1, 1),
        log_time_ms,
        kind: EntryKind::Membership,
        payload: founding.encode_to_vec().into(),
    };
    let timestamped = (2..).zip(history).map(|(offset, (kind, passes))| {
        log_time_ms += passes;
        entry(1 + offset / 20, offset, log_time_ms, kind)
    });
    std::iter::once(founding).chain(timestamped).collect()
}

fn imported<T: Table>(table: T, chunks: &[Bytes]) -> Result<proto::store::AppliedState, Error> {
    let mut import = Import::begin(table)?;
    chunks.iter().try_for_each(|chunk| import.chunk(chunk))?;
    import.finish()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn both_tables_and_all_batches_give_the_same(history in history(), batch in 1..20usize) {
        let entries = entries(history);
        let folder = tempfile::tempdir().unwrap();
        let (disk, memory) = (lmdb(&folder).0, Memory::new());
        let mut replies = (Vec::new(), Vec::new());
        // One keeps what it looked up, the other looks everything up anew.
        let mut recent = Recent::default();
        for chunk in entries.chunks(batch) {
            replies.0.extend(disk.write(|write| apply(write, &mut recent, chunk)).unwrap());
        }
        for entry in &entries {
            replies.1.extend(memory.write(|write| apply(write, &mut Recent::default(), std::slice::from_ref(entry))).unwrap());
        }
        prop_assert_eq!(replies.0, replies.1);
        prop_assert_eq!(rows(&disk), rows(&memory));
        prop_assert_eq!(exported(&disk), exported(&memory));
        check_accounts(&memory);
        // A replica that was restored goes on exactly as the one it came from.
        let restored = Memory::new();
        let before = memory.read(state::read).unwrap();
        prop_assert_eq!(&imported(restored.clone(), &exported(&disk)).unwrap(), &before);
        let next = entry(9, before.applied.unwrap().offset + 1, before.log_time_ms + 1, txn_kind(Txn::new().put("z", 1, "z"), None));
        for table in [&memory, &restored] {
            table.write(|write| apply(write, &mut Recent::default(), std::slice::from_ref(&next))).unwrap();
        }
        prop_assert_eq!(rows(&memory), rows(&restored));
    }
}

/// What the applied state counts is what is there.
fn check_accounts(table: &Memory) {
    let state = table.read(state::read).unwrap();
    let rows = rows(table);
    let count = |space| rows.iter().filter(|row| row.0 == space).count() as u64;
    assert_eq!(state.remembered_count, count(Space::Replies));
    assert_eq!(state.remembered_count, count(Space::ReplyOrder));
    let replies = rows.iter().filter(|row| row.0 == Space::Replies);
    assert_eq!(
        state.remembered_bytes,
        replies.map(|row| (row.1.len() + row.2.len()) as u64 + 128).sum::<u64>()
    );
    assert_eq!(state.change_rows, count(Space::Changes));
    assert_eq!(
        (state.prepared_count, state.decided_count),
        (count(Space::Prepared), count(Space::Decisions))
    );
    let of_prepares = rows.iter().filter(|row| matches!(row.0, Space::Prepared | Space::Locks));
    let bytes = of_prepares.map(|row| (row.1.len() + row.2.len()) as u64).sum::<u64>();
    assert_eq!(state.prepared_bytes, bytes);
    let sessions = rows.iter().filter(|row| row.0 == Space::Sessions && row.1.len() == 16);
    for session in sessions {
        let answers = rows.iter().filter(|row| row.0 == Space::Sessions && row.1.len() == 24);
        assert!(answers.clone().any(|row| row.1.starts_with(&session.1)), "a session has an answer");
    }
}

#[test]
fn an_import_replaces_everything_and_is_verified() {
    let mut replica = fresh();
    (0..40).for_each(|n| assert!(replica.txn(Txn::new().put(format!("k{n}"), 1, vec![n; 20_000])).success));
    let chunks = exported(&replica.table);
    assert!(chunks.len() > 3 && chunks.iter().all(|chunk| chunk.len() <= CHUNK_BYTES_MAX));
    let folder = tempfile::tempdir().unwrap();
    let mut other = Replica::new(lmdb(&folder).0);
    other.txn(Txn::new().put("stale", 1, "x"));
    let restored = imported(other.table.clone(), &chunks).unwrap();
    assert_eq!((restored.state_hash, other.get("stale")), (replica.state().state_hash, None));
    assert_eq!(exported(&other.table), chunks);

    let mut bent = chunks.clone();
    let last = bent[1].len() - 1;
    bent[1] = bent[1].iter().enumerate().map(|(at, byte)| byte ^ u8::from(at == last)).collect();
    let bad: [Vec<Bytes>; 7] = [
        chunks[..chunks.len() - 1].to_vec(),
        [&chunks[..1], &chunks[2..]].concat(),
        [&chunks[..1], &chunks[..]].concat(),
        [&chunks[..], &chunks[..1]].concat(),
        bent,
        vec![Bytes::from_static(b"FDB\x02\x01")],
        vec![chunks[0].slice(..chunks[0].len() - 1)],
    ];
    for (nth, bad) in bad.iter().enumerate() {
        let table = Memory::new();
        assert!(matches!(imported(table.clone(), bad), Err(Error::Damaged { .. })), "case {nth}");
        assert!(table.read(state::read).is_err(), "case {nth}: what is half imported is no state");
    }
}

#[test]
fn a_half_imported_table_is_emptied_at_opening() {
    let mut replica = fresh();
    replica.txn(Txn::new().put("k", 1, "x"));
    let chunks = exported(&replica.table);
    let folder = tempfile::tempdir().unwrap();
    let (table, _) = lmdb(&folder);
    let mut import = Import::begin(table.clone()).unwrap();
    import.chunk(&chunks[0]).unwrap();
    drop((import, table));
    let (table, verdict) = lmdb(&folder);
    assert_eq!(verdict, Verdict::Discarded(Reason::HalfImported));
    assert!(rows(&table).is_empty());
}

#[test]
fn the_change_feed_tells_every_change_in_order() {
    let mut replica = fresh();
    replica.txn(Txn::new().put("b", 1, "x").put("a", 1, "x"));
    replica.txn(Txn::new().get("a"));
    replica.txn(Txn::new().delete("a").delete("none"));
    let since = |replica: &Replica<Memory>, from, limit| match replica
        .table
        .read(|read| changes::since(read, from, limit))
        .unwrap()
    {
        Feed::Changes(batch) => batch,
        Feed::CompactedBefore(offset) => panic!("compacted before {offset}"),
    };
    let all = since(&replica, 0, 100);
    let told: Vec<_> =
        all.changes.iter().map(|change| (change.offset, change.previous, change.keys.clone())).collect();
    assert_eq!(told, [(1, 0, vec!["a".into(), "b".into()]), (3, 1, vec![Bytes::from("a")])]);
    assert_eq!(all.up_to.unwrap().offset, 3);
    assert_eq!(since(&replica, 0, 1).up_to.unwrap().offset, 1, "a full batch ends at its last change");
    assert_eq!(since(&replica, 1, 9).changes.len(), 1);
    assert!(since(&replica, 3, 9).changes.is_empty());
    let failed = replica.txn(Txn::new().guard_exists("none").put("c", 1, "x"));
    assert!(!failed.success && since(&replica, 3, 9).changes.is_empty());
    assert_eq!(since(&replica, 3, 9).up_to.unwrap().offset, 4, "and everything up to there was sent");
}

#[test]
fn the_change_feed_is_trimmed_by_rule() {
    let mut replica = fresh();
    let mut made = 0;
    while made < CHANGE_ROWS_MAX + 10 {
        let batch: Vec<_> =
            (0..1_000).map(|_| replica.next(txn_kind(Txn::new().put("k", 1, "x"), None))).collect();
        made += replica.table.write(|write| apply(write, &mut replica.recent, &batch)).unwrap().len() as u64;
    }
    let state = replica.state();
    assert_eq!((state.change_rows, state.first_change), (CHANGE_ROWS_MAX, made - CHANGE_ROWS_MAX + 1));
    let first = state.first_change;
    let since = |from| replica.table.read(|read| changes::since(read, from, 1)).unwrap();
    assert_eq!(since(first - 2), Feed::CompactedBefore(first));
    assert_eq!(since(0), Feed::CompactedBefore(first));
    assert!(matches!(since(first - 1), Feed::Changes(_)), "the trimmed row was not asked for");
}

#[test]
fn scans_go_by_pages() {
    let mut replica = fresh();
    let keys = ["a", "p/1", "p/2", "p/3", "q"];
    replica.txn(keys.iter().fold(Txn::new(), |txn, key| txn.put(*key, 1, "x")));
    let scan = |range: Range, limit, after: &str| {
        let page = replica.table.read(|read| query::scan(read, &range, limit, after.as_bytes())).unwrap();
        let keys = page.0.iter().map(|record| String::from_utf8(record.key.to_vec()).unwrap());
        (keys.collect::<Vec<_>>().join(" "), page.1.map(|next| String::from_utf8(next.to_vec()).unwrap()))
    };
    let prefix = |prefix: &'static str| Range::Prefix(prefix.into());
    let between =
        |from: &'static str, to: &'static str| Range::Between(KeyRange { from: from.into(), to: to.into() });
    assert_eq!(scan(prefix("p/"), 2, ""), ("p/1 p/2".to_owned(), Some("p/2".to_owned())));
    assert_eq!(scan(prefix("p/"), 2, "p/2"), ("p/3".to_owned(), None));
    assert_eq!(scan(prefix(""), 0, ""), (keys.join(" "), None));
    assert_eq!(scan(prefix("p/"), 3, ""), ("p/1 p/2 p/3".to_owned(), None), "exactly full: nothing more");
    assert_eq!(scan(between("p/2", "q"), 9, ""), ("p/2 p/3".to_owned(), None));
    assert_eq!(scan(between("p/3", ""), 9, ""), ("p/3 q".to_owned(), None));
    assert_eq!(scan(between("p/2", ""), 9, "zz"), (String::new(), None));
    assert_eq!(scan(prefix("none"), 9, ""), (String::new(), None));
    let mut seen = 0;
    let each = replica.table.read(|read| {
        query::each(read, b"p/", &mut |_| {
            seen += 1;
            Ok(true)
        })
    });
    each.unwrap();
    assert_eq!(seen, 3);
}

#[test]
fn a_page_ends_early_when_records_are_large() {
    let mut replica = fresh();
    (0..5).for_each(|n| assert!(replica.txn(Txn::new().put(format!("k{n}"), 1, vec![0; 400_000])).success));
    let page = replica.table.read(|read| query::scan(read, &Range::Prefix(Bytes::new()), 0, b"")).unwrap();
    assert_eq!((page.0.len(), page.1), (SCAN_BYTES_MAX / 400_000 + 1, Some("k2".into())));
}

#[test]
fn what_is_remembered_can_be_looked_up_without_closing() {
    let mut replica = fresh();
    let look = |replica: &Replica<Memory>, id: &str| {
        let identity = Identity::user(id.to_owned(), 0, 1, [0; 16]);
        let found = replica.table.read(|read| query::remembered(read, b"k", &identity)).unwrap();
        found.map(|outcome| outcome.verdict().as_str_name())
    };
    assert_eq!(look(&replica, "r"), None);
    let identity = Identity::user("r", 0, 1, [0; 16]);
    replica.txn_as(identity, Txn::new().put("k", 1, "x")).unwrap();
    assert_eq!(look(&replica, "r"), Some("DONE"));
    assert_eq!(look(&replica, "other"), None);
    assert!(
        replica.txn_as(Identity::user("other", 0, 1, [0; 16]), Txn::new().put("k", 1, "y")).unwrap().success
    );
}

#[test]
fn marks_memberships_and_versions_are_kept_where_the_database_stands() {
    let mut replica = fresh();
    let members = Membership {
        voters: vec![Member { node: 1, incarnation: 7, address: "a:1".into(), joined: false }],
        ..Default::default()
    };
    let payload = members.encode_to_vec().into();
    let position = Position::new(1, 1);
    let first = Entry { position, log_time_ms: 5, kind: EntryKind::Membership, payload };
    let empty = Entry {
        position: Position::new(2, 2),
        log_time_ms: 6,
        kind: EntryKind::Empty,
        payload: Bytes::new(),
    };
    let replies = replica.table.write(|write| apply(write, &mut replica.recent, &[first, empty])).unwrap();
    assert_eq!(replies, [Reply::None, Reply::None]);
    (replica.offset, replica.epoch) = (2, 2);
    assert_eq!(replica.command(Kind::PublishMark(PublishMark { offset: 2 })), Reply::PublishMark(2));
    assert_eq!(replica.command(Kind::RaiseVersion(RaiseVersion { version: 1 })), Reply::None);
    let state = replica.state();
    assert_eq!((state.membership, state.membership_offset), (Some(members), 1));
    assert_eq!((state.publish_mark, state.state_machine_version, state.log_time_ms), (2, 1, 1_000_000));
    assert_eq!(state.applied.unwrap(), proto::store::Position::at(2, 4));
}

#[test]
fn a_log_is_known_by_its_initial_members_for_ever() {
    let member = |node, incarnation, address: &str| Member {
        node,
        incarnation,
        address: address.into(),
        joined: false,
    };
    let founded = |voters: Vec<Member>| {
        let mut replica = fresh();
        let payload = Membership { voters, ..Default::default() }.encode_to_vec().into();
        let first =
            Entry { position: Position::new(1, 1), log_time_ms: 5, kind: EntryKind::Membership, payload };
        replica.table.write(|write| apply(write, &mut replica.recent, &[first])).unwrap();
        replica
    };
    let id = |replica: &Replica<Memory>| state::log_id(&replica.state());
    let one = founded(vec![member(1, 7, "a:1"), member(2, 8, "b:1")]);
    let log_id = state::log_id(&one.state());
    assert_eq!(id(&founded(vec![member(2, 8, "b:9"), member(1, 7, "a:9")])), log_id, "order, address");
    assert_ne!(id(&founded(vec![member(1, 7, "a:1"), member(2, 9, "b:1")])), log_id);
    let payload =
        Membership { voters: vec![member(3, 3, "c:1")], ..Default::default() }.encode_to_vec().into();
    let later = Entry { position: Position::new(1, 2), log_time_ms: 6, kind: EntryKind::Membership, payload };
    one.table.write(|write| apply(write, &mut Recent::default(), &[later])).unwrap();
    assert_eq!(id(&one), log_id, "members come and go, the log stays");
    assert_eq!(state::log_id(&fresh().state()), 0, "nobody knows yet");
}

#[test]
fn an_audit_ends_its_batch() {
    let mut replica = fresh();
    let audit = Kind::Audit(AuditCommand { id: vec![1; 16].into(), prefixes: vec!["s/".into()] });
    let put = || txn_kind(Txn::new().put("k", 1, "x"), None);
    let batch = [replica.next(put()), replica.next(audit), replica.next(put())];
    let replies = replica.table.write(|write| apply(write, &mut replica.recent, &batch)).unwrap();
    assert!(matches!(&replies[..], [Reply::Txn(_), Reply::Audit { prefixes, .. }] if prefixes.len() == 1));
    assert_eq!(replica.state().applied.unwrap().offset, 2);
    let rest =
        replica.table.write(|write| apply(write, &mut replica.recent, &batch[replies.len()..])).unwrap();
    assert_eq!((rest.len(), replica.version("k")), (1, 2));
}

#[test]
fn what_a_newer_release_wrote_stops_the_replica_and_is_never_skipped() {
    let mut unknown_guard = Txn::new().guard_exists("k").put("k", 1, "x");
    unknown_guard.guards[0].condition = None;
    let mut unknown_action = Txn::new().put("k", 1, "x");
    unknown_action.operations[0].action = None;
    let raise = Kind::RaiseVersion(RaiseVersion { version: STATE_MACHINE_VERSION + 1 });
    let mut commands = vec![Command { kind: None }.encode_to_vec()];
    for kind in [txn_kind(unknown_guard, None), txn_kind(unknown_action, None), raise] {
        commands.push(Command { kind: Some(kind) }.encode_to_vec());
    }
    commands.push(b"\xff\xff\xff".to_vec());
    for payload in commands {
        let mut replica = fresh();
        let good = replica.next(txn_kind(Txn::new().put("a", 1, "x"), None));
        let bad = Entry {
            position: Position::new(1, 2),
            log_time_ms: 1,
            kind: EntryKind::Command,
            payload: payload.into(),
        };
        let error = replica.table.write(|write| apply(write, &mut replica.recent, &[good, bad])).unwrap_err();
        assert!(matches!(error, Error::NotUnderstood { .. }) && error.is_deterministic(), "{error}");
        assert!(rows(&replica.table).is_empty(), "nothing of the batch is kept");
    }
}

#[test]
fn times_are_seen_from_the_entry_on_that_raises_the_version() {
    let mut replica = fresh();
    let stamped = || Txn::new().put("k", 1, r#"{"at":7}"#).stamped(&["/at"]);
    assert!(replica.txn(stamped()).success);
    assert_eq!(replica.data("k").unwrap(), r#"{"at":7}"#, "as a program that knows no stamps leaves it");
    let early = replica.fails(Txn::new().guard_not_before("k", 1).delete("k"));
    assert_eq!(early, (false, 0, TooEarly), "no time has come yet");

    assert_eq!(replica.command(Kind::RaiseVersion(RaiseVersion { version: 2 })), Reply::None);
    assert_eq!(replica.state().state_machine_version, 2);
    assert!(replica.txn(stamped()).success);
    let now_ms = replica.state().log_time_ms;
    assert_eq!(replica.data("k").unwrap(), format!(r#"{{"at":{now_ms}}}"#));
    let next = replica.fails(Txn::new().guard_not_before("k", now_ms + 60_000).delete("k"));
    assert_eq!(next, (false, 0, TooEarly));
    assert!(replica.txn(Txn::new().guard_not_before("k", now_ms).delete("k")).success);
}

#[test]
fn appends_are_placed_from_the_entry_on_that_raises_the_version() {
    let mut replica = fresh();
    let placed =
        || Txn::new().append_within((b"f/", b"/{ana}"), 1, "x", vec![]).append("f/{ana}/", 1, "y", vec![]);
    let keys = |replica: &mut Replica<Memory>, txn: Txn| -> (u64, Vec<String>) {
        let answer = replica.txn(txn);
        assert!(answer.success, "{:?}", answer.failed);
        let keys = answer.results.iter().map(|one| String::from_utf8_lossy(&one.key).into_owned());
        (answer.offset(), keys.collect())
    };
    let (at, made) = keys(&mut replica, placed());
    let before = [format!("f//{{ana}}{at:016x}.0000"), format!("f/{{ana}}/{at:016x}.0001")];
    assert_eq!(made, before, "as a program that knows no places leaves them");

    assert_eq!(replica.command(Kind::RaiseVersion(RaiseVersion { version: 3 })), Reply::None);
    let (at, made) = keys(&mut replica, placed());
    let after = [format!("f/{at:016x}.0000/{{ana}}"), format!("f/{{ana}}/{at:016x}.0001")];
    assert_eq!(made, after);
    assert_eq!(replica.data(&after[0]).unwrap(), "x");
}

#[test]
#[should_panic(expected = "applying-is-gapless")]
fn a_gap_in_the_offsets_is_our_own_bug() {
    let memory = Memory::new();
    let later = entry(1, 2, 1, txn_kind(Txn::new().put("k", 1, "x"), None));
    let _ = memory.write(|write| apply(write, &mut Recent::default(), &[later]));
}

#[test]
fn the_hash_of_effects_is_frozen() {
    let mut replica = fresh();
    replica.txn(Txn::new().put("b", 1, "two").put("a", 1, "one"));
    replica.txn(Txn::new().delete("a").put("c", -5, "{}"));
    assert_eq!(replica.state().state_hash, 0x6c60_6ef7_d3ba_7bae);
}

#[test]
fn a_damaged_row_is_an_error_not_a_panic() {
    let mut replica = fresh();
    replica.txn(Txn::new().put("k", 1, "x"));
    let spoil = |space, key: &[u8]| replica.table.write(|write| write.put(space, key, b"\xff")).unwrap();
    spoil(Space::Records, b"k");
    let met = replica.table.read(|read| query::get(read, b"k")).unwrap_err();
    assert!(matches!(met, Error::Damaged { .. }), "{met}");
    // All replicas may have it: it says nothing of this one.
    assert!(!met.is_reported_by_store() && replica.table.damage().is_none(), "{met}");
    let next = entry(1, 2, 1, txn_kind(Txn::new().guard_exists("k"), None));
    let applied = replica.table.write(|write| apply(write, &mut replica.recent, &[next]));
    assert!(matches!(applied, Err(Error::Damaged { .. })));
    spoil(Space::State, b"applied");
    assert!(matches!(replica.table.read(state::read), Err(Error::Damaged { .. })));
}

//! One engine on a real folder and LMDB: what a restart finds with the table, without it, and with snapshots.
#![allow(clippy::unwrap_used)]

mod fixture;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use fixture::Hands;
use prost::Message as _;
use proto::store::{Command, Txn, TxnCommand, command};
use store_core::{Config, GroupId, NodeId};
use store_db::{Lmdb, Table, query};
use store_engine::{
    ApplierOut, Engine, Job, NodeConfig, NodeOut, OpenConfig, Pause, Policy, Reply, RequestId, Reserve,
};
use store_log::{BootId, ClusterId, Identity, RealDisk};

const NODE: NodeId = NodeId(1);

fn identity() -> Identity {
    let cluster = ClusterId::new(b"real").unwrap();
    Identity { cluster, group: GroupId(1), node: NODE, state_machine_version: 1 }
}

fn boot() -> BootId {
    BootId::new(b"this boot").unwrap()
}

/// An engine and what waits between its stages.
struct Real {
    engine: Engine<RealDisk, Lmdb, Hands>,
    table: Lmdb,
    inbox: Vec<Job>,
    replies: Vec<(RequestId, Reply)>,
    leads: bool,
}

impl Real {
    fn open(folder: &Path, log_bytes: u64) -> Real {
        Real::try_open(folder, log_bytes).unwrap()
    }

    fn try_open(folder: &Path, log_bytes: u64) -> Result<Real, store_engine::Error> {
        let (table, _) = Lmdb::open(&folder.join("db"), &store_db::Options::new("this boot")).unwrap();
        let disk = Arc::new(RealDisk::open(folder.join("log")).unwrap());
        let mut node = NodeConfig::new(Config::new(fixture::member(NODE)), 7);
        node.snapshots = Policy { log_bytes, ticks: u64::MAX };
        node.reserve = Reserve { disk_bytes: 0, table_bytes: 0 };
        let config = OpenConfig {
            disk,
            identity: identity(),
            boot_id: boot(),
            log: store_log::Options { preallocate_bytes: 64 << 10, ..Default::default() },
            table: table.clone(),
            clock: Hands::default(),
            node,
        };
        let engine = store_engine::open(config)?;
        Ok(Real { engine, table, inbox: Vec::new(), replies: Vec::new(), leads: false })
    }

    /// Turns every stage once, and a tick.
    fn round(&mut self) {
        let (mut outs, mut applied) = (Vec::new(), Vec::new());
        self.inbox.push(Job::Tick);
        self.engine.node.poll(self.inbox.drain(..), &mut outs).unwrap();
        let (mut writes, mut applies, mut ballots) = (Vec::new(), Vec::new(), Vec::new());
        for out in outs {
            match out {
                NodeOut::SaveBallot(ballot) => ballots.push(ballot),
                NodeOut::Write(job) => writes.push(job),
                NodeOut::Apply(job) => applies.push(job),
                NodeOut::Role(view) => self.leads = view.leader == Some(NODE),
                _ => {}
            }
        }
        self.engine.ballots.poll(ballots, &mut self.inbox).unwrap();
        self.engine.writer.poll(writes, &mut self.inbox).unwrap();
        let mut more = self.engine.applier.poll(applies, &mut applied).unwrap();
        while more {
            more = self.engine.applier.poll([], &mut applied).unwrap();
        }
        for out in applied {
            match out {
                ApplierOut::Applied(applied) => self.inbox.push(Job::Applied(applied)),
                ApplierOut::Answer { request_id, reply } => self.replies.push((request_id, reply)),
                ApplierOut::Paused(Pause::Snapshot { position, number }) => {
                    let mut written = Ok(());
                    let snapshots = &self.engine.snapshots;
                    let read = self.table.read(|read| {
                        written = snapshots.write(read, snapshots.vintage(), number, position);
                        Ok(())
                    });
                    read.unwrap();
                    written.unwrap();
                    self.engine.applier.resume();
                    self.inbox.push(Job::SnapshotTaken { position });
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn put(&mut self, range: std::ops::Range<u64>) {
        while !self.leads {
            self.round();
        }
        let end = self.replies.len() + usize::try_from(range.end - range.start).unwrap();
        for i in range {
            let txn = Some(Txn::new().put(Bytes::from(format!("k{i}")), 1, vec![7; 300]));
            let kind = Some(command::Kind::Txn(TxnCommand { txn, identity: None, decide: None }));
            let command = Bytes::from(Command { kind }.encode_to_vec());
            self.inbox.push(Job::Write { request_id: RequestId(1 + i), command });
            self.round();
        }
        let mut rounds = 0;
        while self.replies.len() < end {
            self.round();
            rounds += 1;
            assert!(rounds < 1_000, "not answered");
        }
        assert!(self.replies.iter().all(|(_, reply)| matches!(reply, Reply::Txn(txn) if txn.success)));
    }

    fn has(&self, key: u64) -> bool {
        self.table.read(|read| query::get(read, format!("k{key}").as_bytes())).unwrap().is_some()
    }
}

fn bootstrapped(folder: &Path) {
    let disk = RealDisk::open(folder.join("log")).unwrap();
    let members = fixture::members(&[NODE]);
    store_engine::bootstrap(&disk, &identity(), fixture::member(NODE).incarnation, &boot(), &members)
        .unwrap();
}

#[test]
fn a_restart_goes_on_with_the_table_and_without_it_begins_with_snapshot_or_log() {
    let folder = tempfile::tempdir().unwrap();
    bootstrapped(folder.path());
    let mut first = Real::open(folder.path(), u64::MAX);
    first.put(0..50);
    drop(first);

    let second = Real::open(folder.path(), u64::MAX);
    assert_eq!((second.engine.recovery.applied_entries, second.engine.recovery.imported), (0, None));
    assert!(second.has(49));
    drop(second);

    // Without a table and without a snapshot: the log from its beginning, as far as it is known to be committed.
    std::fs::remove_dir_all(folder.path().join("db")).unwrap();
    let mut third = Real::open(folder.path(), 2_000);
    assert!(third.engine.recovery.applied_entries >= 40, "{:?}", third.engine.recovery);
    third.put(50..120);
    assert!(third.has(49) && third.has(119), "what was intermediate was committed by the new epoch");
    assert!(third.engine.log.base().0 > 0, "the log was cut off behind snapshots");
    drop(third);

    std::fs::remove_dir_all(folder.path().join("db")).unwrap();
    let fourth = Real::open(folder.path(), u64::MAX);
    assert!(fourth.engine.recovery.imported.is_some(), "{:?}", fourth.engine.recovery);
    assert!(fourth.has(0) && fourth.has(100));
    assert!(fourth.engine.recovery.applied_entries < 20);
}

#[test]
fn a_folder_without_its_snapshots_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    bootstrapped(folder.path());
    let mut first = Real::open(folder.path(), 2_000);
    first.put(0..70);
    assert!(first.engine.log.base().0 > 0, "the log was cut off behind snapshots");
    drop(first);
    for file in std::fs::read_dir(folder.path().join("log")).unwrap().map(Result::unwrap) {
        if file.file_name().to_string_lossy().starts_with("snap.") {
            std::fs::remove_file(file.path()).unwrap();
        }
    }
    let refused = Real::try_open(folder.path(), 2_000).err().unwrap();
    assert!(refused.to_string().contains("no snapshot of"), "{refused}");
}

#[test]
fn a_folder_of_another_cluster_or_without_a_replica_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let open = || {
        let (table, _) = Lmdb::open(&folder.path().join("db"), &store_db::Options::new("this boot")).unwrap();
        let identity = Identity { cluster: ClusterId::new(b"other").unwrap(), ..identity() };
        let opened = store_engine::open(OpenConfig {
            disk: Arc::new(RealDisk::open(folder.path().join("log")).unwrap()),
            identity,
            boot_id: boot(),
            log: store_log::Options::default(),
            table,
            clock: Hands::default(),
            node: NodeConfig::new(Config::new(fixture::member(NODE)), 7),
        });
        opened.err().unwrap().to_string()
    };
    assert!(open().contains("bootstrap"));
    bootstrapped(folder.path());
    assert!(open().contains("belongs to another cluster"));
    let disk = RealDisk::open(folder.path().join("log")).unwrap();
    let stranger = store_core::Incarnation(5);
    let refused = store_engine::bootstrap(&disk, &identity(), stranger, &boot(), &fixture::members(&[NODE]));
    assert!(refused.unwrap_err().to_string().contains("not among its voters"));
}

//! The screens of whoever looks after the cluster.

use std::time::Duration;

use proto::portal::{GroupStatus, PortalStatusResponse};
use proto::store::{LogLine, Member, MemberPart, MemberStatus, Position, Role, StatusResponse, VoterStatus};
use store_core::{Ballot, Epoch, EpochHistory, GroupId, NodeId, Offset};
use store_log::{FileEnd, LogFileReport, LogReport, SnapshotFile, SnapshotInfo, SnapshotReport};

use super::answers;
use crate::admin::cache;
use crate::audit::books::Books;
use crate::audit::read::ReplicaState;
use crate::config::shape::Config;
use crate::exchange::cells::Refusal;
use crate::exchange::collection::Collection;
use crate::exchange::report::{Totals, imported};
use crate::failure::Failure;
use crate::health::{Health, PortalSeen, Seen};
use crate::import::check::totals;
use crate::import::plan;
use crate::import::report::report;
use crate::import::send::Refusals;
use crate::log::show::Shown;
use crate::member::group::GroupView;
use crate::member::list::Listed;
use crate::show::answer::Answer;
use crate::up::view::PartView;
use crate::{audit, demo, log, member, status, up};

fn at(offset: u64) -> Option<Position> {
    Some(Position { epoch: 112, offset })
}

fn node(node: u64, role: Role) -> StatusResponse {
    StatusResponse {
        node,
        role: role.into(),
        epoch: 112,
        last: at(123_456_789),
        committed: 123_456_788,
        applied: at(123_456_788),
        snapshot: 123_400_000,
        state_hash: 0x9a1b_2c3d_4e5f_6071,
        ..StatusResponse::default()
    }
}

fn portal_status(name: &str) -> PortalStatusResponse {
    let group = GroupStatus {
        group: 1,
        state: "SUSPECT".into(),
        applied_offset: 123_456_788,
        lease_ms: 2_871,
        suspect_ms_total: 12_004,
    };
    PortalStatusResponse {
        name: name.into(),
        groups: vec![group],
        cached: 39_211,
        capacity: 100_000,
        hits: 9_120_443,
        misses: 40_112,
        bypasses: 1_733,
        gaps: 2,
        flushes: 3,
        transactions: 77_120,
        up_ms: 86_400_000,
        ignored: 4,
        bus_problem: "connection refused (os error 111)".into(),
        ..PortalStatusResponse::default()
    }
}

#[test]
fn status_is_one_row_a_node() {
    let config = Config::default();
    let sick = StatusResponse {
        problem: "quarantined since e111:123400112: a majority has another state hash there than this node's database"
            .into(),
        ..node(3, Role::Candidate)
    };
    let down = Err(Failure::of_status(&tonic::Status::unavailable("tcp connect error: connection refused")));
    answers("status-nodes", &status::of_nodes(&config, &[Ok(node(1, Role::Leader)), down, Ok(sick)]));
    let seen = |kind, name: &str, status| PortalSeen {
        kind,
        name: name.into(),
        address: "127.0.0.1:7411".into(),
        status,
        problem: None,
    };
    let portals = [
        seen("admin-portal", "admin-portal-1", Ok(portal_status("admin-portal-1"))),
        seen("client-portal", "client-portal-1", Err(Failure::unreachable("down"))),
    ];
    answers("status-portals", &status::of_portals(&portals));
    answers("status-broker", &status::of_broker(&config, false));
    answers("cache", &cache::portal("127.0.0.1:7411", &portal_status("admin-portal-1")));
    let nodes =
        vec![Ok(node(1, Role::Leader)), Ok(node(2, Role::Follower)), Err(Failure::unreachable("down"))];
    let health = Health::of(&config, &Seen { nodes, portals: portals.into(), broker: false });
    answers("health", &Answer::line(health.line(), health.document()));
}

#[test]
fn status_of_a_ring_is_one_row_a_replica() {
    let mut config = Config::default();
    config.store.nodes.iter_mut().for_each(|node| node.shards = vec![1, 2]);
    let sick = StatusResponse {
        problem: "quarantined since e111:123400112: a majority has another state hash there than this node's database"
            .into(),
        quarantined: "since e111:123400112".into(),
        ..node(1, Role::Follower)
    };
    let down =
        || Err(Failure::of_status(&tonic::Status::unavailable("tcp connect error: connection refused")));
    let nodes = vec![
        Ok(node(1, Role::Leader)),
        down(),
        Ok(node(3, Role::Follower)),
        Ok(sick),
        down(),
        Ok(node(3, Role::Leader)),
    ];
    answers("status-ring", &status::of_nodes(&config, &nodes));
    let health = Health::of(&config, &Seen { nodes, portals: Vec::new(), broker: true });
    answers("health-ring", &Answer::line(health.line(), health.document()));
}

#[test]
fn members_are_shown_with_how_far_they_are() {
    let member = |node: u64, part: MemberPart| MemberStatus {
        member: Some(Member {
            node,
            incarnation: 0x9a1b_2c3d_4e5f_6071 + node,
            address: format!("store-{node}.shop.example:7401"),
            joined: node > 3,
        }),
        part: part.into(),
    };
    let voter = |node: u64| VoterStatus {
        node,
        durable: at(123_456_700 + node),
        silent_ms: 12 * node,
        ..VoterStatus::default()
    };
    let status = StatusResponse {
        members: vec![
            member(1, MemberPart::Voter),
            member(2, MemberPart::Voter),
            member(3, MemberPart::Outgoing),
            member(4, MemberPart::MemberLearner),
        ],
        voters: vec![voter(1), voter(2), voter(4)],
        ..node(1, Role::Leader)
    };
    let view = GroupView::of("store-1.shop.example:7401".into(), status);
    let others = "node 5 does not run and is not in the group: feira member add 5 lets it in, feira member remove 5 takes it \
                  out of the configuration";
    let listed = |shard, others| Listed { shard, view: view.clone(), others };
    answers("member-list", &member::list::answer(listed(1, (Vec::new(), vec![others.into()]))));
    let ring = vec![listed(1, (Vec::new(), vec![others.into()])), listed(2, (Vec::new(), Vec::new()))];
    answers("member-list-ring", &member::list::answer_of_ring(ring));
}

fn lines() -> Vec<LogLine> {
    let line = |offset, kind: &str, summary: &str, applied| LogLine {
        position: at(offset),
        kind: kind.into(),
        bytes: 1_204,
        summary: summary.into(),
        committed: applied,
        applied,
        ..LogLine::default()
    };
    vec![
        line(123_456_787, "empty", "a new leader's first entry", true),
        line(
            123_456_788,
            "txn",
            "if s/{banana-prata} is of version 12: put s/{banana-prata}, put o/{maria}/7k2vq9d4m0xhy3c8w5jb6nztra",
            true,
        ),
        line(123_456_789, "txn", "put planted/123456789", false),
    ]
}

#[test]
fn logs_are_shown_and_verified() {
    let shown = Shown {
        lines: lines(),
        committed: 123_456_788,
        applied: Some(123_456_788),
        problem: Some("log.17, byte 40960: 512 bytes: the checksum is wrong (a torn write)".into()),
    };
    answers("log-show", &log::show::answer(2, "from its folder", &shown));
    let rows: Vec<(u64, Option<LogLine>)> = vec![(1, lines().pop()), (2, lines().pop()), (3, None)];
    answers(
        "demo-log",
        &demo::replication::table(&rows, "the log of each replica, before the commit order:"),
    );
    let last = store_core::Position { epoch: Epoch(112), offset: Offset(123_456_789) };
    let file = |name: &str, end| LogFileReport {
        file: name.into(),
        header: None,
        bytes: 67_108_864,
        whole_bytes: 41_943_040,
        batches: 91_204,
        entries: 1_204_117,
        last,
        end,
    };
    let torn = FileEnd::Torn { at: 41_943_040, bytes: 512, problem: "the checksum of the batch is wrong" };
    let report = LogReport {
        meta: store_log::Meta {
            cluster: store_log::ClusterId::new(b"feira").expect("an id"),
            group: GroupId(1),
            member: store_core::Member { node: NodeId(2), incarnation: store_core::Incarnation(7) },
            state_machine_version: 1,
        },
        files: vec![file("log.16", FileEnd::Whole), file("log.17", torn)],
        history: EpochHistory::starting_after(last),
        commit_mark: Offset(123_456_788),
        durable_mark: Offset(123_456_789),
        ballot: Some(Ballot { epoch: Epoch(112), voted_for: Some(NodeId(1)) }),
        maybe_lost_tail: true,
        lost: Vec::new(),
    };
    answers("log-verify", &log::verify::answer(2, &report));
}

#[test]
fn snapshots_are_shown_and_verified() {
    let position = store_core::Position { epoch: Epoch(112), offset: Offset(123_456_789) };
    let info =
        SnapshotInfo { number: 41, position, log_time_ms: 1_764_351_123_456, state_machine_version: 1 };
    let snapshot = SnapshotReport {
        file: "snap.41".into(),
        listed: Some(SnapshotFile { info, bytes: 67_108_864 }),
        blocks: 1_024,
        data_bytes: 41_943_040,
        plain_bytes: 167_772_160,
        damage: None,
    };
    answers("snapshot-verify", &log::snapshot::verified(2, &[(&snapshot, None)]).0);
    let block = |number| store_log::BlockLine {
        number,
        at: 64 * number,
        data_bytes: 40_960,
        plain_bytes: 163_840,
        packed: true,
    };
    answers("snapshot-show", &log::snapshot::answer(2, &snapshot, None, &[block(0), block(1)]));
}

#[test]
fn audits_and_imports_are_shown() {
    let replica =
        |node| (node, ReplicaState { state_hash: 0x9a1b_2c3d_4e5f_6071, ..ReplicaState::default() });
    answers(
        "audit",
        &audit::run::answer("e112:123456789", &Books::default(), &[replica(1), replica(2), replica(3)]),
    );
    let shards = [[replica(1), replica(2)], [replica(3), replica(4)]];
    let right = (1..).zip(&shards).map(|(shard, replicas)| {
        let at = format!("e1{shard}:123456789");
        audit::run::Right { shard, at, replicas }
    });
    answers("audit-ring", &audit::run::answer_of_ring(&Books::default(), &right.collect::<Vec<_>>()));
    let file = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n\
                536365,85123A,WHITE HANGING HEART T-LIGHT HOLDER,6,12/1/2010 8:26,2.55,17850,United Kingdom\n\
                C536366,85123A,WHITE HANGING HEART T-LIGHT HOLDER,-6,12/1/2010 8:26,2.55,17850,United Kingdom\n\
                536367,85123A,WHITE HANGING HEART T-LIGHT HOLDER,6,12/1/2010 8:26,2.55,,United Kingdom\n";
    let plan = plan::read(&mut file.as_bytes()).expect("a file");
    let mut refusals = Refusals { there: 1, ..Refusals::default() };
    refusals.raised.insert(0, 12);
    let mut records = Totals { new: 3, there: 12, changed: 1, lines_done: 41, ..Totals::default() };
    let reason =
        "\"1,234\" may be 1.234 or 1234: --decimal comma means the first; for the second leave the comma out";
    records.refuse(&[
        Refusal::new(7, "price", reason),
        Refusal::new(9, "", "has 3 cells, and the first line names 13 columns"),
    ]);
    records.lines_refused += 80;
    answers("import-records", &imported(Collection::Orders, &records, Some(Duration::from_millis(2_345))));
    answers("import", &report(&plan, &totals(&plan, &refusals), &refusals, Duration::from_millis(61_234)));
}

#[test]
fn the_parts_of_a_local_cluster_are_shown() {
    let part = |name: &str, address: &str, state: &str| PartView {
        name: name.into(),
        address: address.into(),
        state: state.into(),
        pid: Some(123_456),
        log: format!("/home/maria/feira/data/log/{name}.log"),
    };
    let parts = [
        part("node-1", "127.0.0.1:7401", "running, pid 123456"),
        part("broker", "127.0.0.1:1883", "ended: exit status: 101"),
        part("client-portal-1", "127.0.0.1:7421", "running, pid 123457"),
    ];
    answers("up", &up::view::answer("feira", "/home/maria/feira/feira.toml", &parts, &[]));
}

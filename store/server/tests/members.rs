//! Members come and go while writes go on: a learner, its promotion, a lost folder replaced, the leader removed; and what
//! is refused, with its reason.
#![allow(clippy::unwrap_used, missing_docs)]

mod fixture;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use fixture::{Nodes, ROUTE, eventually};
use proto::store::change_members_request::Change;
use proto::store::{
    ChangeMembersRequest, ChangeMembersResponse, FailureReason, Freshness, Member, MemberName, MemberPart,
    Replacement, TransferLeadershipRequest,
};
use store_client::failure::failure_from;
use store_client::{Replicated, Store, StoreExt};
use tonic::{Code, Status};

fn name(i: usize) -> MemberName {
    MemberName { node: i as u64 + 1, incarnation: 0 }
}

fn learner(nodes: &Nodes, i: usize, incarnation: u64) -> Change {
    Change::AddLearner(Member { node: i as u64 + 1, incarnation, address: nodes.address(i), joined: false })
}

async fn ask(nodes: &Nodes, i: usize, change: Change) -> Result<ChangeMembersResponse, Status> {
    let request = ChangeMembersRequest { route: Some(ROUTE), change: Some(change) };
    nodes.cluster(i).change_members(request).await.map(tonic::Response::into_inner)
}

/// Asks whoever leads until the change is made.
async fn change(nodes: &Nodes, wanted: Change) -> ChangeMembersResponse {
    eventually("the change is made", || async {
        match ask(nodes, nodes.leading().await, wanted.clone()).await {
            Ok(done) => Some(done),
            Err(status) => {
                let reason = failure_from(&status).reason();
                assert_ne!(reason, FailureReason::ChangeRefused, "{status}");
                None
            }
        }
    })
    .await
}

/// Node and part of each member, as this node's log has it.
async fn parts(nodes: &Nodes, i: usize) -> Vec<(u64, MemberPart)> {
    let status = nodes.status(i).await.unwrap();
    status.members.iter().map(|one| (one.member.as_ref().unwrap().node, one.part())).collect()
}

fn voters(ids: &[u64]) -> Vec<(u64, MemberPart)> {
    ids.iter().map(|id| (*id, MemberPart::Voter)).collect()
}

/// Writes until it is told to stop; what was acknowledged.
struct Load {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<u64>,
}

impl Load {
    fn start(nodes: &Nodes) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let (store, stopped) = (nodes.store(0), Arc::clone(&stop));
        let task = tokio::spawn(async move {
            let mut written = 0;
            while !stopped.load(Ordering::Relaxed) {
                let key = format!("k{written}");
                store.set(key.into(), 1, Bytes::from_static(b"value"), None).await.unwrap();
                written += 1;
            }
            written
        });
        Load { stop, task }
    }

    /// How many were acknowledged; each is there.
    async fn end(self, store: &Replicated) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let written = self.task.await.unwrap();
        for i in 0..written {
            let got = store.get(format!("k{i}").into(), Freshness::linearizable()).await.unwrap();
            assert!(got.record.is_some(), "k{i} is gone");
        }
        written
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_grows_and_its_leader_leaves_while_writes_go_on() {
    let mut nodes = Nodes::start(3).await;
    let first = nodes.leader().await;
    let load = Load::start(&nodes);
    let (fourth, incarnation) = nodes.join().await;
    assert!(change(&nodes, learner(&nodes, fourth, incarnation)).await.changed);
    assert!(!change(&nodes, learner(&nodes, fourth, incarnation)).await.changed, "it is so already");
    let shown = parts(&nodes, nodes.leading().await).await;
    assert_eq!(shown, [voters(&[1, 2, 3]), vec![(4, MemberPart::MemberLearner)]].concat());

    let done = change(&nodes, Change::Promote(name(fourth))).await;
    assert_eq!(parts(&nodes, nodes.leading().await).await, voters(&[1, 2, 3, 4]));
    nodes.applied(fourth, done.offset).await;

    change(&nodes, Change::Remove(name(first))).await;
    let left: Vec<u64> = (1..=4).filter(|node| *node != first as u64 + 1).collect();
    eventually("another leads", || async { (nodes.leading().await != first).then_some(()) }).await;
    let second = nodes.leading().await;
    assert_eq!(parts(&nodes, second).await, voters(&left));
    // Who was removed knows it, from the log, and can be stopped without anybody missing it.
    eventually("it knows", || async { (parts(&nodes, first).await == voters(&left)).then_some(()) }).await;
    nodes.stop(first).await;
    // Whoever knows only the new node finds the others.
    let store = nodes.store(fourth);
    store.set(Bytes::from_static(b"last"), 1, Bytes::from_static(b"1"), None).await.unwrap();
    assert!(load.end(&store).await > 0);
    nodes.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_folder_is_replaced_by_an_empty_one() {
    let mut nodes = Nodes::start(3).await;
    let lost = nodes.follower().await;
    let load = Load::start(&nodes);
    nodes.stop(lost).await;
    let incarnation = nodes.wipe(lost);
    nodes.restart(lost).await;
    // Its node is not spoken to: it is not who the others know.
    let node = lost as u64 + 1;
    change_when_silent(&nodes, learner(&nodes, lost, incarnation)).await;
    let shown = parts(&nodes, nodes.leading().await).await;
    assert_eq!(shown.len(), 4, "{shown:?}");
    let leader = nodes.leading().await;
    let status = ask(&nodes, leader, Change::Remove(name(lost))).await.unwrap_err();
    assert_eq!(failure_from(&status).field, "remove.incarnation", "two folders of one node: {status}");

    let members = nodes.status(leader).await.unwrap().members;
    let old = members
        .iter()
        .filter_map(|one| one.member.as_ref())
        .find(|m| m.node == node && m.incarnation != incarnation);
    let old = Some(MemberName { node, incarnation: old.unwrap().incarnation });
    let new = Some(MemberName { node, incarnation });
    let done = change(&nodes, Change::Replace(Replacement { old, new })).await;
    assert_eq!(parts(&nodes, nodes.leading().await).await, voters(&[1, 2, 3]));
    nodes.applied(lost, done.offset).await;
    assert_eq!(nodes.status(lost).await.unwrap().incarnation, incarnation);

    // It is a voter like any other: with one of the others gone, it makes the majority.
    let other = (0..3).find(|i| *i != lost).unwrap();
    nodes.stop(other).await;
    let store = nodes.store(lost);
    store.set(Bytes::from_static(b"last"), 1, Bytes::from_static(b"1"), None).await.unwrap();
    nodes.restart(other).await;
    assert!(load.end(&store).await > 0);
    nodes.stop_all().await;
}

/// A lost member's node may be taken by a new folder when the lost one has been silent for an election timer.
async fn change_when_silent(nodes: &Nodes, wanted: Change) {
    eventually("the lost folder counts as silent", || async {
        match ask(nodes, nodes.leading().await, wanted.clone()).await {
            Ok(_) => Some(()),
            Err(status) => {
                let reason = failure_from(&status).reason();
                assert_ne!(reason, FailureReason::ChangeRefused, "{status}");
                None
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_makes_no_sense_is_refused_with_its_reason() {
    let mut nodes = Nodes::start(3).await;
    let leader = nodes.leader().await;
    let refused = async |i: usize, wanted: Change| {
        eventually("an answer of a leader that knows what is committed", || async {
            let status = ask(&nodes, i, wanted.clone()).await.unwrap_err();
            let failure = failure_from(&status);
            let young = failure.message.contains("has just been elected");
            (!young).then(|| (status.code(), failure.reason(), failure.field, failure.message))
        })
        .await
    };
    let (code, reason, ..) = refused((leader + 1) % 3, Change::Remove(name(0))).await;
    assert_eq!((code, reason), (Code::Unavailable, FailureReason::NotLeader));
    let (code, reason, ..) = refused(leader, Change::Promote(name(8))).await;
    assert_eq!((code, reason), (Code::FailedPrecondition, FailureReason::ChangeRefused));
    let nowhere = Member { node: 4, incarnation: 4, address: "nowhere".to_owned(), joined: false };
    let (code, _, field, _) = refused(leader, Change::AddLearner(nowhere)).await;
    assert_eq!((code, field.as_str()), (Code::InvalidArgument, "add_learner.address"));
    let taken = Member { node: 1, incarnation: 4, address: nodes.address(0), joined: false };
    let (_, reason, _, message) = refused(leader, Change::AddLearner(taken)).await;
    assert_eq!(reason, FailureReason::NodeTaken, "{message}");
    // Whoever asks again for what was done is told so, with the folder or without.
    let gone = ask(&nodes, leader, Change::Remove(name(8))).await.unwrap();
    assert!(!gone.changed && gone.offset == 0, "{gone:?}");

    // A learner that nobody reaches never catches up.
    let absent = Member { node: 4, incarnation: 4, address: "127.0.0.1:1".to_owned(), joined: false };
    assert!(change(&nodes, Change::AddLearner(absent)).await.changed);
    let leader = nodes.leading().await;
    let (code, reason, _, message) = refused(leader, Change::Promote(name(3))).await;
    assert_eq!((code, reason), (Code::Unavailable, FailureReason::ChangeNotYet));
    assert!(message.contains("caught up"), "{message}");
    assert!(change(&nodes, Change::Remove(name(3))).await.changed);

    // A group of two that loses one must not be told to go on with the other alone: writes would stop.
    let gone = (nodes.leading().await + 1) % 3;
    nodes.stop(gone).await;
    let leader = nodes.leading().await;
    let sound = (0..3).find(|i| *i != leader && *i != gone).unwrap();
    eventually("the stopped node is silent for longer than an election timer", || async {
        let voters = nodes.status(leader).await?.voters;
        voters.iter().any(|voter| voter.node == gone as u64 + 1 && voter.silent_ms > 500).then_some(())
    })
    .await;
    let status = ask(&nodes, leader, Change::Remove(name(sound))).await.unwrap_err();
    assert_eq!(failure_from(&status).reason(), FailureReason::ChangeRefused);
    assert!(status.message().contains("writes would stop"), "{status}");
    nodes.stop_all().await;
}

/// It was heard within an election timer, and that was enough: the change was begun, and could not be finished.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_is_not_removed_when_another_voter_has_just_stopped() {
    // So long that the stopped one still counts as heard.
    let patient = |config: &mut store_server::Config| {
        (config.election_ticks_min, config.election_ticks_max) = (200, 400);
    };
    let mut nodes = Nodes::start_with(3, patient).await;
    let leader = nodes.leader().await;
    let store = nodes.store(leader);
    store.set(Bytes::from_static(b"first"), 1, Bytes::from_static(b"1"), None).await.unwrap();
    nodes.stop((leader + 1) % 3).await;
    let status = ask(&nodes, leader, Change::Remove(name(leader))).await.unwrap_err();
    assert_eq!(failure_from(&status).reason(), FailureReason::ChangeRefused, "{status}");
    assert_eq!(parts(&nodes, leader).await, voters(&[1, 2, 3]), "nothing was appended");
    store.set(Bytes::from_static(b"second"), 1, Bytes::from_static(b"2"), None).await.unwrap();
    nodes.stop_all().await;
}

/// Writes until the log of `i` begins late enough for a replica without it to need a snapshot.
async fn let_go_of_the_beginning(nodes: &Nodes, i: usize) {
    let (store, data) = (nodes.store(i), Bytes::from(vec![b'x'; 100_000]));
    eventually("the log's beginning is gone", || async {
        for k in 0..10 {
            store.set(format!("k{k}").into(), 0, data.clone(), None).await.ok();
        }
        let request = proto::store::ShowLogRequest { route: Some(ROUTE), from_offset: 1, limit: 1 };
        let shown = nodes.cluster(i).show_log(request).await.ok()?.into_inner();
        (shown.lines.first()?.position?.offset > 10).then_some(())
    })
    .await;
}

/// The snapshot was offered to it, and it knew nobody to fetch it from: its own membership is in that snapshot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_member_joins_a_group_whose_log_no_longer_begins_at_one() {
    let mut nodes = Nodes::start_with(3, |config| config.snapshot_log_bytes = 1 << 20).await;
    let leader = nodes.leader().await;
    let_go_of_the_beginning(&nodes, leader).await;
    let (fourth, incarnation) = nodes.join().await;
    let added = change(&nodes, learner(&nodes, fourth, incarnation)).await;
    nodes.applied(fourth, added.offset).await;
    let promoted = change(&nodes, Change::Promote(name(fourth))).await;
    nodes.applied(fourth, promoted.offset).await;
    nodes.stop_all().await;
}

/// One of five is away while another's lost folder is replaced by a new one, which leads then. Returns the leader, who is
/// away, and the offset of the change.
async fn led_by_a_new_folder(nodes: &mut Nodes) -> (usize, usize, u64) {
    let first = nodes.leader().await;
    let (lost, away) = ((first + 1) % 5, (first + 2) % 5);
    nodes.stop(away).await;
    nodes.stop(lost).await;
    let incarnation = nodes.wipe(lost);
    nodes.restart(lost).await;
    change_when_silent(nodes, learner(nodes, lost, incarnation)).await;
    let members = nodes.status(nodes.leading().await).await.unwrap().members;
    let node = lost as u64 + 1;
    let mut folders = members.iter().filter_map(|one| one.member.as_ref()).filter(|one| one.node == node);
    let old = folders.find(|one| one.incarnation != incarnation).unwrap().incarnation;
    let (old, new) = (MemberName { node, incarnation: old }, MemberName { node, incarnation });
    let replaced = change(nodes, Change::Replace(Replacement { old: Some(old), new: Some(new) })).await;
    eventually("the new folder leads", || async {
        let leader = nodes.leading().await;
        let request = TransferLeadershipRequest { route: Some(ROUTE), to: node };
        if leader != lost {
            nodes.cluster(leader).transfer_leadership(request).await.ok()?;
        }
        Some(())
    })
    .await;
    (lost, away, replaced.offset)
}

/// Whoever was away while the new folder came knows only the lost one: its pushes were refused, for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_away_accepts_a_leader_whose_folder_is_new() {
    let mut nodes = Nodes::start(5).await;
    let (_, away, replaced) = led_by_a_new_folder(&mut nodes).await;
    nodes.restart(away).await;
    nodes.applied(away, replaced).await;
    nodes.stop_all().await;
}

/// It fetches from the new folder, not from the one that it knows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_away_fetches_a_snapshot_from_a_leader_whose_folder_is_new() {
    let mut nodes = Nodes::start_with(5, |config| config.snapshot_log_bytes = 1 << 20).await;
    let (leader, away, replaced) = led_by_a_new_folder(&mut nodes).await;
    let_go_of_the_beginning(&nodes, leader).await;
    nodes.restart(away).await;
    nodes.applied(away, replaced).await;
    nodes.stop_all().await;
}

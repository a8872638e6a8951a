//! Strangers without a key at every port of the store, callers that send a member's frames again, elsewhere or changed,
//! and a removed member with its folder and its key: none of their messages has an effect.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use feira_tests::cluster::{Cluster, Options, PATIENCE};
use feira_tests::peer::{Session, begin, hello, mutated, sealed_under};
use feira_tests::wait;
use prost::Message;
use proto::store::cluster_client::ClusterClient;
use proto::store::push_message::Message as Push;
use proto::store::replication_client::ReplicationClient;
use proto::store::*;
use store_client::operator::PROOF_HEADER;
use store_client::{Store, StoreExt};
use store_keys::operator::{Call, prove};
use store_keys::{ClusterKey, End, KEY_BYTES, Key, KeyFile, Purpose, Secret};
use tonic::metadata::BinaryMetadataValue;
use tonic::{Code, Request, Status};

const ROUTE: Option<Route> = Some(Route { group: 1, ring_version: 1, cluster_id: 0, log_id: 0 });

fn only_store() -> Options {
    Options { admin_portals: 0, client_portals: 0, ..Options::default() }
}

/// What a stranger must not move: what a node says of its promises, and the files that hold them.
#[derive(Clone, PartialEq, Debug)]
struct Moved {
    epoch: u64,
    role: i32,
    leader: Option<LeaderHint>,
    last: Option<Position>,
    committed: u64,
    members: Vec<MemberStatus>,
    files: Vec<(String, Vec<u8>)>,
}

async fn state_of(cluster: &Cluster, node: &str) -> Moved {
    let status = cluster.status(node).await.unwrap();
    let StatusResponse { epoch, role, leader, last, committed, members, .. } = status;
    let folder = cluster.data_of(node).join("groups/1");
    let read = |name: &str| (name.to_owned(), std::fs::read(folder.join(name)).unwrap_or_default());
    let mut files: Vec<_> = ["vote", "meta", "fence"].map(read).into();
    let mut names: Vec<_> = names_in(&folder);
    names.sort();
    files.push((names.join(" "), Vec::new()));
    Moved { epoch, role, leader, last, committed, members, files }
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// How a caller that claims to be a member would introduce itself to a node.
async fn as_member(cluster: &Cluster, node: &str, claims: u64) -> Peer {
    let status = cluster.status(node).await.unwrap();
    let claimed = status.members.iter().filter_map(|one| one.member.as_ref()).find(|one| one.node == claims);
    Peer {
        cluster: status.cluster,
        group: 1,
        ring_version: 1,
        node: claims,
        incarnation: claimed.map_or(77, |one| one.incarnation),
        to_node: status.node,
        to_incarnation: status.incarnation,
        address: "127.0.0.1:1".to_owned(),
    }
}

/// The worst of each message of `Replication`.
fn votes() -> Vec<VoteRequest> {
    let ask = |epoch, pre| VoteRequest {
        epoch,
        last: Some(Position { epoch, offset: 1 << 40 }),
        pre,
        transferred: true,
    };
    vec![ask(1 << 20, true), ask(1 << 20, false), ask(1 << 62, false)]
}

fn pushes() -> Vec<PushMessage> {
    let epoch = 1 << 20;
    let at = Some(Position { epoch, offset: 1 << 20 });
    let checkpoint = Checkpoint { position: at, state_hash: 1, version: 1 };
    [
        Push::Append(AppendEntries { epoch, previous: None, entries: Vec::new(), committed: 1 << 20 }),
        Push::CommitOrder(CommitOrder { epoch, up_to: at }),
        Push::Heartbeat(Heartbeat { epoch: 1 << 62, round: 1, committed: 1 << 20, compare: 0 }),
        Push::Heartbeat(Heartbeat { epoch, round: 1, committed: 0, compare: 0 }),
        Push::InstallSnapshot(InstallSnapshot { epoch, at }),
        Push::TransferLeadership(TransferLeadership { epoch }),
        Push::Quarantine(Quarantine { epoch, at: Some(checkpoint) }),
    ]
    .map(|message| PushMessage { message: Some(message) })
    .into()
}

#[track_caller]
fn is_refused<T>(answer: Result<T, Status>, what: &str) {
    let refused = answer.err().unwrap_or_else(|| panic!("{what} was believed"));
    assert!(matches!(refused.code(), Code::Unauthenticated | Code::InvalidArgument), "{what}: {refused:?}");
}

/// Sends frames on a push stream; how the stream ended, and whether anything was answered.
async fn push(cluster: &Cluster, node: &str, frames: Vec<Frame>) -> Result<(), Status> {
    let opened = ReplicationClient::new(cluster.channel(node)).push(futures::stream::iter(frames)).await;
    let mut answers = opened?.into_inner();
    while answers.message().await?.is_some() {}
    Ok(())
}

/// Every message with forged proofs: of whoever knows cluster, members and the public name of the key, but no key.
async fn forge(cluster: &Cluster, node: &str, claims: u64) {
    let (key, peer) = (cluster.key(), as_member(cluster, node, claims).await);
    let other = ClusterKey::new(key.id(), Secret::new([1; KEY_BYTES]));
    is_refused(
        ReplicationClient::new(cluster.channel(node))
            .introduce(hello(&other, CallKind::Vote, peer.clone()))
            .await,
        "a hello with another key",
    );
    for kind in [CallKind::Vote, CallKind::Push, CallKind::Fetch] {
        let said = hello(&key, kind, peer.clone());
        let mut client = ReplicationClient::new(cluster.channel(node));
        let cookie = client.introduce(said.clone()).await.unwrap().into_inner().cookie;
        let frame = |message: &dyn Fn() -> Vec<u8>| Frame {
            body: message().into(),
            mac: Bytes::from_static(&[7; 16]),
            number: 1,
            hello: Some(said.clone()),
            cookie: cookie.clone(),
        };
        for vote in votes() {
            is_refused(client.vote(frame(&|| vote.encode_to_vec())).await, "a forged vote request");
        }
        for message in pushes() {
            let frames = vec![frame(&|| message.encode_to_vec()), frame(&|| message.encode_to_vec())];
            is_refused(push(cluster, node, frames).await, "a forged push");
        }
        let fetch = FetchSnapshotRequest::default();
        is_refused(client.fetch_snapshot(frame(&|| fetch.encode_to_vec())).await, "a forged fetch");
    }
}

/// What a member said, again, changed, elsewhere, in the other direction, and as another kind of call.
async fn repeat(cluster: &Cluster, node: &str, elsewhere: &str) {
    let key = cluster.key();
    let mut client = ReplicationClient::new(cluster.channel(node));
    let session = async |kind: CallKind| -> Session {
        let peer = as_member(cluster, node, 77).await;
        begin(cluster.channel(node), &key, hello(&key, kind, peer)).await.unwrap()
    };
    let mut votes = session(CallKind::Vote).await;
    // Refused by the core, and harmless: its log is empty.
    let asked = votes.call(&VoteRequest { epoch: 1, pre: true, ..VoteRequest::default() });
    for (field, changed) in mutated(&asked) {
        is_refused(client.vote(changed).await, &format!("a vote request with another {field}"));
    }
    let answer = client.vote(asked.clone()).await.unwrap().into_inner();
    is_refused(client.vote(asked.clone()).await, "a vote request again");
    let reflected = Frame { body: answer.body.clone(), mac: answer.mac.clone(), number: 2, ..asked.clone() };
    is_refused(client.vote(reflected).await, "an answer as a call");
    is_refused(client.fetch_snapshot(asked.clone()).await, "a vote request as a fetch");
    is_refused(push(cluster, node, vec![asked.clone()]).await, "a vote request as a push");
    is_refused(
        ReplicationClient::new(cluster.channel(elsewhere)).vote(asked).await,
        "a vote request to another node",
    );
    let mut fetching = session(CallKind::Fetch).await;
    let fetch = fetching.call(&FetchSnapshotRequest::default());
    for (field, changed) in mutated(&fetch) {
        is_refused(client.fetch_snapshot(changed).await, &format!("a fetch with another {field}"));
    }
    is_refused(
        ReplicationClient::new(cluster.channel(elsewhere)).fetch_snapshot(fetch).await,
        "a fetch elsewhere",
    );
    for message in pushes() {
        let mut stream = session(CallKind::Push).await;
        let opening = stream.call(&PushMessage::default());
        let (first, second) = (stream.call(&message), stream.call(&message));
        is_refused(push(cluster, elsewhere, vec![opening.clone()]).await, "a stream to another node");
        is_refused(push(cluster, node, vec![opening.clone(), second]).await, "a frame out of its order");
        is_refused(push(cluster, node, vec![opening.clone()]).await, "a stream again");
        let mut stream = session(CallKind::Push).await;
        let opening = stream.call(&PushMessage::default());
        let changed = Frame { body: [&first.body[..], &[0]].concat().into(), ..stream.call(&message) };
        is_refused(push(cluster, node, vec![opening, changed]).await, "a changed frame on a stream");
    }
}

/// A fetch, again. The first one is believed, and may have the node take a snapshot.
async fn fetch_again(cluster: &Cluster, node: &str) {
    let key = cluster.key();
    let said = hello(&key, CallKind::Fetch, as_member(cluster, node, 77).await);
    let mut session = begin(cluster.channel(node), &key, said).await.unwrap();
    let fetch = session.call(&FetchSnapshotRequest::default());
    let mut client = ReplicationClient::new(cluster.channel(node));
    drop(client.fetch_snapshot(fetch.clone()).await);
    is_refused(client.fetch_snapshot(fetch).await, "a fetch again");
}

/// An operator's call with this proof.
async fn call(cluster: &Cluster, node: &str, method: &str, proof: &[u8]) -> Result<(), Status> {
    fn with<T>(message: T, proof: &[u8]) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert_bin(PROOF_HEADER, BinaryMetadataValue::from_bytes(proof));
        request
    }
    let (mut client, route) = (ClusterClient::new(cluster.channel(node)), ROUTE);
    match method {
        "TransferLeadership" => client
            .transfer_leadership(with(TransferLeadershipRequest { route, to: 0 }, proof))
            .await
            .map(drop),
        "HoldCommit" => {
            client.hold_commit(with(HoldCommitRequest { route, hold: true }, proof)).await.map(drop)
        }
        "StartAudit" => {
            client.start_audit(with(StartAuditRequest { route, prefixes: Vec::new() }, proof)).await.map(drop)
        }
        "Audit" => client.audit(with(AuditRequest { route, id: vec![1; 16].into() }, proof)).await.map(drop),
        "Resync" => client.resync(with(ResyncRequest { route }, proof)).await.map(drop),
        "Backup" => client.backup(with(BackupRequest { route, ..Default::default() }, proof)).await.map(drop),
        "Freeze" => client.freeze(with(FreezeRequest { route, ..Default::default() }, proof)).await.map(drop),
        "Cut" => client.cut(with(CutRequest { route, ..Default::default() }, proof)).await.map(drop),
        "Thaw" => client.thaw(with(ThawRequest { route, ..Default::default() }, proof)).await.map(drop),
        "Trace" => client.trace(with(TraceRequest { route, from_start: false }, proof)).await.map(drop),
        "ShowLog" => client.show_log(with(show_log(), proof)).await.map(drop),
        _ => {
            let remove = change_members_request::Change::Remove(MemberName { node: 1, incarnation: 0 });
            let request = ChangeMembersRequest { route, change: Some(remove) };
            client.change_members(with(request, proof)).await.map(drop)
        }
    }
}

fn show_log() -> ShowLogRequest {
    ShowLogRequest { route: ROUTE, from_offset: 1, limit: 1 }
}

async fn prove_for(cluster: &Cluster, node: &str, key: &ClusterKey, purpose: Purpose) -> Vec<u8> {
    let status = cluster.status(node).await.unwrap();
    let request = show_log().encode_to_vec();
    let call = Call {
        cluster: key.id(),
        group: 1,
        node: End { node: status.node, incarnation: status.incarnation },
        method: "ShowLog",
        request: &request,
    };
    prove(&key.keys(purpose), &call, status.challenge[..].try_into().unwrap(), &[5; 16]).to_vec()
}

const METHODS: [&str; 12] = [
    "Freeze",
    "Cut",
    "Thaw",
    "Trace",
    "TransferLeadership",
    "HoldCommit",
    "StartAudit",
    "Audit",
    "Resync",
    "Backup",
    "ShowLog",
    "ChangeMembers",
];

/// Every call of `Cluster` but Status: without proof, with others' proofs, again, elsewhere and changed.
async fn call_without_right(cluster: &Cluster, node: &str, elsewhere: &str) {
    let key = cluster.key();
    let other = ClusterKey::new(key.id(), Secret::new([1; KEY_BYTES]));
    let good = prove_for(cluster, node, &key, Purpose::Operator).await;
    let wrong = [
        Vec::new(),
        prove_for(cluster, node, &other, Purpose::Operator).await,
        prove_for(cluster, node, &key, Purpose::Peer).await,
        prove_for(cluster, node, &key, Purpose::Bus).await,
        prove_for(cluster, elsewhere, &key, Purpose::Operator).await,
    ];
    for method in METHODS {
        for proof in &wrong {
            is_refused(call(cluster, node, method, proof).await, method);
        }
        if method != "ShowLog" {
            is_refused(call(cluster, node, method, &good).await, "the proof of another method");
        }
    }
    for at in 0..good.len() {
        let mut changed = good.clone();
        changed[at] ^= 1;
        is_refused(call(cluster, node, "ShowLog", &changed).await, "a changed proof");
    }
    call(cluster, node, "ShowLog", &good).await.unwrap();
    is_refused(call(cluster, node, "ShowLog", &good).await, "a call again");
}

/// Waits until each of these nodes has its role, and one outside the group knows no leader.
async fn roles_are(cluster: &Cluster, nodes: [&str; 4], roles: [Role; 4]) {
    wait::until("roles of all kinds", PATIENCE, || async {
        let mut seen = Vec::new();
        for node in nodes {
            let status = cluster.status(node).await.map_err(|error| error.to_string())?;
            // One outside the group hears its leader no more, and forgets it in a moment.
            let settled = status.role() != Role::NonMember || status.leader.is_none();
            seen.push(if settled { status.role() } else { Role::Unspecified });
        }
        if seen == roles { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_no_member_moves_nothing_at_a_leader_follower_learner_outside_node_or_candidate() {
    let mut cluster = Cluster::start(feira_tests::feira!(), only_store()).await;
    for id in ["4", "5"] {
        let added = cluster.tool(&["member", "add", id]);
        assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
        cluster.joined(id.parse().unwrap());
        cluster.run(&format!("node-{id}"));
    }
    cluster.wait_until_equal().await;
    let removed = cluster.tool(&["member", "remove", "5"]);
    assert!(removed.status.success(), "{}", String::from_utf8_lossy(&removed.stderr));
    let leader = cluster.leader().await;
    let follower = ["node-1", "node-2", "node-3"].into_iter().find(|node| *node != leader).unwrap();
    let nodes = [&leader[..], follower, "node-4", "node-5"];
    roles_are(&cluster, nodes, [Role::Leader, Role::Follower, Role::Learner, Role::NonMember]).await;
    let mut before = Vec::new();
    for node in nodes {
        before.push(state_of(&cluster, node).await);
    }
    for (at, node) in nodes.into_iter().enumerate() {
        let elsewhere = nodes[(at + 1) % nodes.len()];
        forge(&cluster, node, 77).await;
        forge(&cluster, node, if node == "node-1" { 2 } else { 1 }).await;
        repeat(&cluster, node, elsewhere).await;
        call_without_right(&cluster, node, elsewhere).await;
        let problem = cluster.status(node).await.unwrap().problem;
        assert!(problem.contains("a caller at 127.0.0.1:"), "who was refused is named: {problem}");
    }
    for (node, before) in nodes.into_iter().zip(before) {
        assert_eq!(state_of(&cluster, node).await, before, "{node}");
        let status = cluster.status(node).await.unwrap();
        assert!(status.strangers > 100, "{node} counted {}", status.strangers);
        let told = cluster.log_of(node).lines().filter(|line| line.contains("does not belong here")).count();
        assert!((1..30).contains(&told), "{node} told {told} times");
    }
    fetch_again(&cluster, &leader).await;
    cluster.all_run();
    // A candidate is what is left when the others have gone.
    for node in ["node-1", "node-2", "node-3"].into_iter().filter(|node| *node != follower) {
        cluster.kill(node);
    }
    wait::until("a candidate", PATIENCE, || async {
        let role = cluster.status(follower).await.map_err(|error| error.to_string())?.role();
        if role == Role::Candidate { Ok(()) } else { Err(format!("{role:?}")) }
    })
    .await;
    let before = state_of(&cluster, follower).await;
    forge(&cluster, follower, 77).await;
    repeat(&cluster, follower, "node-4").await;
    let after = state_of(&cluster, follower).await;
    assert_eq!((after.epoch, after.last, after.files), (before.epoch, before.last, before.files));
    cluster.all_run();
}

/// What a portal's machine has of the cluster's secrets.
fn bus_key(cluster: &Cluster) -> Key {
    let file = cluster.path().join("portals.key");
    let exported = cluster.tool(&["key", "export", "--portals", "--out", file.to_str().unwrap()]);
    assert!(exported.status.success(), "{}", String::from_utf8_lossy(&exported.stderr));
    match KeyFile::parse(&std::fs::read_to_string(file).unwrap()) {
        Ok(KeyFile::Portals(key)) => key.bus().first().clone(),
        other => panic!("the key of portals: {other:?}"),
    }
}

/// Every message of `Replication` from whoever has the bus key, and knows all that is no secret.
async fn forge_with(bus: &Key, cluster: &Cluster, node: &str, claims: u64) {
    let peer = as_member(cluster, node, claims).await;
    let believed = cluster.status(node).await.unwrap().keys[0];
    let mut client = ReplicationClient::new(cluster.channel(node));
    for kind in [CallKind::Vote, CallKind::Push, CallKind::Fetch] {
        let said = hello(&cluster.key(), kind, peer.clone());
        let own = Hello { key: bus.id().0, ..said.clone() };
        is_refused(client.introduce(own).await, "a hello with the bus key");
        // A node tells everybody which key it believes.
        let said = Hello { key: believed, ..said };
        let cookie = client.introduce(said.clone()).await.unwrap().into_inner().cookie;
        let sealed = |number, body: Vec<u8>| sealed_under(bus, &said, &cookie, number, body.into());
        for vote in votes() {
            is_refused(client.vote(sealed(1, vote.encode_to_vec())).await, "a vote request of a portal");
        }
        for message in pushes() {
            let frames = vec![sealed(1, Vec::new()), sealed(2, message.encode_to_vec())];
            is_refused(push(cluster, node, frames).await, "a push of a portal");
        }
        let fetch = FetchSnapshotRequest::default().encode_to_vec();
        is_refused(client.fetch_snapshot(sealed(1, fetch)).await, "a fetch of a portal");
    }
}

/// A vote request that the core refuses, sealed by [`sealed_under`] with the key of peers: the node hears it.
async fn is_heard_with_the_peers_key(cluster: &Cluster, node: &str) {
    let said = hello(&cluster.key(), CallKind::Vote, as_member(cluster, node, 77).await);
    let mut client = ReplicationClient::new(cluster.channel(node));
    let cookie = client.introduce(said.clone()).await.unwrap().into_inner().cookie;
    let vote = VoteRequest { epoch: 1, pre: true, ..VoteRequest::default() };
    let keys = cluster.key().keys(Purpose::Peer);
    let frame = sealed_under(keys.first(), &said, &cookie, 1, vote.encode_to_vec().into());
    client.vote(frame).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_portal_that_is_taken_over_can_neither_vote_nor_push() {
    let mut cluster = Cluster::start(feira_tests::feira!(), only_store()).await;
    cluster.wait_until_equal().await;
    let bus = bus_key(&cluster);
    let leader = cluster.leader().await;
    let follower = cluster.nodes().into_iter().find(|node| *node != leader).unwrap();
    for node in [&leader, &follower] {
        let before = state_of(&cluster, node).await;
        forge_with(&bus, &cluster, node, 77).await;
        forge_with(&bus, &cluster, node, if node == "node-1" { 2 } else { 1 }).await;
        assert_eq!(state_of(&cluster, node).await, before, "{node}");
        assert!(
            cluster.status(node).await.unwrap().strangers >= 2 * 3 * (1 + 3 + 7 + 1),
            "{node} counts them"
        );
        is_heard_with_the_peers_key(&cluster, node).await;
    }
    cluster.all_run();
}

/// A line of a node's log that says all of this, once there is one.
async fn logs(cluster: &Cluster, node: &str, what: &[&str]) {
    wait::until(&format!("{node} to log {what:?}"), PATIENCE, || async {
        let log = cluster.log_of(node);
        let said = log.lines().any(|line| what.iter().all(|what| line.contains(what)));
        if said { Ok(()) } else { Err(log) }
    })
    .await;
}

/// `from` calls the node at a member's address, which holds another secret: both say so, each naming the other.
async fn refuse_each_other(cluster: &Cluster, from: &str, to: &str) {
    let id = |node: &str| node.trim_start_matches("node-").to_owned();
    let (caller, callee, at) = (id(from), id(to), cluster.address(to));
    let why = "it proves with a key that is not this cluster's";
    logs(cluster, from, &["the node at a peer's address refuses this node", &format!("n{callee}"), at, why])
        .await;
    let who = format!("as node {caller}");
    logs(cluster, to, &["the caller does not belong here", "127.0.0.1:", &who, why]).await;
    let says = async |node: &str, what: String| {
        wait::until(&format!("{node} to say {what:?}"), PATIENCE, || async {
            let status = cluster.status(node).await.map_err(|status| status.to_string())?;
            if status.problem.contains(&what) { Ok(status) } else { Err(status.problem) }
        })
        .await
    };
    says(from, format!("n{callee} at {at} refuses this node: {why}")).await;
    let refused = says(to, format!(", {who}, was refused: {why}")).await;
    assert!(refused.strangers > 0, "{to} counts them");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_another_secret_at_a_members_address_is_refused_by_name_in_both_logs() {
    let mut cluster = Cluster::start(feira_tests::feira!(), only_store()).await;
    let leader = cluster.leader().await;
    let stranger = cluster.nodes().into_iter().find(|node| *node != leader).unwrap();
    cluster.stop(&stranger);
    // Of a rotation that this node alone went through.
    let other = cluster.key().with_second(Secret::new([9; KEY_BYTES])).turned().with_first_only();
    std::fs::write(cluster.path().join("other.key"), &*other.to_text()).unwrap();
    let epoch = cluster.status(&leader).await.unwrap().epoch;
    cluster.run_with(&stranger, &[("FEIRA_KEY", "other.key")]);
    refuse_each_other(&cluster, &leader, &stranger).await;
    refuse_each_other(&cluster, &stranger, &leader).await;
    let told = String::from_utf8(cluster.tool(&["status"]).stdout).unwrap();
    assert!(told.contains("refuses this node"), "{told}");
    let status = cluster.status(&leader).await.unwrap();
    assert_eq!((status.role(), status.epoch), (Role::Leader, epoch), "nobody had to stand");
    cluster.store().set("k".into(), 1, Bytes::from_static(b"v"), None).await.unwrap();
    // With its own key it is a member again.
    cluster.kill(&stranger);
    let copy = cluster.data_of(&stranger).join("cluster.key");
    std::fs::copy(cluster.path().join("cluster.key"), copy).unwrap();
    cluster.run(&stranger);
    cluster.wait_until_equal().await;
    wait::until("nobody to refuse anybody", PATIENCE, || async {
        let problem = cluster.status(&leader).await.map_err(|status| status.to_string())?.problem;
        if problem.contains("refuses this node") { Err(problem) } else { Ok(()) }
    })
    .await;
    cluster.all_run();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_while_writes_go_on_leaves_a_removed_member_with_a_worthless_key() {
    let mut cluster = Cluster::start(feira_tests::feira!(), Options { nodes: 4, ..Options::default() }).await;
    let removed = cluster.tool(&["member", "remove", "4"]);
    assert!(removed.status.success(), "{}", String::from_utf8_lossy(&removed.stderr));
    cluster.kill("node-4");
    let former = cluster.key();
    let (store, stop) = (cluster.store(), Arc::new(AtomicBool::new(false)));
    let (writing, stopped) = (Arc::clone(&store), Arc::clone(&stop));
    let writes = tokio::spawn(async move {
        let mut written = 0u64;
        while !stopped.load(Ordering::Relaxed) {
            let identity = store_client::request_identity(fastrand::u128(..).to_le_bytes());
            writing
                .set(format!("k{written}").into(), 1, Bytes::from_static(b"v"), Some(identity))
                .await
                .unwrap();
            written += 1;
        }
        written
    });
    let epoch = cluster.status("node-1").await.unwrap().epoch;
    let rotated = cluster.tool(&["key", "rotate"]);
    let told = String::from_utf8_lossy(&rotated.stderr).into_owned();
    assert!(rotated.status.success(), "{told}");
    stop.store(true, Ordering::Relaxed);
    let written = writes.await.unwrap();
    assert!(written > 0, "writes go on");
    let key = cluster.key();
    assert_ne!(key.keys(Purpose::Peer), former.keys(Purpose::Peer));
    for node in ["node-1", "node-2", "node-3"] {
        let status = cluster.status(node).await.unwrap();
        assert_eq!(status.keys, [key.keys(Purpose::Peer).first().id().0], "{node}");
        let copy = std::fs::read_to_string(cluster.data_of(node).join("cluster.key")).unwrap();
        assert_eq!(copy, *key.to_text(), "{node}");
        assert_eq!(status.epoch, epoch, "nobody had to stand: {told}");
        let peer = as_member(&cluster, node, 4).await;
        let said = hello(&former, CallKind::Vote, peer);
        is_refused(ReplicationClient::new(cluster.channel(node)).introduce(said).await, "the former key");
        let proof = prove_for(&cluster, node, &former, Purpose::Operator).await;
        is_refused(call(&cluster, node, "ShowLog", &proof).await, "the former key of operators");
    }
    cluster.wait_until_live().await;
    cluster.all_run();
    for node in ["node-1", "node-2", "node-3"] {
        let log = cluster.log_of(node);
        for secret in [&former, &key] {
            let text = secret.to_text();
            let secret = text.lines().find_map(|line| line.strip_prefix("secret ")).unwrap();
            assert!(!log.contains(secret), "{node} logged a secret");
        }
    }
    store
        .get(Bytes::from(format!("k{}", written - 1)), Freshness::linearizable())
        .await
        .unwrap()
        .record
        .unwrap();
}

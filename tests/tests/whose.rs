//! A handle speaks to one cluster only: nodes and portals refuse requests that name another, portals and tools refuse
//! servers of another, a cluster made anew at the same addresses is another until its key file comes, and the place of a
//! founded shop never becomes an empty one by itself.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use feira_tests::cluster::{Cluster, Options, PATIENCE, with_timeout};
use feira_tests::place::Place;
use feira_tests::process::Process;
use feira_tests::shop::{insert_client, refusal};
use feira_tests::wait;
use proto::portal::admin_client::AdminClient;
use proto::portal::{GetClientRequest, PortalStatusRequest};
use proto::store::cluster_client::ClusterClient;
use proto::store::pipeline_request::Request as Call;
use proto::store::pipeline_response::Response as Answered;
use proto::store::{
    ChangesRequest, FailureReason, Freshness, GetRequest, PipelineRequest, Route, ScanRequest, SetRequest,
    StatusRequest, Txn, TxnRequest, scan_request,
};
use store_client::failure::failure_from;
use store_client::{Config, Error, Replicated, Store};
use store_keys::ClusterId;
use tonic::Status;

/// One node, without portals unless a test wants them.
fn one_node(admin_portals: usize) -> Options {
    Options { nodes: 1, admin_portals, client_portals: 0, ..Options::default() }
}

fn reason(refused: &Status) -> (FailureReason, String) {
    let failure = failure_from(refused);
    (failure.reason(), failure.message)
}

/// Every operation that this route is refused with.
async fn refusals(cluster: &Cluster, route: Route) -> Vec<(FailureReason, String)> {
    let (mut kv, key) = (cluster.kv("node-1"), Bytes::from_static(b"k"));
    let route = Some(route);
    let get = GetRequest { route, key: key.clone(), freshness: Some(Freshness::linearizable()) };
    let stale = GetRequest { freshness: Some(Freshness::stale()), ..get.clone() };
    let set = SetRequest { route, key, ..SetRequest::default() };
    let txn = TxnRequest { route, txn: Some(Txn::new().put("k", 1, "v")), identity: None };
    let range = Some(scan_request::Range::Prefix(Bytes::new()));
    let scan = ScanRequest { route, range, ..ScanRequest::default() };
    let changes = ChangesRequest { route, until_applied: true, ..ChangesRequest::default() };
    let mut all = vec![
        kv.get(with_timeout(get.clone())).await.err(),
        kv.get(with_timeout(stale)).await.err(),
        kv.set(with_timeout(set)).await.err(),
        kv.txn(with_timeout(txn)).await.err(),
        kv.scan(with_timeout(scan)).await.err(),
        kv.changes(with_timeout(changes)).await.err(),
    ];
    let mut tools = ClusterClient::new(cluster.channel("node-1"));
    all.push(tools.status(with_timeout(StatusRequest { route })).await.err());
    let mut told: Vec<_> =
        all.into_iter().map(|refused| reason(&refused.expect("another is meant"))).collect();
    let requests = futures::stream::iter([PipelineRequest { number: 1, request: Some(Call::Get(get)) }]);
    let mut answers = kv.pipeline(requests).await.unwrap().into_inner();
    match answers.message().await.unwrap().unwrap().response {
        Some(Answered::Failure(failure)) => told.push((failure.reason(), failure.message)),
        other => panic!("another is meant: {other:?}"),
    }
    told
}

#[tokio::test]
async fn a_node_refuses_what_names_another_cluster_or_log_and_serves_what_names_none() {
    let cluster = Cluster::start(feira_tests::feira!(), one_node(0)).await;
    let (id, status) = (cluster.id(), cluster.status("node-1").await.unwrap());
    assert_eq!(status.cluster_id, id.get());
    let ours = Route { cluster_id: id.get(), log_id: status.log_id, ..Route::to(1, 1) };
    let other_cluster = Route { cluster_id: id.get() ^ 1, ..ours };
    let other_log = Route { log_id: status.log_id ^ 1, ..ours };
    for route in [other_cluster, other_log, Route { cluster_id: 0, ..other_log }] {
        for (reason, message) in refusals(&cluster, route).await {
            assert_eq!(reason, FailureReason::WrongCluster, "{message}");
            assert!(message.contains(&format!("the port of node 1 of cluster test ({id})")), "{message}");
        }
    }
    for route in [ours, Route::to(1, 1), Route { log_id: 0, ..ours }, Route { cluster_id: 0, ..ours }] {
        let get = GetRequest { route: Some(route), key: Bytes::from_static(b"k"), freshness: None };
        cluster.kv("node-1").get(with_timeout(get)).await.unwrap();
    }
}

#[tokio::test]
async fn a_portal_refuses_what_names_another_cluster_and_serves_what_names_none() {
    let cluster = Cluster::start(feira_tests::feira!(), one_node(1)).await;
    let id = cluster.id();
    insert_client(&mut cluster.admin(1), "ana").await.unwrap();
    let ask = |named: Option<String>| {
        let mut request = with_timeout(GetClientRequest { cid: "ana".to_owned() });
        if let Some(named) = named {
            request.metadata_mut().insert(portal_header(), named.parse().unwrap());
        }
        let mut portal = AdminClient::new(cluster.channel("admin-1"));
        async move { portal.get_client(request).await }
    };
    ask(None).await.unwrap();
    ask(Some(id.to_string())).await.unwrap();
    let told = refusal(ask(Some("000000000000000a".to_owned())).await);
    assert_eq!(told.reason, "WRONG_CLUSTER");
    assert!(told.message.contains(&format!("the port of admin-portal-1 of cluster {id}")), "{told:?}");
    assert_eq!(refusal(ask(Some("x".to_owned())).await).reason, "INVALID_FIELD");
    let status = cluster.portal_status("admin-1").await.unwrap();
    assert_eq!(status.cluster_id, id.get());
}

#[tokio::test]
async fn a_tool_is_refused_by_a_portal_of_another_cluster_and_goes_on_to_one_of_its_own() {
    let ours = Cluster::start(feira_tests::feira!(), one_node(1)).await;
    let other = Cluster::start(feira_tests::feira!(), one_node(1)).await;
    let (here, there) = (ours.address("admin-1").to_owned(), other.address("admin-1").to_owned());
    let admin = |portals: &[&str], command: &[&str]| {
        let flags = portals.iter().flat_map(|address| ["--portal", *address]);
        let words: Vec<&str> = ["admin"].into_iter().chain(flags).chain(command.iter().copied()).collect();
        ours.tool(&words)
    };
    let refused = admin(&[&there], &["insert-client", "--cid", "ana", "name=Ana"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    let whose = format!("this is the port of admin-portal-1 of cluster {}", other.id());
    assert!(said.contains(&whose) && said.contains("give this machine its key file"), "{said}");
    // Whichever it asks first, the answer is its own cluster's.
    for cid in ["rui", "eva", "leo"] {
        let answered = admin(&[&there, &here], &["insert-client", "--cid", cid, "name=N"]);
        assert!(answered.status.success(), "{answered:?}");
        let get = |cluster: &Cluster| {
            let get = GetClientRequest { cid: cid.to_owned() };
            let mut portal = cluster.admin(1);
            async move { portal.get_client(with_timeout(get)).await }
        };
        assert!(get(&ours).await.is_ok() && get(&other).await.is_err(), "{cid}");
    }
    // A configuration that names the port of another.
    let text = std::fs::read_to_string(ours.config()).unwrap();
    std::fs::write(ours.config(), text.replace(&here, &there)).unwrap();
    let health = ours.tool(&["health"]);
    let said =
        format!("{}{}", String::from_utf8_lossy(&health.stdout), String::from_utf8_lossy(&health.stderr));
    assert!(!health.status.success() && said.contains(&whose["this is ".len()..]), "{said}");
}

/// What a tool says on either output, and how it ends.
fn told(cluster: &Cluster, arguments: &[&str]) -> (Option<i32>, String) {
    let output = cluster.tool(arguments);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

/// `status` ended well and `audit` found the books right, of another shop.
#[tokio::test]
async fn a_nodes_port_that_another_cluster_holds_is_told_by_status_and_audit_with_whose_it_is() {
    let mut ours = Cluster::start(feira_tests::feira!(), Options::default()).await;
    let other = Cluster::start(feira_tests::feira!(), one_node(0)).await;
    ours.assert_audited().await;
    ours.stop("node-1");
    ours.leader().await;
    let (here, there) = (ours.address("node-1").to_owned(), other.address("node-1").to_owned());
    let text = std::fs::read_to_string(ours.config()).unwrap();
    std::fs::write(ours.config(), text.replace(&here, &there)).unwrap();
    let whose = format!(
        "{there} is the port of node 1 of cluster test ({}), not of cluster {}",
        other.id(),
        ours.id()
    );
    // The others serve, as when a node is down; an audit wants every replica.
    for (arguments, ends) in
        [(&["status"][..], 0), (&["health"], 0), (&["health", "--strict"], 3), (&["audit"], 1)]
    {
        let (code, said) = told(&ours, arguments);
        assert!(said.contains(&whose), "{arguments:?}: {said}");
        assert_eq!(code, Some(ends), "{arguments:?}: {said}");
    }
    // Of our cluster nobody is left.
    ours.stop("node-2");
    ours.stop("node-3");
    for arguments in [&["status"][..], &["health"], &["audit"]] {
        let (code, said) = told(&ours, arguments);
        assert!(said.contains(&whose), "{arguments:?}: {said}");
        assert!(matches!(code, Some(1 | 3)), "{arguments:?}: {code:?}: {said}");
    }
}

fn portal_header() -> &'static str {
    "feira-cluster-id"
}

/// A handle of a cluster finds another one at its addresses: whatever epoch that names, it is not listened to.
#[tokio::test]
async fn a_handle_listens_to_no_other_cluster_however_late_its_epoch() {
    let mut cluster = Cluster::start(feira_tests::feira!(), one_node(0)).await;
    let id = cluster.id();
    let nodes = cluster.node_places();
    let handle = |cluster_id: Option<ClusterId>| {
        let reach = Config::of_nodes(nodes.clone());
        let deadline = Duration::from_secs(2);
        Replicated::new(Config { cluster: cluster_id, deadline, ..reach }).unwrap()
    };
    let put = |store: Replicated| async move { store.txn(Txn::new().put("k", 1, "v"), None).await };
    let (given, learning) = (handle(Some(id)), handle(None));
    put(given.clone()).await.unwrap();
    put(learning.clone()).await.unwrap();
    let stranger = put(handle(ClusterId::new(id.get() ^ 1))).await.unwrap_err();
    assert!(
        matches!(&stranger, Error::Retry { message, .. } if message.contains("the port of node 1")),
        "{stranger}"
    );
    // Made anew at the same addresses, with later epochs.
    cluster.stop("node-1");
    std::fs::remove_dir_all(cluster.path().join("data")).unwrap();
    std::fs::rename(cluster.path().join("cluster.key"), cluster.path().join("former.key")).unwrap();
    cluster.found();
    for _ in 0..3 {
        cluster.run("node-1");
        cluster.leader().await;
        cluster.stop("node-1");
    }
    cluster.run("node-1");
    cluster.leader().await;
    for store in [given, learning] {
        let refused = put(store).await.unwrap_err();
        assert!(refused.to_string().contains("the port of node 1 of cluster test"), "{refused}");
    }
    put(handle(None)).await.unwrap();
}

/// A portal of another machine: its own folder, the same addresses, the bus key alone.
fn portal_elsewhere(cluster: &Cluster, folder: &Path) -> Process {
    let text = std::fs::read_to_string(cluster.config()).unwrap();
    std::fs::write(folder.join("feira.toml"), text).unwrap();
    let mut command = std::process::Command::new(feira_tests::feira!());
    command.arg("--config").arg(folder.join("feira.toml")).args(["admin-portal", "--instance", "1"]);
    Process::start("admin-portal", command, &folder.join("portal.log"))
}

fn export(cluster: &Cluster, to: &Path) {
    // A key file of another cluster is not written over.
    let _ = std::fs::remove_file(to);
    let output = cluster.tool(&["key", "export", "--portals", "--out", to.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test]
async fn a_cluster_made_anew_at_the_same_addresses_is_refused_until_its_key_file_comes() {
    let mut cluster = Cluster::start(feira_tests::feira!(), one_node(1)).await;
    cluster.stop("admin-1");
    let elsewhere = tempfile::tempdir().unwrap();
    export(&cluster, &elsewhere.path().join("portals.key"));
    let portal = portal_elsewhere(&cluster, elsewhere.path());
    serves(&cluster).await;
    insert_client(&mut cluster.admin(1), "ana").await.unwrap();
    // A tool without any key file keeps what the nodes say.
    let tools = tempfile::tempdir().unwrap();
    std::fs::copy(cluster.config(), tools.path().join("feira.toml")).unwrap();
    let kv = |words: &[&str]| {
        let mut command = std::process::Command::new(feira_tests::feira!());
        command.arg("--config").arg(tools.path().join("feira.toml"));
        let output = command.args(["--set", "tool.patience_seconds=2", "kv"]).args(words).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(kv(&["set", "1", "one"]).0, Some(0));
    let kept = tools.path().join("cluster.id");
    assert_eq!(std::fs::read_to_string(&kept).unwrap().trim(), cluster.id().to_string());

    let file = cluster.path().join("backup");
    assert!(cluster.tool(&["backup", "--out", file.to_str().unwrap()]).status.success());
    cluster.stop("node-1");
    std::fs::rename(cluster.path().join("data"), cluster.path().join("former")).unwrap();
    let restored = cluster.tool(&["restore", file.to_str().unwrap()]);
    assert!(restored.status.success(), "{restored:?}");
    cluster.run("node-1");
    cluster.leader().await;
    let refused = insert_client(&mut cluster.admin(1), "rui").await.unwrap_err();
    assert!(refused.message().contains("the port of node 1 of cluster test"), "{refused}");
    let (code, said) = kv(&["set", "2", "two"]);
    assert!(code != Some(0) && said.contains("the port of node 1 of cluster test"), "{code:?}: {said}");

    // Given the new key files.
    export(&cluster, &elsewhere.path().join("portals.key"));
    drop(portal);
    let _portal = portal_elsewhere(&cluster, elsewhere.path());
    serves(&cluster).await;
    insert_client(&mut cluster.admin(1), "rui").await.unwrap();
    export(&cluster, &tools.path().join("portals.key"));
    assert_eq!(kv(&["set", "2", "two"]).0, Some(0));
}

async fn serves(cluster: &Cluster) {
    wait::until("the portal to serve", PATIENCE, || async {
        let mut portal = proto::portal::portal_client::PortalClient::new(cluster.channel("admin-1"));
        portal.status(with_timeout(PortalStatusRequest {})).await.map_err(|status| status.to_string())
    })
    .await;
}

#[test]
fn a_place_where_a_shop_was_founded_never_becomes_an_empty_one_by_itself() {
    let place = Place::new(feira_tests::feira!());
    let up = place.up(&["--nodes", "1", "--any-ports"]);
    drop(up);
    let (toml, data) = (place.path().join("feira.toml"), place.path().join("feira-data"));
    let text = std::fs::read_to_string(&toml).unwrap();
    // Its disk is not mounted.
    std::fs::rename(&data, place.path().join("unmounted")).unwrap();
    place.fails(&["up"], 1, "is its disk mounted?");
    place.fails(&["up", "--detach"], 1, "restore FILE");
    assert!(!data.exists(), "a refused start makes nothing, which would stand in a restore's way");
    assert_eq!(std::fs::read_to_string(&toml).unwrap(), text, "no other ports");
    // Nor is the file there.
    std::fs::rename(&toml, place.path().join("feira.toml.lost")).unwrap();
    place.fails(&["up"], 1, "its configuration");
    assert!(!toml.exists(), "no default ports");
    std::fs::rename(place.path().join("feira.toml.lost"), &toml).unwrap();
    // Unless told by name; then it is another shop, and the former key is kept.
    drop(place.up(&["--new-shop"]));
    let kept = std::fs::read_dir(place.path())
        .unwrap()
        .filter_map(|file| file.unwrap().file_name().into_string().ok());
    let keys: Vec<String> = kept.filter(|name| name.ends_with(".key")).collect();
    assert_eq!(keys.len(), 2, "{keys:?}");
    place.fails(&["up", "--new-shop"], 1, "a shop was founded here");
}

#[test]
fn ports_that_another_cluster_holds_are_told_with_whose_they_are() {
    let (one, other) = (Place::new(feira_tests::feira!()), Place::new(feira_tests::feira!()));
    let _up = one.up(&["--nodes", "1", "--any-ports"]);
    std::fs::copy(one.path().join("feira.toml"), other.path().join("feira.toml")).unwrap();
    other.fails(&["up"], 1, "is the port of node 1 of cluster feira (");
}

/// Somebody holds a port of the defaults; in other tests at the same time, too.
fn a_default_port() -> Option<std::net::TcpListener> {
    std::net::TcpListener::bind("127.0.0.1:7401").ok()
}

#[test]
fn a_first_start_on_ports_that_others_hold_founds_nothing() {
    let (place, _held) = (Place::new(feira_tests::feira!()), a_default_port());
    place.fails(&["up"], 1, "cannot listen for node-1 at 127.0.0.1:7401");
    let there: Vec<_> =
        std::fs::read_dir(place.path()).unwrap().map(|one| one.unwrap().file_name()).collect();
    assert!(there.is_empty(), "{there:?}");
    drop(place.up(&["--nodes", "1", "--any-ports"]));
}

#[test]
fn a_backup_that_is_restored_where_no_configuration_is_can_be_started() {
    let (shop, new) = (Place::new(feira_tests::feira!()), Place::new(feira_tests::feira!()));
    let _up = shop.up(&["--nodes", "1", "--any-ports"]);
    let file = shop.path().join("shop.backup");
    shop.done(&["backup", "--out", file.to_str().unwrap()]);
    new.done(&["restore", file.to_str().unwrap()]);
    assert!(new.path().join("feira.toml").exists(), "a start finds what was restored");
    // The default ports are all that keeps it from running here.
    let _held = a_default_port();
    new.fails(&["up"], 1, "cannot listen for node-1 at 127.0.0.1:7401");
}

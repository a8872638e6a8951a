//! Idle connections of strangers: they keep no user out, stop no election and fill no log.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::Bytes;
use feira_tests::caller::{Caller, begun};
use feira_tests::cluster::{Cluster, Options, PATIENCE};
use feira_tests::shop::{insert_client, order, patient};
use feira_tests::wait;
use proto::portal::GetClientRequest;
use proto::store::{Freshness, GetRequest, Route};

/// To each process.
const STRANGERS: usize = 1_000;
/// What a log may grow by in a minute; the tests take less.
const LOG_BYTES_MAX: u64 = 10_000;
/// The client's side of HTTP/2 before it asks for anything: preface and empty settings.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

const PARTS: [&str; 6] = ["node-1", "node-2", "node-3", "admin-1", "client-1", "broker"];

/// Connects and says nothing, or hello and nothing more.
fn stranger(address: &str, says_hello: bool) -> Option<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&address.parse().unwrap(), PATIENCE).ok()?;
    if says_hello {
        // It may have been closed already: that is its right.
        let _ = stream.write_all(HELLO);
    }
    Some(stream)
}

fn is_open(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let mut heard = [0; 4_096];
    let mut stream = stream;
    loop {
        match stream.read(&mut heard) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
        }
    }
}

async fn strangers_at_all(cluster: &Cluster) -> Vec<TcpStream> {
    let connecting: Vec<_> = PARTS
        .map(|part| cluster.address(part).to_owned())
        .into_iter()
        .map(|address| {
            tokio::task::spawn_blocking(move || {
                (0..STRANGERS).filter_map(|at| stranger(&address, at % 2 == 0)).collect::<Vec<_>>()
            })
        })
        .collect();
    let mut all = Vec::new();
    for one in connecting {
        all.extend(one.await.unwrap());
    }
    all
}

fn log_bytes(cluster: &Cluster, part: &str) -> u64 {
    std::fs::metadata(cluster.path().join(format!("{part}.log"))).map_or(0, |file| file.len())
}

/// A new user, over a connection of its own: served by both portals. How long it took.
async fn a_new_user(cluster: &Cluster) -> Duration {
    let begun = Instant::now();
    wait::until("a new user to be served", PATIENCE, || async {
        let request = patient(GetClientRequest { cid: "ana".into() });
        cluster.admin(1).get_client(request).await.map_err(|status| status.to_string())?;
        order(&mut cluster.shop(1), "ana", &[]).await.map_err(|status| status.to_string())
    })
    .await;
    begun.elapsed()
}

async fn strangers_keep_nobody_out(descriptors: u32) {
    let options = Options { embedded_broker: true, descriptors: Some(descriptors), ..Options::default() };
    let mut cluster = Cluster::start(feira_tests::feira!(), options).await;
    insert_client(&mut cluster.admin(1), "ana").await.unwrap();
    let logs: Vec<u64> = PARTS.iter().map(|part| log_bytes(&cluster, part)).collect();
    let begun = Instant::now();
    let strangers = strangers_at_all(&cluster).await;
    let connected = begun.elapsed();

    let served = a_new_user(&cluster).await;
    let leader = cluster.leader().await;
    cluster.kill(&leader);
    let begun = Instant::now();
    cluster.leader().await;
    let elected = begun.elapsed();
    let served_after = a_new_user(&cluster).await;
    cluster.run(&leader);
    cluster.wait_until_equal().await;
    cluster.wait_until_live().await;

    let open = strangers.iter().filter(|stranger| is_open(stranger)).count();
    eprintln!(
        "ulimit -n {descriptors}: {} strangers in {connected:?}, {open} still open; a user was served in {served:?}, \
         another leader was there in {elected:?}, then a user in {served_after:?}",
        strangers.len()
    );
    for (part, before) in PARTS.iter().zip(logs) {
        let grown = log_bytes(&cluster, part) - before;
        assert!(
            grown <= LOG_BYTES_MAX || *part == leader,
            "{part} logged {grown} bytes: {}",
            cluster.log_of(part)
        );
    }
    cluster.all_run();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_strangers_at_each_part_keep_nobody_out() {
    strangers_keep_nobody_out(1_024).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_strangers_keep_nobody_out_of_processes_of_64_files() {
    strangers_keep_nobody_out(64).await;
}

/// More than a process has places.
const UNENDED: usize = 600;

/// Each with a request of which the head has come, and a byte of the body or none.
async fn unended_at(cluster: &Cluster, part: &str, paths: [&str; 2]) -> Vec<Caller> {
    let mut callers = Vec::new();
    for at in 0..UNENDED {
        let bytes = if at % 2 == 0 { Bytes::new() } else { begun(100, 1) };
        // It may have been closed for another already: that is right.
        let Some(mut caller) = Caller::connect(cluster.address(part), 65_535).await else { continue };
        caller.begin(paths[at / 2 % 2], &bytes).await;
        callers.push(caller);
    }
    callers
}

/// They are nobody's work: a caller who has begun to ask is a newcomer, and users keep their places.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_never_end_keep_no_user_out() {
    let options = Options { embedded_broker: true, descriptors: Some(1_024), ..Options::default() };
    let mut cluster = Cluster::start(feira_tests::feira!(), options).await;
    insert_client(&mut cluster.admin(1), "ana").await.unwrap();
    let leader = cluster.leader().await;
    let at_node = ["/feira.store.v1.Kv/Get", "/feira.store.v1.Cluster/Status"];
    let at_admin = ["/feira.portal.v1.Admin/GetClient", "/feira.portal.v1.Portal/Status"];
    let at_shop = ["/feira.portal.v1.Shop/GetOrder", "/feira.portal.v1.Portal/Status"];
    let mut callers = unended_at(&cluster, &leader, at_node).await;
    callers.extend(unended_at(&cluster, "admin-1", at_admin).await);
    callers.extend(unended_at(&cluster, "client-1", at_shop).await);
    // Before any of them is late.
    let begun = Instant::now();
    let route = Some(Route { group: 1, ring_version: 1, cluster_id: 0, log_id: 0 });
    for _ in 0..10 {
        let (key, freshness) = (Bytes::from_static(b"k"), Some(Freshness::stale()));
        cluster.kv(&leader).get(patient(GetRequest { route, key, freshness })).await.unwrap();
        cluster.admin(1).get_client(patient(GetClientRequest { cid: "ana".into() })).await.unwrap();
        order(&mut cluster.shop(1), "ana", &[]).await.unwrap();
    }
    let open = callers.iter().filter(|caller| caller.is_open()).count();
    eprintln!("{} callers, {open} still open; thirty new users in {:?}", callers.len(), begun.elapsed());
    assert_eq!(cluster.leader().await, leader, "members keep their places");
    cluster.all_run();
}

/// How long a process is watched that can accept nobody.
const WATCHED: Duration = Duration::from_secs(5);
/// Refusals that it may tell of meanwhile: with the first pause alone there would be 200, with none as many as it can.
const REFUSALS_MAX: u64 = 40;
const LETS_NONE_IN: &str = "the system lets no connection in";

/// How often a process was refused a connection since it had logged so many bytes, as it tells: each line counts those before
/// it that were left out.
fn refusals(cluster: &Cluster, part: &str, logged: u64) -> u64 {
    let log = cluster.log_of(part);
    let since = &log[usize::try_from(logged).unwrap()..];
    let lines = since.lines().filter(|line| line.contains(LETS_NONE_IN));
    let left_out =
        |line: &str| line.split("left_out=").nth(1)?.split_whitespace().next()?.parse::<u64>().ok();
    lines.map(|line| 1 + left_out(line).unwrap_or_else(|| panic!("{line}"))).sum()
}

/// A process at its bound on files, with callers in its queue: its log lines and its work meanwhile.
async fn waits_quietly(cluster: &Cluster, part: &str) -> Result<(), String> {
    let process = cluster.process(part);
    let (soft, _) = process.files_max();
    let logged = log_bytes(cluster, part);
    // What is open stays open, and there is no room for more.
    process.bound_files(3)?;
    let callers: Vec<_> = (0..8).filter_map(|at| stranger(cluster.address(part), at % 2 == 0)).collect();
    assert_eq!(callers.len(), 8, "the system takes them, {part} cannot");
    wait::until(&format!("{part} to be refused a connection"), PATIENCE, || async {
        let log = cluster.log_of(part);
        if log.contains(LETS_NONE_IN) { Ok(()) } else { Err(log) }
    })
    .await;
    let (begun, worked) = (Instant::now(), process.worked());
    wait::pass(WATCHED).await;
    let (elapsed, worked) = (begun.elapsed(), process.worked() - worked);
    let (refusals, grown) = (refusals(cluster, part, logged), log_bytes(cluster, part) - logged);
    eprintln!("{part}: {refusals} refusals told, {grown} bytes logged, {worked:?} of {elapsed:?} at work");
    assert!(worked < elapsed / 3, "{part} was at work for {worked:?} of {elapsed:?}");
    assert!((1..=REFUSALS_MAX).contains(&refusals) && grown <= LOG_BYTES_MAX, "{}", cluster.log_of(part));
    assert!(!cluster.log_of(part).contains("all places are taken"), "{}", cluster.log_of(part));
    process.bound_files(soft)?;
    wait::until(&format!("{part} to take its callers"), PATIENCE, || async {
        // Whoever said hello is answered, with HTTP/2's or with the end of what is no MQTT.
        let heard = callers.iter().step_by(2).filter(|caller| was_heard(caller)).count();
        if heard == 4 { Ok(()) } else { Err(format!("{heard} of 4")) }
    })
    .await;
    Ok(())
}

/// Whether there is anything to be read, or the end.
fn was_heard(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    stream.peek(&mut [0; 1]).is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_at_its_bound_on_files_pauses_ever_longer_and_serves_again() {
    let options = Options { nodes: 1, embedded_broker: true, ..Options::default() };
    let mut cluster = Cluster::start(feira_tests::feira!(), options).await;
    insert_client(&mut cluster.admin(1), "ana").await.unwrap();
    // A node opens files of its own again half a minute after its start, and before its first write after an end in order;
    // without a descriptor for that it would end.
    cluster.kill("node-1");
    cluster.run("node-1");
    cluster.leader().await;
    for part in ["node-1", "admin-1", "broker"] {
        if let Err(why) = waits_quietly(&cluster, part).await {
            eprintln!("LEFT OUT, a process at its bound on files: {why}");
            return;
        }
        a_new_user(&cluster).await;
        cluster.wait_until_live().await;
    }
    // A newcomer to the broker, and to the node.
    cluster.stop("client-1");
    cluster.run("client-1");
    cluster.wait_until_live().await;
    cluster.all_run();
}

/// A shell bounds the soft number only; the hard one stays.
#[tokio::test]
async fn a_process_raises_its_soft_bound_on_files_to_the_hard_one() {
    let options = Options { nodes: 1, admin_portals: 0, client_portals: 0, ..Options::default() };
    let mut cluster = Cluster::prepare(feira_tests::feira!(), options);
    cluster.found();
    let mut shell = std::process::Command::new("sh");
    shell.arg("-c").arg("ulimit -Sn 100 && exec \"$0\" \"$@\"").arg(feira_tests::feira!());
    shell.arg("--config").arg(cluster.config()).args(["store", "--node", "1"]);
    let log = cluster.path().join("bounded.log");
    let process = feira_tests::process::Process::start("bounded", shell, &log);
    let (soft, hard) = wait::until("the bound to be raised", PATIENCE, || async {
        let (soft, hard) = process.files_max();
        if soft == hard { Ok((soft, hard)) } else { Err(format!("{soft} of {hard}")) }
    })
    .await;
    assert!(soft == hard && soft != 100, "{soft} {hard}");
    drop(process);
    cluster.all_run();
}

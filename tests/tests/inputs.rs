//! Generated inputs at every door: calls of every service, packets at the broker, configurations, CSV files, lines of the REPLs,
//! and files on disk. Whatever comes, nothing dies and nobody is told that the fault is ours; afterwards the shop works.
//! `cargo xtask inputs --seconds 600` tries for longer.
#![allow(clippy::unwrap_used)]

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes};
use feira::exchange::args::ExportFormat;
use feira::exchange::collection::Collection;
use feira::exchange::encoding::Encoding;
use feira::exchange::entries::{Form, all};
use feira::exchange::number::Decimal;
use feira_tests::cluster::{Cluster, Options, PATIENCE};
use feira_tests::generate::{Call, Generator, Schemas};
use feira_tests::shop::{insert_client, order};
use feira_tests::wait;
use futures::StreamExt as _;
use prost::Message;
use proto::store::replication_client::ReplicationClient;
use proto::store::{self as wire, CallKind, FailureReason, HoldCommitRequest, Peer};
use store_client::StoreExt as _;
use store_client::failure::failure_from;
use store_client::operator::PROOF_HEADER;
use store_keys::{End, Purpose, operator};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::BinaryMetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// An answer must come, or its first part, within this.
const ANSWER: Duration = Duration::from_secs(20);
/// Parts of an answer that are looked at.
const PARTS: usize = 8;

/// Messages as the bytes that they are.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let bytes = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(bytes)))
    }
}

/// Makes a call with these messages; what it came to.
async fn call(channel: &Channel, path: &str, messages: Vec<Bytes>) -> Result<(), Status> {
    call_proven(channel, path, messages, None).await
}

/// The same, with an operator's proof.
async fn call_proven(
    channel: &Channel,
    path: &str,
    messages: Vec<Bytes>,
    proof: Option<BinaryMetadataValue>,
) -> Result<(), Status> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = PathAndQuery::try_from(path).unwrap();
    let mut request = tonic::Request::new(futures::stream::iter(messages));
    if let Some(proof) = proof {
        request.metadata_mut().insert_bin(PROOF_HEADER, proof);
    }
    let asked = tokio::time::timeout(ANSWER, grpc.streaming(request, path.clone(), Raw)).await;
    let mut answers = asked.unwrap_or_else(|_| panic!("{path:?}: no answer"))?.into_inner();
    for _ in 0..PARTS {
        // A stream of changes has no end.
        match tokio::time::timeout(Duration::from_millis(200), answers.next()).await {
            Ok(Some(part)) => drop(part?),
            Ok(None) | Err(_) => break,
        }
    }
    Ok(())
}

/// The message as a server reads it: in the one form that a proof covers. `None`: it is none, or of a call that asks for no proof.
fn as_read(path: &str, message: &[u8]) -> Option<Vec<u8>> {
    fn reread<M: Message + Default>(message: &[u8]) -> Option<Vec<u8>> {
        M::decode(message).ok().map(|read| read.encode_to_vec())
    }
    match path.strip_prefix("/feira.store.v1.Cluster/")? {
        "TransferLeadership" => reread::<wire::TransferLeadershipRequest>(message),
        "HoldCommit" => reread::<wire::HoldCommitRequest>(message),
        "ShowLog" => reread::<wire::ShowLogRequest>(message),
        "StartAudit" => reread::<wire::StartAuditRequest>(message),
        "Audit" => reread::<wire::AuditRequest>(message),
        "ChangeMembers" => reread::<wire::ChangeMembersRequest>(message),
        "Resync" => reread::<wire::ResyncRequest>(message),
        "Backup" => reread::<wire::BackupRequest>(message),
        "Freeze" => reread::<wire::FreezeRequest>(message),
        "Cut" => reread::<wire::CutRequest>(message),
        "Thaw" => reread::<wire::ThawRequest>(message),
        "Trace" => reread::<wire::TraceRequest>(message),
        "Status" => None,
        other => panic!("{other} is a call of an operator: it needs its proof here"),
    }
}

/// An operator's proof of this very call at the only node.
async fn proof(cluster: &Cluster, path: &str, request: &[u8]) -> BinaryMetadataValue {
    let told = cluster.status("node-1").await.unwrap();
    let (_, method) = path.rsplit_once('/').unwrap();
    let key = cluster.key();
    let node = End { node: told.node, incarnation: told.incarnation };
    let call = operator::Call { cluster: key.id(), group: 1, node, method, request };
    let challenge = told.challenge[..].try_into().unwrap();
    let nonce = fastrand::u128(..).to_be_bytes();
    BinaryMetadataValue::from_bytes(&operator::prove(&key.keys(Purpose::Operator), &call, &challenge, &nonce))
}

/// Who serves a call.
fn server_of(call: &Call) -> &'static str {
    match call.path.as_str() {
        path if path.contains(".portal.v1.Admin") => "admin-1",
        path if path.contains(".portal.v1.") => "client-1",
        _ => "node-1",
    }
}

async fn small() -> Cluster {
    let options = Options { nodes: 1, embedded_broker: true, ..Options::default() };
    Cluster::start(feira_tests::feira!(), options).await
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_message_are_a_bad_argument_with_their_place() {
    let cluster = small().await;
    let mut calls = Schemas::ours().calls;
    calls.extend(["Health/Check", "Health/Watch"].map(|name| Call {
        path: format!("/grpc.health.v1.{name}"),
        takes: String::new(),
        is_streamed: false,
    }));
    for one in calls {
        // Field 1, of a length beyond the message's end.
        let channel = cluster.channel(server_of(&one));
        let refused = call(&channel, &one.path, vec![Bytes::from_static(b"\x0a\xff\x01")]).await;
        let status = refused.expect_err(&one.path);
        assert_eq!(status.code(), Code::InvalidArgument, "{}: {status}", one.path);
        assert!(status.message().contains("no message"), "{}: {status}", one.path);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_calls_kill_nothing_and_are_never_our_fault() {
    let mut generator = Generator::of("gRPC");
    let mut cluster = small().await;
    insert_client(&mut cluster.admin(1), "ana").await.unwrap();
    let schemas = Schemas::ours();
    let channels: Vec<(&Call, Channel)> =
        schemas.calls.iter().map(|one| (one, cluster.channel(server_of(one)))).collect();
    let (mut count, mut proven) = (0, 0);
    while generator.goes_on() {
        let (one, channel) = generator.pick(&channels);
        let most = if one.is_streamed { 4 } else { 1 };
        let messages: Vec<Bytes> = (0..generator.random.usize(1..=most))
            .map(|_| schemas.message(&one.takes, &mut generator).into())
            .collect();
        // Most of what operators ask for comes from one.
        let read = as_read(&one.path, &messages[0]).filter(|_| generator.in_hundred(80));
        let (messages, proof) = match read {
            Some(read) => {
                let proof = proof(&cluster, &one.path, &read).await;
                proven += 1;
                (vec![read.into()], Some(proof))
            }
            None => (messages, None),
        };
        let is_proven = proof.is_some();
        if let Err(status) = call_proven(channel, &one.path, messages.clone(), proof).await {
            let is_refused = failure_from(&status).reason() == FailureReason::Unproven;
            assert!(!(is_proven && is_refused), "{} with {messages:?}: {status}", one.path);
            // A generated record at a portal's key is no record of a portal: that is said with its key.
            let told = status.get_error_details();
            let is_theirs = told.error_info().is_some_and(|info| info.reason == "DAMAGED_RECORD");
            let is_ours = matches!(status.code(), Code::Internal | Code::Unknown | Code::DataLoss);
            assert!(is_theirs || !is_ours, "{} with {messages:?}: {status}", one.path);
        }
        count += 1;
    }
    assert!(count > 100 && proven > 0, "{count} calls, {proven} of an operator");
    let route = Some(wire::Route::to(1, 1));
    cluster.operator("node-1").hold_commit(HoldCommitRequest { route, hold: false }).await.unwrap();
    works(&mut cluster).await;
}

/// A member whose memory is failing: its frames are proven, and their bodies are no messages.
#[tokio::test(flavor = "multi_thread")]
async fn generated_bodies_of_proven_frames_are_refused() {
    let mut generator = Generator::of("Replication");
    let mut cluster = small().await;
    let (key, status) = (cluster.key(), cluster.status("node-1").await.unwrap());
    let peer = Peer {
        cluster: status.cluster.clone(),
        node: 2,
        incarnation: 2,
        to_node: status.node,
        to_incarnation: status.incarnation,
        group: 1,
        ring_version: 1,
        address: "127.0.0.1:1".to_owned(),
    };
    let is_message = |kind: CallKind, body: &[u8]| match kind {
        CallKind::Vote => wire::VoteRequest::decode(body).is_ok(),
        CallKind::Push => wire::PushMessage::decode(body).is_ok(),
        _ => wire::FetchSnapshotRequest::decode(body).is_ok(),
    };
    while generator.goes_on() {
        let kind = *generator.pick(&[CallKind::Push, CallKind::Vote, CallKind::Fetch]);
        let body = generator.bytes();
        if is_message(kind, &body) {
            continue;
        }
        let hello = feira_tests::peer::hello(&key, kind, peer.clone());
        let mut session = feira_tests::peer::begin(cluster.channel("node-1"), &key, hello).await.unwrap();
        // What opens a stream of pushes says nothing.
        let opening = (kind == CallKind::Push).then(|| session.call_of(Bytes::new()));
        let frame = session.call_of(body.into());
        let mut replication = ReplicationClient::new(cluster.channel("node-1"));
        let refused = match kind {
            CallKind::Vote => replication.vote(frame).await.err(),
            CallKind::Push => {
                let stream = futures::stream::iter(opening.into_iter().chain([frame]));
                match replication.push(stream).await {
                    Ok(answers) => answers.into_inner().message().await.err(),
                    Err(status) => Some(status),
                }
            }
            _ => match replication.fetch_snapshot(frame).await {
                Ok(answers) => answers.into_inner().message().await.err(),
                Err(status) => Some(status),
            },
        };
        let status = refused.expect("no message");
        assert_eq!(status.code(), Code::InvalidArgument, "{kind:?}: {status}");
    }
    let after = cluster.status("node-1").await.unwrap();
    assert_eq!((after.epoch, after.role), (status.epoch, status.role), "nothing moved");
    works(&mut cluster).await;
}

/// The shop takes an order, and nothing has ended or panicked.
async fn works(cluster: &mut Cluster) {
    cluster.all_run();
    wait::until("an order", PATIENCE, || async {
        insert_client(&mut cluster.admin(1), "the-last").await.ok();
        order(&mut cluster.shop(1), "the-last", &[]).await.map_err(|status| status.to_string())
    })
    .await;
    for name in ["node-1", "admin-1", "client-1", "broker"] {
        assert!(!cluster.log_of(name).contains("panicked"), "{name}: {}", cluster.log_of(name));
    }
}

/// A connection to the broker that begins rightly, most of the time.
fn packets(generator: &mut Generator) -> Vec<u8> {
    let mut bytes = vec![0x10, 16, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 60, 0, 0, 3, b'a', b'b', b'c'];
    for _ in 0..generator.random.usize(..4) {
        let body = generator.bytes();
        let kind = generator.random.u8(1..16) << 4 | generator.random.u8(..16);
        bytes.push(kind);
        bytes.push(u8::try_from(body.len().min(127)).unwrap());
        bytes.extend(body.into_iter().take(127));
    }
    if generator.in_hundred(60) {
        generator.spoil(&mut bytes);
    }
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_packets_leave_the_broker_and_the_caches_well() {
    let mut generator = Generator::of("MQTT");
    let mut cluster = small().await;
    let address = cluster.address("broker").to_owned();
    let shouting = tokio::task::spawn_blocking(move || {
        while generator.goes_on() {
            // A broker with too many connections may refuse one.
            let Ok(mut stream) = TcpStream::connect(&address) else { continue };
            stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            // It may hang up in the middle: that is its right.
            let _ = stream.write_all(&packets(&mut generator));
            let _ = stream.read(&mut [0; 256]);
            let _ = stream.shutdown(Shutdown::Both);
        }
    });
    shouting.await.unwrap();
    works(&mut cluster).await;
    cluster.wait_until_live().await;
}

#[test]
fn generated_configurations_are_taken_or_refused() {
    let mut generator = Generator::of("configuration");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("feira.toml");
    let sound = feira::config::template::template(&feira::config::template::Fresh::default());
    while generator.goes_on() {
        std::fs::write(&file, generator.spoil_text(&sound)).unwrap();
        let set =
            if generator.in_hundred(30) { vec![generator.spoil_text("store.map_bytes=1")] } else { vec![] };
        let sources = feira::config::load::Sources { file: Some(file.clone()), set };
        if let Err(refused) = feira::config::load::load(&sources) {
            assert!(!refused.message.is_empty());
        }
    }
}

#[test]
fn generated_csv_files_have_each_line_accepted_or_refused() {
    let mut generator = Generator::of("CSV");
    let header = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n";
    let row = "536365,85123A,\"A, B\",6,12/1/2010 8:26,2.55,17850,United Kingdom\n";
    while generator.goes_on() {
        let mut text = row.repeat(generator.random.usize(..6)).into_bytes();
        generator.spoil(&mut text);
        let bytes = [header.as_bytes(), &text].concat();
        let plan = feira::import::plan::read(&mut &bytes[..]).unwrap();
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count() as u64;
        assert!(plan.lines >= lines.saturating_sub(1), "{} of {lines} lines: {text:?}", plan.lines);
    }
}

/// The files of `feira import`, spoilt from their first byte on: a file is refused as a whole, or each of its lines is in one entry.
#[test]
fn generated_files_of_records_have_each_line_accepted_or_refused() {
    let mut generator = Generator::of("record CSV files and JSON lines");
    let samples = [
        (Collection::Clients, "cid,data\nana,\"{\"\"name\"\":\"\"Ana\"\"}\"\nbia,{}\n"),
        (
            Collection::Clients,
            "{\"cid\":\"ana\",\"data\":{\"name\":\"Ana\"}}\n{\"cid\":\"bia\",\"data\":{}}\n",
        ),
        (
            Collection::Products,
            "pid;description;quantity;price;unit\nfig;Fig;9;1,50;kg\nlime;\"L; M\";1;2;\n",
        ),
        (
            Collection::Products,
            "{\"pid\":\"fig\",\"data\":{\"description\":\"Fig\",\"quantity\":9,\"price\":\"1.50\"}}\n",
        ),
        (Collection::Stock, "pid\tavailable\nfig\t-1\nlime\t1.000\n"),
        (
            Collection::Orders,
            "cid,oid,state,changed_ms,pid,description,quantity,price\na,x,sent,9,fig,F,1,2\n,x,,,b,B,1,2\n",
        ),
    ];
    while generator.goes_on() {
        let (collection, sample) = *generator.pick(&samples);
        let mut text = sample.repeat(1 + generator.random.usize(..3)).into_bytes();
        generator.spoil(&mut text);
        let format = if sample.starts_with('{') { ExportFormat::Jsonl } else { ExportFormat::Csv };
        let encoding = *generator.pick(&[None, None, Some(Encoding::Latin1), Some(Encoding::Utf16)]);
        let decimal = *generator.pick(&[Decimal::Point, Decimal::Comma]);
        let form = Form { format, encoding, separator: None, decimal };
        let Ok(entries) = all(&text[..], collection, form) else { continue };
        let mut lines: Vec<u64> = entries.iter().flat_map(|entry| entry.lines.iter().copied()).collect();
        let count = lines.len();
        lines.sort_unstable();
        lines.dedup();
        assert_eq!(lines.len(), count, "a line is in two entries: {text:?}");
        assert!(entries.iter().all(|entry| !entry.lines.is_empty()), "{text:?}");
    }
}

#[test]
fn generated_lines_of_the_repls_are_commands_or_refused() {
    let mut generator = Generator::of("REPL lines");
    let samples = [
        "insert-client ana name='Ana Lima' city=Braga",
        "create-order fig=2 'a b'=3; list-orders --limit 2",
        "update-product fig price=1,99 --new pric",
        "test-and-set text:k 3 {\"a\":1}",
        "get hex:00ff; scan text:a --limit 5",
        "modify-order 3 fig=0",
    ];
    while generator.goes_on() {
        let sample = *generator.pick(&samples);
        let line = generator.spoil_text(sample);
        let Ok(commands) = feira::verb::words::commands(&line) else { continue };
        for command in commands {
            let Ok(words) = feira::verb::words::words(command) else { continue };
            drop(feira::verb::call::parse(&feira::verb::admin::MENU, &words));
            drop(feira::verb::call::parse(&feira::verb::shop::MENU, &words));
            drop(feira::verb::call::parse(&feira::verb::kv::MENU, &words));
        }
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if from.is_dir() { copy(&from, &to) } else { std::fs::copy(&from, &to).map(drop).unwrap() }
    }
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_damage_of_files_is_healed_or_told() {
    let mut generator = Generator::of("files");
    let options = Options {
        nodes: 1,
        admin_portals: 0,
        client_portals: 0,
        embedded_broker: true,
        ..Options::default()
    };
    let mut cluster = Cluster::start(feira_tests::feira!(), options).await;
    let store = cluster.store();
    for at in 0..50 {
        store.set(Bytes::from(format!("k{at}")), 1, Bytes::from(vec![b'x'; 500]), None).await.unwrap();
    }
    cluster.stop("node-1");
    let (data, sound) = (cluster.data_of("node-1"), cluster.path().join("sound"));
    copy(&data, &sound);
    while generator.goes_on() {
        std::fs::remove_dir_all(&data).unwrap();
        copy(&sound, &data);
        let all = files(&data);
        let file = generator.pick(&all).clone();
        let mut bytes = std::fs::read(&file).unwrap();
        let place = generator.random.usize(..bytes.len().max(1)).min(bytes.len());
        let mut part = bytes.split_off(place);
        let rest = part.split_off(part.len().min(64));
        generator.spoil(&mut part);
        std::fs::write(&file, [bytes, part, rest].concat()).unwrap();
        cluster.run("node-1");
        let serves = wait::until("it serves or has ended", PATIENCE, || async {
            if cluster.status("node-1").await.is_ok() {
                return Ok(true);
            }
            if cluster.is_running("node-1") { Err("neither") } else { Ok(false) }
        })
        .await;
        assert!(
            !cluster.log_of("node-1").contains("panicked"),
            "{file:?} at {place}: {}",
            cluster.log_of("node-1")
        );
        if serves {
            cluster.kill("node-1");
        } else {
            cluster.ended("node-1").await;
        }
    }
}

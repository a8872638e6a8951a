//! Calls whose requests are on their way: until they have come whole they are nobody's work, and hold nothing.
#![allow(clippy::unwrap_used)]

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use admission::layer::Admitted;
use admission::limits::{HOLD_MS_MAX, IDLE_MS, PIECE_BYTES, REQUEST_MS_MAX, ROOM_MS_MAX};
use admission::place::{Class, Side};
use admission::{Admission, Connection, Guard, Kind, Limits, Rules};
use bytes::Bytes;
use futures::FutureExt as _;
use futures::channel::mpsc;
use http::{Request, Response};
use http_body::{Body as _, Frame};
use http_body_util::{Full, StreamBody};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tonic::body::Body;
use tonic::transport::server::Connected as _;
use tonic::{Code, Status};
use tower_layer::Layer as _;
use tower_service::Service;

const LIMITS: Limits = Limits {
    newcomers_max: 8,
    users_max: 2,
    members_kept: 0,
    members_max: 0,
    connection_bytes_max: 256 << 10,
    process_bytes_max: 512 << 10,
};
/// What a call's answer is expected to need.
const EXPECTED: usize = 128 << 10;

fn kind(path: &str) -> Kind {
    match path {
        "/free" => Kind::Free,
        "/stream" | "/one" => Kind::Stream,
        _ => Kind::Call(EXPECTED),
    }
}

/// Reads a request to its end, as every service does, and answers with as many bytes as its path has after `/call`.
#[derive(Clone)]
struct Reading {
    guard: Arc<Guard>,
    /// What all answers held when each call ran.
    held: Arc<Mutex<Vec<usize>>>,
}

impl Service<Request<Body>> for Reading {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Reading { guard, held } = self.clone();
        Box::pin(async move {
            let (head, mut body) = request.into_parts();
            if head.uri.path().starts_with("/none") {
                return Ok(Status::unimplemented("").into_http());
            }
            // One that has no room for a second message.
            if head.uri.path() == "/one" {
                for _ in 0..2 {
                    poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
                }
                std::future::pending::<()>().await;
            }
            while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
                if let Err(status) = frame {
                    return Ok(status.into_http());
                }
            }
            held.lock().push(guard.budget(Side::Answers).held());
            let bytes = head.uri.path().strip_prefix("/call").and_then(|bytes| bytes.parse().ok());
            let mut answer = Response::new(Body::new(Full::new(Bytes::from(vec![1; bytes.unwrap_or(10)]))));
            if !head.uri.path().starts_with("/page") {
                answer.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
            }
            Ok(answer)
        })
    }
}

struct Process {
    guard: Arc<Guard>,
    service: Admitted<Reading>,
    held: Arc<Mutex<Vec<usize>>>,
}

type Sending = mpsc::UnboundedSender<Result<Frame<Bytes>, Status>>;
type Answering = Pin<Box<dyn Future<Output = Result<Option<Code>, Infallible>> + Send>>;

impl Process {
    fn new() -> Process {
        let guard = Guard::new(LIMITS, 1);
        let held = Arc::default();
        let rules = Rules {
            is_plain: |_| false,
            kind,
            message_bytes_max: 1 << 20,
            full: |full| Status::resource_exhausted(format!("{full:?}")),
            late: || Status::deadline_exceeded("late"),
        };
        let reading = Reading { guard: Arc::clone(&guard), held: Arc::clone(&held) };
        Process { service: Admission::new(rules).layer(reading), guard, held }
    }

    async fn connect(&self) -> (TcpStream, Connection) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (theirs, ours) = tokio::join!(TcpStream::connect(at), self.guard.accept(&listener));
        (theirs.unwrap(), ours)
    }

    /// A call whose request ends when what sends it is dropped; its status, when there is an answer.
    fn begin(&mut self, connection: &Connection, path: &str) -> (Sending, Answering) {
        let (sending, sent) = mpsc::unbounded();
        let mut request = Request::new(Body::new(StreamBody::new(sent)));
        *request.uri_mut() = path.parse().unwrap();
        request.extensions_mut().insert(connection.connect_info());
        let answer = self.service.call(request);
        let answering = async move {
            let answer = answer.await?;
            Ok(Status::from_header_map(answer.headers()).map(|status| status.code()))
        };
        (sending, Box::pin(answering))
    }

    async fn whole(&mut self, connection: &Connection, path: &str) -> Option<Code> {
        let (sending, answering) = self.begin(connection, path);
        send(&sending, message(3));
        drop(sending);
        answering.await.unwrap()
    }

    fn answers_held(&self) -> usize {
        self.guard.budget(Side::Answers).held()
    }
}

fn send(sending: &Sending, bytes: Vec<u8>) {
    sending.unbounded_send(Ok(Frame::data(Bytes::from(bytes)))).unwrap();
}

fn message(length: u32) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend(length.to_be_bytes());
    bytes.resize(bytes.len() + length as usize, 1);
    bytes
}

/// Begins to send: nothing, or the length of a message and a byte.
fn send_some(sending: &Sending, at: usize) {
    if at % 2 == 1 {
        send(sending, message(100)[..6].to_vec());
    }
}

// A call was charged for and counted as work when its head had come: eight connections took all the room for answers, for
// ever, and nobody was cut for it.
#[tokio::test]
async fn a_request_that_has_not_come_whole_holds_no_room_for_its_answer() {
    let mut process = Process::new();
    let (mut begun, mut connections) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        let (theirs, ours) = process.connect().await;
        for at in 0..4 {
            let (sending, mut answering) = process.begin(&ours, "/call");
            send_some(&sending, at);
            assert!((&mut answering).now_or_never().is_none());
            begun.push((sending, answering));
        }
        assert_eq!((ours.place().class(), ours.place().held()), (Class::Newcomer, 0));
        connections.push((theirs, ours));
    }
    assert_eq!(process.answers_held(), 0);
    let (_theirs, other) = process.connect().await;
    assert_eq!(process.whole(&other, "/call").await, None, "it is answered");
    assert_eq!(*process.held.lock(), [EXPECTED], "and had room before it ran");
    // What was begun is answered when it has come.
    let (sending, answering) = begun.swap_remove(0);
    drop(sending);
    assert_eq!(answering.await.unwrap(), None);
    drop(begun);
    assert_eq!(process.answers_held(), 0);
}

#[tokio::test]
async fn whoever_sends_no_whole_request_takes_no_place_of_a_user() {
    let mut process = Process::new();
    let (_theirs, user) = process.connect().await;
    assert_eq!(process.whole(&user, "/free").await, None);
    assert_eq!(user.place().class(), Class::User);
    let mut begun = Vec::new();
    for at in 0..6 {
        let (theirs, ours) = process.connect().await;
        let (sending, mut answering) = process.begin(&ours, ["/free", "/call", "/stream"][at / 2]);
        send_some(&sending, at);
        assert!((&mut answering).now_or_never().is_none());
        assert_eq!(ours.place().class(), Class::Newcomer);
        begun.push((theirs, ours, sending, answering));
    }
    tokio::time::pause();
    tokio::time::advance(Duration::from_millis(IDLE_MS)).await;
    tokio::time::resume();
    let (_theirs, other) = process.connect().await;
    assert_eq!(process.whole(&other, "/call").await, None);
    assert!(!user.place().is_closed() && !other.place().is_closed(), "there was a place for both");
}

/// A user of before who has begun to ask again is as idle as one who does not, however he sends a byte now and then.
#[tokio::test]
async fn a_request_that_has_not_come_whole_is_nobodys_work() {
    let mut process = Process::new();
    let mut begun = Vec::new();
    for path in ["/free", "/call"] {
        let (theirs, ours) = process.connect().await;
        assert_eq!(process.whole(&ours, path).await, None);
        let (sending, mut answering) = process.begin(&ours, path);
        send_some(&sending, 1);
        assert!((&mut answering).now_or_never().is_none());
        begun.push((theirs, ours, sending, answering));
    }
    tokio::time::pause();
    tokio::time::advance(Duration::from_millis(IDLE_MS)).await;
    tokio::time::resume();
    for (_, _, sending, answering) in &mut begun {
        send(sending, vec![1]);
        assert!(answering.now_or_never().is_none());
    }
    // One who sends much is not.
    let (_, _, sending, answering) = &mut begun[0];
    send(sending, vec![1; PIECE_BYTES]);
    assert!(answering.now_or_never().is_none());
    let (_theirs, other) = process.connect().await;
    assert_eq!(process.whole(&other, "/call").await, None);
    let closed: Vec<bool> = begun.iter().map(|(_, ours, ..)| ours.place().is_closed()).collect();
    assert_eq!((closed, other.place().is_closed()), (vec![false, true], false));
}

#[tokio::test]
async fn a_request_comes_whole_in_time_or_is_refused() {
    let mut process = Process::new();
    let (_theirs, ours) = process.connect().await;
    tokio::time::pause();
    for (at, path) in ["/free", "/free", "/call", "/call"].into_iter().enumerate() {
        let (sending, answering) = process.begin(&ours, path);
        send_some(&sending, at);
        let begun = tokio::time::Instant::now();
        let answer = tokio::time::timeout(Duration::from_millis(2 * REQUEST_MS_MAX), answering).await;
        assert_eq!(answer.unwrap().unwrap(), Some(Code::DeadlineExceeded), "{path}");
        assert_eq!(begun.elapsed().as_millis() / 1_000, u128::from(REQUEST_MS_MAX) / 1_000);
    }
    assert_eq!((process.answers_held(), ours.place().is_closed()), (0, false), "its connection goes on");
    assert_eq!(process.whole(&ours, "/call").await, None);
    let (sending, mut answering) = process.begin(&ours, "/stream");
    assert!(tokio::time::timeout(Duration::from_secs(3_600), &mut answering).await.is_err());
    drop(sending);
    assert_eq!(answering.await.unwrap(), None, "a stream takes its time");
}

#[tokio::test]
async fn a_call_gives_everything_back_wherever_it_ends() {
    let mut process = Process::new();
    let (_theirs, ours) = process.connect().await;
    let (_theirs_too, other) = process.connect().await;
    let all = other.place().try_charge(Side::Answers, 256 << 10).unwrap();
    let rest = ours.place().try_charge(Side::Answers, 256 << 10).unwrap();
    drop(rest);
    tokio::time::pause();
    let held = process.answers_held();
    for is_broken in [false, true] {
        // Before it is whole; or while its end waits for room, and when it gets none; or when its caller is gone.
        let blocking = ours.place().try_charge(Side::Answers, 256 << 10).unwrap();
        let (sending, mut answering) = process.begin(&ours, "/call");
        assert!((&mut answering).now_or_never().is_none());
        if is_broken {
            sending.unbounded_send(Err(Status::unavailable("reset"))).unwrap();
            assert_eq!(answering.await.unwrap(), Some(Code::Unavailable));
        } else {
            drop(sending);
            assert!((&mut answering).now_or_never().is_none(), "it waits for room");
            drop(answering);
            let (sending, answering) = process.begin(&ours, "/call");
            drop(sending);
            let begun = tokio::time::Instant::now();
            assert_eq!(answering.await.unwrap(), Some(Code::ResourceExhausted));
            assert_eq!(begun.elapsed().as_millis() / 1_000, u128::from(ROOM_MS_MAX) / 1_000);
        }
        drop(blocking);
        assert_eq!(process.answers_held(), held);
    }
    assert_eq!(process.whole(&ours, "/call").await, None);
    drop(all);
    assert_eq!(process.answers_held(), 0);
    // Nothing of all that is work any more: it is idle, and makes room for others.
    tokio::time::advance(Duration::from_millis(IDLE_MS)).await;
    tokio::time::resume();
    let (_theirs_1, new_1) = process.connect().await;
    let (_theirs_2, new_2) = process.connect().await;
    let _work = (new_1.place().begin(), new_2.place().begin());
    assert!(ours.place().is_closed() && !new_1.place().is_closed() && !new_2.place().is_closed());
}

/// The message is there, the end of the request is not: the caller is waited for.
#[tokio::test]
async fn a_caller_who_sends_a_message_and_no_end_is_cut_for_others_who_need_the_room() {
    let mut process = Process::new();
    let mut begun = Vec::new();
    for _ in 0..2 {
        let (theirs, ours) = process.connect().await;
        let (sending, mut answering) = process.begin(&ours, "/call");
        let bytes = message(256 << 10);
        let (first, rest) = bytes.split_at(10);
        send(&sending, first.to_vec());
        send(&sending, rest.to_vec());
        assert!((&mut answering).now_or_never().is_none());
        begun.push((theirs, ours, sending, answering));
    }
    assert_eq!(process.guard.budget(Side::Requests).held(), 512 << 10);
    tokio::time::pause();
    tokio::time::advance(Duration::from_millis(HOLD_MS_MAX)).await;
    let (_theirs, other) = process.connect().await;
    let room = async {
        let charge = other.place().charge(Side::Requests, 100 << 10).await;
        assert!(charge.is_ok());
    };
    let cut = async {
        let closed = begun[0].1.place().closed();
        tokio::time::timeout(Duration::from_secs(60), closed).await.unwrap();
        // As the server does when the connection ends.
        drop(begun.remove(0));
    };
    tokio::join!(room, cut);
}

#[tokio::test]
async fn a_caller_of_a_stream_is_not_cut_for_a_message_that_the_service_keeps_waiting_for_a_while() {
    let mut process = Process::new();
    let (_theirs, ours) = process.connect().await;
    let (sending, mut answering) = process.begin(&ours, "/one");
    let bytes = message(256 << 10);
    send(&sending, bytes[..10].to_vec());
    send(&sending, bytes[10..].to_vec());
    assert!((&mut answering).now_or_never().is_none());
    assert_eq!(process.guard.budget(Side::Requests).held(), 256 << 10, "until the next is asked for");
    tokio::time::pause();
    tokio::time::advance(Duration::from_millis(HOLD_MS_MAX)).await;
    let (_theirs, other) = process.connect().await;
    let _half = other.place().try_charge(Side::Requests, 128 << 10).unwrap();
    let (_theirs, third) = process.connect().await;
    assert!(third.place().charge(Side::Requests, 256 << 10).await.is_err(), "there is no room");
    assert!(!ours.place().is_closed());
    // A service that does not go past a message for so long is one whose answers nobody takes.
    tokio::time::advance(Duration::from_millis(REQUEST_MS_MAX)).await;
    let (granted, ()) = tokio::join!(third.place().charge(Side::Requests, 256 << 10), async {
        tokio::time::timeout(Duration::from_secs(60), ours.place().closed()).await.expect("cut");
        drop(answering);
    });
    assert!(granted.is_ok());
    drop(granted);
    assert_eq!(process.guard.budget(Side::Requests).held(), 128 << 10);
}

// Anybody's 256 paths filled what is remembered, and sizes of real calls were never learned.
#[tokio::test]
async fn only_calls_that_were_answered_are_remembered_by_their_size() {
    let mut process = Process::new();
    let (_theirs, ours) = process.connect().await;
    for at in 0..300 {
        assert_eq!(process.whole(&ours, &format!("/none{at}")).await, Some(Code::Unimplemented));
    }
    // Nor is a page of HTTP, of which there may be one for each path that anybody invents.
    for at in 0..300 {
        assert_eq!(process.whole(&ours, &format!("/page{at}")).await, None);
    }
    process.held.lock().clear();
    for _ in 0..2 {
        assert_eq!(process.whole(&ours, "/call200000").await, None);
    }
    assert_eq!(*process.held.lock(), [EXPECTED, 200_000]);
    assert_eq!(process.answers_held(), 0);
}

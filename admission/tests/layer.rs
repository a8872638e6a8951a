//! The layer around services: what calls are charged for, from before they run until their answers are taken.
#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use admission::limits::{PIECE_BYTES, STREAMS_MAX};
use admission::place::{Class, Side};
use admission::{Admission, Connection, Guard, Kind, Limits, Rules};
use bytes::Bytes;
use futures::FutureExt as _;
use http::{HeaderMap, Request, Response};
use http_body::{Body as _, Frame};
use tokio::net::{TcpListener, TcpStream};
use tonic::body::Body;
use tonic::transport::server::Connected as _;
use tonic::{Code, Status};
use tower_layer::Layer as _;
use tower_service::Service;

const LIMITS: Limits = Limits {
    newcomers_max: 4,
    users_max: 4,
    members_kept: 4,
    members_max: 4,
    connection_bytes_max: 1 << 20,
    process_bytes_max: 4 << 20,
};

fn kind(path: &str) -> Kind {
    match path {
        "/call" => Kind::Call(64 << 10),
        path if path.starts_with("/none") => Kind::Call(64 << 10),
        "/stream" => Kind::Stream,
        "/member" => Kind::Members,
        _ => Kind::Free,
    }
}

fn rules() -> Rules {
    Rules {
        is_plain: |_| false,
        kind,
        message_bytes_max: 1 << 20,
        full: |full| Status::resource_exhausted(format!("{full:?}")),
        late: || Status::resource_exhausted("late"),
    }
}

/// Frames that are there, and then trailers.
struct Frames(VecDeque<Bytes>, bool);

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let (is_over, told) = (self.0.is_empty(), self.1);
        self.1 = is_over;
        let trailers = !told;
        let data = self.0.pop_front().map(Frame::data);
        Poll::Ready(data.or_else(|| trailers.then(|| Frame::trailers(HeaderMap::new()))).map(Ok))
    }
}

/// Answers each call with messages of these sizes, when its request has come whole.
#[derive(Clone)]
struct Answering(Vec<usize>);

impl Service<Request<Body>> for Answering {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let frames = self.0.iter().map(|size| Bytes::from(vec![1; *size])).collect();
        Box::pin(async move {
            let path = request.uri().path().to_owned();
            if path.starts_with("/none") {
                return Ok(Status::unimplemented("").into_http());
            }
            let mut body = request.into_body();
            // A stream is answered from the start on.
            while path != "/stream"
                && let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await
            {
                if let Err(status) = frame {
                    return Ok(status.into_http());
                }
            }
            Ok(Response::new(Body::new(Frames(frames, false))))
        })
    }
}

async fn connected(guard: &Arc<Guard>) -> (TcpStream, Connection) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let (theirs, ours) = tokio::join!(TcpStream::connect(at), guard.accept(&listener));
    (theirs.unwrap(), ours)
}

fn request(connection: &Connection, path: &str) -> Request<Body> {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = path.parse().unwrap();
    request.extensions_mut().insert(connection.connect_info());
    request
}

#[tokio::test]
async fn an_answer_is_sent_in_pieces_and_charged_until_it_is_taken() {
    let guard = Guard::new(LIMITS, 1);
    let (_theirs, connection) = connected(&guard).await;
    let mut service = Admission::new(rules()).layer(Answering(vec![300_000]));
    let answer = service.call(request(&connection, "/call")).await.unwrap();
    assert_eq!(connection.place().class(), Class::User);
    assert_eq!(guard.budget(Side::Answers).held(), 300_000, "what it is, and not what was expected");
    let mut body = answer.into_body();
    let mut pieces = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        pieces.extend(frame.unwrap().into_data().ok().map(|data| data.len()));
    }
    assert_eq!(pieces.iter().sum::<usize>(), 300_000);
    assert!(pieces.iter().all(|piece| *piece <= PIECE_BYTES) && pieces.last() == Some(&1), "{pieces:?}");
    drop(body);
    assert_eq!(guard.budget(Side::Answers).held(), 300_000, "HTTP/2 has it, the socket has not");
    drop(connection);
    assert_eq!(guard.budget(Side::Answers).held(), 0);
}

#[tokio::test]
async fn a_call_does_not_run_while_answers_of_its_connection_are_not_taken() {
    let guard = Guard::new(LIMITS, 1);
    let (_theirs, connection) = connected(&guard).await;
    let mut service = Admission::new(rules()).layer(Answering(vec![1 << 20]));
    let unread = service.call(request(&connection, "/call")).await.unwrap();
    assert!(service.call(request(&connection, "/call")).now_or_never().is_none(), "it waits");
    let (_theirs, other) = connected(&guard).await;
    assert!(service.call(request(&other, "/call")).now_or_never().is_some(), "others do not");
    tokio::time::pause();
    let refused = service.call(request(&connection, "/call")).await.unwrap();
    let refused = Status::from_header_map(refused.headers()).unwrap();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::ResourceExhausted, "Own"),
        "it is his to take them"
    );
    tokio::time::resume();
    drop(unread);
    assert!(service.call(request(&connection, "/call")).now_or_never().is_some(), "a reset gives it back");
}

#[tokio::test]
async fn a_stream_makes_a_message_only_when_there_is_room_for_it() {
    let guard = Guard::new(LIMITS, 1);
    let (_theirs, connection) = connected(&guard).await;
    let mut service = Admission::new(rules()).layer(Answering(vec![900_000, 900_000]));
    let mut first = service.call(request(&connection, "/stream")).await.unwrap().into_body();
    let mut second = service.call(request(&connection, "/stream")).await.unwrap().into_body();
    assert_eq!(guard.budget(Side::Answers).held(), 0, "nothing is made before it is asked for");
    let frame = poll_fn(|context| Pin::new(&mut first).poll_frame(context)).await;
    assert!(frame.is_some() && guard.budget(Side::Answers).held() == 900_000);
    let frame = poll_fn(|context| Pin::new(&mut second).poll_frame(context)).await;
    assert!(frame.is_some() && guard.budget(Side::Answers).held() == 1_800_000, "there was room for a guess");
    let mut third = service.call(request(&connection, "/stream")).await.unwrap().into_body();
    let waits = poll_fn(|context| Pin::new(&mut third).poll_frame(context)).now_or_never();
    assert!(waits.is_none() && guard.budget(Side::Answers).held() == 1_800_000, "there is none any more");
    drop((first, second));
    let frame = poll_fn(|context| Pin::new(&mut third).poll_frame(context)).now_or_never();
    assert!(frame.is_some() && guard.budget(Side::Answers).held() == 900_000, "there is again");
    drop(third);
    assert_eq!(guard.budget(Side::Answers).held(), 0);
}

#[tokio::test]
async fn streams_of_a_connection_are_counted() {
    let guard = Guard::new(LIMITS, 1);
    let (_theirs, connection) = connected(&guard).await;
    let mut service = Admission::new(rules()).layer(Answering(vec![1]));
    let mut open = Vec::new();
    for _ in 0..STREAMS_MAX {
        open.push(service.call(request(&connection, "/stream")).await.unwrap());
        assert!(open.last().is_some_and(|answer| answer.headers().is_empty()));
    }
    let refused = service.call(request(&connection, "/stream")).await.unwrap();
    let refused = Status::from_header_map(refused.headers()).unwrap();
    assert_eq!((refused.code(), refused.message()), (Code::ResourceExhausted, "Own"));
    open.pop();
    let again = service.call(request(&connection, "/stream")).await.unwrap();
    assert!(again.headers().is_empty());
}

#[tokio::test]
async fn a_members_call_is_a_newcomers_until_it_is_known_whose_it_is() {
    let guard = Guard::new(LIMITS, 1);
    let (_theirs, connection) = connected(&guard).await;
    let mut service = Admission::new(rules()).layer(Answering(vec![300_000, 300_000]));
    let mut body = service.call(request(&connection, "/member")).await.unwrap().into_body();
    assert_eq!(connection.place().class(), Class::Newcomer);
    let frame = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
    assert!(frame.is_some() && guard.budget(Side::Answers).held() == 300_000);
    connection.place().is_members();
    assert_eq!(connection.place().class(), Class::Member);
    while poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await.is_some() {}
    assert_eq!(guard.budget(Side::Answers).held(), 300_000, "nothing more is charged");
}

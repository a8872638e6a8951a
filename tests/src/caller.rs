//! A caller's connection, below gRPC: it begins requests without ending them, and takes nothing that it does not want.

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::client::{self, SendRequest};
use h2::{RecvStream, SendStream};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// How long a caller waits for leave to ask for more.
const LEAVE: Duration = Duration::from_millis(300);

/// See the module.
#[derive(Debug)]
pub struct Caller {
    requests: SendRequest<Bytes>,
    address: String,
    driver: JoinHandle<()>,
    /// Answers that were asked for, and are not read.
    pub unread: Vec<client::ResponseFuture>,
    /// Requests that were begun, and have no end: dropped they would be reset.
    pub unended: Vec<SendStream<Bytes>>,
}

impl Caller {
    /// With windows of this size for what it is sent. `None`: nobody lets it in.
    pub async fn connect(address: &str, window: u32) -> Option<Caller> {
        let stream = TcpStream::connect(address).await.ok()?;
        let mut hello = client::Builder::new();
        hello.initial_window_size(window).initial_connection_window_size(window.max(65_535));
        let (requests, connection) = hello.handshake(stream).await.ok()?;
        let driver = tokio::spawn(async move {
            // The other side may cut it: that is its right.
            let _ = connection.await;
        });
        let address = address.to_owned();
        Some(Caller { requests, address, driver, unread: Vec::new(), unended: Vec::new() })
    }

    /// The same, where it is let in.
    ///
    /// # Panics
    /// Nobody lets it in.
    pub async fn new(address: &str, window: u32) -> Caller {
        Caller::connect(address, window).await.unwrap()
    }

    /// Whether its connection goes on.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.driver.is_finished()
    }

    /// Sends the head of a request. `None`: no more may be asked now.
    async fn head(&mut self, path: &str) -> Option<SendStream<Bytes>> {
        let ready = tokio::time::timeout(LEAVE, self.requests.clone().ready()).await;
        let mut requests = ready.ok()?.ok()?;
        let request = http::Request::post(format!("http://{}{path}", self.address))
            .version(http::Version::HTTP_2)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .unwrap();
        let (answer, body) = requests.send_request(request, false).ok()?;
        self.unread.push(answer);
        Some(body)
    }

    /// Asks, and does not read the answer; `false`: no more may be asked now.
    pub async fn ask(&mut self, path: &str, messages: &[Bytes]) -> bool {
        let Some(mut body) = self.head(path).await else { return false };
        for message in messages {
            body.reserve_capacity(message.len());
            if body.send_data(message.clone(), false).is_err() {
                return false;
            }
        }
        body.send_data(Bytes::new(), true).is_ok()
    }

    /// Begins a request and never ends it: its head, and what there is of its body; `false`: no more may be asked now.
    pub async fn begin(&mut self, path: &str, bytes: &Bytes) -> bool {
        let Some(mut body) = self.head(path).await else { return false };
        let sent = bytes.is_empty() || body.send_data(bytes.clone(), false).is_ok();
        self.unended.push(body);
        sent
    }

    /// The head and the body of the answer that was asked for last.
    ///
    /// # Panics
    /// There is none.
    pub async fn last_answer(&mut self) -> (http::HeaderMap, RecvStream) {
        let answer = self.unread.pop().unwrap().await.unwrap();
        let (head, body) = answer.into_parts();
        (head.headers, body)
    }
}

/// A message as gRPC frames it.
///
/// # Panics
/// It is larger than 4 GiB.
#[must_use]
pub fn framed(message: &impl prost::Message) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.encoded_len()).unwrap());
    message.encode(&mut bytes).unwrap();
    bytes.freeze()
}

/// How a message of so many bytes begins, with this many of them.
///
/// # Panics
/// It is larger than 4 GiB.
#[must_use]
pub fn begun(message_bytes: usize, bytes: usize) -> Bytes {
    let mut begun = BytesMut::new();
    begun.put_u8(0);
    begun.put_u32(u32::try_from(message_bytes).unwrap());
    begun.put_bytes(0, bytes);
    begun.freeze()
}

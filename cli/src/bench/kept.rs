//! One connection over HTTP/1.1 that is kept from request to request: what a program does that asks a portal over HTTP.
//!
//! Leaves out: several requests at once, for which whoever asks has several connections; retries.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use portal::meant::CLUSTER_HEADER;
use store_keys::ClusterId;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tonic::body::Body;
use tonic::codegen::http::header::{HOST, HeaderName};
use tonic::codegen::http::{HeaderValue, Request, Response};
use tonic::codegen::{Service, StdError};

use crate::failure::Failure;

/// See the module.
#[derive(Clone)]
pub struct Kept(Arc<Inner>);

struct Inner {
    /// `host:port`.
    address: String,
    host: HeaderValue,
    /// Which cluster every request names.
    cluster: Option<HeaderValue>,
    /// The connection; `None`: there was none yet, or it broke.
    sender: Mutex<Option<SendRequest<Body>>>,
}

impl Kept {
    /// A connection to this address, made when it is needed.
    ///
    /// # Errors
    /// Usage: it is no address.
    pub fn new(address: &str, cluster: Option<ClusterId>) -> Result<Kept, Failure> {
        let wrong = |_| Failure::usage(format!("{address} is not host:port"));
        let host = HeaderValue::from_str(address).map_err(wrong)?;
        let cluster = cluster.map(|id| HeaderValue::from_str(&id.to_string()).expect("digits are ASCII"));
        Ok(Kept(Arc::new(Inner { address: address.to_owned(), host, cluster, sender: Mutex::new(None) })))
    }
}

impl Inner {
    async fn connected(&self) -> Result<SendRequest<Body>, StdError> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // It ends when it breaks, or when nobody has the sender any more.
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn answer(&self, mut request: Request<Body>) -> Result<Response<Incoming>, StdError> {
        let headers = request.headers_mut();
        headers.insert(HOST, self.host.clone());
        if let Some(id) = &self.cluster {
            headers.insert(HeaderName::from_static(CLUSTER_HEADER), id.clone());
        }
        let mut kept = self.sender.lock().await;
        if let Some(sender) = &mut *kept
            && sender.ready().await.is_err()
        {
            *kept = None;
        }
        let sender = match &mut *kept {
            Some(sender) => sender,
            none => none.insert(self.connected().await?),
        };
        Ok(sender.send_request(request).await?)
    }
}

impl Service<Request<Body>> for Kept {
    type Response = Response<Incoming>;
    type Error = StdError;
    type Future = BoxFuture<'static, Result<Response<Incoming>, StdError>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), StdError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let inner = Arc::clone(&self.0);
        Box::pin(async move { inner.answer(request).await })
    }
}

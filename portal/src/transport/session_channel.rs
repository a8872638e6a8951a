//! A connection to a portal, over gRPC or HTTP, on which all requests are of one session: each carries the token of the answers
//! before it.
//!
//! Leaves out: the broker, whose caller ([`super::mqtt_calling`]) keeps its session itself.

use std::task::{Context, Poll};

use axum::http::{Request, Response};
use futures::future::BoxFuture;
use tonic::codegen::Service;

use crate::session::{KeptSession, SESSION_HEADER};

/// The connection.
#[derive(Clone, Debug)]
pub struct SessionChannel<S> {
    inner: S,
    /// `None`: each request is a session of its own.
    session: Option<KeptSession>,
}

impl<S> SessionChannel<S> {
    /// Requests of this session; of none, each stands for itself.
    pub fn new(inner: S, session: Option<KeptSession>) -> SessionChannel<S> {
        SessionChannel { inner, session }
    }
}

impl<S, B, A> Service<Request<B>> for SessionChannel<S>
where
    S: Service<Request<B>, Response = Response<A>>,
    S::Future: Send + 'static,
    S::Error: Send,
    A: Send,
{
    type Response = Response<A>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<A>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let Some(session) = self.session.clone() else { return Box::pin(self.inner.call(request)) };
        let sent = session.token();
        if let Some(token) = &sent.token {
            request.headers_mut().insert(SESSION_HEADER, token.header());
        }
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            if let Some(token) = answer.headers().get(SESSION_HEADER).and_then(|token| token.to_str().ok()) {
                session.answered(&sent, token);
            }
            Ok(answer)
        })
    }
}

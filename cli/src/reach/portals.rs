//! Portals of one kind, any of which can serve: a call that gets no answer is sent again, to the next one, with the
//! same request id.
//!
//! Promises: all calls are of one session, over all of the portals ([`portal::session`]); a call ends within its patience; a refusal is never retried; a write whose answer was lost is asked
//! about by repeating its request id, and only if that brings no answer either is the outcome called unknown; what waiting
//! does not cure is tried once at each portal and told ([`super::effort`]).

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use portal::error::Error;
use portal::session::KeptSession;
use prost::Message;
use proto::portal::portal_client::PortalClient;
use proto::portal::{PortalStatusRequest, RequestId};
use serde::Serialize;
use store_keys::ClusterId;
use tokio::time::{sleep, timeout};
use tonic::transport::Endpoint;
use tonic::{Code, Response, Status};

use super::effort::{Attempt, Effort, classify};
use super::matter::Matter;
use super::named_channel::{self, NamedChannel};
use super::open_requests::OpenRequests;
use super::places::{Call, Places};
use super::stranger;
use crate::failure::{Failure, Kind};
use crate::show::out::Out;

/// One attempt; a portal that is stopped by a debugger or a SIGSTOP is given up after it.
const ATTEMPT_MAX: Duration = Duration::from_secs(6);
/// Connecting; loopback and local networks answer in far less.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// How often a portal that has not answered yet is asked why, if somebody waits who sees it.
const ASK_WHY: Duration = Duration::from_secs(1);

/// The portals of one kind.
pub struct Portals {
    places: Places,
    /// The one that answered last; at first any of them, so that all tools together use all portals.
    current: AtomicUsize,
    /// Where requests are kept until they are answered.
    open: Arc<OpenRequests>,
}

impl Portals {
    /// Portals of one cluster at these addresses; connections are made when needed. `None`: of whichever cluster they are.
    ///
    /// # Errors
    /// An address that is none.
    pub fn new(
        kind: &'static str,
        addresses: &[String],
        cluster: Option<ClusterId>,
        patience: Duration,
        notices: Option<Out>,
    ) -> Result<Portals, Failure> {
        let mut places = Vec::with_capacity(addresses.len());
        // One for all of them: what one portal answered the next one knows of.
        let session = KeptSession::default();
        for address in addresses {
            let endpoint = Endpoint::from_shared(format!("http://{address}"))
                .map_err(|e| Failure::usage(format!("{address} is not host:port: {e}")))?;
            let channel = endpoint.connect_timeout(CONNECT_MAX).tcp_nodelay(true).connect_lazy();
            places.push((address.clone(), named_channel::open_in_session(channel, cluster, session.clone())));
        }
        if places.is_empty() {
            return Err(Failure::usage(format!("no {kind} is configured")));
        }
        let current = AtomicUsize::new(fastrand::usize(..places.len()));
        let open = Arc::default();
        Ok(Portals { places: Places { kind, all: places, patience, notices }, current, open })
    }

    /// The same, which keep their requests there until they are answered.
    #[must_use]
    pub fn keeping(self, open: Arc<OpenRequests>) -> Portals {
        Portals { open, ..self }
    }

    /// The same, beginning with the first address: whoever has several of them spreads them itself.
    #[must_use]
    pub fn beginning_with_the_first(self) -> Portals {
        self.current.store(0, Ordering::Relaxed);
        self
    }

    /// The address that answered last.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.places.all[self.current.load(Ordering::Relaxed) % self.places.all.len()].0
    }

    /// Calls until there is an answer, or nothing that waiting could change.
    ///
    /// # Errors
    /// What the portal answered, or why none did.
    pub async fn call<T, F>(&self, call: Call<'_>, make: impl Fn(NamedChannel) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut effort = Effort::new(&self.places, call);
        loop {
            let at = self.current.load(Ordering::Relaxed) % self.places.all.len();
            let (address, channel) = &self.places.all[at];
            let status = match attempt(&mut effort, address, channel, make(channel.clone())).await {
                Ok(answer) => {
                    effort.settled();
                    return Ok(answer.into_inner());
                }
                Err(status) => status,
            };
            let attempt = classify(status, call.insistent);
            if let (Attempt::Lost(_), Some(request)) = (&attempt, call.request) {
                self.open.lost(&request.id);
            }
            let last = effort.heard(at, &attempt);
            if let (true, Attempt::Final(status)) = (last, attempt) {
                return Err(self.refusal(at, call, &status).await);
            }
            self.current.store((at + 1) % self.places.all.len(), Ordering::Relaxed);
            if !effort.pause().await {
                return Err(effort.gave_up());
            }
        }
    }

    /// Calls with a message, which each attempt gets anew.
    ///
    /// # Errors
    /// As [`Portals::call`].
    pub async fn send<M, T, F>(
        &self,
        call: Call<'_>,
        message: M,
        rpc: impl Fn(NamedChannel, M) -> F,
    ) -> Result<T, Failure>
    where
        M: Message + Clone + Default + Serialize,
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let Some(request) = call.request else {
            return self.call(call, |channel| rpc(channel, message.clone())).await;
        };
        let message = self.open.sending(request, message);
        let called = self.call(call, |channel| rpc(channel, message.clone())).await;
        called.map_err(|failure| match failure.kind {
            Kind::Unknown => failure.next(Matter::of_message(&message).ways_on(&request.id)),
            _ => failure,
        })
    }

    /// Whether an id was made for the call that runs, and says when; one that a person named may be old.
    fn is_made_now(&self, request: &RequestId) -> bool {
        request.created_ms > 0 && !self.open.is_given(&request.id)
    }

    /// What a refusal means to the person whose call it was.
    async fn refusal(&self, at: usize, call: Call<'_>, status: &Status) -> Failure {
        let (address, channel) = &self.places.all[at];
        let failure = match Error::from_status(status) {
            None if status.code() == Code::Unimplemented => {
                stranger::failure(self.places.kind, address, channel.clone()).await
            }
            Some(Error::RequestExpired { age_ms, .. })
                if call.request.is_some_and(|request| self.is_made_now(request)) =>
            {
                Failure::wrong_clock(age_ms, &format!("{} {address}", self.places.kind))
            }
            _ => Failure::of_status(status),
        };
        failure.by(format!("{} {address}", self.places.kind))
    }
}

/// One attempt. While a person waits for it, the portal is asked what it waits for itself.
async fn attempt<T>(
    effort: &mut Effort<'_>,
    address: &str,
    channel: &NamedChannel,
    answer: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<Response<T>, Status> {
    let left = effort.deadline.saturating_duration_since(tokio::time::Instant::now()).min(ATTEMPT_MAX);
    let answer = timeout(left.max(CONNECT_MAX), answer);
    tokio::pin!(answer);
    loop {
        tokio::select! {
            biased;
            answer = &mut answer => {
                return answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer")));
            }
            () = sleep(ASK_WHY), if effort.waiting.is_seen() => {
                effort.tell(address);
            }
        }
        // Beside the answer, which ends both.
        let why = tokio::select! {
            biased;
            answer = &mut answer => {
                return answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer")));
            }
            why = reason(channel.clone()) => why,
        };
        effort.told_meanwhile(address, &why);
    }
}

/// Why a portal cannot answer now, as it sees it; empty if it does not say.
async fn reason(channel: NamedChannel) -> String {
    let mut portal = PortalClient::new(channel);
    match timeout(ASK_WHY, portal.status(PortalStatusRequest {})).await {
        Ok(Ok(status)) => status.into_inner().store_problem,
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(id: &str) -> RequestId {
        RequestId { id: id.to_owned(), created_ms: 0 }
    }

    fn lost(status: Status) -> bool {
        matches!(classify(status, false), Attempt::Lost(_))
    }

    #[test]
    fn only_a_lost_answer_leaves_the_outcome_open() {
        let unknown = Error::OutcomeUnknown { why: "x".into(), request: "r".into(), created_ms: 1 };
        assert!(lost(unknown.into()));
        assert!(lost(Status::unavailable("connection reset")));
        assert!(!lost(Error::away("no leader").into()));
        assert!(matches!(
            classify(Error::UnknownClient { cid: "x".into() }.into(), false),
            Attempt::Final(_)
        ));
        let overloaded = |own| Error::Overloaded { why: "x".into(), own };
        assert!(matches!(classify(overloaded(true).into(), false), Attempt::Stuck(_)), "of our own making");
        assert!(matches!(classify(overloaded(false).into(), false), Attempt::Again(_)));
        assert!(matches!(classify(Error::Contended { attempts: 9 }.into(), true), Attempt::Again(_)));
        assert!(matches!(classify(Error::Contended { attempts: 9 }.into(), false), Attempt::Final(_)));
    }

    #[tokio::test]
    async fn a_portal_that_is_not_there_is_unreachable_not_unknown() {
        // Bound and dropped: nobody listens there now.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let portals =
            Portals::new("admin portal", std::slice::from_ref(&free), None, Duration::from_millis(200), None)
                .unwrap();
        let failure = portals
            .call(Call::write(&id("r")), |channel| async move {
                let mut client = proto::portal::admin_client::AdminClient::new(channel);
                client.get_client(proto::portal::GetClientRequest { cid: "x".into() }).await
            })
            .await
            .expect_err("nobody is there");
        assert_eq!(failure.kind, crate::failure::Kind::Unreachable, "{failure}");
        assert!(failure.message.contains(&free));
    }
}

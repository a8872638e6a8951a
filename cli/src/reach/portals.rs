//! Portals of one kind, any of which can serve: a call that gets no answer is sent again, to the next one, with the
//! same request id.
//!
//! Promises: a call ends within its patience; a refusal is never retried; a write whose answer was lost is asked
//! about by repeating its request id, and only if that brings no answer either is the outcome called unknown.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use portal::error::Error;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, ConnectError, Response, Status};

use crate::failure::Failure;
use crate::show::out::Out;

/// One attempt; a portal that is stopped by a debugger or a SIGSTOP is given up after it.
const ATTEMPT_MAX: Duration = Duration::from_secs(6);
/// Connecting; loopback and local networks answer in far less.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// Waits between attempts grow from the first to the second of these.
const PAUSE_MS: (u64, u64) = (20, 1_000);

/// The portals of one kind.
pub struct Portals {
    kind: &'static str,
    places: Vec<(String, Channel)>,
    /// The one that answered last.
    current: AtomicUsize,
    /// How long a call is retried.
    patience: Duration,
    /// Told when an answer is lost and when that is settled.
    notices: Option<Out>,
}

/// What is known of a call, for retrying it.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The request id of a write; `None`: it changes nothing.
    pub request: Option<&'a str>,
    /// Whether "others kept changing it" is tried again too.
    pub insistent: bool,
}

/// A read.
pub const READ: Call<'static> = Call { request: None, insistent: false };

impl Call<'_> {
    /// A write under this request id.
    #[must_use]
    pub fn write(request: &str) -> Call<'_> {
        Call { request: Some(request), insistent: false }
    }
}

/// What an attempt tells.
enum Attempt {
    /// The portal answered: that is the answer.
    Final(Status),
    /// It did not happen; another attempt may do better.
    Again(Status),
    /// It may have happened.
    Lost(Status),
}

impl Portals {
    /// Portals at these addresses; connections are made when needed.
    ///
    /// # Errors
    /// An address that is none.
    pub fn new(
        kind: &'static str,
        addresses: &[String],
        patience: Duration,
        notices: Option<Out>,
    ) -> Result<Portals, Failure> {
        let mut places = Vec::with_capacity(addresses.len());
        for address in addresses {
            let endpoint = Endpoint::from_shared(format!("http://{address}"))
                .map_err(|e| Failure::usage(format!("{address} is not host:port: {e}")))?;
            let channel = endpoint.connect_timeout(CONNECT_MAX).tcp_nodelay(true).connect_lazy();
            places.push((address.clone(), channel));
        }
        if places.is_empty() {
            return Err(Failure::usage(format!("no {kind} is configured")));
        }
        Ok(Portals { kind, places, current: AtomicUsize::new(0), patience, notices })
    }

    /// The address that answered last.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.places[self.current.load(Ordering::Relaxed) % self.places.len()].0
    }

    /// Calls until there is an answer or patience ends.
    ///
    /// # Errors
    /// What the portal answered, or that none did.
    pub async fn call<T, F>(&self, call: Call<'_>, make: impl Fn(Channel) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let deadline = Instant::now() + self.patience;
        let (mut lost, mut pause_ms) = (false, PAUSE_MS.0);
        let mut first = true;
        while first || Instant::now() < deadline {
            first = false;
            let at = self.current.load(Ordering::Relaxed) % self.places.len();
            let (address, channel) = &self.places[at];
            let left = deadline.saturating_duration_since(Instant::now()).min(ATTEMPT_MAX);
            let attempt = tokio::time::timeout(left.max(CONNECT_MAX), make(channel.clone())).await;
            let status = match attempt.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer"))) {
                Ok(answer) => {
                    self.settled(lost, call);
                    return Ok(answer.into_inner());
                }
                Err(status) => status,
            };
            match judge(status, call.insistent) {
                Attempt::Final(status) => {
                    self.settled(lost, call);
                    return Err(Failure::of_status(&status));
                }
                Attempt::Again(status) => tracing::debug!(%address, %status, "portal did not serve"),
                Attempt::Lost(status) => {
                    tracing::debug!(%address, %status, "no answer");
                    self.notice_lost(address, call, &mut lost);
                }
            }
            self.current.store((at + 1) % self.places.len(), Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(fastrand::u64(pause_ms / 2..=pause_ms))).await;
            pause_ms = (pause_ms * 2).min(PAUSE_MS.1);
        }
        Err(self.gave_up(call, lost))
    }

    /// Calls with a message, which each attempt gets anew.
    ///
    /// # Errors
    /// As [`Portals::call`].
    pub async fn send<M, T, F>(
        &self,
        call: Call<'_>,
        message: M,
        rpc: impl Fn(Channel, M) -> F,
    ) -> Result<T, Failure>
    where
        M: Clone,
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.call(call, |channel| rpc(channel, message.clone())).await
    }

    fn notice_lost(&self, address: &str, call: Call<'_>, lost: &mut bool) {
        if let (false, Some(out), Some(id)) = (*lost, &self.notices, call.request) {
            out.say(&format!("no answer from {address}: asking again with the same request id {id}"));
        }
        *lost = true;
    }

    fn settled(&self, lost: bool, call: Call<'_>) {
        if let (true, Some(out), Some(id)) = (lost, &self.notices, call.request) {
            out.say(&format!("settled: the request {id} has its answer now"));
        }
    }

    fn gave_up(&self, call: Call<'_>, lost: bool) -> Failure {
        let all: Vec<&str> = self.places.iter().map(|(address, _)| address.as_str()).collect();
        let tried = format!("{} {} within {:?}", self.kind, all.join(", "), self.patience);
        match call.request {
            Some(id) if lost => Failure::unknown(format!("outcome unknown: no answer from {tried}"))
                .next(format!("repeat the command with --request {id}: it is done once at most")),
            _ => Failure::unreachable(format!("no answer from {tried}")).next(
                "see feira status: in a local cluster that runs, feira node start PART starts what is down; \
                     feira up starts a whole one",
            ),
        }
    }
}

/// What a status tells of an attempt. The portals' own errors say it themselves; anything else is a connection's.
fn judge(status: Status, insistent: bool) -> Attempt {
    match Error::from_status(&status) {
        Some(Error::Unavailable { .. } | Error::Overloaded { .. }) => Attempt::Again(status),
        Some(Error::Contended { .. }) if insistent => Attempt::Again(status),
        Some(Error::OutcomeUnknown { .. }) => Attempt::Lost(status),
        Some(_) => Attempt::Final(status),
        None if never_sent(&status) => Attempt::Again(status),
        None => match status.code() {
            Code::Unavailable | Code::Cancelled | Code::Unknown | Code::Internal | Code::DeadlineExceeded => {
                Attempt::Lost(status)
            }
            _ => Attempt::Final(status),
        },
    }
}

/// Whether no connection was made, so that nothing can have happened.
fn never_sent(status: &Status) -> bool {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if error.is::<ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(status: Status) -> bool {
        matches!(judge(status, false), Attempt::Lost(_))
    }

    #[test]
    fn only_a_lost_answer_leaves_the_outcome_open() {
        assert!(lost(Error::OutcomeUnknown { request: "r".into(), created_ms: 1 }.into()));
        assert!(lost(Status::unavailable("connection reset")));
        assert!(!lost(Error::Unavailable { why: "no leader".into() }.into()));
        assert!(matches!(judge(Error::UnknownClient { cid: "x".into() }.into(), false), Attempt::Final(_)));
        assert!(matches!(judge(Error::Contended { attempts: 9 }.into(), true), Attempt::Again(_)));
        assert!(matches!(judge(Error::Contended { attempts: 9 }.into(), false), Attempt::Final(_)));
    }

    #[tokio::test]
    async fn a_portal_that_is_not_there_is_unreachable_not_unknown() {
        // Bound and dropped: nobody listens there now.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let portals =
            Portals::new("admin portal", std::slice::from_ref(&free), Duration::from_millis(200), None)
                .unwrap();
        let failure = portals
            .call(Call::write("r"), |channel| async move {
                let mut client = proto::portal::admin_client::AdminClient::new(channel);
                client.get_client(proto::portal::GetClientRequest { cid: "x".into() }).await
            })
            .await
            .expect_err("nobody is there");
        assert_eq!(failure.kind, crate::failure::Kind::Unreachable, "{failure}");
        assert!(failure.message.contains(&free));
    }
}

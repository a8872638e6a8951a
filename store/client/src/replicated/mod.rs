//! The handle over gRPC: any node's address is enough to begin with; it finds the leader, follows it, and sends
//! every operation of a group over one stream, in the order asked, many at a time.
//!
//! It speaks to one cluster only ([`Config::cluster`]): every request names the cluster and the group's log.
//! It promises that a write with an identity is executed at most once, whatever breaks, and that
//! [`Error::Unknown`] is said only when the deadline passed, or a stream broke under a write without identity.
//! It leaves out the choice among several groups ([`crate::Sharded`] makes it).

mod codec;
mod config;
mod driver;
mod finder;
mod whose;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use proto::check;
use proto::store::kv_client::KvClient;
use proto::store::pipeline_request::Request;
use proto::store::pipeline_response::Response;
use proto::store::{
    ChangesRequest, ChangesResponse, Freshness, GetRequest, GetResponse, Identity, LeaderHint,
    OutcomeResponse, Route, Txn, TxnResponse, freshness,
};
use tokio::task::JoinHandle;

use crate::error::{Cause, Error, Refusal};
use crate::failure::{error_from, failure_from};
use crate::link::Body;
use crate::pipeline::{Kind, Pipelined};
pub use crate::replicated::config::{Config, Node};
use crate::replicated::driver::Driver;
use crate::replicated::finder::Finder;

use crate::{Got, Group, Page, Range, Store, pipeline};

/// How long one node may take over a stale read before the next is asked.
const STALE_READ_MS_MAX: u64 = 1_000;

/// Microseconds after which what was locked is asked for again, at most; doubled each time, up to a bound.
const LOCKED_US: u64 = 1_000;
const LOCKED_US_MAX: u64 = 32_000;

/// An encoded request: the largest transaction, its identity, and what wraps them.
const REQUEST_BYTES_MAX: usize = check::TXN_BYTES_MAX + (32 << 10);

/// The handle. Clones share their streams; the last one dropped ends them.
#[derive(Clone)]
pub struct Replicated {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    finder: Arc<Finder>,
    driver: Arc<Driver>,
    driving: JoinHandle<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.driving.abort();
        // What the task had handed to the connection is not the task's any more.
        self.driver.end();
    }
}

impl Replicated {
    /// A handle; it connects when it is first used. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// The configuration cannot work ([`Config::check`]).
    pub fn new(config: Config) -> Result<Replicated, Error> {
        config.check()?;
        let finder = Arc::new(Finder::new(&config));
        let driver = Arc::new(Driver::new(Arc::clone(&finder), config.deadline));
        let driving = tokio::spawn(Arc::clone(&driver).drive());
        Ok(Replicated { inner: Arc::new(Inner { config, finder, driver, driving }) })
    }

    /// The leader that the stream goes to, if there is one now.
    #[must_use]
    pub fn leader(&self) -> Option<LeaderHint> {
        self.inner.driver.leader()
    }

    /// The addresses of all store nodes known so far.
    #[must_use]
    pub fn nodes(&self) -> Vec<String> {
        self.inner.finder.known()
    }

    /// A read of whatever some replica has, when there is no leader to ask.
    async fn get_anywhere(&self, mut request: GetRequest) -> Result<GetResponse, Error> {
        request.route = Some(self.inner.finder.identified().await.map_err(Error::away)?);
        let mut last = Error::away("no store node is known");
        for address in self.inner.finder.known() {
            let mut client = KvClient::new(self.inner.finder.channel(&address)?);
            let call = client.get(request.clone());
            match tokio::time::timeout(Duration::from_millis(STALE_READ_MS_MAX), call).await {
                Ok(Ok(answer)) => return Ok(answer.into_inner()),
                Ok(Err(status)) => last = error_from(&failure_from(&status)).of_read(),
                Err(_) => last = Error::away(format!("{address} did not answer in time")),
            }
            if !last.is_retry() {
                break;
            }
        }
        Err(last)
    }
}

impl Pipelined for Replicated {
    fn route(&self) -> Route {
        self.inner.finder.route()
    }

    async fn ask(&self, kind: Kind, request: Request) -> Result<Response, Error> {
        // No await before this: the first poll of an operation takes its place in the order.
        let body = Body::of(request, &self.inner.finder.route());
        if body.encoded_len() > REQUEST_BYTES_MAX {
            // A node would end the stream of everybody at the sight of it.
            let message =
                format!("txn: is {} bytes; at most {} are allowed", body.encoded_len(), check::TXN_BYTES_MAX);
            return Err(Error::Refused { reason: Refusal::Invalid, message });
        }
        let answer = self.inner.driver.ask(kind, body)?;
        answer.await.unwrap_or_else(|_| Err(Error::Unknown { message: "the handle was closed".to_owned() }))
    }
}

#[async_trait::async_trait]
impl Store for Replicated {
    fn group_of(&self, _key: &[u8]) -> Group {
        self.inner.config.group
    }

    fn groups(&self) -> Vec<Group> {
        vec![self.inner.config.group]
    }

    fn problem(&self) -> Option<String> {
        self.inner.driver.problem()
    }

    async fn get(&self, key: Bytes, freshness: Freshness) -> Result<Got, Error> {
        let stale = matches!(freshness.kind, Some(freshness::Kind::Stale(true)));
        let request = pipeline::get_request(self, key, freshness);
        if stale && !self.inner.driver.is_open() {
            self.get_anywhere(request).await.map(pipeline::got)
        } else {
            pipeline::get(self, request).await
        }
    }

    async fn scan(
        &self,
        range: Range,
        limit: u32,
        after: Option<Bytes>,
        freshness: Freshness,
    ) -> Result<Page, Error> {
        pipeline::scan(self, range, limit, after, freshness).await
    }

    /// What a transaction over several groups is in the way of is asked again for as long as an operation may take: such a lock
    /// is held for about a millisecond. So is a group that stands still for a consistent view of all groups.
    async fn txn(&self, txn: Txn, identity: Option<Identity>) -> Result<TxnResponse, Error> {
        if !self.inner.config.is_one_of_several {
            return pipeline::txn(self, txn, identity).await;
        }
        let until = Instant::now() + self.inner.config.deadline;
        let (mut most_us, mut is_unknown, mut is_first) = (LOCKED_US, false, true);
        loop {
            let asked_at = Instant::now();
            let asked = pipeline::txn(self, txn.clone(), identity.clone());
            // The link ends the first try in time, and knows whether it was sent. It would give each other one the whole time again.
            let answer = match std::mem::take(&mut is_first) {
                true => asked.await,
                false => tokio::time::timeout_at(until.into(), asked).await.unwrap_or_else(|_| {
                    Err(Error::Unknown { message: "no answer in time to what was asked again".to_owned() })
                }),
            };
            let again = match &answer {
                Err(Error::Retry { cause: Cause::Locked, .. }) => true,
                // The same id settles it: after a failover a lock may be in the way of that, too.
                Err(Error::Unknown { .. }) if identity.is_some() => {
                    is_unknown = true;
                    true
                }
                _ => false,
            };
            // What took so long once would end in nobody's knowing what became of it.
            if !again || Instant::now() + asked_at.elapsed() >= until {
                return match answer {
                    Err(Error::Retry { message, .. }) if is_unknown => Err(Error::Unknown { message }),
                    answer => answer,
                };
            }
            tokio::time::sleep(Duration::from_micros(fastrand::u64(most_us / 2..=most_us))).await;
            most_us = (2 * most_us).min(LOCKED_US_MAX);
        }
    }

    /// A group that stands still for a consistent view of all groups is asked again, for as long as an operation may take.
    async fn outcome(&self, tag: Bytes, identity: Identity) -> Result<OutcomeResponse, Error> {
        let until = Instant::now() + self.inner.config.deadline;
        loop {
            let answer = pipeline::outcome(self, tag.clone(), identity.clone()).await;
            let again = matches!(&answer, Err(Error::Retry { cause: Cause::Locked, .. }));
            if !again || Instant::now() >= until {
                return answer;
            }
            tokio::time::sleep(Duration::from_micros(fastrand::u64(LOCKED_US..=LOCKED_US_MAX))).await;
        }
    }

    async fn changes(
        &self,
        group: Group,
        from: u64,
    ) -> Result<BoxStream<'static, Result<ChangesResponse, Error>>, Error> {
        let leader = match self.leader() {
            Some(leader) => leader,
            None => self.inner.finder.find().await.map_err(Error::away)?,
        };
        let mut client = KvClient::new(self.inner.finder.channel(&leader.address)?);
        let route = Some(Route { group, ..self.inner.finder.route() });
        let request = ChangesRequest { route, from_offset: from, until_applied: false };
        let answers = tokio::time::timeout(self.inner.config.deadline, client.changes(request)).await;
        let read = |status: tonic::Status| error_from(&failure_from(&status)).of_read();
        match answers {
            Ok(Ok(answers)) => Ok(answers.into_inner().map(move |item| item.map_err(read)).boxed()),
            Ok(Err(status)) => Err(read(status)),
            Err(_) => Err(Error::away(format!("{} did not answer in time", leader.address))),
        }
    }
}

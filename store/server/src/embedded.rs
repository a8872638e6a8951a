//! The store without a network: one voter in this process, with the same log and the same table, behind the same
//! trait. For tools and tests; its writes are as durable as a group of one can make them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use proto::check::{self, Violation};
use proto::store::command::Kind;
use proto::store::pipeline_response::Response;
use proto::store::{
    ChangesRequest, ChangesResponse, Failure, FailureReason, Freshness, GetRequest, Identity, OutcomeCommand,
    OutcomeRequest, OutcomeResponse, Route, ScanRequest, Txn, TxnCommand, TxnRequest, TxnResponse,
};
use store_client::failure::{error_from, failure, failure_from, invalid};
use store_client::{Got, Group, Page, Range, Store};
use store_core::Role;
use store_engine::front::PendingRequest;
use store_engine::{Reply, ToPeer};
use store_keys::{ClusterId, ClusterKey, KEY_BYTES, Secret};
use tokio::sync::watch;

use crate::bootstrap::{bootstrap, initial_members, is_bootstrapped};
use crate::config::Config;
use crate::error::Error;
use crate::kv::{client_command, follow_changes};
use crate::nodes;
use crate::reads;
use crate::replica::{self, Running};
use crate::shard::Shard;
use crate::shared::{Ask, OfProcess, Shared};

/// A lone voter elects itself within this.
const ELECTION_MS_MAX: u64 = 10_000;
/// Its address in the membership: nobody calls it.
const NOWHERE: &str = "localhost:1";

/// It has no entrance for proofs.
fn alone() -> watch::Receiver<ClusterKey> {
    let id = ClusterId::new(1).expect("it is not 0");
    watch::channel(ClusterKey::new(id, Secret::new([0; KEY_BYTES]))).1
}

/// The embedded store. Clones are of the same one.
#[derive(Clone)]
pub struct Embedded {
    shared: Arc<Shared>,
    running: Arc<Mutex<Option<Running>>>,
}

impl Embedded {
    /// Opens the store in `folder`, making it if there is none. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// The folder is of something else, or cannot be recovered.
    pub async fn open(folder: impl Into<PathBuf>) -> Result<Embedded, Error> {
        let config = Config { cluster: "embedded".to_owned(), folder: folder.into(), ..Config::default() };
        Embedded::open_with(config).await
    }

    /// As [`Embedded::open`], with a configuration; addresses, peers and broker in it have no meaning.
    ///
    /// # Errors
    /// As [`Embedded::open`]; or the configuration cannot work.
    pub async fn open_with(config: Config) -> Result<Embedded, Error> {
        config.check()?;
        let opening = config.clone();
        let opened = tokio::task::spawn_blocking(move || {
            if !is_bootstrapped(&opening.folder) {
                let alone = initial_members([(opening.node, NOWHERE.to_owned())]);
                bootstrap(&opening.cluster, Shard::ONLY, opening.node, &opening.folder, &alone)?;
            }
            replica::open(&opening)
        });
        let opened = opened.await.map_err(|_| Error::Ended("recovery"))??;
        // A lone voter has no peers: there is nobody to carry anything to.
        let of_process = OfProcess::default();
        let (running, node) = opened.start(config, alone(), None, &of_process, |_| |_: ToPeer| ())?;
        nodes::spawn(vec![node], of_process.bell)?;
        let shared = Arc::clone(&running.shared);
        let mut role = shared.role.subscribe();
        let limit = Duration::from_millis(ELECTION_MS_MAX);
        let elected = tokio::time::timeout(limit, role.wait_for(|view| view.role == Role::Leader)).await;
        let embedded = Embedded { shared, running: Arc::new(Mutex::new(Some(running))) };
        if !matches!(elected, Ok(Ok(_))) {
            embedded.close().await?;
            return Err(Error::Serve(format!(
                "no leader within {ELECTION_MS_MAX} ms: is this a group of one?"
            )));
        }
        Ok(embedded)
    }

    /// Writes, applies and syncs what is queued, and ends. Operations fail from here on.
    ///
    /// # Errors
    /// What a thread ended with.
    pub async fn close(&self) -> Result<(), Error> {
        let running = self.running.lock().take();
        let Some(running) = running else { return Ok(()) };
        let stopped = tokio::task::spawn_blocking(move || running.stop().0);
        stopped.await.map_err(|_| Error::Ended("the node"))?
    }

    fn route(&self) -> Option<Route> {
        Some(self.shared.me.route)
    }

    async fn write(&self, kind: Kind) -> Result<Reply, store_client::Error> {
        let command = client_command(&self.shared, kind).map_err(|failure| error_from(&failure))?;
        let told = self.shared.ask(Ask::Write(command)).await;
        told.and_then(|told| self.shared.reply_of(told)).map_err(|failure| error_from(&failure))
    }
}

fn validated(checked: Result<(), Violation>) -> Result<(), store_client::Error> {
    checked.map_err(|violation| error_from(&invalid(violation.field, violation.problem)))
}

fn read_error(failure: &Failure) -> store_client::Error {
    error_from(failure).of_read()
}

fn mixed_up() -> store_client::Error {
    error_from(&failure(FailureReason::UnknownOutcome, "the answer of another operation"))
}

#[async_trait::async_trait]
impl Store for Embedded {
    fn group_of(&self, _key: &[u8]) -> Group {
        self.shared.me.route.group
    }

    fn groups(&self) -> Vec<Group> {
        vec![self.shared.me.route.group]
    }

    async fn get(&self, key: Bytes, freshness: Freshness) -> Result<Got, store_client::Error> {
        let request = GetRequest { route: self.route(), key, freshness: Some(freshness) };
        validated(check::get(&request))?;
        match reads::fresh(&self.shared, PendingRequest::Get(request))
            .await
            .map_err(|failure| read_error(&failure))?
        {
            Response::Get(got) => {
                let applied = got.applied.unwrap_or_default();
                Ok(Got { record: got.record, applied, log_id: got.log_id, pending: got.pending })
            }
            _ => Err(mixed_up().of_read()),
        }
    }

    async fn scan(
        &self,
        range: Range,
        limit: u32,
        after: Option<Bytes>,
        freshness: Freshness,
    ) -> Result<Page, store_client::Error> {
        let route = self.route();
        let group = route.as_ref().map_or(0, |route| route.group);
        let request = ScanRequest {
            route,
            range: Some(range.into()),
            limit,
            after: after.unwrap_or_default(),
            freshness: Some(freshness),
        };
        validated(check::scan(&request))?;
        match reads::fresh(&self.shared, PendingRequest::Scan(request))
            .await
            .map_err(|failure| read_error(&failure))?
        {
            Response::Scan(page) => Ok(Page {
                records: page.records,
                next: (!page.next.is_empty()).then_some(page.next),
                applied: vec![(group, page.applied.unwrap_or_default())],
            }),
            _ => Err(mixed_up().of_read()),
        }
    }

    async fn txn(&self, txn: Txn, identity: Option<Identity>) -> Result<TxnResponse, store_client::Error> {
        let request = TxnRequest { route: self.route(), txn: Some(txn), identity };
        validated(check::txn_request(&request))?;
        match self
            .write(Kind::Txn(TxnCommand { txn: request.txn, identity: request.identity, decide: None }))
            .await?
        {
            Reply::Txn(answer) => Ok(answer),
            _ => Err(mixed_up()),
        }
    }

    async fn outcome(&self, tag: Bytes, identity: Identity) -> Result<OutcomeResponse, store_client::Error> {
        let request = OutcomeRequest { route: self.route(), tag, identity: Some(identity) };
        validated(check::outcome(&request))?;
        let command = OutcomeCommand { tag: request.tag, identity: request.identity };
        match self.write(Kind::Outcome(command)).await? {
            Reply::Outcome(answer) => Ok(answer),
            _ => Err(mixed_up()),
        }
    }

    async fn changes(
        &self,
        group: Group,
        from: u64,
    ) -> Result<BoxStream<'static, Result<ChangesResponse, store_client::Error>>, store_client::Error> {
        let route = Route::to(group, self.shared.me.route.ring_version);
        self.shared.check_group(Some(&route)).map_err(|failure| read_error(&failure))?;
        let request = ChangesRequest { route: Some(route), from_offset: from, until_applied: false };
        let stream = follow_changes(Arc::clone(&self.shared), &request);
        Ok(stream.map(|item| item.map_err(|status| read_error(&failure_from(&status)))).boxed())
    }
}

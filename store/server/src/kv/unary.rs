//! The unary operations: one RPC each, for anybody, at any node of the ring. Portals use the pipeline.

use std::sync::Arc;

use admission::Place;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use proto::check::{self, Violation};
use proto::store::command::Kind;
use proto::store::pipeline_response::Response as Answered;
use proto::store::{
    ChangesRequest, DeleteRequest, DeleteVersionRequest, FailureReason, GetRequest, GetResponse, Identity,
    OutcomeCommand, OutcomeRequest, OutcomeResponse, PipelineRequest, Route, ScanRequest, ScanResponse,
    SetRequest, TestAndSetRequest, Txn, TxnCommand, TxnRequest, TxnResponse, WriteResponse,
};
use proto::write;
use store_client::failure::{failure, status_from};
use store_engine::Reply;
use store_engine::front::{PendingRequest, Standing as _, is_cross};
use tonic::{Request, Response, Status, Streaming};

use super::validation::{client_command, placed, validated};
use super::{changes, pipeline};
use crate::cross::Cross;
use crate::forward::{Away, Forward, hops_of};
use crate::reads;
use crate::shared::{Ask, Shared};

/// The service.
#[derive(Clone)]
pub(crate) struct KvService {
    shared: Arc<Shared>,
    /// What drives transactions over several groups, where there are several.
    cross: Option<Arc<Cross>>,
}

impl KvService {
    pub(crate) fn new(shared: Arc<Shared>, cross: Option<Arc<Cross>>) -> KvService {
        KvService { shared, cross }
    }

    /// Whether this replica's group owns a key.
    pub(crate) fn owns(&self, key: &[u8]) -> bool {
        self.shared.forward.as_ref().is_none_or(|forward| forward.owns(key))
    }

    /// Waits until the node stops.
    pub(crate) fn stopped(&self) -> BoxFuture<'static, ()> {
        let mut stopping = self.shared.stopping.subscribe();
        async move { drop(stopping.wait_for(|stops| *stops).await) }.boxed()
    }

    /// Opens a stream of requests, whose first may have been taken already.
    pub(crate) fn open(
        &self,
        place: Option<Place>,
        first: Option<pipeline::First>,
        requests: Streaming<PipelineRequest>,
    ) -> pipeline::Answers {
        pipeline::open((Arc::clone(&self.shared), self.cross.clone()), place, first, requests)
    }

    fn validate(&self, route: Option<&Route>, checked: Result<(), Violation>) -> Result<(), Status> {
        validated(&self.shared, route, checked).map_err(|failure| status_from(&failure))
    }

    fn placed(
        &self,
        (route, hops): (Option<&Route>, usize),
        checked: Result<(), Violation>,
        key: &[u8],
    ) -> Result<Option<Away<'_>>, Status> {
        placed(&self.shared, route, checked, key, hops).map_err(|failure| status_from(&failure))
    }

    /// Runs a transaction, here or where its keys are.
    async fn execute(
        &self,
        away: Option<Away<'_>>,
        txn: Txn,
        identity: Option<Identity>,
    ) -> Result<Response<TxnResponse>, Status> {
        if let Some(away) = away {
            return away.txn(txn, identity).await;
        }
        if let Some(cross) = self.cross.as_ref().filter(|_| is_cross(&txn, &*self.shared)) {
            return cross
                .txn(txn, identity)
                .await
                .map(Response::new)
                .map_err(|failure| status_from(&failure));
        }
        match self.write(Kind::Txn(TxnCommand { txn: Some(txn), identity, decide: None })).await? {
            Reply::Txn(response) => Ok(Response::new(response)),
            other => Err(unexpected(&other)),
        }
    }

    async fn write(&self, kind: Kind) -> Result<Reply, Status> {
        let command = client_command(&self.shared, kind).map_err(|failure| status_from(&failure))?;
        let told = self.shared.ask(Ask::Write(command)).await;
        told.and_then(|told| self.shared.reply_of(told)).map_err(|failure| status_from(&failure))
    }
}

fn unexpected(reply: &Reply) -> Status {
    let message = format!("the state machine answered something else: {reply:?}");
    status_from(&failure(FailureReason::Unspecified, message))
}

/// The calls of [`proto::store::kv_server::Kv`], for this replica.
impl KvService {
    pub(crate) async fn set(&self, request: Request<SetRequest>) -> Result<Response<WriteResponse>, Status> {
        let (hops, mut request) = (hops_of(&request)?, request.into_inner());
        let away = self.placed((request.route.as_ref(), hops), check::set(&request), &request.key)?;
        let identity = request.identity.take();
        let answer = self.execute(away, write::set(&request), identity).await?;
        Ok(answer.map(write::set_response))
    }

    pub(crate) async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let (hops, request) = (hops_of(&request)?, request.into_inner());
        let away = self.placed((request.route.as_ref(), hops), check::get(&request), &request.key)?;
        if let Some(away) = away {
            return away.get(request.key, request.freshness).await;
        }
        match reads::fresh(&self.shared, PendingRequest::Get(request)).await {
            Ok(Answered::Get(answer)) => Ok(Response::new(answer)),
            Ok(_) => Err(Status::internal("a get was answered as something else")),
            Err(failure) => Err(status_from(&failure)),
        }
    }

    pub(crate) async fn delete(
        &self,
        request: Request<DeleteRequest>,
    ) -> Result<Response<WriteResponse>, Status> {
        let (hops, mut request) = (hops_of(&request)?, request.into_inner());
        let away = self.placed((request.route.as_ref(), hops), check::delete(&request), &request.key)?;
        let identity = request.identity.take();
        let answer = self.execute(away, write::delete(&request), identity).await?;
        Ok(answer.map(write::delete_response))
    }

    pub(crate) async fn delete_version(
        &self,
        request: Request<DeleteVersionRequest>,
    ) -> Result<Response<WriteResponse>, Status> {
        let (hops, mut request) = (hops_of(&request)?, request.into_inner());
        let checked = check::delete_version(&request);
        let away = self.placed((request.route.as_ref(), hops), checked, &request.key)?;
        let identity = request.identity.take();
        let answer = self.execute(away, write::delete_version(&request), identity).await?;
        Ok(answer.map(write::delete_version_response))
    }

    pub(crate) async fn test_and_set(
        &self,
        request: Request<TestAndSetRequest>,
    ) -> Result<Response<WriteResponse>, Status> {
        let (hops, mut request) = (hops_of(&request)?, request.into_inner());
        let checked = check::test_and_set(&request);
        let away = self.placed((request.route.as_ref(), hops), checked, &request.key)?;
        let identity = request.identity.take();
        let answer = self.execute(away, write::test_and_set(&request), identity).await?;
        Ok(answer.map(|answer| write::test_and_set_response(request.version, answer)))
    }

    /// Of a ring of several shards: without a group the records of all, merged; with one those of that one.
    pub(crate) async fn scan(&self, request: Request<ScanRequest>) -> Result<Response<ScanResponse>, Status> {
        let request = request.into_inner();
        let names_none = request.route.is_some_and(|route| route.group == 0);
        self.validate(request.route.as_ref(), check::scan(&request))?;
        let is_here = |forward: &&Forward| forward.is_whole() && self.shared.leads();
        let elsewhere = self.shared.forward.as_ref().filter(|forward| names_none && !is_here(forward));
        if let Some(forward) = elsewhere {
            let cluster = self.shared.keys.borrow().id();
            return forward.scan(cluster, request).await.map(Response::new);
        }
        match reads::fresh(&self.shared, PendingRequest::Scan(request)).await {
            Ok(Answered::Scan(answer)) => Ok(Response::new(answer)),
            Ok(_) => Err(Status::internal("a scan was answered as something else")),
            Err(failure) => Err(status_from(&failure)),
        }
    }

    pub(crate) async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        let (hops, request) = (hops_of(&request)?, request.into_inner());
        let checked = check::txn_request(&request);
        let tag = request.txn.as_ref().and_then(Txn::tag).cloned().unwrap_or_default();
        let away = self.placed((request.route.as_ref(), hops), checked, &tag)?;
        self.execute(away, request.txn.unwrap_or_default(), request.identity).await
    }

    pub(crate) async fn outcome(
        &self,
        request: Request<OutcomeRequest>,
    ) -> Result<Response<OutcomeResponse>, Status> {
        let (hops, request) = (hops_of(&request)?, request.into_inner());
        let away = self.placed((request.route.as_ref(), hops), check::outcome(&request), &request.tag)?;
        let OutcomeRequest { tag, identity, .. } = request;
        if let Some(away) = away {
            return away.outcome(tag, identity.unwrap_or_default()).await;
        }
        match self.write(Kind::Outcome(OutcomeCommand { tag, identity })).await? {
            Reply::Outcome(answer) => Ok(Response::new(answer)),
            other => Err(unexpected(&other)),
        }
    }

    pub(crate) fn changes(
        &self,
        request: Request<ChangesRequest>,
    ) -> Result<Response<changes::Answers>, Status> {
        let request = request.into_inner();
        self.validate(request.route.as_ref(), check::changes(&request))?;
        Ok(Response::new(changes::stream(Arc::clone(&self.shared), &request)))
    }
}

//! The unary operations: one RPC each, for anybody. Portals use the pipeline.

use std::sync::Arc;

use admission::Place;
use proto::check::{self, Violation};
use proto::store::command::Kind;
use proto::store::kv_server::Kv;
use proto::store::pipeline_response::Response as Answered;
use proto::store::{
    ChangesRequest, DeleteRequest, DeleteVersionRequest, FailureReason, GetRequest, GetResponse, Identity,
    OutcomeCommand, OutcomeRequest, OutcomeResponse, PipelineRequest, Route, ScanRequest, ScanResponse,
    SetRequest, TestAndSetRequest, Txn, TxnCommand, TxnRequest, TxnResponse, WriteResponse,
};
use proto::write;
use store_client::failure::{failure, status_from};
use store_engine::Reply;
use store_engine::front::PendingRequest;
use tonic::{Request, Response, Status, Streaming};

use super::validation::{client_command, validated};
use super::{changes, pipeline};
use crate::reads;
use crate::shared::{Ask, Shared};

/// The service.
#[derive(Clone)]
pub(crate) struct KvService {
    shared: Arc<Shared>,
}

impl KvService {
    pub(crate) fn new(shared: Arc<Shared>) -> KvService {
        KvService { shared }
    }

    fn validate(&self, route: Option<&Route>, checked: Result<(), Violation>) -> Result<(), Status> {
        validated(&self.shared, route, checked).map_err(|failure| status_from(&failure))
    }

    async fn execute(&self, txn: Txn, identity: Option<Identity>) -> Result<TxnResponse, Status> {
        match self.write(Kind::Txn(TxnCommand { txn: Some(txn), identity, decide: None })).await? {
            Reply::Txn(response) => Ok(response),
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

#[tonic::async_trait]
impl Kv for KvService {
    type ChangesStream = changes::Answers;
    type PipelineStream = pipeline::Answers;

    async fn set(&self, request: Request<SetRequest>) -> Result<Response<WriteResponse>, Status> {
        let mut request = request.into_inner();
        self.validate(request.route.as_ref(), check::set(&request))?;
        let identity = request.identity.take();
        let answer = self.execute(write::set(&request), identity).await?;
        Ok(Response::new(write::set_response(answer)))
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let request = request.into_inner();
        self.validate(request.route.as_ref(), check::get(&request))?;
        match reads::fresh(&self.shared, PendingRequest::Get(request)).await {
            Ok(Answered::Get(answer)) => Ok(Response::new(answer)),
            Ok(_) => Err(Status::internal("a get was answered as something else")),
            Err(failure) => Err(status_from(&failure)),
        }
    }

    async fn delete(&self, request: Request<DeleteRequest>) -> Result<Response<WriteResponse>, Status> {
        let mut request = request.into_inner();
        self.validate(request.route.as_ref(), check::delete(&request))?;
        let identity = request.identity.take();
        let answer = self.execute(write::delete(&request), identity).await?;
        Ok(Response::new(write::delete_response(answer)))
    }

    async fn delete_version(
        &self,
        request: Request<DeleteVersionRequest>,
    ) -> Result<Response<WriteResponse>, Status> {
        let mut request = request.into_inner();
        self.validate(request.route.as_ref(), check::delete_version(&request))?;
        let identity = request.identity.take();
        let answer = self.execute(write::delete_version(&request), identity).await?;
        Ok(Response::new(write::delete_version_response(answer)))
    }

    async fn test_and_set(
        &self,
        request: Request<TestAndSetRequest>,
    ) -> Result<Response<WriteResponse>, Status> {
        let mut request = request.into_inner();
        self.validate(request.route.as_ref(), check::test_and_set(&request))?;
        let identity = request.identity.take();
        let answer = self.execute(write::test_and_set(&request), identity).await?;
        Ok(Response::new(write::test_and_set_response(request.version, answer)))
    }

    async fn scan(&self, request: Request<ScanRequest>) -> Result<Response<ScanResponse>, Status> {
        let request = request.into_inner();
        self.validate(request.route.as_ref(), check::scan(&request))?;
        match reads::fresh(&self.shared, PendingRequest::Scan(request)).await {
            Ok(Answered::Scan(answer)) => Ok(Response::new(answer)),
            Ok(_) => Err(Status::internal("a scan was answered as something else")),
            Err(failure) => Err(status_from(&failure)),
        }
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        let request = request.into_inner();
        self.validate(request.route.as_ref(), check::txn_request(&request))?;
        let answer = self.execute(request.txn.unwrap_or_default(), request.identity).await?;
        Ok(Response::new(answer))
    }

    async fn outcome(&self, request: Request<OutcomeRequest>) -> Result<Response<OutcomeResponse>, Status> {
        let request = request.into_inner();
        self.validate(request.route.as_ref(), check::outcome(&request))?;
        let OutcomeRequest { tag, identity, .. } = request;
        match self.write(Kind::Outcome(OutcomeCommand { tag, identity })).await? {
            Reply::Outcome(answer) => Ok(Response::new(answer)),
            other => Err(unexpected(&other)),
        }
    }

    async fn changes(
        &self,
        request: Request<ChangesRequest>,
    ) -> Result<Response<Self::ChangesStream>, Status> {
        let request = request.into_inner();
        self.validate(request.route.as_ref(), check::changes(&request))?;
        Ok(Response::new(changes::stream(Arc::clone(&self.shared), &request)))
    }

    async fn pipeline(
        &self,
        request: Request<Streaming<PipelineRequest>>,
    ) -> Result<Response<Self::PipelineStream>, Status> {
        let place = request.extensions().get::<Place>().cloned();
        Ok(Response::new(pipeline::open(Arc::clone(&self.shared), place, request.into_inner())))
    }
}

//! The `Kv` service of a process with one replica or several: each call goes to the replica of the group that it names. One that
//! names none goes to the replica that owns its key, if that is here.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use admission::Place;
use futures::Stream;
use futures::future::BoxFuture;
use proto::store::kv_server::Kv;
use proto::store::pipeline_request::Request as Asked;
use proto::store::{
    ChangesRequest, DeleteRequest, DeleteVersionRequest, GetRequest, GetResponse, OutcomeRequest,
    OutcomeResponse, PipelineRequest, PipelineResponse, Route, ScanRequest, ScanResponse, SetRequest,
    TestAndSetRequest, Txn, TxnRequest, TxnResponse, WriteResponse,
};
use store_client::failure::status_from;
use tonic::{Request, Response, Status, Streaming};

use super::Hosted;
use crate::kv::{Answers, Changes, KvService};
use crate::shared::stopping;

/// The service.
#[derive(Clone)]
pub(crate) struct HostedKv(pub(crate) Hosted<KvService>);

impl HostedKv {
    fn of(&self, route: Option<&Route>, key: &[u8]) -> &Arc<KvService> {
        match route {
            Some(route) if route.group != 0 => self.0.of(Some(route)),
            _ => self.0.that(|service| service.owns(key)),
        }
    }
}

#[tonic::async_trait]
impl Kv for HostedKv {
    type ChangesStream = Changes;
    type PipelineStream = HostedAnswers;

    async fn set(&self, request: Request<SetRequest>) -> Result<Response<WriteResponse>, Status> {
        let of = request.get_ref();
        self.of(of.route.as_ref(), &of.key).set(request).await
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let of = request.get_ref();
        self.of(of.route.as_ref(), &of.key).get(request).await
    }

    async fn delete(&self, request: Request<DeleteRequest>) -> Result<Response<WriteResponse>, Status> {
        let of = request.get_ref();
        self.of(of.route.as_ref(), &of.key).delete(request).await
    }

    async fn delete_version(
        &self,
        request: Request<DeleteVersionRequest>,
    ) -> Result<Response<WriteResponse>, Status> {
        let of = request.get_ref();
        self.of(of.route.as_ref(), &of.key).delete_version(request).await
    }

    async fn test_and_set(
        &self,
        request: Request<TestAndSetRequest>,
    ) -> Result<Response<WriteResponse>, Status> {
        let of = request.get_ref();
        self.of(of.route.as_ref(), &of.key).test_and_set(request).await
    }

    async fn scan(&self, request: Request<ScanRequest>) -> Result<Response<ScanResponse>, Status> {
        self.0.of(request.get_ref().route.as_ref()).scan(request).await
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        let of = request.get_ref();
        let tag = of.txn.as_ref().and_then(Txn::tag).cloned().unwrap_or_default();
        self.of(of.route.as_ref(), &tag).txn(request).await
    }

    async fn outcome(&self, request: Request<OutcomeRequest>) -> Result<Response<OutcomeResponse>, Status> {
        let of = request.get_ref();
        self.of(of.route.as_ref(), &of.tag).outcome(request).await
    }

    async fn changes(
        &self,
        request: Request<ChangesRequest>,
    ) -> Result<Response<Self::ChangesStream>, Status> {
        self.0.of(request.get_ref().route.as_ref()).changes(request)
    }

    async fn pipeline(
        &self,
        request: Request<Streaming<PipelineRequest>>,
    ) -> Result<Response<Self::PipelineStream>, Status> {
        let place = request.extensions().get::<Place>().cloned();
        let requests = request.into_inner();
        let answers = match self.0.only() {
            Some(service) => HostedAnswers::Of(service.open(place, None, requests)),
            None => HostedAnswers::Waiting {
                stopped: self.0.that(|_| true).stopped(),
                hosted: self.0.clone(),
                opening: Some((place, requests)),
            },
        };
        Ok(Response::new(answers))
    }
}

/// The answers of a stream, which is of the replica that its first request means.
pub(crate) enum HostedAnswers {
    /// The first request has not come yet.
    Waiting {
        /// Ready when the node stops.
        stopped: BoxFuture<'static, ()>,
        hosted: Hosted<KvService>,
        /// `None`: the stream has ended.
        opening: Option<(Option<Place>, Streaming<PipelineRequest>)>,
    },
    /// Of this replica.
    Of(Answers),
}

impl Stream for HostedAnswers {
    type Item = Result<PipelineResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            match this {
                HostedAnswers::Of(answers) => return Pin::new(answers).poll_next(context),
                HostedAnswers::Waiting { stopped, hosted, opening } => {
                    let Some((_, requests)) = opening else { return Poll::Ready(None) };
                    if stopped.as_mut().poll(context).is_ready() {
                        *opening = None;
                        return Poll::Ready(Some(Err(status_from(&stopping()))));
                    }
                    let first = ready!(Pin::new(requests).poll_next(context));
                    let Some((place, requests)) = opening.take() else { return Poll::Ready(None) };
                    // Of one that is wrong, whoever serves the stream says what is wrong with it.
                    let route = first.as_ref().and_then(|first| route_of(first.as_ref().ok()?)).copied();
                    let answers = hosted.of(route.as_ref()).open(place, Some(first.transpose()), requests);
                    *this = HostedAnswers::Of(answers);
                }
            }
        }
    }
}

fn route_of(request: &PipelineRequest) -> Option<&Route> {
    match request.request.as_ref()? {
        Asked::Txn(txn) => txn.route.as_ref(),
        Asked::Get(get) => get.route.as_ref(),
        Asked::Scan(scan) => scan.route.as_ref(),
        Asked::Outcome(outcome) => outcome.route.as_ref(),
        Asked::Prepare(prepare) => prepare.route.as_ref(),
        Asked::Finish(finish) => finish.route.as_ref(),
        Asked::Ask(ask) => ask.route.as_ref(),
    }
}

//! A portal's operation as a thing: its name, its effect, its place in HTTP, its function. Each transport is a registration
//! of the one list that a portal has of them.
//!
//! ```text
//!   gRPC ────► decoded ─┐
//!   HTTP ─┐             ├─► Portal::call ─► Operation::run
//!   MQTT ─┴─► JSON ─────┘   (admission)
//! ```
//!
//! Promises: a request that comes over one transport is the same request over another: it is decoded into the same message, so
//! that its digest, and with it its request id, means the same everywhere. JSON is read strictly: a member twice, or
//! one that is not known, is an error that names it.
//!
//! Leaves out: the transports ([`crate::transport`]), and what the operations do.

use std::future::Future;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use prost::Message;
use proto::json::Object;
use proto::portal::RequestId;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::handle::Portal;
use crate::session::{SESSION_HEADER, SessionToken};
use crate::transport::resource::Resource;

/// What an operation does to the shop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Nothing that a repetition would do twice: it may be repeated at will.
    Reads,
    /// It changes something, once for each request id.
    Changes,
}

/// One operation.
pub trait Operation: 'static {
    /// Its name in the gRPC service, such as `CreateOrder`.
    const NAME: &'static str;
    /// What it does.
    const EFFECT: Effect;
    /// Where it is in HTTP.
    const RESOURCE: Resource;
    /// What is asked.
    type Request: Message + Default + Clone + Serialize + DeserializeOwned + 'static;
    /// What is answered.
    type Response: Message + Default + Serialize + DeserializeOwned + 'static;

    /// Where a request has its id. One that only reads has none.
    fn id(_request: &mut Self::Request) -> Option<&mut Option<RequestId>> {
        None
    }

    /// The version of the record that is answered.
    fn etag(_response: &Self::Response) -> Option<u64> {
        None
    }

    /// The ids of what was made, for the path that it has from now on: those of `RESOURCE.made`, in their order.
    fn made(_response: &Self::Response) -> Vec<&str> {
        Vec::new()
    }

    /// Does it.
    fn run(
        portal: &Portal,
        request: Self::Request,
    ) -> impl Future<Output = Result<Self::Response, Error>> + Send;
}

impl Portal {
    /// Carries out one operation, whatever it came by; `token` is that of the caller's session, if it has one.
    pub async fn call<O: Operation>(
        &self,
        token: Option<&str>,
        request: O::Request,
    ) -> Answered<O::Response> {
        let begun_anew = || self.in_session(None).ok().map(|portal| portal.token());
        let serving = match self.in_session(token) {
            Ok(serving) => serving,
            Err(error) => return Answered { done: Err(error), token: begun_anew() },
        };
        let done = match self.admit() {
            Ok(_permit) => match serving.may_serve(O::EFFECT == Effect::Changes).await {
                Ok(()) => O::run(&serving, request).await,
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        let token = match &done {
            Err(Error::Invalid { field, .. }) if field == SESSION_HEADER => begun_anew(),
            _ => Some(serving.token()),
        };
        Answered { done, token }
    }
}

/// What a portal answers.
#[derive(Clone, Debug)]
pub struct Answered<T> {
    /// What was done, or why nothing was.
    ///
    /// Errors: as many requests as may run at once do; or what the operation says.
    pub done: Result<T, Error>,
    /// The token of the session from now on: one that has seen nothing, if the one that came was refused. `None`: what was asked
    /// was not understood, and the session is as it was.
    pub token: Option<SessionToken>,
}

impl<T> Answered<T> {
    /// A refusal of what was not understood.
    #[must_use]
    pub fn refused(error: Error) -> Answered<T> {
        Answered { done: Err(error), token: None }
    }
}

/// A request as JSON.
#[derive(Debug)]
pub struct Asked {
    /// One object.
    pub text: Vec<u8>,
    /// The request's id, if it has one.
    pub id: Option<RequestId>,
    /// The token of its session, if it has one.
    pub session: Option<String>,
}

/// An answer as JSON.
#[derive(Debug)]
pub struct Told {
    /// One object.
    pub text: Vec<u8>,
    /// The version of the record that it is about.
    pub etag: Option<u64>,
    /// Where what was made is in HTTP.
    pub location: Option<String>,
}

type Run = fn(Arc<Portal>, Asked) -> BoxFuture<'static, Answered<Told>>;

/// An operation without its types, in a portal's list.
#[derive(Clone, Copy, Debug)]
pub struct Registered {
    /// As [`Operation::NAME`].
    pub name: &'static str,
    /// As [`Operation::EFFECT`].
    pub effect: Effect,
    /// As [`Operation::RESOURCE`].
    pub resource: Resource,
    run: Run,
}

impl Registered {
    /// An operation of the list.
    #[must_use]
    pub const fn of<O: Operation>() -> Registered {
        Registered { name: O::NAME, effect: O::EFFECT, resource: O::RESOURCE, run: run::<O> }
    }

    /// Carries it out. Refused too if the JSON is not what the operation takes.
    pub fn run(&self, portal: Arc<Portal>, asked: Asked) -> BoxFuture<'static, Answered<Told>> {
        (self.run)(portal, asked)
    }
}

fn run<O: Operation>(portal: Arc<Portal>, asked: Asked) -> BoxFuture<'static, Answered<Told>> {
    async move {
        let mut request: O::Request = match read(&asked.text) {
            Ok(request) => request,
            Err(error) => return Answered::refused(error),
        };
        if let Some(id) = O::id(&mut request) {
            *id = asked.id;
        }
        let Answered { done, token } = portal.call::<O>(asked.session.as_deref(), request).await;
        Answered { done: done.map(|response| told::<O>(&response)), token }
    }
    .boxed()
}

fn told<O: Operation>(response: &O::Response) -> Told {
    let location = O::RESOURCE.made.map(|path| path.filled(&O::made(response)));
    let text = serde_json::to_vec(response).expect("our answers are JSON");
    Told { text, etag: O::etag(response), location }
}

/// Reads a request.
fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, Error> {
    match serde_json::from_slice(text) {
        Ok(Object(read)) => Ok(read),
        // Again, and this time with the place of each member: what is right needs none.
        Err(_) => read_with_places(text),
    }
}

/// The same, with the place of what is wrong.
fn read_with_places<T: DeserializeOwned>(text: &[u8]) -> Result<T, Error> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let Object(read) = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." { "body".to_owned() } else { path };
        Error::invalid(field, said(error.inner()))
    })?;
    reader.end().map_err(|error| Error::invalid("body", said(&error)))?;
    Ok(read)
}

/// What the JSON library says, without a line and column of a text that the caller does not see as we do.
fn said(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.as_str(), |(said, _)| said).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::portal::{CreateOrderRequest, InsertClientRequest};

    fn refused(text: &str) -> (String, String) {
        match read::<CreateOrderRequest>(text.as_bytes()) {
            Err(Error::Invalid { field, why }) => (field, why),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn wrong_json_is_named_by_its_place() {
        let (field, why) = refused(r#"{"cid":"ana","lines":[{"pid":"fig","quantity":"two"}]}"#);
        assert_eq!(field, "lines[0].quantity");
        assert!(why.contains("invalid type") && !why.contains("line"), "{why}");
        assert_eq!(refused(r#"{"lines":[{"quantity":1},{"amount":1}]}"#).0, "lines[1].amount");
        let (field, why) = refused(r#"{"cid":"ana","cid":"bia"}"#);
        assert!(why.contains("duplicate field `cid`"), "{field}: {why}");
        for text in ["", "[]", "{} {}", "{\"cid\":1}", "null"] {
            refused(text);
        }
    }

    #[test]
    fn a_document_is_taken_as_it_was_written() {
        let text = r#"{"cid":"ana","data": {"a" : 1.10, "a":2} }"#;
        let request: InsertClientRequest = read(text.as_bytes()).expect("a request");
        assert_eq!(
            request.data, r#"{"a" : 1.10, "a":2}"#,
            "what is wrong with it the document's own check says"
        );
    }
}

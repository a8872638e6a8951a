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
use crate::transport::resource::Resource;

/// What an operation does to the shop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Nothing: it may be repeated at will.
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
    /// Carries out one operation, whatever it came by.
    ///
    /// # Errors
    /// As many requests as may run at once do; or what the operation says.
    pub async fn call<O: Operation>(&self, request: O::Request) -> Result<O::Response, Error> {
        let _permit = self.admit()?;
        O::run(self, request).await
    }
}

/// A request as JSON.
#[derive(Debug)]
pub struct Asked {
    /// One object.
    pub text: Vec<u8>,
    /// The request's id, if it has one.
    pub id: Option<RequestId>,
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

type Run = fn(Arc<Portal>, Asked) -> BoxFuture<'static, Result<Told, Error>>;

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

    /// Carries it out.
    ///
    /// # Errors
    /// The JSON is not what the operation takes; or as [`Portal::call`].
    pub fn run(&self, portal: Arc<Portal>, asked: Asked) -> BoxFuture<'static, Result<Told, Error>> {
        (self.run)(portal, asked)
    }
}

fn run<O: Operation>(portal: Arc<Portal>, asked: Asked) -> BoxFuture<'static, Result<Told, Error>> {
    async move {
        let mut request: O::Request = read(&asked.text)?;
        if let Some(id) = O::id(&mut request) {
            *id = asked.id;
        }
        let response = portal.call::<O>(request).await?;
        let location = O::RESOURCE.made.map(|path| path.filled(&O::made(&response)));
        let text = serde_json::to_vec(&response).expect("our answers are JSON");
        Ok(Told { text, etag: O::etag(&response), location })
    }
    .boxed()
}

/// Reads a request.
fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, Error> {
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

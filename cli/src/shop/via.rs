//! The ways in which the shoppers' portals are asked: `feira shop --via WAY`.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use client_portal::{SERVICE, TOPICS};
use portal::config::Login;
use portal::error::Error;
use portal::operation::Operation;
use portal::transport::calling::{over_grpc, over_http};
use portal::transport::mqtt_calling::{AGAIN, Caller, Place};
use tokio::time::Instant;
use tonic::{Code, Request, Status};

use crate::config::load::Loaded;
use crate::failure::{Failure, Kind};
use crate::reach::matter::Matter;
use crate::reach::open_requests::OpenRequests;
use crate::reach::places::Call;
use crate::reach::portals::Portals;
use crate::role::login::login;

/// What the tools need of whoever carries their requests.
pub trait Asks {
    /// Asks until there is an answer, or nothing that waiting could change.
    ///
    /// # Errors
    /// What the portal answered, or why none did.
    fn ask<O: Operation>(
        &self,
        call: Call<'_>,
        message: O::Request,
    ) -> impl Future<Output = Result<O::Response, Failure>> + Send;
}

impl Asks for Portals {
    async fn ask<O: Operation>(&self, call: Call<'_>, message: O::Request) -> Result<O::Response, Failure> {
        self.send(call, message, |channel, message| {
            over_grpc::<O, _>(channel, SERVICE, Request::new(message))
        })
        .await
    }
}

impl<A: Asks + Send + Sync> Asks for Arc<A> {
    async fn ask<O: Operation>(&self, call: Call<'_>, message: O::Request) -> Result<O::Response, Failure> {
        (**self).ask::<O>(call, message).await
    }
}

/// One of the kinds of communication.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Way {
    /// gRPC.
    #[default]
    Grpc,
    /// HTTP/JSON.
    Http,
    /// Requests over the broker.
    Mqtt,
}

impl Way {
    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Way::Grpc => "grpc",
            Way::Http => "http",
            Way::Mqtt => "mqtt",
        }
    }
}

/// What the option says: a kind, and where, if not where the configuration says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Via {
    /// The kind.
    pub way: Way,
    /// Host and port.
    pub address: Option<String>,
}

impl FromStr for Via {
    type Err = String;

    fn from_str(text: &str) -> Result<Via, String> {
        let (word, address) = match text.split_once("://") {
            None => (text, None),
            Some((word, address)) => (word, Some(address.trim_end_matches('/'))),
        };
        let way = match word {
            "grpc" => Way::Grpc,
            "http" => Way::Http,
            "mqtt" => Way::Mqtt,
            _ => {
                return Err(
                    "is grpc, http or mqtt, or one of them with an address: mqtt://HOST:PORT".to_owned()
                );
            }
        };
        if let Some(address) = address
            && store_server::split_address(address).is_none()
        {
            return Err(format!("{address:?} is not HOST:PORT"));
        }
        Ok(Via { way, address: address.map(str::to_owned) })
    }
}

/// The shoppers' portals, asked in one of the ways.
pub enum Asking {
    /// By gRPC.
    Grpc(Portals),
    /// By HTTP.
    Http(Portals),
    /// Over a broker.
    Mqtt(OverBroker),
}

/// Requests over a broker.
pub struct OverBroker {
    caller: Caller,
    /// The broker.
    address: String,
    patience: Duration,
    /// Where requests are kept until they are answered.
    open: Arc<OpenRequests>,
}

impl OverBroker {
    /// At this address, or where the configuration says.
    ///
    /// # Errors
    /// An address that is none; a password's file that cannot be read.
    pub fn new(address: Option<&str>, loaded: &Loaded) -> Result<OverBroker, Failure> {
        let address = address.unwrap_or(&loaded.config.broker.listen).to_owned();
        let place = place(&address, loaded)?;
        let patience = Duration::from_secs(loaded.config.tool.patience_seconds);
        Ok(OverBroker { caller: Caller::new(place), address, patience, open: Arc::default() })
    }

    /// What a status means to the person whose call it was.
    fn failure(&self, call: Call<'_>, matter: &Matter, status: &Status) -> Failure {
        let by = format!("client portal over the broker at {}", self.address);
        if Error::from_status(status).is_some() {
            return Failure::of_status(status).by(by);
        }
        let silent = Failure::unreachable(status.message());
        match call.request {
            Some(request) if status.code() == Code::DeadlineExceeded => {
                let mut unknown = silent.of("outcome unknown");
                unknown.kind = Kind::Unknown;
                unknown.next(matter.ways_on(&request.id))
            }
            _ => silent.next("see feira status, or ask without --via"),
        }
    }
}

/// Where requests of shoppers go at the broker of this address.
///
/// # Errors
/// An address that is none; a password's file that cannot be read.
pub fn place(address: &str, loaded: &Loaded) -> Result<Place, Failure> {
    let (host, port) = store_server::split_address(address)
        .ok_or_else(|| Failure::usage(format!("{address:?} is not HOST:PORT")))?;
    Ok(Place {
        host: host.to_owned(),
        port,
        login: login(loaded)?.map(|(user, password)| Login { user, password }),
        cluster: loaded.config.cluster.clone(),
        cluster_id: loaded.config.whose().map(|id| id.to_string()),
        service: TOPICS.to_owned(),
    })
}

impl Asks for Asking {
    async fn ask<O: Operation>(&self, call: Call<'_>, message: O::Request) -> Result<O::Response, Failure> {
        match self {
            Asking::Grpc(portals) => portals.ask::<O>(call, message).await,
            Asking::Http(portals) => portals.send(call, message, over_http::<O, _>).await,
            Asking::Mqtt(broker) => {
                let message = match call.request {
                    Some(request) => broker.open.sending(request, message),
                    None => message,
                };
                let matter = Matter::of_message(&message);
                let began = Instant::now();
                match broker.caller.call::<O>(message, broker.patience).await {
                    Ok(answer) => Ok(answer.into_inner()),
                    Err(status) => {
                        // It was sent again, and what was sent first may be with another portal.
                        if let Some(request) = call.request.filter(|_| began.elapsed() >= AGAIN) {
                            broker.open.lost(&request.id);
                        }
                        Err(broker.failure(call, &matter, &status))
                    }
                }
            }
        }
    }
}

impl Asking {
    /// The same, which keeps its requests there until they are answered.
    #[must_use]
    pub fn keeping(self, open: &Arc<OpenRequests>) -> Asking {
        match self {
            Asking::Grpc(portals) => Asking::Grpc(portals.keeping(Arc::clone(open))),
            Asking::Http(portals) => Asking::Http(portals.keeping(Arc::clone(open))),
            Asking::Mqtt(broker) => Asking::Mqtt(OverBroker { open: Arc::clone(open), ..broker }),
        }
    }

    /// The portals, where the caller knows them.
    ///
    /// # Errors
    /// Over a broker he does not.
    pub fn portals(&self) -> Result<&Portals, Failure> {
        match self {
            Asking::Grpc(portals) | Asking::Http(portals) => Ok(portals),
            Asking::Mqtt(_) => Err(Failure::usage("over a broker nobody knows which portal answers")
                .next("see feira status, or ask without --via mqtt")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_is_a_word_or_a_word_with_an_address() {
        let via = |way, address: Option<&str>| Ok(Via { way, address: address.map(str::to_owned) });
        assert_eq!("http".parse(), via(Way::Http, None));
        assert_eq!("mqtt://127.0.0.1:1883/".parse(), via(Way::Mqtt, Some("127.0.0.1:1883")));
        assert_eq!("grpc://[::1]:7501".parse(), via(Way::Grpc, Some("[::1]:7501")));
        for wrong in ["", "amqp", "mqtt://", "http://host", "https://127.0.0.1:1"] {
            assert!(wrong.parse::<Via>().is_err(), "{wrong}");
        }
    }
}

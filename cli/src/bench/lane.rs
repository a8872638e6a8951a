//! The lanes of a measurement: who is asked and how, where several of them take turns. Pure.

use clap::ValueEnum;

/// A way in which the client portals are asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Way {
    /// gRPC
    #[default]
    Grpc,
    /// HTTP/JSON over HTTP/1.1, as most programs speak it where there is no TLS
    Http,
    /// HTTP/JSON over HTTP/2, as feira shop --via http speaks it
    Http2,
    /// Requests over the broker of the configuration
    Mqtt,
}

impl Way {
    /// Its word on the command line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Way::Grpc => "grpc",
            Way::Http => "http",
            Way::Http2 => "http2",
            Way::Mqtt => "mqtt",
        }
    }
}

/// Whom the rounds of a series ask.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Lane {
    /// The client portals, or the store where the work asks none.
    Cluster(Way),
    /// A server of the same call at this address, by gRPC.
    Beside(String),
}

impl Lane {
    /// What it is called in tables and documents.
    #[must_use]
    pub fn word(&self) -> &str {
        match self {
            Lane::Cluster(way) => way.word(),
            Lane::Beside(address) => address,
        }
    }
}

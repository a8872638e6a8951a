//! The errors with which a store node cannot start, or had to end. None of it is retried here: an operator reads it, or a
//! supervisor starts the process again and recovery sorts it out.

use std::net::SocketAddr;

/// What ended a node.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration cannot work.
    #[error("configuration of the store, {field}: {problem}")]
    Config {
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// A file or folder of the node cannot be used.
    #[error("{what}: {source}")]
    Folder {
        /// Which, and what for.
        what: String,
        /// Why.
        source: std::io::Error,
    },
    /// The folder could not be made, opened or recovered.
    #[error("replica of group {group}: {source}")]
    Open {
        /// Which group.
        group: u64,
        /// Why.
        source: store_engine::Error,
    },
    /// A stage failed while serving: going on would break a promise.
    #[error("{stage} failed: {source}")]
    Stage {
        /// Which stage.
        stage: &'static str,
        /// Why.
        source: store_engine::Error,
    },
    /// The protocol found something that must never be.
    #[error("the replica must stop: {0:?}")]
    Fatal(store_core::Fatal),
    /// A thread ended without saying why.
    #[error("{0} ended unexpectedly")]
    Ended(&'static str),
    /// The server could not go on serving.
    #[error("gRPC server: {0}")]
    Serve(String),
}

impl Error {
    /// The folder cannot be used any more under its identity: the node comes back with an empty one, as a new member.
    #[must_use]
    pub fn needs_new_member(&self) -> bool {
        match self {
            Error::Open { source, .. } | Error::Stage { source, .. } => source.needs_new_member(),
            _ => false,
        }
    }
}

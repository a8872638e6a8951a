//! A portal's configuration: checked values, no files (the CLI reads those).

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use store_client::Store;
use store_keys::KeyFile;
use tokio::sync::{oneshot, watch};

use crate::cache::Capacity;
use crate::coherence::AGE_MS_MAX_DEFAULT;
use crate::limits::REQUESTS_MAX;

/// What a portal needs.
pub struct Config {
    /// Which portal this is, for people: `client-portal-2`.
    pub name: String,
    /// Where it listens; port 0: any free one.
    pub listen: SocketAddr,
    /// Told the address it listens on, once.
    pub bound: Option<oneshot::Sender<SocketAddr>>,
    /// The database.
    pub store: Arc<dyn Store>,
    /// The broker; `None`: the portal sells on without a cache.
    pub bus: Option<Bus>,
    /// Whether requests are taken from that broker, where the portal's operations have topics.
    pub takes_requests: bool,
    /// A portal of staff may keep the feed of events, and go on with deletions that others left; `false`: others do.
    pub keeps_feed: bool,
    /// How large its cache may grow.
    pub cache: Capacity,
    /// L: how old a hit may be.
    pub lease: Duration,
    /// How old an entry of the cache may become under the lease: the last defence.
    pub age_max: Duration,
    /// Requests that run at once; more are refused with RESOURCE_EXHAUSTED.
    pub requests_max: usize,
    /// How long a stop waits for requests under way.
    pub grace: Duration,
}

/// Where the invalidation bus is.
#[derive(Clone, Debug)]
pub struct Bus {
    /// The MQTT broker's host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// This portal's login at that broker, if the broker asks.
    pub login: Option<Login>,
    /// The cluster's name in topics: `feira/<cluster>/changes/<group>`.
    pub cluster: String,
    /// The cluster's id and the keys of the bus, as the key file says now.
    pub keys: watch::Receiver<KeyFile>,
}

/// A user of a broker. Its password is shown nowhere.
#[derive(Clone)]
pub struct Login {
    /// The user's name.
    pub user: String,
    /// The password; empty: none.
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Why a portal does not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A value is wrong.
    #[error("{field}: {why}")]
    Invalid {
        /// Which.
        field: &'static str,
        /// What is wrong and what is accepted.
        why: String,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}; choose another port, or stop what uses it")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The server failed.
    #[error("the gRPC server failed")]
    Server(#[from] tonic::transport::Error),
}

impl Config {
    /// The default size of the cache.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn default_capacity() -> Capacity {
        Capacity { entries: NonZeroUsize::new(100_000).expect("not zero"), bytes: 256 << 20 }
    }

    /// A portal with the defaults: no bus, a lease of 1 s, a maximum age of 10 minutes, a grace of 5 s.
    #[must_use]
    pub fn new(name: &str, listen: SocketAddr, store: Arc<dyn Store>) -> Config {
        Config {
            name: name.to_owned(),
            listen,
            bound: None,
            store,
            bus: None,
            takes_requests: true,
            keeps_feed: true,
            cache: Config::default_capacity(),
            lease: Duration::from_secs(1),
            age_max: Duration::from_millis(AGE_MS_MAX_DEFAULT),
            requests_max: REQUESTS_MAX,
            grace: Duration::from_secs(5),
        }
    }

    /// Checks the values.
    ///
    /// # Errors
    /// [`StartError::Invalid`].
    pub fn check(&self) -> Result<(), StartError> {
        let invalid = |field, why: &str| Err(StartError::Invalid { field, why: why.to_owned() });
        if self.lease < Duration::from_millis(100) || self.lease > Duration::from_secs(60) {
            return invalid("lease", "must be within 100 ms and 60 s");
        }
        if self.age_max < self.lease || self.age_max > Duration::from_hours(24) {
            return invalid("age_max", "must be at least the lease, and at most a day");
        }
        if !(1..=1_000_000).contains(&self.requests_max) {
            return invalid("requests_max", "must be within 1 and 1,000,000");
        }
        let Some(bus) = &self.bus else { return Ok(()) };
        if bus.host.is_empty() {
            return invalid("bus.host", "is empty");
        }
        if bus.cluster.is_empty() || bus.cluster.len() > 64 || bus.cluster.contains(['/', '+', '#', '\0']) {
            return invalid("bus.cluster", "must be 1 to 64 bytes without '/', '+', '#'");
        }
        Ok(())
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("name", &self.name)
            .field("listen", &self.listen)
            .field("bus", &self.bus)
            .field("cache", &self.cache)
            .field("lease", &self.lease)
            .field("age_max", &self.age_max)
            .field("grace", &self.grace)
            .finish_non_exhaustive()
    }
}

//! `feira admin-portal` and `feira client-portal`: one portal.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use portal::cache::Capacity;
use portal::config::{Bus, Config, Login};

use super::login::login;
use super::stop::asked;
use super::store::{resolve, with_causes};
use crate::config::load::Loaded;
use crate::config::shape::Instance;
use crate::failure::Failure;
use crate::key::follow::follow;
use crate::key::place::of_portal;
use crate::reach::whose::store;

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    /// For administrators.
    Admin,
    /// For shoppers.
    Client,
}

/// Serves until told to stop.
///
/// # Errors
/// It cannot start, or it failed.
pub async fn run(loaded: &Loaded, which: Which, instance: usize, supervised: bool) -> Result<(), Failure> {
    let config = config_of(loaded, which, instance)?;
    let stop = Box::pin(asked(supervised)?);
    let served = match which {
        Which::Admin => admin_portal::serve(config, stop).await,
        Which::Client => client_portal::serve(config, stop).await,
    };
    served.map_err(|e| Failure::refused(with_causes(&e)))
}

fn config_of(loaded: &Loaded, which: Which, instance: usize) -> Result<Config, Failure> {
    let config = &loaded.config;
    let (word, all): (&str, &[Instance]) = match which {
        Which::Admin => ("admin-portal", &config.admin_portals),
        Which::Client => ("client-portal", &config.client_portals),
    };
    let at = instance.checked_sub(1).and_then(|at| all.get(at)).ok_or_else(|| {
        Failure::usage(format!("there is no {word} {instance}; the configuration has {}", all.len()))
    })?;
    let store = store(config, Duration::from_millis(config.portal.deadline_ms))?;
    let (host, port) = store_server::split_address(&config.broker.listen).ok_or_else(|| {
        Failure::usage(format!("broker.listen: {:?} is not host:port", config.broker.listen))
    })?;
    let login = login(loaded)?.map(|(user, password)| Login { user, password });
    let again = loaded.clone();
    let keys = follow(of_portal(loaded)?, move || Ok((of_portal(&again)?, None)));
    let listen = resolve(&format!("{word}s.listen"), &at.listen)?;
    let entries = NonZeroUsize::new(config.portal.cache_entries).unwrap_or(NonZeroUsize::MIN);
    Ok(Config {
        bus: Some(Bus { host: host.to_owned(), port, login, cluster: config.cluster.clone(), keys }),
        cache: Capacity { entries, bytes: config.portal.cache_bytes },
        lease: Duration::from_millis(config.portal.lease_ms),
        age_max: Duration::from_millis(config.portal.cache_age_ms_max),
        takes_requests: config.portal.mqtt,
        keeps_feed: true,
        ..Config::new(&format!("{word}-{instance}"), listen, Arc::new(store))
    })
}

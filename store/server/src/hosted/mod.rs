//! The replicas of one process: a service of each by group, and which of them a call means. A node has at most one replica of a
//! group; calls for all of them come to one port.
//!
//! A call that names a group which is not here, or none, goes to the first replica: that one says whose the port is, or sends
//! the request on ([`crate::forward`]).

mod cluster;
mod kv;
mod replication;

use std::collections::BTreeMap;
use std::sync::Arc;

use proto::store::Route;

pub(crate) use cluster::HostedCluster;
pub(crate) use kv::HostedKv;
pub(crate) use replication::HostedReplication;

/// The same service of each replica.
#[derive(Debug)]
pub(crate) struct Hosted<S> {
    first: Arc<S>,
    by_group: Arc<BTreeMap<u64, Arc<S>>>,
}

impl<S> Clone for Hosted<S> {
    fn clone(&self) -> Hosted<S> {
        Hosted { first: Arc::clone(&self.first), by_group: Arc::clone(&self.by_group) }
    }
}

impl<S> Hosted<S> {
    /// Of these groups; `None`: there are none.
    pub(crate) fn new(services: impl IntoIterator<Item = (u64, S)>) -> Option<Hosted<S>> {
        let by_group: BTreeMap<u64, Arc<S>> =
            services.into_iter().map(|(group, service)| (group, Arc::new(service))).collect();
        let first = Arc::clone(by_group.values().next()?);
        Some(Hosted { first, by_group: Arc::new(by_group) })
    }

    /// Of this group, or the first.
    pub(crate) fn of_group(&self, group: u64) -> &Arc<S> {
        match self.by_group.get(&group) {
            Some(service) if group != 0 => service,
            _ => &self.first,
        }
    }

    /// Of the group that a route names, or the first.
    pub(crate) fn of(&self, route: Option<&Route>) -> &Arc<S> {
        self.of_group(route.map_or(0, |route| route.group))
    }

    /// The only one; `None`: there are several.
    pub(crate) fn only(&self) -> Option<&Arc<S>> {
        (self.by_group.len() == 1).then_some(&self.first)
    }

    /// The first of which this is true; if there is none, the first.
    pub(crate) fn that(&self, is_meant: impl Fn(&S) -> bool) -> &Arc<S> {
        self.by_group.values().find(|service| is_meant(service)).unwrap_or(&self.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_goes_to_the_group_that_it_names_and_to_the_first_if_that_is_not_here() {
        let hosted = Hosted::new([(3, "three"), (2, "two")]).expect("there are some");
        let of = |group| **hosted.of(Some(&Route::to(group, 1)));
        assert_eq!((of(2), of(3), of(7), of(0), **hosted.of(None)), ("two", "three", "two", "two", "two"));
        assert_eq!(**hosted.that(|name| name.len() == 5), "three");
        assert!(hosted.only().is_none() && Hosted::<u8>::new([]).is_none());
        assert!(Hosted::new([(3, ())]).expect("there is one").only().is_some());
    }
}

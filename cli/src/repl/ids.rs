//! The ids that completion offers: fetched aside, cached, and never waited for.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::verb::spec::Kind;

/// Completion is a help, not a listing: more ids than this are not kept.
pub const IDS_MAX: usize = 2_000;

/// Live ids, shared between whoever fetches them and whoever completes.
#[derive(Clone, Default)]
pub struct Ids {
    shared: Arc<RwLock<Known>>,
}

/// What is known, by kind.
#[derive(Default)]
struct Known {
    clients: BTreeSet<String>,
    products: BTreeSet<String>,
    orders: BTreeSet<String>,
    keys: BTreeSet<String>,
}

impl Known {
    fn of(&mut self, kind: Kind) -> Option<&mut BTreeSet<String>> {
        match kind {
            Kind::Cid => Some(&mut self.clients),
            Kind::Pid | Kind::Line => Some(&mut self.products),
            Kind::Oid => Some(&mut self.orders),
            Kind::Key => Some(&mut self.keys),
            Kind::Text
            | Kind::State
            | Kind::OneOf(_)
            | Kind::Time
            | Kind::Count
            | Kind::Etag
            | Kind::Limit(_)
            | Kind::LimitOrAll(_)
            | Kind::Integer
            | Kind::Total
            | Kind::Extra
            | Kind::LineExtra
            | Kind::Data
            | Kind::Verb => None,
        }
    }
}

impl Ids {
    /// Replaces all ids of a kind.
    pub fn replace(&self, kind: Kind, ids: impl IntoIterator<Item = String>) {
        let ids = ids.into_iter().take(IDS_MAX).collect();
        if let Some(set) = self.shared.write().of(kind) {
            *set = ids;
        }
    }

    /// Adds one id.
    pub fn add(&self, kind: Kind, id: &str) {
        if let Some(set) = self.shared.write().of(kind)
            && set.len() < IDS_MAX
        {
            set.insert(id.to_owned());
        }
    }

    /// Takes one id out.
    pub fn remove(&self, kind: Kind, id: &str) {
        if let Some(set) = self.shared.write().of(kind) {
            set.remove(id);
        }
    }

    /// The ids of a kind that begin so, in order.
    #[must_use]
    pub fn beginning(&self, kind: Kind, prefix: &str) -> Vec<String> {
        let mut known = self.shared.write();
        let Some(set) = known.of(kind) else { return Vec::new() };
        set.range(prefix.to_owned()..).take_while(|id| id.starts_with(prefix)).cloned().collect()
    }
}

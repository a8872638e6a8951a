//! A portal's knowledge of the marks of the indexes (`index`): whether an insertion has to look for one.

use std::sync::atomic::AtomicBool;

use crate::error::Kind;

/// For each kind: its index has its mark, or the mark is no insertion's to set.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    clients: AtomicBool,
    products: AtomicBool,
}

impl Marks {
    /// Of the products or the clients.
    pub(crate) fn of(&self, kind: Kind) -> &AtomicBool {
        if kind == Kind::Client { &self.clients } else { &self.products }
    }
}

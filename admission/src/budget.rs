//! A budget of bytes: taken before work that will hold them, given back when they are gone.
//!
//! Taking waits for its turn. A message larger than its estimate is taken all the same, as a debt that is paid
//! before anybody else gets anything.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A budget.
#[derive(Debug)]
pub struct Budget {
    max: usize,
    free: Arc<Semaphore>,
    /// Bytes taken beyond what was free.
    debt: Mutex<usize>,
}

/// Bytes that were granted and become the taker's when they are [kept](Grant::keep).
#[derive(Debug)]
pub struct Grant(OwnedSemaphorePermit);

impl Grant {
    /// From here on the taker gives them back himself.
    pub fn keep(self) {
        self.0.forget();
    }
}

impl Budget {
    /// A budget of so many bytes.
    #[must_use]
    pub fn new(max: usize) -> Budget {
        Budget { max, free: Arc::new(Semaphore::new(max)), debt: Mutex::new(0) }
    }

    /// Waits for so many bytes, or for all there are if that is less.
    pub async fn take(&self, bytes: usize) -> Grant {
        let granted = Arc::clone(&self.free).acquire_many_owned(self.permits(bytes)).await;
        Grant(granted.expect("a budget is never closed"))
    }

    /// The same, if it need not wait.
    #[must_use]
    pub fn try_take(&self, bytes: usize) -> Option<Grant> {
        Arc::clone(&self.free).try_acquire_many_owned(self.permits(bytes)).ok().map(Grant)
    }

    fn permits(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.min(self.max)).unwrap_or(u32::MAX)
    }

    /// Takes them, there or not.
    pub fn force(&self, bytes: usize) {
        let mut debt = self.debt.lock();
        *debt += bytes - self.free.forget_permits(bytes);
    }

    /// Gives bytes back.
    pub fn give(&self, bytes: usize) {
        let mut debt = self.debt.lock();
        let paid = bytes.min(*debt);
        *debt -= paid;
        self.free.add_permits(bytes - paid);
    }

    /// What is taken.
    #[must_use]
    pub fn held(&self) -> usize {
        let debt = *self.debt.lock();
        self.max - self.free.available_permits().min(self.max) + debt
    }

    /// What one take can get at most.
    #[must_use]
    pub fn max(&self) -> usize {
        self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    #[tokio::test]
    async fn what_is_taken_beyond_the_budget_is_paid_before_anybody_gets_more() {
        let budget = Budget::new(100);
        budget.take(60).await.keep();
        budget.force(90);
        assert_eq!(budget.held(), 150);
        assert!(budget.try_take(41).is_none());
        budget.give(60);
        assert_eq!(budget.held(), 90);
        assert!(budget.take(20).now_or_never().is_none());
        budget.give(90);
        assert_eq!(budget.held(), 0);
        let all = budget.try_take(1_000).expect("more than there is means all");
        assert_eq!(budget.held(), 100);
        drop(all);
        assert_eq!(budget.held(), 0, "what was not kept is given back");
    }
}

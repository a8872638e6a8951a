//! The configurations that were met: one that can do no more than another that was met is not looked at again.
//!
//! A configuration is a set of placed answered operations, a state, and how many unknown operations of each class
//! were used. With the first two equal, one that used no more of any class can do whatever the other can: each
//! unknown operation may also be left out. So only the *least* uses are kept for each set and state.

use std::collections::HashMap;
use std::rc::Rc;

use crate::linearized::Linearized;

/// Uses of each class of unknown operations.
pub(crate) type Used = Rc<[u32]>;

/// Configurations met so far.
#[derive(Debug, Default)]
pub(crate) struct Visited {
    least: HashMap<(Rc<Linearized>, u32), Vec<Used>>,
}

impl Visited {
    /// Notes a configuration; false: another that was met can do all that it can.
    pub(crate) fn insert(&mut self, placed: &Rc<Linearized>, state: u32, used: &Used) -> bool {
        let least = self.least.entry((Rc::clone(placed), state)).or_default();
        if least.iter().any(|other| no_more(other, used)) {
            return false;
        }
        least.retain(|other| !no_more(used, other));
        least.push(Rc::clone(used));
        true
    }
}

/// Whether one used no more of any class than the other.
fn no_more(one: &[u32], other: &[u32]) -> bool {
    one.iter().zip(other).all(|(one, other)| one <= other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_could_do_more_is_new() {
        let mut visited = Visited::default();
        let placed = Rc::new(Linearized::default());
        let mut insert = |state, used: &[u32]| visited.insert(&placed, state, &Rc::from(used));
        assert!(insert(0, &[1, 1]));
        assert!(!insert(0, &[1, 2]));
        assert!(insert(1, &[1, 2]));
        assert!(insert(0, &[2, 0]));
        assert!(insert(0, &[0, 0]));
        assert!(!insert(0, &[2, 0]));
    }
}

//! An explorer of transactions over several groups: random walks over the shipped state machine and the shipped coordinator.
//!
//! Each group is a log and a table in memory. Its leader appends; an entry is applied later, lost with its leader, or applied
//! although its leader is gone and never hears of it. Messages are facts for ever: lost, late, and repeated at will. A deposed
//! leader acts on. What is checked after every step:
//!
//! - for each key, the stored value and the decided effects that are not finished make the value of the decided transactions in
//!   the order of their decisions;
//! - guards and minima hold at the decision; a refusal is true when it is made;
//! - a request is executed once, and never after it was told "not done", or "refused" of that attempt;
//! - what was called aborted never commits, and the other way round;
//! - the values of a consistent cut are those of one moment since it was begun.
//!
//! And after every walk: with new leaders that have no memory, questions, finishes and forgets alone leave no lock, no addition
//! that waits and no row, and the right values.
#![allow(clippy::unwrap_used, dead_code, missing_docs, unreachable_pub)]

mod check;
mod cuts;
mod disturb;
pub mod model;
pub mod scene;
mod world;

pub use world::World;

/// A generator of random numbers (xorshift).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number under `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 11) % end as u64).unwrap()
    }

    pub fn one_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }
}

/// What walks have seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    pub steps: u64,
    pub walks: u64,
    pub decided: u64,
    pub refused: u64,
    pub aborted: u64,
    pub locked: u64,
    pub leader_changes: u64,
    pub cuts: u64,
    pub void: u64,
}

/// Walks through one scene, and brings everything to its end. Panics at the first broken promise.
pub fn walk(scene: &scene::Scene, seed: u64, seen: &mut Seen) {
    let mut world = World::new(scene.clone(), seed);
    let steps = (20 + world.random.below(120)) * if scene.cuts { 4 } else { 1 };
    for _ in 0..steps {
        world.step(seen);
        world.check();
        seen.steps += 1;
    }
    world.heal(seen);
    seen.walks += 1;
}

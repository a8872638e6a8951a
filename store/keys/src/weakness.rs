//! Deliberate bugs of proofs, for the simulation to catch: each leaves one thing out of what a frame's proof covers.
//!
//! Without the feature `mutations`, which only the hunt turns on, [`is`] is the constant `false`. The list of all the store's
//! deliberate bugs, which these are part of, is that of `store_core::mutation`.

/// What a proof does not cover.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(not(feature = "mutations"), allow(dead_code, unreachable_pub))]
pub enum Weakness {
    /// Nothing is left out.
    None,
    /// The direction of a frame.
    Direction,
    /// The number of a frame, and so which call it is.
    Call,
    /// The nonces of a session.
    Nonce,
}

#[cfg(not(feature = "mutations"))]
mod switch {
    /// Never.
    pub(crate) const fn is(_: super::Weakness) -> bool {
        false
    }
}

#[cfg(feature = "mutations")]
mod switch {
    use super::Weakness;
    use std::sync::atomic::{AtomicU8, Ordering};

    static PLANTED: AtomicU8 = AtomicU8::new(0);

    pub(crate) fn is(weakness: Weakness) -> bool {
        PLANTED.load(Ordering::Relaxed) == weakness as u8
    }

    /// Weakens all proofs of this process.
    pub fn weaken(weakness: Weakness) {
        PLANTED.store(weakness as u8, Ordering::Relaxed);
    }
}

pub(crate) use switch::is;
#[cfg(feature = "mutations")]
pub use switch::weaken;

//! Time as the engine sees it. Only the leader looks at it, and only to timestamp entries; everything else is ticks.

/// Two clocks.
pub trait Clock: Send + 'static {
    /// Milliseconds since 1970 by the machine's wall clock; may jump.
    fn wall_ms(&self) -> i64;
    /// Milliseconds since some fixed moment; never falls, never jumps.
    fn monotonic_ms(&self) -> u64;
}

//! The kinds of harm to a broker and to what connects it, and what was done.

use std::fmt;
use std::time::Duration;

/// One kind of harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// kill -9 of the broker, and a start.
    Kill,
    /// SIGSTOP of the broker for 0.2 to 5 s, then SIGCONT.
    Stop,
    /// Connections of portals and nodes to the broker are dropped.
    Drop,
    /// They are silent for a time.
    Silence,
    /// SIGSTOP of one portal for a time, then SIGCONT: what the bus and the store told it meanwhile comes at once.
    StopPortal,
    /// Writes of one record by two portals, one of which is stopped in the middle ([`super::duel`]).
    Duel,
}

/// All of them.
pub const ALL: [Fault; 6] =
    [Fault::Kill, Fault::Stop, Fault::Drop, Fault::Silence, Fault::StopPortal, Fault::Duel];

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Fault::Kill => "kill",
            Fault::Stop => "stop",
            Fault::Drop => "drop",
            Fault::Silence => "silence",
            Fault::StopPortal => "stop-portal",
            Fault::Duel => "duel",
        })
    }
}

/// What was harmed.
#[derive(Clone, Copy, Debug)]
pub struct Harm {
    /// How.
    pub fault: Fault,
    /// For how long.
    pub lasted: Duration,
    /// Connections that were dropped or silent.
    pub connections: u64,
}

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Harm { fault, lasted, connections } = self;
        write!(f, "{fault} for {} ms, {connections} connections", lasted.as_millis())
    }
}

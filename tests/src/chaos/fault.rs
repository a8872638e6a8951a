//! The faults of a cluster, by name.

use std::fmt;
use std::str::FromStr;

/// One kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// kill -9 of one node.
    KillOne,
    /// kill -9 of the leader.
    KillLeader,
    /// kill -9 of a majority, the leader among them.
    KillMajority,
    /// kill -9 of all nodes at once.
    KillAll,
    /// SIGSTOP of one follower, longer than an election, then SIGCONT.
    PauseOne,
    /// The same to the leader.
    PauseLeader,
    /// A follower hears nobody and nobody hears it.
    IsolateOne,
    /// The same to the leader.
    IsolateLeader,
    /// The leader is heard and hears nothing.
    DeafLeader,
    /// The leader hears and is not heard.
    MuteLeader,
    /// The leader and one follower do not hear each other; all others do.
    Partial,
    /// Everything between the nodes is late.
    Delay,
    /// Packets between the nodes get lost, and connections break.
    Loss,
    /// Nothing comes back from a follower's disk.
    HangOne,
    /// Nothing comes back from the leader's disk.
    HangLeader,
    /// No room on the disk of one follower.
    FullOne,
    /// No room on the leader's disk.
    FullLeader,
    /// No room on the disks of a majority.
    FullMajority,
    /// Each node in turn killed with -9 and restarted.
    InTurn,
    /// Each node in turn stopped gracefully and restarted; the leader transfers leadership.
    RollingRestart,
    /// The leader gives its place away.
    TransferLeadership,
}

/// Every fault and its name.
pub const ALL: [(Fault, &str); 21] = [
    (Fault::KillOne, "kill-one"),
    (Fault::KillLeader, "kill-leader"),
    (Fault::KillMajority, "kill-majority"),
    (Fault::KillAll, "kill-all"),
    (Fault::PauseOne, "pause-one"),
    (Fault::PauseLeader, "pause-leader"),
    (Fault::IsolateOne, "isolate-one"),
    (Fault::IsolateLeader, "isolate-leader"),
    (Fault::DeafLeader, "deaf-leader"),
    (Fault::MuteLeader, "mute-leader"),
    (Fault::Partial, "partial"),
    (Fault::Delay, "delay"),
    (Fault::Loss, "loss"),
    (Fault::HangOne, "hang-one"),
    (Fault::HangLeader, "hang-leader"),
    (Fault::FullOne, "full-one"),
    (Fault::FullLeader, "full-leader"),
    (Fault::FullMajority, "full-majority"),
    (Fault::InTurn, "in-turn"),
    (Fault::RollingRestart, "rolling-restart"),
    (Fault::TransferLeadership, "transfer-leadership"),
];

impl Fault {
    /// Whether it is done on the wires between the nodes.
    #[must_use]
    pub fn needs_wires(self) -> bool {
        use Fault::{DeafLeader, Delay, IsolateLeader, IsolateOne, Loss, MuteLeader, Partial};
        matches!(self, IsolateOne | IsolateLeader | DeafLeader | MuteLeader | Partial | Delay | Loss)
    }

    /// Whether it is done to the nodes of a ring of several shards.
    #[must_use]
    pub fn is_for_a_ring(self) -> bool {
        use Fault::{InTurn, KillAll, KillLeader, KillOne, PauseLeader, PauseOne};
        matches!(self, KillOne | KillLeader | KillAll | PauseOne | PauseLeader | InTurn)
    }

    /// Whether it is done on disks that can hang.
    #[must_use]
    pub fn needs_disks_that_hang(self) -> bool {
        matches!(self, Fault::HangOne | Fault::HangLeader)
    }

    /// Whether it is done on small disks.
    #[must_use]
    pub fn needs_small_disks(self) -> bool {
        matches!(self, Fault::FullOne | Fault::FullLeader | Fault::FullMajority)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, name) = ALL.iter().find(|(fault, _)| fault == self).expect("every fault has a name");
        formatter.pad(name)
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Fault, String> {
        let found = ALL.iter().find(|(_, name)| *name == text).map(|(fault, _)| *fault);
        let names = || ALL.iter().map(|(_, name)| *name).collect::<Vec<_>>().join(", ");
        found.ok_or_else(|| format!("{text:?} is no fault; there are: {}", names()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_read_by_the_name_that_it_shows() {
        for (fault, name) in ALL {
            assert_eq!((name.parse(), fault.to_string()), (Ok(fault), name.to_owned()));
        }
        assert!("kill".parse::<Fault>().expect_err("none").contains("kill-leader"));
    }
}

//! The stages of a simulated node that are turned one by one, and those of them that wait for a disk that hangs.

/// Stages of a node besides its replicators.
pub(crate) const STAGES: usize = 5;

/// Which stage to turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    Node,
    Writer,
    Ballots,
    Applier,
    Replicator(usize),
    /// Lets the node hear of what was done aside.
    Background,
}

impl Stage {
    pub(crate) fn slot(self) -> usize {
        match self {
            Stage::Node => 0,
            Stage::Writer => 1,
            Stage::Applier => 2,
            Stage::Background => 3,
            Stage::Ballots => 4,
            Stage::Replicator(peer) => STAGES + peer,
        }
    }
}

/// What of a node's disk hangs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Hung {
    pub(crate) log: bool,
    pub(crate) ballot: bool,
    pub(crate) database: bool,
}

impl Hung {
    pub(crate) fn of_dice(dice: u64) -> Hung {
        match dice % 5 {
            0 => Hung { log: true, ballot: true, database: true },
            1 | 2 => Hung { log: true, ballot: true, database: false },
            3 => Hung { log: false, ballot: true, database: false },
            _ => Hung { log: false, ballot: false, database: true },
        }
    }

    /// Whether this stage waits for the disk.
    pub(crate) fn stops(self, stage: Stage) -> bool {
        match stage {
            Stage::Writer | Stage::Background => self.log,
            Stage::Ballots => self.ballot,
            Stage::Applier => self.database,
            Stage::Node | Stage::Replicator(_) => false,
        }
    }

    pub(crate) fn any(self) -> bool {
        self.log || self.ballot || self.database
    }
}

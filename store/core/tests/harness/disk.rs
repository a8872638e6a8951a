//! A machine's disk, and the writes on their way there.

use std::rc::Rc;

use store_core::{
    Ballot, Epoch, EpochHistory, Input, Membership, Offset, Output, Position, Replica, Restored, Run,
    WriteSeq,
};

/// The bytes of an entry, as far as tests care.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Payload {
    Empty,
    Membership(Membership),
    Command(Rc<str>),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Item {
    pub(crate) position: Position,
    pub(crate) payload: Payload,
}

/// A log with its entries; on disk, and as a node has it in memory.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Log {
    /// The last position that was purged.
    pub(crate) base: Position,
    /// What follows it, without gaps.
    pub(crate) items: Vec<Item>,
}

impl Log {
    pub(crate) fn last(&self) -> Position {
        self.items.last().map_or(self.base, |item| item.position)
    }

    pub(crate) fn get(&self, offset: Offset) -> Option<&Item> {
        let index = offset.0.checked_sub(self.base.offset.0 + 1)?;
        self.items.get(usize::try_from(index).unwrap())
    }

    /// Whether exactly this entry is there, or was purged behind a snapshot that has it.
    pub(crate) fn holds(&self, position: Position) -> bool {
        position.offset <= self.base.offset
            || self.get(position.offset).is_some_and(|item| item.position == position)
    }

    pub(crate) fn append(&mut self, item: Item) {
        assert_eq!(item.position.offset, self.last().offset.next(), "a log has no gaps");
        self.items.push(item);
    }

    pub(crate) fn truncate(&mut self, from: Offset) {
        assert!(from > self.base.offset, "what was purged is not truncated");
        self.items.retain(|item| item.position.offset < from);
    }

    pub(crate) fn purge(&mut self, up_to: Offset) {
        if up_to > self.base.offset {
            self.base = self.get(up_to).expect("only what is there is purged").position;
            self.items.retain(|item| item.position.offset > up_to);
        }
    }

    /// The items from `first` to `last`, or `None` if the log does not reach back so far.
    pub(crate) fn slice(&self, first: Offset, last: Offset) -> Option<Vec<Item>> {
        (first.0..=last.0).map(|offset| self.get(Offset(offset)).cloned()).collect()
    }
}

/// Steps a core whose disk saves ballots, and whose database takes what is committed, at once.
pub(crate) fn step(replica: &mut Replica, input: Input, out: &mut Vec<Output>) {
    step_applying(replica, input, true, out);
}

/// The same, with a database that may stand still.
pub(crate) fn step_applying(replica: &mut Replica, input: Input, applies: bool, out: &mut Vec<Output>) {
    let before = out.len();
    replica.step(input, out);
    let saved = out[before..].iter().rev().find_map(|output| match output {
        Output::SaveBallot(ballot) => Some(*ballot),
        _ => None,
    });
    if let Some(ballot) = saved {
        replica.step(Input::BallotSaved { ballot }, out);
    }
    let applied = out[before..].iter().rev().find_map(|output| match output {
        Output::Commit { up_to } => Some(up_to.offset),
        _ => None,
    });
    if let Some(up_to) = applied.filter(|_| applies) {
        replica.step(Input::Applied { up_to }, out);
    }
}

/// Describes items as the protocol does.
pub(crate) fn runs(items: &[Item]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for Position { epoch, offset } in items.iter().map(|item| item.position) {
        match runs.last_mut() {
            Some(run) if run.epoch == epoch => run.last = offset,
            _ => runs.push(Run { epoch, first: offset, last: offset }),
        }
    }
    runs
}

/// The memberships among items.
pub(crate) fn memberships(items: &[Item]) -> Vec<(Offset, Membership)> {
    let membership = |item: &Item| match &item.payload {
        Payload::Membership(membership) => Some((item.position.offset, membership.clone())),
        _ => None,
    };
    items.iter().filter_map(membership).collect()
}

/// The state at one position: here simply every entry up to it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) state: Vec<Item>,
}

impl Snapshot {
    pub(crate) fn position(&self) -> Position {
        self.state.last().map_or(Position::ZERO, |item| item.position)
    }

    pub(crate) fn membership(&self) -> (Offset, Membership) {
        memberships(&self.state).pop().expect("entry 1 is a membership")
    }
}

/// A write under way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Write {
    Truncate(Offset),
    Append(WriteSeq, Vec<Item>),
}

/// What survives a crash.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) ballot: Ballot,
    pub(crate) log: Log,
    pub(crate) snapshot: Snapshot,
    /// The log lost a tail that may have been acknowledged.
    pub(crate) maybe_lost_tail: bool,
}

impl Disk {
    pub(crate) fn write(&mut self, write: &Write) {
        match write {
            Write::Truncate(from) => self.log.truncate(*from),
            Write::Append(_, items) => items.iter().for_each(|item| self.log.append(item.clone())),
        }
    }

    pub(crate) fn restored(&self, committed: Offset) -> Restored {
        let mut history = EpochHistory::starting_after(self.log.base);
        runs(&self.log.items).into_iter().for_each(|run| history.append(run));
        let base = usize::try_from(self.log.base.offset.0).unwrap();
        let mut in_force = memberships(&self.snapshot.state[..base]);
        in_force.extend(memberships(&self.log.items));
        Restored {
            ballot: self.ballot,
            history,
            committed,
            memberships: in_force,
            maybe_lost_tail: self.maybe_lost_tail,
            snapshot: self.snapshot.position(),
            checkpoints: Vec::new(),
            quarantined: false,
        }
    }

    /// A log of these epochs behind the first membership, each entry labelled by its position.
    pub(crate) fn planted(membership: &Membership, epochs: &[u64]) -> Log {
        let mut log = Log::default();
        for (offset, epoch) in (1..).zip(epochs) {
            let position = Position { epoch: Epoch(*epoch), offset: Offset(offset) };
            let payload = match offset {
                1 => Payload::Membership(membership.clone()),
                _ => Payload::Command(format!("x{epoch}.{offset}").into()),
            };
            log.append(Item { position, payload });
        }
        log
    }
}

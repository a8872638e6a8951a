//! One attempt at a cut, as its driver makes it: freeze all, wait until all are drained, cut all, thaw all.

use alloc::vec::Vec;

use crate::mutant;

/// One thing that a driver is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RoundInput<P> {
    /// A group is frozen since this offset, and drained.
    Drained(usize, u64),
    /// A group has taken its view, at this position.
    Taken(usize, P),
    /// A group has refused, or did not answer.
    Refused(usize),
}

/// One thing that a driver is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RoundOutput {
    /// Ask a group's leader for the freeze.
    Freeze(usize),
    /// Ask a group's leader for the cut of the freeze of this offset.
    Cut(usize, u64),
    /// Ask a group's leader to end the freeze, which was not asked for again since it was answered. It ends by itself if that
    /// is lost.
    Thaw(usize),
    /// The cut is there: [`Round::positions`].
    Taken,
    /// There is no cut, whatever some groups have taken.
    Void,
}

/// One attempt. Groups are named by their places.
#[derive(Clone, Debug)]
pub struct Round<P> {
    /// The offset of each group's freeze.
    drained: Vec<Option<u64>>,
    /// Where each group was cut.
    taken: Vec<Option<P>>,
    /// Which groups have answered that they are frozen, or not.
    has_answered: Vec<bool>,
    is_over: bool,
}

impl<P: Copy> Round<P> {
    /// An attempt over so many groups, and what it begins with.
    #[must_use]
    pub fn begin(groups: usize) -> (Round<P>, Vec<RoundOutput>) {
        let none = || (0..groups).map(|_| None).collect();
        let taken = (0..groups).map(|_| None).collect();
        let has_answered = (0..groups).map(|_| false).collect();
        let round = Round { drained: none(), taken, has_answered, is_over: false };
        (round, (0..groups).map(RoundOutput::Freeze).collect())
    }

    /// Takes one thing that the driver was told; what it is to do.
    pub fn step(&mut self, input: RoundInput<P>) -> Vec<RoundOutput> {
        let first = match input {
            RoundInput::Drained(group, _) | RoundInput::Refused(group) => {
                !core::mem::replace(&mut self.has_answered[group], true)
            }
            RoundInput::Taken(..) => false,
        };
        match input {
            // Before its answer a thaw could be overtaken by the freeze.
            RoundInput::Drained(group, _) | RoundInput::Refused(group) if self.is_over && first => {
                Vec::from([RoundOutput::Thaw(group)])
            }
            _ if self.is_over => Vec::new(),
            RoundInput::Drained(group, offset) => self.drained(group, offset),
            RoundInput::Taken(group, position) => {
                self.taken[group] = Some(position);
                if self.taken.iter().all(Option::is_some) { self.end(RoundOutput::Taken) } else { Vec::new() }
            }
            RoundInput::Refused(_) => self.end(RoundOutput::Void),
        }
    }

    /// Where each group was cut, when [`RoundOutput::Taken`] has been said.
    #[must_use]
    pub fn positions(&self) -> Vec<P> {
        self.taken.iter().flatten().copied().collect()
    }

    fn drained(&mut self, group: usize, offset: u64) -> Vec<RoundOutput> {
        match self.drained[group] {
            // It stood still twice, and may have gone on in between.
            Some(known) if known != offset => return self.end(RoundOutput::Void),
            Some(_) => return Vec::new(),
            None => self.drained[group] = Some(offset),
        }
        if mutant!(CutWhenOwnDrained) {
            return Vec::from([RoundOutput::Cut(group, offset)]);
        }
        let all: Option<Vec<u64>> = self.drained.iter().copied().collect();
        let cut = |(group, offset)| RoundOutput::Cut(group, offset);
        all.map(|offsets| offsets.into_iter().enumerate().map(cut).collect()).unwrap_or_default()
    }

    /// Whatever has come of it, every group goes on: those that have not answered yet, when they do.
    fn end(&mut self, how: RoundOutput) -> Vec<RoundOutput> {
        self.is_over = true;
        let answered = self.has_answered.iter().enumerate().filter(|(_, has)| **has);
        let mut out: Vec<RoundOutput> = answered.map(|(group, _)| RoundOutput::Thaw(group)).collect();
        out.push(how);
        out
    }
}

//! Consistent cuts: drivers that want one, leaders' parts in them, and whether what they got is of one moment.

use proto::store::command::Kind;
use proto::store::{CutCommand, FreezeCommand, ThawCommand};
use store_core::cut::{CutId, Freeze, FreezeInput, FreezeOutput, Round, RoundInput, RoundOutput, THAW_TICKS};
use store_db::{Reply, Table as _, cut, state};

use super::world::Purpose;
use super::{Seen, World};

/// Cuts that are begun in one walk.
const CUTS_MAX: u128 = 12;

/// Somebody who wants a cut: one attempt.
pub struct Driver {
    id: CutId,
    round: Round<u64>,
    /// What it is to do yet, in any order; what was done may be done again.
    wants: Vec<RoundOutput>,
    is_over: bool,
    /// How many states the store has had when it began.
    since: usize,
    /// The stored values of each group's keys where it was cut.
    taken: Vec<Vec<(usize, i64)>>,
}

fn bytes(id: CutId) -> bytes::Bytes {
    id.to_be_bytes().to_vec().into()
}

impl World {
    /// One step of a driver, or of a leader that is asked by one.
    pub fn cut_step(&mut self, group: usize, seen: &mut Seen) {
        match self.random.below(10) {
            0..1 => self.begin_cut(),
            1..5 => self.drive(seen),
            5..8 => {
                let at = self.some_leader(group);
                self.look(group, at);
            }
            _ => {
                // In some walks drivers are slow, and leaders thaw while a cut is under way.
                let often = if self.is_slow { 8 } else { 40 };
                let ticks = if self.random.one_in(often) { THAW_TICKS } else { 5 };
                self.pass_time(group, ticks);
            }
        }
    }

    pub fn frozen(&self, group: usize) -> Option<Freeze> {
        cut::freeze(&self.groups[group].table.read(state::read).unwrap())
    }

    /// Any node that believes to lead may be asked, most often the one that does.
    fn some_leader(&mut self, group: usize) -> usize {
        let count = self.groups[group].freezers.len();
        if self.random.one_in(5) { self.random.below(count) } else { count - 1 }
    }

    fn begin_cut(&mut self) {
        let id = self.drivers.last().map_or(1, |driver| driver.id + 1);
        // Two at once are in each other's way; and whoever is gone leaves a group that stands still.
        let is_busy = self.drivers.iter().any(|driver| !driver.is_over || !driver.wants.is_empty());
        let is_still = (0..self.groups.len()).any(|group| self.frozen(group).is_some());
        if id > CUTS_MAX || ((is_busy || is_still) && !self.random.one_in(20)) {
            return;
        }
        let (round, wants) = Round::begin(self.groups.len());
        let since = self.model.history.len() - 1;
        let taken = vec![Vec::new(); self.groups.len()];
        self.drivers.push(Driver { id, round, wants, is_over: false, since, taken });
    }

    /// A driver does one of the things that it has to do, or never does: then it has died.
    fn drive(&mut self, seen: &mut Seen) {
        let busy: Vec<usize> =
            (0..self.drivers.len()).filter(|number| !self.drivers[*number].wants.is_empty()).collect();
        if busy.is_empty() || (self.is_slow && self.random.one_in(2)) {
            return;
        }
        let number = busy[self.random.below(busy.len())];
        let has_begun = self.drivers[number].taken.iter().any(|of_group| !of_group.is_empty());
        if self.is_slow && has_begun && !self.random.one_in(6) {
            return;
        }
        let wanted = self.random.below(self.drivers[number].wants.len());
        let id = self.drivers[number].id;
        let is_again = self.random.one_in(12);
        let wants = &mut self.drivers[number].wants;
        let wanted = if is_again { wants[wanted] } else { wants.swap_remove(wanted) };
        match wanted {
            RoundOutput::Freeze(group) => {
                let at = self.some_leader(group);
                self.freezer(group, at, FreezeInput::Ask(id));
            }
            RoundOutput::Cut(group, frozen_at) => {
                let kind = Kind::Cut(CutCommand { id: bytes(id), frozen_at, prefixes: Vec::new() });
                self.append(group, self.groups[group].epoch, kind, Purpose::Cut(id));
            }
            RoundOutput::Thaw(group) => {
                let kind = Kind::Thaw(ThawCommand { id: bytes(id) });
                self.append(group, self.groups[group].epoch, kind, Purpose::Thaw);
            }
            RoundOutput::Taken => {
                self.drivers[number].wants.retain(|wanted| *wanted != RoundOutput::Taken);
                self.is_of_one_moment(number);
                seen.cuts += 1;
            }
            RoundOutput::Void => {
                self.drivers[number].wants.retain(|wanted| *wanted != RoundOutput::Void);
                seen.void += 1;
            }
        }
    }

    /// All cuts of a driver together are what the store was at one moment since it began.
    fn is_of_one_moment(&self, number: usize) {
        let driver = &self.drivers[number];
        let mut values = vec![0; self.keys.len()];
        for (key, value) in driver.taken.iter().flatten() {
            values[*key] = *value;
        }
        let states = &self.model.history[driver.since..];
        assert!(states.contains(&values), "a cut is of one moment: {values:?} is none of {states:?}");
    }

    /// One step of a leader's part in cuts.
    pub fn freezer(&mut self, group: usize, at: usize, input: FreezeInput) {
        let epoch = at as u64 + 1;
        for output in self.groups[group].freezers[at].step(input) {
            match output {
                FreezeOutput::AppendFreeze(id) => {
                    let kind = Kind::Freeze(FreezeCommand { id: bytes(id), ring_version: 0 });
                    self.append(group, epoch, kind, Purpose::Freeze(id));
                }
                FreezeOutput::AppendThaw(id) => {
                    let kind = Kind::Thaw(ThawCommand { id: bytes(id) });
                    self.append(group, epoch, kind, Purpose::Thaw);
                }
                FreezeOutput::Drained(freeze) => {
                    self.tell_driver(freeze.id, RoundInput::Drained(group, freeze.offset));
                }
                // A driver that hears nothing asks again.
                FreezeOutput::Refuse(id, _) if self.random.one_in(3) => {
                    self.tell_driver(id, RoundInput::Refused(group));
                }
                FreezeOutput::Refuse(id, _) => {
                    if let Some(driver) = self.drivers.iter_mut().find(|driver| driver.id == id) {
                        driver.wants.push(RoundOutput::Freeze(group));
                    }
                }
            }
        }
    }

    fn tell_driver(&mut self, id: CutId, input: RoundInput<u64>) {
        if let Some(driver) = self.drivers.iter_mut().find(|driver| driver.id == id) {
            let wants = driver.round.step(input);
            driver.is_over |= wants.iter().any(|it| matches!(it, RoundOutput::Taken | RoundOutput::Void));
            driver.wants.extend(wants);
        }
    }

    /// A leader, perhaps one that does not know that it is deposed, looks at what is applied.
    fn look(&mut self, group: usize, at: usize) {
        let state = self.groups[group].table.read(state::read).unwrap();
        let undecided = self.groups[group].leaders[at].undecided();
        let (frozen, prepared) = (cut::freeze(&state), state.prepared_count);
        self.freezer(group, at, FreezeInput::See { frozen, prepared, undecided });
    }

    /// Time goes by for the present leader, which looks before and after.
    pub fn pass_time(&mut self, group: usize, ticks: u32) {
        let at = self.groups[group].freezers.len() - 1;
        self.look(group, at);
        for _ in 0..ticks {
            self.freezer(group, at, FreezeInput::Tick);
        }
        self.look(group, at);
    }

    pub fn heard_cut(&mut self, group: usize, id: CutId, reply: &Reply) {
        let Some(number) = self.drivers.iter().position(|driver| driver.id == id) else { return };
        let input = match reply {
            Reply::Audit { .. } => {
                let of_group = (0..self.keys.len()).filter(|key| self.scene.groups[*key] == group);
                let values: Vec<(usize, i64)> = of_group.map(|key| (key, self.stored(key))).collect();
                self.drivers[number].taken[group] = values;
                RoundInput::Taken(group, 0)
            }
            Reply::Refused(_) => RoundInput::Refused(group),
            other => panic!("{other:?}"),
        };
        self.tell_driver(id, input);
        // A driver stops for long after the first of its cuts.
        if self.is_slow && !self.random.one_in(4) {
            self.pass_time(group, THAW_TICKS);
        }
    }
}

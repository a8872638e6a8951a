//! Random lives of a log on the simulated disk against a model: appends, syncs, cuts, rolls, votes, kills, power
//! losses, deaths inside any operation and inside recovery. Synced entries are there, nothing is invented, the log
//! is a prefix of what was written, votes stay, and a kill alone never makes a log tell of a lost tail.
#![allow(clippy::unwrap_used)]

use super::*;

const SEEDS: u64 = 2_000;
const STEPS: u64 = 24;

/// What may be found after a restart.
struct Model {
    /// Everything written, from offset 1 on, as the writer sees it.
    entries: Vec<Entry<Bytes>>,
    /// So many of them are certainly durable.
    durable: usize,
    /// Offsets up to here may be gone behind a snapshot, or not: from the first, to the second.
    base: (u64, u64),
    /// The confirmed ballot, and one whose saving was interrupted.
    ballot: (Ballot, Option<Ballot>),
    /// The next payload, so that no two entries are alike.
    serial: u64,
    maybe_lost_tail: bool,
    /// The suspicion was being cleared when the machine died.
    clearing: bool,
    seen: Seen,
}

/// How often what the test is about came up.
#[derive(Default)]
struct Seen {
    deaths: u64,
    innocent_cuts: u64,
    lost_tail_cuts: u64,
    lost_entries: u64,
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

impl Model {
    fn last(&self) -> u64 {
        self.entries.len() as u64
    }

    /// One operation. An error means that the machine died in it; the model then allows before and after.
    fn act(&mut self, log: &mut Log<SimDisk>, random: &mut Random) -> Result<(), Error> {
        match random.below(14) {
            0..=4 => self.append(log, random),
            5..=7 => {
                log.sync()?;
                self.durable = self.entries.len();
                Ok(())
            }
            8..=9 => self.truncate(log, random),
            10 => match log.roll(Offset(self.last())) {
                Err(Error::Invalid(_)) => Ok(()),
                other => other.map(|_| self.durable = self.entries.len()),
            },
            11 => self.remove(log, random),
            _ => self.vote(log, random),
        }
    }

    fn append(&mut self, log: &mut Log<SimDisk>, random: &mut Random) -> Result<(), Error> {
        let epoch = self.ballot.0.epoch.0;
        let mut batch = Vec::new();
        for i in 0..=random.below(4) {
            let mut one = entry(epoch, self.last() + 1 + i, random.below(900) as usize);
            self.serial += 1;
            one.log_time_ms = self.serial.cast_signed();
            batch.push(one);
        }
        // If the machine dies in it, all of the batch or nothing may be found.
        self.entries.extend_from_slice(&batch);
        log.append(&batch, Offset(self.durable as u64 / 2))
    }

    fn truncate(&mut self, log: &mut Log<SimDisk>, random: &mut Random) -> Result<(), Error> {
        let low = log.commit_mark().0.max(log.reader().base().0) + 1;
        if low > self.last() {
            return Ok(());
        }
        let from = low + random.below(self.last() - low + 1);
        let kept = (from - 1) as usize;
        self.durable = self.durable.min(kept);
        log.truncate(Offset(from), Offset(low - 1))?;
        self.entries.truncate(kept);
        self.durable = kept;
        Ok(())
    }

    fn remove(&mut self, log: &mut Log<SimDisk>, random: &mut Random) -> Result<(), Error> {
        let files = log.files();
        let keep = files[random.below(files.len() as u64) as usize];
        self.base.1 = keep.base.0.max(self.base.0);
        log.remove_before(keep.number)?;
        self.base.0 = self.base.1;
        Ok(())
    }

    fn vote(&mut self, log: &mut Log<SimDisk>, random: &mut Random) -> Result<(), Error> {
        let epoch = Epoch(self.ballot.0.epoch.0 + 1);
        let new = Ballot { epoch, voted_for: Some(NodeId(1 + random.below(3))) };
        self.ballot.1 = Some(new);
        log.save_ballot(new)?;
        self.ballot = (new, None);
        Ok(())
    }

    /// Checks what a restart found, and takes it over.
    fn found(&mut self, log: &Log<SimDisk>, found: &Recovered, innocent: bool) {
        let (base, last) = (found.history.base().offset.0, found.history.last().offset.0);
        assert!((self.base.0..=self.base.1).contains(&base), "base {base}, allowed {:?}", self.base);
        assert!(last as usize >= self.durable, "{last} entries found, {} were synced", self.durable);
        assert!(last <= self.last(), "{last} entries found, {} were written", self.last());
        assert_eq!(all(log), self.entries[base as usize..last as usize], "nothing else was written");
        assert!(found.commit_mark <= found.history.last().offset);
        let allowed = [Some(self.ballot.0), self.ballot.1];
        assert!(allowed.contains(&Some(found.ballot)), "{:?} found, {allowed:?} saved", found.ballot);
        if innocent && !self.clearing {
            assert_eq!(found.maybe_lost_tail, self.maybe_lost_tail, "nothing was lost: {:?}", found.cut);
        }
        assert!(
            found.maybe_lost_tail >= self.maybe_lost_tail || self.clearing,
            "a suspicion is not forgotten"
        );
        match &found.cut {
            Some(cut) if cut.innocent => self.seen.innocent_cuts += 1,
            Some(_) => self.seen.lost_tail_cuts += 1,
            None => {}
        }
        self.seen.lost_entries += self.last() - last;
        self.clearing = false;
        self.maybe_lost_tail = found.maybe_lost_tail;
        self.entries.truncate(last as usize);
        self.durable = self.entries.len();
        self.base = (base, base);
        self.ballot = (found.ballot, None);
    }
}

/// Restarts until recovery gets through; dies in it now and then. Whether only kills happened.
fn restart(disk: &SimDisk, random: &mut Random, boots: &mut u64) -> (Log<SimDisk>, Recovered, bool) {
    let mut innocent = true;
    loop {
        if random.below(2) == 0 {
            disk.kill();
        } else {
            disk.crash(random.below(u64::MAX));
            *boots += 1;
            innocent = false;
        }
        if random.below(4) == 0 {
            disk.die_at(random.below(12), random.below(1000));
        }
        match try_open(disk.clone(), &format!("boot {boots}")) {
            Ok((log, found)) => return (log, found, innocent),
            Err(error) => assert!(disk.is_dead(), "recovery refused: {error}"),
        }
    }
}

fn live(seed: u64) -> Seen {
    let mut random = Random(seed);
    let disk = SimDisk::new();
    bootstrap(&disk, &identity(), INCARNATION, &boot("boot 0"), &membership()).unwrap();
    let mut boots = 0;
    let mut model = Model {
        entries: vec![first()],
        durable: 1,
        base: (0, 0),
        ballot: (ballot(1), None),
        serial: 0,
        maybe_lost_tail: false,
        clearing: false,
        seen: Seen::default(),
    };
    let (mut log, _) = open(disk.clone(), "boot 0");
    for _ in 0..STEPS {
        if random.below(6) == 0 {
            disk.die_at(random.below(10), random.below(1000));
        }
        let died = match model.act(&mut log, &mut random) {
            Ok(()) => false,
            Err(error) => {
                assert!(disk.is_dead(), "an operation failed: {error}");
                true
            }
        };
        if died || random.below(9) == 0 {
            drop(log);
            let (opened, found, innocent) = restart(&disk, &mut random, &mut boots);
            model.found(&opened, &found, innocent);
            log = opened;
            model.seen.deaths += u64::from(died);
            if model.maybe_lost_tail && random.below(2) == 0 {
                model.clearing = log.clear_lost_tail().is_err();
                model.maybe_lost_tail = model.clearing;
            }
        }
    }
    model.seen
}

#[test]
fn random_lives_keep_what_was_synced() {
    let mut all = Seen::default();
    for seed in 0..SEEDS {
        match std::panic::catch_unwind(|| live(seed)) {
            Ok(seen) => {
                all.deaths += seen.deaths;
                all.innocent_cuts += seen.innocent_cuts;
                all.lost_tail_cuts += seen.lost_tail_cuts;
                all.lost_entries += seen.lost_entries;
            }
            Err(panic) => {
                eprintln!("seed {seed} failed");
                std::panic::resume_unwind(panic);
            }
        }
    }
    let Seen { deaths, innocent_cuts, lost_tail_cuts, lost_entries } = all;
    println!(
        "{deaths} deaths, {innocent_cuts} innocent and {lost_tail_cuts} other cuts, {lost_entries} lost"
    );
    assert!(deaths > SEEDS && innocent_cuts > 50 && lost_tail_cuts > 50 && lost_entries > SEEDS / 2);
}

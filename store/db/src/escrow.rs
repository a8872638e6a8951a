//! Additions to a number on which other additions wait for their decisions (escrow; docs/PROTOCOL.md, 10).
//!
//! ```text
//!   v = the stored value; each transaction that waits adds aᵢ, or nothing:
//!
//!        low = v + Σ min(aᵢ, 0)          v            high = v + Σ max(aᵢ, 0)
//!   ──────────┼──────────────────────────┼───────────────────────┼──────────────►
//!             └ if only what takes is decided                     └ if only what gives is
//! ```
//!
//! Promises: an addition is done only if it keeps its minimum, that of every addition that waits, and the range of 64 bits,
//! whatever is decided; it fails only if it would fail whatever is decided; otherwise it is locked. So nothing is sold twice,
//! and nobody hears "sold out" because of an order that may come to nothing. All sums are of 128 bits. Several additions of one
//! transaction to one number wait as one, whose conditions are those of each step.
//!
//! Leaves out: finding the number, and writing it.

use proto::store::PendingAdd;
use proto::store::failed_guard::Reason;
use store_core::mutant;

const MIN: i128 = i64::MIN as i128;
const MAX: i128 = i64::MAX as i128;

/// The additions of one transaction to one number, merged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Summed {
    /// All of them together.
    pub(crate) total: i128,
    /// The least value before them with which each keeps its minimum and the range.
    least: i128,
    /// The greatest value before them with which each keeps the range.
    most: i128,
}

impl Summed {
    pub(crate) fn of(adds: &[PendingAdd]) -> Summed {
        let mut summed = Summed { total: 0, least: MIN, most: MAX };
        for add in adds {
            summed.total += i128::from(add.amount);
            let floor = add.minimum.map_or(MIN, |minimum| i128::from(minimum).max(MIN));
            summed.least = summed.least.max(floor - summed.total);
            summed.most = summed.most.min(MAX - summed.total);
        }
        summed
    }

    fn taken(&self) -> i128 {
        self.total.min(0)
    }

    fn given(&self) -> i128 {
        self.total.max(0)
    }
}

/// What became of one addition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// The value that it leaves, if nothing that waits is decided before it.
    Done(i64),
    /// It cannot be done, whatever is decided.
    Failed(Reason),
    /// Whether it can be done depends on what waits.
    Locked,
}

/// One addition to a number that the transaction itself has left at `current`, beside the additions of others that wait.
pub(crate) fn step(current: i64, amount: i64, minimum: Option<i64>, waiting: &[Summed]) -> Step {
    let sum = i128::from(current) + i128::from(amount);
    let minimum = minimum.filter(|_| !mutant!(MinimumIgnored)).map_or(MIN, i128::from);
    let ignored = mutant!(EscrowIgnoresPending);
    let taken: i128 = waiting.iter().filter(|_| !ignored).map(Summed::taken).sum();
    let given: i128 = waiting.iter().filter(|_| !ignored).map(Summed::given).sum();
    let (low, high) = (sum + taken, sum + given);
    let low = if mutant!(PendingPositiveCounted) { low + given } else { low };
    if low > MAX || high < MIN {
        return Step::Failed(Reason::Overflow);
    }
    if high < minimum || (mutant!(UndecidedIsSoldOut) && low < minimum) {
        return Step::Failed(Reason::BelowMinimum);
    }
    if low < minimum || low < MIN || high > MAX {
        return Step::Locked;
    }
    i64::try_from(sum).map_or(Step::Locked, Step::Done)
}

/// Whether what waits keeps its minima and the range with an addition of `total` to the stored value `stored`, decided or not.
pub(crate) fn keeps(stored: i64, total: i128, waiting: &[Summed]) -> bool {
    let stored = i128::from(stored);
    let low = stored + waiting.iter().map(Summed::taken).sum::<i128>() + total.min(0);
    let high = stored + waiting.iter().map(Summed::given).sum::<i128>() + total.max(0);
    // They are finished in any order, so that each subset is a stored value at some moment.
    let in_range = low >= MIN && high <= MAX;
    let minima = waiting.iter().all(|each| {
        let (least, most) = (low - each.taken(), high - each.given());
        least >= each.least && most <= each.most
    });
    in_range && (minima || mutant!(PendingMinimumIgnored))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Add = (i64, Option<i64>);

    fn summed(adds: &[Add]) -> Summed {
        let adds: Vec<_> =
            adds.iter().map(|(amount, minimum)| PendingAdd { amount: *amount, minimum: *minimum }).collect();
        Summed::of(&adds)
    }

    /// The same by the store's rule for a transaction alone: `Err` is why, and `Ok` the value that it leaves.
    fn alone(value: i128, adds: &[Add]) -> Result<i128, Reason> {
        adds.iter().try_fold(value, |value, (amount, minimum)| {
            let sum = value + i128::from(*amount);
            if !(MIN..=MAX).contains(&sum) {
                return Err(Reason::Overflow);
            }
            if minimum.is_some_and(|minimum| sum < i128::from(minimum)) {
                Err(Reason::BelowMinimum)
            } else {
                Ok(sum)
            }
        })
    }

    /// Every value that the number may have, by which of what waits is committed before.
    fn outcomes(value: i64, waiting: &[Summed]) -> Vec<i128> {
        (0..1u32 << waiting.len())
            .map(|set| {
                let committed = waiting.iter().enumerate().filter(|(at, _)| set >> at & 1 == 1);
                i128::from(value) + committed.map(|(_, each)| each.total).sum::<i128>()
            })
            .collect()
    }

    /// All steps of a transaction as the overlay does them: what the whole is.
    fn all_steps(value: i64, adds: &[Add], waiting: &[Summed]) -> Step {
        let mut current = value;
        for (amount, minimum) in adds {
            match step(current, *amount, *minimum, waiting) {
                Step::Done(sum) => current = sum,
                other => return other,
            }
        }
        let total = i128::from(current) - i128::from(value);
        if keeps(value, total, waiting) { Step::Done(current) } else { Step::Locked }
    }

    fn near(edge: i64) -> impl Strategy<Value = i64> {
        prop_oneof![6 => -6i64..7, 1 => Just(i64::MAX), 1 => Just(i64::MIN), 1 => (-3i64..4).prop_map(move |d| edge.wrapping_add(d))]
    }

    fn adds() -> impl Strategy<Value = Vec<Add>> {
        prop::collection::vec((near(i64::MAX), prop::option::of(-4i64..6)), 1..3)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        /// Additions are admitted one after the other. Whatever subset of those admitted is decided, in the order of admission or
        /// in the other, and in whatever order they are finished, no minimum is broken and no sum leaves the range.
        #[test]
        fn whatever_is_decided_no_minimum_is_broken_and_definite_is_definite(
            value in near(i64::MIN), tries in prop::collection::vec(adds(), 1..5),
        ) {
            let mut admitted: Vec<Vec<Add>> = Vec::new();
            for each in tries {
                let waiting: Vec<Summed> = admitted.iter().map(|adds| summed(adds)).collect();
                let values = outcomes(value, &waiting);
                match all_steps(value, &each, &waiting) {
                    Step::Done(_) => {
                        prop_assert!(values.iter().all(|value| alone(*value, &each).is_ok()), "one outcome breaks it");
                        admitted.push(each);
                    }
                    Step::Failed(reason) => {
                        prop_assert!(values.iter().all(|value| alone(*value, &each).is_err()), "{reason:?} is not definite");
                    }
                    // It may be locked for the sake of others; but not if it fails for one reason whatever is decided.
                    Step::Locked => {
                        let all: Vec<_> = values.iter().map(|value| alone(*value, &each).err()).collect();
                        let is_one_step = each.len() == 1;
                        prop_assert!(!is_one_step || all[0].is_none() || all.iter().any(|other| *other != all[0])
                            || !same_side(&values, &each), "definite, and locked");
                        prop_assert!(!waiting.is_empty(), "nothing is in the way");
                    }
                }
            }
            let all: Vec<Summed> = admitted.iter().map(|adds| summed(adds)).collect();
            for sum in outcomes(value, &all) {
                prop_assert!((MIN..=MAX).contains(&sum), "a stored value at some moment");
            }
            for set in 0..1usize << admitted.len() {
                for is_reversed in [false, true] {
                    let mut order: Vec<usize> = (0..admitted.len()).filter(|at| set >> at & 1 == 1).collect();
                    if is_reversed { order.reverse(); }
                    let mut now = i128::from(value);
                    for at in order {
                        now = alone(now, &admitted[at]).map_err(|why| TestCaseError::fail(format!("{why:?}")))?;
                    }
                }
            }
        }
    }

    /// Whether all outcomes fail at the same end of the range: an overflow may be at either.
    fn same_side(values: &[i128], adds: &[Add]) -> bool {
        let ends = values.iter().map(|value| value + i128::from(adds[0].0) > MAX);
        let ends: Vec<bool> = ends.collect();
        ends.windows(2).all(|pair| pair[0] == pair[1])
    }

    #[test]
    fn a_unit_that_is_not_decided_is_neither_sold_twice_nor_sold_out() {
        let one_waits = [summed(&[(-1, Some(0))])];
        assert_eq!(step(1, -1, Some(0), &one_waits), Step::Locked);
        assert_eq!(step(2, -1, Some(0), &one_waits), Step::Done(1));
        assert_eq!(step(0, -1, Some(0), &[summed(&[(1, None)])]), Step::Locked, "what may come is not there");
        assert_eq!(step(0, -2, Some(0), &[summed(&[(1, None)])]), Step::Failed(Reason::BelowMinimum));
        assert_eq!(step(i64::MAX, 1, None, &[summed(&[(-1, None)])]), Step::Locked);
        assert_eq!(step(i64::MAX, 2, None, &[summed(&[(-1, None)])]), Step::Failed(Reason::Overflow));
    }

    #[test]
    fn the_minimum_of_what_waits_is_kept() {
        let waits = [summed(&[(-2, Some(2))])];
        assert_eq!(step(5, -3, Some(0), &waits), Step::Done(2), "its own minimum holds");
        assert!(!keeps(5, -3, &waits) && keeps(5, -1, &waits) && keeps(5, 3, &waits));
    }

    #[test]
    fn steps_of_one_transaction_wait_as_one() {
        let waits = summed(&[(i64::MAX, None), (i64::MAX, Some(5)), (-7, Some(-3))]);
        assert_eq!(waits.total, 2 * MAX - 7);
        assert_eq!(waits.most, MAX - 2 * MAX);
        assert_eq!(waits.least, MIN);
        assert_eq!(summed(&[(5, None), (-3, Some(4))]).least, 2);
    }
}

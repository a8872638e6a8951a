//! The search for an order of the operations on one key.
//!
//! The crate's documentation describes the search; the places that prune give their reason here.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::rc::Rc;

use crate::limits::Budget;
use crate::linearized::Linearized;
use crate::model::Model;
use crate::operation::{Operation, Outcome};
use crate::steps::Steps;
use crate::visited::{Used, Visited};

/// An answered operation.
#[derive(Debug)]
struct Answered {
    called: u64,
    returned: u64,
    deed: u32,
    /// It changes no state in which it is possible.
    only_observes: bool,
    /// Its place in the history.
    place: usize,
}

/// Unknown operations that do the same, in the order of their calls: (when it was called, its place).
#[derive(Debug)]
struct Class {
    deed: u32,
    members: Vec<(u64, usize)>,
    /// Classes for which this one can stand in. Not the reverse: of two that can stand in for each other, only the
    /// first.
    weaker: Vec<usize>,
}

/// The classes, each with its members in the order of their calls and those it can stand in for.
fn ordered<M: Model>(classes: BTreeMap<u32, Class>, steps: &Steps<M>) -> Vec<Class> {
    let mut classes: Vec<Class> = classes.into_values().collect();
    let deeds: Vec<u32> = classes.iter().map(|class| class.deed).collect();
    for (number, class) in classes.iter_mut().enumerate() {
        class.members.sort_unstable();
        let weaker = deeds.iter().enumerate().filter(|(other, deed)| {
            let mutual = steps.stands_in(**deed, class.deed);
            *other != number && steps.stands_in(class.deed, **deed) && (!mutual || *other < number)
        });
        class.weaker = weaker.map(|(other, _)| other).collect();
    }
    classes
}

/// What came of a search.
#[derive(Debug)]
pub(crate) enum Searched {
    /// An order of places in the history.
    Order(Vec<usize>),
    /// There is none.
    Nothing(Stuck),
    /// The budget was used up.
    OutOfBudget(Stuck),
}

/// The furthest that the search came.
#[derive(Debug, Default)]
pub(crate) struct Stuck {
    /// Places in the history, in the order in which they were placed.
    pub(crate) prefix: Vec<usize>,
    /// Places of operations that could come next as far as time says; the first must, before all later calls.
    pub(crate) next: Vec<usize>,
    /// The state after the prefix.
    pub(crate) state: String,
}

/// One placed operation and the one placed before it: the way to a configuration, from its end.
#[derive(Clone, Copy, Debug)]
struct Trail {
    before: u32,
    place: u32,
}

/// Before anything is placed.
const NO_TRAIL: u32 = u32::MAX;

/// Placed operations, the state after them, and what is left of the unknown ones.
#[derive(Clone, Debug)]
struct Configuration {
    placed: Rc<Linearized>,
    used: Used,
    state: u32,
    /// Its last placed operation, as a place in the trails.
    trail: u32,
    /// Placed operations that may change the state, unknown ones included.
    changes: u32,
    /// Placed operations that only observe.
    observations: u32,
    /// The earliest return of an operation that is not placed; `u64::MAX`: all answered ones are placed.
    deadline: u64,
}

impl Configuration {
    /// How many answered operations are placed.
    fn answered(&self) -> u32 {
        self.changes + self.observations - self.used.iter().sum::<u32>()
    }
}

/// Of two configurations the greater is looked at first: the later deadline, as it is nearer to the end; then fewer
/// changes, so that operations are placed just in time; then more observations; then the one that came first.
type Rank = (u64, Reverse<u32>, u32, Reverse<u64>);

/// A configuration by its rank.
#[derive(Debug)]
struct Ranked(Rank, Configuration);

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl Eq for Ranked {}
impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

/// The search over the operations on one key.
pub(crate) struct Search<M: Model> {
    /// By the time of their calls.
    answered: Vec<Answered>,
    classes: Vec<Class>,
    steps: Steps<M>,
    /// Every trail, each pointing to the one before it.
    trails: Vec<Trail>,
    visited: Visited,
    /// To be looked at.
    open: BinaryHeap<Ranked>,
    /// Configurations opened so far: ties are broken by it, so a search is a function of the history.
    opened: u64,
    /// The furthest so far.
    best: Option<Configuration>,
}

impl<M: Model> Search<M> {
    /// Prepares the search over the operations at these places of the history.
    pub(crate) fn new(model: &M, history: &[Operation<M::Op, M::Answer>], places: &[usize]) -> Self {
        let mut model = model.clone();
        let operations: Vec<_> = places.iter().map(|place| &history[*place]).collect();
        model.learn(&operations);
        let mut steps = Steps::new(model.clone());
        let mut answered = Vec::new();
        let mut classes: BTreeMap<u32, Class> = BTreeMap::new();
        for (place, operation) in places.iter().zip(operations) {
            let (op, called, place) = (&operation.asked, operation.called, *place);
            match &operation.outcome {
                Outcome::Answered { returned, answer } => answered.push(Answered {
                    called,
                    returned: *returned,
                    deed: steps.deed(op, Some(answer)),
                    only_observes: model.only_observes(op, Some(answer)),
                    place,
                }),
                // Nobody saw its answer and it leaves no trace: it says nothing.
                Outcome::Unknown if model.only_observes(op, None) => {}
                Outcome::Unknown => {
                    let deed = steps.deed(op, None);
                    let class = classes.entry(deed).or_insert(Class {
                        deed,
                        members: Vec::new(),
                        weaker: Vec::new(),
                    });
                    class.members.push((called, place));
                }
            }
        }
        answered.sort_by_key(|operation| operation.called);
        let classes = ordered(classes, &steps);
        let (trails, visited, open) = (Vec::new(), Visited::default(), BinaryHeap::new());
        Search { answered, classes, steps, trails, visited, open, opened: 0, best: None }
    }

    /// Searches until there is an order, or provably none, or the budget is used up.
    pub(crate) fn run(&mut self, budget: &mut Budget) -> Searched {
        let start = Configuration {
            placed: Rc::default(),
            used: vec![0; self.classes.len()].into(),
            state: 0,
            trail: NO_TRAIL,
            changes: 0,
            observations: 0,
            deadline: 0,
        };
        self.open(start, budget);
        while let Some(Ranked(_, configuration)) = self.open.pop() {
            if configuration.deadline == u64::MAX {
                return Searched::Order(self.order(configuration.trail));
            }
            let further = |best: &Configuration| {
                (best.deadline, best.answered()) < (configuration.deadline, configuration.answered())
            };
            if self.best.as_ref().is_none_or(further) {
                self.best = Some(configuration.clone());
            }
            self.expand(&configuration, budget);
            if budget.is_used_up() {
                return Searched::OutOfBudget(self.stuck());
            }
        }
        Searched::Nothing(self.stuck())
    }

    /// Opens what one more operation makes of a configuration. What only observes was placed already if it can be.
    fn expand(&mut self, from: &Configuration, budget: &mut Budget) {
        for number in self.candidates(&from.placed).0 {
            let operation = &self.answered[number];
            if operation.only_observes {
                continue;
            }
            budget.spend();
            if let Some(state) = self.steps.after(from.state, operation.deed) {
                let mut placed = (*from.placed).clone();
                placed.insert(number);
                let trail = self.trail(from.trail, self.answered[number].place);
                let changes = from.changes + 1;
                self.open(
                    Configuration { placed: Rc::new(placed), state, trail, changes, ..from.clone() },
                    budget,
                );
            }
            if budget.is_used_up() {
                return;
            }
        }
        self.expand_by_unknown(from, budget);
    }

    /// Opens what one unknown operation makes of a configuration. One of each class is enough: which of those that
    /// do the same is used makes no difference, since none ever returns and the first called can be used whenever
    /// any of them can. One that changes nothing here is as good as left out. And where a weaker class leads to the
    /// same state, the stronger is spared: should the weaker be wanted later, the stronger can stand in for it.
    fn expand_by_unknown(&mut self, from: &Configuration, budget: &mut Budget) {
        let mut choices: Vec<(usize, u32, usize)> = Vec::new();
        for (number, class) in self.classes.iter().enumerate() {
            // It may be used before everything that is called after the deadline, so what is called by then will do.
            let next = class.members.get(from.used[number] as usize);
            let Some((_, place)) = next.filter(|(called, _)| *called <= from.deadline) else { continue };
            budget.spend();
            if let Some(state) = self.steps.after(from.state, class.deed).filter(|state| *state != from.state)
            {
                choices.push((number, state, *place));
            }
        }
        for (class, state, place) in &choices {
            let weaker = &self.classes[*class].weaker;
            if choices.iter().any(|(other, after, _)| after == state && weaker.contains(other)) {
                continue;
            }
            let mut used = from.used.to_vec();
            used[*class] += 1;
            let trail = self.trail(from.trail, *place);
            let (used, state, changes) = (used.into(), *state, from.changes + 1);
            self.open(Configuration { used, state, trail, changes, ..from.clone() }, budget);
        }
    }

    /// Places what only observes, and opens the configuration unless another can do all that it can.
    fn open(&mut self, mut configuration: Configuration, budget: &mut Budget) {
        self.settle(&mut configuration, budget);
        if !self.visited.insert(&configuration.placed, configuration.state, &configuration.used) {
            return;
        }
        self.opened += 1;
        budget.spend();
        let Configuration { deadline, changes, observations, .. } = configuration;
        let rank = (deadline, Reverse(changes), observations, Reverse(self.opened));
        self.open.push(Ranked(rank, configuration));
    }

    /// Places every operation that only observes and is possible now, and sets the deadline. That loses no order:
    /// in any that continues from here, such an operation can be moved to the front, where it is possible too, and
    /// the others meet the same states as before, since it changes none.
    fn settle(&mut self, configuration: &mut Configuration, budget: &mut Budget) {
        loop {
            let (candidates, deadline) = self.candidates(&configuration.placed);
            configuration.deadline = deadline;
            let before = configuration.observations;
            for number in candidates {
                let Answered { deed, only_observes: true, place, .. } = self.answered[number] else {
                    continue;
                };
                budget.spend();
                if self.steps.after(configuration.state, deed).is_some() {
                    Rc::make_mut(&mut configuration.placed).insert(number);
                    configuration.trail = self.trail(configuration.trail, place);
                    configuration.observations += 1;
                }
            }
            if configuration.observations == before {
                return;
            }
        }
    }

    /// The operations not placed that may come next, and the deadline: the earliest return among those not placed.
    /// An operation must come before what is called after its return, so only what is called by the deadline may;
    /// what is called later returns later too, and does not move the deadline.
    fn candidates(&self, placed: &Linearized) -> (Vec<usize>, u64) {
        let mut deadline = u64::MAX;
        let mut numbers = Vec::new();
        for (number, operation) in self.answered.iter().enumerate().skip(placed.start()) {
            if operation.called > deadline {
                break;
            }
            if !placed.contains(number) {
                deadline = deadline.min(operation.returned);
                numbers.push(number);
            }
        }
        (numbers, deadline)
    }

    fn trail(&mut self, before: u32, place: usize) -> u32 {
        let trail = u32::try_from(self.trails.len()).expect("the budget is under 2^32 steps");
        let place = u32::try_from(place).expect("a history has under 2^32 operations");
        self.trails.push(Trail { before, place });
        trail
    }

    /// The places along a trail, first to last.
    fn order(&self, mut trail: u32) -> Vec<usize> {
        let mut order = Vec::new();
        while let Some(Trail { before, place }) = self.trails.get(trail as usize) {
            order.push(*place as usize);
            trail = *before;
        }
        order.reverse();
        order
    }

    fn stuck(&self) -> Stuck {
        let Some(best) = &self.best else { return Stuck::default() };
        let (mut candidates, _) = self.candidates(&best.placed);
        candidates.sort_by_key(|number| self.answered[*number].returned);
        let next = candidates.iter().map(|number| self.answered[*number].place).collect();
        Stuck { prefix: self.order(best.trail), next, state: self.steps.describe(best.state) }
    }
}

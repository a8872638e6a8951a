//! Scenes: keys, their groups, and the requests that meet on them. They are those of docs/PROTOCOL.md, 10 and 11, that need no range
//! to move.

use bytes::Bytes;
use proto::store::{Branch, Identity, Owned, Txn};

use Want::{Add, Is, Put};

/// What a request wants of one key, whose record is `{"n": value}`.
#[derive(Clone, Copy, Debug)]
pub enum Want {
    /// To add to the value, with a minimum.
    Add(i64, i64),
    /// To replace it.
    Put(i64),
    /// That it is this.
    Is(i64),
}

/// One try of a request: tries of one request carry the same id.
#[derive(Clone, Debug)]
pub struct Try {
    pub request: usize,
    pub attempt: u32,
    /// The key that comes first.
    pub tag: usize,
    pub wants: Vec<(usize, Want)>,
}

#[derive(Clone, Debug)]
pub struct Scene {
    pub name: &'static str,
    /// The first value of each key.
    pub values: Vec<i64>,
    /// The group of each key.
    pub groups: Vec<usize>,
    pub tries: Vec<Try>,
    pub leader_changes: usize,
    pub outcomes: bool,
    /// Drivers of cuts go about.
    pub cuts: bool,
}

fn a_try(request: usize, attempt: u32, tag: usize, wants: &[(usize, Want)]) -> Try {
    Try { request, attempt, tag, wants: wants.to_vec() }
}

/// All of them.
pub fn all() -> Vec<Scene> {
    [requests(), numbers(), guards(), vec![everything()], cuts()].concat()
}

fn scene(name: &'static str, values: &[i64], groups: &[usize], tries: Vec<Try>) -> Scene {
    let (values, groups) = (values.to_vec(), groups.to_vec());
    Scene { name, values, groups, tries, leader_changes: 3, outcomes: true, cuts: false }
}

fn order(request: usize, attempt: u32) -> Try {
    a_try(request, attempt, 0, &[(0, Add(1, 0)), (1, Add(-1, 0))])
}

fn stock(key: usize, amount: i64, minimum: i64) -> (usize, Want) {
    (key, Add(amount, minimum))
}

/// One request in several tries, and another attempt of it with other guards.
fn requests() -> Vec<Scene> {
    let order3 = || a_try(0, 1, 0, &[(0, Add(1, 0)), (1, Add(-1, 0)), (2, Add(-1, 0))]);
    let delivery = a_try(1, 1, 1, &[stock(1, 1, 0)]);
    let attempts = vec![
        a_try(0, 1, 0, &[(0, Add(1, 0)), (1, Is(0))]),
        a_try(0, 2, 0, &[(0, Add(1, 0)), (1, Is(1))]),
        a_try(1, 1, 1, &[(1, Put(1))]),
    ];
    vec![
        scene("retry", &[0, 2], &[0, 1], vec![order(0, 1), order(0, 1)]),
        scene("retry3", &[0, 2, 2], &[0, 1, 2], vec![order3(), order3()]),
        scene("refuse", &[0, 0], &[0, 1], vec![order(0, 1), order(0, 1), delivery]),
        scene("attempts", &[0, 0], &[0, 1], attempts),
    ]
}

/// Two deciders and one number.
fn numbers() -> Vec<Scene> {
    let last_unit = vec![
        order(0, 1),
        a_try(1, 1, 2, &[(2, Add(1, 0)), stock(1, -1, 0)]),
        a_try(2, 1, 1, &[stock(1, 1, 0)]),
    ];
    let giveback = vec![
        a_try(0, 1, 0, &[(0, Add(1, 0)), stock(1, 1, 0)]),
        a_try(1, 1, 2, &[(2, Add(1, 0)), stock(1, -2, 0)]),
    ];
    let minima = vec![
        a_try(0, 1, 0, &[(0, Add(1, 0)), stock(1, -2, 2)]),
        a_try(1, 1, 2, &[(2, Add(1, 0)), stock(1, -3, 0)]),
    ];
    vec![
        scene("stock", &[0, 1, 0], &[0, 1, 2], last_unit),
        scene("giveback", &[0, 1, 0], &[0, 1, 2], giveback),
        scene("minima", &[0, 5, 0], &[0, 1, 2], minima),
    ]
}

/// Guards of what others write.
fn guards() -> Vec<Scene> {
    let skew = vec![
        a_try(0, 1, 0, &[(0, Put(1)), (1, Is(0))]),
        a_try(1, 1, 1, &[(1, Put(1)), (0, Is(0))]),
        a_try(2, 1, 0, &[(0, Put(2))]),
    ];
    let cycle = vec![
        a_try(0, 1, 0, &[(0, Put(1)), (1, Is(0))]),
        a_try(1, 1, 1, &[(1, Put(1)), (2, Is(0))]),
        a_try(2, 1, 2, &[(2, Put(1)), (0, Is(0))]),
    ];
    let price = vec![
        a_try(0, 1, 0, &[(0, Put(1)), (1, Is(0)), stock(2, -1, 0)]),
        a_try(1, 1, 1, &[(1, Put(1))]),
        a_try(2, 1, 1, &[(1, Is(1)), (0, Is(0))]),
        a_try(3, 1, 2, &[stock(2, -1, 0), (0, Is(0))]),
    ];
    let puts = vec![
        a_try(0, 1, 0, &[(0, Add(1, 0)), (1, Put(1))]),
        a_try(1, 1, 2, &[(2, Add(1, 0)), (1, Is(0))]),
        a_try(2, 1, 1, &[(1, Put(2))]),
        a_try(3, 1, 2, &[(2, Is(0)), (1, Add(3, 0))]),
    ];
    vec![
        scene("skew", &[0, 0], &[0, 1], skew),
        scene("cycle", &[0, 0, 0], &[0, 1, 2], cycle),
        scene("price", &[0, 0, 2], &[0, 1, 1], price),
        scene("puts", &[0, 0, 0], &[0, 1, 2], puts),
    ]
}

fn everything() -> Scene {
    let tries = vec![
        a_try(0, 1, 0, &[(0, Add(1, 0)), (1, Is(1)), stock(2, -1, 0)]),
        a_try(0, 2, 0, &[(0, Add(1, 0)), (1, Is(1)), stock(2, -1, 0)]),
        a_try(1, 1, 2, &[stock(2, 2, 0), (0, Is(1)), (3, Add(1, 0))]),
        a_try(2, 1, 3, &[(3, Add(1, 0)), (1, Put(3))]),
        a_try(3, 1, 1, &[(1, Put(1)), stock(2, -2, 0), (0, Add(1, 0))]),
    ];
    scene("all", &[0, 1, 1, 0], &[0, 1, 2, 3], tries)
}

/// Consistent cuts while units go from group to group, which are always as many, and single groups change by themselves. Each is
/// asked for again and again, as another request.
fn cuts() -> Vec<Scene> {
    let moves = |from, to| a_try(0, 1, from, &[stock(from, -1, 0), stock(to, 1, 0)]);
    let audit = [
        moves(0, 1),
        moves(1, 0),
        a_try(0, 1, 0, &[(0, Add(1, 0)), (1, Add(-1, 0))]),
        a_try(0, 1, 0, &[(0, Put(4))]),
        a_try(0, 1, 1, &[(1, Add(2, 0))]),
    ];
    let three = a_try(0, 1, 0, &[stock(0, -1, 0), stock(1, -1, 0), (2, Add(2, 0))]);
    let audit3 = [moves(0, 1), moves(1, 2), moves(2, 0), three, moves(0, 2)];
    let often = |tries: &[Try]| {
        let tries = tries.iter().cycle().take(8 * tries.len()).cloned();
        tries.enumerate().map(|(request, of)| Try { request, ..of }).collect()
    };
    let scenes = [
        scene("audit", &[3, 3], &[0, 1], often(&audit)),
        scene("audit3", &[3, 3, 3], &[0, 1, 2], often(&audit3)),
    ];
    scenes
        .into_iter()
        .map(|scene| Scene { cuts: true, outcomes: false, leader_changes: 2, ..scene })
        .collect()
}

impl Scene {
    pub fn group_count(&self) -> usize {
        self.groups.iter().max().map_or(0, |last| last + 1)
    }

    /// The arc of a group: equal parts of the ring.
    pub fn arc(&self, group: usize) -> Owned {
        let count = self.group_count() as u64;
        let ends = |group: u64| if group == count { u64::MAX } else { (u64::MAX / count) * group };
        let (after, up_to) = (ends(group as u64), ends(group as u64 + 1));
        Owned::arc(if group == 0 { u64::MAX } else { after }, up_to)
    }

    /// The keys, each in the arc of its group.
    pub fn keys(&self) -> Vec<Bytes> {
        let key_of = |(at, group): (usize, &usize)| {
            let mut names = (0..).map(|n| format!("k{at}-{n}"));
            names
                .find(|name| self.arc(*group).contains_key(name.as_bytes()))
                .map(Bytes::from)
                .expect("some name")
        };
        self.groups.iter().enumerate().map(key_of).collect()
    }

    /// The transaction of a try. Every other try guards whole values, so that pointers meet which are not the same.
    pub fn txn(&self, keys: &[Bytes], number: usize) -> Txn {
        let of = &self.tries[number];
        let mut txn = Txn::new().guard_exists(keys[of.tag].clone());
        for (key, want) in &of.wants {
            let key = keys[*key].clone();
            txn = match want {
                Want::Is(value) if number % 2 == 1 => txn.guard_json(key, "", format!("{{\"n\":{value}}}")),
                Want::Is(value) => txn.guard_json(key, "/n", value.to_string()),
                Want::Add(amount, minimum) => txn.add(key, 0, "/n", *amount, Some(*minimum)),
                Want::Put(value) => txn.put(key, 0, format!("{{\"n\":{value}}}")),
            };
        }
        txn
    }

    pub fn identity(&self, number: usize) -> Identity {
        let of = &self.tries[number];
        Identity::user(format!("r{}", of.request), 0, of.attempt, [3; 16])
    }

    /// The part of each group, as branches without a name; the decider's first.
    pub fn parts(&self, keys: &[Bytes], number: usize) -> Vec<(usize, Branch)> {
        let whole = self.txn(keys, number);
        let group_of = |key: &Bytes| self.groups[keys.iter().position(|known| known == key).expect("a key")];
        let decider = self.groups[self.tries[number].tag];
        let mut parts = Vec::new();
        let others = (0..self.group_count()).filter(|group| *group != decider);
        for group in std::iter::once(decider).chain(others) {
            let mut part = Txn::new();
            let (mut guards, mut operations) = (Vec::new(), Vec::new());
            for (place, guard) in (0u32..).zip(&whole.guards) {
                if group_of(&guard.key) == group {
                    guards.push(place);
                    part.guards.push(guard.clone());
                }
            }
            for (place, operation) in (0u32..).zip(&whole.operations) {
                if group_of(&operation.key) == group {
                    operations.push(place);
                    part.operations.push(operation.clone());
                }
            }
            if part.tag().is_some() {
                let decider_tag_hash = proto::hash::ring_hash(&keys[self.tries[number].tag]);
                let range = Some(self.arc(group));
                let txn = Some(part);
                parts.push((group, Branch { id: None, decider_tag_hash, range, txn, guards, operations }));
            }
        }
        parts
    }
}

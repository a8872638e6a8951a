//! The guard of one socket: places given, places taken away, and the bytes of all together.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::budget::Budget;
use crate::limits::{HOLD_MS_MAX, IDLE_MS, Limits};
use crate::repeated::Repeated;
use crate::seat::{Class, Seat, Side};

/// See the module.
pub struct Guard {
    limits: Limits,
    /// Bytes with which a connection must begin soon.
    first_bytes: usize,
    start: Instant,
    /// Connections that are not dropped yet, those that were closed included.
    places: Arc<Semaphore>,
    registry: Mutex<Registry>,
    answers: Budget,
    requests: Budget,
    refused: Repeated,
    crowded: Repeated,
    cut: Repeated,
}

/// The connections that have a place.
#[derive(Default)]
struct Registry {
    last: u64,
    all: HashMap<u64, Arc<Seat>>,
    newcomers: usize,
    users: usize,
    members: usize,
}

impl Registry {
    fn count(&mut self, class: Class) -> &mut usize {
        match class {
            Class::Newcomer => &mut self.newcomers,
            Class::User => &mut self.users,
            Class::Member => &mut self.members,
        }
    }

    fn remove(&mut self, id: u64) -> Option<Arc<Seat>> {
        let gone = self.all.remove(&id)?;
        let class = *gone.class.lock();
        *self.count(class) -= 1;
        Some(gone)
    }

    fn oldest_newcomer(&self) -> Option<u64> {
        let newcomers = self.all.values().filter(|one| *one.class.lock() == Class::Newcomer);
        newcomers.map(|one| one.id).min()
    }

    /// The user who has done nothing for longest, and for long enough.
    fn idlest_user(&self, now_ms: u64) -> Option<u64> {
        let users = self.all.values().filter(|one| *one.class.lock() == Class::User);
        let idle = users.filter_map(|one| Some((one.idle_since_ms()?, one.id)));
        let (since_ms, id) = idle.min()?;
        (since_ms + IDLE_MS <= now_ms).then_some(id)
    }

    /// Who is waited for for longest on this side, and for long enough. Members never are.
    fn longest_holder(&self, side: Side, now_ms: u64) -> Option<u64> {
        let others = self.all.values().filter(|one| *one.class.lock() != Class::Member);
        let (since_ms, id) = others.filter_map(|one| Some((one.holds_since_ms(side)?, one.id))).min()?;
        (since_ms + HOLD_MS_MAX <= now_ms).then_some(id)
    }
}

impl Guard {
    /// A guard; each connection must begin with so many bytes soon.
    #[must_use]
    pub fn new(limits: Limits, first_bytes: usize) -> Arc<Guard> {
        Arc::new(Guard {
            limits,
            first_bytes,
            start: Instant::now(),
            places: Arc::new(Semaphore::new(limits.connections_max())),
            registry: Mutex::default(),
            answers: Budget::new(limits.process_bytes_max),
            requests: Budget::new(limits.process_bytes_max),
            refused: Repeated::default(),
            crowded: Repeated::default(),
            cut: Repeated::default(),
        })
    }

    /// The permit of one of so many places, for a connection that was let in.
    pub(crate) fn places(&self) -> Arc<Semaphore> {
        Arc::clone(&self.places)
    }

    pub(crate) fn first_bytes(&self) -> usize {
        self.first_bytes
    }

    /// A seat for a connection that has a permit.
    pub(crate) fn seat(&self) -> Arc<Seat> {
        let mut registry = self.registry.lock();
        registry.last += 1;
        let seat = Arc::new(Seat::new(registry.last, self.now_ms(), self.limits.connection_bytes_max));
        registry.all.insert(seat.id, Arc::clone(&seat));
        registry.newcomers += 1;
        seat
    }

    /// The system lets no connection in: a line seldom, and a place, whose descriptor may be what is missing.
    pub(crate) fn refused(&self, error: &io::Error, pause_ms: u64) {
        if let Some(left_out) = self.refused.tell() {
            tracing::warn!(%error, pause_ms, left_out, "the system lets no connection in");
        }
        self.close_one();
    }

    pub(crate) fn is_full(&self) -> bool {
        self.registry.lock().all.len() >= self.limits.connections_max()
    }

    /// Closes a connection for a newcomer, all places being taken; whether there was one.
    pub(crate) fn make_place(&self) -> bool {
        let closed = self.close_one();
        let registry = self.registry.lock();
        let (newcomers, users, members) = (registry.newcomers, registry.users, registry.members);
        drop(registry);
        if let Some(left_out) = self.crowded.tell() {
            tracing::warn!(
                newcomers,
                users,
                members,
                left_out,
                "all places are taken: the idle ones go first"
            );
        }
        closed
    }

    /// Closes the oldest of those that ask for nothing if they have their share, else the idlest; whether there was one.
    fn close_one(&self) -> bool {
        let now_ms = self.now_ms();
        let mut registry = self.registry.lock();
        let share = registry.newcomers >= self.limits.newcomers_max;
        let newcomer = if share { registry.oldest_newcomer() } else { None };
        let victim = newcomer.or_else(|| registry.idlest_user(now_ms)).or_else(|| registry.oldest_newcomer());
        let closed = victim.and_then(|id| registry.remove(id));
        drop(registry);
        closed.inspect(|closed| closed.close()).is_some()
    }

    /// Ranks a connection higher, if there is a place; a newcomer who works when all users do is closed.
    pub(crate) fn promote(&self, seat: &Seat, to: Class) {
        if *seat.class.lock() >= to {
            return;
        }
        let now_ms = self.now_ms();
        let mut registry = self.registry.lock();
        if !registry.all.contains_key(&seat.id) {
            return;
        }
        let full = match to {
            Class::Newcomer => return,
            Class::User => registry.users >= self.users_max(registry.members),
            Class::Member => registry.members >= self.limits.members_max,
        };
        let mut closed = None;
        if full {
            if to == Class::Member {
                return;
            }
            let victim = registry.idlest_user(now_ms).unwrap_or(seat.id);
            closed = registry.remove(victim);
        }
        if registry.all.contains_key(&seat.id) {
            let from = std::mem::replace(&mut *seat.class.lock(), to);
            *registry.count(from) -= 1;
            *registry.count(to) += 1;
        }
        drop(registry);
        if let Some(closed) = closed {
            closed.close();
            if let Some(left_out) = self.crowded.tell() {
                tracing::warn!(left_out, "all places of users are taken: the idle ones go first");
            }
        }
    }

    /// Places of users, if so many members are there.
    fn users_max(&self, members: usize) -> usize {
        self.limits.users_max.saturating_sub(members.saturating_sub(self.limits.members_kept))
    }

    /// Cuts whoever holds the process's bytes of this side for longest without doing his part.
    pub(crate) fn relieve(&self, side: Side) {
        let now_ms = self.now_ms();
        let mut registry = self.registry.lock();
        let cut = registry.longest_holder(side, now_ms).and_then(|id| registry.remove(id));
        drop(registry);
        if let Some(cut) = cut {
            cut.close();
            if let Some(left_out) = self.cut.tell() {
                let bytes = cut.held();
                tracing::warn!(
                    bytes,
                    left_out,
                    ?side,
                    "a caller was cut who does not take his answers or end his requests, whose room others wait for"
                );
            }
        }
    }

    /// A connection has ended.
    pub(crate) fn leave(&self, seat: &Seat) {
        self.registry.lock().remove(seat.id);
    }

    /// Milliseconds since it began.
    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The places that there are.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What all connections make the process hold.
    #[must_use]
    pub fn budget(&self, side: Side) -> &Budget {
        match side {
            Side::Answers => &self.answers,
            Side::Requests => &self.requests,
        }
    }
}

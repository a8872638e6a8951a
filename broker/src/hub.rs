//! The state that all connections share: sessions, subscriptions, retained messages, and the bytes that they hold together.
//!
//! One lock, never held across a wait: a message is put into the queues of its subscribers, and their connections are
//! woken.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use admission::Repeated;
use parking_lot::Mutex;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    Filter as RequestedFilter, LastWill, RetainForwardRule, SubscribeReasonCode,
};

use crate::config::Config;
use crate::limits::{
    RETAINED_BYTES_ALL_MAX, RETAINED_BYTES_MAX, RETAINED_MAX, SESSION_EXPIRY, SESSIONS_MAX,
    SUBSCRIPTION_BYTES_MAX, SUBSCRIPTIONS_MAX,
};
use crate::message::{Delivery, Held, Message, Number, higher, lower};
use crate::session::{Bounds, Link, Queued, Session};
use crate::topic::{self, Filter};
use crate::tree::{Group, Matched, Tree, Wanted};

/// A client that introduced itself.
pub(crate) struct Arrival {
    pub(crate) client: String,
    pub(crate) clean_start: bool,
    /// How long its session outlives the connection.
    pub(crate) expiry: Duration,
    pub(crate) receive_max: u16,
    pub(crate) will: Option<LastWill>,
}

/// There are as many clients or messages as may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// See the module.
pub(crate) struct Hub {
    state: Mutex<State>,
    pub(crate) held: Held,
    config: Config,
    slow: Repeated,
}

#[derive(Default)]
struct State {
    last: u64,
    /// Ids given to clients that had none.
    named: u64,
    by_client: HashMap<String, Number>,
    sessions: BTreeMap<Number, Session>,
    tree: Tree,
    retained: BTreeMap<Box<str>, Arc<Message>>,
    retained_bytes: usize,
}

impl Hub {
    pub(crate) fn new(config: Config) -> Hub {
        Hub { state: Mutex::default(), held: Held::default(), config, slow: Repeated::default() }
    }

    /// An id for a client that has none; nobody else has it.
    pub(crate) fn name(&self) -> String {
        let mut state = self.state.lock();
        loop {
            state.named += 1;
            let name = format!("feira-{}-{}", std::process::id(), state.named);
            if !state.by_client.contains_key(&name) {
                return name;
            }
        }
    }

    /// Begins or resumes a client's session; whether one was there. An older connection of the same client is told to end.
    pub(crate) fn connect(&self, arrival: Arrival) -> Result<(Number, Arc<Link>, bool), Full> {
        let mut state = self.state.lock();
        let before = state.by_client.get(&arrival.client).copied();
        let connected = state.sessions.values().filter(|session| session.link.is_some()).count();
        let takes_over = before.is_some_and(|number| state.sessions[&number].link.is_some());
        if connected >= self.config.clients_max && !takes_over {
            return Err(Full);
        }
        if arrival.clean_start
            && let Some(number) = before
        {
            self.end(&mut state, number);
        }
        let present = before.filter(|_| !arrival.clean_start);
        let number = match present {
            Some(number) => number,
            None => self.begin(&mut state, arrival.client)?,
        };
        let link = Arc::new(Link::default());
        let will = arrival.will.and_then(|will| Message::will(will, number, &self.held));
        let session = state.sessions.get_mut(&number).ok_or(Full)?;
        session.serve(Arc::clone(&link), arrival.receive_max);
        session.expiry = arrival.expiry.min(SESSION_EXPIRY);
        session.will = will.map(|(will, delay)| (will, delay.min(SESSION_EXPIRY)));
        Ok((number, link, present.is_some()))
    }

    fn begin(&self, state: &mut State, client: String) -> Result<Number, Full> {
        if state.sessions.len() >= SESSIONS_MAX {
            let away = state.sessions.iter().filter_map(|(number, session)| Some((session.ends?, *number)));
            let (_, first) = away.min().ok_or(Full)?;
            self.end(state, first);
        }
        state.last += 1;
        let number = Number(state.last);
        let bounds =
            Bounds { messages_max: self.config.queue_messages_max, bytes_max: self.config.queue_bytes_max };
        state.by_client.insert(client.clone(), number);
        state.sessions.insert(number, Session::new(client, bounds));
        Ok(number)
    }

    /// Ends a session: its subscriptions go, its will is published.
    fn end(&self, state: &mut State, number: Number) {
        let Some(mut session) = state.sessions.remove(&number) else { return };
        state.by_client.remove(&session.client);
        if let Some(link) = session.link.take() {
            link.take_over();
        }
        for filter in session.filters.keys() {
            if let Some(filter) = Filter::read(filter) {
                state.tree.unsubscribe(filter, number);
            }
        }
        if let Some((will, _)) = session.will.take() {
            self.publish_in(state, will);
        }
    }

    /// A connection has ended; with its will, if it ended without a word.
    pub(crate) fn disconnect(
        &self,
        number: Number,
        link: &Arc<Link>,
        with_will: bool,
        expiry: Option<Duration>,
    ) {
        let mut state = self.state.lock();
        let now = Instant::now();
        let Some(session) = state.sessions.get_mut(&number) else { return };
        if !session.link.as_ref().is_some_and(|served| Arc::ptr_eq(served, link)) {
            return;
        }
        session.link = None;
        if !with_will {
            session.will = None;
        }
        let lasts = expiry.unwrap_or(session.expiry).min(SESSION_EXPIRY);
        session.ends = Some(now + lasts);
        session.will_due = session.will.as_ref().map(|(_, delay)| now + *delay);
        self.sweep_in(&mut state, now);
    }

    /// Publishes wills that are due, and ends sessions whose time is over.
    pub(crate) fn sweep(&self) {
        self.sweep_in(&mut self.state.lock(), Instant::now());
    }

    fn sweep_in(&self, state: &mut State, now: Instant) {
        let over = |due: Option<Instant>| due.is_some_and(|due| due <= now);
        let away = state.sessions.iter().filter(|(_, session)| session.link.is_none());
        let due: Vec<(Number, bool)> = away
            .filter(|(_, session)| over(session.ends) || over(session.will_due))
            .map(|(number, session)| (*number, over(session.ends)))
            .collect();
        for (number, ends) in due {
            if ends {
                self.end(state, number);
            } else if let Some(session) = state.sessions.get_mut(&number) {
                session.will_due = None;
                if let Some((will, _)) = session.will.take() {
                    self.publish_in(state, will);
                }
            }
        }
        let gone: Vec<Box<str>> =
            state.retained.iter().filter(|(_, m)| m.is_expired(now)).map(|(t, _)| t.clone()).collect();
        gone.iter().for_each(|topic| state.forget(topic));
    }

    /// Gives a message to whoever wants it, and keeps it if it is to be retained.
    ///
    /// # Errors
    /// As much is held or retained as may be.
    pub(crate) fn publish(&self, message: Message) -> Result<(), Full> {
        let mut state = self.state.lock();
        self.shed(&mut state);
        if self.held.bytes() > self.config.held_bytes_max {
            return Err(Full);
        }
        if message.retain && !message.payload.is_empty() && !state.may_retain(&message) {
            return Err(Full);
        }
        self.publish_in(&mut state, message);
        Ok(())
    }

    fn publish_in(&self, state: &mut State, message: Message) {
        let message = Arc::new(message);
        if message.retain {
            state.retain(&message);
        }
        let lost = state.deliver(&message);
        if lost > 0
            && let Some(left_out) = self.slow.tell()
        {
            tracing::warn!(
                lost,
                left_out,
                topic = message.topic,
                "a client does not read: its oldest messages are lost"
            );
        }
    }

    /// While more is held than may be: whoever has most waiting loses half of it.
    fn shed(&self, state: &mut State) {
        while self.held.bytes() > self.config.held_bytes_max {
            let most = state.sessions.values_mut().max_by_key(|session| session.waiting_bytes());
            let Some(session) = most.filter(|session| session.waiting_bytes() > 0) else { return };
            let keep = session.waiting_bytes() / 2;
            while session.waiting_bytes() > keep && session.lose_oldest().is_some() {}
            if let Some(left_out) = self.slow.tell() {
                let client = &session.client;
                tracing::warn!(
                    client,
                    left_out,
                    "clients do not read: whoever has most waiting loses half of it"
                );
            }
        }
    }

    /// Adds a subscription, and gives the client what is retained for it.
    pub(crate) fn subscribe(
        &self,
        number: Number,
        requested: &RequestedFilter,
        id: Option<usize>,
    ) -> SubscribeReasonCode {
        let Some(filter) = Filter::read(&requested.path) else {
            return SubscribeReasonCode::TopicFilterInvalid;
        };
        let qos = lower(requested.qos, QoS::AtLeastOnce);
        let wanted = Wanted {
            session: number,
            qos,
            no_local: requested.nolocal,
            retain_as_published: requested.preserve_retain,
            id,
        };
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(session) = state.sessions.get_mut(&number) else { return SubscribeReasonCode::Unspecified };
        if !session.filters.contains_key(&requested.path) {
            let cost = filter.cost();
            if session.filters.len() >= SUBSCRIPTIONS_MAX
                || session.filter_bytes + cost > SUBSCRIPTION_BYTES_MAX
            {
                return SubscribeReasonCode::QuotaExceeded;
            }
            session.filter_bytes += cost;
            session.filters.insert(requested.path.clone(), cost);
        }
        let is_new = state.tree.subscribe(filter, wanted);
        let told = match requested.retain_forward_rule {
            RetainForwardRule::OnEverySubscribe => true,
            RetainForwardRule::OnNewSubscribe => is_new,
            RetainForwardRule::Never => false,
        };
        if told && filter.share.is_none() {
            for (topic, message) in &state.retained {
                if topic::matches(filter.filter, topic) {
                    let how = Delivery {
                        qos: lower(qos, message.qos),
                        retain: true,
                        ids: id.into_iter().collect(),
                        packet: 0,
                        again: false,
                    };
                    session.queue(Queued { message: Arc::clone(message), how });
                }
            }
        }
        SubscribeReasonCode::Success(qos)
    }

    /// Takes a subscription out; whether there was one.
    pub(crate) fn unsubscribe(&self, number: Number, requested: &str) -> bool {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(session) = state.sessions.get_mut(&number) else { return false };
        let Some(cost) = session.filters.remove(requested) else { return false };
        session.filter_bytes -= cost;
        if let Some(filter) = Filter::read(requested) {
            state.tree.unsubscribe(filter, number);
        }
        true
    }

    /// The next message for a session, if this connection serves it.
    pub(crate) fn next(&self, number: Number, link: &Arc<Link>) -> Option<Queued> {
        let mut state = self.state.lock();
        let session = state.sessions.get_mut(&number)?;
        let serves = session.link.as_ref().is_some_and(|served| Arc::ptr_eq(served, link));
        if serves { session.next(Instant::now()) } else { None }
    }

    /// A client has what was sent to it.
    pub(crate) fn acknowledged(&self, number: Number, packet: u16) {
        if let Some(session) = self.state.lock().sessions.get_mut(&number) {
            session.acknowledged(packet);
        }
    }
}

impl State {
    fn may_retain(&self, message: &Message) -> bool {
        let before = self.retained.get(&message.topic).map_or(0, |before| before.cost());
        let all = self.retained_bytes - before + message.cost();
        let count = self.retained.len() < RETAINED_MAX || before > 0;
        count && message.payload.len() <= RETAINED_BYTES_MAX && all <= RETAINED_BYTES_ALL_MAX
    }

    /// Keeps a message in the place of the one before; one without a payload only takes that away.
    fn retain(&mut self, message: &Arc<Message>) {
        let keeps = !message.payload.is_empty() && self.may_retain(message);
        self.forget(&message.topic);
        if keeps {
            self.retained_bytes += message.cost();
            self.retained.insert(message.topic.clone(), Arc::clone(message));
        }
    }

    fn forget(&mut self, topic: &str) {
        if let Some(before) = self.retained.remove(topic) {
            self.retained_bytes -= before.cost();
        }
    }

    /// Puts a message into the queues of whoever gets it; how many messages were lost for it.
    fn deliver(&mut self, message: &Arc<Message>) -> u64 {
        let State { tree, sessions, .. } = self;
        let mut to: BTreeMap<Number, Delivery> = BTreeMap::new();
        let mut shared: Vec<(Number, Delivery)> = Vec::new();
        let mut add = |matched: Matched<'_>| match matched {
            Matched::One(wanted) if wanted.no_local && wanted.session == message.from => {}
            Matched::One(wanted) => {
                let new = delivery(message, wanted);
                to.entry(wanted.session)
                    .and_modify(|how| {
                        how.qos = higher(how.qos, new.qos);
                        how.retain |= new.retain;
                        how.ids.extend_from_slice(&new.ids);
                    })
                    .or_insert(new);
            }
            Matched::Group(group) => {
                if let Some(wanted) = next_in_turn(group, sessions) {
                    shared.push((wanted.session, delivery(message, wanted)));
                }
            }
        };
        tree.matching(&message.topic, &mut add);
        let mut lost = 0;
        for (number, how) in to.into_iter().chain(shared) {
            if let Some(session) = sessions.get_mut(&number)
                && (session.link.is_some() || how.qos != QoS::AtMostOnce)
            {
                lost += session.queue(Queued { message: Arc::clone(message), how });
            }
        }
        lost
    }
}

fn delivery(message: &Message, wanted: Wanted) -> Delivery {
    Delivery {
        qos: lower(wanted.qos, message.qos),
        retain: message.retain && wanted.retain_as_published,
        ids: wanted.id.into_iter().collect(),
        packet: 0,
        again: false,
    }
}

/// Whose turn it is in a group: the next that would send at once, else the next that is there, else the next.
fn next_in_turn(group: &mut Group, sessions: &BTreeMap<Number, Session>) -> Option<Wanted> {
    let count = group.members.len();
    let order = (0..count).map(|step| (group.next + step) % count);
    let rank = |at: &usize| {
        let session = sessions.get(&group.members[*at].session);
        (!session.is_some_and(Session::is_ready), session.is_none_or(|session| session.link.is_none()))
    };
    // The first of those that are equal.
    let chosen = order.min_by_key(rank)?;
    group.next = (chosen + 1) % count;
    Some(group.members[chosen])
}

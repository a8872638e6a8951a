//! The subscriptions of all clients, by the levels of their filters: a message visits what may match, and no more.

use std::collections::HashMap;

use rumqttc::v5::mqttbytes::QoS;

use crate::message::Number;
use crate::topic::Filter;

/// What a client wants of a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Whose it is.
    pub(crate) session: Number,
    /// At most this.
    pub(crate) qos: QoS,
    /// Nothing that it published itself.
    pub(crate) no_local: bool,
    /// Retained messages are told as such later, too.
    pub(crate) retain_as_published: bool,
    /// The number that it gave the subscription.
    pub(crate) id: Option<usize>,
}

/// A group that shares a subscription.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) members: Vec<Wanted>,
    /// Whose turn it is.
    pub(crate) next: usize,
}

/// A level.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    below: HashMap<Box<str>, Tree>,
    subscribed: Vec<Wanted>,
    groups: HashMap<Box<str>, Group>,
}

impl Tree {
    /// Adds a subscription or replaces it; whether it is new.
    pub(crate) fn subscribe(&mut self, filter: Filter<'_>, wanted: Wanted) -> bool {
        let mut level = self;
        for name in filter.filter.split('/') {
            level = level.below.entry(name.into()).or_default();
        }
        let all = match filter.share {
            None => &mut level.subscribed,
            Some(share) => &mut level.groups.entry(share.into()).or_default().members,
        };
        match all.iter_mut().find(|one| one.session == wanted.session) {
            Some(before) => {
                *before = wanted;
                false
            }
            None => {
                all.push(wanted);
                true
            }
        }
    }

    /// Takes a subscription out, and levels that nobody needs any more.
    pub(crate) fn unsubscribe(&mut self, filter: Filter<'_>, session: Number) {
        let names: Vec<&str> = filter.filter.split('/').collect();
        self.unsubscribe_below(&names, filter.share, session);
    }

    /// As deep as a filter has levels, which is bounded.
    fn unsubscribe_below(&mut self, names: &[&str], share: Option<&str>, session: Number) {
        if let [name, rest @ ..] = names {
            if let Some(below) = self.below.get_mut(*name) {
                below.unsubscribe_below(rest, share, session);
                if below.is_empty() {
                    self.below.remove(*name);
                }
            }
            return;
        }
        match share {
            None => self.subscribed.retain(|one| one.session != session),
            Some(share) => {
                if let Some(group) = self.groups.get_mut(share) {
                    group.members.retain(|one| one.session != session);
                    if group.members.is_empty() {
                        self.groups.remove(share);
                    }
                }
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.below.is_empty() && self.subscribed.is_empty() && self.groups.is_empty()
    }

    /// Calls for every subscription and every group that matches a topic.
    pub(crate) fn matching(&mut self, topic: &str, each: &mut impl FnMut(Matched<'_>)) {
        let names: Vec<&str> = topic.split('/').collect();
        self.matching_below(&names, !topic.starts_with('$'), each);
    }

    fn matching_below(&mut self, names: &[&str], wild: bool, each: &mut impl FnMut(Matched<'_>)) {
        if wild && let Some(all) = self.below.get_mut("#") {
            all.tell(each);
        }
        let [name, rest @ ..] = names else {
            self.tell(each);
            return;
        };
        if wild && let Some(any) = self.below.get_mut("+") {
            any.matching_below(rest, true, each);
        }
        if let Some(below) = self.below.get_mut(*name) {
            below.matching_below(rest, true, each);
        }
    }

    fn tell(&mut self, each: &mut impl FnMut(Matched<'_>)) {
        for wanted in &self.subscribed {
            each(Matched::One(*wanted));
        }
        for group in self.groups.values_mut() {
            each(Matched::Group(group));
        }
    }
}

/// What matches.
pub(crate) enum Matched<'t> {
    /// A client's own subscription.
    One(Wanted),
    /// One that a group shares: one of them gets the message.
    Group(&'t mut Group),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic;
    use proptest::prelude::*;

    fn wanted(session: u64) -> Wanted {
        let qos = QoS::AtLeastOnce;
        Wanted { session: Number(session), qos, no_local: false, retain_as_published: false, id: None }
    }

    fn found(tree: &mut Tree, topic: &str) -> Vec<u64> {
        let mut found = Vec::new();
        tree.matching(topic, &mut |matched| match matched {
            Matched::One(wanted) => found.push(wanted.session.0),
            Matched::Group(group) => found.extend(group.members.iter().map(|one| one.session.0)),
        });
        found.sort_unstable();
        found
    }

    proptest! {
        #[test]
        fn the_tree_finds_what_matches_and_forgets_what_left(
            filters in prop::collection::vec("(#|([ab+$]|)(/([ab+]|)){0,3}(/#)?)", 1..12),
            topics in prop::collection::vec("([ab$]|)(/([ab]|)){0,3}", 1..12),
        ) {
            let filters: Vec<String> = filters.into_iter().filter(|f| Filter::read(f).is_some()).collect();
            let mut tree = Tree::default();
            for (at, filter) in filters.iter().enumerate() {
                prop_assert!(tree.subscribe(Filter::read(filter).expect("filtered"), wanted(at as u64)));
            }
            for topic in topics.iter().filter(|topic| topic::is_topic(topic)) {
                let matching = filters.iter().enumerate().filter(|(_, filter)| topic::matches(filter, topic));
                let expected: Vec<u64> = matching.map(|(at, _)| at as u64).collect();
                prop_assert_eq!(found(&mut tree, topic), expected, "{}", topic);
            }
            for (at, filter) in filters.iter().enumerate() {
                tree.unsubscribe(Filter::read(filter).expect("filtered"), Number(at as u64));
            }
            prop_assert!(tree.is_empty());
        }
    }

    #[test]
    fn a_subscription_made_again_replaces_itself() {
        let mut tree = Tree::default();
        let filter = Filter::read("$share/g/a").expect("a filter");
        assert!(tree.subscribe(filter, wanted(1)) && !tree.subscribe(filter, wanted(1)));
        assert_eq!(found(&mut tree, "a"), [1]);
        tree.unsubscribe(filter, Number(1));
        assert!(tree.is_empty());
    }
}

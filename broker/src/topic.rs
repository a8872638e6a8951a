//! Topics and filters as MQTT 5 has them (sections 4.7 and 4.8.2), within the broker's bounds.

use crate::limits::{LEVEL_COST_BYTES, TOPIC_BYTES_MAX, TOPIC_LEVELS_MAX};

/// The prefix of a shared subscription's filter.
const SHARE: &str = "$share/";

/// Whether a message may be published to this.
pub(crate) fn is_topic(topic: &str) -> bool {
    within_bounds(topic) && !topic.contains(['+', '#', '\0'])
}

fn within_bounds(text: &str) -> bool {
    !text.is_empty() && text.len() <= TOPIC_BYTES_MAX && text.split('/').count() <= TOPIC_LEVELS_MAX
}

/// A filter as a client sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Filter<'f> {
    /// The name of the group that shares it, if it is shared.
    pub(crate) share: Option<&'f str>,
    /// What matches.
    pub(crate) filter: &'f str,
}

impl<'f> Filter<'f> {
    /// Reads one; `None`: it is none.
    pub(crate) fn read(text: &'f str) -> Option<Filter<'f>> {
        let read = match text.strip_prefix(SHARE) {
            None => Filter { share: None, filter: text },
            Some(rest) => {
                let (share, filter) = rest.split_once('/')?;
                let named =
                    !share.is_empty() && share.len() <= TOPIC_BYTES_MAX && !share.contains(['+', '#']);
                Filter { share: named.then_some(Some(share))?, filter }
            }
        };
        (within_bounds(read.filter) && !text.contains('\0') && wildcards_are_whole(read.filter))
            .then_some(read)
    }

    /// What it costs to keep.
    pub(crate) fn cost(&self) -> usize {
        let levels = self.filter.split('/').count();
        2 * self.filter.len() + self.share.map_or(0, str::len) + LEVEL_COST_BYTES * (levels + 1)
    }
}

/// Each wildcard is a level of its own, and `#` the last one.
fn wildcards_are_whole(filter: &str) -> bool {
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let whole = level.len() == 1 || !level.contains(['+', '#']);
        if !whole || (level == "#" && levels.peek().is_some()) {
            return false;
        }
    }
    true
}

/// Whether a topic matches a filter.
pub(crate) fn matches(filter: &str, topic: &str) -> bool {
    // Topics of the server's own are matched by name only.
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        match (wanted, levels.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (wanted, Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_and_filters_are_told_from_nonsense() {
        for topic in ["a", "/", "a//b", "$SYS/x", "ação/1"] {
            assert!(is_topic(topic), "{topic}");
        }
        for topic in ["", "a/+", "#", "a\0b", &"a/".repeat(40), &"x".repeat(2_000)] {
            assert!(!is_topic(topic), "{topic}");
        }
        for filter in ["#", "+", "a/+/b", "a/#", "/+", "$share/g/a/#", "$share"] {
            assert!(Filter::read(filter).is_some(), "{filter}");
        }
        for filter in ["", "a#", "#/a", "a/b+", "$share/", "$share/g", "$share//a", "$share/g/", "$share/+/a"]
        {
            assert!(Filter::read(filter).is_none(), "{filter}");
        }
        let shared = Filter::read("$share/g/a/+").expect("shared");
        assert_eq!(shared, Filter { share: Some("g"), filter: "a/+" });
    }

    #[test]
    fn filters_match_levels_and_nothing_else() {
        for (filter, topic, same) in [
            ("a/b", "a/b", true),
            ("a/+", "a/b", true),
            ("a/+", "a", false),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("#", "a/b", true),
            ("#", "$SYS/a", false),
            ("+/a", "$SYS/a", false),
            ("$SYS/#", "$SYS/a", true),
            ("+/+", "/a", true),
            ("a/b", "a/b/c", false),
            ("a/b/c", "a/b", false),
        ] {
            assert_eq!(matches(filter, topic), same, "{filter} {topic}");
        }
    }
}

//! The id that was probably meant where there is none of what was typed.
//!
//! Promises: proposed is only what the tool itself can list for this person; the look is bounded in ids and in time.

use std::time::{Duration, Instant};

use portal::error::{Error, Kind as Of};

use super::ids::Ids;
use crate::failure::Failure;
use crate::verb::near::nearest;
use crate::verb::spec::Kind;

/// Nobody waits longer for a proposal.
pub const LOOK_MAX: Duration = Duration::from_secs(2);

/// Ids of one list that are looked at for it: a page.
pub const LOOK_IDS_MAX: u64 = 500;

/// A script that misses ids by the thousand looks for what was meant no more often.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The looks of one session for ids that were meant.
#[derive(Debug, Default)]
pub struct Looks(Option<Instant>);

impl Looks {
    /// Whether it is worth another one, which is then counted.
    pub fn another(&mut self) -> bool {
        let is_due = self.0.is_none_or(|last| last.elapsed() >= LOOK_EVERY);
        if is_due {
            self.0 = Some(Instant::now());
        }
        is_due
    }
}

/// What a failure says that there is none of: its kind, and the id that was typed.
#[must_use]
pub fn missing(failure: &Failure) -> Option<(Kind, &str)> {
    match failure.error()? {
        Error::UnknownClient { cid } => Some((Kind::Cid, cid)),
        Error::NotFound { kind: Of::Client, id } => Some((Kind::Cid, id)),
        Error::NotFound { kind: Of::Product, id } => Some((Kind::Pid, id)),
        Error::NotFound { kind: Of::Order, id } => Some((Kind::Oid, id)),
        _ => None,
    }
}

/// What an id that is nearly this one begins with: only the beginning of a list is looked at.
#[must_use]
pub fn beginning(id: &str) -> String {
    id.chars().take(1).collect()
}

/// The failure with the id that was probably meant, if one that is known is near.
#[must_use]
pub fn proposing(failure: Failure, ids: &Ids) -> Failure {
    let Some((kind, typed)) = missing(&failure) else { return failure };
    let known = ids.beginning(kind, "");
    let Some(near) = nearest(typed, known.iter().map(String::as_str).filter(|id| *id != typed)) else {
        return failure;
    };
    let near = crate::show::written::id(near);
    let next = match &failure.next {
        Some(next) => format!("did you mean {near}? else {next}"),
        None => format!("did you mean {near}?"),
    };
    failure.next(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_that_misses_many_ids_looks_once_in_a_while() {
        let mut looks = Looks::default();
        assert!(looks.another() && !looks.another());
    }

    #[test]
    fn an_id_that_is_near_is_proposed_and_one_that_is_not_is_not() {
        let ids = Ids::default();
        ids.replace(Kind::Cid, ["dona-maria".to_owned(), "ana".to_owned()]);
        ids.add(Kind::Oid, "0193f7a2c4");
        let of = |error: Error| proposing(Failure::of_status(&error.into()), &ids);
        let near = of(Error::NotFound { kind: Of::Client, id: "dona".into() });
        assert_eq!(near.sentence(), "there is no client \"dona\"");
        assert_eq!(near.next.unwrap(), "did you mean dona-maria? else look for the right id: list-clients");
        let begun = of(Error::NotFound { kind: Of::Order, id: "0193".into() });
        assert!(begun.next.unwrap().starts_with("did you mean 0193f7a2c4?"));
        let far = of(Error::NotFound { kind: Of::Client, id: "zebedeu".into() });
        assert_eq!(far.next.unwrap(), "look for the right id: list-clients");
    }
}

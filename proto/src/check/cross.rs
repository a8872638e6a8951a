//! The field checks of what the leader of one group sends to that of another (docs/PROTOCOL.md, 10).
//!
//! Promises: a request that passes fits in one entry of the log, names its transactions, and each of its branches is a
//! transaction as [`super::txn`] checks it, with a place in the whole for every part and no quote of what it does not have.
//! Leaves out: whether the keys are the group's own, which the state machine asks.

use prost::Message;

use super::{Checked, TXN_BYTES_MAX, TXN_PARTS_MAX, Violation, ensure, route, txn};
use crate::store::operation::Action;
use crate::store::{AskRequest, Branch, CrossId, FinishRequest, Finishing, Owned, PrepareRequest, Txn};

/// Groups of one transaction, the decider's included.
pub const GROUPS_MAX: usize = 64;
/// Branches of one request, which become one entry.
pub const BRANCHES_MAX: usize = 1_024;
/// Ends of branches of one request, which become one entry.
pub const FINISHES_MAX: usize = 4_096;
/// Questions of one request.
pub const QUESTIONS_MAX: usize = 4_096;
/// Bytes of the id of a request that a branch carries for queues.
pub const REQUEST_ID_BYTES_MAX: usize = 64;

/// Bytes of an encoded end of a branch, at most.
const FINISHING_BYTES_MAX: usize = 96;
const _: () = assert!(FINISHES_MAX * FINISHING_BYTES_MAX < TXN_BYTES_MAX, "they fit in an entry");
const _: () = assert!(BRANCHES_MAX <= 1 << 16, "the place of a branch in its entry has two bytes");

/// Checks a `Prepare`.
///
/// # Errors
/// The first field that breaks a rule.
pub fn prepare(request: &PrepareRequest) -> Checked {
    route(request.route.as_ref())?;
    count("parts", request.parts.len(), BRANCHES_MAX)?;
    let bytes: usize = request.parts.iter().map(Message::encoded_len).sum();
    ensure(bytes <= TXN_BYTES_MAX, "parts", || {
        format!("have {bytes} bytes; up to {TXN_BYTES_MAX} are allowed: send fewer at once")
    })?;
    for (index, part) in request.parts.iter().enumerate() {
        let within = |violation: Violation| violation.within(&format!("parts[{index}]"));
        let Some(body) = &part.branch else {
            return Err(within(Violation::new("branch", "is missing")));
        };
        branch(body).map_err(|violation| within(violation.within("branch")))?;
        ensure(part.request.len() <= REQUEST_ID_BYTES_MAX, "request", || {
            format!("has {} bytes; up to {REQUEST_ID_BYTES_MAX} are allowed", part.request.len())
        })
        .map_err(within)?;
    }
    Ok(())
}

/// Checks a `Finish`.
///
/// # Errors
/// The first field that breaks a rule.
pub fn finish(request: &FinishRequest) -> Checked {
    route(request.route.as_ref())?;
    count("finishes", request.finishes.len(), FINISHES_MAX)?;
    for (index, each) in request.finishes.iter().enumerate() {
        finishing(each).map_err(|violation| violation.within(&format!("finishes[{index}]")))?;
    }
    Ok(())
}

/// Checks an `Ask`.
///
/// # Errors
/// The first field that breaks a rule.
pub fn ask(request: &AskRequest) -> Checked {
    route(request.route.as_ref())?;
    count("questions", request.questions.len(), QUESTIONS_MAX)?;
    for (index, question) in request.questions.iter().enumerate() {
        let within = |violation: Violation| violation.within(&format!("questions[{index}]"));
        id(question.id.as_ref()).map_err(within)?;
        range(question.range.as_ref()).map_err(within)?;
        ensure(question.offset > 0, "offset", || "is 0; offsets begin at 1".to_owned()).map_err(within)?;
    }
    Ok(())
}

/// Checks a branch by itself.
///
/// # Errors
/// The first field that breaks a rule.
pub fn branch(branch: &Branch) -> Checked {
    id(branch.id.as_ref())?;
    range(branch.range.as_ref())?;
    let Some(part) = &branch.txn else { return Err(Violation::new("txn", "is missing")) };
    txn(part)?;
    places(part, &branch.guards, &branch.operations)
}

/// Checks one end of a branch by itself.
///
/// # Errors
/// The first field that breaks a rule.
pub fn finishing(finishing: &Finishing) -> Checked {
    id(finishing.id.as_ref())?;
    range(finishing.range.as_ref())?;
    ensure(!finishing.commit || finishing.offset > 0, "offset", || {
        "is 0; a commit names the offset of the prepare".to_owned()
    })
}

/// Checks the places that the parts of a branch, or of the decider, have in the whole transaction; and that every quote is of
/// an operation of the same part.
///
/// # Errors
/// The first field that breaks a rule.
pub fn places(part: &Txn, guards: &[u32], operations: &[u32]) -> Checked {
    for (field, places, parts) in
        [("guards", guards, part.guards.len()), ("operations", operations, part.operations.len())]
    {
        ensure(places.len() == parts, field, || {
            format!("are {} places of {parts} {field}; each has one", places.len())
        })?;
        let are_rising = places.windows(2).all(|pair| pair[0] < pair[1]);
        let is_last_allowed = places.last().is_none_or(|last| (*last as usize) < TXN_PARTS_MAX);
        ensure(are_rising && is_last_allowed, field, || {
            format!("are not rising places under {TXN_PARTS_MAX} in the whole transaction")
        })?;
    }
    for (place, operation) in operations.iter().zip(&part.operations) {
        let Some(Action::Append(append)) = &operation.action else { continue };
        let is_known = |quoted: u32| quoted < *place && operations.binary_search(&quoted).is_ok();
        ensure(append.quotes.iter().all(|quote| is_known(quote.operation)), "txn.operations", || {
            format!("operation {place} quotes one of another group; both must have the same tag in braces")
        })?;
    }
    Ok(())
}

fn count(field: &str, count: usize, most: usize) -> Checked {
    ensure((1..=most).contains(&count), field, || format!("are {count}; 1 to {most} are allowed"))
}

fn id(id: Option<&CrossId>) -> Checked {
    match id {
        None => Err(Violation::new("id", "is missing: name the transaction")),
        Some(id) => ensure(id.group > 0 && id.epoch > 0 && id.number > 0, "id", || {
            "has a 0; groups, epochs and numbers begin at 1".to_owned()
        }),
    }
}

fn range(range: Option<&Owned>) -> Checked {
    ensure(range.is_some(), "range", || "is missing: say which part of the ring is meant".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::prepare_request::Part;
    use crate::store::{Quote, Route, ask_request};

    fn routed() -> Option<Route> {
        Some(Route { group: 1, ..Route::default() })
    }

    fn part_of(txn: Txn, guards: Vec<u32>, operations: Vec<u32>) -> Branch {
        let id = Some(CrossId::of(1, 2, 3));
        Branch { id, decider_tag_hash: 7, range: Some(Owned::whole()), txn: Some(txn), guards, operations }
    }

    fn request(branch: Branch) -> PrepareRequest {
        let part = Part { branch: Some(branch), began_ms: 5, request: b"r".to_vec().into() };
        PrepareRequest { route: routed(), parts: vec![part] }
    }

    #[test]
    fn a_branch_has_a_place_in_the_whole_for_each_part() {
        let txn = || Txn::new().guard_exists("a").put("a", 1, "x").delete("b");
        assert_eq!(prepare(&request(part_of(txn(), vec![4], vec![0, 9]))), Ok(()));
        for (guards, operations, field) in [
            (vec![], vec![0, 9], "guards"),
            (vec![4], vec![9, 0], "operations"),
            (vec![4], vec![0, 0], "operations"),
            (vec![4], vec![0, 8_192], "operations"),
            (vec![4, 5], vec![0, 1], "guards"),
        ] {
            let refused = prepare(&request(part_of(txn(), guards, operations))).unwrap_err();
            assert_eq!(refused.field, format!("parts[0].branch.{field}"));
        }
    }

    #[test]
    fn a_quote_of_another_group_is_refused() {
        let txn = |quoted| {
            let quotes = vec![Quote::of(quoted, "", "/a")];
            Txn::new().put("k", 1, "{}").append("l/", 1, "{}", quotes)
        };
        assert_eq!(places(&txn(3), &[], &[3, 7]), Ok(()));
        for quoted in [0, 4, 7, 9] {
            assert!(places(&txn(quoted), &[], &[3, 7]).is_err(), "{quoted}");
        }
    }

    #[test]
    fn what_names_no_transaction_no_range_or_no_offset_is_refused() {
        let finishing = Finishing {
            id: Some(CrossId::of(1, 1, 1)),
            offset: 4,
            range: Some(Owned::whole()),
            commit: true,
        };
        let whole = |finishing| FinishRequest { route: routed(), finishes: vec![finishing] };
        assert_eq!(finish(&whole(finishing)), Ok(()));
        assert_eq!(finish(&whole(Finishing { offset: 0, commit: false, ..finishing })), Ok(()));
        for (wrong, field) in [
            (Finishing { offset: 0, ..finishing }, "offset"),
            (Finishing { id: None, ..finishing }, "id"),
            (Finishing { id: Some(CrossId::of(1, 0, 1)), ..finishing }, "id"),
            (Finishing { range: None, ..finishing }, "range"),
        ] {
            assert_eq!(finish(&whole(wrong)).unwrap_err().field, format!("finishes[0].{field}"));
        }
        assert!(
            finish(&FinishRequest { route: routed(), finishes: vec![finishing; FINISHES_MAX + 1] }).is_err()
        );
        assert!(finish(&FinishRequest { route: routed(), finishes: vec![] }).is_err());
        let question = ask_request::Question {
            id: Some(CrossId::of(1, 1, 1)),
            decider_tag_hash: 0,
            offset: 1,
            range: Some(Owned::whole()),
        };
        let asked = |question| AskRequest { route: routed(), questions: vec![question] };
        assert_eq!(ask(&asked(question)), Ok(()));
        assert!(ask(&asked(ask_request::Question { offset: 0, ..question })).is_err());
        assert!(ask(&asked(ask_request::Question { range: None, ..question })).is_err());
        let far = u64::MAX;
        let longest = Finishing {
            id: Some(CrossId::of(far, far, far)),
            offset: far,
            range: Some(Owned { after: far, up_to: far, ring_version: far }),
            commit: true,
        };
        assert!(longest.encoded_len() + 4 <= FINISHING_BYTES_MAX, "{}", longest.encoded_len());
    }

    #[test]
    fn branches_of_one_request_fit_in_one_entry() {
        let large = Txn::new().put("a", 1, vec![b'x'; 400_000]);
        let mut asked = request(part_of(large, vec![], vec![0]));
        asked.parts = vec![asked.parts[0].clone(); 2];
        assert_eq!(prepare(&asked), Ok(()));
        asked.parts.push(asked.parts[0].clone());
        assert_eq!(prepare(&asked).unwrap_err().field, "parts");
    }
}

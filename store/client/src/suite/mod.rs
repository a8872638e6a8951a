//! The conformance suite of [`Store`]: the duties of every implementation, by name. It runs on an empty store or
//! beside others on one that is in use, since each check has keys of its own.
//!
//! [`run`] runs all of it and panics with the name of the check that failed.

mod changes;
mod exactly_once;
mod key;
mod operations;
mod sessions;
mod times;
mod transactions;

use std::sync::Arc;

use futures::future::BoxFuture;

use crate::Store;

type Check = fn(Arc<dyn Store>) -> BoxFuture<'static, ()>;

/// The checks, by name.
const CHECKS: [(&str, Check); 26] = [
    ("set creates, and only creates", |s| Box::pin(operations::set_creates_only(s))),
    ("get answers with the record or its absence", |s| Box::pin(operations::get_answers(s))),
    ("delete answers with what was there", |s| Box::pin(operations::delete_answers(s))),
    ("delete of a version knows absence and other versions", |s| Box::pin(operations::delete_version(s))),
    ("test and set replaces one version only", |s| Box::pin(operations::test_and_set(s))),
    ("a record made again is another", |s| Box::pin(operations::made_again(s))),
    ("a scan is in order and can be continued", |s| Box::pin(operations::scan_pages(s))),
    ("bad arguments are refused by field", |s| Box::pin(operations::bad_arguments(s))),
    ("a read says how far it has seen", |s| Box::pin(operations::reads_say_their_position(s))),
    ("a read says of which log it is", |s| Box::pin(operations::reads_say_of_which_log_they_are(s))),
    ("a read of what was never written is refused", |s| {
        Box::pin(operations::a_read_of_what_was_never_written_is_refused(s))
    }),
    ("every guard holds, or fails with its reason", |s| Box::pin(transactions::guards(s))),
    ("a failed guard changes nothing", |s| Box::pin(transactions::all_or_nothing(s))),
    ("every operation does what it says", |s| Box::pin(transactions::every_operation(s))),
    ("an add keeps its minimum and its range", |s| Box::pin(transactions::adds_keep_bounds(s))),
    ("adds of many callers are all counted", |s| Box::pin(transactions::concurrent_adds(s))),
    ("a guard on log time holds from then on", |s| Box::pin(times::guards(s))),
    ("a stamp is the entry's log time", |s| Box::pin(times::stamps(s))),
    ("appends of many tags are in the order of offsets", |s| Box::pin(transactions::placed_appends(s))),
    ("a success is remembered", |s| Box::pin(exactly_once::success_is_remembered(s))),
    ("a failed guard is remembered for its attempt", |s| Box::pin(exactly_once::attempts(s))),
    ("an id with another digest is refused", |s| Box::pin(exactly_once::another_digest(s))),
    ("an outcome settles a write", |s| Box::pin(exactly_once::outcomes(s))),
    ("an id too old is refused", |s| Box::pin(exactly_once::too_old(s))),
    ("changes come in order without gaps", |s| Box::pin(changes::in_order(s))),
    ("a session keeps its order, reads included", |s| Box::pin(sessions::order(s))),
];

/// Runs every check.
///
/// # Panics
/// If the store does not do what it must; the check's name is in the output before.
pub async fn run(store: Arc<dyn Store>) {
    for (name, check) in CHECKS {
        tracing::info!(name, "conformance");
        // Its own task, so that a failure can be told with its name.
        let ran = tokio::spawn(check(Arc::clone(&store))).await;
        assert!(ran.is_ok(), "the store does not conform: {name}");
    }
}

//! This node's clock beside the log's time, as a problem for the operator.
//!
//! The log's time never falls, and follows a leader's clock that jumped ahead by a second an append at most. So a
//! clock *behind* the log's time was set back, or an earlier leader's was ahead; and a leader whose log's time *lags*
//! has a clock that jumped, or wrote nothing for long. Nothing is wrong with the data in either case: ids are judged
//! by their own times. It leaves out the uses of the clocks.

use store_core::Role;

use crate::problems::{About, Problems};

/// A clock further behind the log's time than this is a problem: ids made by right clocks may be refused by it.
const BEHIND_MS_MAX: i64 = proto::check::CLOCK_AHEAD_MS_MAX;
/// A leader's log's time further behind its clock than this is a problem.
const LAG_MS_MAX: i64 = 60_000;

/// Looks at the lag (this node's clock minus the log's time), and raises or clears the problem.
pub(crate) fn look(problems: &Problems, role: Role, lag_ms: i64) {
    match problem(role, lag_ms) {
        Some(text) => {
            if problems.raise(About::LogTime, text.clone()) {
                tracing::warn!(lag_ms, "{text}");
            }
        }
        None => {
            if problems.clear(About::LogTime) {
                tracing::info!(lag_ms, "this node's clock and the log's time agree again");
            }
        }
    }
}

fn problem(role: Role, lag_ms: i64) -> Option<String> {
    let seconds = lag_ms.unsigned_abs() / 1_000;
    if lag_ms < -BEHIND_MS_MAX {
        return Some(format!(
            "this node's clock is {seconds} s behind the log's time: it was set back, or an earlier leader's was ahead"
        ));
    }
    (role == Role::Leader && lag_ms > LAG_MS_MAX).then(|| {
        format!(
            "the log's time is {seconds} s behind this leader's clock, and catches up by a second an append"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_set_back_or_forward_is_a_problem_of_its_node() {
        let problems = Problems::default();
        look(&problems, Role::Leader, -9_000);
        look(&problems, Role::Leader, 59_000);
        look(&problems, Role::Follower, 90_000_000);
        assert_eq!(problems.text(), "", "a follower cannot know how long nobody wrote");
        look(&problems, Role::Leader, -37_500);
        assert!(problems.text().contains("37 s behind the log's time"), "{}", problems.text());
        look(&problems, Role::Follower, -11_000);
        assert!(problems.text().contains("11 s behind"), "a follower may lead next");
        look(&problems, Role::Leader, 7_200_000);
        assert!(problems.text().contains("7200 s behind this leader's clock"), "{}", problems.text());
        look(&problems, Role::Leader, 20);
        assert_eq!(problems.text(), "");
    }
}

//! This node's clock beside the log's time, and the voters' clocks beside each other, as problems for the operator.
//!
//! The log's time never falls, and is what a majority of the voters' clocks says. So a clock *behind* it was set back, or a
//! majority was ahead; a voter whose clock is apart from the others is named by the leader; and a log's time that lags behind clocks
//! which nobody confirms catches up slowly. Nothing is wrong with the data in any case: ids are judged by their own times. It leaves
//! out the uses of the clocks.

use store_core::Role;
use store_engine::{ClockApart, Status};

use crate::problems::{About, Problems};

/// A clock further behind the log's time than this is a problem: ids made by right clocks may be refused by it.
const BEHIND_MS_MAX: i64 = proto::check::CLOCK_AHEAD_MS_MAX;
/// The log's time further behind a leader's clock than this is a problem.
const LAG_MS_MAX: i64 = 60_000;

/// Looks at the clocks of a node's status, and raises or clears the problem.
pub(crate) fn look(problems: &Problems, status: &Status) {
    look_at(problems, status.role, status.log_time_lag_ms, status.clock_apart);
}

fn look_at(problems: &Problems, role: Role, lag_ms: i64, apart: Option<ClockApart>) {
    match problem(role, lag_ms, apart) {
        Some(text) => {
            if problems.raise(About::LogTime, text.clone()) {
                tracing::warn!(lag_ms, "{text}");
            }
        }
        None => {
            if problems.clear(About::LogTime) {
                tracing::info!(lag_ms, "the clocks of the voters and the log's time agree again");
            }
        }
    }
}

fn problem(role: Role, lag_ms: i64, apart: Option<ClockApart>) -> Option<String> {
    let seconds = |ms: i64| ms.unsigned_abs() / 1_000;
    if let Some(ClockApart { node, ahead_ms }) = apart.filter(|_| role == Role::Leader) {
        let (node, by, way) = (node.0, seconds(ahead_ms), if ahead_ms < 0 { "behind" } else { "ahead of" });
        return Some(format!(
            "the clock of node {node} is {by} s {way} what a majority of the voters' clocks says, which the log's time follows: \
             set it right (NTP)"
        ));
    }
    if lag_ms < -BEHIND_MS_MAX {
        let seconds = seconds(lag_ms);
        return Some(format!(
            "this node's clock is {seconds} s behind the log's time: it was set back, or those of a majority were ahead"
        ));
    }
    (role == Role::Leader && lag_ms > LAG_MS_MAX).then(|| {
        let seconds = seconds(lag_ms);
        format!(
            "the log's time is {seconds} s behind this leader's clock, which no other voter confirms; it catches up at twice \
             its speed"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use store_core::NodeId;

    #[test]
    fn a_clock_set_back_or_forward_is_a_problem_of_its_node() {
        let problems = Problems::default();
        look_at(&problems, Role::Leader, -9_000, None);
        look_at(&problems, Role::Leader, 59_000, None);
        look_at(&problems, Role::Follower, 90_000_000, None);
        assert_eq!(problems.text(), "", "a follower cannot know how long nobody wrote");
        look_at(&problems, Role::Leader, -37_500, None);
        assert!(problems.text().contains("37 s behind the log's time"), "{}", problems.text());
        look_at(&problems, Role::Follower, -11_000, None);
        assert!(problems.text().contains("11 s behind"), "a follower may lead next");
        look_at(&problems, Role::Leader, 7_200_000, None);
        assert!(problems.text().contains("7200 s behind this leader's clock"), "{}", problems.text());
        look_at(&problems, Role::Leader, 20, None);
        assert_eq!(problems.text(), "");
    }

    #[test]
    fn a_leader_names_the_voter_whose_clock_is_apart() {
        let problems = Problems::default();
        let apart = |ahead_ms| Some(ClockApart { node: NodeId(3), ahead_ms });
        look_at(&problems, Role::Leader, 0, apart(3_600_400));
        assert!(
            problems.text().contains("the clock of node 3 is 3600 s ahead of what"),
            "{}",
            problems.text()
        );
        look_at(&problems, Role::Leader, 0, apart(-12_000));
        assert!(problems.text().contains("the clock of node 3 is 12 s behind what"), "{}", problems.text());
        look_at(&problems, Role::Follower, 0, apart(-12_000));
        assert_eq!(problems.text(), "", "what it heard as a leader is old");
    }
}

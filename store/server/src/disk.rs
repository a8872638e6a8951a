//! The replica's disk as a problem for the operator: a disk that does not answer, the work that waits for it, and the
//! replica's unfit time afterwards.
//!
//! It leaves out the reaction: `store-core`.

use store_core::{DiskView, Hang};

use crate::problems::{About, Problems};

/// Looks at the disk, and raises or clears the problem.
pub(crate) fn look(problems: &Problems, disk: DiskView) {
    match text(disk) {
        Some(text) => {
            if problems.raise(About::Disk, text.clone()) {
                tracing::warn!("{text}");
            }
        }
        None => {
            if problems.clear(About::Disk) {
                tracing::info!("this node's disk answers, and is relied on again");
            }
        }
    }
}

fn text(disk: DiskView) -> Option<String> {
    let what = match disk.hangs {
        None if disk.unfit_ticks == 0 => return None,
        None => {
            return Some(
                "this node's disk did not answer for a while and does again: leadership is not transferred to this node \
                 until it has answered for some time"
                    .to_owned(),
            );
        }
        Some(Hang::Log) => "its log cannot be made durable",
        Some(Hang::Ballot) => "its vote cannot be made durable",
        Some(Hang::Database) => "nothing is applied to its database",
    };
    let then = match disk.writes_wait {
        true => {
            "this node leads, and the other voters are no majority without it, so writes wait until the disk answers"
        }
        false => "this node lives on, serves stale reads of what it has applied, and does not lead",
    };
    Some(format!("this node's disk does not answer: {what}; {then}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_is_told_what_hangs_what_waits_for_it_and_that_it_is_over() {
        let problems = Problems::default();
        look(&problems, DiskView::default());
        assert_eq!(problems.text(), "");
        look(&problems, DiskView { hangs: Some(Hang::Log), unfit_ticks: 0, writes_wait: true });
        assert!(problems.text().contains("no majority without it, so writes wait"), "{}", problems.text());
        look(&problems, DiskView { hangs: Some(Hang::Database), unfit_ticks: 0, writes_wait: false });
        assert!(problems.text().contains("nothing is applied to its database"), "{}", problems.text());
        look(&problems, DiskView { hangs: None, unfit_ticks: 7, writes_wait: false });
        assert!(problems.text().contains("does again"), "{}", problems.text());
        look(&problems, DiskView::default());
        assert_eq!(problems.text(), "");
    }
}

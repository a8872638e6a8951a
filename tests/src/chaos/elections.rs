//! The leaders and their times, as the nodes' own logs tell them: every node says each change of its role, with the epoch.

use std::collections::BTreeMap;

/// What a node says when it begins to lead, before the epoch.
const LEADS: &str = "role=Leader epoch=";

/// The leader of each epoch of a group, from the logs of all its nodes, which may have replicas of other groups too.
///
/// # Errors
/// Two nodes led in one epoch.
pub fn leaders<'l>(
    group: u64,
    logs: impl IntoIterator<Item = (&'l str, &'l str)>,
) -> Result<BTreeMap<u64, String>, String> {
    // A node of a ring says of which group a line is.
    let whose = format!("replica{{group={group}}}");
    let mut leaders: BTreeMap<u64, String> = BTreeMap::new();
    for (node, log) in logs {
        let of_group = log.lines().filter(|line| line.contains(&whose) || !line.contains("replica{group="));
        for (_, rest) in of_group.filter_map(|line| line.split_once(LEADS)) {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            let epoch = digits.parse().map_err(|error| format!("{node} said {LEADS}{rest}: {error}"))?;
            let first = leaders.entry(epoch).or_insert_with(|| node.to_owned());
            if first != node {
                return Err(format!("election safety: {first} and {node} led in epoch {epoch}"));
            }
        }
    }
    Ok(leaders)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_leaders_of_one_epoch_are_told() {
        let log_of = |group: u64, epoch: u64| {
            format!("INFO replica{{group={group}}}: leader changed role=Leader epoch={epoch} leader=1\n")
        };
        let log = |epoch: u64| log_of(1, epoch).replace("replica{group=1}: ", "");
        let leaders = |logs: [(&str, &str); 2]| leaders(1, logs);
        let (one, both) = (log(1), log(1) + &log(3));
        assert_eq!(
            leaders([("node-1", one.as_str()), ("node-2", "role=Follower epoch=1")]).map(|l| l.len()),
            Ok(1)
        );
        assert_eq!(leaders([("node-1", both.as_str()), ("node-2", &log(2))]).map(|l| l.len()), Ok(3));
        let error = leaders([("node-1", both.as_str()), ("node-2", &one)]).expect_err("two");
        assert!(error.contains("node-1 and node-2 led in epoch 1"), "{error}");
        let (of_the_same, of_another) = (log_of(1, 1), log_of(2, 1));
        assert!(leaders([("node-1", of_the_same.as_str()), ("node-2", &of_the_same)]).is_err());
        assert_eq!(leaders([("node-1", one.as_str()), ("node-2", &of_another)]).map(|l| l.len()), Ok(1));
    }
}

//! `feira audit --caches`: what the portals' samplers found, of all portals of this configuration.

use proto::portal::PortalStatusResponse;
use serde_json::{Value, json};

use crate::config::shape::Config;
use crate::failure::Failure;
use crate::reach::nodes;
use crate::show::answer::{Answer, counted};
use crate::show::table::{Column, Table};

/// Asks every portal.
///
/// # Errors
/// A hit was older than the cache lease; or a portal is silent.
pub async fn run(config: &Config) -> Result<Answer, Failure> {
    let portals: Vec<&str> = [&config.admin_portals, &config.client_portals]
        .into_iter()
        .flatten()
        .map(|instance| instance.listen.as_str())
        .collect();
    let statuses = futures::future::join_all(portals.iter().map(|address| nodes::portal_status(address)));
    let mut told = Vec::with_capacity(portals.len());
    for (address, status) in portals.into_iter().zip(statuses.await) {
        told.push((address, status.map_err(|failure| failure.of("audit of caches"))?));
    }
    answer(&told, config.portal.lease_ms)
}

fn answer(portals: &[(&str, PortalStatusResponse)], lease_ms: u64) -> Result<Answer, Failure> {
    let mut table = Table::new(&[
        Column::whole("PORTAL"),
        Column::whole("ADDRESS").dropped(1),
        Column::number("SAMPLED"),
        Column::number("OLDER"),
        Column::number("OLDEST"),
    ]);
    let mut each = Vec::with_capacity(portals.len());
    for (address, status) in portals {
        table.row([
            status.name.clone(),
            (*address).to_owned(),
            status.sampled.to_string(),
            status.sampled_stale.to_string(),
            format!("{} ms", status.sampled_oldest_ms),
        ]);
        each.push(document(address, status));
    }
    let sum =
        |of: fn(&PortalStatusResponse) -> u64| portals.iter().map(|(_, status)| of(status)).sum::<u64>();
    let (sampled, stale) = (sum(|one| one.sampled), sum(|one| one.sampled_stale));
    let oldest_ms = portals.iter().map(|(_, status)| status.sampled_oldest_ms).max().unwrap_or(0);
    let head = format!(
        "caches of {}: of {} {stale} were older than the cache lease ({lease_ms} ms); the oldest was {oldest_ms} ms behind the store",
        counted(portals.len() as u64, "portal"),
        counted(sampled, "sampled hit"),
    );
    if stale > 0 {
        return Err(Failure::refused(head)
            .next("this must not be: keep the portals' logs, which name the keys, and tell the makers"));
    }
    let document = json!({
        "portals": each, "sampled": sampled, "stale": stale, "oldest_ms": oldest_ms, "lease_ms": lease_ms,
    });
    Ok(Answer::table(head, document, table))
}

fn document(address: &str, status: &PortalStatusResponse) -> Value {
    json!({
        "name": status.name, "address": address, "sampled": status.sampled, "stale": status.sampled_stale,
        "oldest_ms": status.sampled_oldest_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn portal(name: &str, sampled: u64, sampled_stale: u64, sampled_oldest_ms: u64) -> PortalStatusResponse {
        PortalStatusResponse {
            name: name.to_owned(),
            sampled,
            sampled_stale,
            sampled_oldest_ms,
            ..Default::default()
        }
    }

    #[test]
    fn hits_of_all_portals_are_summed_and_one_that_is_too_old_is_a_failure() {
        let right = [("h:1", portal("admin-1", 4, 0, 0)), ("h:2", portal("client-1", 8, 0, 31))];
        let told = answer(&right, 1_000).expect("none is older");
        assert_eq!(
            told.head,
            "caches of 2 portals: of 12 sampled hits 0 were older than the cache lease (1000 ms); the oldest was 31 ms behind the \
             store"
        );
        assert_eq!(
            (&told.document["sampled"], &told.document["portals"][1]["oldest_ms"]),
            (&json!(12), &json!(31))
        );
        let wrong = [("h:1", portal("admin-1", 4, 1, 1_400))];
        let failure = answer(&wrong, 1_000).expect_err("one is");
        assert!(failure.message.contains("of 4 sampled hits 1 were older"), "{failure}");
    }
}

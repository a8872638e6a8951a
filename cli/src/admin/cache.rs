//! `portal`: what a portal says of its cache.

use proto::portal::portal_client::PortalClient;
use proto::portal::{PortalStatusRequest, PortalStatusResponse};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::reach::places::READ;
use crate::reach::portals::Portals;
use crate::show::answer::Answer;
use crate::show::table::{Column, Table};

/// Asks the portal that answered last.
///
/// # Errors
/// As every call.
pub async fn ask(portals: &Portals) -> Result<Answer, Failure> {
    let make = |channel| async move { PortalClient::new(channel).status(PortalStatusRequest {}).await };
    let status = portals.call(READ, make).await?;
    Ok(portal(portals.address(), &status))
}

/// What a portal says of its cache.
pub(crate) fn portal(address: &str, status: &PortalStatusResponse) -> Answer {
    let mut table = Table::new(&[
        Column::number("GROUP"),
        Column::whole("CACHE"),
        Column::number("APPLIED"),
        Column::number("LEASE LEFT"),
        Column::number("SUSPECT").dropped(1),
    ]);
    for group in &status.groups {
        table.row([
            group.group.to_string(),
            group.state.clone(),
            group.applied_offset.to_string(),
            format!("{} ms", group.lease_ms),
            format!("{} ms", group.suspect_ms_total),
        ]);
    }
    let head = format!(
        "{} at {address}: {}/{} cached, {} hits, {} misses, {} bypasses, {} gaps, {} flushes, {} ignored, {} transactions, up {} s",
        status.name,
        status.cached,
        status.capacity,
        status.hits,
        status.misses,
        status.bypasses,
        status.gaps,
        status.flushes,
        status.ignored,
        status.transactions,
        status.up_ms / 1_000,
    );
    Answer::table(head, portal_document(address, status), table)
}

/// The same as a document.
#[must_use]
pub fn portal_document(address: &str, status: &PortalStatusResponse) -> Value {
    let groups: Vec<Value> = status
        .groups
        .iter()
        .map(|group| {
            json!({
                "group": group.group, "state": group.state, "applied_offset": group.applied_offset,
                "lease_ms": group.lease_ms, "suspect_ms_total": group.suspect_ms_total,
            })
        })
        .collect();
    json!({
        "name": status.name, "address": address, "groups": groups, "cached": status.cached,
        "capacity": status.capacity, "hits": status.hits, "misses": status.misses,
        "bypasses": status.bypasses, "gaps": status.gaps, "flushes": status.flushes,
        "transactions": status.transactions, "ignored": status.ignored, "up_ms": status.up_ms,
        "sampled": status.sampled, "sampled_stale": status.sampled_stale,
        "sampled_oldest_ms": status.sampled_oldest_ms, "bus_problem": status.bus_problem, "unanswerable": status.unanswerable,
        "aged": status.aged, "refills_waited": status.refills_waited, "refills_refused": status.refills_refused,
    })
}

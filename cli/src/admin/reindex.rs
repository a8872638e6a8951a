//! `reindex`: the steps of a reindex, one after the other to its end.
//!
//! A step that is repeated finds its work done, so each is sent as a read is. A pass that is broken off begins anew the next time; what it
//! has done stays.

use proto::portal::admin_client::AdminClient;
use proto::portal::{Damage, ReindexRequest, ReindexResponse};
use serde_json::json;

use crate::failure::Failure;
use crate::reach::places::READ;
use crate::reach::portals::Portals;
use crate::show::answer::{Answer, counted};

/// Records and rows that one step looks at.
const STEP: u32 = 500;

/// Runs it.
///
/// # Errors
/// As every call.
pub async fn run(portals: &Portals) -> Result<Answer, Failure> {
    let mut all = ReindexResponse::default();
    loop {
        let message = ReindexRequest { after: all.next, limit: STEP };
        let rpc = |channel, message| async move { AdminClient::new(channel).reindex(message).await };
        let step: ReindexResponse = portals.send(READ, message, rpc).await?;
        all.looked_at += step.looked_at;
        all.written += step.written;
        all.removed += step.removed;
        all.damage = Some(both(all.damage.unwrap_or_default(), step.damage.unwrap_or_default()));
        all.next = step.next;
        if all.next.is_empty() {
            return Ok(answer(&all));
        }
    }
}

/// Damaged records that are named; the others are counted.
const NAMED_MAX: usize = 20;

/// The damage of all steps so far and of one more.
fn both(mut so_far: Damage, of_step: Damage) -> Damage {
    so_far.records.extend(of_step.records);
    let beyond = so_far.records.len().saturating_sub(NAMED_MAX) as u64;
    so_far.more += of_step.more + beyond;
    so_far.records.truncate(NAMED_MAX);
    so_far
}

/// What was done.
#[must_use]
pub fn answer(done: &ReindexResponse) -> Answer {
    let ReindexResponse { looked_at, written, removed, .. } = done;
    let damage = done.damage.clone().unwrap_or_default();
    let damaged: Vec<&str> = damage.records.iter().map(|record| record.key.as_str()).collect();
    let document = json!({
        "looked_at": looked_at, "written": written, "removed": removed,
        "damaged": damaged, "damaged_more": damage.more,
    });
    let head = format!(
        "the indexes are complete: {} written, {removed} removed; looked at {looked_at} records and rows",
        counted(*written, "row")
    );
    let warnings = damage
        .records
        .iter()
        .map(|record| format!("the record {} is damaged and in no index: {}", record.key, record.why));
    let more = (damage.more > 0).then(|| format!("{} more damaged records are in no index", damage.more));
    Answer::line(head, document).warning(warnings.chain(more))
}

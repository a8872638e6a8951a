//! `list-events`: what was done in the shop.

use proto::portal::{Event, ListEventsRequest};

use super::paging::Part;
use crate::failure::{Failure, Reader};
use crate::reach::portals::Portals;
use crate::show::answer::Answer;
use crate::trail::{ask, view};
use crate::verb::admin::Admin;
use crate::verb::call::Call;

/// The events that a command names.
///
/// # Errors
/// As every call; FAILED_PRECONDITION: what follows the cursor is kept no more.
pub async fn list(portals: &Portals, call: &Call<Admin>) -> Result<Answer, Failure> {
    let text = |name: &str| call.get(name).unwrap_or("").to_owned();
    let seconds = call.count("--wait").unwrap_or(0);
    let wanted = ListEventsRequest {
        cid: text("--client"),
        pid: text("--product"),
        oid: text("--order"),
        wait_ms: u32::try_from(seconds.saturating_mul(1_000)).unwrap_or(u32::MAX),
        ..ListEventsRequest::default()
    };
    let part = Part { limit: call.count("--limit"), after: call.get("--after").unwrap_or("") };
    let found = ask::list(portals, &wanted, part).await?;
    let told = found.notes(Reader::Staff, "event", |event: &Event| event.cursor.clone());
    Ok(view::events(&found.items).warning(told))
}

//! Reads that find transactions over several groups in their way.

use std::time::Duration;

use proto::store::pipeline_response::Response;
use tokio::time::Instant;

use crate::gate::is_locked;
use crate::host::Host;

/// How long a read waits for transactions that are in its way: as long as handles do.
const PATIENT_MS_MAX: u64 = 10_000;

/// Runs a read again and again, as entries are applied, until the transactions over several groups that were prepared when it became
/// ready have ended: what was answered before it began is in the table then. A node that stops waits for none.
pub async fn patient<H: Host>(host: &H, run: impl Fn(&H) -> Response) -> Response {
    let (mut applied, mut stopping) = (host.applied(), host.stopping());
    let limit = Instant::now() + Duration::from_millis(host.request_ms_max().min(PATIENT_MS_MAX));
    loop {
        applied.mark_unchanged();
        let answer = run(host);
        if !is_locked(&answer) {
            return answer;
        }
        let goes_on = tokio::select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping) => false,
            changed = tokio::time::timeout_at(limit, applied.changed()) => matches!(changed, Ok(Ok(()))),
        };
        if !goes_on {
            return answer;
        }
    }
}

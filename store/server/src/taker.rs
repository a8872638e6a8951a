//! Somebody who takes a backup: all of one consistent view, at a bounded rate.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use proto::store::{BackupResponse, Failure};
use store_client::failure::status_from;
use store_db::{Read, state, transfer};
use tokio::sync::OwnedSemaphorePermit;
use tonic::Status;

use crate::quarantine;
use crate::shared::Shared;
use crate::thread_to_stream::Sender;

/// A caller who takes nothing for so long is given up.
const STALL_S: u64 = 30;
/// And a backup that takes longer than this.
const BACKUP_S_MAX: u64 = 6 * 3_600;

/// Somebody who takes a backup, and a place among those who may at once.
pub(crate) struct Taker {
    shared: Arc<Shared>,
    sender: Sender<Result<BackupResponse, Status>>,
    _place: OwnedSemaphorePermit,
}

impl Taker {
    pub(crate) fn new(
        shared: Arc<Shared>,
        sender: Sender<Result<BackupResponse, Status>>,
        place: OwnedSemaphorePermit,
    ) -> Taker {
        Taker { shared, sender, _place: place }
    }

    /// Sends all of a consistent view. Whatever stops that ends this backup only.
    pub(crate) fn send(&self, read: &impl Read) {
        let (mut given_up, mut quarantined) = (false, None);
        match self.export(read, &mut given_up, &mut quarantined) {
            Err(_) if quarantined.is_some() => {
                tracing::warn!("a backup was given up: this replica was quarantined meanwhile");
                if let Some(failure) = quarantined {
                    // A taker that does not hear it misses the end of the state, and knows by that.
                    self.sender.send(Err(status_from(&failure)), Instant::now());
                }
            }
            Ok(()) => tracing::info!("a backup was sent"),
            Err(_) if given_up => {
                tracing::warn!("a backup was given up: its caller has gone or takes too long");
            }
            Err(error) => {
                tracing::warn!(%error, "a backup could not be read");
                self.sender.send(Err(Status::internal(error.to_string())), Instant::now());
            }
        }
    }

    fn export(
        &self,
        read: &impl Read,
        given_up: &mut bool,
        quarantined: &mut Option<Failure>,
    ) -> Result<(), store_db::Error> {
        let (begun, shared) = (Instant::now(), &self.shared);
        let state = state::read(read)?;
        let mut next = BackupResponse {
            cluster: shared.me.cluster.clone().into(),
            group: shared.me.route.group,
            position: Some(state::applied(&state)),
            log_time_ms: state.log_time_ms,
            state_machine_version: state.state_machine_version,
            ..BackupResponse::default()
        };
        let mut bytes = 0;
        transfer::export(read, &mut |chunk| {
            bytes += chunk.len();
            let part = BackupResponse { chunk, ..std::mem::take(&mut next) };
            // A state that turned out to be wrong meanwhile must not become a whole backup.
            *quarantined = quarantine::check(shared).err();
            let until = Instant::now() + Duration::from_secs(STALL_S);
            *given_up = quarantined.is_some()
                || begun.elapsed().as_secs() > BACKUP_S_MAX
                || !self.sender.send(Ok(part), until);
            if *given_up {
                // Only this backup ends.
                return Err(store_db::Error::Damaged { what: "the backup was given up".to_owned() });
            }
            let due = bytes as f64 / shared.config.snapshot_bytes_per_second as f64;
            thread::sleep(Duration::from_secs_f64(due).saturating_sub(begun.elapsed()));
            Ok(())
        })
    }
}

//! The key that a process holds, kept in step with its file while it runs: a rotation needs no restart.

use std::time::Duration;

use store_keys::{ClusterId, ClusterKey, KeyFile, Purpose};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::failure::Failure;

/// Between two looks at the file.
pub const LOOK: Duration = Duration::from_secs(1);

/// What is kept in step.
pub trait Followed: Clone + PartialEq + Send + Sync + 'static {
    /// Whose key it is.
    fn cluster(&self) -> ClusterId;

    /// Whether a process that holds this one may go on with that one without a start: it is the same, or newer.
    fn leads_to(&self, next: &Self) -> bool;
}

/// An older file would cut a member that runs off from the others. One of the same revision is of another rotation from the same
/// file, which is followed when it believes what is proven here.
impl Followed for ClusterKey {
    fn cluster(&self) -> ClusterId {
        self.id()
    }

    fn leads_to(&self, next: &ClusterKey) -> bool {
        let believes_this = || next.keys(Purpose::Peer).find(self.keys(Purpose::Peer).first().id()).is_some();
        next.revision() > self.revision() || next.revision() == self.revision() && believes_this()
    }
}

/// Either kind of file will do for a portal.
impl Followed for KeyFile {
    fn cluster(&self) -> ClusterId {
        self.id()
    }

    fn leads_to(&self, next: &KeyFile) -> bool {
        next.revision() > self.revision() || next.revision() == self.revision() && next.bus() == self.bus()
    }
}

/// Looks at the key every second until nobody holds the receiver. What cannot be read, or is another cluster's, changes
/// nothing, and is told once; so is what `read` says of a file that it passed over.
pub fn follow<K: Followed>(
    first: K,
    read: impl Fn() -> Result<(K, Option<Failure>), Failure> + Clone + Send + 'static,
) -> watch::Receiver<K> {
    let (tell, keys) = watch::channel(first);
    tokio::spawn(async move {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = None;
        while !tell.is_closed() {
            look.tick().await;
            let read = read.clone();
            let Ok(read) = tokio::task::spawn_blocking(read).await else { return };
            let taken = read.and_then(|(key, passed_over)| {
                take(&tell, key)?;
                passed_over.map_or(Ok(()), Err)
            });
            match taken {
                Ok(()) => told = None,
                Err(failure) if told.as_ref() == Some(&failure.message) => {}
                Err(failure) => {
                    tracing::warn!(
                        why = failure.message,
                        "the key file is not followed: the key held goes on"
                    );
                    told = Some(failure.message);
                }
            }
        }
    });
    keys
}

fn take<K: Followed>(tell: &watch::Sender<K>, key: K) -> Result<(), Failure> {
    let held = tell.borrow().cluster();
    if key.cluster() != held {
        let message = format!("the file is now of cluster {}, and this process of {held}", key.cluster());
        return Err(Failure::refused(message));
    }
    if !tell.borrow().leads_to(&key) {
        let message = "the file is an older copy than the key that is held, or of another rotation: put the cluster's here, and if it \
                       is this one after all, start this part again";
        return Err(Failure::refused(message));
    }
    let changed = tell.send_if_modified(|held| {
        let changed = *held != key;
        if changed {
            *held = key;
        }
        changed
    });
    if changed {
        tracing::info!("the cluster key has changed, as its file says");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::place::{random, secret};
    use std::sync::{Arc, Mutex};
    use tokio::sync::Notify;

    #[test]
    fn another_clusters_file_changes_nothing() {
        let first = random().unwrap();
        let (tell, keys) = watch::channel(first.clone());
        let failure = take(&tell, random().unwrap()).unwrap_err().to_string();
        assert!(failure.contains(&first.id().to_string()), "{failure}");
        assert_eq!(*keys.borrow(), first);
    }

    #[test]
    fn an_older_file_changes_nothing_at_a_member_that_runs() {
        let older = random().unwrap();
        let between = older.with_second(secret().unwrap()).turned();
        let newer = between.with_first_only();
        let (tell, keys) = watch::channel(newer.clone());
        let failure = take(&tell, older.clone()).unwrap_err().to_string();
        assert!(failure.contains("an older copy"), "{failure}");
        assert_eq!(*keys.borrow(), newer);
        assert!(take(&tell, between).is_err(), "nor by the steps of a rotation");
        assert!(
            take(&tell, older.with_second(secret().unwrap()).turned().with_first_only()).is_err(),
            "another rotation"
        );
        // Begun twice from one file, a rotation can be settled: what proves is the same in both.
        let (tell, keys) = watch::channel(older.with_second(secret().unwrap()));
        let settled = older.with_second(secret().unwrap());
        take(&tell, settled.clone()).unwrap();
        assert_eq!(*keys.borrow(), settled);
        let (tell, _keys) = watch::channel(KeyFile::Portals(older.for_portals()));
        assert!(take(&tell, KeyFile::Cluster(older)).is_ok(), "either kind of file will do for a portal");
        assert!(take(&tell, KeyFile::Portals(newer.for_portals())).is_ok(), "also when a rotation is over");
    }

    #[tokio::test]
    async fn a_changed_file_is_taken_while_the_process_runs() {
        let first = random().unwrap();
        let file = Arc::new(Mutex::new(Err(Failure::refused("it is gone"))));
        let older = Some(Failure::refused("the other file is older"));
        // One file is followed although another one is not.
        let (read, looked) = (Arc::clone(&file), Arc::new(Notify::new()));
        let looks = Arc::clone(&looked);
        let mut keys = follow(first.clone(), move || {
            let found: Result<ClusterKey, Failure> = read.lock().unwrap().clone();
            looks.notify_one();
            found.map(|key| (key, older.clone()))
        });
        // It is changed after it was looked at, and could not be read then.
        looked.notified().await;
        let second = first.with_second(secret().unwrap());
        *file.lock().unwrap() = Ok(second.clone());
        let changed = tokio::time::timeout(60 * LOOK, keys.changed()).await;
        changed.expect("it is looked at again").unwrap();
        assert_eq!(*keys.borrow(), second);
    }
}

//! The key that a process holds, kept in step with its file while it runs: a rotation needs no restart.

use std::time::Duration;

use store_keys::{ClusterId, ClusterKey, KeyFile};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::failure::Failure;

/// Between two looks at the file.
pub const LOOK: Duration = Duration::from_secs(1);

/// What is kept in step.
pub trait Followed: Clone + PartialEq + Send + Sync + 'static {
    /// Whose key it is.
    fn cluster(&self) -> ClusterId;
}

impl Followed for ClusterKey {
    fn cluster(&self) -> ClusterId {
        self.id()
    }
}

impl Followed for KeyFile {
    fn cluster(&self) -> ClusterId {
        self.id()
    }
}

/// Looks at the file every second until nobody holds the receiver. What cannot be read, or is another cluster's, changes
/// nothing, and is told once.
pub fn follow<K: Followed>(
    first: K,
    read: impl Fn() -> Result<K, Failure> + Clone + Send + 'static,
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
            let taken = read.and_then(|key| take(&tell, key));
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

    #[test]
    fn another_clusters_file_changes_nothing() {
        let first = random().unwrap();
        let (tell, keys) = watch::channel(first.clone());
        let failure = take(&tell, random().unwrap()).unwrap_err().to_string();
        assert!(failure.contains(&first.id().to_string()), "{failure}");
        assert_eq!(*keys.borrow(), first);
    }

    #[tokio::test]
    async fn a_changed_file_is_taken_while_the_process_runs() {
        let first = random().unwrap();
        let file = Arc::new(Mutex::new(Err(Failure::refused("it is gone"))));
        let read = Arc::clone(&file);
        let mut keys = follow(first.clone(), move || read.lock().unwrap().clone());
        let second = first.with_second(secret().unwrap());
        *file.lock().unwrap() = Ok(second.clone());
        keys.changed().await.unwrap();
        assert_eq!(*keys.borrow(), second);
    }
}

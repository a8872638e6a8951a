//! The end of a role: SIGTERM, SIGINT, SIGHUP, or, under `feira up`, the end of the pipe on standard input, which says that
//! the supervisor is gone, however that happened.

use std::future::Future;
use std::io::Read;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use tokio::sync::oneshot;

use super::signals::{Signals, told};
use crate::failure::Failure;

/// Ready when the role shall stop.
///
/// # Errors
/// Signals cannot be waited for.
pub fn asked(supervised: bool) -> Result<impl Future<Output = ()> + Send + 'static, Failure> {
    let mut signals = Signals::catch()?;
    let supervisor = supervised.then(supervisor_gone);
    Ok(async move {
        let gone = async {
            match supervisor {
                Some(gone) => drop(gone.await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            signal = signals.next() => tracing::info!("{}", told(signal)),
            () = gone => tracing::info!("the supervisor is gone: stopping"),
        }
    })
}

/// Ready when standard input ends. A process that is stopped by SIGSTOP would not see that: so the kernel is asked
/// to continue it when the supervisor dies.
fn supervisor_gone() -> oneshot::Receiver<()> {
    if let Err(error) = set_pdeathsig(Signal::SIGCONT) {
        tracing::warn!(%error, "a pause would outlive the supervisor");
    }
    let (gone, told) = oneshot::channel();
    let wait = move || {
        let mut nothing = [0; 64];
        while matches!(std::io::stdin().read(&mut nothing), Ok(bytes) if bytes > 0) {}
        // The role may have ended already: nobody needs to know.
        let _ = gone.send(());
    };
    std::thread::Builder::new().name("lifeline".into()).spawn(wait).expect("a thread can be started");
    told
}

//! The leader's part in a consistent cut, driven: between drivers, log and what is applied ([`store_core::cut`]).
//!
//! Promises: a request for a freeze is answered in bounded time, whatever happens. A freeze in force is looked at by every leader, also
//! one that began no cut, and ended. While nothing is frozen and nobody asks, it costs a leader a look at two flags, twenty times a second.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use proto::store::command::Kind;
use proto::store::{Failure, FailureReason, FreezeCommand, ThawCommand};
use store_client::failure::{NOT_DRAINED, failure};
use store_core::cut::{ASK_TICKS_MAX, CutId, Freeze, FreezeInput, FreezeLeader, FreezeOutput, Refusal};
use store_core::{Epoch, Role};
use store_db::{Table as _, cut, state};
use store_engine::Reply;
use store_engine::front::command_of;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::host::{Append, Host, reply};

/// Between two looks while nothing is frozen and nobody asks for it.
const LOOK: Duration = Duration::from_millis(50);
/// A tick of [`store_core::cut`].
const TICK: Duration = Duration::from_millis(10);
/// Ticks that are made up for after a pause of the process.
const TICKS_AT_ONCE: u32 = ASK_TICKS_MAX;

type Waiting = (CutId, oneshot::Sender<Result<Freeze, Refusal>>);

/// The part of one node in cuts.
pub(crate) struct Still<H> {
    host: Arc<H>,
    leader: Mutex<FreezeLeader>,
    /// Drivers that wait.
    waiting: Mutex<Vec<Waiting>>,
    /// Somebody waits.
    asked: Notify,
    /// Transactions over several groups may begin.
    may_begin: AtomicBool,
}

impl<H: Host> Still<H> {
    pub(crate) fn new(host: Arc<H>) -> Arc<Still<H>> {
        Arc::new(Still {
            host,
            leader: Mutex::default(),
            waiting: Mutex::default(),
            asked: Notify::new(),
            may_begin: AtomicBool::new(true),
        })
    }

    /// Whether transactions over several groups may begin here.
    pub(crate) fn may_begin(&self) -> bool {
        self.may_begin.load(Ordering::Relaxed)
    }

    /// Has the group stand still for a cut; answered when nothing is prepared in it any more.
    pub(crate) async fn freeze(self: &Arc<Self>, id: CutId) -> Result<Freeze, Failure> {
        let (sender, answer) = oneshot::channel();
        self.waiting.lock().push((id, sender));
        self.step(FreezeInput::Ask(id));
        self.asked.notify_one();
        match answer.await {
            Ok(Ok(freeze)) => Ok(freeze),
            Ok(Err(Refusal::Busy)) => {
                let message = "the group stands still for another consistent view: try again a moment later";
                Err(failure(FailureReason::Frozen, message))
            }
            Ok(Err(Refusal::Late)) => {
                let message = "a transaction over several groups that is prepared here was not decided and ended in time";
                Err(Failure { field: NOT_DRAINED.to_owned(), ..failure(FailureReason::Frozen, message) })
            }
            Ok(Err(Refusal::NotLeader)) | Err(_) => {
                let view = *self.host.role().borrow();
                let hint = self.host.leader_hint(view.leader, view.epoch);
                Err(store_client::failure::not_leader(hint))
            }
        }
    }

    /// Has the group go on, or not stand still for a cut that waits for it.
    pub(crate) async fn thaw(self: &Arc<Self>, id: CutId) -> Result<(), Failure> {
        self.step(FreezeInput::GivenUp(id));
        thaw(&*self.host, id).await
    }

    fn step(self: &Arc<Self>, input: FreezeInput) {
        let outputs = {
            let mut leader = self.leader.lock();
            let outputs = leader.step(input);
            // Under the lock, so that the word of the last step is the last one: nothing may step for a long time after it.
            self.may_begin.store(leader.may_begin(), Ordering::Relaxed);
            outputs
        };
        outputs.into_iter().for_each(|output| self.carry(output));
    }

    fn carry(self: &Arc<Self>, output: FreezeOutput) {
        match output {
            FreezeOutput::AppendFreeze(id) => {
                let kind =
                    Kind::Freeze(FreezeCommand { id: bytes_of(id), ring_version: crate::RING_VERSION });
                let still = Arc::clone(self);
                self.host.spawn(Box::pin(async move {
                    let told = still.host.append(Append::WriteAnyway(command_of(kind))).await;
                    let reply = told.and_then(|told| reply(&*still.host, told));
                    // What may have been appended shows in the table.
                    let is_lost = matches!(&reply, Err(why) if why.reason() != FailureReason::UnknownOutcome);
                    if is_lost {
                        still.step(FreezeInput::NotAppended(id));
                    }
                }));
            }
            FreezeOutput::AppendThaw(id) => {
                tracing::warn!("the group has stood still for too long for a consistent view: it goes on");
                let still = Arc::clone(self);
                self.host.spawn(Box::pin(async move {
                    // If it is lost, it is asked for again.
                    let _ = thaw(&*still.host, id).await;
                }));
            }
            FreezeOutput::Drained(freeze) => self.answer(freeze.id, Ok(freeze)),
            FreezeOutput::Refuse(id, refusal) => self.answer(id, Err(refusal)),
        }
    }

    fn answer(&self, id: CutId, answer: Result<Freeze, Refusal>) {
        let mut waiting = self.waiting.lock();
        let all = std::mem::take(&mut *waiting);
        let (told, others): (Vec<Waiting>, Vec<Waiting>) = all.into_iter().partition(|(of, _)| *of == id);
        *waiting = others;
        drop(waiting);
        for (_, waits) in told {
            // A driver may have gone.
            let _ = waits.send(answer);
        }
    }

    /// What is applied, if there is anything to be seen; `undecided`: of this leader, which is asked for only then.
    fn look(self: &Arc<Self>, undecided: impl Fn() -> Option<usize>) {
        let is_frozen = self.host.applied().borrow().is_frozen;
        self.host.gate().stand_still(is_frozen && self.host.role().borrow().role == Role::Leader);
        if !is_frozen && self.may_begin() {
            return;
        }
        let Some(undecided) = undecided() else { return };
        match self.host.table().read(|read| state::read(read)) {
            Ok(state) => {
                let (frozen, prepared) = (cut::freeze(&state), state.prepared_count);
                self.step(FreezeInput::See { frozen, prepared, undecided });
            }
            Err(error) => tracing::error!(%error, "whether the group stands still cannot be read"),
        }
    }

    fn is_idle(&self) -> bool {
        self.leader.lock().is_idle()
    }
}

/// Looks until the node ends; `undecided`: how many transactions of this leader are not decided.
pub(crate) async fn run<H: Host>(still: Arc<Still<H>>, undecided: impl Fn() -> Option<usize>) {
    let (mut role, mut applied) = (still.host.role(), still.host.applied());
    let mut stopping = still.host.stopping();
    let mut leads: Option<(Epoch, bool)> = None;
    let (mut ticked, mut is_idle) = (Instant::now(), true);
    loop {
        follow(&still, &mut leads);
        still.look(&undecided);
        let now = Instant::now();
        if is_idle {
            // What was seen for the first time just now has stood still since then.
            ticked = now;
        }
        (0..ticks_until(now, &mut ticked)).for_each(|_| still.step(FreezeInput::Tick));
        is_idle = still.is_idle();
        let waits = !still.may_begin();
        tokio::select! {
            biased;
            () = pause(is_idle, leads.is_some()) => {}
            () = still.asked.notified() => {}
            changed = role.changed() => if changed.is_err() { return },
            _ = applied.changed(), if waits => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
    }
}

/// Until there is something to look at; a replica that does not lead is told when it does.
async fn pause(is_idle: bool, leads: bool) {
    match (is_idle, leads) {
        (false, _) => tokio::time::sleep(TICK).await,
        (true, true) => tokio::time::sleep(LOOK).await,
        (true, false) => pending().await,
    }
}

/// Whole ticks since `ticked`, which moves on by them; of a long pause some are made up for.
fn ticks_until(now: Instant, ticked: &mut Instant) -> u32 {
    let gone = now.saturating_duration_since(*ticked).as_millis() / TICK.as_millis();
    let ticks = u32::try_from(gone).unwrap_or(u32::MAX);
    *ticked = if ticks > TICKS_AT_ONCE { now } else { *ticked + TICK * ticks };
    ticks.min(TICKS_AT_ONCE)
}

/// What has become of this node's leadership.
fn follow<H: Host>(still: &Arc<Still<H>>, leads: &mut Option<(Epoch, bool)>) {
    let view = *still.host.role().borrow();
    let now = (view.role == Role::Leader).then_some(view.epoch);
    if now != leads.map(|(epoch, _)| epoch) {
        *leads = now.map(|epoch| (epoch, false));
        still.step(now.map_or(FreezeInput::Lost, FreezeInput::Lead));
    }
    if let Some((epoch, is_ready @ false)) = leads
        && still.host.applied().borrow().position.epoch == *epoch
    {
        *is_ready = true;
        still.step(FreezeInput::Ready);
    }
}

/// Appends the entry that ends a freeze.
async fn thaw(host: &impl Host, id: CutId) -> Result<(), Failure> {
    let command = command_of(Kind::Thaw(ThawCommand { id: bytes_of(id) }));
    let told = host.append(Append::WriteAnyway(command)).await;
    match told.and_then(|told| reply(host, told))? {
        Reply::Done { .. } => Ok(()),
        other => Err(failure(FailureReason::Unspecified, format!("a thaw was answered with {other:?}"))),
    }
}

fn bytes_of(id: CutId) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(&id.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_of_a_tick_is_lost_and_a_long_pause_is_not_all_made_up_for() {
        let began = Instant::now();
        let mut ticked = began;
        // Looked at every 15 ms for 3 s.
        let at = |look: u32| began + Duration::from_millis(15) * look;
        assert_eq!((1..=200).map(|look| ticks_until(at(look), &mut ticked)).sum::<u32>(), 300);
        let later = at(200) + Duration::from_secs(600);
        assert_eq!(ticks_until(later, &mut ticked), TICKS_AT_ONCE);
        assert_eq!(ticks_until(later + TICK, &mut ticked), 1);
    }
}

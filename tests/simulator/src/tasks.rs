//! The clients' code runs as tasks of one small executor: woken tasks run in the order in which they were woken, on
//! this thread. Sleeping is an appointment with the world's clock; the pauses that production code takes by tokio's
//! clock end when the world turns that clock too.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures::channel::oneshot;

use crate::time::{MS, Micros, Now};

type Queue = Arc<Mutex<Vec<usize>>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wakes one task.
struct Alarm {
    task: usize,
    queue: Queue,
    queued: AtomicBool,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            lock(&self.queue).push(self.task);
        }
    }
}

struct Task {
    future: Option<Pin<Box<dyn Future<Output = ()>>>>,
    alarm: Arc<Alarm>,
    /// It belongs to a node, and nobody waits for its end.
    is_aside: bool,
}

/// Appointments made and not yet taken to the agenda.
type Appointments = Arc<Mutex<Vec<(Micros, oneshot::Sender<()>)>>>;

/// Lets a task wait for simulated time.
#[derive(Clone)]
pub(crate) struct Sleeper {
    pub(crate) now: Now,
    appointments: Appointments,
}

impl Sleeper {
    /// Waits until `at`; not at all if that has passed.
    pub(crate) async fn until(&self, at: Micros) {
        if at > self.now.us() {
            let (ring, rings) = oneshot::channel();
            lock(&self.appointments).push((at, ring));
            // A run that has ended drops its tasks; nobody rings then.
            let _ = rings.await;
        }
    }
}

/// The executor.
pub(crate) struct Tasks {
    tasks: Vec<Task>,
    queue: Queue,
    appointments: Appointments,
    now: Now,
    /// tokio's clock, paused: for the pauses of production code.
    runtime: tokio::runtime::Runtime,
    running: usize,
}

impl Tasks {
    pub(crate) fn new(now: Now) -> Tasks {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build().expect("a clock needs no resources");
        let (queue, appointments) = (Queue::default(), Appointments::default());
        Tasks { tasks: Vec::new(), queue, appointments, now, runtime, running: 0 }
    }

    pub(crate) fn sleeper(&self) -> Sleeper {
        Sleeper { now: self.now.clone(), appointments: Arc::clone(&self.appointments) }
    }

    pub(crate) fn spawn(&mut self, future: impl Future<Output = ()> + 'static) {
        self.running += 1;
        self.add(Box::pin(future), false);
    }

    /// Runs a node's own task, which is not among those that run.
    pub(crate) fn spawn_aside(&mut self, future: Pin<Box<dyn Future<Output = ()>>>) {
        self.add(future, true);
    }

    fn add(&mut self, future: Pin<Box<dyn Future<Output = ()>>>, is_aside: bool) {
        let task = self.tasks.len();
        let alarm = Arc::new(Alarm { task, queue: Arc::clone(&self.queue), queued: AtomicBool::new(true) });
        self.tasks.push(Task { future: Some(future), alarm, is_aside });
        lock(&self.queue).push(task);
    }

    /// How many have not ended.
    pub(crate) fn running(&self) -> usize {
        self.running
    }

    /// Whether a task is woken.
    pub(crate) fn is_woken(&self) -> bool {
        !lock(&self.queue).is_empty()
    }

    /// Runs every task that is woken, until none is.
    pub(crate) fn run(&mut self) {
        let _inside = self.runtime.enter();
        loop {
            let woken = std::mem::take(&mut *lock(&self.queue));
            if woken.is_empty() {
                return;
            }
            for task in woken {
                let task = &mut self.tasks[task];
                task.alarm.queued.store(false, Ordering::Relaxed);
                let waker = Waker::from(Arc::clone(&task.alarm));
                let Some(future) = &mut task.future else { continue };
                if let Poll::Ready(()) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                    task.future = None;
                    self.running -= usize::from(!task.is_aside);
                }
            }
        }
    }

    /// Runs something that looks at tokio's clock.
    pub(crate) fn inside<T>(&self, job: impl FnOnce() -> T) -> T {
        let _inside = self.runtime.enter();
        job()
    }

    /// The appointments made since the last call.
    pub(crate) fn take_appointments(&self) -> Vec<(Micros, oneshot::Sender<()>)> {
        std::mem::take(&mut *lock(&self.appointments))
    }

    /// Turns tokio's clock on.
    pub(crate) fn turn_clock(&self, by: Micros) {
        self.runtime.block_on(tokio::time::advance(Duration::from_millis(by / MS)));
    }
}

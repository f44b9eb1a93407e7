//! The executor: tasks in groups, polled in an order that the seed decides, in simulated time.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use keelson_raft::runtime::{Executor, Job, enter};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Tasks that live and die together: a member, the network, the clients.
pub(crate) type Group = u64;

/// What a task asks of the executor.
enum Order {
    Spawn(Group, Job),
    Kill(Group),
}

/// The way from tasks to the executor; clones share it.
#[derive(Clone, Default)]
pub(crate) struct Control {
    orders: Arc<Mutex<Vec<Order>>>,
}

impl Control {
    /// Starts a task in a group.
    pub(crate) fn spawn(&self, group: Group, task: impl Future<Output = ()> + Send + 'static) {
        self.orders.lock().push(Order::Spawn(group, Box::pin(task)));
    }

    /// Ends all tasks of a group at once: they are not polled again.
    pub(crate) fn kill(&self, group: Group) {
        self.orders.lock().push(Order::Kill(group));
    }
}

#[derive(Default)]
struct Woken {
    tasks: BTreeSet<u64>,
}

struct TaskWaker {
    task: u64,
    woken: Arc<Mutex<Woken>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.woken.lock().tasks.insert(self.task);
    }
}

struct Task {
    group: Group,
    job: Job,
    waker: Waker,
}

#[derive(Default)]
struct Timers {
    next: u64,
    waiting: BTreeMap<(Duration, u64), Waker>,
}

/// One thread's world.
pub(crate) struct Simulator {
    now: Cell<Duration>,
    random: RefCell<StdRng>,
    tasks: RefCell<BTreeMap<u64, Task>>,
    next_task: Cell<u64>,
    running_group: Cell<Group>,
    woken: Arc<Mutex<Woken>>,
    timers: Arc<Mutex<Timers>>,
    control: Control,
    /// A digest of every poll: which task, when.
    trace: Cell<u64>,
    polls: Cell<u64>,
}

impl Simulator {
    pub(crate) fn new(seed: u64) -> Rc<Self> {
        Rc::new(Self {
            now: Cell::default(),
            random: RefCell::new(StdRng::seed_from_u64(seed)),
            tasks: RefCell::default(),
            next_task: Cell::new(1),
            running_group: Cell::default(),
            woken: Arc::default(),
            timers: Arc::default(),
            control: Control::default(),
            trace: Cell::new(0xcbf2_9ce4_8422_2325),
            polls: Cell::default(),
        })
    }

    pub(crate) fn control(&self) -> Control {
        self.control.clone()
    }

    /// A digest of everything that ran, and how many polls that were.
    pub(crate) fn trace(&self) -> (u64, u64) {
        (self.trace.get(), self.polls.get())
    }

    /// Runs until `done` says so, or simulated time has passed `limit`; whether it was `done`.
    pub(crate) fn run_until(self: &Rc<Self>, limit: Duration, done: impl Fn() -> bool) -> bool {
        let _entered = enter(self.clone());
        while !done() {
            self.obey();
            if !self.poll_one() && !self.advance(limit) {
                return done();
            }
        }
        true
    }

    /// Ends all tasks.
    pub(crate) fn end(self: &Rc<Self>) {
        let _entered = enter(self.clone());
        let tasks = std::mem::take(&mut *self.tasks.borrow_mut());
        drop(tasks);
    }

    fn obey(&self) {
        loop {
            let orders = std::mem::take(&mut *self.control.orders.lock());
            if orders.is_empty() {
                return;
            }
            for order in orders {
                match order {
                    Order::Spawn(group, job) => self.add(group, job),
                    Order::Kill(group) => {
                        let mut tasks = self.tasks.borrow_mut();
                        let dead: Vec<u64> = tasks
                            .iter()
                            .filter(|(_, task)| task.group == group)
                            .map(|(id, _)| *id)
                            .collect();
                        let dead: Vec<Option<Task>> =
                            dead.iter().map(|id| tasks.remove(id)).collect();
                        drop(tasks);
                        drop(dead);
                    }
                }
            }
        }
    }

    fn add(&self, group: Group, job: Job) {
        let id = self.next_task.get();
        self.next_task.set(id + 1);
        let waker = Waker::from(Arc::new(TaskWaker { task: id, woken: self.woken.clone() }));
        self.tasks.borrow_mut().insert(id, Task { group, job, waker });
        self.woken.lock().tasks.insert(id);
    }

    /// Polls one of the tasks that are ready, whichever the seed says.
    fn poll_one(&self) -> bool {
        let id = {
            let mut woken = self.woken.lock();
            if woken.tasks.is_empty() {
                return false;
            }
            let count = woken.tasks.len();
            let place = self.random.borrow_mut().random_range(0..count);
            let Some(id) = woken.tasks.iter().nth(place).copied() else { return false };
            woken.tasks.remove(&id);
            id
        };
        let Some(mut task) = self.tasks.borrow_mut().remove(&id) else { return true };
        self.note(id);
        self.running_group.set(task.group);
        let waker = task.waker.clone();
        let polled = task.job.as_mut().poll(&mut Context::from_waker(&waker));
        match polled {
            Poll::Pending => {
                self.tasks.borrow_mut().insert(id, task);
            }
            Poll::Ready(()) => drop(task),
        }
        true
    }

    /// Goes to the next moment at which something happens.
    fn advance(&self, limit: Duration) -> bool {
        let (deadline, waker) = {
            let mut timers = self.timers.lock();
            let Some(first) = timers.waiting.first_entry() else { return false };
            let deadline = first.key().0;
            if deadline > limit {
                return false;
            }
            (deadline, first.remove())
        };
        self.now.set(self.now.get().max(deadline));
        waker.wake();
        true
    }

    fn note(&self, task: u64) {
        let mut trace = self.trace.get();
        for word in [task, u64::try_from(self.now.get().as_nanos()).unwrap_or(u64::MAX)] {
            trace = (trace ^ word).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self.trace.set(trace);
        self.polls.set(self.polls.get() + 1);
    }
}

impl Executor for Simulator {
    fn spawn(&self, task: Job) {
        self.add(self.running_group.get(), task);
    }

    fn now(&self) -> Duration {
        self.now.get()
    }

    fn sleep_until(&self, deadline: Duration) -> Job {
        Box::pin(Sleep { deadline, timers: self.timers.clone(), key: None })
    }

    fn random(&self) -> u64 {
        self.random.borrow_mut().random()
    }
}

/// A wait in simulated time.
struct Sleep {
    deadline: Duration,
    timers: Arc<Mutex<Timers>>,
    key: Option<(Duration, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let now = keelson_raft::runtime::simulated_now().unwrap_or(Duration::MAX);
        let this = &mut *self;
        let mut timers = this.timers.lock();
        if now >= this.deadline {
            if let Some(key) = this.key.take() {
                timers.waiting.remove(&key);
            }
            return Poll::Ready(());
        }
        let key = *this.key.get_or_insert_with(|| {
            timers.next += 1;
            (this.deadline, timers.next)
        });
        timers.waiting.insert(key, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.timers.lock().waiting.remove(&key);
        }
    }
}

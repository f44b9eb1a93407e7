//! The executor: tasks in groups, polled in an order that the seed decides, in simulated time.
//!
//! Each group has a clock of its own, and can be stopped for a while as a process can.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use keelson_raft::runtime::{Executor, Job, enter};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::clock::GroupClock;
use crate::panics;

/// Tasks that live and die together: a member, the network, the clients.
pub(crate) type Group = u64;

/// A sync of a disk that nothing is wrong with takes at most this long.
const SYNC_MAX: Duration = Duration::from_millis(3);

/// What a task asks of the executor.
enum Order {
    Spawn(Group, Job),
    Kill(Group),
}

/// The way from tasks to the executor; clones share it.
#[derive(Clone, Default)]
pub(crate) struct Control {
    orders: Arc<Mutex<Vec<Order>>>,
    timers: Arc<Mutex<Timers>>,
}

impl Control {
    /// Starts a task in a group.
    pub(crate) fn spawn(&self, group: Group, task: impl Future<Output = ()> + Send + 'static) {
        self.orders.lock().push(Order::Spawn(group, Box::pin(task)));
    }

    /// Ends all tasks of a group at once: they are not polled again. Its next ones have a good
    /// clock and a good disk.
    pub(crate) fn kill(&self, group: Group) {
        self.orders.lock().push(Order::Kill(group));
        let mut timers = self.timers.lock();
        timers.groups.remove(&group);
    }

    /// The time that no member knows.
    pub(crate) fn now(&self) -> Duration {
        self.timers.lock().now
    }

    /// A group does nothing until this has passed; its clock goes on.
    pub(crate) fn stop(&self, group: Group, time: Duration) {
        let mut timers = self.timers.lock();
        let until = timers.now + time;
        let stopped = &mut timers.groups.entry(group).or_default().stopped_until;
        *stopped = until.max(*stopped);
    }

    /// A group's clock goes so many millionths too fast.
    pub(crate) fn set_rate(&self, group: Group, millionths: i64) {
        let mut timers = self.timers.lock();
        let now = timers.now;
        timers.groups.entry(group).or_default().clock.set_rate(now, millionths);
        timers.wake_all();
    }

    /// A group's clock is this much further at once.
    pub(crate) fn jump(&self, group: Group, by: Duration) {
        let mut timers = self.timers.lock();
        timers.groups.entry(group).or_default().clock.jump(by);
        timers.wake_all();
    }

    /// Each sync of a group's disk takes at least this long.
    pub(crate) fn set_sync_time(&self, group: Group, least: Duration) {
        self.timers.lock().groups.entry(group).or_default().sync_least = least;
    }

    /// Nothing is wrong with any group.
    pub(crate) fn restore(&self) {
        let mut timers = self.timers.lock();
        let now = timers.now;
        for state in timers.groups.values_mut() {
            state.stopped_until = Duration::ZERO;
            state.sync_least = Duration::ZERO;
            state.clock.set_rate(now, 0);
        }
        timers.wake_all();
    }
}

/// Tasks that are ready, sorted: few at a time, looked at before every poll.
#[derive(Default)]
struct Woken {
    tasks: Vec<u64>,
}

impl Woken {
    fn insert(&mut self, task: u64) {
        if let Err(place) = self.tasks.binary_search(&task) {
            self.tasks.insert(place, task);
        }
    }
}

struct TaskWaker {
    task: u64,
    woken: Arc<Mutex<Woken>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.woken.lock().insert(self.task);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.lock().insert(self.task);
    }
}

struct Task {
    group: Group,
    job: Job,
    waker: Waker,
}

/// What is special about a group.
#[derive(Default)]
struct GroupState {
    clock: GroupClock,
    stopped_until: Duration,
    sync_least: Duration,
}

#[derive(Default)]
struct Timers {
    now: Duration,
    next: u64,
    waiting: BTreeMap<(Duration, u64), Waker>,
    groups: BTreeMap<Group, GroupState>,
}

impl Timers {
    fn local(&self, group: Group) -> Duration {
        self.groups.get(&group).map_or(self.now, |state| state.clock.local(self.now))
    }

    fn global(&self, group: Group, deadline: Duration) -> Duration {
        self.groups.get(&group).map_or(deadline, |state| state.clock.global(self.now, deadline))
    }

    /// Clocks have changed: whoever waits looks again.
    fn wake_all(&mut self) {
        for waker in self.waiting.values() {
            waker.wake_by_ref();
        }
    }
}

/// One thread's world.
pub(crate) struct Simulator {
    random: RefCell<StdRng>,
    /// By number; a task that is being polled, or has ended, is not there.
    tasks: RefCell<Vec<Option<Task>>>,
    /// Tasks of stopped groups that are ready.
    held: RefCell<BTreeSet<u64>>,
    running_group: Cell<Group>,
    woken: Arc<Mutex<Woken>>,
    timers: Arc<Mutex<Timers>>,
    control: Control,
    panicked: RefCell<Vec<(Group, String)>>,
    /// A digest of every poll: which task, when.
    trace: Cell<u64>,
    polls: Cell<u64>,
}

impl Simulator {
    pub(crate) fn new(seed: u64) -> Rc<Self> {
        let control = Control::default();
        Rc::new(Self {
            random: RefCell::new(StdRng::seed_from_u64(seed)),
            tasks: RefCell::new(vec![None]),
            held: RefCell::default(),
            running_group: Cell::default(),
            woken: Arc::default(),
            timers: control.timers.clone(),
            control,
            panicked: RefCell::default(),
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

    pub(crate) fn has_panicked(&self) -> bool {
        !self.panicked.borrow().is_empty()
    }

    /// Tasks that panicked since the last call, by group.
    pub(crate) fn panicked(&self) -> Vec<(Group, String)> {
        std::mem::take(&mut *self.panicked.borrow_mut())
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
        let orders = std::mem::take(&mut *self.control.orders.lock());
        drop(orders);
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
                    Order::Kill(group) => self.kill(group),
                }
            }
        }
    }

    fn kill(&self, group: Group) {
        let mut tasks = self.tasks.borrow_mut();
        let of_group = |task: &mut Task| task.group == group;
        let dead: Vec<Task> = tasks.iter_mut().filter_map(|task| task.take_if(of_group)).collect();
        drop(tasks);
        drop(dead);
    }

    fn add(&self, group: Group, job: Job) {
        let mut tasks = self.tasks.borrow_mut();
        let id = tasks.len() as u64;
        let waker = Waker::from(Arc::new(TaskWaker { task: id, woken: self.woken.clone() }));
        tasks.push(Some(Task { group, job, waker }));
        drop(tasks);
        self.woken.lock().insert(id);
    }

    fn take(&self, id: u64) -> Option<Task> {
        self.tasks.borrow_mut().get_mut(usize::try_from(id).ok()?)?.take()
    }

    fn put(&self, id: u64, task: Task) {
        let mut tasks = self.tasks.borrow_mut();
        if let Some(place) = usize::try_from(id).ok().and_then(|id| tasks.get_mut(id)) {
            *place = Some(task);
        }
    }

    /// Polls one of the tasks that are ready, whichever the seed says.
    fn poll_one(&self) -> bool {
        let id = {
            let mut woken = self.woken.lock();
            if woken.tasks.is_empty() {
                return false;
            }
            let count = woken.tasks.len();
            let place =
                if count == 1 { 0 } else { self.random.borrow_mut().random_range(0..count) };
            woken.tasks.remove(place)
        };
        let Some(mut task) = self.take(id) else { return true };
        if self.is_stopped(id, task.group) {
            self.put(id, task);
            return true;
        }
        self.note(id);
        self.running_group.set(task.group);
        let waker = task.waker.clone();
        let mut poll = || task.job.as_mut().poll(&mut Context::from_waker(&waker));
        match panics::catch(AssertUnwindSafe(&mut poll)) {
            Ok(Poll::Pending) => self.put(id, task),
            Ok(Poll::Ready(())) => drop(task),
            Err(message) => {
                self.panicked.borrow_mut().push((task.group, message));
                drop(task);
            }
        }
        true
    }

    /// Whether a task's group is stopped; then it is polled when that has passed.
    fn is_stopped(&self, task: u64, group: Group) -> bool {
        let mut timers = self.timers.lock();
        let until = timers.groups.get(&group).map_or(Duration::ZERO, |state| state.stopped_until);
        if until <= timers.now {
            return false;
        }
        if self.held.borrow_mut().insert(task) {
            timers.next += 1;
            let key = (until, timers.next);
            let waker = TaskWaker { task, woken: self.woken.clone() };
            timers.waiting.insert(key, Waker::from(Arc::new(waker)));
        }
        true
    }

    /// Goes to the next moment at which something happens.
    fn advance(&self, limit: Duration) -> bool {
        let waker = {
            let mut timers = self.timers.lock();
            let Some(first) = timers.waiting.first_entry() else { return false };
            let deadline = first.key().0;
            if deadline > limit {
                return false;
            }
            let waker = first.remove();
            if deadline > timers.now {
                timers.now = deadline;
                self.held.borrow_mut().clear();
            }
            waker
        };
        waker.wake();
        true
    }

    fn note(&self, task: u64) {
        let now = self.timers.lock().now;
        let mut trace = self.trace.get();
        for word in [task, u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)] {
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
        self.timers.lock().local(self.running_group.get())
    }

    fn sleep_until(&self, deadline: Duration) -> Job {
        let (group, timers) = (self.running_group.get(), self.timers.clone());
        Box::pin(Sleep { group, deadline, timers, key: None })
    }

    fn random(&self) -> u64 {
        self.random.borrow_mut().random()
    }

    fn sync_time(&self) -> Duration {
        let group = self.running_group.get();
        let least = self.timers.lock().groups.get(&group).map_or(Duration::ZERO, |g| g.sync_least);
        least + Duration::from_nanos(self.random() % SYNC_MAX.as_nanos() as u64)
    }
}

/// A wait in a group's time.
struct Sleep {
    group: Group,
    deadline: Duration,
    timers: Arc<Mutex<Timers>>,
    key: Option<(Duration, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut timers = this.timers.lock();
        if timers.local(this.group) >= this.deadline {
            if let Some(key) = this.key.take() {
                timers.waiting.remove(&key);
            }
            return Poll::Ready(());
        }
        let at = timers.global(this.group, this.deadline);
        let key = match this.key {
            Some(key) if key.0 == at => key,
            old => {
                if let Some(old) = old {
                    timers.waiting.remove(&old);
                }
                timers.next += 1;
                (at, timers.next)
            }
        };
        this.key = Some(key);
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

//! Failpoint: one named place and what it does at present.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::runtime::{Handle, RuntimeFlavor};

use crate::terms::{Action, BadTerms, Terms, Value, pause};

/// Held while an answer is on its way: a panic waits until the caller who asked for it knows.
static ANSWERING: Mutex<()> = Mutex::new(());

/// While it is held, no point ends the process.
pub(crate) fn answering() -> MutexGuard<'static, ()> {
    lock(&ANSWERING)
}

/// One named place.
pub struct Failpoint {
    name: &'static str,
    /// `return` needs a text here, and else nothing.
    takes_text: bool,
    /// Whether there are terms: all that is looked at while there are none.
    is_set: AtomicBool,
    terms: Mutex<Option<Terms>>,
}

impl Failpoint {
    /// A place that does nothing.
    pub const fn new(name: &'static str) -> Self {
        Self { name, takes_text: false, is_set: AtomicBool::new(false), terms: Mutex::new(None) }
    }

    /// The same for a place that fails with a text.
    #[must_use]
    pub const fn takes_text(mut self) -> Self {
        self.takes_text = true;
        self
    }

    /// What it is called.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The place is reached. A sleep blocks the thread; where that is one of a runtime's, its other
    /// tasks go on elsewhere. Where the terms are `return`, returns their text, or an empty one.
    pub fn reach(&self) -> Option<String> {
        match self.decide()? {
            Action::Sleep(value) => {
                let pause = self.pause(&value)?;
                let flavor = Handle::try_current().map(|handle| handle.runtime_flavor());
                match flavor {
                    Ok(RuntimeFlavor::MultiThread) => {
                        tokio::task::block_in_place(|| std::thread::sleep(pause));
                    }
                    _ => std::thread::sleep(pause),
                }
                None
            }
            other => self.act(other),
        }
    }

    /// The same for a task, whose thread goes on while the task sleeps.
    pub async fn reach_async(&self) -> Option<String> {
        match self.decide()? {
            Action::Sleep(value) => {
                tokio::time::sleep(self.pause(&value)?).await;
                None
            }
            other => self.act(other),
        }
    }

    pub(crate) fn set(&self, text: &str) -> Result<(), BadTerms> {
        let terms = Terms::parse(text)?;
        let mut place = lock(&self.terms);
        *place = Some(terms);
        self.is_set.store(true, Ordering::Release);
        Ok(())
    }

    /// Whether there was something to clear.
    pub(crate) fn clear(&self) -> bool {
        let mut place = lock(&self.terms);
        self.is_set.store(false, Ordering::Release);
        place.take().is_some()
    }

    /// The terms and how often they were followed.
    pub(crate) fn status(&self) -> Option<(String, u64)> {
        lock(&self.terms).as_ref().map(|terms| (terms.text().to_owned(), terms.count))
    }

    fn decide(&self) -> Option<Action> {
        if !self.is_set.load(Ordering::Acquire) {
            return None;
        }
        lock(&self.terms).as_mut()?.next(rand::random::<f64>)
    }

    fn act(&self, action: Action) -> Option<String> {
        match action {
            Action::Off | Action::Sleep(_) => None,
            Action::Print => {
                println!("failpoint print: {}", self.name);
                None
            }
            Action::Return(Value::Unit) if !self.takes_text => Some(String::new()),
            Action::Return(Value::Text(text)) if self.takes_text => Some(text),
            Action::Return(value) => {
                let (value, kind) = match value {
                    Value::Number(number) => (number.to_string(), "int"),
                    Value::Bool(is) => (is.to_string(), "bool"),
                    Value::Text(text) => (text, "string"),
                    Value::Unit => ("{}".to_owned(), "struct {}"),
                };
                let (name, wanted) =
                    (self.name, if self.takes_text { "string" } else { "struct{}" });
                println!(
                    "failpoint: {name:?} got value {value} of type {kind:?} but expected type {wanted:?}"
                );
                None
            }
            Action::Panic(value) => {
                let _nobody_waits_for_an_answer = answering();
                match value {
                    Value::Text(why) => eprintln!("panic: failpoint panic: {why}"),
                    _ => eprintln!("panic: failpoint panic: {}", self.name),
                }
                std::process::abort()
            }
        }
    }

    fn pause(&self, value: &Value) -> Option<std::time::Duration> {
        let pause = pause(value);
        if pause.is_none() {
            println!("failpoint: could not parse sleep({value:?}) on {}", self.name);
        }
        pause
    }
}

/// A thread that panicked has left nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_terms_nothing_happens() {
        let point = Failpoint::new("p");
        assert_eq!(point.reach(), None);
        assert_eq!(point.status(), None);
        assert!(!point.clear());
        assert_eq!(point.set("nonsense"), Err(BadTerms));
        assert_eq!(point.status(), None);
    }

    #[test]
    fn a_value_comes_back_until_it_is_cleared() {
        let point = Failpoint::new("p");
        point.set("2*return->print").unwrap();
        let empty = || Some(String::new());
        assert_eq!([point.reach(), point.reach(), point.reach()], [empty(), empty(), None]);
        assert_eq!(point.status(), Some(("2*return->print".to_owned(), 3)));
        point.set("return(5)").unwrap();
        assert_eq!(point.reach(), None, "of another type than the place takes");
        assert!(point.clear());
        assert_eq!(point.reach(), None);

        let point = point.takes_text();
        point.set("1*return->return(\"why\")").unwrap();
        assert_eq!([point.reach(), point.reach()], [None, Some("why".to_owned())]);
    }

    #[tokio::test]
    async fn a_task_that_sleeps_lets_others_go_on() {
        static POINT: Failpoint = Failpoint::new("p");
        POINT.set("1*sleep(\"1h\")").unwrap();
        let sleeper = tokio::spawn(POINT.reach_async());
        while POINT.status().unwrap().1 == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(POINT.reach_async().await, None);
        sleeper.abort();
    }

    #[test]
    fn a_thread_that_sleeps_gives_its_tasks_away() {
        static POINT: Failpoint = Failpoint::new("p");
        POINT.set("1*sleep(\"1h\")").unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build();
        let runtime = runtime.unwrap();
        runtime.spawn(async { POINT.reach() });
        while POINT.status().unwrap().1 == 0 {
            std::thread::yield_now();
        }
        // The runtime has one thread, and it sleeps.
        runtime.block_on(runtime.spawn(async {})).unwrap();
        runtime.shutdown_background();
    }
}

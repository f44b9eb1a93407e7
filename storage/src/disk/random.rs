//! Random: where randomness enters (ids, jitter); apply never reads it.

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// A source of random numbers.
pub trait Random: Send + Sync + std::fmt::Debug {
    /// The next uniformly distributed number.
    fn next_u64(&self) -> u64;
}

/// The operating system's randomness, through the thread's generator.
#[derive(Debug, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn next_u64(&self) -> u64 {
        rand::rng().random()
    }
}

/// A generator that gives the same numbers for the same seed.
#[derive(Debug)]
pub struct SeededRandom {
    state: Mutex<StdRng>,
}

impl SeededRandom {
    /// A generator that starts from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: Mutex::new(StdRng::seed_from_u64(seed)) }
    }
}

impl Random for SeededRandom {
    fn next_u64(&self) -> u64 {
        self.state.lock().random()
    }
}

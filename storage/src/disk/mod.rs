//! The edges of the pure core: disk, clock and randomness as small traits, with the real
//! implementations and simulated ones that lose what was not synced.

mod clock;
mod failing;
mod file;
mod random;
mod real;
mod simulated;

pub use clock::{Clock, SystemClock, wall_clock};
pub use failing::{Failing, FailingDisk};
pub use file::{Disk, DiskFile};
pub use random::{Random, SeededRandom, SystemRandom};
pub use real::RealDisk;
pub use simulated::SimulatedDisk;

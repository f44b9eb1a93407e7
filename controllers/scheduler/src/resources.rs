//! Amounts of resources, as plain numbers: cpu in thousandths, everything else in whole units.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::quantity;

/// The cpu a container without a request is scored with.
const SCORED_MILLI_CPU: i64 = 100;
/// The memory a container without a request is scored with.
const SCORED_MEMORY: i64 = 200 * 1024 * 1024;

/// Quantities by resource name, as the API has them.
pub(crate) type Quantities = BTreeMap<String, Quantity>;

/// Amounts of resources.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Resources {
    pub(crate) milli_cpu: i64,
    pub(crate) memory: i64,
    pub(crate) ephemeral_storage: i64,
    /// Huge pages and extended resources, few and sorted by name.
    pub(crate) scalars: Vec<(Arc<str>, i64)>,
}

impl Resources {
    /// The amounts in a list of quantities; what does not parse counts as none. `pods` is not
    /// among them.
    pub(crate) fn parse(quantities: &Quantities) -> Self {
        let mut parsed = Self::default();
        for (name, Quantity(text)) in quantities {
            match name.as_str() {
                "cpu" => parsed.milli_cpu = quantity::milli(text).unwrap_or(0),
                "memory" => parsed.memory = quantity::whole(text).unwrap_or(0),
                "ephemeral-storage" => {
                    parsed.ephemeral_storage = quantity::whole(text).unwrap_or(0);
                }
                "pods" => {}
                _ => {
                    parsed.scalars.push((name.as_str().into(), quantity::whole(text).unwrap_or(0)))
                }
            }
        }
        parsed
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.milli_cpu += other.milli_cpu;
        self.memory += other.memory;
        self.ephemeral_storage += other.ephemeral_storage;
        for (name, amount) in &other.scalars {
            *self.scalar_mut(name) += amount;
        }
    }

    pub(crate) fn subtract(&mut self, other: &Self) {
        self.milli_cpu -= other.milli_cpu;
        self.memory -= other.memory;
        self.ephemeral_storage -= other.ephemeral_storage;
        for (name, amount) in &other.scalars {
            *self.scalar_mut(name) -= amount;
        }
    }

    /// Raises each amount to at least that of `other`.
    pub(crate) fn raise_to(&mut self, other: &Self) {
        self.milli_cpu = self.milli_cpu.max(other.milli_cpu);
        self.memory = self.memory.max(other.memory);
        self.ephemeral_storage = self.ephemeral_storage.max(other.ephemeral_storage);
        for (name, amount) in &other.scalars {
            let mine = self.scalar_mut(name);
            *mine = (*mine).max(*amount);
        }
    }

    /// The amount of a scalar resource, 0 if it is not known.
    pub(crate) fn scalar(&self, name: &str) -> i64 {
        self.scalars.iter().find(|(known, _)| **known == *name).map_or(0, |(_, amount)| *amount)
    }

    fn scalar_mut(&mut self, name: &Arc<str>) -> &mut i64 {
        let at = match self.scalars.binary_search_by(|(known, _)| known.cmp(name)) {
            Ok(at) => at,
            Err(at) => {
                self.scalars.insert(at, (name.clone(), 0));
                at
            }
        };
        &mut self.scalars[at].1
    }

    /// The same amounts, but with something for cpu and memory where nothing was asked, so that
    /// pods without requests spread too.
    pub(crate) fn or_scored_minimum(&self, quantities: Option<&Quantities>) -> Self {
        let asked = |name| quantities.is_some_and(|quantities| quantities.contains_key(name));
        Self {
            milli_cpu: if asked("cpu") { self.milli_cpu } else { SCORED_MILLI_CPU },
            memory: if asked("memory") { self.memory } else { SCORED_MEMORY },
            ..Self::default()
        }
    }
}

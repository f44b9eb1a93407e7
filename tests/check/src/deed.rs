//! Deeds: what one operation does to several registers at one moment, and what its client was told.
//! Reads, writes, swaps, appends and transactions are all of this one form.

/// One step of a deed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Reads a register.
    Read(String),
    /// Sets it; `None` removes it.
    Write(String, Option<String>),
    /// Puts an element at the end of its list, whose elements are parted by commas.
    Append(String, String),
}

/// What the client of a deed was told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// Whether all comparisons held.
    pub succeeded: bool,
    /// What the reads of the branch that was taken saw, in order; fewer: the rest was not told.
    pub reads: Vec<Option<String>>,
}

/// One operation: if all comparisons hold, one list of steps, else another; at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deed {
    /// The client.
    pub client: String,
    /// When it was asked for.
    pub called: u64,
    /// When it was answered; `None`: never, it may have happened at any time since, or not at all.
    pub returned: Option<u64>,
    /// What registers must hold.
    pub compares: Vec<(String, Option<String>)>,
    /// What is done if they do.
    pub then: Vec<Step>,
    /// What is done if not.
    pub otherwise: Vec<Step>,
    /// What the client was told.
    pub told: Option<Told>,
    /// What it was, for people.
    pub label: String,
}

impl Step {
    /// The register.
    pub fn key(&self) -> &str {
        match self {
            Self::Read(key) | Self::Write(key, _) | Self::Append(key, _) => key,
        }
    }

    fn is_read(&self) -> bool {
        matches!(self, Self::Read(_))
    }
}

impl Deed {
    /// Every register it names, some more than once.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let compared = self.compares.iter().map(|(key, _)| key.as_str());
        compared.chain(self.steps().map(Step::key))
    }

    /// The steps of both branches.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.then.iter().chain(&self.otherwise)
    }

    /// Whether it changes nothing, whatever it finds.
    pub fn only_reads(&self) -> bool {
        self.steps().all(Step::is_read)
    }

    /// What its client was told of registers: it holds at the moment of the deed.
    pub fn saw(&self) -> Vec<(&str, Option<&str>)> {
        let Some(told) = &self.told else { return Vec::new() };
        let branch = if told.succeeded { &self.then } else { &self.otherwise };
        let keys = branch.iter().filter(|step| step.is_read()).map(Step::key);
        let mut saw: Vec<_> = keys.zip(told.reads.iter().map(Option::as_deref)).collect();
        if told.succeeded {
            let compared = self.compares.iter();
            saw.extend(compared.map(|(key, value)| (key.as_str(), value.as_deref())));
        }
        saw
    }

    /// What it may leave behind.
    pub fn writes(&self) -> impl Iterator<Item = &Step> {
        self.steps().filter(|step| !step.is_read())
    }

    /// The same deed without what it depended on: whatever order has a place for the one has a
    /// place for the other. `None`: nothing would be left of it, or it cannot be told.
    pub fn weakened(&self) -> Option<Self> {
        let done = self.told.as_ref().is_none_or(|told| told.succeeded);
        let branch = if done { &self.then } else { &self.otherwise };
        let steps: Vec<Step> = branch.iter().filter(|step| !step.is_read()).cloned().collect();
        let other_writes = self.told.is_none() && self.otherwise.iter().any(|one| !one.is_read());
        if steps.is_empty() || other_writes {
            return None;
        }
        Some(Self {
            compares: Vec::new(),
            then: steps,
            otherwise: Vec::new(),
            told: self.told.as_ref().map(|_| Told { succeeded: true, reads: Vec::new() }),
            ..self.clone()
        })
    }
}

//! Proposals: who waits for which command to be applied here.
//!
//! Each payload begins with an identity: a number drawn when this process started, then a counter.
//! The state machine of the member that proposed it finds its caller by it, whether the command
//! went through the own log as leader or by way of another member; so a reply is always what the
//! own state machine said, and the caller then reads its own writes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use keelson_storage::command::{ApplyResult, Command};
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::oneshot;

use crate::error::ProposeError;
use crate::runtime::{Moment, Runtime};
use crate::types::Payload;

/// Bytes before the command.
const IDENTITY_BYTES: usize = 16;

/// How a proposal ends for its caller.
pub(crate) type Outcome = Result<ApplyResult, ProposeError>;

/// The callers who wait; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Proposals {
    origin: u64,
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    callers: BTreeMap<u64, oneshot::Sender<Outcome>>,
    /// Counters and when they were next: what is older than the limit has timed out.
    marks: Vec<(Moment, u64)>,
    closed: bool,
}

impl Proposals {
    pub(crate) fn new() -> Self {
        Self { origin: Runtime::random(), waiting: Arc::default() }
    }

    /// Encodes a command and registers its caller.
    pub(crate) fn register(
        &self,
        command: &Command,
    ) -> Result<(Payload, u64, oneshot::Receiver<Outcome>), ProposeError> {
        let (sender, receiver) = oneshot::channel();
        let sequence = {
            let mut waiting = self.waiting.lock();
            if waiting.closed {
                return Err(ProposeError::Stopped);
            }
            waiting.next += 1;
            let sequence = waiting.next;
            waiting.callers.insert(sequence, sender);
            sequence
        };
        let mut bytes = BytesMut::with_capacity(IDENTITY_BYTES + command.encoded_len());
        bytes.put_u64_le(self.origin);
        bytes.put_u64_le(sequence);
        command.encode_raw(&mut bytes);
        Ok((Payload(bytes.freeze()), sequence, receiver))
    }

    /// The counter of a payload that was proposed here by this process.
    pub(crate) fn own_sequence(&self, payload: &Payload) -> Option<u64> {
        let mut bytes = payload.0.as_ref();
        let origin = bytes.try_get_u64_le().ok()?;
        let sequence = bytes.try_get_u64_le().ok()?;
        (origin == self.origin).then_some(sequence)
    }

    /// Forgets a caller whose command was never handed over.
    pub(crate) fn forget(&self, sequence: u64) {
        self.waiting.lock().callers.remove(&sequence);
    }

    /// Answers callers, in one go.
    pub(crate) fn complete(&self, outcomes: impl Iterator<Item = (u64, Outcome)>) {
        let mut waiting = self.waiting.lock();
        for (sequence, outcome) in outcomes {
            if let Some(caller) = waiting.callers.remove(&sequence) {
                let _ = caller.send(outcome);
            }
        }
    }

    /// Ends what has waited for longer than `limit`; to be called every now and then.
    pub(crate) fn expire(&self, limit: Duration) {
        let mut waiting = self.waiting.lock();
        let waiting = &mut *waiting;
        if waiting.callers.is_empty() {
            waiting.marks.clear();
            return;
        }
        let next = waiting.next;
        waiting.marks.push((Moment::now(), next));
        let old = waiting.marks.iter().take_while(|(when, _)| when.age() >= limit).count();
        if let Some((_, last)) = waiting.marks.drain(..old).next_back() {
            let kept = waiting.callers.split_off(&(last + 1));
            for (_, caller) in std::mem::replace(&mut waiting.callers, kept) {
                let _ = caller.send(Err(ProposeError::Timeout));
            }
        }
    }

    /// Ends everything that waits: a snapshot has come, and what is in it of theirs is not known.
    pub(crate) fn overtaken(&self) {
        let callers = std::mem::take(&mut self.waiting.lock().callers);
        for (_, caller) in callers {
            let _ = caller.send(Err(ProposeError::LeaderChanged));
        }
    }

    /// Number of callers who wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.lock().callers.len()
    }

    /// Ends everything that waits, and refuses what comes.
    pub(crate) fn close(&self) {
        let callers = {
            let mut waiting = self.waiting.lock();
            waiting.closed = true;
            std::mem::take(&mut waiting.callers)
        };
        for (_, caller) in callers {
            let _ = caller.send(Err(ProposeError::Stopped));
        }
    }
}

/// The command in a payload.
pub(crate) fn decode_command(payload: &Payload) -> Result<Command, prost::DecodeError> {
    let command: Bytes = payload.0.slice(IDENTITY_BYTES.min(payload.0.len())..);
    Command::decode(command)
}

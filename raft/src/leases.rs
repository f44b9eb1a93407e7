//! Leases: the leader's deadlines over the rules of `keelson_storage::lease`. Renewals live in its
//! memory; endings and checkpoints go through the log.
//!
//! Every answer is proven: this member led, and knew the lease so, at a moment after it was asked.
//! A leader that follows gives each lease its time from when it takes over, so what was promised
//! holds with it too.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use keelson_failpoint::failpoint;
use keelson_failpoint::planted::{self, Bug};
use keelson_proto::raft as pb;
use keelson_proto::raft::keep_alive_reply::Fate;
use keelson_storage::command::{LeaseCheckpoints, Op, command};
use keelson_storage::lease::{Expiry, Renewal};
use keelson_storage::view::View;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::error::LeaseError;
use crate::leadership::Leadership;
use crate::peers::Peers;
use crate::proofs::Proofs;
use crate::propose::Propose;
use crate::runtime::{Moment, Runtime};

/// A leader that is proven has taken over the leases within this, or somebody asks again.
const TAKE_OVER_MAX: Duration = Duration::from_secs(1);
/// Before somebody asks again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// What is asked of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    /// To begin its time again.
    Renew,
    /// What is left of it.
    Remaining,
}

/// The deadlines, for the term in which they are kept.
type Deadlines = Option<(u64, Expiry)>;

/// The leases; clones share the deadlines.
#[derive(Clone)]
pub(crate) struct Leases {
    view: View,
    proofs: Proofs,
    propose: Propose,
    deadlines: Arc<Mutex<Deadlines>>,
    /// The term of the deadlines, and changes of it.
    kept: watch::Sender<Option<u64>>,
}

impl Leases {
    pub(crate) fn new(view: View, proofs: Proofs, propose: Propose) -> Self {
        let kept = watch::Sender::new(None);
        Self { view, proofs, propose, deadlines: Arc::default(), kept }
    }

    pub(crate) fn view(&self) -> &View {
        &self.view
    }

    pub(crate) fn proofs(&self) -> &Proofs {
        &self.proofs
    }

    /// Proposes, and waits; whether it was applied.
    pub(crate) async fn propose(&self, op: Op) -> bool {
        (self.propose)(command(op)).await
    }

    /// For the keeper: begins to keep deadlines, or ends it.
    pub(crate) fn set_deadlines(&self, deadlines: Deadlines) {
        let term = deadlines.as_ref().map(|(term, _)| *term);
        *self.deadlines.lock() = deadlines;
        self.kept.send_replace(term);
    }

    /// Does something with the deadlines, if there are any.
    pub(crate) fn with_deadlines<T>(&self, act: impl FnOnce(&mut Expiry) -> T) -> Option<T> {
        self.deadlines.lock().as_mut().map(|(_, expiry)| act(expiry))
    }

    /// Answers as the leader, if this member leads. Boxed: the library's futures are no part of
    /// those of each caller.
    pub(crate) fn answer_here(
        &self,
        question: Question,
        ids: Vec<i64>,
    ) -> BoxFuture<'static, Vec<pb::KeepAliveReply>> {
        let leases = self.clone();
        async move {
            let mut replies = vec![reply(Fate::NotLeader, 0); ids.len()];
            let mut open: Vec<(usize, i64)> = ids.into_iter().enumerate().collect();
            while !open.is_empty() {
                let asked = Moment::now().since_start();
                let Some(term) = leases.proven().await else { break };
                failpoint!(await beforeCheckpointInLeaseRenew);
                let mut checkpoints = Vec::new();
                open.retain(|(place, id)| {
                    let answer = match question {
                        Question::Renew => leases.renew(*id, term, asked),
                        Question::Remaining => leases.remaining(*id, term, asked),
                    };
                    match answer {
                        Answer::Is(reply) => replies[*place] = reply,
                        Answer::AskAgain => return true,
                        Answer::CheckpointFirst(checkpoint) => {
                            checkpoints.push(checkpoint);
                            return true;
                        }
                    }
                    false
                });
                if checkpoints.is_empty() {
                    continue;
                }
                let op = LeaseCheckpoints { checkpoints: checkpoints.clone(), leader_term: term };
                if !leases.propose(Op::LeaseCheckpoints(op)).await {
                    break;
                }
                leases.with_deadlines(|expiry| {
                    checkpoints.iter().for_each(|checkpoint| expiry.checkpointed(checkpoint));
                });
            }
            replies
        }
        .boxed()
    }

    /// All leases; where this member leads, the first to end first.
    pub(crate) fn list(&self) -> Vec<i64> {
        let mut left = self.view.leases();
        let now = Moment::now().since_start();
        let ordered = |expiry: &mut Expiry| {
            expiry.follow(&self.view, now);
            expiry.by_end().filter(|id| left.remove(id).is_some()).collect::<Vec<i64>>()
        };
        let mut listed = self.with_deadlines(ordered).unwrap_or_default();
        listed.extend(left.into_keys());
        listed
    }

    /// The term in which this member leads and keeps the deadlines.
    async fn proven(&self) -> Option<u64> {
        if planted::is(Bug::RenewLeaseWhenDeposed) {
            return *self.kept.borrow();
        }
        let term = self.proofs.leads().await?;
        let mut kept = self.kept.subscribe();
        let taken_over = async { kept.wait_for(|kept| *kept == Some(term)).await.map(|_| ()) };
        matches!(Runtime::timeout(TAKE_OVER_MAX, taken_over).await, Ok(Ok(()))).then_some(term)
    }

    fn renew(&self, id: i64, term: u64, asked: Duration) -> Answer {
        self.in_term(id, term, |expiry| {
            match expiry.renew(id, asked, Moment::now().since_start()) {
                Renewal::Renewed(ttl_seconds) => {
                    self.view.measures().leases_renewed.add(1);
                    Answer::Is(reply(Fate::Renewed, ttl_seconds))
                }
                Renewal::CheckpointFirst(checkpoint) => Answer::CheckpointFirst(checkpoint),
                Renewal::Ended => Answer::Is(reply(Fate::NotFound, 0)),
                Renewal::AskAgain => Answer::AskAgain,
            }
        })
    }

    fn remaining(&self, id: i64, term: u64, asked: Duration) -> Answer {
        self.in_term(id, term, |expiry| {
            // As of when it was asked: what came since may be another leader's affair.
            let left = expiry.remaining(id, asked).unwrap_or_default();
            Answer::Is(reply(Fate::Renewed, i64::try_from(left.as_secs()).unwrap_or(i64::MAX)))
        })
    }

    /// Answers of a lease that there is, from the deadlines of this term.
    fn in_term(&self, id: i64, term: u64, act: impl FnOnce(&mut Expiry) -> Answer) -> Answer {
        let mut deadlines = self.deadlines.lock();
        let Some((_, expiry)) = deadlines.as_mut().filter(|(kept, _)| *kept == term) else {
            return Answer::AskAgain;
        };
        if self.view.lease(id).is_none() {
            return Answer::Is(reply(Fate::NotFound, 0));
        }
        let now = Moment::now().since_start();
        if expiry.remaining(id, now).is_none() {
            // Granted a moment ago.
            expiry.follow(&self.view, now);
        }
        act(expiry)
    }

    /// Asks whoever leads, for as long as `patience`: an election may be on. An answer for each.
    pub(crate) async fn ask(
        &self,
        question: Question,
        ids: Vec<i64>,
        mut leadership: watch::Receiver<Leadership>,
        peers: &Peers,
        patience: Duration,
    ) -> Vec<Result<i64, LeaseError>> {
        let begun = Moment::now();
        let mut answers = vec![Err(LeaseError::NoLeader); ids.len()];
        let mut open: Vec<(usize, i64)> = ids.into_iter().enumerate().collect();
        loop {
            let ids = open.iter().map(|(_, id)| *id).collect();
            let now = *leadership.borrow_and_update();
            let asked = async {
                match now.leader {
                    _ if now.is_own => {
                        if question == Question::Remaining {
                            failpoint!(await beforeLookupWhenLeaseTimeToLive);
                        }
                        Some(self.answer_here(question, ids).await)
                    }
                    Some(leader) => peers.leases(question, leader, ids).await.ok(),
                    None => None,
                }
            };
            // Who was asked may never answer, and another leads by now.
            let replies = tokio::select! {
                replies = asked => replies,
                changed = leadership.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => {
                        open.iter().for_each(|(place, _)| answers[*place] = Err(LeaseError::Stopped));
                        return answers;
                    }
                },
            };
            let mut replies = replies.unwrap_or_default().into_iter();
            open.retain(|(place, _)| {
                let reply = replies.next().unwrap_or_default();
                answers[*place] = match reply.fate() {
                    Fate::Renewed => Ok(reply.ttl_seconds),
                    Fate::NotFound => Err(LeaseError::NotFound),
                    Fate::NotLeader => return true,
                };
                false
            });
            if open.is_empty() || begun.age() >= patience {
                return answers;
            }
            let _ = Runtime::timeout(RETRY_PAUSE, leadership.changed()).await;
        }
    }
}

/// What the deadlines say.
enum Answer {
    Is(pb::KeepAliveReply),
    /// The log must know first that the lease begins anew.
    CheckpointFirst(pb::LeaseCheckpoint),
    /// The deadlines are no longer those that were proven, or ran out meanwhile.
    AskAgain,
}

fn reply(fate: Fate, ttl_seconds: i64) -> pb::KeepAliveReply {
    pb::KeepAliveReply { fate: fate as i32, ttl_seconds }
}

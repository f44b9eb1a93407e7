//! Faults: carries out the plan, each fault as a task of its own, and mends everything at the end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keelson_raft::runtime::Runtime;
use keelson_raft::{MemberChange, MemberLimits};

use crate::cluster::{Cluster, OPERATOR, member};
use crate::network::Trouble;
use crate::plan::{Fault, Planned, Way, Whom};

const LIMITS: MemberLimits = MemberLimits { strict: false, learners_max: 2 };
/// A change of the members is asked for again after this long.
const CHANGE_AGAIN: Duration = Duration::from_millis(300);
const CHANGE_TRIES: usize = 60;

/// Breaks things as planned, as long as it is polled; counts what it did.
pub(crate) async fn run(cluster: Cluster, plan: Vec<Planned>, done: Arc<AtomicU64>) {
    for planned in plan {
        let wait = planned.at.saturating_sub(cluster.control.now());
        Runtime::sleep(wait).await;
        done.fetch_add(1, Ordering::Relaxed);
        cluster.story.tell(format!("fault {}: {}", planned.number, planned.fault));
        let cluster_here = cluster.clone();
        cluster.control.spawn(OPERATOR, async move {
            one(&cluster_here, planned.fault).await;
        });
    }
}

/// Nothing is broken any more but what only a new member mends.
pub(crate) fn mend(cluster: &Cluster) {
    cluster.story.tell("everything is mended");
    cluster.network.heal();
    cluster.control.restore();
    for id in cluster.ids() {
        cluster.fill_disk(id, false);
        if cluster.is_down(id) {
            cluster.start(id);
        }
    }
}

/// Replaces members that cannot start any more.
pub(crate) async fn replace_damaged(cluster: Cluster) {
    loop {
        Runtime::sleep(Duration::from_millis(200)).await;
        if let Some(id) = cluster.damaged()
            && cluster.begin_change()
        {
            replace(&cluster, id, true).await;
            cluster.end_change();
        }
    }
}

fn resolve(cluster: &Cluster, whom: Whom) -> u64 {
    let ids = cluster.ids();
    let place = match whom {
        Whom::Leader => match cluster.leader() {
            Some(leader) => return leader,
            None => Runtime::random(),
        },
        Whom::Place(place) => place,
    };
    ids[usize::try_from(place).unwrap_or(0) % ids.len()]
}

/// Links between two sets of members.
fn links(from: &[u64], to: &[u64], way: Way) -> Vec<(u64, u64)> {
    let mut links = Vec::new();
    for one in from {
        for other in to.iter().filter(|other| *other != one) {
            match way {
                Way::Both => links.extend([(*one, *other), (*other, *one)]),
                Way::FromIt => links.push((*one, *other)),
                Way::ToIt => links.push((*other, *one)),
            }
        }
    }
    links
}

const CUT: Trouble = Trouble { cut: true, delay: Duration::ZERO, loss: 0, disorder: 0 };

async fn one(cluster: &Cluster, fault: Fault) {
    match fault {
        Fault::Crash { whom, down } => {
            let id = resolve(cluster, whom);
            cluster.crash(id);
            Runtime::sleep(down).await;
            cluster.start(id);
        }
        Fault::CrashAll { down, apart } => crash_all(cluster, down, apart).await,
        Fault::CrashTwice { whom, up } => {
            let id = resolve(cluster, whom);
            cluster.crash(id);
            cluster.start(id);
            Runtime::sleep(up).await;
            cluster.crash(id);
            cluster.start(id);
        }
        Fault::Isolate { whom, way, whole, time } => {
            let id = resolve(cluster, whom);
            let mut others = cluster.all_ids();
            others.retain(|other| whole || *other != others_first(cluster, id));
            trouble(cluster, &links(&[id], &others, way), CUT, time).await;
        }
        Fault::Split { side, time } => {
            let ids = cluster.all_ids();
            let (here, there): (Vec<u64>, Vec<u64>) =
                ids.iter().partition(|id| side >> (**id % 64) & 1 == 1);
            trouble(cluster, &links(&here, &there, Way::Both), CUT, time).await;
        }
        Fault::Flap { whom, times, period } => {
            let id = resolve(cluster, whom);
            for _ in 0..times {
                let links = links(&[id], &cluster.all_ids(), Way::Both);
                trouble(cluster, &links, CUT, period).await;
                Runtime::sleep(period).await;
            }
        }
        Fault::Links { whom, delay, loss, disorder, time } => {
            let id = resolve(cluster, whom);
            let links = links(&[id], &cluster.all_ids(), Way::Both);
            let made = Trouble { cut: false, delay, loss, disorder };
            trouble(cluster, &links, made, time).await;
        }
        Fault::SlowDisk { whom, least, time } => {
            let id = resolve(cluster, whom);
            cluster.control.set_sync_time(id, least);
            Runtime::sleep(time).await;
            cluster.control.set_sync_time(id, Duration::ZERO);
        }
        Fault::FailSyncs { whom } => cluster.fail_syncs(resolve(cluster, whom)),
        Fault::FullDisk { whom, time } => {
            let id = resolve(cluster, whom);
            cluster.fill_disk(id, true);
            Runtime::sleep(time).await;
            cluster.fill_disk(id, false);
        }
        Fault::BitRot { whom } => {
            // Nobody else is taken away until it is seen.
            if !cluster.begin_change() {
                return;
            }
            let id = resolve(cluster, whom);
            if cluster.rot(id) {
                Runtime::sleep(Duration::from_millis(Runtime::random() % 1000)).await;
                cluster.crash(id);
                cluster.start(id);
            }
            cluster.end_change();
        }
        Fault::Pause { whom, time } => cluster.control.stop(resolve(cluster, whom), time),
        Fault::Slow { whom, pause, times } => {
            let id = resolve(cluster, whom);
            for _ in 0..times {
                cluster.control.stop(id, pause);
                Runtime::sleep(pause + pause / 4).await;
            }
        }
        Fault::ClockRate { whom, millionths } => {
            cluster.control.set_rate(resolve(cluster, whom), millionths);
        }
        Fault::ClockJump { whom, by } => {
            cluster.monitor.jumped(by);
            cluster.control.jump(resolve(cluster, whom), by);
        }
        Fault::MoveLeader { to } => {
            let Some(leader) = cluster.leader() else { return };
            let to = resolve(cluster, Whom::Place(to));
            let _whatever =
                cluster.call(leader, move |node| async move { node.move_leader(to).await }).await;
        }
        Fault::Replace { whom, first } => {
            if cluster.damaged().is_none() && cluster.begin_change() {
                let id = resolve(cluster, whom);
                replace(cluster, id, first).await;
                cluster.end_change();
            }
        }
        Fault::Promote => {
            if cluster.damaged().is_none() && cluster.begin_change() {
                promote(cluster).await;
                cluster.end_change();
            }
        }
    }
}

fn others_first(cluster: &Cluster, id: u64) -> u64 {
    cluster.ids().into_iter().find(|other| *other != id).unwrap_or(0)
}

async fn trouble(cluster: &Cluster, links: &[(u64, u64)], trouble: Trouble, time: Duration) {
    let made = cluster.network.trouble(links, trouble);
    Runtime::sleep(time).await;
    cluster.network.mend(made);
}

async fn crash_all(cluster: &Cluster, down: Duration, apart: Duration) {
    for id in cluster.all_ids() {
        cluster.crash(id);
    }
    Runtime::sleep(down).await;
    for id in cluster.all_ids() {
        cluster.start(id);
        Runtime::sleep(apart).await;
    }
}

/// Asks for a change until it is made; whether it was.
async fn change(cluster: &Cluster, change: MemberChange, but: u64) -> bool {
    for _ in 0..CHANGE_TRIES {
        let ids: BTreeSet<u64> = cluster.ids().into_iter().filter(|id| *id != but).collect();
        let place = usize::try_from(Runtime::random()).unwrap_or(0) % ids.len().max(1);
        let Some(id) = cluster.leader().filter(|id| *id != but).or(ids.into_iter().nth(place))
        else {
            return false;
        };
        let wanted = change.clone();
        let asked = cluster.call(id, move |node| node.change_members(wanted, LIMITS));
        match Runtime::timeout(Duration::from_secs(6), asked).await {
            Ok(Some(Ok(_))) => return true,
            Ok(Some(Err(error))) => {
                cluster.story.trace(|| format!("{change:?} is refused: {error}"));
                use keelson_raft::MemberError::{IdExists, NotFound, NotLearner};
                // Made before, by a request whose answer was lost.
                if matches!(error, IdExists | NotFound | NotLearner) {
                    return true;
                }
            }
            Ok(None) | Err(_) => {}
        }
        Runtime::sleep(CHANGE_AGAIN).await;
    }
    false
}

/// Another member comes for one that goes; which of the two is first does not matter to safety.
async fn replace(cluster: &Cluster, old: u64, remove_first: bool) {
    let new = cluster.new_member();
    cluster.story.tell(format!("member {new} is to come for member {old}"));
    if remove_first && !remove(cluster, old).await {
        return;
    }
    if !add(cluster, new, false, old).await {
        return;
    }
    if !remove_first {
        remove(cluster, old).await;
    }
}

async fn add(cluster: &Cluster, new: u64, learner: bool, but: u64) -> bool {
    let mut joining = member(new);
    joining.learner = learner;
    if !change(cluster, MemberChange::Add { id: new, member: joining }, but).await {
        return false;
    }
    cluster.story.tell(format!("member {new} is added"));
    cluster.joined(new);
    cluster.start(new);
    true
}

async fn remove(cluster: &Cluster, old: u64) -> bool {
    if !change(cluster, MemberChange::Remove(old), old).await {
        return false;
    }
    cluster.story.tell(format!("member {old} is removed"));
    cluster.removed(old);
    let cluster = cluster.clone();
    cluster.control.clone().spawn(OPERATOR, async move {
        // For a while it may still disturb the others.
        Runtime::sleep(Duration::from_millis(Runtime::random() % 3000)).await;
        cluster.bury(old);
    });
    true
}

async fn promote(cluster: &Cluster) {
    let new = cluster.new_member();
    let oldest = cluster.ids()[0];
    if !add(cluster, new, true, 0).await {
        return;
    }
    if change(cluster, MemberChange::Promote(new), 0).await {
        cluster.story.tell(format!("member {new} is promoted"));
        remove(cluster, oldest).await;
    } else {
        remove(cluster, new).await;
    }
}

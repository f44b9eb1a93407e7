//! Tells workers what happens in the runtime: its event stream, and a slow relist for what the stream missed.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use keelson_proto::cri;
use tokio::time::{Instant, sleep_until};

use super::observe::LABEL_POD_UID;
use crate::agent::Context;

/// How often a runtime without events is asked.
const RELIST_WITHOUT_EVENTS: Duration = Duration::from_secs(1);
const RECONNECT: Duration = Duration::from_secs(1);

/// Runs until dropped.
pub(crate) async fn run(cx: Arc<Context>) {
    let mut known = Snapshot::new();
    loop {
        let request = cri::GetEventsRequest {};
        let mut stream = match cx.cri.runtime.clone().get_container_events(request).await {
            Ok(stream) => stream.into_inner(),
            Err(status) => {
                let unsupported = status.code() == tonic::Code::Unimplemented;
                let pause = if unsupported { RELIST_WITHOUT_EVENTS } else { RECONNECT };
                relist(&cx, &mut known).await;
                tokio::time::sleep(pause).await;
                continue;
            }
        };
        // What happened before the stream began.
        relist(&cx, &mut known).await;
        let mut next_relist = Instant::now() + cx.config.sync_frequency;
        loop {
            tokio::select! {
                message = stream.message() => match message {
                    Ok(Some(event)) => tell(&cx, &event),
                    Ok(None) => break,
                    Err(error) => {
                        tracing::debug!(%error, "stream of container events");
                        break;
                    }
                },
                () = sleep_until(next_relist) => {
                    relist(&cx, &mut known).await;
                    next_relist = Instant::now() + cx.config.sync_frequency;
                }
            }
        }
        tokio::time::sleep(RECONNECT).await;
    }
}

fn tell(cx: &Context, event: &cri::ContainerEventResponse) {
    let sandbox = event.pod_sandbox_status.as_ref();
    let uid = sandbox.and_then(|s| s.metadata.as_ref()).map(|m| m.uid.as_str());
    let label = event.containers_statuses.iter().find_map(|s| s.labels.get(LABEL_POD_UID));
    match uid.filter(|uid| !uid.is_empty()).or(label.map(String::as_str)) {
        Some(uid) => cx.mailboxes.get(uid).iter().for_each(|mailbox| mailbox.nudge()),
        None => cx.mailboxes.nudge_all(),
    }
}

/// States of sandboxes and containers by pod uid and id.
type Snapshot = BTreeMap<String, BTreeMap<String, i32>>;

async fn relist(cx: &Context, known: &mut Snapshot) {
    match snapshot(cx).await {
        Ok(now) => {
            let changed = now.iter().filter(|(uid, states)| known.get(*uid) != Some(*states));
            let gone = known.keys().filter(|uid| !now.contains_key(*uid));
            for uid in changed.map(|(uid, _)| uid).chain(gone) {
                cx.mailboxes.get(uid).iter().for_each(|mailbox| mailbox.nudge());
            }
            *known = now;
        }
        Err(error) => tracing::debug!(%error, "relist of the runtime"),
    }
}

async fn snapshot(cx: &Context) -> Result<Snapshot, tonic::Status> {
    let mut runtime = cx.cri.runtime.clone();
    let sandboxes = runtime.list_pod_sandbox(cri::ListPodSandboxRequest::default()).await?;
    let containers = runtime.list_containers(cri::ListContainersRequest::default()).await?;
    let mut snapshot = Snapshot::new();
    for sandbox in sandboxes.into_inner().items {
        if let Some(uid) = sandbox.labels.get(LABEL_POD_UID) {
            snapshot.entry(uid.clone()).or_default().insert(sandbox.id, sandbox.state);
        }
    }
    for container in containers.into_inner().containers {
        if let Some(uid) = container.labels.get(LABEL_POD_UID) {
            snapshot.entry(uid.clone()).or_default().insert(container.id, container.state);
        }
    }
    Ok(snapshot)
}

//! The conditions of the Node, in the words of the kubelet. Pure.
use jiff::Timestamp;
use k8s_openapi::api::core::v1::NodeCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// What is measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Health {
    pub(crate) memory_pressure: bool,
    pub(crate) disk_pressure: bool,
    pub(crate) pid_pressure: bool,
    /// Why the node is not ready, one reason each.
    pub(crate) problems: Vec<String>,
}

/// All conditions; a transition is noted where the status differs from `old`.
pub(crate) fn conditions(
    health: &Health,
    old: &[NodeCondition],
    now: Timestamp,
) -> Vec<NodeCondition> {
    let pressure = |pressed: bool, with: (&str, &str), without: (&str, &str)| {
        let (reason, message) = if pressed { with } else { without };
        (pressed, reason.to_owned(), message.to_owned())
    };
    let memory = pressure(
        health.memory_pressure,
        ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
        ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    );
    let disk = pressure(
        health.disk_pressure,
        ("KubeletHasDiskPressure", "kubelet has disk pressure"),
        ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    );
    let pid = pressure(
        health.pid_pressure,
        ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
        ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    );
    let ready = if health.problems.is_empty() {
        (true, "KubeletReady".to_owned(), "kubelet is posting ready status".to_owned())
    } else {
        let message = match health.problems.as_slice() {
            [one] => one.clone(),
            more => format!("[{}]", more.join(", ")),
        };
        (false, "KubeletNotReady".to_owned(), message)
    };
    let all = [
        ("MemoryPressure", memory),
        ("DiskPressure", disk),
        ("PIDPressure", pid),
        ("Ready", ready),
    ];
    all.into_iter().map(|(type_, verdict)| condition(type_, verdict, old, now)).collect()
}

fn condition(
    type_: &str,
    (is, reason, message): (bool, String, String),
    old: &[NodeCondition],
    now: Timestamp,
) -> NodeCondition {
    let status = if is { "True" } else { "False" };
    let before = old.iter().find(|c| c.type_ == type_ && c.status == status);
    let since = before.and_then(|c| c.last_transition_time.clone()).unwrap_or(Time(now));
    NodeCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: Some(reason),
        message: Some(message),
        last_heartbeat_time: Some(Time(now)),
        last_transition_time: Some(since),
    }
}

/// The event of each condition that changed its status, as the kubelet names them.
pub(crate) fn transitions(old: &[NodeCondition], new: &[NodeCondition]) -> Vec<&'static str> {
    let status = |list: &[NodeCondition], type_: &str| {
        list.iter().find(|c| c.type_ == type_).map(|c| c.status.clone())
    };
    let names = [
        ("MemoryPressure", "NodeHasInsufficientMemory", "NodeHasSufficientMemory"),
        ("DiskPressure", "NodeHasDiskPressure", "NodeHasNoDiskPressure"),
        ("PIDPressure", "NodeHasInsufficientPID", "NodeHasSufficientPID"),
        ("Ready", "NodeReady", "NodeNotReady"),
    ];
    let changed = names.into_iter().filter(|(type_, ..)| status(old, type_) != status(new, type_));
    changed
        .map(
            |(type_, yes, no)| if status(new, type_).as_deref() == Some("True") { yes } else { no },
        )
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_and_transitions_are_those_of_the_kubelet() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let problem = "container runtime network not ready: NetworkReady=false reason:r message:m";
        let health = Health { problems: vec![problem.into()], ..Default::default() };
        let first = conditions(&health, &[], at(1));
        assert_eq!(first[3].status, "False");
        assert_eq!(first[3].message.as_deref(), Some(problem));
        let second = conditions(&Health::default(), &first, at(2));
        assert_eq!(second[3].message.as_deref(), Some("kubelet is posting ready status"));
        assert_eq!(second[3].last_transition_time, Some(Time(at(2))));
        assert_eq!(second[0].last_transition_time, Some(Time(at(1))));
        assert_eq!(transitions(&first, &second), ["NodeReady"]);
        assert!(transitions(&second, &second).is_empty());
    }
}

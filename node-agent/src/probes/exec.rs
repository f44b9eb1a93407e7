//! A command in the container: exit code 0 is healthy.
use std::time::Duration;

use keelson_proto::cri;

use super::Outcome;
use crate::agent::{Context, reason_of};

/// The runtime keeps the timeout; it is not waited for much longer.
const RUNTIME_SLACK: Duration = Duration::from_secs(2);
/// Output that an event shows.
const OUTPUT_BYTES_MAX: usize = 10 << 10;

pub(crate) async fn attempt(
    cx: &Context,
    id: &str,
    command: Vec<String>,
    timeout: Duration,
) -> Outcome {
    let request = cri::ExecSyncRequest {
        container_id: id.to_owned(),
        timeout: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        cmd: command,
    };
    let mut runtime = cx.cri.runtime.clone();
    let Ok(answer) =
        tokio::time::timeout(timeout + RUNTIME_SLACK, runtime.exec_sync(request)).await
    else {
        return Outcome::Unhealthy(format!("command timed out after {timeout:?}"));
    };
    match answer {
        Ok(answer) => {
            let answer = answer.into_inner();
            let mut output = answer.stdout.to_vec();
            output.extend_from_slice(&answer.stderr);
            output.truncate(OUTPUT_BYTES_MAX);
            match answer.exit_code {
                0 => Outcome::Healthy,
                _ => Outcome::Unhealthy(String::from_utf8_lossy(&output).into_owned()),
            }
        }
        Err(status) if status.code() == tonic::Code::DeadlineExceeded => {
            Outcome::Unhealthy(format!("command timed out: {}", reason_of(&status)))
        }
        Err(status) => Outcome::Error(reason_of(&status)),
    }
}

//! A command in the container: exit code 0 is healthy.
use std::time::Duration;

use keelson_proto::cri;

use super::Outcome;
use crate::agent::{Context, reason_of};

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
    match cx.cri.runtime.clone().exec_sync(request).await {
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

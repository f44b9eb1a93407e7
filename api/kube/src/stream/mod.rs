//! Streams: log, exec, attach, portforward and proxy, passed on to a kubelet or to a pod.

mod forward;
mod pods;
mod proxy;

use http::Response;

use crate::call::Call;
use crate::server::Body;
use crate::status::Status;

/// Runs a call on a streaming subresource.
pub(crate) async fn run(call: Call) -> Result<Response<Body>, Status> {
    match call.info.subresource.as_str() {
        "log" => pods::log(call).await,
        "exec" | "attach" => pods::exec(call).await,
        "portforward" => pods::port_forward(call).await,
        _ => proxy::run(call).await,
    }
}

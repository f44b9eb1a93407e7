//! exec, attach and port-forward: asks the runtime for a streaming address and joins the two connections.
//!
//! The client's upgrade request goes to that address as it is, so any protocol that client and runtime share works.
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::Response;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use keelson_proto::cri;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;

use super::router::{Shared, plain};
use super::tunnel;
use crate::agent::reason_of;
use crate::pods::{ContainerState, Observed, full_name, uid_of};

/// Query parameters of exec and attach.
#[derive(Debug, Default, PartialEq, Eq)]
struct StreamOptions {
    command: Vec<String>,
    stdin: bool,
    stdout: bool,
    stderr: bool,
    tty: bool,
}

impl StreamOptions {
    /// The kubelet's names (`input`, `output`, `error`) and the API server's.
    fn parse(query: &str) -> Self {
        let mut options = Self::default();
        for (name, value) in pairs(query) {
            let on = matches!(value.as_str(), "1" | "true");
            match name.as_str() {
                "command" => options.command.push(value),
                "input" | "stdin" => options.stdin |= on,
                "output" | "stdout" => options.stdout |= on,
                "error" | "stderr" => options.stderr |= on,
                "tty" => options.tty |= on,
                _ => {}
            }
        }
        // A terminal has one output.
        options.stderr &= !options.tty;
        options
    }

    fn any(&self) -> bool {
        self.stdin || self.stdout || self.stderr
    }
}

/// Names and values of a query, decoded.
pub(super) fn pairs(query: &str) -> Vec<(String, String)> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (decode(name), decode(value))
        })
        .collect()
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let code = (*first == b'%').then(|| tail.get(..2)).flatten();
        let code = code.and_then(|code| std::str::from_utf8(code).ok());
        match (first, code.and_then(|code| u8::from_str_radix(code, 16).ok())) {
            (_, Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            (b'+', None) => {
                bytes.push(b' ');
                rest = tail;
            }
            (byte, None) => {
                bytes.push(*byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whose streams are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Process {
    /// `/exec`: of a command that is started for it.
    New,
    /// `/attach`: of the container itself.
    Own,
}

/// `/exec` and `/attach`; the path is namespace, pod and container.
pub(super) async fn process(
    shared: &Shared,
    process: Process,
    [namespace, pod, container]: [&str; 3],
    request: Request,
) -> Response {
    let options = StreamOptions::parse(request.uri().query().unwrap_or_default());
    if process == Process::New && !options.any() {
        let words = "you must specify at least 1 of stdin, stdout, stderr";
        return plain(StatusCode::BAD_REQUEST, words.into());
    }
    let id = match running(shared, namespace, pod, container).await {
        Ok(id) => id,
        Err(response) => return *response,
    };
    match streaming_url(shared, process, id, options).await {
        Ok(url) => join(&url, request).await,
        Err(status) => plain(StatusCode::INTERNAL_SERVER_ERROR, reason_of(&status)),
    }
}

async fn streaming_url(
    shared: &Shared,
    process: Process,
    container_id: String,
    options: StreamOptions,
) -> Result<String, tonic::Status> {
    let StreamOptions { command: cmd, stdin, stdout, stderr, tty } = options;
    let mut runtime = shared.cx.cri.runtime.clone();
    Ok(match process {
        Process::New => {
            let call = cri::ExecRequest { container_id, cmd, tty, stdin, stdout, stderr };
            runtime.exec(call).await?.into_inner().url
        }
        Process::Own => {
            let call = cri::AttachRequest { container_id, stdin, tty, stdout, stderr };
            runtime.attach(call).await?.into_inner().url
        }
    })
}

/// `/portForward`
pub(super) async fn port_forward(
    shared: &Shared,
    namespace: &str,
    pod: &str,
    request: Request,
) -> Response {
    let Some(found) = shared.workers.find(namespace, pod) else {
        return plain(StatusCode::NOT_FOUND, "pod does not exist".into());
    };
    let observed = match Observed::ask(&shared.cx.cri, uid_of(&found)).await {
        Ok(observed) => observed,
        Err(status) => return plain(StatusCode::INTERNAL_SERVER_ERROR, reason_of(&status)),
    };
    let Some(sandbox) = observed.ready_sandbox() else {
        let words = format!("pod not found (\"{}\")", full_name(&found));
        return plain(StatusCode::INTERNAL_SERVER_ERROR, words);
    };
    let ports = pairs(request.uri().query().unwrap_or_default());
    let ports = ports.iter().filter(|(name, _)| name == "port" || name == "ports");
    let call = cri::PortForwardRequest {
        pod_sandbox_id: sandbox.id.clone(),
        port: ports
            .flat_map(|(_, value)| value.split(','))
            .filter_map(|port| port.parse().ok())
            .collect(),
    };
    match shared.cx.cri.runtime.clone().port_forward(call).await {
        Ok(answer) if tunnel::wanted(&request) => {
            joined(tunnel::open(&answer.into_inner().url, request).await)
        }
        Ok(answer) => join(&answer.into_inner().url, request).await,
        Err(status) => plain(StatusCode::INTERNAL_SERVER_ERROR, reason_of(&status)),
    }
}

/// The id of the running container of that name.
async fn running(
    shared: &Shared,
    namespace: &str,
    pod: &str,
    container: &str,
) -> Result<String, Box<Response>> {
    let Some(found) = shared.workers.find(namespace, pod) else {
        return Err(Box::new(plain(StatusCode::NOT_FOUND, "pod does not exist".into())));
    };
    let observed = Observed::ask(&shared.cx.cri, uid_of(&found))
        .await
        .map_err(|status| Box::new(plain(StatusCode::INTERNAL_SERVER_ERROR, reason_of(&status))))?;
    let latest = observed.latest(container).filter(|c| c.state == ContainerState::Running);
    latest.map(|c| c.id.clone()).ok_or_else(|| {
        let words = format!("container not found (\"{container}\")");
        Box::new(plain(StatusCode::INTERNAL_SERVER_ERROR, words))
    })
}

/// Sends the request on to `url`; after a switch of protocols the two connections are one.
async fn join(url: &str, request: Request) -> Response {
    joined(forward(url, request).await)
}

fn joined(answer: Result<Response, String>) -> Response {
    answer.unwrap_or_else(|why| {
        plain(StatusCode::BAD_GATEWAY, format!("error dialing the runtime: {why}"))
    })
}

async fn forward(url: &str, mut request: Request) -> Result<Response, String> {
    let mut headers = request.headers().clone();
    // Who the caller is has been decided; the runtime need not know.
    headers.remove(header::AUTHORIZATION);
    let mut answer = ask(url, request.method().clone(), headers).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        let (head, body) = answer.into_parts();
        return Ok(Response::from_parts(head, Body::new(body)));
    }
    let client_side = hyper::upgrade::on(&mut request);
    let runtime_side = hyper::upgrade::on(&mut answer);
    tokio::spawn(async move {
        let joined = async {
            let (client, runtime) = (client_side.await?, runtime_side.await?);
            let (mut client, mut runtime) = (TokioIo::new(client), TokioIo::new(runtime));
            let ended = copy_bidirectional(&mut client, &mut runtime).await;
            if let Err(error) = ended {
                tracing::debug!(%error, "stream ended");
            }
            Ok::<_, hyper::Error>(())
        };
        if let Err(error) = joined.await {
            tracing::debug!(%error, "upgrade");
        }
    });
    let (head, _) = answer.into_parts();
    Ok(Response::from_parts(head, Body::empty()))
}

/// One request to the runtime's streaming server, on a connection of its own.
pub(super) async fn ask(
    url: &str,
    method: Method,
    headers: HeaderMap,
) -> Result<hyper::Response<Incoming>, String> {
    let url: Uri = url.parse().map_err(|error| format!("{url}: {error}"))?;
    let authority = url.authority().ok_or("streaming address without a host")?.clone();
    let host = authority.host().to_owned();
    let port = authority.port_u16().unwrap_or(80);
    let stream = TcpStream::connect((host.as_str(), port)).await.map_err(|e| e.to_string())?;
    let _ = stream.set_nodelay(true);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| e.to_string())?;
    tokio::spawn(async move { connection.with_upgrades().await });
    let mut onward = hyper::Request::builder()
        .method(method)
        .uri(url.path_and_query().map_or("/", |path| path.as_str()));
    if let Some(all) = onward.headers_mut() {
        *all = headers;
        if let Ok(value) = authority.as_str().parse() {
            all.insert(header::HOST, value);
        }
    }
    let onward = onward.body(Body::empty()).map_err(|error| error.to_string())?;
    sender.send_request(onward).await.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_with_both_sets_of_names() {
        let options =
            StreamOptions::parse("command=sh&command=-c&command=echo%20a+b&output=1&tty=1&error=1");
        assert_eq!(options.command, ["sh", "-c", "echo a b"]);
        assert!(options.stdout && options.tty && !options.stderr && !options.stdin);
        assert!(StreamOptions::parse("stdin=true").stdin);
        assert!(!StreamOptions::parse("stdin=false").any());
    }
}

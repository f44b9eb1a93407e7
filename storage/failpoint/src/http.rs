//! The HTTP interface: lists, sets, shows and clears points. It has a thread of its own, so that it
//! answers while points sleep.
//!
//! As gofail's, but that a name nobody has is always 404.

use std::cell::RefCell;
use std::io;
use std::net::{TcpListener, ToSocketAddrs};
use std::sync::MutexGuard;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};

use crate::point::answering;
use crate::registry::{Registry, SetError, parse_many};

/// Terms of all points are far below it.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Connections are served one after the other: none may hold up the next for longer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

type Answer = Response<Full<Bytes>>;

/// Answers on this address until the process ends.
pub fn serve(address: impl ToSocketAddrs, registry: &'static Registry) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let run = move || {
        runtime.block_on(async {
            let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
            loop {
                let Ok((connection, _)) = listener.accept().await else { return };
                let _client_gone_or_slow =
                    tokio::time::timeout(REQUEST_TIMEOUT, answer_one(connection, registry)).await;
            }
        });
    };
    std::thread::Builder::new().name("failpoints".to_owned()).spawn(run).map(drop)
}

async fn answer_one(connection: tokio::net::TcpStream, registry: &Registry) -> hyper::Result<()> {
    // Until the answer has left, no point may end the process.
    let guard: RefCell<Option<MutexGuard<'static, ()>>> = RefCell::new(None);
    let service = service_fn(|request: Request<Incoming>| {
        let guard = &guard;
        async move {
            let (head, body) = request.into_parts();
            let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
            *guard.borrow_mut() = Some(answering());
            Ok::<_, std::convert::Infallible>(match body {
                Ok(body) => {
                    let name = head.uri.path().trim_start_matches('/');
                    let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
                    answer(registry, &head.method, name, &text)
                }
                Err(_) => error(StatusCode::BAD_REQUEST, "failed ReadAll in PUT"),
            })
        }
    });
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .serve_connection(TokioIo::new(connection), service)
        .await
}

fn answer(registry: &Registry, method: &Method, name: &str, body: &str) -> Answer {
    let refused = |prefix: &str, why: &SetError, otherwise| {
        let status = match why {
            SetError::Unknown => StatusCode::NOT_FOUND,
            SetError::Disabled | SetError::Terms(_) | SetError::Form(_) => otherwise,
        };
        error(status, &format!("{prefix}{why}"))
    };
    match *method {
        Method::PUT => {
            let pairs = match name.eq_ignore_ascii_case("failpoints") {
                true => parse_many(body),
                false => Ok(vec![(name, body)]),
            };
            let pairs = match pairs {
                Ok(pairs) => pairs,
                Err(why) => {
                    return refused("fail to parse failpoint: ", &why, StatusCode::BAD_REQUEST);
                }
            };
            match pairs.into_iter().try_for_each(|(name, terms)| registry.set(name, terms)) {
                Ok(()) => plain(StatusCode::NO_CONTENT, String::new()),
                Err(why) => refused("fail to set failpoint: ", &why, StatusCode::BAD_REQUEST),
            }
        }
        Method::GET if name.is_empty() => plain(StatusCode::OK, registry.list()),
        Method::GET => match name.strip_suffix("/count") {
            Some(name) => match registry.status(name) {
                Ok((_, count)) => plain(StatusCode::OK, count.to_string()),
                Err(why) => refused("failed to GET: ", &why, StatusCode::INTERNAL_SERVER_ERROR),
            },
            None => match registry.status(name) {
                Ok((terms, _)) => plain(StatusCode::OK, format!("{terms}\n")),
                Err(why) => refused("failed to GET: ", &why, StatusCode::NOT_FOUND),
            },
        },
        Method::DELETE => match registry.clear(name) {
            Ok(()) => plain(StatusCode::NO_CONTENT, String::new()),
            Err(why) => refused("failed to delete failpoint ", &why, StatusCode::BAD_REQUEST),
        },
        _ => {
            let mut answer = error(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed");
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("DELETE, GET, PUT"));
            answer
        }
    }
}

fn error(status: StatusCode, text: &str) -> Answer {
    plain(status, format!("{text}\n"))
}

fn plain(status: StatusCode, text: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(text)));
    *answer.status_mut() = status;
    if status != StatusCode::NO_CONTENT {
        let kind = HeaderValue::from_static("text/plain; charset=utf-8");
        answer.headers_mut().insert(CONTENT_TYPE, kind);
    }
    answer
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};

    use super::*;
    use crate::point::Failpoint;

    static A: Failpoint = Failpoint::new("a");
    static B: Failpoint = Failpoint::new("b");
    static REGISTRY: Registry = Registry::new(&[&A, &B]);

    fn call(address: SocketAddr, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut connection = TcpStream::connect(address).unwrap();
        let length = body.len();
        write!(
            connection,
            "{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    #[test]
    fn the_interface_is_that_of_gofail() {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        serve(address, &REGISTRY).unwrap();
        let check = |method: &str, path: &str, body: &str, status: u16, text: &str| {
            let answer = call(address, method, path, body);
            assert_eq!(answer, (status, text.to_owned()), "{method} {path} {body:?}");
        };
        check("GET", "/", "", 200, "a=\nb=\n");
        check("PUT", "/b", "2*return->off", 204, "");
        check("GET", "/", "", 200, "a=\nb=2*return->off\n");
        check("GET", "/b", "", 200, "2*return->off\n");
        check("GET", "/b/count", "", 200, "0");
        assert!(B.reach().is_some() && B.reach().is_some() && B.reach().is_none());
        check("GET", "/b/count", "", 200, "3");

        let bad = "fail to set failpoint: failpoint: could not parse terms\n";
        check("PUT", "/b", "panics", 400, bad);
        check("PUT", "/b", "", 400, bad);
        let unknown = "failpoint: failpoint does not exist\n";
        check("PUT", "/c", "off", 404, &format!("fail to set failpoint: {unknown}"));
        check("GET", "/c", "", 404, &format!("failed to GET: {unknown}"));
        check("GET", "/c/count", "", 404, &format!("failed to GET: {unknown}"));
        check("DELETE", "/c", "", 404, &format!("failed to delete failpoint {unknown}"));
        let disabled = "failpoint: failpoint is disabled\n";
        check("GET", "/a", "", 404, &format!("failed to GET: {disabled}"));
        check("GET", "/a/count", "", 500, &format!("failed to GET: {disabled}"));
        check("DELETE", "/a", "", 400, &format!("failed to delete failpoint {disabled}"));

        check("PUT", "/failpoints", "a=off;b=print", 204, "");
        check("GET", "/", "", 200, "a=off\nb=print\n");
        let form = "fail to parse failpoint: bad failpoint \"b\"\n";
        check("PUT", "/failpoints", "a=print;b", 400, form);
        check("DELETE", "/a", "", 204, "");
        check("GET", "/", "", 200, "a=\nb=print\n");
        check("POST", "/a", "off", 405, "Method not allowed\n");
    }
}

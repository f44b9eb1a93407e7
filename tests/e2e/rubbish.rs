//! What no stock client would send, on the API server's port: a Status, never a panic or a 500.

use anyhow::{Result, ensure};
use keelson_tests::https::Raw;
use keelson_tests::{Cluster, Settings};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const JSON: &str = "Content-Type: application/json\r\n";
const MERGE: &str = "Content-Type: application/merge-patch+json\r\n";
const OPERATIONS: &str = "Content-Type: application/json-patch+json\r\n";
const APPLY: &str = "Content-Type: application/apply-patch+yaml\r\n";
const NAMED: &str = r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"}}"#;

/// Method, path below the collection of config maps, headers, body; code, words of the message.
type Case<'a> = (&'a str, &'a str, &'a str, &'a str, u16, &'a str);

const BODIES: &[Case<'_>] = &[
    ("POST", "", JSON, "{bad", 400, "invalid character 'b' looking for beginning of"),
    ("POST", "", JSON, "", 400, "unexpected end of JSON input"),
    ("POST", "", JSON, "[]", 400, "cannot unmarshal array into Go value of type v1.ConfigMap"),
    (
        "POST",
        "",
        JSON,
        "{}",
        422,
        "metadata.name: Required value: name or generateName is required",
    ),
    (
        "POST",
        "",
        JSON,
        r#"{"kind":"Secret","apiVersion":"v1"}"#,
        400,
        "cannot be handled as a ConfigMap",
    ),
    (
        "POST",
        "",
        JSON,
        r#"{"kind":"ConfigMap","apiVersion":"v2"}"#,
        400,
        "does not match the expected API version (v1)",
    ),
    ("POST", "", JSON, r#"{"metadata":[]}"#, 400, "ConfigMap.metadata of type v1.ObjectMeta"),
    (
        "POST",
        "",
        JSON,
        r#"{"metadata":{"name":"a"},"data":{"a":1}}"#,
        400,
        "ConfigMap.data of type string",
    ),
    (
        "POST",
        "",
        JSON,
        r#"{"metadata":{"name":"a","namespace":"b"}}"#,
        400,
        "does not match the namespace sent on the request",
    ),
    (
        "POST",
        "",
        "Content-Type: text/plain\r\n",
        "{}",
        415,
        "the body of the request was in an unknown format",
    ),
    (
        "POST",
        "",
        "Content-Type: application/vnd.kubernetes.protobuf\r\n",
        "k8s",
        400,
        "does not appear to be a protobuf message",
    ),
    (
        "POST",
        "",
        "Content-Type: application/vnd.kubernetes.protobuf\r\n",
        "k8s\0\u{1}\u{2}rubbish",
        400,
        "",
    ),
    (
        "PUT",
        "/b",
        JSON,
        NAMED,
        400,
        "the name of the object (a) does not match the name on the URL (b)",
    ),
    ("PUT", "/a", JSON, NAMED, 404, "configmaps \\\"a\\\" not found"),
    ("PATCH", "/known", JSON, "{}", 415, "application/json-patch+json"),
    ("PATCH", "/known", MERGE, "x", 400, "error decoding patch"),
    ("PATCH", "/known", MERGE, "[]", 400, "error decoding patch"),
    ("PATCH", "/known", OPERATIONS, "{}", 400, "error decoding patch"),
    ("PATCH", "/known", OPERATIONS, r#"[{"op":"remove","path":"/no/such"}]"#, 422, "known"),
    (
        "PATCH",
        "/known",
        APPLY,
        NAMED,
        422,
        "fieldManager: Required value: is required for apply patch",
    ),
    ("PATCH", "/known?fieldManager=m", APPLY, "a: [", 400, ""),
    (
        "PATCH",
        "/known?fieldManager=m",
        APPLY,
        NAMED,
        400,
        "does not match the name on the URL (known)",
    ),
    (
        "PATCH",
        "/known?force=true",
        MERGE,
        "{}",
        422,
        "force: Forbidden: may not be specified for non-apply patch",
    ),
    ("DELETE", "/known", JSON, "{bad", 400, "invalid character 'b'"),
    (
        "DELETE",
        "/known",
        JSON,
        r#"{"preconditions":{"uid":"x"}}"#,
        409,
        "Precondition failed: UID in precondition: x",
    ),
];

const OPTIONS: &[Case<'_>] = &[
    ("GET", "?limit=x", "", "", 400, "strconv.ParseInt: parsing \\\"x\\\": invalid syntax"),
    (
        "GET",
        "?timeoutSeconds=x",
        "",
        "",
        400,
        "strconv.ParseInt: parsing \\\"x\\\": invalid syntax",
    ),
    ("GET", "?continue=abc", "", "", 400, "continue"),
    ("GET", "?resourceVersion=abc", "", "", 422, "resourceVersion: Invalid value: \\\"abc\\\""),
    ("GET", "?watch=1&resourceVersion=abc", "", "", 422, "resourceVersion: Invalid value"),
    (
        "GET",
        "?resourceVersionMatch=Exact",
        "",
        "",
        422,
        "resourceVersionMatch is forbidden unless resourceVersion is provided",
    ),
    (
        "GET",
        "?resourceVersionMatch=Odd&resourceVersion=1",
        "",
        "",
        422,
        "Unsupported value: \\\"Odd\\\"",
    ),
    ("GET", "?labelSelector=a%20in%20(b", "", "", 400, "unable to parse requirement"),
    ("GET", "?fieldSelector=metadata.name", "", "", 400, "invalid selector: 'metadata.name'"),
    (
        "GET",
        "?fieldSelector=spec.color%3Dred",
        "",
        "",
        400,
        "\\\"spec.color\\\" is not a known field selector",
    ),
    ("GET", "?fieldSelector=%00%ff", "", "", 400, "invalid selector"),
    ("GET", "?sendInitialEvents=true", "", "", 422, "sendInitialEvents is forbidden for list"),
    ("POST", "?dryRun=Some", JSON, NAMED, 422, "dryRun: Unsupported value: \\\"Some\\\""),
    (
        "POST",
        "?fieldValidation=Some",
        JSON,
        NAMED,
        422,
        "fieldValidation: Unsupported value: \\\"Some\\\"",
    ),
    ("POST", "?fieldManager=%07", JSON, NAMED, 422, "should only contain printable characters"),
    (
        "DELETE",
        "/known?propagationPolicy=Some",
        "",
        "",
        422,
        "propagationPolicy: Unsupported value",
    ),
    ("DELETE", "/known?gracePeriodSeconds=x", "", "", 400, "strconv.ParseInt: parsing \\\"x\\\""),
    (
        "DELETE",
        "/known?orphanDependents=1&propagationPolicy=Orphan",
        "",
        "",
        422,
        "cannot be both set",
    ),
];

const PATHS: &[Case<'_>] = &[
    (
        "FOO",
        "/known",
        "",
        "",
        405,
        "the server does not allow this method on the requested resource",
    ),
    ("PUT", "", JSON, "{}", 405, "the server does not allow this method"),
    ("POST", "/known", JSON, "{}", 405, "the server does not allow this method"),
    ("GET", "/known/none", "", "", 404, "the server could not find the requested resource"),
    ("GET", "/known/a/b/c", "", "", 404, "the server could not find the requested resource"),
    ("GET", "/..%2f..%2fx", "", "", 404, "not found"),
    ("GET", "/%00", "", "", 404, "not found"),
    ("GET", "/%zz", "", "", 404, "not found"),
    (
        "GET",
        "/known",
        "Accept: application/xml\r\n",
        "",
        406,
        "only the following media types are accepted",
    ),
];

#[test]
fn rubbish_on_the_api_port_is_answered_with_a_status() -> Result<()> {
    let cluster = Cluster::start(Settings { no_agent: true, ..Settings::default() })?;
    cluster.k("create configmap known --from-literal=a=b")?;
    let raw = Raw::to(&cluster)?;
    for (method, path, headers, body, code, words) in [BODIES, OPTIONS, PATHS].concat() {
        let answer = raw.send(method, &format!("{MAPS}{path}"), headers, body.as_bytes())?;
        let fits = answer.code == code && answer.body.contains(words);
        ensure!(fits, "{method} {path} {headers}{body}: {answer:?}");
        let status: serde_json::Value = serde_json::from_str(&answer.body)?;
        ensure!(status["kind"] == "Status" && status["code"] == code, "{method} {path}: {status}");
    }
    let long = "x".repeat(129);
    let path = format!("{MAPS}?fieldManager={long}");
    let answer = raw.send("POST", &path, JSON, NAMED.as_bytes())?;
    ensure!(answer.body.contains("fieldManager: Too long: may not be more than 128"), "{answer:?}");

    for path in ["/nothing", "/api/v1/nothing", "/apis/apps/v1beta1/deployments", "//api//v1"] {
        ensure!(raw.send("GET", path, "", b"")?.code == 404, "{path}");
    }
    let huge = format!("X-Huge: {}\r\n", "x".repeat(4 << 20));
    let answer = raw.send("GET", "/api", &huge, b"")?;
    ensure!(matches!(answer.code, 0 | 431), "{answer:?}");
    let deep = format!("{}1{}", "{\"a\":".repeat(20_000), "}".repeat(20_000));
    let answer = raw.send("POST", MAPS, JSON, deep.as_bytes())?;
    ensure!((400..500).contains(&answer.code), "{answer:?}");
    ensure!(raw.exchange(b"\0\x01rubbish\r\n\r\n")?.code <= 400);
    let plain = raw.without_tls(b"GET /api HTTP/1.1\r\nHost: x\r\n\r\n")?;
    ensure!(plain.contains("Client sent an HTTP request to an HTTPS server."), "{plain:?}");
    still_well(&cluster)
}

#[test]
fn requests_with_flipped_bytes_never_break_the_server() -> Result<()> {
    let cluster = Cluster::start(Settings { no_agent: true, ..Settings::default() })?;
    let raw = Raw::to(&cluster)?;
    let pod = r#"{"kind":"Pod","apiVersion":"v1","metadata":{"generateName":"p-","labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i","ports":[{"containerPort":80}],"resources":{"limits":{"cpu":"1"}}}],"nodeSelector":{"x":"y"}}}"#;
    let path = "/api/v1/namespaces/default/pods?labelSelector=a%3Db&limit=5&dryRun=All&fieldSelector=spec.nodeName%3Dx";
    let mut random: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % below as u64).unwrap_or(0)
    };
    for round in 0..200 {
        let (mut body, mut path) = (pod.as_bytes().to_vec(), path.as_bytes().to_vec());
        for _ in 0..=next(3) {
            let at = next(body.len());
            body[at] = *b"{}[]\",:0-\xff\0a".get(next(12)).unwrap_or(&0);
            let at = 1 + next(path.len() - 1);
            path[at] = *b"/?&=%,!()a0.".get(next(12)).unwrap_or(&b'/');
        }
        let method = ["POST", "GET", "PUT", "PATCH", "DELETE"][next(5)];
        let media = [JSON, MERGE, OPERATIONS, APPLY, "Content-Type: application/yaml\r\n"][next(5)];
        let path = String::from_utf8_lossy(&path).into_owned();
        let answer = raw.send(method, &path, media, &body)?;
        let fine = (200..500).contains(&answer.code);
        ensure!(
            fine,
            "round {round}: {method} {path} {media}{}: {answer:?}",
            String::from_utf8_lossy(&body)
        );
    }
    still_well(&cluster)
}

fn still_well(cluster: &Cluster) -> Result<()> {
    ensure!(cluster.k("get --raw /readyz")? == "ok");
    let log = cluster.log_text()?;
    ensure!(!log.contains("panicked"), "{}", cluster.tail());
    Ok(())
}

//! What goes in and out of containers: logs, exec, attach, cp and port-forward by kubectl.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use keelson_tests::pods::Pods;
use keelson_tests::wait;

const MANIFEST: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: talker}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: IMAGE
    command: [sh, -c, "echo one; echo two; echo three >&2; while ! test -f /tmp/go; do busybox usleep 50000; done; echo four; exit 1"]
---
apiVersion: v1
kind: Pod
metadata: {name: chatty}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: IMAGE
    command: [sh, -c, "yes() { busybox yes 0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789; }; yes | head -n 90000; echo the end; sleep 3600"]
---
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: main, image: IMAGE, command: [httpd, -f, -p, "8080", -h, /www], ports: [{name: http, containerPort: 8080}]}
  - {name: echo, image: IMAGE, stdin: true, command: [cat]}
"#;

#[test]
fn logs_follow_look_back_and_are_rotated() -> Result<()> {
    let pods = Pods::start()?;
    let cluster = &pods.cluster;
    pods.apply(MANIFEST)?;
    pods.ready("talker")?;

    // Following ends with the container; what it said before it was restarted is kept.
    let mut follow = Piped::start(cluster.kubectl_command(&["logs", "-f", "talker"]))?;
    ensure!(follow.line()? == "one\n");
    ensure!(cluster.k("logs talker --tail=1")? == "three\n");
    let stamped = cluster.k("logs talker --timestamps --tail=2")?;
    ensure!(
        stamped.lines().all(|line| line.starts_with("20") && line.contains("Z t")),
        "{stamped}"
    );
    ensure!(cluster.k("logs talker --limit-bytes=5")? == "one\nt");
    pods.shell("talker", "touch /tmp/go")?;
    ensure!(follow.rest()? == "two\nthree\nfour\n");
    let previous = wait::until("the previous log", Duration::from_secs(30), || {
        let logs = cluster.kubectl(&["logs", "talker", "--previous"])?;
        Ok((logs.code == 0).then_some(logs.out))
    })?;
    ensure!(previous == "one\ntwo\nthree\nfour\n", "{previous}");
    let error = cluster.kubectl(&["logs", "web", "-c", "main", "--previous"])?.failed()?;
    ensure!(
        error.contains("previous terminated container \"main\" in pod \"web\" not found"),
        "{error}"
    );

    // More than a file may hold: a second one begins, and the last line is found in it.
    wait::until("the last line", Duration::from_secs(60), || {
        Ok((cluster.k("logs chatty --tail=1")? == "the end\n").then_some(()))
    })?;
    let uid = cluster.field("pod chatty", "{.metadata.uid}")?;
    let folder = cluster.data_dir().join(format!("node/logs/pods/default_chatty_{uid}/main"));
    wait::until("a rotated log and a new one", Duration::from_secs(60), || {
        let names: Result<Vec<String>> = std::fs::read_dir(&folder)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect();
        let names = names?;
        let rotated = names.iter().any(|name| name.starts_with("0.log.2"));
        Ok((rotated && names.iter().any(|name| name == "0.log")).then_some(()))
    })?;
    Ok(())
}

#[test]
fn exec_attach_copy_and_port_forward() -> Result<()> {
    let pods = Pods::start()?;
    let cluster = &pods.cluster;
    pods.apply(MANIFEST)?;
    pods.ready("web")?;
    let exec = |arguments: &[&str]| {
        let all = [&["exec", "web", "-c", "main"][..], arguments].concat();
        cluster.kubectl(&all)
    };

    // exec: both outputs apart, the exit code, input, a command that is not there.
    let both = exec(&["--", "sh", "-c", "echo out; echo err >&2; exit 5"])?;
    ensure!(both.out == "out\n" && both.err.starts_with("err\n") && both.code == 5, "{both:?}");
    let input = "x".repeat(300_000);
    let counted = cluster
        .kubectl_with(&["exec", "-i", "web", "-c", "main", "--", "busybox", "wc", "-c"], &input)?;
    ensure!(counted.out.trim() == "300000", "{counted:?}");
    for arguments in [&["--", "no-such"][..], &["-i", "--", "no-such"]] {
        let all = [&["exec", "web", "-c", "main"][..], arguments].concat();
        let error = cluster.kubectl_with(&all, &input)?.failed()?;
        let words = "exec: \"no-such\": executable file not found in $PATH";
        ensure!(error.contains(words), "{error}");
    }

    // A terminal: kubectl needs one itself, so script(1) makes it one.
    let kubectl = cluster.kubectl_command(&[]);
    let line = format!(
        "{} exec -it web -c main -- sh -c 'tty; exit 6'",
        kubectl.get_program().to_string_lossy()
    );
    let mut script = Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).env("KUBECONFIG", cluster.kubeconfig());
    let terminal = keelson_tests::run(script, None, Duration::from_secs(30))?;
    ensure!(terminal.out.contains("/dev/pts/0\r\n") && terminal.code == 6, "{terminal:?}");

    // attach.
    let mut attach =
        Piped::start(cluster.kubectl_command(&["attach", "-q", "-i", "web", "-c", "echo"]))?;
    attach.say("hello\n")?;
    ensure!(attach.line()? == "hello\n");
    drop(attach);

    // cp, both ways.
    let (there, back) = (cluster.scratch().join("there"), cluster.scratch().join("back"));
    std::fs::write(&there, &input)?;
    let (there, back) = (there.display().to_string(), back.display().to_string());
    cluster.kubectl(&["cp", &there, "web:/tmp/copied", "-c", "main"])?.ok()?;
    cluster.kubectl(&["cp", "web:/tmp/copied", &back, "-c", "main"])?.ok()?;
    ensure!(std::fs::read_to_string(&back)? == input, "the copy differs");

    // port-forward: by name, several connections, and the error of a port where nobody listens.
    let mut forward =
        Piped::start(cluster.kubectl_command(&["port-forward", "pod/web", ":http", ":9"]))?;
    let (open, closed) = (forward.forwarded()?, forward.forwarded()?);
    for _ in 0..3 {
        let page = fetch(open)?;
        ensure!(page.contains("version one"), "{page}");
    }
    ensure!(fetch(closed)?.is_empty());
    let error = forward.errors()?;
    ensure!(error.contains("an error occurred forwarding") && error.contains("refused"), "{error}");
    Ok(())
}

/// What an HTTP server on a local port answers; empty if it closes at once.
fn fetch(port: u16) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut page = String::new();
    match stream.read_to_string(&mut page) {
        Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => Err(error.into()),
        _ => Ok(page),
    }
}

/// A client that runs on while it is talked to; ended when dropped.
struct Piped {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
}

impl Piped {
    fn start(mut command: Command) -> Result<Self> {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let out = BufReader::new(child.stdout.take().context("standard output")?);
        Ok(Self { child, out })
    }

    fn say(&mut self, text: &str) -> Result<()> {
        let input = self.child.stdin.as_mut().context("standard input")?;
        input.write_all(text.as_bytes())?;
        Ok(input.flush()?)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.out.read_line(&mut line)?;
        Ok(line)
    }

    /// Everything up to the end.
    fn rest(&mut self) -> Result<String> {
        let mut rest = String::new();
        self.out.read_to_string(&mut rest)?;
        Ok(rest)
    }

    /// The next local port that `kubectl port-forward` names, on IPv4.
    fn forwarded(&mut self) -> Result<u16> {
        loop {
            let line = self.line()?;
            if line.is_empty() {
                anyhow::bail!("kubectl port-forward has ended: {}", self.errors()?);
            }
            let port = line.strip_prefix("Forwarding from 127.0.0.1:");
            if let Some(port) = port.and_then(|rest| rest.split(' ').next()) {
                return Ok(port.parse()?);
            }
        }
    }

    /// What it complains of, to its end.
    fn errors(&mut self) -> Result<String> {
        let mut text = String::new();
        let mut errors = self.child.stderr.take().context("standard error")?;
        errors.read_to_string(&mut text)?;
        Ok(text)
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _status = self.child.wait();
    }
}

//! Running a client to its end.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// What a client printed and how it ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
    /// The exit code; -1 after a signal.
    pub code: i32,
}

impl Output {
    /// The standard output of a client that ended well.
    pub fn ok(self) -> Result<String> {
        if self.code != 0 {
            bail!("exit code {}: {}{}", self.code, self.out, self.err);
        }
        Ok(self.out)
    }

    /// The standard error of a client that failed, as it should.
    pub fn failed(self) -> Result<String> {
        if self.code == 0 {
            bail!("succeeded, but should have failed: {}", self.out);
        }
        Ok(self.err)
    }
}

/// Runs `command` with `input`, for at most `limit`.
pub fn run(mut command: Command, input: Option<&str>, limit: Duration) -> Result<Output> {
    let name = format!("{command:?}");
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    let mut child = command
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {name}"))?;
    let writer = input.zip(child.stdin.take()).map(|(input, mut stdin)| {
        let input = input.to_owned();
        std::thread::spawn(move || stdin.write_all(input.as_bytes()))
    });
    let mut out = child.stdout.take().context("standard output")?;
    let mut err = child.stderr.take().context("standard error")?;
    let out = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        out.read_to_end(&mut bytes).map(|_| bytes)
    });
    let err = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        err.read_to_end(&mut bytes).map(|_| bytes)
    });
    let end = Instant::now() + limit;
    let mut timed_out = false;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > end && !timed_out {
            timed_out = true;
            child.kill()?;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    if let Some(writer) = writer {
        // A client that does not read its input to the end may close it early.
        let _closed_early = writer.join();
    }
    let text = |joined: std::thread::Result<std::io::Result<Vec<u8>>>| -> Result<String> {
        let bytes = joined.map_err(|_| anyhow::anyhow!("a reader of {name} panicked"))??;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let output = Output {
        out: text(out.join())?,
        err: text(err.join())?,
        code: status.code().unwrap_or(-1),
    };
    if timed_out {
        bail!("{name} ran longer than {} s: {}{}", limit.as_secs(), output.out, output.err);
    }
    Ok(output)
}

//! Debian's docker-registry on loopback, and a client that pushes to it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::image::{Image, busybox, digest};
use crate::{ports, wait};

/// A running registry; ended when dropped.
pub struct Registry {
    child: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Registry {
    /// Starts one that holds busybox under these names and tags, each with a page of its own.
    pub fn with_busybox(images: &[(&str, &str, &str)]) -> Result<Self> {
        let registry = Self::start()?;
        for (name, tag, page) in images {
            registry.push(name, tag, &busybox(page)?)?;
        }
        Ok(registry)
    }

    /// Starts one and waits until it answers.
    pub fn start() -> Result<Self> {
        let port = ports::free(1)?[0];
        let dir = tempfile::tempdir()?;
        let config = dir.path().join("config.yml");
        let root = dir.path().join("data");
        let text = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
             http:\n  addr: 127.0.0.1:{port}\n",
            root.display()
        );
        std::fs::write(&config, text)?;
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start docker-registry (Debian package docker-registry)")?;
        let registry = Self { child, port, _dir: dir };
        wait::until("the registry", Duration::from_secs(20), || {
            Ok((registry.request("GET", "/v2/", &[], b"")?.0 == 200).then_some(()))
        })?;
        Ok(registry)
    }

    /// `HOST:PORT/repository:tag` of an image here.
    pub fn reference(&self, repository: &str, tag: &str) -> String {
        format!("127.0.0.1:{}/{repository}:{tag}", self.port)
    }

    /// Pushes an image as clients do: blobs, then the manifest under the tag.
    pub fn push(&self, repository: &str, tag: &str, image: &Image) -> Result<String> {
        for (name, content) in &image.blobs {
            let (status, headers) =
                self.request("POST", &format!("/v2/{repository}/blobs/uploads/"), &[], b"")?;
            let location = headers
                .lines()
                .find_map(|line| {
                    line.split_once(": ").filter(|(key, _)| key.eq_ignore_ascii_case("location"))
                })
                .map(|(_, value)| value.trim().to_owned())
                .with_context(|| format!("an upload was answered {status}: {headers}"))?;
            let path = location
                .split_once("/v2/")
                .map_or(location.clone(), |(_, rest)| format!("/v2/{rest}"));
            let sep = if path.contains('?') { '&' } else { '?' };
            let octets = ["Content-Type: application/octet-stream"];
            let (status, answer) =
                self.request("PUT", &format!("{path}{sep}digest={name}"), &octets, content)?;
            if status != 201 {
                bail!("blob {name}: {status}: {answer}");
            }
        }
        let kind = ["Content-Type: application/vnd.oci.image.manifest.v1+json"];
        let (status, answer) = self.request(
            "PUT",
            &format!("/v2/{repository}/manifests/{tag}"),
            &kind,
            &image.manifest,
        )?;
        if status != 201 {
            bail!("manifest {repository}:{tag}: {status}: {answer}");
        }
        Ok(digest(&image.manifest))
    }

    /// One request on a connection of its own; the status, and the rest as text.
    fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[&str],
        body: &[u8],
    ) -> Result<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\nContent-Length: {}\r\n",
            self.port,
            body.len()
        );
        for header in headers {
            head.push_str(header);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        Ok((status.context("no status line")?, answer))
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _status = self.child.wait();
    }
}

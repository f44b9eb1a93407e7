//! Container logs: the CRI log files of a container, across rotation, cut and followed as asked.
use std::io::SeekFrom;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use keelson_proto::cri;
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncSeekExt, BufReader};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::router::{Shared, plain};
use super::stream::pairs;
use crate::agent::Context;
use crate::pods::{LogLine, LogStream};

/// How often a followed file is looked at, and how often its container is.
const POLL: Duration = Duration::from_millis(100);
const POLLS_PER_STATUS: u32 = 10;
/// Chunks on the way to a slow client.
const CHUNKS_MAX: usize = 16;
const CHUNK_BYTES: usize = 32 << 10;
const BLOCK_BYTES: u64 = 64 << 10;

/// Whose log.
pub(super) struct LogTarget {
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) container: String,
}

/// What is asked of it.
#[derive(Clone, Debug, Default, PartialEq)]
struct LogOptions {
    follow: bool,
    previous: bool,
    timestamps: bool,
    tail_lines: Option<u64>,
    limit_bytes: Option<u64>,
    since: Option<Timestamp>,
    stream: Option<LogStream>,
}

impl LogOptions {
    fn parse(query: &str, now: Timestamp) -> Result<Self, String> {
        let mut options = Self::default();
        for (name, value) in pairs(query) {
            let on = matches!(value.as_str(), "1" | "true");
            let number = || -> Result<u64, String> {
                value.parse().map_err(|_| format!("invalid value \"{value}\" for {name}"))
            };
            match name.as_str() {
                "follow" => options.follow = on,
                "previous" => options.previous = on,
                "timestamps" => options.timestamps = on,
                "tailLines" => options.tail_lines = Some(number()?),
                "limitBytes" => options.limit_bytes = Some(number()?),
                "sinceSeconds" => {
                    options.since = Some(now - Duration::from_secs(number()?));
                }
                "sinceTime" => {
                    let time = value.parse().map_err(|_| format!("invalid time \"{value}\""))?;
                    options.since = Some(time);
                }
                "stream" => {
                    options.stream = match value.as_str() {
                        "Stdout" => Some(LogStream::Stdout),
                        "Stderr" => Some(LogStream::Stderr),
                        _ => None,
                    }
                }
                _ => {}
            }
        }
        Ok(options)
    }
}

/// `/containerLogs`
pub(super) async fn serve(shared: &Shared, target: LogTarget, query: &str) -> Response {
    let options = match LogOptions::parse(query, Timestamp::now()) {
        Ok(options) => options,
        Err(why) => return plain(StatusCode::BAD_REQUEST, why),
    };
    let Some(pod) = shared.workers.find(&target.namespace, &target.pod) else {
        return plain(StatusCode::NOT_FOUND, format!("pod \"{}\" not found", target.pod));
    };
    let pod = fresh(shared, pod).await;
    let id = match container_id(&pod, &target, options.previous) {
        Ok(id) => id,
        Err(why) => return plain(StatusCode::BAD_REQUEST, why),
    };
    let Some((path, _)) = log_path(&shared.cx, &id).await else {
        let words =
            format!("unable to retrieve container logs for {}://{id}", shared.cx.runtime_name);
        return plain(StatusCode::OK, words);
    };
    let (sender, chunks) = mpsc::channel(CHUNKS_MAX);
    let reader = Reader {
        cx: shared.cx.clone(),
        id,
        path,
        left: options.limit_bytes,
        options,
        sender,
        chunk: Vec::new(),
        joining: false,
    };
    tokio::spawn(async move {
        if let Err(error) = reader.run().await {
            tracing::debug!(%error, "container log");
        }
    });
    let chunks = ReceiverStream::new(chunks);
    let chunks = futures::StreamExt::map(chunks, Ok::<Bytes, std::io::Error>);
    ([(header::CONTENT_TYPE, "text/plain")], Body::from_stream(chunks)).into_response()
}

/// The watch may be behind the status that this agent wrote a moment ago.
async fn fresh(shared: &Shared, pod: std::sync::Arc<Pod>) -> Pod {
    let (Some(namespace), Some(name)) = (&pod.metadata.namespace, &pod.metadata.name) else {
        return (*pod).clone();
    };
    let api: kube::Api<Pod> = kube::Api::namespaced(shared.cx.client.clone(), namespace);
    api.get(name).await.unwrap_or_else(|_| (*pod).clone())
}

// upstream: kubelet, validateContainerLogStatus
fn container_id(pod: &Pod, target: &LogTarget, previous: bool) -> Result<String, String> {
    let (container, name) = (&target.container, &target.pod);
    let status = pod.status.clone().unwrap_or_default();
    let lists = [
        status.container_statuses,
        status.init_container_statuses,
        status.ephemeral_container_statuses,
    ];
    let mut all = lists.into_iter().flatten().flatten();
    let found: Option<ContainerStatus> = all.find(|status| status.name == *container);
    let what = format!("container \"{container}\" in pod \"{name}\"");
    let Some(found) = found else { return Err(format!("{what} is not available")) };
    let state = found.state.unwrap_or_default();
    let plain_id = |id: &str| id.split_once("://").map_or(id, |(_, id)| id).to_owned();
    let last = found.last_state.and_then(|s| s.terminated).and_then(|t| t.container_id);
    let last = last.filter(|id| !id.is_empty()).map(|id| plain_id(&id));
    if previous {
        return last.ok_or_else(|| format!("previous terminated {what} not found"));
    }
    if state.running.is_some() {
        return Ok(plain_id(&found.container_id.unwrap_or_default()));
    }
    if let Some(ended) = state.terminated {
        let id = ended.container_id.filter(|id| !id.is_empty()).map(|id| plain_id(&id));
        return id.or(last).ok_or_else(|| format!("{what} is terminated"));
    }
    if let Some(last) = last {
        return Ok(last);
    }
    let reason = state.waiting.and_then(|w| w.reason).unwrap_or_default();
    Err(match reason.as_str() {
        "ErrImagePull" => format!("{what} is waiting to start: image can't be pulled"),
        "ImagePullBackOff" => {
            format!("{what} is waiting to start: trying and failing to pull image")
        }
        "" => format!("{what} is waiting to start - no logs yet"),
        reason => format!("{what} is waiting to start: {reason}"),
    })
}

/// Where the log is, and whether the container runs.
async fn log_path(cx: &Context, id: &str) -> Option<(PathBuf, bool)> {
    let request = cri::ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
    let answer = cx.cri.runtime.clone().container_status(request).await.ok()?;
    let status = answer.into_inner().status?;
    let runs = matches!(
        status.state(),
        cri::ContainerState::ContainerRunning | cri::ContainerState::ContainerCreated
    );
    Some((PathBuf::from(status.log_path), runs))
}

struct Reader {
    cx: std::sync::Arc<Context>,
    id: String,
    path: PathBuf,
    options: LogOptions,
    /// Bytes that may still be sent.
    left: Option<u64>,
    sender: mpsc::Sender<Bytes>,
    chunk: Vec<u8>,
    /// The next record goes on a line that was begun.
    joining: bool,
}

/// Why reading ended early.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("client went away")]
    ClientGone,
    #[error("limit of bytes reached")]
    Limit,
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl Reader {
    async fn run(mut self) -> Result<(), ReadError> {
        let result = self.read_all().await;
        match result {
            Ok(()) | Err(ReadError::Limit) => self.flush().await,
            Err(error) => Err(error),
        }
    }

    async fn read_all(&mut self) -> Result<(), ReadError> {
        let files = rotated(&self.path);
        let start = match self.options.tail_lines {
            Some(lines) => tail_start(&files, lines).await?,
            None => (0, 0),
        };
        for (index, file) in files.iter().enumerate().skip(start.0) {
            let offset = if index == start.0 { start.1 } else { 0 };
            let last = index + 1 == files.len();
            if file.extension().is_some_and(|end| end == "gz") {
                self.read_compressed(file).await?;
            } else {
                self.read_file(file, offset, last && self.options.follow).await?;
            }
        }
        Ok(())
    }

    async fn read_compressed(&mut self, path: &Path) -> Result<(), ReadError> {
        let bytes = tokio::fs::read(path).await?;
        let mut text = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&bytes[..]), &mut text)?;
        for record in text.split_inclusive(|byte| *byte == b'\n') {
            self.record(record).await?;
        }
        Ok(())
    }

    async fn read_file(&mut self, path: &Path, offset: u64, follow: bool) -> Result<(), ReadError> {
        let mut file = File::open(path).await?;
        let mut inode = file.metadata().await?.ino();
        file.seek(SeekFrom::Start(offset)).await?;
        let mut lines = BufReader::with_capacity(CHUNK_BYTES, file);
        let mut record = Vec::new();
        let mut polls = 0;
        let mut runs = true;
        let mut rotated = false;
        loop {
            if lines.read_until(b'\n', &mut record).await? > 0 && record.ends_with(b"\n") {
                self.record(&record).await?;
                record.clear();
                continue;
            }
            if !follow {
                return Ok(());
            }
            self.flush().await?;
            let moved = tokio::fs::metadata(path).await.is_ok_and(|now| now.ino() != inode);
            if moved && !rotated {
                // What was written to the old file between the last read and its replacement.
                rotated = true;
                continue;
            }
            if rotated {
                rotated = false;
                let file = File::open(path).await?;
                inode = file.metadata().await?.ino();
                lines = BufReader::with_capacity(CHUNK_BYTES, file);
                record.clear();
                continue;
            }
            if !runs {
                return Ok(());
            }
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                () = self.sender.closed() => return Err(ReadError::ClientGone),
            }
            polls += 1;
            if polls % POLLS_PER_STATUS == 0 {
                runs = log_path(&self.cx, &self.id).await.is_some_and(|(_, runs)| runs);
            }
        }
    }

    async fn record(&mut self, record: &[u8]) -> Result<(), ReadError> {
        let record = record.strip_suffix(b"\n").unwrap_or(record);
        let Some(line) = LogLine::parse(record) else { return Ok(()) };
        if self.options.stream.is_some_and(|wanted| wanted != line.stream) {
            return Ok(());
        }
        if let Some(since) = self.options.since {
            let time: Option<Timestamp> =
                std::str::from_utf8(line.time).ok().and_then(|time| time.parse().ok());
            if time.is_none_or(|time| time < since) {
                return Ok(());
            }
        }
        if self.options.timestamps && !self.joining {
            self.chunk.extend_from_slice(line.time);
            self.chunk.push(b' ');
        }
        self.chunk.extend_from_slice(line.text);
        if !line.partial {
            self.chunk.push(b'\n');
        }
        self.joining = line.partial;
        if self.left.is_some_and(|left| self.chunk.len() as u64 >= left) {
            return Err(ReadError::Limit);
        }
        if self.chunk.len() >= CHUNK_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), ReadError> {
        let mut chunk = std::mem::take(&mut self.chunk);
        if let Some(left) = &mut self.left {
            chunk.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= chunk.len() as u64;
        }
        if chunk.is_empty() {
            return Ok(());
        }
        self.sender.send(chunk.into()).await.map_err(|_| ReadError::ClientGone)
    }
}

/// The files of a log, oldest first: `0.log.20260102-030405`, perhaps `.gz`, and `0.log`.
fn rotated(path: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let folder = path.parent().unwrap_or(Path::new("/"));
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let found = entry.file_name().to_string_lossy().into_owned();
        let rest = found.strip_prefix(&name).and_then(|rest| rest.strip_prefix('.'));
        if rest.is_some_and(|rest| !rest.is_empty() && !rest.ends_with("tmp")) {
            files.push(entry.path());
        }
    }
    files.sort();
    files.push(path.to_path_buf());
    files
}

/// The file and the offset at which the last `lines` lines begin.
async fn tail_start(files: &[PathBuf], lines: u64) -> Result<(usize, u64), ReadError> {
    let mut wanted = lines;
    for (index, path) in files.iter().enumerate().rev() {
        if path.extension().is_some_and(|end| end == "gz") {
            return Ok((index + 1, 0));
        }
        let mut file = match File::open(path).await {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error.into()),
        };
        let length = file.metadata().await?.len();
        if wanted == 0 {
            return Ok((index, length));
        }
        let mut end = length;
        while end > 0 {
            let start = end.saturating_sub(BLOCK_BYTES);
            let mut block = vec![0; usize::try_from(end - start).unwrap_or_default()];
            file.seek(SeekFrom::Start(start)).await?;
            file.read_exact(&mut block).await?;
            for (at, _) in block.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
                let position = start + at as u64 + 1;
                if position == length {
                    continue;
                }
                wanted -= 1;
                if wanted == 0 {
                    return Ok((index, position));
                }
            }
            end = start;
        }
        if length > 0 {
            // The file's first line has no line end before it.
            wanted -= 1;
            if wanted == 0 {
                return Ok((index, 0));
            }
        }
    }
    Ok((0, 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[tokio::test]
    async fn the_tail_is_found_across_rotated_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.log");
        std::fs::write(folder.path().join("0.log.20260101-000000"), "1\n2\n").unwrap();
        std::fs::write(&path, "3\n4\n").unwrap();
        let files = rotated(&path);
        assert_eq!(files.len(), 2);
        let check = async |lines, expected| {
            assert_eq!(tail_start(&files, lines).await.unwrap(), expected, "{lines}");
        };
        check(0, (1, 4)).await;
        check(1, (1, 2)).await;
        check(2, (1, 0)).await;
        check(3, (0, 2)).await;
        check(4, (0, 0)).await;
        check(9, (0, 0)).await;
    }

    #[test]
    fn containers_without_a_log_are_told_in_the_words_of_the_kubelet() {
        let pod = |status: serde_json::Value| -> Pod {
            serde_json::from_value(json!({"status": {"containerStatuses": [status]}})).unwrap()
        };
        let target = |container: &str| LogTarget {
            namespace: "n".into(),
            pod: "p".into(),
            container: container.into(),
        };
        let status = |state: serde_json::Value| {
            pod(json!({"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "containerID": "keelson://1", "state": state}))
        };
        let check = |pod: &Pod, container, previous, words: &str| {
            assert_eq!(container_id(pod, &target(container), previous).unwrap_err(), words);
        };
        let waiting = status(json!({"waiting": {"reason": "ContainerCreating"}}));
        let words = "container \"c\" in pod \"p\" is waiting to start: ContainerCreating";
        check(&waiting, "c", false, words);
        check(&waiting, "d", false, "container \"d\" in pod \"p\" is not available");
        let running = status(json!({"running": {}}));
        assert_eq!(container_id(&running, &target("c"), false).unwrap(), "1");
        let words = "previous terminated container \"c\" in pod \"p\" not found";
        check(&running, "c", true, words);
    }

    #[test]
    fn options_are_read() {
        let now = Timestamp::from_second(100).unwrap();
        let options = LogOptions::parse("follow=true&tailLines=5&sinceSeconds=10", now).unwrap();
        assert!(options.follow);
        assert_eq!(options.tail_lines, Some(5));
        assert_eq!(options.since, Some(Timestamp::from_second(90).unwrap()));
        assert!(LogOptions::parse("tailLines=x", now).is_err());
    }
}

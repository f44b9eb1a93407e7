//! What a container said when it ended: its message file, or the end of its log.
use std::path::Path;

use super::log_lines::LogLine;
use super::observe::{
    ANNOTATION_MESSAGE_HOST_PATH, ANNOTATION_MESSAGE_POLICY, ContainerState, Observed,
    ObservedContainer,
};

const FILE_BYTES_MAX: usize = 4096;
const LOG_BYTES_MAX: usize = 2048;
const LOG_LINES_MAX: usize = 80;

/// Fills in the messages of containers that ended.
pub(crate) fn fill_messages(observed: &mut Observed) {
    for container in &mut observed.containers {
        if container.state == ContainerState::Exited
            && let Some(message) = message_of(container)
        {
            container.message = message;
        }
    }
}

fn message_of(container: &ObservedContainer) -> Option<String> {
    let path = container.annotations.get(ANNOTATION_MESSAGE_HOST_PATH)?;
    let bytes = read_end(Path::new(path), FILE_BYTES_MAX).unwrap_or_default();
    if !bytes.is_empty() {
        return Some(String::from_utf8_lossy(&bytes).into_owned());
    }
    let policy = container.annotations.get(ANNOTATION_MESSAGE_POLICY)?;
    if policy != "FallbackToLogsOnError" || container.exit_code == 0 {
        return None;
    }
    let log = read_end(Path::new(&container.log_path), LOG_BYTES_MAX * 4).ok()?;
    Some(log_end(&log)).filter(|text| !text.is_empty())
}

fn read_end(path: &Path, bytes_max: usize) -> std::io::Result<Vec<u8>> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(bytes_max as u64)))?;
    let mut bytes = Vec::new();
    file.take(bytes_max as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn log_end(log: &[u8]) -> String {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for line in log.split(|b| *b == b'\n').filter_map(LogLine::parse) {
        let mut text = line.text.to_vec();
        if !line.partial {
            text.push(b'\n');
        }
        lines.push(text);
    }
    let from = lines.len().saturating_sub(LOG_LINES_MAX);
    let text = lines[from..].concat();
    let from = text.len().saturating_sub(LOG_BYTES_MAX);
    String::from_utf8_lossy(&text[from..]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_log_stands_in_for_a_message() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("0.log");
        std::fs::write(
            &log,
            "2026-01-02T03:04:05.1Z stdout F one\n2026-01-02T03:04:05.2Z stderr F two\n",
        )
        .unwrap();
        let mut container = ObservedContainer {
            exit_code: 1,
            log_path: log.display().to_string(),
            ..Default::default()
        };
        let missing = folder.path().join("none").display().to_string();
        container.annotations.insert(ANNOTATION_MESSAGE_HOST_PATH.into(), missing);
        assert_eq!(message_of(&container), None);
        container
            .annotations
            .insert(ANNOTATION_MESSAGE_POLICY.into(), "FallbackToLogsOnError".into());
        assert_eq!(message_of(&container).as_deref(), Some("one\ntwo\n"));
    }
}

//! Reading a recorded history, whole or not at all: what is not understood is named with its line.

use thiserror::Error;

use crate::format::{Header, Line, NAME, VERSION};
use crate::jepsen;

/// A recorded history.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// What the first line says.
    pub header: Header,
    /// The others.
    pub lines: Vec<Line>,
}

/// Why a history cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReadError {
    /// There is nothing.
    #[error("the history is empty: not even its first line, the header, is there")]
    Empty,
    /// The first line is no header.
    #[error(
        "this is no history: the first line should be like \
         {{\"history\":\"keelson\",\"version\":{VERSION}}} (or the file one of Jepsen's, in EDN)"
    )]
    Header,
    /// Another version.
    #[error("the history is of version {0}; this program reads version {VERSION}")]
    Version(u32),
    /// The last line ends in the middle.
    #[error(
        "line {line}, the last one, is torn: whoever wrote it was stopped; \
         --torn checks what stands before it"
    )]
    Torn {
        /// Its number.
        line: usize,
    },
    /// A line that is not understood.
    #[error("line {line}: {problem}")]
    Line {
        /// Its number.
        line: usize,
        /// Why.
        problem: String,
    },
    /// Text that is not EDN, or no operation.
    #[error("as EDN: {0}")]
    Edn(String),
}

/// What is done about a last line that ends in the middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Torn {
    /// It is refused.
    Refuse,
    /// It is left out.
    Drop,
}

/// Reads a history, in our format or in Jepsen's.
pub fn read(text: &str, torn: Torn) -> Result<Recorded, ReadError> {
    let start = text.trim_start();
    if start.is_empty() {
        return Err(ReadError::Empty);
    }
    if !start.starts_with("{\"") {
        return jepsen::read(text);
    }
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let first = lines.next().map_or("", |(_, line)| line);
    let value: serde_json::Value = serde_json::from_str(first).map_err(|_| ReadError::Header)?;
    if value["history"] != NAME {
        return Err(ReadError::Header);
    }
    let version = value["version"].as_u64().and_then(|version| u32::try_from(version).ok());
    match version {
        Some(VERSION) => {}
        Some(other) => return Err(ReadError::Version(other)),
        None => return Err(ReadError::Header),
    }
    let header: Header = serde_json::from_value(value).map_err(|_| ReadError::Header)?;
    let mut read = Vec::new();
    let last = text.lines().count();
    for (at, line) in lines {
        match serde_json::from_str(line) {
            Ok(line) => read.push(line),
            Err(error) if at + 1 == last && !text.ends_with('\n') && error.is_eof() => match torn {
                Torn::Refuse => return Err(ReadError::Torn { line: at + 1 }),
                Torn::Drop => {}
            },
            Err(error) => {
                return Err(ReadError::Line { line: at + 1, problem: error.to_string() });
            }
        }
    }
    Ok(Recorded { header, lines: read })
}

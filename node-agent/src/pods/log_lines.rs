//! One line of a container log as CRI writes it: `2026-01-02T03:04:05.123456789Z stdout F text`. Pure.

/// A line, cut in its parts; `text` has no line end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogLine<'a> {
    pub(crate) time: &'a [u8],
    pub(crate) stream: LogStream,
    /// The application's line goes on in the next record.
    pub(crate) partial: bool,
    pub(crate) text: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogStream {
    Stdout,
    Stderr,
}

impl<'a> LogLine<'a> {
    /// Reads a record without its line end; none when it is not one.
    pub(crate) fn parse(record: &'a [u8]) -> Option<Self> {
        let mut parts = record.splitn(4, |byte| *byte == b' ');
        let time = parts.next().filter(|t| t.len() >= 20)?;
        let stream = match parts.next()? {
            b"stdout" => LogStream::Stdout,
            b"stderr" => LogStream::Stderr,
            _ => return None,
        };
        let tags = parts.next()?;
        let partial = tags.split(|b| *b == b':').next() == Some(b"P".as_slice());
        Some(Self { time, stream, partial, text: parts.next().unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_cut_in_their_parts() {
        let line = LogLine::parse(b"2026-01-02T03:04:05.123456789Z stderr P a b").unwrap();
        assert_eq!(line.stream, LogStream::Stderr);
        assert!(line.partial);
        assert_eq!(line.text, b"a b");
        let empty = LogLine::parse(b"2026-01-02T03:04:05.123456789Z stdout F ").unwrap();
        assert_eq!((empty.partial, empty.text), (false, b"".as_slice()));
        assert_eq!(LogLine::parse(b"no log line"), None);
    }
}

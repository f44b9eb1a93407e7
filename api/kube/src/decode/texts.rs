//! Messages for text that is no JSON or YAML.

/// Go's words for the most common syntax errors of JSON.
pub(super) fn json_text(bytes: &[u8], error: &serde_json::Error) -> String {
    if error.is_eof() {
        return "unexpected end of JSON input".to_owned();
    }
    let lines = bytes.split_inclusive(|b| *b == b'\n');
    let before: usize = lines.take(error.line().saturating_sub(1)).map(<[u8]>::len).sum();
    match bytes.get((before + error.column()).saturating_sub(1)) {
        Some(byte) if error.is_syntax() => {
            let shown = char::from(*byte);
            format!("invalid character '{shown}' looking for beginning of value")
        }
        _ => error.to_string(),
    }
}

/// What is wrong with YAML, and where.
pub(super) fn yaml_text(error: &serde_saphyr::Error) -> String {
    let plain = error.without_snippet();
    match plain.location() {
        Some(at) => format!("error converting YAML to JSON: yaml: line {}: {plain}", at.line()),
        None => format!("error converting YAML to JSON: yaml: {plain}"),
    }
}

/// The first bytes of a body.
pub(super) fn summary(bytes: &[u8]) -> String {
    const SHOWN: usize = 30;
    let more = if bytes.len() > SHOWN { " ..." } else { "" };
    let head = &bytes[..bytes.len().min(SHOWN)];
    match bytes.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(head)),
        Some(_) => format!("{}{more}", hex::encode(head)),
    }
}

//! `$(NAME)` in commands, arguments and values: `$$` is a dollar, what is not known stays as it is. Pure.

/// Replaces each `$(NAME)` that `lookup` knows.
// upstream: third_party/forked/golang/expansion
pub(crate) fn expand<'a>(text: &str, lookup: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, tail) = rest.split_at(at);
        result.push_str(before);
        let tail = &tail[1..];
        if let Some(after) = tail.strip_prefix('$') {
            result.push('$');
            rest = after;
        } else if let Some((name, after)) = tail.strip_prefix('(').and_then(|t| t.split_once(')')) {
            match lookup(name) {
                Some(value) => result.push_str(value),
                None => {
                    result.push_str("$(");
                    result.push_str(name);
                    result.push(')');
                }
            }
            rest = after;
        } else {
            result.push('$');
            rest = tail;
        }
    }
    result.push_str(rest);
    result
}

#[cfg(test)]
mod tests {
    use super::expand;

    #[test]
    fn references_are_replaced_and_escapes_kept() {
        let check = |text: &str, expected: &str| {
            let found = expand(text, |name| match name {
                "A" => Some("1"),
                "E" => Some(""),
                _ => None,
            });
            assert_eq!(found, expected, "{text}");
        };
        check("x$(A)y$(A)", "x1y1");
        check("$$(A)", "$(A)");
        check("$(B)", "$(B)");
        check("$(E)", "");
        check("$A $ (A) $(A", "$A $ (A) $(A");
        check("$$$(A)", "$1");
    }
}

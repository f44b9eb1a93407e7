//! Words of an expression.

use super::SyntaxError;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Ident(String),
    Int(i64),
    /// 2^63, which only a minus sign makes an integer.
    IntBelow,
    Uint(u64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    /// An operator or a bracket.
    Sign(&'static str),
    End,
}

const SIGNS: &[&str] = &[
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", ".", ",",
    "(", ")", "[", "]", "{", "}",
];

/// The words of a text, each with the place where it begins (in characters).
pub(super) fn tokens(text: &str) -> Result<Vec<(usize, Token)>, SyntaxError> {
    let chars: Vec<char> = text.chars().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let c = chars[at];
        if c.is_whitespace() {
            at += 1;
            continue;
        }
        if c == '/' && chars.get(at + 1) == Some(&'/') {
            while at < chars.len() && chars[at] != '\n' {
                at += 1;
            }
            continue;
        }
        let start = at;
        let token = if let Some((token, next)) = literal(&chars, at)? {
            at = next;
            token
        } else if c.is_ascii_digit()
            || c == '.' && chars.get(at + 1).is_some_and(char::is_ascii_digit)
        {
            let (token, next) = number(&chars, at)?;
            at = next;
            token
        } else if c.is_ascii_alphabetic() || c == '_' {
            while at < chars.len() && (chars[at].is_ascii_alphanumeric() || chars[at] == '_') {
                at += 1;
            }
            Token::Ident(chars[start..at].iter().collect())
        } else if c == '`' {
            let end = chars[at + 1..].iter().position(|c| *c == '`');
            let end = end.ok_or_else(|| SyntaxError::new(at, "unterminated identifier"))?;
            at += end + 2;
            Token::Ident(chars[start + 1..at - 1].iter().collect())
        } else {
            let rest: String = chars[at..chars.len().min(at + 2)].iter().collect();
            let sign = SIGNS.iter().find(|s| rest.starts_with(**s)).copied();
            let sign = sign.ok_or_else(|| {
                SyntaxError::new(at, format!("Syntax error: token recognition error at: '{c}'"))
            })?;
            at += sign.len();
            Token::Sign(sign)
        };
        found.push((start, token));
    }
    found.push((chars.len(), Token::End));
    Ok(found)
}

fn number(chars: &[char], start: usize) -> Result<(Token, usize), SyntaxError> {
    let bad = |text: &str| SyntaxError::new(start, format!("invalid number literal: {text}"));
    let mut at = start;
    let hex = chars[at] == '0' && matches!(chars.get(at + 1), Some('x' | 'X'));
    if hex {
        at += 2;
        let from = at;
        while chars.get(at).is_some_and(char::is_ascii_hexdigit) {
            at += 1;
        }
        let digits: String = chars[from..at].iter().collect();
        if matches!(chars.get(at), Some('u' | 'U')) {
            let value = u64::from_str_radix(&digits, 16).map_err(|_| bad(&digits))?;
            return Ok((Token::Uint(value), at + 1));
        }
        let value = i64::from_str_radix(&digits, 16).map_err(|_| bad(&digits))?;
        return Ok((Token::Int(value), at));
    }
    let digits = |at: &mut usize| {
        while chars.get(*at).is_some_and(char::is_ascii_digit) {
            *at += 1;
        }
    };
    digits(&mut at);
    let mut float = false;
    if chars.get(at) == Some(&'.') && chars.get(at + 1).is_some_and(char::is_ascii_digit) {
        float = true;
        at += 1;
        digits(&mut at);
    }
    if matches!(chars.get(at), Some('e' | 'E')) {
        float = true;
        at += 1;
        if matches!(chars.get(at), Some('+' | '-')) {
            at += 1;
        }
        digits(&mut at);
    }
    let text: String = chars[start..at].iter().collect();
    if float {
        return Ok((Token::Double(text.parse().map_err(|_| bad(&text))?), at));
    }
    if matches!(chars.get(at), Some('u' | 'U')) {
        return Ok((Token::Uint(text.parse().map_err(|_| bad(&text))?), at + 1));
    }
    if text == "9223372036854775808" {
        return Ok((Token::IntBelow, at));
    }
    Ok((Token::Int(text.parse().map_err(|_| bad(&text))?), at))
}

/// A text or bytes, with their prefixes.
fn literal(chars: &[char], start: usize) -> Result<Option<(Token, usize)>, SyntaxError> {
    let (mut raw, mut bytes, mut at) = (false, false, start);
    loop {
        match chars.get(at) {
            Some('r' | 'R') if !raw => raw = true,
            Some('b' | 'B') if !bytes => bytes = true,
            Some('"' | '\'') => break,
            _ => return Ok(None),
        }
        at += 1;
    }
    let quote = chars[at];
    let triple = chars.get(at + 1) == Some(&quote) && chars.get(at + 2) == Some(&quote);
    let width = if triple { 3 } else { 1 };
    at += width;
    let mut out: Vec<u8> = Vec::new();
    let unterminated = || SyntaxError::new(start, "Syntax error: unterminated string literal");
    loop {
        let c = *chars.get(at).ok_or_else(unterminated)?;
        let closes = (0..width).all(|i| chars.get(at + i) == Some(&quote));
        if closes {
            at += width;
            break;
        }
        if c == '\n' && !triple {
            return Err(unterminated());
        }
        if c == '\\' && !raw {
            at = escape(chars, at, bytes, &mut out)?;
            continue;
        }
        out.extend(c.to_string().bytes());
        at += 1;
    }
    let token = if bytes {
        Token::Bytes(out)
    } else {
        Token::Text(String::from_utf8_lossy(&out).into_owned())
    };
    Ok(Some((token, at)))
}

/// Reads an escape at a backslash; answers what follows it.
fn escape(chars: &[char], at: usize, bytes: bool, out: &mut Vec<u8>) -> Result<usize, SyntaxError> {
    let bad = || SyntaxError::new(at, "Syntax error: invalid escape sequence");
    let c = *chars.get(at + 1).ok_or_else(bad)?;
    let plain = match c {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        '\\' | '\'' | '"' | '`' | '?' => u8::try_from(c).map_err(|_| bad())?,
        _ => 0,
    };
    if plain != 0 {
        out.push(plain);
        return Ok(at + 2);
    }
    let (from, width, radix) = match c {
        'x' | 'X' => (at + 2, 2, 16),
        'u' => (at + 2, 4, 16),
        'U' => (at + 2, 8, 16),
        '0'..='3' => (at + 1, 3, 8),
        _ => return Err(bad()),
    };
    let digits: String = chars.get(from..from + width).ok_or_else(bad)?.iter().collect();
    let code = u32::from_str_radix(&digits, radix).map_err(|_| bad())?;
    if bytes && !matches!(c, 'u' | 'U') {
        out.push(u8::try_from(code).map_err(|_| bad())?);
    } else {
        out.extend(char::from_u32(code).ok_or_else(bad)?.to_string().bytes());
    }
    Ok(from + width)
}

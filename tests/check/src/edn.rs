//! A reader of EDN, as much of it as histories of Jepsen are written in.

use std::iter::Peekable;
use std::str::Chars;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Edn {
    /// `nil`.
    Nil,
    /// `:word`, without the colon.
    Keyword(String),
    /// A number, a symbol, a boolean: as it is written.
    Word(String),
    /// `"text"`.
    Text(String),
    /// `[..]`, `(..)` or `#{..}`.
    Vector(Vec<Edn>),
    /// `{..}`.
    Map(Vec<(Edn, Edn)>),
}

impl Edn {
    /// What a map has under a keyword.
    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        let Self::Map(pairs) = self else { return None };
        let is_it = |(key, _): &&(Self, Self)| *key == Self::Keyword(name.to_owned());
        pairs.iter().find(is_it).map(|(_, value)| value)
    }

    /// As the text of a value or key; `None`: nil.
    pub(crate) fn text(&self) -> Option<String> {
        match self {
            Self::Nil => None,
            Self::Keyword(text) | Self::Word(text) | Self::Text(text) => Some(text.clone()),
            Self::Vector(all) => {
                let all: Vec<String> = all.iter().filter_map(Self::text).collect();
                Some(all.join(","))
            }
            Self::Map(_) => Some(format!("{self:?}")),
        }
    }
}

/// Reads all values of a text.
pub(crate) fn read_all(text: &str) -> Result<Vec<Edn>, String> {
    let mut reader = Reader { chars: text.chars().peekable(), line: 1 };
    let mut all = Vec::new();
    loop {
        reader.skip();
        if reader.chars.peek().is_none() {
            return Ok(all);
        }
        all.push(reader.value(0)?);
    }
}

/// How deep values may stand in each other.
const DEPTH_MAX: usize = 64;

struct Reader<'a> {
    chars: Peekable<Chars<'a>>,
    line: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let next = self.chars.next();
        self.line += usize::from(next == Some('\n'));
        next
    }

    fn problem<T>(&self, what: &str) -> Result<T, String> {
        Err(format!("line {}: {what}", self.line))
    }

    /// Blanks, commas and comments.
    fn skip(&mut self) {
        while let Some(&next) = self.chars.peek() {
            if next == ';' {
                while self.chars.peek().is_some_and(|next| *next != '\n') {
                    self.next();
                }
            } else if next.is_whitespace() || next == ',' {
                self.next();
            } else {
                return;
            }
        }
    }

    fn value(&mut self, depth: usize) -> Result<Edn, String> {
        if depth > DEPTH_MAX {
            return self.problem("values stand too deep in each other");
        }
        self.skip();
        match self.next() {
            None => self.problem("the text ends in the middle"),
            Some('[') => Ok(Edn::Vector(self.until(']', depth)?)),
            Some('(') => Ok(Edn::Vector(self.until(')', depth)?)),
            Some('{') => {
                let all = self.until('}', depth)?;
                if !all.len().is_multiple_of(2) {
                    return self.problem("a map has a key without a value");
                }
                let mut all = all.into_iter();
                let mut pairs = Vec::new();
                while let (Some(key), Some(value)) = (all.next(), all.next()) {
                    pairs.push((key, value));
                }
                Ok(Edn::Map(pairs))
            }
            Some('"') => self.text(),
            Some(':') => Ok(Edn::Keyword(self.word(String::new()))),
            Some('#') => match self.chars.peek() {
                Some('{') => {
                    self.next();
                    Ok(Edn::Vector(self.until('}', depth)?))
                }
                Some('_') => {
                    self.next();
                    self.value(depth + 1)?;
                    self.value(depth + 1)
                }
                // A tag, like #jepsen.history.Op: what it stands before says enough.
                _ => {
                    self.word(String::new());
                    self.value(depth + 1)
                }
            },
            Some(close @ (']' | ')' | '}')) => self.problem(&format!("{close:?} closes nothing")),
            Some(first) => {
                let word = self.word(first.to_string());
                Ok(if word == "nil" { Edn::Nil } else { Edn::Word(word) })
            }
        }
    }

    fn until(&mut self, close: char, depth: usize) -> Result<Vec<Edn>, String> {
        let mut all = Vec::new();
        loop {
            self.skip();
            if self.chars.peek() == Some(&close) {
                self.next();
                return Ok(all);
            }
            all.push(self.value(depth + 1)?);
        }
    }

    fn text(&mut self) -> Result<Edn, String> {
        let mut text = String::new();
        loop {
            match self.next() {
                None => return self.problem("a text is not closed"),
                Some('"') => return Ok(Edn::Text(text)),
                Some('\\') => match self.next() {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some(other) => text.push(other),
                    None => {}
                },
                Some(other) => text.push(other),
            }
        }
    }

    fn word(&mut self, mut word: String) -> String {
        let ends = |next: char| next.is_whitespace() || ",;[](){}\"".contains(next);
        while let Some(&next) = self.chars.peek() {
            if ends(next) {
                break;
            }
            word.push(next);
            self.next();
        }
        word
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_all_kinds_are_read() {
        let all = read_all("; x\n#op{:f :cas, :value [1 #_2 nil], \"a\\\"b\" (#{x})} nil").unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].get("f"), Some(&Edn::Keyword("cas".to_owned())));
        let value = Edn::Vector(vec![Edn::Word("1".to_owned()), Edn::Nil]);
        assert_eq!(all[0].get("value"), Some(&value));
    }

    #[test]
    fn what_is_broken_is_named_with_its_line() {
        for (text, wanted) in [
            ("{:a 1", "line 1: the text ends in the middle"),
            ("\n]", "line 2: ']' closes nothing"),
            ("{:a}", "line 1: a map has a key without a value"),
            ("\"a", "line 1: a text is not closed"),
        ] {
            assert_eq!(read_all(text), Err(wanted.to_owned()));
        }
        assert!(read_all(&"[".repeat(100_000)).is_err());
    }
}

//! The words of the label selector language.

/// One word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    Text(String),
    Equal,
    DoubleEqual,
    NotEqual,
    Greater,
    Less,
    Not,
    Open,
    Close,
    Comma,
    End,
}

impl Word {
    /// As it stands in the selector.
    pub(super) fn text(&self) -> &str {
        match self {
            Word::Text(text) => text,
            Word::Equal => "=",
            Word::DoubleEqual => "==",
            Word::NotEqual => "!=",
            Word::Greater => ">",
            Word::Less => "<",
            Word::Not => "!",
            Word::Open => "(",
            Word::Close => ")",
            Word::Comma => ",",
            Word::End => "",
        }
    }
}

/// Splits a selector; the last word is `End`.
pub(super) fn split(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let mut followed = |next: char| chars.next_if_eq(&next).is_some();
        words.push(match c {
            ' ' | '\t' | '\r' | '\n' => continue,
            '=' if followed('=') => Word::DoubleEqual,
            '=' => Word::Equal,
            '!' if followed('=') => Word::NotEqual,
            '!' => Word::Not,
            '>' => Word::Greater,
            '<' => Word::Less,
            '(' => Word::Open,
            ')' => Word::Close,
            ',' => Word::Comma,
            first => {
                let mut word = String::from(first);
                let ends = |c: &char| " \t\r\n=!><(),".contains(*c);
                while let Some(c) = chars.next_if(|c| !ends(c)) {
                    word.push(c);
                }
                Word::Text(word)
            }
        });
    }
    words.push(Word::End);
    words
}

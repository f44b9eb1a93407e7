//! Selectors: the small languages that choose objects by labels and by fields.

mod field;
mod label;
mod words;

pub use field::FieldSelector;
pub use label::{LabelSelector, Operator, Requirement};

/// Why a selector is refused; the text of a 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// The text does not follow the grammar.
    #[error("unable to parse requirement: {0}")]
    Requirement(String),
    /// The text of a field selector does not follow the grammar.
    #[error("invalid selector: '{selector}'; can't understand '{term}'")]
    Term {
        /// The whole selector.
        selector: String,
        /// What is not understood.
        term: String,
    },
    /// A backslash before a character that needs none.
    #[error("invalid field selector: invalid escape sequence in value: {0}")]
    Escape(String),
    /// The kind has no such selectable field.
    #[error("field label not supported: {0}")]
    Label(String),
    /// The kind has no selectable fields of its own.
    #[error("{0:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")]
    OnlyNames(String),
}

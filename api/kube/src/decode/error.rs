//! Why a body is no object; the texts are those of the API server's BadRequest.

/// Why a body could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// 415.
    #[error(
        "the body of the request was in an unknown format - accepted media types include: \
         application/json, application/yaml"
    )]
    UnsupportedMedia(String),
    /// Neither JSON nor YAML.
    #[error("{text} ({summary})")]
    Syntax {
        /// What is wrong.
        text: String,
        /// The body's beginning.
        summary: String,
    },
    /// No object at all.
    #[error("the object provided is unrecognized (must be of type {expected}): {text} ({summary})")]
    Unrecognized {
        /// The kind that the path serves.
        expected: String,
        /// What is wrong.
        text: String,
        /// The body's beginning.
        summary: String,
    },
    /// A field has the wrong type, or the object is of another kind.
    #[error("{} in version {:?} cannot be handled as a {expected}: {why}", found.0, found.1)]
    WrongType {
        /// Kind and version in the body.
        found: (String, String),
        /// The kind that the path serves.
        expected: String,
        /// What is wrong.
        why: String,
    },
    /// What the API server says without more.
    #[error("{0}")]
    Plain(String),
    /// The body's apiVersion is not that of the path.
    #[error(
        "the API version in the data ({found}) does not match the expected API version ({wanted})"
    )]
    OtherVersion {
        /// apiVersion in the body.
        found: String,
        /// apiVersion of the path.
        wanted: String,
    },
    /// A row of the table of kinds names a type that the table of facts lacks.
    #[error("no type {0:?} in the table of facts")]
    NoType(String),
}

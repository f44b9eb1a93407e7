//! What can go wrong in the runtime, and how CRI says it.

use std::io;

use tonic::{Code, Status};

use super::client::ShimError;
use super::spec::SpecError;
use super::user::UserError;
use crate::image::ImageError;
use crate::network::PodNetworkError;

/// Why the runtime could not do something.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// No such sandbox.
    #[error("sandbox {0:?}: not found")]
    NoSandbox(String),
    /// No such container.
    #[error("container {0:?}: not found")]
    NoContainer(String),
    /// The image must be pulled first.
    #[error("image {0:?}: not found")]
    NoImage(String),
    /// The sandbox was stopped, or has lost its shim.
    #[error("sandbox {0} is not ready")]
    SandboxNotReady(String),
    /// The container does not run.
    #[error("container {0} is not running")]
    NotRunning(String),
    /// The container was started before.
    #[error("container {0} is not in the created state")]
    NotCreated(String),
    /// The request lacks something, or has something that cannot be.
    #[error("{0}")]
    Invalid(String),
    /// It took longer than allowed.
    #[error("command timed out: timeout {0}s exceeded")]
    Timeout(i64),
    /// A step failed.
    #[error("{step}: {error}")]
    Io {
        /// Which.
        step: &'static str,
        /// The reason.
        error: io::Error,
    },
    /// The shim could not do it.
    #[error("{0}")]
    Shim(String),
    /// The pod network's answer.
    #[error("failed to setup network for sandbox: {0}")]
    Network(#[from] PodNetworkError),
    /// An image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// What CRI said cannot be turned into a container.
    #[error("failed to generate container spec: {0}")]
    Spec(String),
    /// Not offered by this runtime.
    #[error("{0} is not supported")]
    Unsupported(&'static str),
}

impl From<ShimError> for RuntimeError {
    fn from(error: ShimError) -> Self {
        Self::Shim(error.to_string())
    }
}

impl From<SpecError> for RuntimeError {
    fn from(error: SpecError) -> Self {
        Self::Spec(error.to_string())
    }
}

impl From<UserError> for RuntimeError {
    fn from(error: UserError) -> Self {
        Self::Spec(error.to_string())
    }
}

impl From<io::Error> for RuntimeError {
    fn from(error: io::Error) -> Self {
        Self::Io { step: "runtime", error }
    }
}

/// Names the step that an input or output error happened in.
pub(super) trait During<T> {
    fn during(self, step: &'static str) -> Result<T, RuntimeError>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, step: &'static str) -> Result<T, RuntimeError> {
        self.map_err(|error| RuntimeError::Io { step, error: error.into() })
    }
}

impl From<RuntimeError> for Status {
    fn from(error: RuntimeError) -> Self {
        let code = match &error {
            RuntimeError::NoSandbox(_)
            | RuntimeError::NoContainer(_)
            | RuntimeError::NoImage(_)
            | RuntimeError::Image(ImageError::NotFound(_)) => Code::NotFound,
            RuntimeError::SandboxNotReady(_)
            | RuntimeError::NotRunning(_)
            | RuntimeError::NotCreated(_) => Code::FailedPrecondition,
            RuntimeError::Invalid(_) | RuntimeError::Image(ImageError::Reference(_)) => {
                Code::InvalidArgument
            }
            RuntimeError::Timeout(_) => Code::DeadlineExceeded,
            RuntimeError::Unsupported(_) => Code::Unimplemented,
            RuntimeError::Image(ImageError::Unauthorized(_)) => Code::PermissionDenied,
            RuntimeError::Image(_)
            | RuntimeError::Io { .. }
            | RuntimeError::Shim(_)
            | RuntimeError::Network(_)
            | RuntimeError::Spec(_) => Code::Unknown,
        };
        Status::new(code, error.to_string())
    }
}

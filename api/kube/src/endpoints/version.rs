//! /version: which Kubernetes this is compatible with.

use http::Response;
use serde_json::json;

use crate::respond;
use crate::server::Body;

/// The version that is claimed.
pub(crate) const GIT_VERSION: &str = "v1.36.3+keelson";

pub(super) fn answer() -> Response<Body> {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    respond::json_value(
        200,
        &json!({
            "major": "1", "minor": "36",
            "emulationMajor": "1", "emulationMinor": "36",
            "minCompatibilityMajor": "1", "minCompatibilityMinor": "35",
            "gitVersion": GIT_VERSION, "gitCommit": "", "gitTreeState": "clean",
            "buildDate": "1970-01-01T00:00:00Z", "goVersion": "none", "compiler": "rustc",
            "platform": format!("{}/{arch}", std::env::consts::OS),
        }),
    )
}

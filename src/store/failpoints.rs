//! Failpoints of a test build: set and served as the variables of gofail say.

use std::process::ExitCode;

use keelson_failpoint::{REGISTRY, planted, serve};

/// Terms at start: `a=panic;b=sleep("1s")`.
const TERMS: &str = "GOFAIL_FAILPOINTS";
/// Where the HTTP interface listens.
const ADDRESS: &str = "GOFAIL_HTTP";
/// The name of a bug that this member shall have.
const BUG: &str = "KEELSON_PLANTED_BUG";

/// Does what the variables say; the exit code where that cannot be done.
pub fn start(variables: &[(String, String)]) -> Result<(), ExitCode> {
    let value = |wanted: &str| {
        let found = variables.iter().find(|(name, value)| name == wanted && !value.is_empty());
        found.map(|(_, value)| value.as_str())
    };
    let failed = |error: &dyn std::fmt::Display| {
        println!("{error}");
        ExitCode::FAILURE
    };
    if let Some(terms) = value(TERMS) {
        REGISTRY
            .set_many(terms)
            .map_err(|error| failed(&format!("fail to parse failpoint: {error}")))?;
    }
    if let Some(bug) = value(BUG)
        && !planted::plant(bug)
    {
        return Err(failed(&format!("there is no bug {bug:?} to plant")));
    }
    match value(ADDRESS) {
        Some(address) => serve(address, &REGISTRY).map_err(|error| failed(&error)),
        None => Ok(()),
    }
}

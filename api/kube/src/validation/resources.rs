//! Amounts that containers request and are limited to.

use serde_json::Value;

use super::{Errors, names};
use crate::decode::quantity::Quantity;

/// Checks the resources of a container.
pub(super) fn check(resources: &Value, path: &str, errors: &mut Errors) {
    let side = |name: &str| resources[name].as_object().into_iter().flatten();
    for (name, amount) in side("limits") {
        one(name, amount, &format!("{path}.limits[{name}]"), errors);
    }
    for (name, amount) in side("requests") {
        let at = format!("{path}.requests[{name}]");
        let Some(request) = one(name, amount, &at, errors) else { continue };
        let limit_text = resources["limits"][name.as_str()].as_str();
        let Some(limit) = limit_text.and_then(|l| Quantity::parse(l).ok()) else { continue };
        let at = format!("{path}.requests");
        let shown = request.to_string();
        let overcommits = is_native(name) && !name.starts_with("hugepages-");
        if !overcommits && !request.compare(&limit).is_eq() {
            errors.invalid(at, shown, &format!("must be equal to {name} limit of {limit}"));
        } else if request.compare(&limit).is_gt() {
            let why = format!("must be less than or equal to {name} limit of {limit}");
            errors.invalid(at, shown, &why);
        }
    }
}

/// Names that Kubernetes itself knows have no domain.
fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

fn one(name: &str, amount: &Value, path: &str, errors: &mut Errors) -> Option<Quantity> {
    errors.all_invalid(path, name, names::qualified(name));
    let standard =
        matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-");
    if !name.contains('/') && !standard {
        errors.invalid(path, name, "must be a standard resource for containers");
    }
    let parsed = Quantity::parse(amount.as_str().unwrap_or_default()).ok()?;
    if parsed.is_negative() {
        let why = "must be greater than or equal to 0";
        errors.invalid(path, parsed.to_string(), why);
    }
    if !is_native(name) && !parsed.is_whole() {
        errors.invalid(path, parsed.to_string(), "must be an integer");
    }
    Some(parsed)
}

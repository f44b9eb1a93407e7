//! Admission policies: their expressions can be read.

use serde_json::Value;

use super::Errors;
use super::value::text;
use crate::admission::compile_expression;

/// What is wrong with a policy.
pub(crate) fn policy(object: &Value, errors: &mut Errors) {
    let spec = &object["spec"];
    let mutating = object["kind"] == "MutatingAdmissionPolicy";
    if !spec["matchConstraints"].is_object() {
        errors.required("spec.matchConstraints", "");
    } else if spec["matchConstraints"]["resourceRules"].as_array().is_none_or(Vec::is_empty) {
        errors.required("spec.matchConstraints.resourceRules", "");
    }
    let lists = if mutating {
        &["variables", "matchConditions"][..]
    } else {
        &["variables", "matchConditions", "validations"][..]
    };
    for list in lists {
        for (at, item) in spec[*list].as_array().into_iter().flatten().enumerate() {
            let path = format!("spec.{list}[{at}]");
            expression(item, &format!("{path}.expression"), "expression", errors);
            if !text(item, "messageExpression").trim().is_empty() {
                let place = format!("{path}.messageExpression");
                expression(item, &place, "messageExpression", errors);
            }
        }
    }
    for (at, mutation) in spec["mutations"].as_array().into_iter().flatten().enumerate() {
        let path = format!("spec.mutations[{at}]");
        match text(mutation, "patchType") {
            "ApplyConfiguration" => {
                let place = format!("{path}.applyConfiguration.expression");
                expression(&mutation["applyConfiguration"], &place, "expression", errors);
            }
            "JSONPatch" => {
                let place = format!("{path}.jsonPatch.expression");
                expression(&mutation["jsonPatch"], &place, "expression", errors);
            }
            "" => errors.required(format!("{path}.patchType"), ""),
            other => errors.not_supported(
                format!("{path}.patchType"),
                other,
                &["ApplyConfiguration", "JSONPatch"],
            ),
        }
    }
    let none = |name: &str| spec[name].as_array().is_none_or(Vec::is_empty);
    if mutating && none("mutations") {
        errors.required("spec.mutations", "");
    }
    if !mutating && none("validations") && none("auditAnnotations") {
        errors.required("spec.validations", "validations or auditAnnotations must be non-empty");
    }
}

fn expression(item: &Value, path: &str, field: &str, errors: &mut Errors) {
    let given = text(item, field);
    if given.trim().is_empty() {
        errors.required(path, "expression is not specified");
    } else if let Err(why) = compile_expression(given) {
        errors.invalid(path, given, &format!("compilation failed: {why}"));
    }
}

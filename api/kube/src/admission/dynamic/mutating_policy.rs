//! MutatingAdmissionPolicy: expressions that change what is written.

use futures::FutureExt;
use serde_json::Value as Json;

use super::policy::{Judged, Policies, bindings_of, compile, params, variables};
use super::{is_exempt, rules};
use crate::admission::{Admission, Plugin};
use crate::cel::{Program, Value, Variables};
use crate::status::Status;
use crate::{input, managed, patch};

pub(in crate::admission) const ENTRY: Plugin =
    Plugin { mutate: Some(|a, object| mutate(a, object).boxed()), validate: None };

/// How the result of a mutation changes the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// It is applied like an object that a client applies.
    Apply,
    /// It is a list of operations.
    Patch,
}

/// A policy's mutations.
#[derive(Debug)]
pub(super) struct Mutations(Vec<(How, Result<Program, String>)>);

impl Mutations {
    pub(super) fn of(spec: &Json) -> Self {
        let list = spec["mutations"].as_array().into_iter().flatten();
        let one = |mutation: &Json| {
            let (how, field) = match mutation["patchType"].as_str() {
                Some("JSONPatch") => (How::Patch, "jsonPatch"),
                _ => (How::Apply, "applyConfiguration"),
            };
            (how, compile(mutation[field]["expression"].as_str().unwrap_or_default()))
        };
        Mutations(list.map(one).collect())
    }
}

async fn mutate(a: &Admission<'_>, object: &mut Json) -> Result<(), Status> {
    let cache = a.cx.caches.of("mutatingadmissionpolicies").await?;
    if cache.len() == 0 || is_exempt(a.kind) || !object.is_object() {
        return Ok(());
    }
    let bindings = bindings_of(a, "mutatingadmissionpolicybindings").await?;
    let policies: Vec<_> = {
        let known: &Policies = &a.cx.mutating_policies;
        let objects = cache.snapshot("").objects;
        known.keep_only(&objects);
        objects.iter().map(|o| (o.key.to_string(), known.of(o))).collect()
    };
    // After which change each policy that may be asked again was run.
    let mut again = Vec::new();
    let mut changes = 0;
    for (name, policy) in &policies {
        let own = bindings.iter().filter(|b| b["spec"]["policyName"] == name.as_str());
        for binding in own {
            let changed = apply(a, object, name, policy, binding).await?;
            changes += usize::from(changed);
            if policy.spec["reinvocationPolicy"] == "IfNeeded" {
                again.push((name, policy, binding, changes));
            }
        }
    }
    for (name, policy, binding, seen) in again {
        if seen < changes {
            changes += usize::from(apply(a, object, name, policy, binding).await?);
        }
    }
    Ok(())
}

/// Runs a policy's mutations; true when they changed the object.
async fn apply(
    a: &Admission<'_>,
    object: &mut Json,
    name: &str,
    policy: &Judged,
    binding: &Json,
) -> Result<bool, Status> {
    let (wide, narrow) = (&policy.spec["matchConstraints"], &binding["spec"]["matchResources"]);
    if !rules::matches(a, object, wide, &wide["resourceRules"], false).await?
        || !rules::matches(a, object, narrow, &narrow["resourceRules"], true).await?
    {
        return Ok(false);
    }
    let bound = binding["metadata"]["name"].as_str().unwrap_or_default();
    let namespace = rules::namespace(a).await?;
    let made = match params(a, &policy.spec["paramKind"], &binding["spec"]["paramRef"]).await {
        Ok(all) => all.iter().try_fold(object.clone(), |object, params| {
            let own = variables(a, &object, params, &namespace);
            policy.mutated(a, object, own)
        }),
        Err(why) => Err(format!("failed to configure binding: {why}")),
    };
    let new = match made {
        Ok(new) => new,
        Err(_) if policy.spec["failurePolicy"] == "Ignore" => return Ok(false),
        Err(why) => {
            let mut status = a.forbidden(&format!(
                "MutatingAdmissionPolicy '{name}' with binding '{bound}' denied request: {why}"
            ));
            (status.code, status.reason) = (422, "Invalid");
            return Err(status);
        }
    };
    if new == *object {
        return Ok(false);
    }
    let mut new = input::value(a.kind, new)?.value;
    a.kind.default(&mut new);
    *object = new;
    Ok(true)
}

impl Judged {
    fn mutated(
        &self,
        a: &Admission<'_>,
        mut object: Json,
        known: Variables,
    ) -> Result<Json, String> {
        let mut left = super::policy::POLICY_MAX;
        let Some(mut known) = self.bind(known, &mut left)? else { return Ok(object) };
        for (how, program) in &self.mutations.0 {
            let program = program.as_ref().map_err(|e| format!("compilation failed: {e}"))?;
            let (result, spent) = program.run(&known, left);
            left = left.saturating_sub(spent);
            let result = result.map_err(|e| e.to_string())?.to_json();
            object = match how {
                How::Apply => managed::laid_over(a.kind, &object, &result)
                    .ok_or("the kind has no schema to apply by")?,
                How::Patch => {
                    patch::json_patch(a.kind, &object, &result).map_err(|e| e.to_string())?
                }
            };
            known = known.with("object", Value::of_json(&object));
        }
        Ok(object)
    }
}

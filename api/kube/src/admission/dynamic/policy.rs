//! ValidatingAdmissionPolicy: expressions that what is written must fulfil.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::FutureExt;
use parking_lot::Mutex;
use serde_json::Value as Json;

use super::mutating_policy::Mutations;
use super::request::request;
use super::webhooks::known_reason;
use super::{is_exempt, rules};
use crate::admission::{Admission, Plugin};
use crate::cache::Object;
use crate::cel::{EvalError, Program, Type, Value, Variables};
use crate::kinds::{self, Kind, Scope};
use crate::selectors::LabelSelector;
use crate::status::Status;

pub(in crate::admission) const ENTRY: Plugin =
    Plugin { mutate: None, validate: Some(|a, object| validate(a, object).boxed()) };

/// What one expression may cost, all of a policy, and all conditions of one match.
const CALL_MAX: u64 = 1_000_000;
pub(super) const POLICY_MAX: u64 = 10_000_000;
const CONDITIONS_MAX: u64 = 2_500_000;
const MESSAGE_BYTES_MAX: usize = 5 * 1024;
const NAMES: &[&str] =
    &["object", "oldObject", "request", "params", "namespaceObject", "variables", "authorizer"];

/// A policy's expressions, compiled.
pub(super) struct Judged {
    pub(super) spec: Json,
    conditions: Vec<Compiled>,
    variables: Vec<(String, Compiled)>,
    validations: Vec<(Compiled, Option<Compiled>)>,
    pub(super) mutations: Mutations,
}

type Compiled = Result<Program, String>;

/// Compiled policies, by name and revision: as many as there are policies.
#[derive(Default)]
pub(crate) struct Policies(Mutex<BTreeMap<String, (i64, Arc<Judged>)>>);

impl Policies {
    pub(super) fn of(&self, object: &Object) -> Arc<Judged> {
        let mut all = self.0.lock();
        if let Some((revision, policy)) = all.get(&*object.key)
            && *revision == object.revision
        {
            return policy.clone();
        }
        let made = Arc::new(Judged::compile(&object.value()["spec"]));
        all.insert(object.key.to_string(), (object.revision, made.clone()));
        made
    }

    pub(super) fn keep_only(&self, objects: &[Arc<Object>]) {
        let mut all = self.0.lock();
        if all.len() > objects.len() {
            all.retain(|name, _| objects.iter().any(|o| *o.key == **name));
        }
    }
}

/// An expression over what admission knows.
pub(crate) fn compile(text: &str) -> Compiled {
    let variables: Vec<(&str, Type)> = NAMES.iter().map(|n| (*n, Type::Dyn)).collect();
    Program::compile(text, &variables)
}

impl Judged {
    fn compile(spec: &Json) -> Self {
        let list = |name: &str| spec[name].as_array().cloned().unwrap_or_default();
        let text = |v: &Json, name: &str| v[name].as_str().unwrap_or_default().to_owned();
        let of = |v: &Json| compile(&text(v, "expression"));
        Judged {
            conditions: list("matchConditions").iter().map(of).collect(),
            variables: list("variables").iter().map(|v| (text(v, "name"), of(v))).collect(),
            validations: list("validations")
                .iter()
                .map(|v| {
                    let message = v["messageExpression"].as_str().filter(|m| !m.trim().is_empty());
                    (of(v), message.map(compile))
                })
                .collect(),
            mutations: Mutations::of(spec),
            spec: spec.clone(),
        }
    }
}

/// Whether all conditions hold; else an error says which failed.
pub(super) fn conditions_hold(
    a: &Admission<'_>,
    object: &Json,
    conditions: &Json,
) -> Result<bool, String> {
    let Some(list) = conditions.as_array().filter(|l| !l.is_empty()) else { return Ok(true) };
    let variables = variables(a, object, &Json::Null, &Json::Null);
    let programs: Vec<Compiled> =
        list.iter().map(|c| compile(c["expression"].as_str().unwrap_or_default())).collect();
    hold(&programs, &variables)
}

fn hold(conditions: &[Compiled], variables: &Variables) -> Result<bool, String> {
    let mut left = CONDITIONS_MAX;
    let mut failed = None;
    for condition in conditions {
        let program = condition.as_ref().map_err(|e| format!("compilation failed: {e}"))?;
        let (result, spent) = program.run(variables, left);
        left = left.saturating_sub(spent);
        match result {
            Ok(Value::Bool(true)) => {}
            Ok(_) => return Ok(false),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    match failed {
        Some(error) => Err(error.to_string()),
        None => Ok(true),
    }
}

pub(super) fn variables(
    a: &Admission<'_>,
    object: &Json,
    params: &Json,
    namespace: &Json,
) -> Variables {
    let old = a.old.cloned().unwrap_or(Json::Null);
    Variables::default()
        .with("object", Value::of_json(object))
        .with("oldObject", Value::of_json(&old))
        .with("request", Value::of_json(&request(a, "")))
        .with("params", Value::of_json(params))
        .with("namespaceObject", Value::of_json(namespace))
}

/// All bindings of policies.
pub(super) async fn bindings_of(a: &Admission<'_>, prefix: &str) -> Result<Vec<Json>, Status> {
    let cache = a.cx.caches.of(prefix).await?;
    Ok(cache.snapshot("").objects.iter().map(|o| o.value()).collect())
}

/// One expression that was not true.
struct Failure {
    message: String,
    reason: String,
}

async fn validate(a: &Admission<'_>, object: &Json) -> Result<(), Status> {
    let cache = a.cx.caches.of("validatingadmissionpolicies").await?;
    if cache.len() == 0 || is_exempt(a.kind) {
        return Ok(());
    }
    let bindings = bindings_of(a, "validatingadmissionpolicybindings").await?;
    let objects = cache.snapshot("").objects;
    a.cx.policies.keep_only(&objects);
    for stored in objects {
        let policy = a.cx.policies.of(&stored);
        let own = bindings.iter().filter(|b| b["spec"]["policyName"] == *stored.key);
        let constraints = &policy.spec["matchConstraints"];
        let rules_of = &constraints["resourceRules"];
        if !rules::matches(a, object, constraints, rules_of, false).await? {
            continue;
        }
        for binding in own {
            let narrowed = &binding["spec"]["matchResources"];
            let rules_of = &narrowed["resourceRules"];
            if rules::matches(a, object, narrowed, rules_of, true).await? {
                judge(a, object, &stored.key, &policy, binding).await?;
            }
        }
    }
    Ok(())
}

async fn judge(
    a: &Admission<'_>,
    object: &Json,
    name: &str,
    policy: &Judged,
    binding: &Json,
) -> Result<(), Status> {
    let lenient = policy.spec["failurePolicy"] == "Ignore";
    let bound = binding["metadata"]["name"].as_str().unwrap_or_default();
    let params = match params(a, &policy.spec["paramKind"], &binding["spec"]["paramRef"]).await {
        Ok(params) => params,
        Err(_) if lenient => return Ok(()),
        Err(why) => {
            let failure = Failure {
                message: format!("failed to configure binding: {why}"),
                reason: String::new(),
            };
            return Err(denied(a, name, bound, &failure));
        }
    };
    let namespace = match a.kind.group.is_empty() && a.kind.plural == "namespaces" {
        true => Json::Null,
        false => rules::namespace(a).await?,
    };
    let actions = binding["spec"]["validationActions"].as_array();
    let acts = |action: &str| actions.is_some_and(|all| all.iter().any(|a| a == action));
    for params in params {
        let variables = variables(a, object, &params, &namespace);
        for failure in policy.failures(variables, lenient) {
            if acts("Warn") {
                a.warnings.lock().push(format!("Validation failed for ValidatingAdmissionPolicy '{name}' with binding '{bound}': {}", failure.message));
            }
            if acts("Deny") {
                return Err(denied(a, name, bound, &failure));
            }
        }
    }
    Ok(())
}

fn denied(a: &Admission<'_>, policy: &str, binding: &str, failure: &Failure) -> Status {
    let message = format!(
        "ValidatingAdmissionPolicy '{policy}' with binding '{binding}' denied request: {}",
        failure.message
    );
    let mut status = a.forbidden(&message);
    status.reason = match known_reason(&failure.reason) {
        "" => "Invalid",
        known => known,
    };
    status.code = match status.reason {
        "Forbidden" => 403,
        "Unauthorized" => 401,
        "RequestEntityTooLarge" => 413,
        _ => 422,
    };
    status.cause("", message, "")
}

impl Judged {
    /// The variables with the policy's own. None: its conditions do not hold.
    pub(super) fn bind(
        &self,
        mut variables: Variables,
        left: &mut u64,
    ) -> Result<Option<Variables>, String> {
        variables = variables.with("variables", Value::map(Vec::new()));
        if !hold(&self.conditions, &variables)? {
            return Ok(None);
        }
        // A variable that cannot be had is missed only by those who ask for it.
        let mut known: Vec<(Value, Value)> = Vec::new();
        for (name, program) in &self.variables {
            let Ok(program) = program else { continue };
            let (result, spent) = program.run(&variables, CALL_MAX.min(*left));
            *left = left.saturating_sub(spent);
            if let Ok(value) = result {
                known.push((Value::from(name.as_str()), value));
                variables = variables.with("variables", Value::map(known.clone()));
            }
        }
        Ok(Some(variables))
    }

    /// What does not hold, in the order of the validations.
    fn failures(&self, variables: Variables, lenient: bool) -> Vec<Failure> {
        let broken = |message: String| match lenient {
            true => Vec::new(),
            false => vec![Failure { message, reason: String::new() }],
        };
        let mut left = POLICY_MAX;
        let variables = match self.bind(variables, &mut left) {
            Ok(Some(variables)) => variables,
            Ok(None) => return Vec::new(),
            Err(why) => return broken(why),
        };
        let mut run = |program: &Program, variables: &Variables| {
            let (result, spent) = program.run(variables, CALL_MAX.min(left));
            left = left.saturating_sub(spent);
            result
        };
        let given = self.spec["validations"].as_array().map_or(&[][..], Vec::as_slice);
        let mut failures = Vec::new();
        for (validation, (program, message)) in given.iter().zip(&self.validations) {
            let expression = validation["expression"].as_str().unwrap_or_default().trim();
            let result = match program {
                Ok(program) => run(program, &variables),
                Err(why) => Err(EvalError::Failed(format!("compilation failed: {why}"))),
            };
            match result {
                Ok(Value::Bool(true)) => {}
                Ok(_) => {
                    let said = message.as_ref().and_then(|m| m.as_ref().ok()).and_then(|m| {
                        let Ok(Value::Text(text)) = run(m, &variables) else { return None };
                        let text = text.trim().to_owned();
                        let fine = !text.is_empty()
                            && text.len() <= MESSAGE_BYTES_MAX
                            && !text.contains('\n');
                        fine.then_some(text)
                    });
                    let given = validation["message"].as_str().map(str::trim);
                    let given = given.filter(|m| !m.is_empty()).map(str::to_owned);
                    failures.push(Failure {
                        message: said
                            .or(given)
                            .unwrap_or_else(|| format!("failed expression: {expression}")),
                        reason: validation["reason"].as_str().unwrap_or_default().to_owned(),
                    });
                }
                Err(why) => failures
                    .extend(broken(format!("expression '{expression}' resulted in error: {why}"))),
            }
        }
        failures
    }
}

/// The objects that a binding gives a policy; one null where it wants none.
pub(super) async fn params(
    a: &Admission<'_>,
    wanted: &Json,
    given: &Json,
) -> Result<Vec<Json>, String> {
    if !wanted.is_object() || !given.is_object() {
        return Ok(vec![Json::Null]);
    }
    let text = |v: &Json, name: &str| v[name].as_str().unwrap_or_default().to_owned();
    let (version, name) = (text(wanted, "apiVersion"), text(wanted, "kind"));
    let kind = find(a, &version, &name).ok_or_else(|| {
        format!("failed to find resource referenced by paramKind: '{version}, Kind={name}'")
    })?;
    let cache = a.cx.caches.of(kind.storage_prefix).await.map_err(|e| e.message)?;
    let namespace = match (kind.scope, text(given, "namespace")) {
        (Scope::Cluster, _) => String::new(),
        (Scope::Namespaced, own) if !own.is_empty() => own,
        (Scope::Namespaced, _) if a.namespace.is_empty() => {
            return Err("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources".to_owned());
        }
        (Scope::Namespaced, _) => a.namespace.to_owned(),
    };
    let prefix = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
    let found: Vec<Json> = match given["name"].as_str().filter(|n| !n.is_empty()) {
        Some(name) => cache.get(&format!("{prefix}{name}")).iter().map(|o| o.value()).collect(),
        None => {
            let selector = LabelSelector::from_value(&given["selector"]);
            let all = cache.snapshot(&prefix).objects;
            let chosen = all.iter().map(|o| o.value());
            chosen.filter(|o| selector.matches(&o["metadata"]["labels"])).collect()
        }
    };
    if found.is_empty() && given["parameterNotFoundAction"] != "Allow" {
        return Err(
            "no params found for policy binding with `Deny` parameterNotFoundAction".to_owned()
        );
    }
    Ok(found)
}

fn find(a: &Admission<'_>, api_version: &str, name: &str) -> Option<&'static Kind> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    kinds::by_gvk(group, version, name).or_else(|| {
        let view = a.cx.definitions.view();
        let is = |k: &&&'static Kind| k.group == group && k.version == version && k.kind == name;
        view.kinds.iter().find(is).copied()
    })
}

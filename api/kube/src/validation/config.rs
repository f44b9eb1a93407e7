//! ConfigMaps and Secrets.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::value::{immutable, text};
use super::{Errors, names};

const BYTES_MAX: usize = 1024 * 1024;
const FROZEN: &str = "field is immutable when `immutable` is set";

pub(crate) fn config_map(object: &Value, errors: &mut Errors) {
    let mut total = 0;
    for (key, value) in entries(object, "data") {
        let path = format!("data[{key}]");
        errors.all_invalid(&path, key, names::config_map_key(key));
        if object["binaryData"].get(key).is_some() {
            errors.invalid(&path, key.as_str(), "duplicate of key present in binaryData");
        }
        total += value.as_str().map_or(0, str::len);
    }
    for (key, value) in entries(object, "binaryData") {
        errors.all_invalid(&format!("binaryData[{key}]"), key, names::config_map_key(key));
        total += decoded_length(value);
    }
    if total > BYTES_MAX {
        errors.too_long("", BYTES_MAX);
    }
}

pub(crate) fn config_map_update(new: &Value, old: &Value, _sub: &str, errors: &mut Errors) {
    frozen(new, old, &["data", "binaryData"], errors);
}

pub(crate) fn secret(object: &Value, errors: &mut Errors) {
    let mut total = 0;
    for (key, value) in entries(object, "data") {
        errors.all_invalid(&format!("data[{key}]"), key, names::config_map_key(key));
        total += decoded_length(value);
    }
    if total > BYTES_MAX {
        errors.too_long("data", BYTES_MAX);
    }
    let has = |key: &str| object["data"].get(key).is_some();
    let mut need = |key: &str| {
        if !has(key) {
            errors.required(format!("data[{key}]"), "");
        }
    };
    match text(object, "type") {
        "kubernetes.io/service-account-token" => {
            let key = "kubernetes.io/service-account.name";
            if text(&object["metadata"]["annotations"], key).is_empty() {
                errors.required(format!("metadata.annotations[{key}]"), "");
            }
        }
        "kubernetes.io/dockercfg" => json_entry(object, ".dockercfg", errors),
        "kubernetes.io/dockerconfigjson" => json_entry(object, ".dockerconfigjson", errors),
        "kubernetes.io/basic-auth" if !has("username") && !has("password") => {
            need("username");
            need("password");
        }
        "kubernetes.io/ssh-auth" => need("ssh-privatekey"),
        "kubernetes.io/tls" => {
            need("tls.crt");
            need("tls.key");
        }
        _ => {}
    }
}

pub(crate) fn secret_update(new: &Value, old: &Value, _sub: &str, errors: &mut Errors) {
    immutable(new, old, "type", "", errors);
    frozen(new, old, &["data"], errors);
}

fn frozen(new: &Value, old: &Value, fields: &[&str], errors: &mut Errors) {
    if old["immutable"] != true {
        return;
    }
    if new["immutable"] != true {
        errors.forbidden("immutable", FROZEN);
    }
    for field in fields.iter().filter(|f| new[**f] != old[**f]) {
        errors.forbidden(*field, FROZEN);
    }
}

fn entries<'a>(object: &'a Value, name: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    object[name].as_object().into_iter().flatten()
}

fn decoded_length(value: &Value) -> usize {
    value.as_str().map_or(0, |text| text.trim_end_matches('=').len() * 3 / 4)
}

fn json_entry(object: &Value, key: &str, errors: &mut Errors) {
    let path = format!("data[{key}]");
    let Some(text) = object["data"][key].as_str() else {
        return errors.required(path, "");
    };
    let bytes = STANDARD.decode(text).unwrap_or_default();
    if !serde_json::from_slice::<Value>(&bytes).is_ok_and(|v| v.is_object()) {
        errors.invalid(path, "<secret contents redacted>", "unexpected end of JSON input");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    fn errors_of(plural: &str, mut object: Value) -> Vec<String> {
        let kind = crate::kinds::find("", "v1", plural).expect("a kind");
        object["metadata"] = json!({"name": "x", "namespace": "d"});
        kind.default(&mut object);
        kind.validate_create(&object).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn keys_and_types() {
        assert_eq!(
            errors_of("configmaps", json!({"data": {"a b": "x"}})),
            ["data[a b]: Invalid value: \"a b\": a valid config key must consist of alphanumeric \
              characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex \
              used for validation is '[-._a-zA-Z0-9]+')"]
        );
        assert_eq!(
            errors_of("secrets", json!({"type": "kubernetes.io/tls"})),
            ["data[tls.crt]: Required value", "data[tls.key]: Required value"]
        );
    }

    #[test]
    fn string_data_becomes_data() {
        let kind = crate::kinds::find("", "v1", "secrets").expect("secrets");
        let mut object = json!({"metadata": {}, "stringData": {"a": "b"}});
        kind.default(&mut object);
        assert_eq!(object["data"], json!({"a": "Yg=="}));
        assert!(object.get("stringData").is_none());
    }
}

//! `--config-file`: YAML or JSON with the flags' names, TLS in blocks of its own.

use serde_json::Value;

use super::settings::Settings;
use super::table::{FLAGS, Kind};

/// Names within a block of TLS options, and the flags they are, without `peer-`.
const SECURITY: &[(&str, &str)] = &[
    ("cert-file", "cert-file"),
    ("key-file", "key-file"),
    ("client-cert-file", "client-cert-file"),
    ("client-key-file", "client-key-file"),
    ("client-cert-auth", "client-cert-auth"),
    ("trusted-ca-file", "trusted-ca-file"),
    ("auto-tls", "auto-tls"),
    ("allowed-cn", "cert-allowed-cn"),
    ("allowed-cns", "cert-allowed-cn"),
    ("allowed-hostname", "cert-allowed-hostname"),
    ("allowed-hostnames", "cert-allowed-hostname"),
    ("skip-client-san-verification", "skip-client-san-verification"),
    ("crl-file", "crl-file"),
];

/// All settings of a file; keys that nobody knows are passed over, as etcd does.
pub fn read(path: &str) -> Result<Settings, String> {
    let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("open {path}: no such file or directory"),
        _ => format!("open {path}: {error}"),
    })?;
    parse(&text)
}

fn parse(text: &str) -> Result<Settings, String> {
    let mut settings = Settings::default();
    let value: Value = match text.trim() {
        "" => Value::Null,
        text => serde_saphyr::from_str(text)
            .map_err(|error| format!("error converting YAML to JSON: {error}"))?,
    };
    let Value::Object(members) = value else {
        return if value.is_null() {
            Ok(settings)
        } else {
            Err("the configuration is not a list of names and values".to_owned())
        };
    };
    for (key, value) in &members {
        match (key.as_str(), value) {
            (_, Value::Null) => {}
            // A flag alone; etcd's sample of a file has the value that the flag refuses.
            ("discovery-fallback", _) => {}
            ("client-transport-security", Value::Object(block)) => {
                security(&mut settings, "", block)?;
            }
            ("peer-transport-security", Value::Object(block)) => {
                security(&mut settings, "peer-", block)?;
            }
            ("peer-transport-security", _) => {
                return Err("invalid peer-transport-security".to_owned());
            }
            ("socket-options", Value::Object(block)) => {
                for (name, value) in block {
                    set(&mut settings, &format!("socket-{name}"), value)?;
                }
            }
            (key, value) => set(&mut settings, key, value)?,
        }
    }
    Ok(settings)
}

fn security(
    settings: &mut Settings,
    prefix: &str,
    block: &serde_json::Map<String, Value>,
) -> Result<(), String> {
    for (name, value) in block {
        let Some((_, flag)) = SECURITY.iter().find(|(key, _)| key == name) else { continue };
        let flag = match (prefix, *flag) {
            ("", flag @ ("cert-allowed-hostname" | "crl-file")) => format!("client-{flag}"),
            (prefix, flag) => format!("{prefix}{flag}"),
        };
        set(settings, &flag, value)?;
    }
    Ok(())
}

fn set(settings: &mut Settings, name: &str, value: &Value) -> Result<(), String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Bool(_) => value.to_string(),
        Value::Number(number) => {
            let is_time = FLAGS.iter().any(|flag| flag.name == name && flag.kind == Kind::Duration);
            // Times are nanoseconds there.
            if is_time { format!("{number}ns") } else { number.to_string() }
        }
        Value::Array(items) => items
            .iter()
            .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
            .collect::<Vec<_>>()
            .join(","),
        Value::Null | Value::Object(_) => return Ok(()),
    };
    match settings.set(name, &text) {
        Some(Err(error)) => Err(format!("invalid value {text:?} for {name}: {error}")),
        Some(Ok(())) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_k3s_is_read() {
        let settings = parse(
            "name: server-1\nheartbeat-interval: 500\nelection-timeout: 5000\n\
             listen-client-urls: https://127.0.0.1:2379,https://10.0.0.1:2379\n\
             advertise-client-urls: https://10.0.0.1:2379\nlogger: zap\nlog-outputs:\n- stderr\n\
             snapshot-count: 10000\nwatch-progress-notify-interval: 5000000000\nnobody: knows\n\
             socket-options:\n  reuse-address: true\n  reuse-port: true\n\
             client-transport-security:\n  cert-file: /c\n  key-file: /k\n  client-cert-auth: true\n\
             \x20 trusted-ca-file: /ca\n  allowed-hostnames: [a, b]\n\
             peer-transport-security:\n  cert-file: /pc\n  allowed-cn: one\n",
        )
        .unwrap();
        assert_eq!(settings.text("name"), "server-1");
        assert_eq!(settings.urls("listen-client-urls").len(), 2);
        assert_eq!(settings.duration("watch-progress-notify-interval").as_secs(), 5);
        assert_eq!(settings.list("log-outputs"), ["stderr"]);
        assert!(settings.is_on("socket-reuse-port") && settings.is_on("client-cert-auth"));
        assert_eq!(settings.text("peer-cert-file"), "/pc");
        assert_eq!(settings.list("peer-cert-allowed-cn"), ["one"]);
        assert_eq!(settings.list("client-cert-allowed-hostname"), ["a", "b"]);
        assert!(parse("- a\n- b\n").is_err());
        let of_sample = parse("discovery-fallback: 'proxy'\nproxy: 'off'\n").unwrap();
        assert_eq!(of_sample.text("discovery-fallback"), "exit");
        assert!(parse("").is_ok());
        assert!(parse("max-txn-ops: x").is_err());
    }
}

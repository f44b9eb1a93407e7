//! `ETCD_*` variables: a flag each; the command line wins.

use super::settings::{Note, Settings};
use super::table::FLAGS;

/// Sets what the command line did not; says what is used and what is not, and what is wrong.
// upstream: etcd v3, `flags.SetFlagsFromEnv`
pub fn apply(
    variables: &[(String, String)],
    settings: &mut Settings,
) -> (Vec<Note>, Option<String>) {
    let mut notes = Vec::new();
    let mut wrong = None;
    for (variable, text) in variables {
        let Some(rest) = variable.strip_prefix("ETCD_") else { continue };
        // What the etcd image and old scripts set.
        if variable == "ETCD_UNSUPPORTED_ARCH" || variable == "ETCD_VERSION" {
            continue;
        }
        let name = rest.to_ascii_lowercase().replace('_', "-");
        let known = FLAGS.iter().any(|flag| flag.name == name) || name.starts_with("experimental-");
        if known && settings.is_given(&name) {
            notes.push(Note {
                warns: true,
                message: "environment variable is shadowed by the corresponding command-line flag"
                    .to_owned(),
                field: Some(("environment-variable", variable.clone())),
            });
            continue;
        }
        if known && text.is_empty() {
            continue;
        }
        match settings.set(&name, text) {
            None => notes.push(Note {
                warns: true,
                message: "unrecognized environment variable".to_owned(),
                field: Some(("environment-variable", format!("{variable}={text}"))),
            }),
            Some(Err(error)) => {
                wrong = Some(format!("invalid value {text:?} for {variable}: {error}"));
            }
            Some(Ok(())) => notes.push(Note {
                warns: false,
                message: "recognized and used environment variable".to_owned(),
                field: Some(("variable-name", variable.clone())),
            }),
        }
    }
    (notes, wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_wins_and_the_unknown_warns() {
        let mut settings = Settings::default();
        settings.set("name", "line").unwrap().unwrap();
        let variables = [("ETCD_NAME", "env"), ("ETCD_MAX_TXN_OPS", "7"), ("ETCD_NOBODY", "x")];
        let variables: Vec<(String, String)> =
            variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let (notes, wrong) = apply(&variables, &mut settings);
        assert_eq!((settings.text("name"), wrong), ("line", None));
        assert_eq!(settings.number("max-txn-ops", 0u32), 7);
        assert_eq!(notes.iter().filter(|note| note.warns).count(), 2);
        let wrong = [("ETCD_MAX_TXN_OPS".to_owned(), "x".to_owned())];
        let (_, wrong) = apply(&wrong, &mut Settings::default());
        assert_eq!(wrong.as_deref(), Some("invalid value \"x\" for ETCD_MAX_TXN_OPS: parse error"));
    }
}

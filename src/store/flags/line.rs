//! The command line, read as Go's `flag` package reads it.

use super::environment;
use super::file;
use super::settings::{Note, Settings};
use super::table::{FLAGS, Kind, Named, find};

/// The program ends before it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// For standard output.
    pub out: String,
    /// For standard error.
    pub err: String,
    /// The exit code.
    pub code: u8,
}

const USAGE: &str = "Usage:\n\n  etcd [flags]\n    Run a member.\n\n  etcd --version\n    \
    Print the version.\n\n  etcd -h | --help\n    Print all flags.\n\n  etcd --config-file\n    \
    Path to a file that holds all flags; those of the command line and the environment are \
    ignored then.\n\n  etcd gateway\n    Forward TCP connections to the members' client ports.\n";

/// Values from the command line, the environment or a file; what is to be said about them; or why
/// there are none.
pub fn gather(
    arguments: &[String],
    variables: &[(String, String)],
) -> Result<(Settings, Vec<Note>, Option<String>), Ended> {
    let mut settings = Settings::default();
    if let Some(left) = read(arguments, &mut settings)? {
        return Ok((settings, Vec::new(), Some(format!("{left:?} is not a valid flag"))));
    }
    if settings.is_on("version") {
        return Err(Ended { out: version(), err: String::new(), code: 0 });
    }
    let from_environment =
        || variables.iter().find(|(name, _)| name == "ETCD_CONFIG_FILE").map(|(_, path)| path);
    let path = match settings.text("config-file") {
        "" => from_environment().cloned().unwrap_or_default(),
        path => path.to_owned(),
    };
    if path.is_empty() {
        let (notes, error) = environment::apply(variables, &mut settings);
        return Ok((settings, notes, error));
    }
    let note = Note {
        warns: false,
        message: "loaded server configuration, other configuration command line flags and \
                  environment variables will be ignored if provided"
            .to_owned(),
        field: Some(("path", path.clone())),
    };
    match file::read(&path) {
        Ok(settings) => Ok((settings, vec![note], None)),
        Err(error) => Ok((Settings::default(), vec![note], Some(error))),
    }
}

/// Reads the flags; what is left is the first argument that is none.
fn read(arguments: &[String], settings: &mut Settings) -> Result<Option<String>, Ended> {
    let wrong =
        |message: String| Ended { out: String::new(), err: format!("{message}\n{USAGE}"), code: 2 };
    let mut left = arguments.iter();
    while let Some(argument) = left.next() {
        if argument == "--" {
            return Ok(left.next().cloned());
        }
        let Some(flag) = argument.strip_prefix('-').filter(|rest| !rest.is_empty()) else {
            return Ok(Some(argument.clone()));
        };
        let flag = flag.strip_prefix('-').unwrap_or(flag);
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        if name.is_empty() || name.starts_with('-') {
            return Err(wrong(format!("bad flag syntax: {argument}")));
        }
        let is_bool = match find(name) {
            None if name == "help" || name == "h" => {
                return Err(Ended { out: help(), err: String::new(), code: 0 });
            }
            None => return Err(wrong(format!("flag provided but not defined: -{name}"))),
            Some(Named::Gate(_)) => true,
            // etcd's own ignored flags are truths.
            Some(Named::Flag(flag)) => matches!(flag.kind, Kind::Bool | Kind::Ignored),
        };
        let value = match value {
            Some(value) => value,
            None if is_bool => "true".to_owned(),
            None => match left.next() {
                Some(value) => value.clone(),
                None => return Err(wrong(format!("flag needs an argument: -{name}"))),
            },
        };
        if let Some(Err(error)) = settings.set(name, &value) {
            let message = match is_bool {
                true => format!("invalid boolean value {value:?} for -{name}: {error}"),
                false => format!("invalid value {value:?} for flag -{name}: {error}"),
            };
            return Err(wrong(message));
        }
    }
    Ok(None)
}

fn version() -> String {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!(
        "etcd Version: {}\nGit SHA: Not provided (use ./build instead of go build)\n\
         Go Version: none\nGo OS/Arch: {}/{arch}\nKeelson Version: {}\n",
        keelson_etcd_api::ETCD_VERSION,
        std::env::consts::OS,
        env!("CARGO_PKG_VERSION"),
    )
}

fn help() -> String {
    let mut out = format!("{USAGE}\nFlags:\n");
    for flag in FLAGS.iter().filter(|flag| flag.kind != Kind::Ignored) {
        out.push_str(&format!("  --{} '{}'\n    {}\n", flag.name, flag.default, flag.help));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Result<(Settings, Vec<Note>, Option<String>), Ended> {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        gather(&arguments, &[])
    }

    #[test]
    fn flags_have_one_dash_or_two_and_the_last_counts() {
        let (settings, _, error) =
            of("-name=a --name b -heartbeat-interval 50 --client-cert-auth -auto-tls=false -v")
                .unwrap();
        assert_eq!((error, settings.text("name")), (None, "b"));
        assert_eq!(settings.number("heartbeat-interval", 0u64), 50);
        assert!(settings.is_on("client-cert-auth") && !settings.is_on("auto-tls"));
        assert!(settings.is_given("auto-tls") && !settings.is_given("data-dir"));
    }

    // upstream: Go's flag package, exit code 2
    #[test]
    fn what_is_wrong_is_said_in_gos_words() {
        let said = |line: &str| {
            let ended = of(line).unwrap_err();
            assert_eq!(ended.code, 2);
            ended.err.lines().next().unwrap_or_default().to_owned()
        };
        assert_eq!(said("--nobody"), "flag provided but not defined: -nobody");
        assert_eq!(said("--name"), "flag needs an argument: -name");
        assert_eq!(said("---x"), "bad flag syntax: ---x");
        assert_eq!(
            said("--snapshot-count=x"),
            "invalid value \"x\" for flag -snapshot-count: parse error"
        );
        assert_eq!(said("--auto-tls=x"), "invalid boolean value \"x\" for -auto-tls: parse error");
        assert_eq!(
            said("--v2-deprecation not-yet"),
            "invalid value \"not-yet\" for flag -v2-deprecation: invalid value \"not-yet\""
        );
        let (_, _, error) = of("--name a stray").unwrap();
        assert_eq!(error.as_deref(), Some("\"stray\" is not a valid flag"));
        assert_eq!(of("--version").unwrap_err().code, 0);
        assert!(of("-h").unwrap_err().out.contains("--listen-client-urls"));
    }
}

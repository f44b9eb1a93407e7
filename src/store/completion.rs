//! `etcdutl completion`: a shell's script that knows the tools' names and flags.

use std::fmt::Write as _;

use clap::{Command, ValueEnum};

/// A shell.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Shell {
    /// GNU bash.
    Bash,
    /// Z shell, by its emulation of bash.
    Zsh,
    /// Fish.
    Fish,
}

impl Shell {
    /// What `etcdutl` takes, for this shell.
    pub fn script(self, tools: &Command) -> String {
        match self {
            Self::Bash => bash(tools),
            Self::Zsh => format!("autoload -U +X bashcompinit && bashcompinit\n{}", bash(tools)),
            Self::Fish => fish(tools),
        }
    }
}

/// Names of subcommands and flags, by the words that lead there.
fn words(command: &Command, path: &str, found: &mut Vec<(String, String)>) {
    let names = command.get_subcommands().map(|sub| sub.get_name().to_owned());
    let flags = command.get_arguments().filter_map(|flag| Some(format!("--{}", flag.get_long()?)));
    let all: Vec<String> = names.chain(flags).collect();
    found.push((path.to_owned(), all.join(" ")));
    for sub in command.get_subcommands() {
        words(sub, format!("{path} {}", sub.get_name()).trim_start(), found);
    }
}

fn bash(tools: &Command) -> String {
    let mut found = Vec::new();
    words(tools, "", &mut found);
    let mut text = String::from(
        "_etcdutl() {\n  local path= word\n  for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n    \
         case \"$word\" in -*) ;; *) path=\"${path:+$path }$word\" ;; esac\n  done\n  local words=\n  \
         case \"$path\" in\n",
    );
    // The longest first: a path also begins what follows it.
    for (path, words) in found.iter().rev() {
        let _never_fails = match path.is_empty() {
            true => writeln!(text, "    *) words=\"{words}\" ;;"),
            false => writeln!(text, "    \"{path}\"*) words=\"{words}\" ;;"),
        };
    }
    text.push_str(
        "  esac\n  COMPREPLY=($(compgen -W \"$words\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n}\n\
         complete -o default -F _etcdutl etcdutl\n",
    );
    text
}

fn fish(tools: &Command) -> String {
    let mut text = String::new();
    for tool in tools.get_subcommands() {
        let name = tool.get_name();
        let about = tool.get_about().map(ToString::to_string).unwrap_or_default();
        let about = about.replace('\'', "\\'");
        let _never_fails = writeln!(
            text,
            "complete -c etcdutl -f -n __fish_use_subcommand -a {name} -d '{about}'"
        );
        let below = tool.get_subcommands().map(|sub| format!("-f -a {}", sub.get_name()));
        let flags =
            tool.get_arguments().filter_map(|flag| Some(format!("-l {}", flag.get_long()?)));
        for what in below.chain(flags) {
            let _never_fails = writeln!(
                text,
                "complete -c etcdutl -n '__fish_seen_subcommand_from {name}' {what}"
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subcommands_and_flags_are_known() {
        let flag = clap::Arg::new("dir").long("dir");
        let restore = Command::new("restore").arg(flag).about("Doesn't matter.");
        let tools = Command::new("t").subcommand(Command::new("snapshot").subcommand(restore));
        let bash = Shell::Bash.script(&tools);
        let (deep, shallow) = (
            bash.find("\"snapshot restore\"*) words=\"--dir\"").unwrap(),
            bash.find("\"snapshot\"*) words=\"restore\"").unwrap(),
        );
        assert!(deep < shallow, "{bash}");
        assert!(Shell::Fish.script(&tools).contains("from snapshot' -f -a restore"));
    }
}

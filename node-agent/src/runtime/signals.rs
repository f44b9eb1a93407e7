//! Signals by CRI's numbers, by name, by Linux's numbers.

use keelson_proto::cri;

use crate::image::ImageRecord;

/// What asks a container to end: CRI's wish, else the image's, else SIGTERM.
pub(super) fn stop_signal(config: &cri::ContainerConfig, image: &ImageRecord) -> i32 {
    by_name(config.stop_signal().as_str_name())
        .or_else(|| by_name(image.run.stop_signal.as_deref()?))
        .unwrap_or(libc::SIGTERM)
}

/// Linux's number of a signal named with or without `SIG`, or written as a number.
fn by_name(name: &str) -> Option<i32> {
    if let Ok(number) = name.parse() {
        return (1..=64).contains(&number).then_some(number);
    }
    let name = name.to_ascii_uppercase();
    let bare = name.strip_prefix("SIG").unwrap_or(&name);
    let bare = bare.replace("PLUS", "+").replace("MINUS", "-");
    if let Some(rest) = bare.strip_prefix("RTMIN") {
        return real_time(34, rest);
    }
    if let Some(rest) = bare.strip_prefix("RTMAX") {
        return real_time(64, rest);
    }
    let alias = match bare.as_str() {
        "CLD" => "CHLD",
        "IOT" => "ABRT",
        "POLL" => "IO",
        other => other,
    };
    alias_number(alias)
}

fn real_time(base: i32, rest: &str) -> Option<i32> {
    let offset: i32 = if rest.is_empty() { 0 } else { rest.parse().ok()? };
    let number = base + offset;
    (34..=64).contains(&number).then_some(number)
}

fn alias_number(bare: &str) -> Option<i32> {
    let full = format!("SIG{bare}");
    full.parse::<nix::sys::signal::Signal>().ok().map(|signal| signal as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_numbers() {
        let check = |name: &str, number| assert_eq!(by_name(name), number, "{name}");
        check("SIGTERM", Some(15));
        check("quit", Some(3));
        check("9", Some(9));
        check("SIGRTMIN+3", Some(37));
        check("SIGRTMAXMINUS14", Some(50));
        check("SIGRTMINPLUS15", Some(49));
        check("SIGPOLL", Some(29));
        check("RUNTIME_DEFAULT", None);
        check("SIGRTMAX+1", None);
    }
}

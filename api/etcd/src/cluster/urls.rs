//! Peer URLs as they may be given.

use http::Uri;

use crate::error::FaceError;

/// The URLs, sorted; each a scheme, a host and a port, and nothing else, or a unix socket.
// upstream: etcd v3.7 `types.NewURLs`
pub(super) fn checked(urls: Vec<String>) -> Result<Vec<String>, FaceError> {
    let mut urls: Vec<String> = urls.iter().map(|url| url.trim().to_owned()).collect();
    if urls.is_empty() || !urls.iter().all(|url| is_peer_url(url)) {
        return Err(FaceError::BadMemberUrls);
    }
    urls.sort();
    Ok(urls)
}

fn is_peer_url(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else { return false };
    if matches!(scheme, "unix" | "unixs") {
        return !rest.is_empty();
    }
    if !matches!(scheme, "http" | "https") || rest.contains(['/', '?', '#', '@']) {
        return false;
    }
    let Ok(uri) = url.parse::<Uri>() else { return false };
    uri.port_u16().is_some() && uri.host().is_some_and(|host| !host.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_a_scheme_a_host_and_a_port() {
        let checked = |urls: &[&str]| checked(urls.iter().map(|&url| url.to_owned()).collect());
        let good = checked(&["http://b:2", " https://[::1]:1 ", "http://127.0.0.1:3"]);
        assert_eq!(checked(&["unix://localhost:1"]).unwrap(), ["unix://localhost:1"]);
        assert_eq!(good.unwrap(), ["http://127.0.0.1:3", "http://b:2", "https://[::1]:1"]);
        for bad in [
            &[][..],
            &[""],
            &["b:2"],
            &["ftp://b:2"],
            &["http://b"],
            &["http://:2"],
            &["http://b:2/path"],
            &["http://b:99999"],
            &["http://b:2", "http://"],
        ] {
            assert!(matches!(checked(bad), Err(FaceError::BadMemberUrls)), "{bad:?}");
        }
    }
}

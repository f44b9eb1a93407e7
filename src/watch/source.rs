//! The members, one of which tells; another does when it fails.

use std::path::Path;
use std::time::{Duration, Instant};

use keelson_client::GrpcStoreConfig;

use super::cursor::Position;
use super::ended::Ended;
use super::options::Options;
use super::stream::{ANSWER_LIMIT, Fault, Keys, Member, Stream};

/// Before members are asked again that have all failed; grows to the second.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// How to come by a stream.
pub struct Source {
    members: Vec<GrpcStoreConfig>,
    /// The one to ask next.
    at: usize,
    user: Option<(String, String)>,
    /// Known once somebody has told.
    cluster: Option<u64>,
    patience: Option<Duration>,
    quiet: bool,
    /// Since when nobody is of use, what was said last, and the pause that follows.
    failing: Option<Failing>,
}

struct Failing {
    since: Instant,
    times: usize,
    last: String,
    pause: Duration,
}

impl Source {
    /// By what the command line says.
    pub fn new(options: &Options) -> Result<Self, Ended> {
        let read = |path: &Path| {
            std::fs::read(path)
                .map_err(|error| Ended::Wrong(format!("read {}: {error}", path.display())))
        };
        let ca_pem = options.cacert.as_deref().map(read).transpose()?;
        let identity_pem = match (&options.cert, &options.key) {
            (Some(cert), Some(key)) => Some((read(cert)?, read(key)?)),
            _ => None,
        };
        let mut members = Vec::new();
        for endpoint in &options.endpoints {
            let url = url(endpoint, ca_pem.is_some())?;
            members.push(GrpcStoreConfig {
                endpoints: vec![url],
                ca_pem: ca_pem.clone(),
                identity_pem: identity_pem.clone(),
                connections: 1,
            });
        }
        let user = match (&options.user, &options.password_file) {
            (None, _) => None,
            (Some(name), Some(file)) => {
                let text = String::from_utf8_lossy(&read(file)?).into_owned();
                let password = text.lines().next().unwrap_or_default().to_owned();
                Some((name.clone(), password))
            }
            (Some(both), None) => match both.split_once(':') {
                Some((name, password)) => Some((name.to_owned(), password.to_owned())),
                None => {
                    let what = format!(
                        "--user {both}: a password is needed: {both}:PASSWORD, or \
                                        --password-file"
                    );
                    return Err(Ended::Wrong(what));
                }
            },
        };
        Ok(Self {
            members,
            at: 0,
            user,
            cluster: None,
            patience: options.patience,
            quiet: options.quiet,
            failing: None,
        })
    }

    /// The cluster that a position is of.
    pub fn expect(&mut self, cluster: u64) {
        self.cluster = Some(cluster);
    }

    /// Whether this is the cluster that is watched; the first that tells is.
    pub fn is_of(&mut self, endpoint: &str, found: u64) -> Result<(), Ended> {
        let wanted = *self.cluster.get_or_insert(found);
        if wanted == found {
            return Ok(());
        }
        Err(Ended::OtherCluster { endpoint: endpoint.to_owned(), found, wanted })
    }

    /// A stream from this position on, at whoever is of use. `seen`: the store has shown what comes
    /// before the position.
    pub async fn open(
        &mut self,
        keys: &Keys,
        position: Position,
        seen: bool,
    ) -> Result<Result<Stream, i64>, Ended> {
        loop {
            let opened = tokio::time::timeout(ANSWER_LIMIT, self.try_open(keys, position, seen));
            let fault = match opened.await {
                Err(_) => Fault::Away("no answer".to_owned()),
                Ok(Err(ended)) => return Err(ended),
                Ok(Ok(Err(fault))) => fault,
                Ok(Ok(Ok(stream))) => {
                    self.is_well(&stream.member.endpoint);
                    return Ok(Ok(stream));
                }
            };
            if let Some(oldest) = self.failed(fault).await? {
                return Ok(Err(oldest));
            }
        }
    }

    /// The member to ask next, connected to.
    pub async fn member(&mut self) -> Result<Member, Ended> {
        loop {
            let config = &self.members[self.at];
            let connected = Member::connect(config, self.user.as_ref());
            let fault = match tokio::time::timeout(ANSWER_LIMIT, connected).await {
                Err(_) => Fault::Away("no answer".to_owned()),
                Ok(Ok(member)) => return Ok(member),
                Ok(Err(fault)) => fault,
            };
            self.failed(fault).await?;
        }
    }

    /// The present member failed: the next one's turn, after a pause once all have had theirs. The
    /// oldest revision, if it is none of its faults that something is compacted.
    pub async fn failed(&mut self, fault: Fault) -> Result<Option<i64>, Ended> {
        let endpoint = self.endpoint();
        let why = match fault {
            Fault::Compacted(oldest) => return Ok(Some(oldest)),
            Fault::Refused(message) => return Err(Ended::Refused { endpoint, message }),
            Fault::Token(message) if self.user.is_none() => {
                return Err(Ended::Refused { endpoint, message });
            }
            Fault::Away(why) | Fault::Token(why) => why,
        };
        let what = format!("{endpoint}: {why}");
        let pause = PAUSE.0;
        let failing = self.failing.get_or_insert_with(|| Failing {
            since: Instant::now(),
            times: 0,
            last: String::new(),
            pause,
        });
        failing.times += 1;
        if failing.times <= self.members.len() && !self.quiet {
            eprintln!("keelson watch: {what}");
        }
        failing.last = what;
        let down = failing.since.elapsed();
        if let Some(patience) = self.patience
            && down >= patience
        {
            let last = failing.last.clone();
            return Err(Ended::NobodyThere { seconds: down.as_secs(), last });
        }
        self.at = (self.at + 1) % self.members.len();
        if failing.times.is_multiple_of(self.members.len()) {
            let left = self.patience.map_or(failing.pause, |patience| patience - down);
            tokio::time::sleep(failing.pause.min(left)).await;
            failing.pause = (failing.pause * 2).min(PAUSE.1);
        }
        Ok(None)
    }

    /// The member to ask next.
    pub fn endpoint(&self) -> String {
        self.members[self.at].endpoints.first().cloned().unwrap_or_default()
    }

    fn is_well(&mut self, endpoint: &str) {
        if self.failing.take().is_some() && !self.quiet {
            eprintln!("keelson watch: goes on at {endpoint}");
        }
    }

    async fn try_open(
        &mut self,
        keys: &Keys,
        position: Position,
        seen: bool,
    ) -> Result<Result<Stream, Fault>, Ended> {
        let config = &self.members[self.at];
        let member = match Member::connect(config, self.user.as_ref()).await {
            Ok(member) => member,
            Err(fault) => return Ok(Err(fault)),
        };
        let stream = match member.watch(keys, position.next_revision).await {
            Ok(stream) => stream,
            Err(fault) => return Ok(Err(fault)),
        };
        self.is_of(&stream.member.endpoint, stream.cluster)?;
        let before = position.next_revision - 1;
        // A member that is cut off may not know it. One that is late is none the worse for it, as long
        // as the store is not.
        match stream.member.revision(keys).await {
            Ok(store) if seen && store < before => Err(Ended::Behind { store, seen: before }),
            Ok(_) => Ok(Ok(stream)),
            Err(fault) => Ok(Err(fault)),
        }
    }
}

fn url(endpoint: &str, secure: bool) -> Result<String, Ended> {
    let wrong = |why: &str| Ended::Wrong(format!("endpoint {endpoint:?}: {why}"));
    let url = match endpoint.split_once("://") {
        Some(("http" | "https", _)) => endpoint.to_owned(),
        Some((scheme, _)) => return Err(wrong(&format!("{scheme} is neither http nor https"))),
        None => format!("{}://{endpoint}", if secure { "https" } else { "http" }),
    };
    if url.starts_with("https://") && !secure {
        return Err(wrong("an https endpoint needs --cacert"));
    }
    let uri: http::Uri = url.parse().map_err(|_| wrong("it is no URL"))?;
    if uri.host().is_none_or(str::is_empty) {
        return Err(wrong("it has no host"));
    }
    if uri.path().len() > 1 {
        return Err(wrong("it has a path"));
    }
    Ok(match uri.port() {
        Some(_) => url,
        None => format!("{}:2379", url.trim_end_matches('/')),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_may_be_urls_or_addresses() {
        for (given, secure, expected) in [
            ("http://127.0.0.1:2379", false, "http://127.0.0.1:2379"),
            ("127.0.0.1:2379", false, "http://127.0.0.1:2379"),
            ("m1", false, "http://m1:2379"),
            ("m1:1", true, "https://m1:1"),
            ("https://[::1]/", true, "https://[::1]:2379"),
        ] {
            assert_eq!(url(given, secure).unwrap(), expected);
        }
        for (given, words) in [
            ("ftp://a", "ftp"),
            ("https://a", "--cacert"),
            ("", "no"),
            ("a b", "no URL"),
            ("a/b", "a path"),
        ] {
            let error = url(given, false).unwrap_err().to_string();
            assert!(error.contains(words), "{given}: {error}");
        }
    }
}

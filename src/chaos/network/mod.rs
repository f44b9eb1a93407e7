//! The network between members: for each directed link, whether it is cut and how it is disturbed.

mod namespaces;
mod proxies;
mod sources;

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use namespaces::Namespaces;
use proxies::Proxies;

/// How a link is from one member to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Link {
    /// Nothing comes through.
    pub cut: bool,
    /// Everything comes so much later.
    pub delay: Duration,
    /// So many packets of a hundred are lost.
    pub loss_percent: u32,
}

impl Link {
    /// Whether it is as it should be.
    pub fn is_good(&self) -> bool {
        *self == Self::default()
    }

    /// Both disturbances at once.
    pub fn and(self, other: Self) -> Self {
        Self {
            cut: self.cut || other.cut,
            delay: self.delay.max(other.delay),
            loss_percent: self.loss_percent.max(other.loss_percent),
        }
    }
}

/// `links[from][to]`.
pub type Links = Vec<Vec<Link>>;

/// Links between so many members, all good.
pub fn good(members: usize) -> Links {
    vec![vec![Link::default(); members]; members]
}

/// Where a member listens, and where others find it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// For clients.
    pub client: String,
    /// For other members: where it listens.
    pub peer_listen: String,
    /// For other members: where they find it.
    pub peer: String,
    /// Host and port of its failpoints.
    pub failpoints: String,
}

/// How members reach one another.
pub enum Network {
    /// Each in a namespace of its own.
    Namespaces(Namespaces),
    /// All on loopback, each behind a proxy.
    Proxies(Proxies),
}

impl Network {
    /// A network of its own for each of so many members. Needs root.
    pub fn namespaces(members: usize) -> Result<Self> {
        Ok(Self::Namespaces(Namespaces::new(members)?))
    }

    /// A proxy on loopback before each of so many members.
    pub async fn proxies(members: usize) -> Result<Self> {
        Ok(Self::Proxies(Proxies::new(members).await?))
    }

    /// Where a member is.
    pub fn addresses(&self, member: usize) -> Addresses {
        match self {
            Self::Namespaces(namespaces) => namespaces.addresses(member),
            Self::Proxies(proxies) => proxies.addresses(member),
        }
    }

    /// A command that runs where the member is.
    pub fn command(&self, member: usize, program: &std::path::Path) -> Command {
        match self {
            Self::Namespaces(namespaces) => namespaces.command(member, program),
            Self::Proxies(_) => Command::new(program),
        }
    }

    /// Who has been started as a member.
    pub fn started(&self, member: usize, pid: u32) {
        match self {
            Self::Namespaces(_) => {}
            Self::Proxies(proxies) => proxies.started(member, pid),
        }
    }

    /// Makes all links so.
    pub fn set(&self, links: &Links) -> Result<()> {
        match self {
            Self::Namespaces(namespaces) => namespaces.set(links),
            Self::Proxies(proxies) => {
                proxies.set(links);
                Ok(())
            }
        }
    }
}

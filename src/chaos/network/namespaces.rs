//! A network namespace for each member, routed by the namespace of the run: real addresses, and
//! packets that the kernel drops on their way. All of it goes with the run's own namespaces.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::{Addresses, Links};

/// One namespace a member.
pub struct Namespaces {
    members: usize,
}

impl Namespaces {
    /// Makes them.
    pub fn new(members: usize) -> Result<Self> {
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("switch forwarding on")?;
        // `ip netns` keeps its names there; they are this run's alone.
        let none: Option<&str> = None;
        let kind = Some("tmpfs");
        std::fs::create_dir_all("/run/netns").context("make /run/netns")?;
        nix::mount::mount(kind, "/run/netns", kind, nix::mount::MsFlags::empty(), none)
            .context("mount /run/netns")?;
        for member in 0..members {
            let name = name(member);
            let inside = format!("{}/24", address(member));
            let (gateway, outside) = (gateway(member), format!("{}/24", gateway(member)));
            let peer = ["peer", "name", "eth0", "netns", &name];
            ip(&["netns", "add", &name])?;
            ip(&[&["link", "add", &name, "type", "veth"][..], &peer].concat())?;
            ip(&["addr", "add", &outside, "dev", &name])?;
            ip(&["link", "set", &name, "up"])?;
            ip(&["-n", &name, "addr", "add", &inside, "dev", "eth0"])?;
            ip(&["-n", &name, "link", "set", "lo", "up"])?;
            ip(&["-n", &name, "link", "set", "eth0", "up"])?;
            ip(&["-n", &name, "route", "add", "default", "via", &gateway])?;
        }
        Ok(Self { members })
    }

    /// Where a member is.
    pub fn addresses(&self, member: usize) -> Addresses {
        let host = address(member);
        let peer = format!("http://{host}:2380");
        Addresses {
            client: format!("http://{host}:2379"),
            peer_listen: peer.clone(),
            peer,
            failpoints: format!("{host}:22381"),
        }
    }

    /// A command that runs where the member is.
    pub fn command(&self, member: usize, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &name(member)]).arg(program);
        command
    }

    /// Makes all links so; delays need proxies.
    pub fn set(&self, links: &Links) -> Result<()> {
        let mut rules = String::from(
            "table ip chaos\ndelete table ip chaos\n\
             table ip chaos { chain forward { type filter hook forward priority 0;\n",
        );
        for (from, row) in links.iter().enumerate().take(self.members) {
            for (to, link) in row.iter().enumerate() {
                let (from, to) = (address(from), address(to));
                ensure!(link.delay.is_zero(), "delays need --network proxies");
                if link.cut {
                    rules.push_str(&format!("ip saddr {from} ip daddr {to} drop\n"));
                } else if link.loss_percent > 0 {
                    let percent = link.loss_percent;
                    let lost = format!("numgen random mod 100 < {percent} drop");
                    rules.push_str(&format!("ip saddr {from} ip daddr {to} {lost}\n"));
                }
            }
        }
        rules.push_str("}\n}\n");
        let mut nft = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn();
        let nft = nft.as_mut().map_err(|error| anyhow::anyhow!("run nft: {error}"))?;
        if let Some(mut input) = nft.stdin.take() {
            input.write_all(rules.as_bytes())?;
        }
        ensure!(nft.wait()?.success(), "nft refused:\n{rules}");
        Ok(())
    }
}

fn name(member: usize) -> String {
    format!("m{member}")
}

fn address(member: usize) -> String {
    format!("10.213.{member}.2")
}

fn gateway(member: usize) -> String {
    format!("10.213.{member}.1")
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().context("run ip (iproute2)")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {}: {}", arguments.join(" "), said.trim());
    Ok(())
}

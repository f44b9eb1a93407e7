//! Addresses and ranges: `ip(…)`, `cidr(…)`.

use std::net::IpAddr;

use ipnet::IpNet;

use super::super::eval::Evaluation;
use super::super::value::Value;
use super::{Answer, EvalError, failed};

fn ip(text: &str) -> Result<IpAddr, EvalError> {
    let bad = || failed(format!("IP Address {text:?} parse error during conversion from string"));
    let ip: IpAddr = text.parse().map_err(|_| bad())?;
    // An IPv4 address in IPv6's clothes is refused.
    match ip {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            Err(failed(format!("IPv4-mapped IPv6 address {text:?} is not allowed")))
        }
        ip => Ok(ip),
    }
}

fn cidr(text: &str) -> Result<IpNet, EvalError> {
    text.parse().map_err(|_| {
        failed(format!("network address parse error during conversion from string: {text:?}"))
    })
}

pub(super) fn call(cx: &mut Evaluation<'_>, function: &str, values: &[Value]) -> Answer {
    let [first] = values else { return None };
    let answer = match (function, first) {
        ("ip", Value::Text(text)) => ip(text).map(Value::Ip),
        ("isIP", Value::Text(text)) => Ok(Value::Bool(ip(text).is_ok())),
        ("ip.isCanonical", Value::Text(text)) => {
            ip(text).map(|ip| Value::Bool(ip.to_string() == **text))
        }
        ("cidr", Value::Text(text)) => cidr(text).map(Value::Cidr),
        ("isCIDR", Value::Text(text)) => Ok(Value::Bool(cidr(text).is_ok())),
        ("string", Value::Ip(ip)) => Ok(Value::from(ip.to_string())),
        ("string", Value::Cidr(net)) => Ok(Value::from(net.to_string())),
        _ => return None,
    };
    let read = match first {
        Value::Text(text) => cx.traverse(text.len() as u64, 0.1),
        _ => cx.spend(1),
    };
    Some(read.and(answer))
}

pub(super) fn member(cx: &mut Evaluation<'_>, function: &str, values: &[Value]) -> Answer {
    let answer = match values {
        [Value::Ip(ip)] => of_ip(function, *ip)?,
        [Value::Cidr(net)] => match function {
            "ip" => Ok(Value::Ip(net.addr())),
            "prefixLength" => Ok(Value::Int(i64::from(net.prefix_len()))),
            "masked" => Ok(Value::Cidr(net.trunc())),
            _ => return None,
        },
        [Value::Cidr(net), other] if function == "containsIP" => match other {
            Value::Ip(ip) => Ok(Value::Bool(net.contains(ip))),
            Value::Text(text) => ip(text).map(|ip| Value::Bool(net.contains(&ip))),
            _ => return None,
        },
        [Value::Cidr(net), other] if function == "containsCIDR" => match other {
            Value::Cidr(other) => Ok(Value::Bool(net.contains(other))),
            Value::Text(text) => cidr(text).map(|other| Value::Bool(net.contains(&other))),
            _ => return None,
        },
        _ => return None,
    };
    Some(cx.spend(1).and(answer))
}

fn of_ip(function: &str, ip: IpAddr) -> Option<Result<Value, EvalError>> {
    let is = match (function, ip) {
        ("family", IpAddr::V4(_)) => return Some(Ok(Value::Int(4))),
        ("family", IpAddr::V6(_)) => return Some(Ok(Value::Int(6))),
        ("isUnspecified", ip) => ip.is_unspecified(),
        ("isLoopback", ip) => ip.is_loopback(),
        ("isLinkLocalMulticast", IpAddr::V4(ip)) => ip.octets()[..3] == [224, 0, 0],
        ("isLinkLocalMulticast", IpAddr::V6(ip)) => ip.segments()[0] & 0xff0f == 0xff02,
        ("isLinkLocalUnicast", IpAddr::V4(ip)) => ip.is_link_local(),
        ("isLinkLocalUnicast", IpAddr::V6(ip)) => ip.segments()[0] & 0xffc0 == 0xfe80,
        ("isGlobalUnicast", ip) => {
            let link_local = match ip {
                IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
                IpAddr::V6(ip) => ip.segments()[0] & 0xffc0 == 0xfe80,
            };
            !ip.is_unspecified() && !ip.is_loopback() && !ip.is_multicast() && !link_local
        }
        _ => return None,
    };
    Some(Ok(Value::Bool(is)))
}

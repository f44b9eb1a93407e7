//! Services and what stands behind them.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::cells::{age, count, first_three, items, labels, name, text, text_or};
use crate::table::{AGE, Column, NAME, Printer};

pub(crate) static SERVICE: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Type"),
        Column::text("Cluster-IP"),
        Column::text("External-IP"),
        Column::text("Port(s)"),
        AGE,
        Column::text("Selector").wide(),
    ],
    cells: |service, now| {
        let first = text(service, "/spec/clusterIPs/0");
        let cluster_ip =
            if first.is_empty() { text_or(service, "/spec/clusterIP", "<none>") } else { first };
        vec![
            name(service),
            json!(text(service, "/spec/type")),
            json!(cluster_ip),
            json!(external_ip(service)),
            json!(ports(service)),
            age(service, now),
            json!(labels(service.pointer("/spec/selector"))),
        ]
    },
};

pub(crate) static ENDPOINTS: Printer = Printer {
    columns: &[NAME, Column::text("Endpoints"), AGE],
    cells: |endpoints, now| {
        vec![
            name(endpoints),
            json!(first_three(&addresses(endpoints), "<none>")),
            age(endpoints, now),
        ]
    },
};

pub(crate) static ENDPOINT_SLICE: Printer = Printer {
    columns: &[
        NAME,
        Column::text("AddressType"),
        Column::text("Ports"),
        Column::text("Endpoints"),
        AGE,
    ],
    cells: endpoint_slice,
};

pub(crate) static INGRESS: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Class"),
        Column::text("Hosts"),
        Column::text("Address"),
        Column::text("Ports"),
        AGE,
    ],
    cells: |ingress, now| {
        let hosts: Vec<String> = items(ingress, "/spec/rules")
            .map(|r| text(r, "/host").to_owned())
            .filter(|h| !h.is_empty())
            .collect();
        let tls = items(ingress, "/spec/tls").next().is_some();
        vec![
            name(ingress),
            json!(text_or(ingress, "/spec/ingressClassName", "<none>")),
            json!(first_three(&hosts, "*")),
            json!(load_balancer(ingress)),
            json!(if tls { "80, 443" } else { "80" }),
            age(ingress, now),
        ]
    },
};

fn external_ip(service: &Value) -> String {
    let mut given: Vec<&str> =
        items(service, "/spec/externalIPs").filter_map(Value::as_str).collect();
    match text(service, "/spec/type") {
        "ClusterIP" | "NodePort" if given.is_empty() => "<none>".to_owned(),
        "ClusterIP" | "NodePort" => given.join(","),
        "LoadBalancer" => {
            let balancer = load_balancer(service);
            if !balancer.is_empty() {
                given.insert(0, &balancer);
            }
            if given.is_empty() { "<pending>".to_owned() } else { given.join(",") }
        }
        "ExternalName" => text(service, "/spec/externalName").to_owned(),
        _ => "<unknown>".to_owned(),
    }
}

fn load_balancer(object: &Value) -> String {
    let all: BTreeSet<&str> = items(object, "/status/loadBalancer/ingress")
        .map(|i| text_or(i, "/ip", text(i, "/hostname")))
        .filter(|a| !a.is_empty())
        .collect();
    all.into_iter().collect::<Vec<_>>().join(",")
}

fn ports(service: &Value) -> String {
    let all: Vec<String> = items(service, "/spec/ports")
        .map(|p| {
            let (port, protocol) = (count(p, "/port"), text(p, "/protocol"));
            match count(p, "/nodePort") {
                0 => format!("{port}/{protocol}"),
                node => format!("{port}:{node}/{protocol}"),
            }
        })
        .collect();
    if all.is_empty() { "<none>".to_owned() } else { all.join(",") }
}

fn addresses(endpoints: &Value) -> Vec<String> {
    let mut all = Vec::new();
    for subset in items(endpoints, "/subsets") {
        let ips = || items(subset, "/addresses").map(|a| text(a, "/ip"));
        let mut ports = items(subset, "/ports").peekable();
        if ports.peek().is_none() {
            all.extend(ips().map(str::to_owned));
        }
        for port in ports {
            let port = count(port, "/port");
            all.extend(ips().map(|ip| match ip.contains(':') {
                true => format!("[{ip}]:{port}"),
                false => format!("{ip}:{port}"),
            }));
        }
    }
    all
}

fn endpoint_slice(slice: &Value, now: Timestamp) -> Vec<Value> {
    let ports: Vec<String> = items(slice, "/ports")
        .map(|p| match p["port"].as_i64() {
            Some(port) => port.to_string(),
            None => text_or(p, "/name", "*").to_owned(),
        })
        .collect();
    let endpoints: Vec<String> = items(slice, "/endpoints")
        .flat_map(|e| items(e, "/addresses"))
        .filter_map(|a| a.as_str().map(str::to_owned))
        .collect();
    vec![
        name(slice),
        json!(text(slice, "/addressType")),
        json!(first_three(&ports, "<unset>")),
        json!(first_three(&endpoints, "<unset>")),
        age(slice, now),
    ]
}

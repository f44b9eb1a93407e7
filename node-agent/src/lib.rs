//! Pods on one machine: CRI, network, volumes, probes, kubelet API.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod agent;
mod connection;
pub mod dns;
pub mod image;
mod kubelet_api;
pub mod network;
mod node;
mod pods;
mod probes;
pub mod proxy;
pub mod runtime;
pub mod sys;
mod volumes;

pub use agent::{Agent, AgentConfig, CriClients, StartError, tear_down_volumes};

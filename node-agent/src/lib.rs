//! Pods on one machine: CRI, network, volumes, probes, kubelet API.

pub mod network;

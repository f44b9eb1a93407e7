//! The kernel calls that no safe wrapper offers: the only folder of the project with `unsafe`.
#![allow(unsafe_code)]

pub mod attributes;
pub mod fds;
pub mod memory;
pub mod network;
pub mod process;
pub mod terminal;

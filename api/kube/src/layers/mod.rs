//! The layers a request passes before its verb, in this order.

pub(crate) mod audit_id;
pub(crate) mod authentication;
pub(crate) mod authorization;
pub(crate) mod impersonation;

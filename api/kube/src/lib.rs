//! Everything between a Kubernetes HTTP request and a store transaction.

pub mod decode;
pub mod defaulting;
pub mod discovery;
pub mod facts;
pub mod kinds;
pub mod openapi;
pub mod patch;
pub mod selectors;
pub mod table;
pub mod validation;

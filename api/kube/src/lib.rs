//! Everything between a Kubernetes HTTP request and a store transaction.

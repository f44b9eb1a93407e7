//! The store client trait and its gRPC implementation.

//! Starts the built binary and its peers for the tests: processes, clients, images.

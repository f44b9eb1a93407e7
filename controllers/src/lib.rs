//! The controllers, one a file, and the runtime they share.

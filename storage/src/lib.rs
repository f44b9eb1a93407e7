//! One machine's store: WAL, MVCC, leases, watch hub.

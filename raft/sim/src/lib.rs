//! A whole cluster, its clients and faults from one seed.

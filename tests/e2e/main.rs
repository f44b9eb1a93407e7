//! The built binary, driven end to end by clients that nobody here wrote.

mod bad_input;
mod kill_run;
mod kubectl_changes;
mod kubectl_ends;
mod kubectl_session;
mod kubectl_tools;
mod kubectl_views;
mod life;
mod membership;
mod pods_given;
mod pods_life;
mod pods_reasons;
mod pods_streams;
mod rubbish;
mod scheduling;
mod store_clients;
mod store_failpoints;
mod store_flags;
mod store_gateway;
mod store_http;
mod store_leases;
mod store_migration;
mod store_tls;
mod store_tools;
mod survival;
mod three_members;

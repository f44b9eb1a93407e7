//! The kubeconfig file: where the API server is and who its reader is.

use std::path::Path;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::pki::{Pair, write_file};

/// Writes a kubeconfig with one cluster, one user and one context, readable by the owner only.
pub fn write(path: &Path, server: &str, ca: &Pair, user: &str, identity: &Pair) -> Result<()> {
    let text = format!(
        "apiVersion: v1\n\
         kind: Config\n\
         clusters:\n\
         - name: keelson\n  cluster:\n    server: {server}\n    certificate-authority-data: {ca}\n\
         users:\n\
         - name: {user}\n  user:\n    client-certificate-data: {certificate}\n    client-key-data: {key}\n\
         contexts:\n\
         - name: keelson\n  context:\n    cluster: keelson\n    user: {user}\n\
         current-context: keelson\n",
        ca = STANDARD.encode(&ca.certificate),
        certificate = STANDARD.encode(&identity.certificate),
        key = STANDARD.encode(&identity.key),
    );
    write_file(path, text.as_bytes(), 0o600)
}

//! Hands a batch of nftables commands to `nft -f -`: one batch is one transaction.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::api::PodNetworkError;

/// Why a batch was not applied. Nothing of it is in force then.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// The tool is missing or could not be started.
    #[error("cannot run nft (Debian package nftables): {0}")]
    Start(std::io::Error),
    /// The kernel or the tool refused the batch.
    #[error("nft refused the rules: {0}")]
    Refused(String),
}

/// The nftables tool.
#[derive(Clone, Debug, Default)]
pub(crate) struct Nft;

impl Nft {
    /// Applies the batch in one transaction. An empty batch costs nothing.
    pub(crate) async fn apply(&self, batch: &str) -> Result<(), NftError> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut child = Command::new("nft")
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(NftError::Start)?;
        if let Some(mut stdin) = child.stdin.take() {
            // A tool that stops reading has said why on its standard error.
            let _ = stdin.write_all(batch.as_bytes()).await;
        }
        let output = child.wait_with_output().await.map_err(NftError::Start)?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let first: Vec<&str> = said.lines().take(SAID_LINES_MAX).collect();
        Err(NftError::Refused(first.join("; ")))
    }
}

/// Lines of the tool's complaint that go into an error.
const SAID_LINES_MAX: usize = 4;

impl From<NftError> for PodNetworkError {
    fn from(error: NftError) -> Self {
        Self::Nftables(error.to_string())
    }
}

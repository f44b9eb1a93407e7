//! The last step into a container: finding the program and becoming it.

use std::ffi::CString;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{
    Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError,
};
use nix::unistd::AccessFlags;

use crate::sys::process::exec;

/// libcontainer's executor of ours: the environment exactly as the specification has it, errors in
/// the words that users of containers know, and a failed `execve` reported instead of lost.
#[derive(Clone)]
pub(super) struct Payload {
    report: Rc<OwnedFd>,
}

impl Payload {
    /// `report` is the writing end of a pipe that closes on exec.
    pub(super) fn new(report: OwnedFd) -> Self {
        Self { report: Rc::new(report) }
    }
}

impl Executor for Payload {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let (args, env) = words(spec);
        let error = run(&args, &env);
        if let Ok(fd) = self.report.as_fd().try_clone_to_owned() {
            // The exit code tells what this line cannot.
            let _ = File::from(fd).write_all(error.as_bytes());
        }
        Err(ExecutorError::Other(error))
    }

    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        let (args, env) = words(spec);
        find(&args, &env).map(drop).map_err(ExecutorValidationError::ArgValidationError)
    }

    fn setup_envs(
        &self,
        _: std::collections::HashMap<String, String>,
    ) -> Result<(), ExecutorSetEnvsError> {
        Ok(()) // given to execve as it stands in the specification
    }
}

fn words(spec: &Spec) -> (Vec<String>, Vec<String>) {
    let process = spec.process().as_ref();
    let args = process.and_then(|process| process.args().clone()).unwrap_or_default();
    let env = process.and_then(|process| process.env().clone()).unwrap_or_default();
    (args, env)
}

/// Replaces this process by the program; returns only to say why it could not.
pub(super) fn run(args: &[String], env: &[String]) -> String {
    let path = match find(args, env) {
        Ok(path) => path,
        Err(error) => return error,
    };
    let c = |text: &String| CString::new(text.as_bytes()).unwrap_or_default();
    let args: Vec<CString> = args.iter().map(c).collect();
    let env: Vec<CString> = env.iter().map(c).collect();
    let shown = path.display().to_string();
    let path = CString::new(shown.as_bytes()).unwrap_or_default();
    let error = exec(&path, &args, &env);
    format!("exec {shown}: {}", plain(&error))
}

/// Where the program is, looked up as a shell would.
fn find(args: &[String], env: &[String]) -> Result<PathBuf, String> {
    let Some(name) = args.first().filter(|name| !name.is_empty()) else {
        return Err("no command specified".to_owned());
    };
    if name.contains('/') {
        let path = Path::new(name);
        return match std::fs::metadata(path) {
            Err(error) => Err(format!("exec: \"{name}\": stat {name}: {}", plain(&error))),
            Ok(found) if found.is_dir() => Err(format!("exec: \"{name}\": is a directory")),
            Ok(_) if !executable(path) => Err(format!("exec: \"{name}\": permission denied")),
            Ok(_) => Ok(path.to_owned()),
        };
    }
    let paths = env.iter().rev().find_map(|pair| pair.strip_prefix("PATH=")).unwrap_or("");
    paths
        .split(':')
        .map(|folder| Path::new(if folder.is_empty() { "." } else { folder }).join(name))
        .find(|path| path.is_file() && executable(path))
        .ok_or_else(|| format!("exec: \"{name}\": executable file not found in $PATH"))
}

fn executable(path: &Path) -> bool {
    nix::unistd::access(path, AccessFlags::X_OK).is_ok()
}

/// The system's words for an error, as other runtimes print them.
fn plain(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => nix::errno::Errno::from_raw(code).desc().to_lowercase(),
        None => error.to_string(),
    }
}

//! Output that nobody reads any more (`keelson sim | head`) ends a command without a word, as it ends
//! others. Printing panics then, wherever it is done; what writes for itself fails.

use std::io::stdout;
use std::os::fd::AsFd as _;
use std::panic::{
    AssertUnwindSafe, PanicHookInfo, catch_unwind, resume_unwind, set_hook, take_hook,
};
use std::process::ExitCode;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::cli::end_now;

/// What a shell tells of a command that SIGPIPE has ended.
const CODE: u8 = 128 + 13;

/// Runs a command; where nobody reads its output any more, what it holds is dropped, and it ends.
pub fn end_quietly(run: impl FnOnce() -> ExitCode) -> ExitCode {
    let main = std::thread::current().id();
    let before = take_hook();
    set_hook(Box::new(move |info| match is_one(info) {
        // It is unwound up to here.
        true if std::thread::current().id() == main => {}
        true => end_now(i32::from(CODE)),
        false => before(info),
    }));
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| match is_closed() {
        true => ExitCode::from(CODE),
        false => resume_unwind(panic),
    })
}

/// Whether it is the panic of `print!` that tells so; the library has no other way to say it.
fn is_one(info: &PanicHookInfo<'_>) -> bool {
    let text = info.payload().downcast_ref::<String>();
    text.is_some_and(|text| {
        text.starts_with("failed printing to stdout") && text.contains("Broken pipe")
    })
}

/// Whether standard output is a pipe that nobody reads.
fn is_closed() -> bool {
    let out = stdout();
    let mut fds = [PollFd::new(out.as_fd(), PollFlags::POLLOUT)];
    let looked = poll(&mut fds, PollTimeout::ZERO);
    looked.is_ok() && fds[0].revents().is_some_and(|seen| seen.contains(PollFlags::POLLERR))
}

/// The exit code of a command that failed; `None`: not because its output was closed.
pub fn code() -> Option<ExitCode> {
    is_closed().then(|| ExitCode::from(CODE))
}

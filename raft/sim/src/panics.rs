//! Panics of simulated members: caught, kept as text, and not printed.

use std::cell::{Cell, RefCell};
use std::panic::UnwindSafe;
use std::sync::Once;

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
    static MESSAGE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs it; the message and the place of a panic are the error.
pub(crate) fn catch<T>(run: impl FnOnce() -> T + UnwindSafe) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if CATCHING.get() {
                MESSAGE.set(info.to_string().replace('\n', " "));
            } else {
                before(info);
            }
        }));
    });
    let outer = CATCHING.replace(true);
    let result = std::panic::catch_unwind(run);
    CATCHING.set(outer);
    result.map_err(|_| MESSAGE.take())
}

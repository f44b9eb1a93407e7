//! Failpoints: named places in the store's path where a test build can be stopped or delayed.
//!
//! Names, terms and the HTTP interface are those of gofail, so that what drives an etcd built with
//! it drives this. Without the feature `failpoints` a place is no code at all.
// upstream: gofail v0.2.0
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod planted;
mod points;

#[cfg(any(feature = "failpoints", test))]
mod http;
#[cfg(any(feature = "failpoints", test))]
mod point;
#[cfg(any(feature = "failpoints", test))]
mod registry;
#[cfg(any(feature = "failpoints", test))]
mod terms;

#[doc(hidden)]
pub use points::place;
#[cfg(any(feature = "failpoints", test))]
pub use {
    http::serve,
    point::Failpoint,
    registry::{Registry, SetError},
};

/// All points of this build.
#[cfg(any(feature = "failpoints", test))]
pub static REGISTRY: Registry = Registry::new(points::ALL);

/// A place that has a name: does what its terms say, or nothing.
///
/// `failpoint!(name)` blocks the thread while it sleeps; the runtime's other tasks go on.
/// `failpoint!(await name)` lets the thread go. `failpoint!(await name => code)` runs the code
/// where the terms are `return`; `failpoint!(name => |text| code)` where they are `return("text")`.
#[cfg(feature = "failpoints")]
#[macro_export]
macro_rules! failpoint {
    (await $name:ident => $code:expr) => {
        if $crate::place::$name.reach_async().await.is_some() {
            $code
        }
    };
    (await $name:ident) => {
        let _nothing_to_return = $crate::place::$name.reach_async().await;
    };
    ($name:ident => |$text:ident| $code:expr) => {
        if let Some($text) = $crate::place::$name.reach() {
            $code
        }
    };
    ($name:ident) => {
        let _nothing_to_return = $crate::place::$name.reach();
    };
}

/// A place that has a name; nothing in this build.
#[cfg(not(feature = "failpoints"))]
#[macro_export]
macro_rules! failpoint {
    (await $name:ident => $code:expr) => {
        $crate::failpoint!($name)
    };
    (await $name:ident) => {
        $crate::failpoint!($name)
    };
    ($name:ident => |$text:ident| $code:expr) => {
        $crate::failpoint!($name)
    };
    ($name:ident) => {
        const _: () = $crate::place::$name;
    };
}

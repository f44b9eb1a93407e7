//! The watch cache: every object of a resource as it goes on the wire, and what happened lately.

mod feed;
mod object;
mod resource;

pub(crate) use feed::Caches;
pub(crate) use object::{Change, Event, Object, event_line};
pub(crate) use resource::{Cache, Cursor};

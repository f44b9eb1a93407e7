//! etcd's flags: their table, and where their values come from.

mod environment;
mod file;
mod line;
mod settings;
mod table;
mod value;

pub use line::gather;
pub use settings::{Note, Settings};
pub use table::{Effect, GATES};
pub use value::{Url, duration, url as read_url};

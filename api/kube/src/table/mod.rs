//! Tables: what `kubectl get` prints, computed by the server at answer time.

mod age;
pub(crate) mod columns;
mod render;

pub use age::{human_duration, since};
pub use render::{IncludeObject, render};

use jiff::Timestamp;
use serde_json::Value;

/// One column of a kind's table.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Heading.
    pub name: &'static str,
    /// OpenAPI type: string, integer, number, boolean, date.
    pub kind: &'static str,
    /// `name` for the object's name.
    pub format: &'static str,
    /// 0: always shown; 1: with `-o wide`.
    pub priority: i32,
}

impl Column {
    /// A column of text.
    pub const fn text(name: &'static str) -> Self {
        Column { name, kind: "string", format: "", priority: 0 }
    }

    /// A column of whole numbers.
    pub const fn count(name: &'static str) -> Self {
        Column { name, kind: "integer", format: "", priority: 0 }
    }

    /// The same column, shown with `-o wide` only.
    #[must_use]
    pub const fn wide(self) -> Self {
        Column { priority: 1, ..self }
    }
}

/// The object's name.
pub const NAME: Column = Column { name: "Name", kind: "string", format: "name", priority: 0 };
/// The time since creation.
pub const AGE: Column = Column::text("Age");

/// How a kind's objects are printed.
pub struct Printer {
    /// The columns, in order.
    pub columns: &'static [Column],
    /// One cell a column.
    pub cells: fn(&Value, Timestamp) -> Vec<Value>,
}

/// For kinds without a printer of their own: the name, and when the object was made.
pub static DEFAULT: Printer = Printer {
    columns: &[NAME, Column { name: "Created At", kind: "date", format: "", priority: 0 }],
    cells: |object, _| {
        let metadata = &object["metadata"];
        vec![metadata["name"].clone(), metadata["creationTimestamp"].clone()]
    },
};

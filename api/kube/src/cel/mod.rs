//! CEL: the expressions of validation rules and admission policies.
//!
//! An expression is read into a tree ([`parser`]), checked against the types of its variables,
//! which also says what it may cost at most ([`checker`]), and evaluated within a budget ([`eval`]).
//! The functions are those of the language, its extensions and Kubernetes' libraries ([`library`]).
// upstream: CEL language definition; Kubernetes apiserver, pkg/cel

mod ast;
mod checker;
mod eval;
mod lexer;
mod library;
mod parser;
#[cfg(test)]
mod tests;
mod types;
mod value;

pub(crate) use eval::Variables;
pub(crate) use parser::RESERVED;
pub(crate) use types::Type;
pub(crate) use value::Value;

use ast::Expr;
use eval::Evaluation;

/// Why a text is no expression, or does not fit its variables.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(crate) struct SyntaxError {
    /// In characters from the start.
    at: usize,
    text: String,
}

impl SyntaxError {
    fn new(at: usize, text: impl Into<String>) -> Self {
        SyntaxError { at, text: text.into() }
    }

    /// The message with the line and a mark below the place.
    fn shown(&self, source: &str) -> String {
        let before: String = source.chars().take(self.at).collect();
        let line = before.matches('\n').count();
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
        let shown = source.lines().nth(line).unwrap_or_default();
        let mark = format!("{}^", ".".repeat(column));
        format!("ERROR: <input>:{}:{}: {}\n | {shown}\n | {mark}", line + 1, column + 1, self.text)
    }
}

/// Why an evaluation gave no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EvalError {
    /// It cost more than it may.
    #[error("operation cancelled: actual cost limit exceeded")]
    Budget,
    /// The expression cannot be evaluated for these variables.
    #[error("{0}")]
    Failed(String),
}

/// An expression that was read and checked.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    expr: Expr,
    /// What it gives.
    pub(crate) gives: Type,
    /// What it may cost at most.
    pub(crate) cost_max: u64,
}

impl Program {
    /// Reads and checks an expression over these variables; a refusal shows where.
    pub(crate) fn compile(text: &str, variables: &[(&str, Type)]) -> Result<Self, String> {
        let expr = parser::parse(text).map_err(|e| e.shown(text))?;
        let (gives, cost_max) = checker::check(&expr, variables).map_err(|errors| {
            errors.iter().map(|e| e.shown(text)).collect::<Vec<_>>().join("\n")
        })?;
        Ok(Program { expr, gives, cost_max })
    }

    /// Whether the expression reads a variable.
    pub(crate) fn uses(&self, name: &str) -> bool {
        self.expr.uses(name)
    }

    /// Evaluates within a budget; answers also what it cost.
    pub(crate) fn run(
        &self,
        variables: &Variables,
        budget: u64,
    ) -> (Result<Value, EvalError>, u64) {
        let mut evaluation = Evaluation::new(variables, budget);
        let result = evaluation.run(&self.expr);
        (result, evaluation.spent)
    }
}

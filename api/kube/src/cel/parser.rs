//! From text to tree, macros included.
// upstream: CEL language definition, "Syntax" and "Macros"

use std::sync::Arc;

use super::SyntaxError;
use super::ast::{Expr, Kind, Loop, Node};
use super::lexer::{Token, tokens};
use super::value::Value;

/// Brackets and operators may be nested this deep.
const DEPTH_MAX: usize = 250;

/// Words that name nothing.
pub(crate) const RESERVED: &[&str] = &[
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
    "in",
];

/// Reads an expression.
pub(crate) fn parse(text: &str) -> Result<Expr, SyntaxError> {
    let mut parser = Parser { tokens: tokens(text)?, next: 0, depth: 0 };
    let expr = parser.expression()?;
    match parser.peek() {
        Token::End => Ok(expr),
        other => Err(parser.unexpected(other)),
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    depth: usize,
}

type Parsed = Result<Expr, SyntaxError>;

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.next].1
    }

    fn at(&self) -> usize {
        self.tokens[self.next].0
    }

    fn advance(&mut self) -> Token {
        let token = self.tokens[self.next].1.clone();
        if self.next + 1 < self.tokens.len() {
            self.next += 1;
        }
        token
    }

    fn eat(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Token::Sign(s) if *s == sign);
        if found {
            self.advance();
        }
        found
    }

    fn expect(&mut self, sign: &str) -> Result<(), SyntaxError> {
        if self.eat(sign) { Ok(()) } else { Err(self.unexpected(self.peek())) }
    }

    fn unexpected(&self, token: &Token) -> SyntaxError {
        let shown = match token {
            Token::End => "<EOF>".to_owned(),
            Token::Sign(sign) => format!("'{sign}'"),
            Token::Ident(name) => format!("'{name}'"),
            other => format!("{other:?}"),
        };
        SyntaxError::new(self.at(), format!("Syntax error: mismatched input {shown}"))
    }

    fn expression(&mut self) -> Parsed {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(SyntaxError::new(self.at(), "expression recursion limit exceeded"));
        }
        let condition = self.or()?;
        let at = self.at();
        let made = if self.eat("?") {
            let yes = self.or()?;
            self.expect(":")?;
            let no = self.expression()?;
            call(at, "_?_:_", vec![condition, yes, no])
        } else {
            condition
        };
        self.depth -= 1;
        Ok(made)
    }

    fn or(&mut self) -> Parsed {
        self.chain(&["||"], |p| p.chain(&["&&"], Parser::relation))
    }

    fn chain(&mut self, signs: &[&str], next: impl Fn(&mut Self) -> Parsed) -> Parsed {
        let mut left = next(self)?;
        loop {
            let at = self.at();
            let Token::Sign(sign) = *self.peek() else { return Ok(left) };
            if !signs.contains(&sign) {
                return Ok(left);
            }
            self.advance();
            let right = next(self)?;
            left = call(at, &format!("_{sign}_"), vec![left, right]);
        }
    }

    fn relation(&mut self) -> Parsed {
        let mut left = self.addition()?;
        loop {
            let at = self.at();
            let name = match self.peek() {
                Token::Sign(s @ ("==" | "!=" | "<" | "<=" | ">" | ">=")) => format!("_{s}_"),
                Token::Ident(word) if word == "in" => "@in".to_owned(),
                _ => return Ok(left),
            };
            self.advance();
            let right = self.addition()?;
            left = call(at, &name, vec![left, right]);
        }
    }

    fn addition(&mut self) -> Parsed {
        self.chain(&["+", "-"], |p| p.chain(&["*", "/", "%"], Parser::unary))
    }

    fn unary(&mut self) -> Parsed {
        let at = self.at();
        for (sign, name) in [("!", "!_"), ("-", "-_")] {
            if !self.eat(sign) {
                continue;
            }
            let literal = match (sign, self.peek()) {
                ("-", Token::Int(n)) => Some(Value::Int(-n)),
                ("-", Token::IntBelow) => Some(Value::Int(i64::MIN)),
                ("-", Token::Double(n)) => Some(Value::Double(-n)),
                _ => None,
            };
            if let Some(value) = literal {
                self.advance();
                return self.members(Expr::new(at, Node::Literal(value)));
            }
            self.depth += 1;
            if self.depth > DEPTH_MAX {
                return Err(SyntaxError::new(at, "expression recursion limit exceeded"));
            }
            let of = self.unary()?;
            self.depth -= 1;
            return Ok(call(at, name, vec![of]));
        }
        let primary = self.primary()?;
        self.members(primary)
    }

    fn members(&mut self, mut of: Expr) -> Parsed {
        loop {
            let at = self.at();
            if self.eat(".") {
                let optional = self.eat("?");
                let field = self.name()?;
                if !optional && self.eat("(") {
                    let arguments = self.arguments(")")?;
                    of = member(at, of, &field, arguments)?;
                } else {
                    of = Expr::new(at, Node::Select { of: Box::new(of), field, optional });
                }
            } else if self.eat("[") {
                let name = if self.eat("?") { "_[?_]" } else { "_[_]" };
                let index = self.expression()?;
                self.expect("]")?;
                of = call(at, name, vec![of, index]);
            } else if matches!(self.peek(), Token::Sign("{")) && type_name(&of).is_some() {
                let name = type_name(&of).unwrap_or_default();
                self.advance();
                let fields = self.fields()?;
                of = Expr::new(at, Node::Object(name, fields));
            } else {
                return Ok(of);
            }
        }
    }

    fn name(&mut self) -> Result<String, SyntaxError> {
        match self.peek() {
            Token::Ident(name) if name != "in" => {
                let name = name.clone();
                self.advance();
                Ok(name)
            }
            other => Err(self.unexpected(other)),
        }
    }

    fn arguments(&mut self, end: &str) -> Result<Vec<Expr>, SyntaxError> {
        let mut all = Vec::new();
        while !self.eat(end) {
            all.push(self.expression()?);
            if !self.eat(",") {
                self.expect(end)?;
                break;
            }
        }
        Ok(all)
    }

    fn fields(&mut self) -> Result<Vec<(String, Expr, bool)>, SyntaxError> {
        let mut all = Vec::new();
        while !self.eat("}") {
            let optional = self.eat("?");
            let name = self.name()?;
            self.expect(":")?;
            all.push((name, self.expression()?, optional));
            if !self.eat(",") {
                self.expect("}")?;
                break;
            }
        }
        Ok(all)
    }

    fn primary(&mut self) -> Parsed {
        let at = self.at();
        let literal = |value| Ok(Expr::new(at, Node::Literal(value)));
        match self.peek().clone() {
            Token::Int(n) => {
                self.advance();
                literal(Value::Int(n))
            }
            Token::Uint(n) => {
                self.advance();
                literal(Value::Uint(n))
            }
            Token::Double(n) => {
                self.advance();
                literal(Value::Double(n))
            }
            Token::Text(text) => {
                self.advance();
                literal(Value::from(text.as_str()))
            }
            Token::Bytes(bytes) => {
                self.advance();
                literal(Value::Bytes(bytes.into()))
            }
            Token::Sign("(") => {
                self.advance();
                let inner = self.expression()?;
                self.expect(")")?;
                Ok(inner)
            }
            Token::Sign("[") => {
                self.advance();
                let mut items = Vec::new();
                while !self.eat("]") {
                    let optional = self.eat("?");
                    items.push((self.expression()?, optional));
                    if !self.eat(",") {
                        self.expect("]")?;
                        break;
                    }
                }
                Ok(Expr::new(at, Node::List(items)))
            }
            Token::Sign("{") => {
                self.advance();
                let mut entries = Vec::new();
                while !self.eat("}") {
                    let optional = self.eat("?");
                    let key = self.expression()?;
                    self.expect(":")?;
                    entries.push((key, self.expression()?, optional));
                    if !self.eat(",") {
                        self.expect("}")?;
                        break;
                    }
                }
                Ok(Expr::new(at, Node::Map(entries)))
            }
            Token::Sign(".") => {
                self.advance();
                self.ident(at)
            }
            Token::Ident(_) => self.ident(at),
            other => Err(self.unexpected(&other)),
        }
    }

    fn ident(&mut self, at: usize) -> Parsed {
        let name = self.name()?;
        match name.as_str() {
            "true" => return Ok(Expr::new(at, Node::Literal(Value::Bool(true)))),
            "false" => return Ok(Expr::new(at, Node::Literal(Value::Bool(false)))),
            "null" => return Ok(Expr::new(at, Node::Literal(Value::Null))),
            _ => {}
        }
        if RESERVED.contains(&name.as_str()) {
            return Err(SyntaxError::new(at, format!("reserved identifier: {name}")));
        }
        if !self.eat("(") {
            return Ok(Expr::new(at, Node::Ident(name)));
        }
        let mut arguments = self.arguments(")")?;
        if name == "has" && arguments.len() == 1 {
            return match arguments.remove(0).node {
                Node::Select { of, field, optional: false } => {
                    Ok(Expr::new(at, Node::Has { of, field }))
                }
                _ => Err(SyntaxError::new(at, "invalid argument to has() macro")),
            };
        }
        Ok(Expr::new(at, Node::Call { function: name, target: None, arguments }))
    }
}

fn call(at: usize, function: &str, arguments: Vec<Expr>) -> Expr {
    Expr::new(at, Node::Call { function: function.to_owned(), target: None, arguments })
}

/// `a.b.C` as a type's name.
fn type_name(of: &Expr) -> Option<String> {
    match &of.node {
        Node::Ident(name) => Some(name.clone()),
        Node::Select { of, field, optional: false } => Some(format!("{}.{field}", type_name(of)?)),
        _ => None,
    }
}

/// A call on a value: a macro, or a function.
fn member(at: usize, of: Expr, function: &str, arguments: Vec<Expr>) -> Parsed {
    if let Node::Ident(namespace) = &of.node
        && namespace == "cel"
        && function == "bind"
        && let [name, value, body] = arguments.as_slice()
    {
        let name = variable(name)?;
        let (value, body) = (Box::new(value.clone()), Box::new(body.clone()));
        return Ok(Expr::new(at, Node::Bind { name, value, body }));
    }
    let looped = match (function, arguments.as_slice()) {
        ("all", [v, p]) => Some((Kind::All, v, None, None, p)),
        ("exists", [v, p]) => Some((Kind::Exists, v, None, None, p)),
        ("exists_one" | "existsOne", [v, p]) => Some((Kind::ExistsOne, v, None, None, p)),
        ("filter", [v, p]) => Some((Kind::Filter, v, None, Some(p), v)),
        ("map", [v, t]) => Some((Kind::List, v, None, None, t)),
        ("map", [v, p, t]) => Some((Kind::List, v, None, Some(p), t)),
        ("all", [k, v, p]) => Some((Kind::All, k, Some(v), None, p)),
        ("exists", [k, v, p]) => Some((Kind::Exists, k, Some(v), None, p)),
        ("exists_one" | "existsOne", [k, v, p]) => Some((Kind::ExistsOne, k, Some(v), None, p)),
        ("transformList", [k, v, t]) => Some((Kind::List, k, Some(v), None, t)),
        ("transformList", [k, v, p, t]) => Some((Kind::List, k, Some(v), Some(p), t)),
        ("transformMap", [k, v, t]) => Some((Kind::Map, k, Some(v), None, t)),
        ("transformMap", [k, v, p, t]) => Some((Kind::Map, k, Some(v), Some(p), t)),
        ("transformMapEntry", [k, v, t]) => Some((Kind::Entries, k, Some(v), None, t)),
        ("transformMapEntry", [k, v, p, t]) => Some((Kind::Entries, k, Some(v), Some(p), t)),
        ("optMap", [v, t]) => Some((Kind::Optional { flat: false }, v, None, None, t)),
        ("optFlatMap", [v, t]) => Some((Kind::Optional { flat: true }, v, None, None, t)),
        _ => None,
    };
    let Some((kind, first, second, filter, step)) = looped else {
        let function = function.to_owned();
        return Ok(Expr::new(at, Node::Call { function, target: Some(Box::new(of)), arguments }));
    };
    let made = Loop {
        kind,
        range: of,
        first: variable(first)?,
        second: second.map(variable).transpose()?,
        filter: filter.cloned(),
        step: step.clone(),
    };
    Ok(Expr::new(at, Node::Loop(Arc::new(made))))
}

fn variable(of: &Expr) -> Result<String, SyntaxError> {
    match &of.node {
        Node::Ident(name) => Ok(name.clone()),
        _ => Err(SyntaxError::new(of.at, "argument must be a simple name")),
    }
}

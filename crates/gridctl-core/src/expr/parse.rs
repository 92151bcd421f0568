//! Tokens to code for the little stack machine of `eval`, by precedence climbing.
//! Invariant: recursion is bounded by `MAX_DEPTH` and code by `MAX_NODES`, so that no input can
//! exhaust the stack.

use std::ops::Range;

use super::eval::{Arith, Compare, Op};
use super::lex::{self, LexToken, Lexeme};
use super::{ExprError, MAX_DEPTH, MAX_LIST, MAX_NODES, MAX_SOURCE, Problem, Program};
use crate::value::Value;

/// How tightly an operator binds; Python's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Binding {
    Or,
    And,
    Not,
    Compare,
    Sum,
    Product,
    Sign,
    Power,
}

/// What stands between two operands.
#[derive(Debug, Clone, Copy)]
enum Infix {
    Or,
    And,
    Compare(Compare),
    Arith(Arith),
}

/// Parses the whole of `source`.
pub(super) fn program(source: &str) -> Result<Program, ExprError> {
    if source.len() > MAX_SOURCE {
        return Err(ExprError::new(0..source.len(), Problem::TooLong { bytes: source.len() })
            .help("list the points' values with `in [..]`, or write several expressions"));
    }
    let lexemes = lex::lex(source)?;
    if lexemes.len() == 1 {
        return Err(ExprError::new(0..source.len(), Problem::Empty));
    }
    let mut parser =
        Parser { lexemes, at: 0, depth: 0, nodes: 0, code: Vec::new(), names: Vec::new(), spans: Vec::new() };
    parser.expression(Binding::Or)?;
    if parser.peek() != &LexToken::End {
        return Err(parser.expected("an operator or the end"));
    }
    let Parser { code, names, spans, .. } = parser;
    Ok(Program { source: source.to_owned(), names, spans, code })
}

struct Parser {
    lexemes: Vec<Lexeme>,
    at: usize,
    depth: usize,
    nodes: usize,
    code: Vec<Op>,
    names: Vec<String>,
    spans: Vec<Range<usize>>,
}

impl Parser {
    fn peek(&self) -> &LexToken {
        &self.lexemes[self.at].token
    }

    fn span(&self) -> Range<usize> {
        self.lexemes[self.at].span.clone()
    }

    /// Steps to the next token; the last one, the end, is never left.
    fn advance(&mut self) {
        self.at = (self.at + 1).min(self.lexemes.len() - 1);
    }

    fn takes(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), LexToken::Sign(found) if *found == sign);
        if found {
            self.advance();
        }
        found
    }

    fn node(&mut self, op: Op) -> Result<(), ExprError> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(ExprError::new(self.span(), Problem::TooManyNodes)
                .help("write several expressions: a point is excluded where one of them is true"));
        }
        self.code.push(op);
        Ok(())
    }

    /// One level deeper for the length of `parse`.
    fn nested(&mut self, parse: impl FnOnce(&mut Self) -> Result<(), ExprError>) -> Result<(), ExprError> {
        if self.depth == MAX_DEPTH {
            return Err(ExprError::new(self.span(), Problem::TooDeep));
        }
        self.depth += 1;
        parse(self)?;
        self.depth -= 1;
        Ok(())
    }

    /// An operand and all operators after it that bind at least as tightly as `least`.
    fn expression(&mut self, least: Binding) -> Result<(), ExprError> {
        self.operand()?;
        while let Some((infix, binding, tokens)) = self.infix() {
            if binding < least {
                break;
            }
            for _ in 0..tokens {
                self.advance();
            }
            match infix {
                Infix::Or => self.short_circuit(true, Binding::And)?,
                Infix::And => self.short_circuit(false, Binding::Not)?,
                Infix::Compare(first) => self.comparison(first)?,
                Infix::Arith(Arith::Power) => {
                    self.nested(|parser| parser.expression(Binding::Sign))?;
                    self.node(Op::Arith(Arith::Power))?;
                }
                Infix::Arith(arith) => {
                    let tighter = if binding == Binding::Sum { Binding::Product } else { Binding::Sign };
                    self.expression(tighter)?;
                    self.node(Op::Arith(arith))?;
                }
            }
        }
        Ok(())
    }

    /// The operator that stands here, how tightly it binds, and its tokens.
    fn infix(&self) -> Option<(Infix, Binding, usize)> {
        let compare = |compare| Some((Infix::Compare(compare), Binding::Compare, 1));
        let sum = |arith| Some((Infix::Arith(arith), Binding::Sum, 1));
        let product = |arith| Some((Infix::Arith(arith), Binding::Product, 1));
        match self.peek() {
            LexToken::Word("or") => Some((Infix::Or, Binding::Or, 1)),
            LexToken::Word("and") => Some((Infix::And, Binding::And, 1)),
            LexToken::Word("in") => compare(Compare::In),
            LexToken::Word("not") if self.lexemes[self.at + 1].token == LexToken::Word("in") => {
                Some((Infix::Compare(Compare::NotIn), Binding::Compare, 2))
            }
            LexToken::Sign("==") => compare(Compare::Eq),
            LexToken::Sign("!=") => compare(Compare::Ne),
            LexToken::Sign("<") => compare(Compare::Lt),
            LexToken::Sign("<=") => compare(Compare::Le),
            LexToken::Sign(">") => compare(Compare::Gt),
            LexToken::Sign(">=") => compare(Compare::Ge),
            LexToken::Sign("+") => sum(Arith::Add),
            LexToken::Sign("-") => sum(Arith::Sub),
            LexToken::Sign("*") => product(Arith::Mul),
            LexToken::Sign("/") => product(Arith::Div),
            LexToken::Sign("%") => product(Arith::Rem),
            LexToken::Sign("**") => Some((Infix::Arith(Arith::Power), Binding::Power, 1)),
            _ => None,
        }
    }

    /// The right side of `or` (decided by true) or `and` (decided by false).
    fn short_circuit(&mut self, decides: bool, least: Binding) -> Result<(), ExprError> {
        let jump = self.code.len();
        self.node(Op::Decide { when: decides, to: 0 })?;
        self.expression(least)?;
        self.code.push(Op::Truth);
        self.code[jump] = Op::Decide { when: decides, to: self.code.len() };
        Ok(())
    }

    /// The right side of a comparison, and the comparisons chained to it.
    fn comparison(&mut self, first: Compare) -> Result<(), ExprError> {
        let mut compare = first;
        let mut links = Vec::new();
        self.expression(Binding::Sum)?;
        while let Some((Infix::Compare(next), _, tokens)) = self.infix() {
            links.push((self.code.len(), compare));
            self.node(Op::Link { compare, to: 0 })?;
            for _ in 0..tokens {
                self.advance();
            }
            self.expression(Binding::Sum)?;
            compare = next;
        }
        self.node(Op::Compare(compare))?;
        let end = self.code.len();
        for (at, compare) in links {
            self.code[at] = Op::Link { compare, to: end };
        }
        Ok(())
    }

    /// A literal, a name, a list, something in parentheses, or a prefix operator and what it
    /// applies to.
    fn operand(&mut self) -> Result<(), ExprError> {
        let span = self.span();
        match self.peek().clone() {
            LexToken::Literal(value) => {
                self.advance();
                self.node(Op::Literal(value))
            }
            LexToken::Name(name) => {
                self.advance();
                let place = self.place(name, span);
                self.node(Op::Name(place))
            }
            LexToken::Word("not") => {
                self.advance();
                self.nested(|parser| parser.expression(Binding::Not))?;
                self.node(Op::Not)
            }
            LexToken::Sign(sign @ ("-" | "+")) => {
                self.advance();
                self.nested(|parser| parser.expression(Binding::Sign))?;
                self.node(if sign == "-" { Op::Negate } else { Op::Plus })
            }
            LexToken::Sign("(") => {
                self.advance();
                self.nested(|parser| parser.expression(Binding::Or))?;
                self.close(")", '(', span)
            }
            LexToken::Sign("[") => {
                self.advance();
                self.nested(|parser| parser.list(span))
            }
            _ => Err(self.expected("a name, a number, text or `(`")),
        }
    }

    /// The rest of a list. One of literals only is put together here, not at each evaluation, and
    /// is one node.
    fn list(&mut self, open: Range<usize>) -> Result<(), ExprError> {
        let start = self.code.len();
        let (mut items, mut literal) = (0, true);
        while !matches!(self.peek(), LexToken::Sign("]") | LexToken::End) {
            if items == MAX_LIST {
                return Err(ExprError::new(self.span(), Problem::ListTooLong));
            }
            let (at, nodes) = (self.code.len(), self.nodes);
            self.expression(Binding::Or)?;
            self.fold_negative(at);
            items += 1;
            if matches!(self.code[at..], [Op::Literal(_)]) {
                self.nodes = nodes;
            } else {
                literal = false;
            }
            if !self.takes(",") {
                break;
            }
        }
        self.close("]", '[', open)?;
        if !literal {
            return self.node(Op::List(items));
        }
        let values = self.code.drain(start..).filter_map(|op| match op {
            Op::Literal(value) => Some(value),
            _ => None,
        });
        let list = Value::List(values.collect());
        self.node(Op::Literal(list))
    }

    /// Turns `literal, negate` at `at` into one negative literal.
    fn fold_negative(&mut self, at: usize) {
        let negative = match &self.code[at..] {
            [Op::Literal(Value::Int(value)), Op::Negate] => Value::Int(-value),
            [Op::Literal(Value::Float(value)), Op::Negate] => Value::Float(-value),
            _ => return,
        };
        self.code.truncate(at);
        self.code.push(Op::Literal(negative));
    }

    fn close(&mut self, sign: &'static str, open: char, span: Range<usize>) -> Result<(), ExprError> {
        if self.takes(sign) {
            return Ok(());
        }
        if self.peek() == &LexToken::End {
            return Err(ExprError::new(span, Problem::Unclosed(open)).help(format!("add `{sign}`")));
        }
        Err(self.expected(if sign == ")" { "an operator or `)`" } else { "`,` or `]`" }))
    }

    /// The place of `name` among the names.
    fn place(&mut self, name: String, span: Range<usize>) -> usize {
        self.names.iter().position(|known| *known == name).unwrap_or_else(|| {
            self.names.push(name);
            self.spans.push(span);
            self.names.len() - 1
        })
    }

    /// The error that something else was due here.
    fn expected(&self, expected: &'static str) -> ExprError {
        let found = match self.peek() {
            LexToken::End => "the end".to_owned(),
            LexToken::Name(name) => format!("`{name}`"),
            LexToken::Literal(value) => format!("`{}`", value.to_json()),
            LexToken::Word(text) | LexToken::Sign(text) => format!("`{text}`"),
        };
        let error = ExprError::new(self.span(), Problem::Expected { expected, found });
        match self.remedy() {
            Some(help) => error.help(help),
            None => error,
        }
    }

    fn remedy(&self) -> Option<&'static str> {
        let after_name = self.at > 0 && matches!(self.lexemes[self.at - 1].token, LexToken::Name(_));
        match self.peek() {
            LexToken::Name(name) if name.eq_ignore_ascii_case("and") => Some("write `and`"),
            LexToken::Name(name) if name.eq_ignore_ascii_case("or") => Some("write `or`"),
            LexToken::Name(name) if name.eq_ignore_ascii_case("not") => Some("write `not`"),
            LexToken::Name(name) if name.eq_ignore_ascii_case("in") => Some("write `in`"),
            LexToken::Name(name) if name == "is" => Some("write `==` or `!=`"),
            LexToken::Sign("(") if after_name => Some("there are no functions"),
            LexToken::Name(_) if after_name => {
                Some("a name with spaces stands in backticks; between two names stands an operator")
            }
            LexToken::Word("not") => Some("write `!=`, `not in [..]` or `not (..)`"),
            _ => None,
        }
    }
}

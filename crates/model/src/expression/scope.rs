//! Scope of an expression: the names that it may use and call, and how often it may loop.
//!
//! A loop (`all`, `exists`, `exists_one`, `map`, `filter`) goes over what a row or the expression
//! itself holds, which is bounded. A loop in a loop multiplies that at each level, and one behind
//! another can double what it is given: a short text would keep its caller busy for years, or fill
//! the memory. So loops do not nest, neither in their bodies nor in their ranges.

use cel::IdedExpr;
use cel::common::ast::{EntryExpr, Expr};

use super::functions::{self, Form};

/// Problem for which an expression is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Problem<'a> {
    /// Unknown name, that of the node with this id.
    Unknown(&'a str, u64),
    /// There is no function of this name that is called so, by the node with this id.
    NoFunction(&'a str, Form, u64),
    /// A loop, the node with this id, stands within a loop.
    NestedLoop(u64),
}

/// Checks an expression from left to right.
pub(super) fn check<'a>(program: &'a IdedExpr, known: &[&str]) -> Result<(), Problem<'a>> {
    let mut scope = Scope { names: known.to_vec(), loops: 0 };
    scope.check(program)
}

/// Returns true if a tree has more than `levels` levels.
pub(super) fn is_deeper_than(at: &IdedExpr, levels: usize) -> bool {
    let Some(levels) = levels.checked_sub(1) else { return true };
    let deeper = |at: &IdedExpr| is_deeper_than(at, levels);
    let entry = |entry: &EntryExpr| match entry {
        EntryExpr::StructField(field) => deeper(&field.value),
        EntryExpr::MapEntry(entry) => deeper(&entry.key) || deeper(&entry.value),
    };
    match &at.expr {
        Expr::Unspecified | Expr::Literal(_) | Expr::Ident(_) => false,
        Expr::Select(select) => deeper(&select.operand),
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).any(deeper),
        Expr::List(list) => list.elements.iter().any(deeper),
        Expr::Map(map) => map.entries.iter().any(|one| entry(&one.expr)),
        Expr::Struct(made) => made.entries.iter().any(|one| entry(&one.expr)),
        Expr::Comprehension(over) => {
            let parts = [&over.iter_range, &over.accu_init, &over.loop_cond, &over.loop_step];
            parts.into_iter().chain([&over.result]).any(deeper)
        }
    }
}

struct Scope<'n> {
    names: Vec<&'n str>,
    /// Loops around this place.
    loops: usize,
}

impl<'n> Scope<'n> {
    fn check<'a: 'n>(&mut self, at: &'a IdedExpr) -> Result<(), Problem<'a>> {
        match &at.expr {
            Expr::Unspecified | Expr::Literal(_) => Ok(()),
            // What the parser names itself begins with an @.
            Expr::Ident(name) if name.starts_with('@') => Ok(()),
            Expr::Ident(name) if self.names.contains(&name.as_str()) => Ok(()),
            Expr::Ident(name) => Err(Problem::Unknown(name, at.id)),
            Expr::Select(select) => self.check(&select.operand),
            Expr::Call(call) => {
                let mut parts = call.target.as_deref().into_iter().chain(&call.args);
                parts.try_for_each(|part| self.check(part))?;
                let form = if call.target.is_some() { Form::OfValue } else { Form::Free };
                if functions::is_known(&call.func_name, form) {
                    Ok(())
                } else {
                    Err(Problem::NoFunction(&call.func_name, form, at.id))
                }
            }
            Expr::List(list) => list.elements.iter().try_for_each(|item| self.check(item)),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| self.entry(&entry.expr)),
            // No type is known that could be made so.
            Expr::Struct(made) => Err(Problem::Unknown(&made.type_name, at.id)),
            Expr::Comprehension(over) => {
                if self.loops > 0 {
                    return Err(Problem::NestedLoop(at.id));
                }
                self.loops += 1;
                self.check(&over.iter_range)?;
                self.check(&over.accu_init)?;
                let outside = self.names.len();
                self.names.push(&over.accu_var);
                self.check(&over.result)?;
                self.names.extend([&*over.iter_var].into_iter().chain(over.iter_var2.as_deref()));
                self.check(&over.loop_cond)?;
                self.check(&over.loop_step)?;
                self.names.truncate(outside);
                self.loops -= 1;
                Ok(())
            }
        }
    }

    fn entry<'a: 'n>(&mut self, entry: &'a EntryExpr) -> Result<(), Problem<'a>> {
        match entry {
            EntryExpr::StructField(field) => self.check(&field.value),
            EntryExpr::MapEntry(entry) => {
                self.check(&entry.key)?;
                self.check(&entry.value)
            }
        }
    }
}

//! Patterns of `matches`: regular expressions whose cost is bounded by their size and by the text.
//!
//! A pattern is written down in the expression, so it is compiled, or refused, with it. Looking for
//! it takes time in proportion to the text and to what the pattern was compiled to, whatever both
//! hold: there is no pattern that goes back and tries again. That product is its cost.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use cel::ExecutionError;
use cel::IdedExpr;
use cel::common::ast::{CallExpr, EntryExpr, Expr, LiteralValue};
use regex_automata::meta::Regex;

use crate::limits;

/// A compiled pattern.
pub(super) struct Pattern {
    regex: Regex,
    /// Steps for each byte of a text.
    steps: u64,
}

/// Error in the pattern of a call of `matches`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum PatternError {
    #[error("the pattern takes more than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("the pattern does not read: {0}")]
    Syntax(String),
    #[error("the pattern cannot be used: {0}")]
    Unusable(String),
    #[error("the pattern of matches must be a text that is written down")]
    Computed,
}

thread_local! {
    static COMPILED: RefCell<BTreeMap<String, Arc<Pattern>>> =
        const { RefCell::new(BTreeMap::new()) };
}

impl Pattern {
    fn compile(text: &str) -> Result<Self, PatternError> {
        let config = Regex::config()
            .nfa_size_limit(Some(limits::REGEX_BYTES))
            .hybrid_cache_capacity(limits::REGEX_CACHE_BYTES);
        let built = Regex::builder().configure(config).build(text);
        let regex = built.map_err(|error| match (error.size_limit(), error.syntax_error()) {
            (Some(limit), _) => PatternError::TooLarge { limit },
            (None, Some(syntax)) => PatternError::Syntax(syntax.to_string()),
            (None, None) => PatternError::Unusable(error.to_string()),
        })?;
        let steps = 1 + (regex.memory_usage() / limits::REGEX_STEP_BYTES) as u64;
        Ok(Self { regex, steps })
    }

    /// The pattern of a text, compiled at most once by each thread that runs expressions.
    pub(super) fn of(text: &str) -> Result<Arc<Self>, ExecutionError> {
        let known = COMPILED.with_borrow(|all| all.get(text).cloned());
        if let Some(known) = known {
            return Ok(known);
        }
        let compiled = Self::compile(text);
        let compiled = compiled.map_err(|why| ExecutionError::function_error("matches", why))?;
        let compiled = Arc::new(compiled);
        COMPILED.with_borrow_mut(|all| {
            if all.len() >= limits::REGEXES_COMPILED {
                all.clear();
            }
            all.insert(text.to_owned(), Arc::clone(&compiled));
        });
        Ok(compiled)
    }

    /// Steps that it takes to look for it in a text.
    pub(super) fn cost(&self, text: &str) -> u64 {
        self.steps.saturating_mul(1 + text.len() as u64)
    }

    /// Returns true if some part of the text matches.
    pub(super) fn is_in(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

/// The parts of a call of `matches`: the text, and the pattern.
pub(super) fn parts(call: &mut CallExpr) -> Option<(&mut IdedExpr, &mut IdedExpr)> {
    match (call.func_name.as_str(), call.target.as_deref_mut(), &mut call.args[..]) {
        ("matches", Some(text), [pattern]) | ("matches", None, [text, pattern]) => {
            Some((text, pattern))
        }
        _ => None,
    }
}

/// Refuses patterns that do not compile, and those that are not written down.
pub(super) fn check(at: &mut IdedExpr) -> Result<(), PatternError> {
    let entry = |entry: &mut EntryExpr| match entry {
        EntryExpr::StructField(field) => check(&mut field.value),
        EntryExpr::MapEntry(entry) => check(&mut entry.key).and_then(|()| check(&mut entry.value)),
    };
    match &mut at.expr {
        Expr::Unspecified | Expr::Literal(_) | Expr::Ident(_) => Ok(()),
        Expr::Select(select) => check(&mut select.operand),
        Expr::Call(call) => {
            if let Some((_, pattern)) = parts(call) {
                let Expr::Literal(LiteralValue::String(text)) = &pattern.expr else {
                    return Err(PatternError::Computed);
                };
                Pattern::compile(text.inner())?;
            }
            let target = call.target.as_deref_mut().into_iter();
            target.chain(&mut call.args).try_for_each(check)
        }
        Expr::List(list) => list.elements.iter_mut().try_for_each(check),
        Expr::Map(map) => map.entries.iter_mut().try_for_each(|one| entry(&mut one.expr)),
        Expr::Struct(made) => made.entries.iter_mut().try_for_each(|one| entry(&mut one.expr)),
        Expr::Comprehension(over) => {
            check(&mut over.iter_range)?;
            check(&mut over.accu_init)?;
            check(&mut over.loop_cond)?;
            check(&mut over.loop_step)?;
            check(&mut over.result)
        }
    }
}

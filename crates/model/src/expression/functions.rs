//! Functions that an expression may call, as the interpreter knows them.
//!
//! It keeps the list to itself and says that it does not know a function only when it comes to call
//! it, which may be years later. So it is asked beforehand, with a call of that name and nothing
//! that fits.

use std::sync::Arc;

use cel::common::ast::{CallExpr, Expr, LiteralValue};
use cel::objects::Value;
use cel::{Context, ExecutionError, IdedExpr};

use super::metered::ENVIRONMENT;

/// Form of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `f(x)`
    Free,
    /// `x.f()`
    OfValue,
}

/// Returns true if there is a function of this name in this form. An operator, which no text can
/// name, is one.
pub(super) fn is_known(name: &str, form: Form) -> bool {
    let is_operator =
        !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(&byte));
    // `matches` is looked at by itself: its pattern must be written down.
    is_operator || name == "matches" || knows(name, form)
}

fn knows(name: &str, form: Form) -> bool {
    let of_nothing = |expr| IdedExpr { id: 0, expr };
    let target = match form {
        Form::Free => None,
        Form::OfValue => Some(Box::new(of_nothing(Expr::Literal(LiteralValue::Null)))),
    };
    let call = Expr::Call(CallExpr { func_name: name.to_owned(), target, args: vec![] });
    let context = Context::with_env(Arc::clone(&ENVIRONMENT));
    let called = Value::resolve_val(&of_nothing(call), &context).map(drop);
    !matches!(called, Err(ExecutionError::UndeclaredReference(_)))
}

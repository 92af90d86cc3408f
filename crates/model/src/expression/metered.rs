//! Metering of expressions: the cost of a run, held within its limit.
//!
//! The interpreter does what the tree says, and what a node takes depends on what it is given: `in`
//! goes over a list, `+` copies, a loop does its body again. So the tree is changed after it was
//! parsed: whatever may take more than a moment asks the [`Meter`] first.
//!
//! | in the tree | becomes | costs |
//! | --- | --- | --- |
//! | `a + b` | `@add(a, b)` | both operands |
//! | `a == b`, `a != b` | `@equal(a, b)`, `@differ(a, b)` | the smaller text, or the container |
//! | `a < b` and the like | the same of `@weigh(a)` | the operands |
//! | `a in b` | the same of `@list(b)` | the list |
//! | a call, an element of a list, a map | the same of `@weigh(…)` | what is handed over |
//! | `a.matches(b)` | `@matches(a, b)` | the text's bytes times what the pattern weighs |
//! | `a.?b`, `a[?b]` | `@weigh` of it | what is copied |
//! | a loop | over `@turns(range, n)` | the range, and its length times `n`, its body's nodes |
//!
//! Values weigh one for each of them, and one more for every 16 bytes of text. A value compared to
//! a literal is not weighed: it takes no longer than the literal is long.

use std::cell::Cell;
use std::sync::{Arc, LazyLock};

use cel::common::ast::{CallExpr, EntryExpr, Expr, LiteralValue, operators};
use cel::common::functions::Function;
use cel::common::types::{
    CelBytes, CelInt, CelList, CelMap, CelOptional, CelString, DYN_TYPE, Kind,
};
use cel::common::value::{CowVal, Val};
use cel::{Env, ExecutionError, IdedExpr};

use super::pattern::{self, Pattern};

/// Steps that expressions may still take: one meter is for all that are run for one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meter {
    left: u64,
}

impl Meter {
    /// A meter of so many steps.
    #[must_use]
    pub fn new(steps: u64) -> Self {
        Self { left: steps }
    }

    /// Steps that are left.
    #[must_use]
    pub fn left(self) -> u64 {
        self.left
    }

    /// Runs something that asks the meter; none when it has asked for too much.
    pub(super) fn run<T>(&mut self, steps: u64, run: impl FnOnce() -> T) -> Option<T> {
        // What is asked for is asked by functions that know no more than their arguments.
        let outer = LEFT.replace(Some(self.left));
        let done = charge(steps).ok().map(|()| run());
        let left = LEFT.replace(outer);
        self.left = left.unwrap_or(0);
        left.and(done)
    }
}

thread_local! {
    /// Steps left for the expression that runs on this thread; none when it has asked for more.
    static LEFT: Cell<Option<u64>> = const { Cell::new(None) };
}

fn charge(steps: u64) -> Result<(), ExecutionError> {
    let left = LEFT.get().and_then(|left| left.checked_sub(steps));
    LEFT.set(left);
    match left {
        Some(_) => Ok(()),
        None => Err(ExecutionError::function_error("meter", "too many steps")),
    }
}

/// The standard library, and the functions that the metered tree calls.
pub(super) static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    let mut add = |name: &str, arguments: usize, function: Function| {
        env.add_overload(name, name, (0..arguments).map(|_| DYN_TYPE).collect(), function)
            .expect("names with an @ are ours, each once");
    };
    add("@weigh", 1, weigh);
    add("@list", 1, list);
    add("@add", 2, plus);
    add("@equal", 2, equal);
    add("@differ", 2, differ);
    add("@turns", 2, turns);
    add("@matches", 2, matches);
    Arc::new(env)
});

type Arguments<'b, 'v> = Vec<CowVal<'b, 'v>>;
type Answer<'b, 'v> = Result<CowVal<'b, 'v>, ExecutionError>;

fn one<'b, 'v>(arguments: Arguments<'b, 'v>) -> CowVal<'b, 'v> {
    arguments.into_iter().next().expect("as declared")
}

fn two<'b, 'v>(arguments: Arguments<'b, 'v>) -> (CowVal<'b, 'v>, CowVal<'b, 'v>) {
    let mut arguments = arguments.into_iter();
    (arguments.next().expect("as declared"), arguments.next().expect("as declared"))
}

fn weigh<'b, 'v>(arguments: Arguments<'b, 'v>) -> Answer<'b, 'v> {
    let value = one(arguments);
    charge_for(value.as_ref())?;
    Ok(value)
}

fn list<'b, 'v>(arguments: Arguments<'b, 'v>) -> Answer<'b, 'v> {
    let value = one(arguments);
    match value.get_type().kind() {
        // A key is looked up.
        Kind::Map => charge(1)?,
        _ => charge_for(value.as_ref())?,
    }
    Ok(value)
}

fn plus<'b, 'v>(arguments: Arguments<'b, 'v>) -> Answer<'b, 'v> {
    let (left, right) = two(arguments);
    charge_for(left.as_ref())?;
    charge_for(right.as_ref())?;
    let Some(adder) = left.as_adder() else {
        let types = [left.as_ref(), right.as_ref()].map(|value| value.get_type().name().to_owned());
        return Err(ExecutionError::no_such_overload(operators::ADD, types.into()));
    };
    Ok(CowVal::Owned(adder.add(right.as_ref())?.into_owned()))
}

fn equal<'b, 'v>(arguments: Arguments<'b, 'v>) -> Answer<'b, 'v> {
    are_equal(arguments).map(|equal| CowVal::owned(cel::common::types::CelBool::from(equal)))
}

fn differ<'b, 'v>(arguments: Arguments<'b, 'v>) -> Answer<'b, 'v> {
    are_equal(arguments).map(|equal| CowVal::owned(cel::common::types::CelBool::from(!equal)))
}

fn are_equal(arguments: Arguments<'_, '_>) -> Result<bool, ExecutionError> {
    let (left, right) = two(arguments);
    match (text_of(left.as_ref()), text_of(right.as_ref())) {
        (Some(left), Some(right)) => charge(of_bytes(left.min(right)))?,
        (None, None) => charge_for(left.as_ref())?,
        _ => charge(1)?,
    }
    Ok(left == right)
}

fn matches<'b, 'v>(arguments: Arguments<'b, 'v>) -> Answer<'b, 'v> {
    let (text, pattern) = two(arguments);
    let texts = [&text, &pattern].map(|one| one.as_ref().downcast_ref::<CelString<'_>>());
    let [Some(text), Some(pattern)] = texts else {
        let types = [&text, &pattern].map(|one| one.as_ref().get_type().name().to_owned());
        return Err(ExecutionError::no_such_overload("matches", types.into()));
    };
    let pattern = Pattern::of(pattern.inner())?;
    charge(pattern.cost(text.inner()))?;
    Ok(CowVal::owned(cel::common::types::CelBool::from(pattern.is_in(text.inner()))))
}

fn turns<'b, 'v>(arguments: Arguments<'b, 'v>) -> Answer<'b, 'v> {
    let (range, body) = two(arguments);
    charge_for(range.as_ref())?;
    let body = body.downcast_ref::<CelInt>().map_or(1, |body| body.inner().unsigned_abs());
    let length = range.as_sizer().map_or(1, |sizer| sizer.size().inner().unsigned_abs());
    charge(length.saturating_mul(body))?;
    Ok(range)
}

/// Bytes of a text.
fn text_of(value: &dyn Val) -> Option<usize> {
    let text = value.downcast_ref::<CelString<'_>>().map(|text| text.inner().len());
    text.or_else(|| value.downcast_ref::<CelBytes<'_>>().map(|bytes| bytes.inner().len()))
}

fn of_bytes(bytes: usize) -> u64 {
    1 + bytes as u64 / 16
}

/// Takes the weight of a value, and stops where it is too much.
pub(super) fn charge_for(value: &dyn Val) -> Result<(), ExecutionError> {
    match value.get_type().kind() {
        Kind::String | Kind::Bytes => charge(text_of(value).map_or(1, of_bytes)),
        Kind::List => {
            charge(1)?;
            let items = value.downcast_ref::<CelList<'_>>().map(CelList::inner).unwrap_or_default();
            items.iter().try_for_each(|item| charge_for(item.as_ref()))
        }
        #[expect(clippy::disallowed_methods, reason = "a sum knows no order")]
        Kind::Map => {
            charge(1)?;
            let Some(map) = value.downcast_ref::<CelMap<'_>>() else { return Ok(()) };
            map.inner().iter().try_for_each(|(key, item)| {
                charge_for(key.inner())?;
                charge_for(item.as_ref())
            })
        }
        _ => match value.downcast_ref::<CelOptional<'_>>().and_then(CelOptional::inner) {
            Some(inner) => charge_for(inner),
            None => charge(1),
        },
    }
}

/// Changes a tree so that it asks the meter; tells how many nodes it has.
pub(super) fn meter(at: &mut IdedExpr) -> u64 {
    1 + match &mut at.expr {
        Expr::Unspecified | Expr::Ident(_) => 0,
        Expr::Literal(LiteralValue::String(text)) => of_bytes(text.inner().len()),
        Expr::Literal(_) => 0,
        Expr::Select(select) => meter(&mut select.operand),
        Expr::Call(call) => meter_call(call),
        Expr::List(made) => made.elements.iter_mut().map(meter_weighed).sum(),
        Expr::Map(made) => made.entries.iter_mut().map(|entry| meter_entry(&mut entry.expr)).sum(),
        Expr::Struct(made) => {
            made.entries.iter_mut().map(|entry| meter_entry(&mut entry.expr)).sum()
        }
        Expr::Comprehension(over) => {
            let once =
                meter(&mut over.iter_range) + meter(&mut over.accu_init) + meter(&mut over.result);
            let body = 1 + meter(&mut over.loop_cond) + meter(&mut over.loop_step);
            let turns = i64::try_from(body).unwrap_or(i64::MAX);
            let turns = Expr::Literal(LiteralValue::Int(CelInt::from(turns)));
            let range = std::mem::take(&mut over.iter_range);
            let turns = IdedExpr { id: range.id, expr: turns };
            over.iter_range = call(range.id, "@turns", vec![range, turns]);
            once + body
        }
    }
}

fn meter_call(made: &mut CallExpr) -> u64 {
    let nodes =
        made.target.as_deref_mut().map_or(0, meter) + made.args.iter_mut().map(meter).sum::<u64>();
    if let Some((text, pattern)) = pattern::parts(made) {
        let args = vec![std::mem::take(text), std::mem::take(pattern)];
        *made = CallExpr { func_name: "@matches".into(), target: None, args };
        return nodes;
    }
    let args = &mut made.args[..];
    match (made.func_name.as_str(), args) {
        // Not what a loop adds to what it makes.
        (operators::ADD, [left, _]) if is_ours(left) => {}
        (operators::ADD, [_, _]) => made.func_name = "@add".into(),
        (operators::EQUALS | operators::NOT_EQUALS, [left, right])
            if is_literal(left) || is_literal(right) => {}
        (operators::EQUALS, [_, _]) => made.func_name = "@equal".into(),
        (operators::NOT_EQUALS, [_, _]) => made.func_name = "@differ".into(),
        (
            operators::LESS
            | operators::LESS_EQUALS
            | operators::GREATER
            | operators::GREATER_EQUALS,
            [left, right],
        ) => {
            if !is_literal(left) && !is_literal(right) {
                wrap(left, "@weigh");
                wrap(right, "@weigh");
            }
        }
        (operators::IN, [_, right]) => wrap(right, "@list"),
        (
            operators::CONDITIONAL
            | operators::LOGICAL_AND
            | operators::LOGICAL_OR
            | operators::LOGICAL_NOT
            | operators::NOT_STRICTLY_FALSE
            | operators::SUBSTRACT
            | operators::MULTIPLY
            | operators::DIVIDE
            | operators::MODULO
            | operators::NEGATE
            | operators::INDEX
            | operators::OPT_INDEX
            | operators::OPT_SELECT,
            _,
        ) => {}
        (_, args) => {
            made.target.as_deref_mut().into_iter().chain(args).for_each(|arg| wrap(arg, "@weigh"));
        }
    }
    nodes
}

fn meter_weighed(at: &mut IdedExpr) -> u64 {
    let nodes = meter(at);
    wrap(at, "@weigh");
    nodes
}

fn meter_entry(entry: &mut EntryExpr) -> u64 {
    match entry {
        EntryExpr::StructField(field) => meter_weighed(&mut field.value),
        EntryExpr::MapEntry(entry) => {
            meter_weighed(&mut entry.key) + meter_weighed(&mut entry.value)
        }
    }
}

fn wrap(at: &mut IdedExpr, name: &str) {
    // A literal weighs what it weighs; a list or a map that is written down is weighed inside.
    if !is_literal(at) && !is_ours(at) {
        let inner = std::mem::take(at);
        *at = call(inner.id, name, vec![inner]);
    }
}

fn call(id: u64, name: &str, args: Vec<IdedExpr>) -> IdedExpr {
    IdedExpr { id, expr: Expr::Call(CallExpr { func_name: name.into(), target: None, args }) }
}

fn is_literal(at: &IdedExpr) -> bool {
    matches!(at.expr, Expr::Literal(_))
}

/// Returns true if the parser made up the name, for a loop: such a name begins with an @.
fn is_ours(at: &IdedExpr) -> bool {
    matches!(&at.expr, Expr::Ident(name) if name.starts_with('@'))
}

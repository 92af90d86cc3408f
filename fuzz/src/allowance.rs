//! Memory limit of an input: an allocation beyond it ends the process, and libFuzzer keeps the
//! input.

use std::alloc::System;
use std::panic;
use std::sync::Once;

use cap::Cap;

#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

static HOOK: Once = Once::new();

/// Runs `work`, which may hold `constant` bytes and `each` for every byte of the input on top of
/// what is held now.
pub fn within<T>(constant: usize, each: usize, input: usize, work: impl FnOnce() -> T) -> T {
    HOOK.call_once(tell_panics_in_full);
    let allowed = MEMORY.allocated() + constant + each * input;
    MEMORY.set_limit(allowed).expect("the limit is above what is held");
    let outcome = work();
    MEMORY.set_limit(usize::MAX).expect("there is no limit above it");
    outcome
}

/// A panic that prints its stack takes more memory than an input may, and would hang without it.
fn tell_panics_in_full() {
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        let _ = MEMORY.set_limit(usize::MAX);
        tell(panic);
    }));
}

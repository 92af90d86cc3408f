//! How much memory an input may cost: what goes beyond it ends the process, and libFuzzer keeps
//! the input.

use std::alloc::System;

use cap::Cap;

#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

/// Runs `work`, which may hold `constant` bytes and `each` for every byte of the input on top of
/// what is held now.
pub fn within<T>(constant: usize, each: usize, input: usize, work: impl FnOnce() -> T) -> T {
    let allowed = MEMORY.allocated() + constant + each * input;
    MEMORY.set_limit(allowed).expect("the limit is above what is held");
    let outcome = work();
    MEMORY.set_limit(usize::MAX).expect("there is no limit above it");
    outcome
}

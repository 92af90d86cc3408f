//! The simulator's own promises.

mod faults_are_caught;
mod seeds_hold;

//! The simulator's own promises.

mod checkers_see;
mod faults_are_caught;
mod mail;
mod seeds_hold;
mod sites;

//! The binary, from outside.

mod crash;

//! Code shared by the fuzz targets.
//!
//! What lives here: the bound on memory ([`allowance`]) and cuts of a stream ([`pieces`]).
//! What does not: the targets, one file each in `targets/`.
//! Start reading at any target.

pub mod allowance;
pub mod pieces;

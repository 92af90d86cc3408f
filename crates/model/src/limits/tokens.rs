//! Limits of tokens, and of the files of keys that they are checked with.

/// Longest token or key that a request may carry.
pub const TOKEN_BYTES: usize = 8 * 1024;
/// Rights that a token may carry itself.
pub const TOKEN_RIGHTS: usize = 32;
/// Issuers of tokens.
pub const TOKEN_ISSUERS: usize = 16;
/// Longest text that is put in front of the subjects of an issuer.
pub const SUBJECT_PREFIX_BYTES: usize = 64;
/// Keys that tokens of one issuer are checked with.
pub const TOKEN_KEYS: usize = 64;
/// Shortest secret that tokens are signed with.
pub const TOKEN_SECRET_BYTES: usize = 32;
/// Shortest modulus of a key of RSA, in bits (RFC 7518, 3.3).
pub const TOKEN_RSA_BITS_LEAST: usize = 2_048;
/// Longest modulus of a key of RSA, in bits: a signature costs its square.
pub const TOKEN_RSA_BITS_MOST: usize = 8_192;
/// Leeway for clocks that differ, when a token's times are checked.
pub const TOKEN_LEEWAY_S: u64 = 30;
/// Time for which the keys of a file hold while it has changed and cannot be read, in milliseconds.
pub const KEYS_UNREAD_MS: u64 = 10_000;

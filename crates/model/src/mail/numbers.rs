//! Numbers of mail: each counts something of its own, and is stored and sent as the bare number.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::registration::Generation;

/// Number of a message in its dataset, in the order in which they were stored, from 1.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

/// Number of a server of a dataset, in the order in which they were first seen.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ServerNo(pub u32);

/// Number of an endpoint of a dataset, in the order in which they were first seen.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EndpointNo(pub u32);

/// Registration of a server: unique in the dataset, although numbers are given again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegistrationId {
    /// The server.
    pub server: ServerNo,
    /// Its generation.
    pub generation: Generation,
}

impl Seq {
    /// Before the first message.
    pub const ZERO: Self = Self(0);
    /// Behind every message.
    pub const MAX: Self = Self(u64::MAX);

    /// The number behind it.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl ServerNo {
    /// No server: the message has no route.
    pub const NOWHERE: Self = Self(u32::MAX);
    /// The last number that a server may have.
    pub(super) const LAST: Self = Self(u32::MAX - 1);

    /// Number of the server at this place of the list of all.
    pub(super) fn of(index: usize) -> Self {
        u32::try_from(index).map_or(Self::LAST, |number| Self(number.min(Self::LAST.0)))
    }

    pub(super) fn index(self) -> usize {
        self.0 as usize
    }

    /// A registration of it.
    #[must_use]
    pub fn at(self, generation: Generation) -> RegistrationId {
        RegistrationId { server: self, generation }
    }
}

impl EndpointNo {
    /// No endpoint: no row routes the message, or there is none of that name.
    pub const NOWHERE: Self = Self(u32::MAX);

    /// Number of the endpoint at this place of the list of all.
    pub(super) fn of(index: usize) -> Self {
        let last = Self::NOWHERE.0 - 1;
        Self(u32::try_from(index).map_or(last, |number| number.min(last)))
    }

    pub(super) fn index(self) -> usize {
        self.0 as usize
    }

    /// The number behind it.
    pub(in crate::mail) fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// The bare number, as it is stored.
impl fmt::Debug for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for Seq {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(Self)
    }
}

/// The bare number, as it is stored.
impl fmt::Debug for EndpointNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The bare number, as it is stored.
impl fmt::Debug for ServerNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for ServerNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

//! Faults: what is wrong with which key of a configuration, and where that stands in its file.
//!
//! What does not fit together is found when the file has been read, so a fault names its key by a
//! path, such as `view[2].filter`, and [`Source`] finds the path in the text. A fault in an
//! expression is a place in the file as well, not in the expression alone.

use std::fmt;
use std::path::PathBuf;

use instep_model::expression::Spot;

use super::source::Source;

/// A key of the configuration, such as `view[2].project.level`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct KeyPath(pub(super) Vec<Step>);

/// One part of a [`KeyPath`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    /// The section of that number among those of one name, or the item of a list.
    At(usize),
}

/// Fault in a key of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault(Box<Parts>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Parts {
    key: KeyPath,
    /// Spot in the expression that the key holds.
    spot: Option<Spot>,
    problem: String,
    /// The value that is wrong, if the file need not be where it was said.
    value: Option<String>,
    /// Other key that it conflicts with, and the line of that.
    other: Option<(KeyPath, Option<usize>)>,
    place: Option<Place>,
}

/// A place in a file; a key that the file does not have has no spot.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    path: PathBuf,
    spot: Option<Spot>,
}

impl KeyPath {
    /// The path of a section, or of a key within such: `tls.key`.
    pub(crate) fn new(text: &str) -> Self {
        Self(text.split('.').map(|key| Step::Key(key.to_owned())).collect())
    }

    /// The section of that number.
    pub(crate) fn at(mut self, number: usize) -> Self {
        self.0.push(Step::At(number));
        self
    }

    /// A key within it.
    pub(crate) fn key(mut self, key: &str) -> Self {
        self.0.push(Step::Key(key.to_owned()));
        self
    }
}

impl From<&str> for KeyPath {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl Fault {
    pub(crate) fn new(key: impl Into<KeyPath>, problem: impl Into<String>) -> Self {
        let (key, problem) = (key.into(), problem.into());
        Self(Box::new(Parts { key, spot: None, problem, value: None, other: None, place: None }))
    }

    /// Fault outside of the configuration.
    pub(crate) fn elsewhere(problem: String) -> Self {
        Self::new(KeyPath::default(), problem)
    }

    /// In an expression, there.
    pub(crate) fn within(mut self, spot: Option<Spot>) -> Self {
        self.0.spot = spot;
        self
    }

    /// Because of what stands elsewhere.
    pub(crate) fn with(mut self, other: KeyPath) -> Self {
        self.0.other = Some((other, None));
        self
    }

    /// Of this value, which the command line may have said as well.
    pub(crate) fn of(mut self, value: impl fmt::Display) -> Self {
        self.0.value = Some(value.to_string());
        self
    }

    /// The fault with its place, if it has none yet.
    pub(crate) fn located(mut self, source: &Source) -> Self {
        let Parts { key, spot, value, other, place, .. } = &mut *self.0;
        let is_elsewhere = value.as_deref().is_some_and(|value| source.text_at(key) != Some(value));
        if place.is_some() || key.0.is_empty() || is_elsewhere {
            return self;
        }
        let spot = source.spot_of(key, *spot);
        *place = Some(Place { path: source.path().to_owned(), spot });
        if let Some((key, line)) = other {
            *line = source.spot_of(key, None).map(|spot| spot.line);
        }
        self
    }
}

impl std::error::Error for Fault {}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if at == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::At(number) => write!(f, "[{number}]")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts { key, spot, problem, other, place, .. } = &*self.0;
        if let Some(Place { path, spot }) = place {
            write!(f, "{}: ", path.display())?;
            if let Some(spot) = spot {
                write!(f, "{spot}: ")?;
            }
        }
        if !key.0.is_empty() {
            write!(f, "{key}: ")?;
        }
        if let (None, Some(spot)) = (place, spot) {
            write!(f, "{spot}: ")?;
        }
        f.write_str(problem)?;
        match other {
            Some((_, Some(line))) => write!(f, ": see line {line}"),
            Some((key, None)) => write!(f, ": see {key}"),
            None => Ok(()),
        }
    }
}

//! The version of the protocol that a client asks for in its query: `vsn`.

/// A version of the Channels protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Vsn {
    /// Messages are JSON objects; no binary frames. Default of clients without `vsn`.
    V1,
    /// Messages are JSON arrays of five elements; binary frames exist.
    V2,
}

/// The version is none that this server speaks. The door answers with status
/// [`VsnError::STATUS`] instead of an upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("vsn must match ~> 1.0.0 or ~> 2.0.0")]
pub struct VsnError;

impl VsnError {
    /// The HTTP status of the refusal.
    pub const STATUS: u16 = 403;
}

impl Vsn {
    /// Reads the query parameter `vsn`. Absent means version 1, as in Phoenix.
    ///
    /// # Errors
    /// [`VsnError`] when the text is not a semantic version matching `~> 1.0.0` or `~> 2.0.0`.
    pub fn parse(parameter: Option<&str>) -> Result<Self, VsnError> {
        let Some(text) = parameter else {
            return Ok(Self::V1);
        };
        let (version, build) = split_at_sign(text, '+');
        let (core, pre) = split_at_sign(version, '-');
        let mut parts = core.split('.').map(number);
        let (Some(Some(major)), Some(Some(minor)), Some(Some(patch)), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(VsnError);
        };
        if ![build, pre].into_iter().flatten().all(is_identifiers) {
            return Err(VsnError);
        }
        // A pre-release sorts before its release, so `2.0.0-rc.1` is older than `~> 2.0.0` asks.
        if minor != 0 || (pre.is_some() && patch == 0) {
            return Err(VsnError);
        }
        match major {
            1 => Ok(Self::V1),
            2 => Ok(Self::V2),
            _ => Err(VsnError),
        }
    }
}

fn split_at_sign(text: &str, sign: char) -> (&str, Option<&str>) {
    match text.split_once(sign) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

fn number(text: &str) -> Option<u32> {
    let canonical = text == "0" || !text.starts_with('0');
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if canonical && digits { text.parse().ok() } else { None }
}

fn is_identifiers(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    text.split('.').all(|part| !part.is_empty() && part.bytes().all(allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_version_is_version_one() {
        assert_eq!(Vsn::parse(None), Ok(Vsn::V1));
    }

    #[test]
    fn any_patch_of_one_zero_and_two_zero_is_accepted() {
        for (text, vsn) in [
            ("1.0.0", Vsn::V1),
            ("1.0.7", Vsn::V1),
            ("2.0.0", Vsn::V2),
            ("2.0.12", Vsn::V2),
            ("2.0.0+build.5", Vsn::V2),
            ("2.0.1-rc.1", Vsn::V2),
        ] {
            assert_eq!(Vsn::parse(Some(text)), Ok(vsn), "{text}");
        }
    }

    #[test]
    fn every_other_version_is_refused_with_403() {
        for text in [
            "",
            "2",
            "2.0",
            "2.1.0",
            "1.1.0",
            "3.0.0",
            "0.9.0",
            "v2.0.0",
            "2.0.0 ",
            "2.0.0-rc.1",
            "02.0.0",
            "2.0.x",
            "2.0.0.0",
            "2.0.0-",
            "2.0.0+",
            "2.0.1-a..b",
            "２.0.0",
        ] {
            assert_eq!(Vsn::parse(Some(text)), Err(VsnError), "{text}");
        }
        assert_eq!(VsnError::STATUS, 403);
    }
}

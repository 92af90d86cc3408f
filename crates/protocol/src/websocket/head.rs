//! The head of a frame.

use super::Violation;

/// Largest payload of a control frame.
pub(super) const CONTROL_BYTES: usize = 125;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    pub(super) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }

    fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    fn number(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }
}

/// The head of a frame from a client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) fin: bool,
    pub(super) opcode: Opcode,
    mask: [u8; 4],
    /// Bytes of the payload.
    pub(super) length: usize,
    /// Bytes of the head itself.
    pub(super) bytes: usize,
}

impl Head {
    /// Reads a head; none when it is not complete. A mistake is told as soon as it is seen.
    pub(super) fn parse(input: &[u8]) -> Result<Option<Self>, Violation> {
        let Some(&first) = input.first() else {
            return Ok(None);
        };
        if first & 0x70 != 0 {
            return Err(Violation::Protocol("a reserved bit is set"));
        }
        let Some(opcode) = Opcode::from_number(first & 0x0f) else {
            return Err(Violation::Protocol("an unknown opcode"));
        };
        let fin = first & 0x80 != 0;
        if opcode.is_control() && !fin {
            return Err(Violation::Protocol("a control frame in pieces"));
        }
        let Some(&second) = input.get(1) else {
            return Ok(None);
        };
        if second & 0x80 == 0 {
            return Err(Violation::Protocol("a frame without a mask"));
        }
        let short = usize::from(second & 0x7f);
        if opcode.is_control() && short > CONTROL_BYTES {
            return Err(Violation::Protocol("a control frame over 125 bytes"));
        }
        let (length, at) = match short {
            126 => match input.get(2..4) {
                Some(&[a, b]) => (usize::from(u16::from_be_bytes([a, b])), 4),
                _ => return Ok(None),
            },
            127 => match input.get(2..10).and_then(|long| <[u8; 8]>::try_from(long).ok()) {
                Some(long) => {
                    let length = i64::from_be_bytes(long);
                    let Ok(length) = usize::try_from(length) else {
                        return Err(Violation::Protocol("a length above 63 bits"));
                    };
                    (length, 10)
                }
                None => return Ok(None),
            },
            short => (short, 2),
        };
        let Some(&[a, b, c, d]) = input.get(at..at + 4) else {
            return Ok(None);
        };
        Ok(Some(Self { fin, opcode, mask: [a, b, c, d], length, bytes: at + 4 }))
    }

    /// Checks a head against the message that it continues, which has `opened` bytes so far.
    pub(super) fn check(&self, opened: Option<usize>, limit: usize) -> Result<(), Violation> {
        match (self.opcode, opened) {
            (Opcode::Continuation, None) => {
                return Err(Violation::Protocol("a continuation of nothing"));
            }
            (Opcode::Text | Opcode::Binary, Some(_)) => {
                return Err(Violation::Protocol("a message inside another"));
            }
            _ => {}
        }
        let before = if self.opcode.is_control() { 0 } else { opened.unwrap_or(0) };
        if before.saturating_add(self.length) > limit && !self.opcode.is_control() {
            Err(Violation::TooLarge { limit })
        } else {
            Ok(())
        }
    }

    /// Unmasks a piece of the payload that begins `done` bytes into it.
    pub(super) fn unmask(&self, piece: &mut [u8], done: usize) {
        let mut mask = self.mask;
        mask.rotate_left(done % 4);
        let long = u64::from_ne_bytes([
            mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3],
        ]);
        let mut eights = piece.chunks_exact_mut(8);
        for eight in &mut eights {
            let masked = <[u8; 8]>::try_from(&*eight).unwrap_or_default();
            eight.copy_from_slice(&(u64::from_ne_bytes(masked) ^ long).to_ne_bytes());
        }
        for (byte, mask) in eights.into_remainder().iter_mut().zip(mask.iter().cycle()) {
            *byte ^= mask;
        }
    }
}

/// Appends the head of a whole frame from a server.
pub(super) fn write(out: &mut Vec<u8>, opcode: Opcode, length: usize) {
    out.push(0x80 | opcode.number());
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..=125), _) => out.push(short),
        (_, Ok(medium)) => {
            out.push(126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        (_, Err(_)) => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

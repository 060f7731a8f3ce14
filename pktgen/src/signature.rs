//! What the payload of every test frame begins with.
//!
//! ```text
//!  0       2             6          10                  18
//!  | magic | label       | sequence | time, ns          |
//!            direction:1 run:7 flow:24
//! ```
//!
//! Eighteen bytes, because that is the payload of the smallest Ethernet frame that carries UDP over IPv4.
//= conformance BENCH-15

/// Bytes of a signature.
pub const LEN: usize = 18;
/// The first two bytes.
pub const MAGIC: u16 = 0x5317;
/// Flows that the label has room for.
pub const MOST_FLOWS: u32 = 1 << 24;

/// Which way a frame goes through the device under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Inside to outside.
    Outbound,
    /// Outside to inside.
    Inbound,
}

/// The content of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Which way the frame was sent.
    pub direction: Direction,
    /// Number of the run, 7 bits: frames of an earlier run, still on their way, are not taken for this one's.
    pub run: u8,
    /// Number of the flow, 24 bits.
    pub flow: u32,
    /// Number of the frame in its flow and direction.
    pub sequence: u32,
    /// When it was sent, in nanoseconds of the sender's clock.
    pub time: u64,
}

impl Signature {
    /// Direction, run and flow in one word.
    #[inline]
    pub fn label(&self) -> u32 {
        let direction = match self.direction {
            Direction::Outbound => 0,
            Direction::Inbound => 1 << 31,
        };
        direction | u32::from(self.run & 0x7f) << 24 | (self.flow & (MOST_FLOWS - 1))
    }

    /// Writes it.
    #[inline]
    pub fn write(&self, to: &mut [u8; LEN]) {
        to[..2].copy_from_slice(&MAGIC.to_be_bytes());
        to[2..6].copy_from_slice(&self.label().to_be_bytes());
        to[6..10].copy_from_slice(&self.sequence.to_be_bytes());
        to[10..].copy_from_slice(&self.time.to_be_bytes());
    }

    /// Reads it from the start of a payload; `None` if that is too short or does not begin with the magic number.
    #[inline]
    pub fn read(payload: &[u8]) -> Option<Self> {
        let bytes: &[u8; LEN] = payload.first_chunk()?;
        let [m0, m1, l0, l1, l2, l3, s0, s1, s2, s3, time @ ..] = *bytes;
        if u16::from_be_bytes([m0, m1]) != MAGIC {
            return None;
        }
        let label = u32::from_be_bytes([l0, l1, l2, l3]);
        Some(Self {
            direction: if label >> 31 == 0 { Direction::Outbound } else { Direction::Inbound },
            run: (label >> 24) as u8 & 0x7f,
            flow: label & (MOST_FLOWS - 1),
            sequence: u32::from_be_bytes([s0, s1, s2, s3]),
            time: u64::from_be_bytes(time),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_wrote() {
        for (direction, run, flow) in [
            (Direction::Outbound, 0, 0),
            (Direction::Inbound, 127, MOST_FLOWS - 1),
            (Direction::Outbound, 99, 7),
        ] {
            let signature = Signature { direction, run, flow, sequence: 0xfedc_ba98, time: u64::MAX - 5 };
            let mut bytes = [0; LEN];
            signature.write(&mut bytes);
            assert_eq!(Signature::read(&bytes), Some(signature));
            assert_eq!(Signature::read(&bytes[..LEN - 1]), None);
            bytes[0] ^= 1;
            assert_eq!(Signature::read(&bytes), None);
        }
    }
}

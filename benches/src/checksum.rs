//! Checksums over whole packets: what the delta of a session saves.

use sluice_nat::Tick;
use sluice_packet::{checksum, udp};

use crate::Random;
use crate::meter::{RING, Workload};
use crate::population::Population;

/// Sums the payload of IPv4 datagrams.
#[derive(Debug)]
pub struct FullChecksum {
    payloads: Vec<Vec<u8>>,
    sources: Vec<u32>,
}

impl FullChecksum {
    /// Datagrams of a length, their 20 bytes of IP header included.
    pub fn new(datagram: usize) -> Self {
        let mut random = Random::new(0x7375_6d73);
        let len = datagram.saturating_sub(20);
        let mut payload = || std::iter::repeat_with(|| random.number() as u8).take(len).collect::<Vec<_>>();
        let mut payloads: Vec<Vec<u8>> = std::iter::repeat_with(&mut payload).take(RING).collect();
        let mut sources = Vec::with_capacity(RING);
        for (source, payload) in (0xc612_0000..).zip(&mut payloads) {
            // The field is made right, so that the sum of all is known and can be checked.
            let Some(field) = payload.get_mut(6..8) else { continue };
            field.fill(0);
            let sum = checksum::transport_v4(source, source, udp::PROTOCOL, payload);
            payload[6..8].copy_from_slice(&sum.to_be_bytes());
            sources.push(source);
        }
        Self { payloads, sources }
    }
}

impl Workload for FullChecksum {
    type State = Population;

    fn fill(&mut self, _: &Population) {}

    fn pass(&mut self, _: &mut Population, _: Tick) -> u64 {
        let datagrams = self.payloads.iter().zip(&self.sources);
        datagrams
            .map(|(payload, &source)| {
                u64::from(checksum::transport_v4(source, source, udp::PROTOCOL, payload) == 0)
            })
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Flows;
    use sluice_nat::Kind;

    #[test]
    fn all_sums_are_right() {
        let mut population = Population::new(Flows::udp(Kind::Nat44, 1)).unwrap();
        for len in [46, 1500] {
            assert_eq!(FullChecksum::new(len).pass(&mut population, Tick(1)), RING as u64);
        }
    }
}

//! Mutations without a fuzzer: for the tests, which have neither its time nor its eyes.

use sluice_reference::dice::Dice;

/// An input like this one.
pub fn mutate(input: &[u8], other: &[u8], dice: &mut impl Dice) -> Vec<u8> {
    let mut made = input.to_vec();
    for _ in 0..1 + dice.roll(6) {
        let at = dice.roll(made.len() as u32 + 1) as usize;
        let len = 1 + dice.roll(8) as usize;
        match dice.roll(6) {
            0 => made.truncate(at),
            1 => drop(made.drain(at..(at + len).min(made.len()))),
            2 => drop(made.splice(at..at, (0..len).map(|_| dice.roll(256) as u8).collect::<Vec<_>>())),
            3 if !other.is_empty() => {
                let from = dice.roll(other.len() as u32) as usize;
                let piece = other[from..].iter().copied().take(len * 4).collect::<Vec<_>>();
                drop(made.splice(at..(at + piece.len()).min(made.len()), piece));
            }
            4 => {
                if let Some(byte) = made.get_mut(at) {
                    *byte = dice.pick(&[0, 1, 0x7f, 0x80, 0xff, byte.wrapping_add(1), byte.wrapping_sub(1)]);
                }
            }
            _ => {
                if let Some(byte) = made.get_mut(at) {
                    *byte ^= 1 << dice.roll(8);
                }
            }
        }
    }
    made
}

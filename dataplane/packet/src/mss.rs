//! Lowering the MSS that TCP peers tell each other, so that translation does not make their segments too big.

use crate::checksum::Delta;
use crate::meta::{Meta, Transport};
use crate::{Frame, tcp};

const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_MSS: u8 = 2;
const OPTION_MSS_LEN: usize = 4;

/// Lowers the MSS option of a SYN or SYN/ACK to `max`. Never raises it, never adds one, and leaves a segment whose
/// options are damaged as it is. Returns whether something changed.
//= conformance MSS-01, MSS-02, MSS-03, MSS-04, MSS-05, MSS-08
#[inline]
pub fn clamp_mss(frame: &mut Frame, meta: &Meta, max: u16) -> bool {
    if meta.transport != Transport::Tcp || meta.tcp_flags & tcp::SYN == 0 {
        return false;
    }
    clamp(frame, meta, max).unwrap_or(false)
}

fn clamp(frame: &mut Frame, meta: &Meta, max: u16) -> Option<bool> {
    let segment = frame.bytes_mut().get_mut(usize::from(meta.l4)..usize::from(meta.end))?;
    let header = tcp::Header::new_checked(segment)?;
    let header_len = header.header_len();
    // The flags of the meta are those of the packet unless the meta is not this frame's, as for a later fragment.
    if header.flags() & tcp::SYN == 0 {
        return None;
    }
    let options = segment.get_mut(20..header_len)?;
    // All of the list is judged before any of it is touched.
    if !well_formed(options) {
        return None;
    }
    let (mut delta, mut changed) = (Delta::ZERO, false);
    let mut at = 0;
    while let Some((kind, len)) = option(options.get(at..)?) {
        if kind == OPTION_END {
            break;
        }
        if kind == OPTION_MSS {
            let value = options.get_mut(at + 2..)?.first_chunk_mut::<2>()?;
            let mss = u16::from_be_bytes(*value);
            if mss > max {
                *value = max.to_be_bytes();
                changed = true;
                //= conformance MSS-07
                // At an odd offset the value lies across two words of the checksum: each byte counts in the other half.
                delta = if at % 2 == 0 {
                    delta.remove_u16(mss).add_u16(max)
                } else {
                    delta.remove_u16(mss.swap_bytes()).add_u16(max.swap_bytes())
                };
            }
        }
        at += len;
    }
    if !changed {
        return Some(false);
    }
    let mut header = tcp::Header::new_checked_mut(segment)?;
    header.set_checksum(delta.apply(header.checksum()));
    Some(true)
}

/// The option at the start of `options`: its kind and length. `None` if there is none or it is malformed.
//= conformance MSS-06
fn option(options: &[u8]) -> Option<(u8, usize)> {
    match *options {
        [kind @ (OPTION_END | OPTION_NOP), ..] => Some((kind, 1)),
        [kind, len, ..] => {
            let len = usize::from(len);
            let fits = len >= 2 && len <= options.len() && (kind != OPTION_MSS || len == OPTION_MSS_LEN);
            fits.then_some((kind, len))
        }
        _ => None,
    }
}

/// Whether the options end with their list or with an end-of-list option, nothing in them being malformed.
fn well_formed(mut options: &[u8]) -> bool {
    while let Some((kind, len)) = option(options) {
        if kind == OPTION_END {
            return true;
        }
        options = options.get(len..).unwrap_or_default();
    }
    options.is_empty()
}

#[cfg(test)]
mod tests;

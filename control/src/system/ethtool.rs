//! Offloads of a device, by the names that `ethtool -k` shows.
//!
//! The numbers behind the names differ between kernels, so the names are asked for first. The older requests, one per
//! offload, do not reach `rx-gro-hw`, which is what merges segments on virtio.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

const SIOCETHTOOL: libc::c_ulong = 0x8946;
const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSSET_INFO: u32 = 0x37;
const ETHTOOL_GFEATURES: u32 = 0x3a;
const ETHTOOL_SFEATURES: u32 = 0x3b;
/// The set of strings that names the features.
const ETH_SS_FEATURES: u32 = 4;
/// Bytes of a name, padded with zeroes.
const NAME: usize = 32;

/// Offloads that make a frame in memory differ from the frame on the wire: merged or unsegmented ones, missing
/// checksums, VLAN tags beside the frame. Names that begin with one of these are switched off.
const UNWANTED: [&str; 16] = [
    "rx-gro",
    "rx-lro",
    "rx-udp-gro-forwarding",
    "rx-vlan-filter",
    "rx-vlan-hw-parse",
    "rx-vlan-stag-filter",
    "rx-vlan-stag-hw-parse",
    "tx-checksum-",
    "tx-generic-segmentation",
    "tx-gso-",
    "tx-scatter-gather",
    "tx-sctp-segmentation",
    "tx-tcp",
    "tx-udp",
    "tx-vlan-hw-insert",
    "tx-vlan-stag-hw-insert",
];

/// The features of a device. One per fence, for as long as it is put up or taken down.
#[derive(Debug)]
pub(crate) struct Features {
    socket: OwnedFd,
    interface: String,
    names: Vec<String>,
}

impl Features {
    /// Asks for the names. The interface name must have passed `link::check_name`.
    pub(crate) fn open(interface: &str) -> io::Result<Self> {
        // SAFETY: takes integers only.
        let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
        if socket < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just returned this descriptor; nobody else owns it.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        let mut features = Self { socket, interface: interface.to_owned(), names: Vec::new() };
        features.names = features.read_names()?;
        Ok(features)
    }

    /// Unwanted features that are on and can be switched off.
    pub(crate) fn unwanted(&self) -> io::Result<Vec<String>> {
        let blocks = self.read_blocks()?;
        let on = |index: usize| {
            let Some(block) = blocks.get(index / 32) else { return false };
            let bit = 1 << (index % 32);
            block.available & bit != 0 && (block.requested | block.active) & bit != 0
        };
        let chosen = self
            .names
            .iter()
            .enumerate()
            .filter(|(index, name)| UNWANTED.iter().any(|prefix| name.starts_with(prefix)) && on(*index));
        Ok(chosen.map(|(_, name)| name.clone()).collect())
    }

    /// Switches features on or off. Names that this kernel or driver does not know are left out.
    pub(crate) fn set(&self, names: &[String], on: bool) -> io::Result<()> {
        let available = self.read_blocks()?;
        // Per block: the features to change, and the value they shall have.
        let mut words = vec![ETHTOOL_SFEATURES, available.len() as u32];
        words.resize(2 + 2 * available.len(), 0);
        for name in names {
            let Some(index) = self.names.iter().position(|known| known == name) else { continue };
            let (block, bit) = (index / 32, 1 << (index % 32));
            if available.get(block).is_some_and(|block| block.available & bit != 0) {
                words[2 + 2 * block] |= bit;
                words[3 + 2 * block] |= if on { bit } else { 0 };
            }
        }
        self.ioctl(&mut words)
    }

    fn read_names(&self) -> io::Result<Vec<String>> {
        // Command, reserved, the set as a 64-bit mask, then one count for each set in the mask.
        let mut info = [ETHTOOL_GSSET_INFO, 0, 1 << ETH_SS_FEATURES, 0, 0];
        self.ioctl(&mut info)?;
        let count = info[4] as usize;
        let mut strings = vec![0; 3 + count * NAME / 4];
        strings[..3].copy_from_slice(&[ETHTOOL_GSTRINGS, ETH_SS_FEATURES, count as u32]);
        self.ioctl(&mut strings)?;
        let bytes: Vec<u8> = strings[3..].iter().flat_map(|word| word.to_ne_bytes()).collect();
        let names = bytes.chunks_exact(NAME).map(|name| {
            let end = name.iter().position(|byte| *byte == 0).unwrap_or(NAME);
            String::from_utf8_lossy(&name[..end]).into_owned()
        });
        Ok(names.collect())
    }

    fn read_blocks(&self) -> io::Result<Vec<Block>> {
        let count = self.names.len().div_ceil(32);
        let mut words = vec![0; 2 + 4 * count];
        words[..2].copy_from_slice(&[ETHTOOL_GFEATURES, count as u32]);
        self.ioctl(&mut words)?;
        let blocks = words[2..].chunks_exact(4);
        Ok(blocks.map(|w| Block { available: w[0], requested: w[1], active: w[2] }).collect())
    }

    /// `words` begins with the command and has the length that the command asks for.
    fn ioctl(&self, words: &mut [u32]) -> io::Result<()> {
        // SAFETY: `ifreq` is plain data of integers, arrays and pointers, for which all zeroes is a valid value.
        let mut ifreq: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in ifreq.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(self.interface.bytes()) {
            *to = from as libc::c_char;
        }
        ifreq.ifr_ifru.ifru_data = words.as_mut_ptr().cast();
        // SAFETY: the kernel reads and writes `ifreq` and as much behind `ifru_data` as the counts in the command's
        // head say; the three callers reserve exactly that, and both live until the call returns.
        let result = unsafe { libc::ioctl(self.socket.as_raw_fd(), SIOCETHTOOL, &raw mut ifreq) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// 32 features: which can be changed, which were asked for, which are on.
#[derive(Clone, Copy, Debug)]
struct Block {
    available: u32,
    requested: u32,
    active: u32,
}

//! What the dataplane does with a TAP and with a packet socket, in miniature.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

pub(crate) const ARP: u16 = 0x0806;
pub(crate) const IPV4: u16 = 0x0800;
pub(crate) const IPV6: u16 = 0x86dd;

/// A queue of a TAP or a packet socket: one frame a read, one frame a write.
pub(crate) struct Frames(File);

impl Frames {
    /// Attaches a queue to a TAP, as the dataplane does.
    pub(crate) fn of_tap(name: &str) -> Self {
        Self::of_tun(name, libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_MULTI_QUEUE).unwrap()
    }

    /// Opens the tun driver with any flags.
    pub(crate) fn of_tun(name: &str, flags: i32) -> io::Result<Self> {
        let mut options = File::options();
        let file = options.read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
        // SAFETY: plain data, for which all zeroes is a valid value.
        let mut ifreq: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in ifreq.ifr_name.iter_mut().zip(name.bytes()) {
            *to = from as libc::c_char;
        }
        ifreq.ifr_ifru.ifru_flags = flags as i16;
        // SAFETY: the request takes a pointer to one ifreq, which lives until the call returns.
        let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut ifreq) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(Self(file)) }
    }

    /// A packet socket for all protocols on a device, as `packet:` ports use.
    pub(crate) fn of_device(name: &str) -> Self {
        let protocol = (libc::ETH_P_ALL as u16).to_be();
        let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: takes integers only.
        let fd = unsafe { libc::socket(libc::AF_PACKET, kind, protocol.into()) };
        assert!(fd >= 0, "{}", io::Error::last_os_error());
        // SAFETY: the kernel has just returned this descriptor; nobody else owns it.
        let file = unsafe { File::from_raw_fd(fd) };
        let name = std::ffi::CString::new(name).unwrap();
        // SAFETY: plain data, for which all zeroes is a valid value.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = protocol;
        // SAFETY: the name ends with a zero and lives until the call returns.
        address.sll_ifindex = unsafe { libc::if_nametoindex(name.as_ptr()) } as i32;
        let size = size_of::<libc::sockaddr_ll>() as u32;
        // SAFETY: the address is of the family of the socket, and `size` is its size.
        let result = unsafe { libc::bind(file.as_raw_fd(), (&raw const address).cast(), size) };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
        Self(file)
    }

    pub(crate) fn send(&self, frame: &[u8]) {
        assert_eq!((&self.0).write(frame).unwrap(), frame.len());
    }

    /// The next frame for which `wanted` says yes, within a time.
    pub(crate) fn receive(&self, within: Duration, wanted: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
        let end = Instant::now() + within;
        let mut frame = vec![0; 65_536];
        while Instant::now() < end {
            match (&self.0).read(&mut frame) {
                Ok(length) if wanted(&frame[..length]) => return Some(frame[..length].to_vec()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(error) => panic!("{error}"),
            }
        }
        None
    }
}

pub(crate) fn ether_type(frame: &[u8]) -> u16 {
    frame.get(12..14).map_or(0, |bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// Whether a frame asks for the MAC address of an IPv4 address.
pub(crate) fn asks_for(frame: &[u8], target: Ipv4Addr) -> bool {
    ether_type(frame) == ARP
        && frame.get(20..22) == Some(&[0, 1])
        && frame.get(38..42) == Some(&target.octets())
}

/// Whether a frame is a neighbour solicitation (ICMPv6 type 135).
pub(crate) fn solicits(frame: &[u8]) -> bool {
    ether_type(frame) == IPV6 && frame.get(20) == Some(&58) && frame.get(54) == Some(&135)
}

/// An ARP packet in an Ethernet frame.
pub(crate) fn arp(
    operation: u8,
    from: ([u8; 6], Ipv4Addr),
    to: ([u8; 6], Ipv4Addr),
    destination: [u8; 6],
) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend(destination);
    frame.extend(from.0);
    frame.extend(ARP.to_be_bytes());
    frame.extend([0, 1, 8, 0, 6, 4, 0, operation]);
    frame.extend(from.0);
    frame.extend(from.1.octets());
    frame.extend(to.0);
    frame.extend(to.1.octets());
    frame
}

/// The answer of `mac` to an ARP request.
pub(crate) fn answer(request: &[u8], mac: [u8; 6]) -> Vec<u8> {
    let sender_mac: [u8; 6] = request[22..28].try_into().unwrap();
    let sender: [u8; 4] = request[28..32].try_into().unwrap();
    let target: [u8; 4] = request[38..42].try_into().unwrap();
    arp(2, (mac, target.into()), (sender_mac, sender.into()), sender_mac)
}

/// A process that holds a queue of a TAP until it is killed.
pub(crate) struct Process(i32);

impl Process {
    pub(crate) fn with_queue_of(name: &str) -> Self {
        let queue = Frames::of_tap(name);
        // SAFETY: the child calls nothing but `pause`, which is safe after a fork of a process with threads.
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child == 0 {
            loop {
                // SAFETY: has no arguments; returns only for a signal.
                unsafe { libc::pause() };
            }
        }
        // The child's copy is now the only one.
        drop(queue);
        Self(child)
    }

    pub(crate) fn kill(self) {
        drop(self);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SAFETY: the child was made by this value and has not been waited for; no memory is passed.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, std::ptr::null_mut(), 0);
        }
    }
}

//! A network namespace with a pair of interfaces, and a packet socket on the far end.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::Command;
use std::time::{Duration, Instant};

/// EtherType of the tests' frames, one that is for experiments, so that nothing else on the pair is taken for theirs.
pub const ETHERTYPE: [u8; 2] = [0x88, 0xb5];

/// A pair of veth interfaces in a namespace that only this process is in. The kernel removes both with the process, however
/// it ends, so there is nothing to clean up and names cannot clash.
pub struct Veth {
    /// The end for DPDK.
    pub near: String,
    /// The end for the test.
    pub far: String,
}

impl Veth {
    /// Moves the calling thread, and with it every thread started later, into a namespace of its own and makes the pair.
    /// Call it before EAL starts its threads.
    pub fn new(tag: &str) -> Self {
        super::require_root();
        // SAFETY: changes the namespaces of the calling thread only.
        let moved = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        assert_eq!(moved, 0, "a network namespace needs CAP_SYS_ADMIN");
        let pair = Self { near: format!("{tag}n"), far: format!("{tag}f") };
        run(&format!("ip link add {} type veth peer name {}", pair.near, pair.far));
        for end in [&pair.near, &pair.far] {
            // Offloads would leave checksums to be filled in and packets to be cut by a NIC that is not there.
            run(&format!("ethtool -K {end} rx off tx off sg off gso off tso off gro off"));
            std::fs::write(format!("/proc/sys/net/ipv6/conf/{end}/disable_ipv6"), "1")
                .expect("IPv6 can be disabled");
            run(&format!("ip link set {end} up"));
        }
        pair
    }
}

/// Runs a command; its output is in the message if it fails.
pub fn run(line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    let output =
        Command::new(words[0]).args(&words[1..]).output().unwrap_or_else(|error| panic!("{line}: {error}"));
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A packet socket on one interface.
pub struct PacketSocket(OwnedFd);

impl PacketSocket {
    /// Opens it for the tests' frames.
    pub fn new(interface: &str) -> Self {
        let protocol = u16::from_be_bytes(ETHERTYPE).to_be();
        let name = std::ffi::CString::new(interface).unwrap();
        // SAFETY: a socket that is owned from here on, an address structure that is zeroed and outlives the call.
        unsafe {
            let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_NONBLOCK, i32::from(protocol));
            assert!(fd >= 0, "packet socket: {}", std::io::Error::last_os_error());
            let socket = Self(OwnedFd::from_raw_fd(fd));
            let mut address: libc::sockaddr_ll = std::mem::zeroed();
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_protocol = protocol;
            address.sll_ifindex = libc::if_nametoindex(name.as_ptr()) as i32;
            let length = std::mem::size_of_val(&address) as u32;
            assert_eq!(libc::bind(fd, (&raw const address).cast(), length), 0);
            socket
        }
    }

    /// Sends a frame.
    pub fn send(&self, frame: &[u8]) {
        // SAFETY: the buffer is as long as it is said to be.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        assert_eq!(sent, frame.len() as isize, "{}", std::io::Error::last_os_error());
    }

    /// Receives a frame if there is one.
    pub fn receive(&self) -> Option<Vec<u8>> {
        let mut frame = vec![0u8; 4096];
        // SAFETY: the buffer is as long as it is said to be.
        let got = unsafe { libc::recv(self.0.as_raw_fd(), frame.as_mut_ptr().cast(), frame.len(), 0) };
        frame.truncate(usize::try_from(got).ok()?);
        Some(frame)
    }
}

/// A frame of the tests: its number, and content that follows from it.
pub fn frame(number: u32, length: usize) -> Vec<u8> {
    let mut frame = vec![0; length];
    // To an address that is nobody's: a software port needs no promiscuous mode for it.
    frame[0..6].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    frame[12..14].copy_from_slice(&ETHERTYPE);
    frame[14..18].copy_from_slice(&number.to_be_bytes());
    for (i, byte) in frame[18..].iter_mut().enumerate() {
        *byte = (number as usize + i) as u8;
    }
    frame
}

/// Whether a frame is one of the tests' and not the kernel's.
pub fn is_ours(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&ETHERTYPE)
}

/// Calls `step` until it returns something. Fails after five seconds: a software port is done in a millisecond.
pub fn wait<T>(what: &str, mut step: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        if let Some(found) = step() {
            return found;
        }
        assert!(Instant::now() < deadline, "nothing happened within 5 s: {what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

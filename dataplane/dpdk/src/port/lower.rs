//! The kernel interface below a port. `net_af_packet` and `net_af_xdp` go on saying that the link is up when it has gone.

use std::ffi::CString;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;

/// The interface that a port was attached to.
#[derive(Debug)]
pub(super) struct Lower {
    name: CString,
    index: u32,
}

impl Lower {
    /// The interface of that name, if there is one.
    pub(super) fn find(name: &str) -> Option<Self> {
        let name = CString::new(name).ok()?;
        let index = index(&name)?;
        Some(Self { name, index })
    }

    /// Whether it is there, is up and has a carrier.
    pub(super) fn is_up(&self) -> bool {
        const WANTED: i32 = libc::IFF_UP | libc::IFF_RUNNING;
        index(&self.name) == Some(self.index)
            && self.flags().is_some_and(|flags| i32::from(flags) & WANTED == WANTED)
    }

    /// Whether another interface has its name by now.
    pub(super) fn is_replaced(&self) -> bool {
        index(&self.name).is_some_and(|index| index != self.index)
    }

    fn flags(&self) -> Option<libc::c_short> {
        // Any socket will do to ask with.
        let socket = UnixDatagram::unbound().ok()?;
        // SAFETY: `ifreq` is plain data, and all zeros are a valid value of it.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        // The kernel took the name, so it fits, and zeros follow.
        for (to, &from) in request.ifr_name.iter_mut().zip(self.name.as_bytes()) {
            *to = from as libc::c_char;
        }
        // SAFETY: `SIOCGIFFLAGS` reads and writes an `ifreq`, which outlives the call, and leaves flags in it.
        unsafe {
            let done = libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request);
            (done >= 0).then_some(request.ifr_ifru.ifru_flags)
        }
    }
}

fn index(name: &CString) -> Option<u32> {
    // SAFETY: the string is NUL-terminated.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (index != 0).then_some(index)
}

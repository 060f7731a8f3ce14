//! The dataplane's queue of a TAP twin.
//!
//! Control creates the twin, persistent and multi-queue, and keeps a detached queue of its own, so that this one may come
//! and go without the kernel losing carrier, addresses or neighbours. This is the one file of the process with `unsafe`:
//! there is no safe way to say `TUNSETIFF`.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

/// An attached queue, non-blocking.
#[derive(Debug)]
pub struct TapQueue {
    file: File,
}

#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    flags: libc::c_short,
    rest: [u8; 22],
}

const _: () = assert!(size_of::<Request>() == size_of::<libc::ifreq>());

impl TapQueue {
    /// Attaches a queue to the TAP of that name. Without one, the kernel makes it, and it goes with the queue unless
    /// control makes it persistent.
    ///
    /// # Errors
    /// If `/dev/net/tun` is missing, the name is taken by something else, or the process may not.
    pub fn attach(name: &str) -> io::Result<Self> {
        if name.is_empty() || name.len() >= libc::IFNAMSIZ {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("`{name}` is no interface name"),
            ));
        }
        let file =
            OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
        let flags = (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_MULTI_QUEUE) as libc::c_short;
        let mut request = Request { name: [0; libc::IFNAMSIZ], flags, rest: [0; 22] };
        request.name[..name.len()].copy_from_slice(name.as_bytes());
        // SAFETY: `TUNSETIFF` reads and writes an `ifreq`, whose size and leading fields `Request` has; both outlive the call.
        let done = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(Self { file }) }
    }

    /// The descriptor, to wait on.
    pub fn file(&self) -> &File {
        &self.file
    }
}

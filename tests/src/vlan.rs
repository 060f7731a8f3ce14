//! A VLAN without the kernel's help, which may have been built without: two TAPs and a thread that tags between them.
//!
//! ```text
//! host: interface `vlan20` (TAP) ══ thread: tag on, tag off ══ switch: port (TAP), tagged frames
//! ```

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::netns::Netns;

/// Where a tag stands in a frame, and how long it is.
const PLACE: usize = 12;
const LENGTH: usize = 4;

/// A tagged cable from a host to a switch, until it is dropped.
pub struct TaggedCable {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl TaggedCable {
    /// Lays it: interface `vlan<id>` of the host, and on the switch one of the given name that carries tagged frames.
    pub fn new(host: &Netns, switch: &Netns, port: &str, id: u16) -> Result<Self> {
        let name = format!("vlan{id}");
        let untagged = host.run(|| tap(&name))?;
        let tagged = switch.run(|| tap(port))?;
        host.ip(&["link", "set", &name, "up"])?;
        switch.ip(&["link", "set", port, "up"])?;
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let thread = std::thread::spawn(move || relay(&untagged, &tagged, id, &asked));
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for TaggedCable {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been shown already.
            let _ = thread.join();
        }
    }
}

fn relay(untagged: &File, tagged: &File, id: u16, stop: &AtomicBool) {
    let [high, low] = id.to_be_bytes();
    let tag = [0x81, 0x00, high, low];
    let mut frame = vec![0; 65536];
    while !stop.load(Ordering::Relaxed) {
        let mut waiting = [untagged, tagged].map(|tap| PollFd::new(tap, PollFlags::IN));
        if poll(&mut waiting, Some(&Timespec { tv_sec: 0, tv_nsec: 50_000_000 })).is_err() {
            continue;
        }
        while let Some(length) = receive(untagged, &mut frame[LENGTH..]) {
            frame.copy_within(LENGTH..LENGTH + PLACE, 0);
            frame[PLACE..PLACE + LENGTH].copy_from_slice(&tag);
            send(tagged, &frame[..length + LENGTH]);
        }
        while let Some(length) = receive(tagged, &mut frame) {
            // Anything else on the switch is not for this host.
            if length > PLACE + LENGTH && frame[PLACE..PLACE + LENGTH] == tag {
                frame.copy_within(0..PLACE, LENGTH);
                send(untagged, &frame[LENGTH..length]);
            }
        }
    }
}

fn receive(mut tap: &File, frame: &mut [u8]) -> Option<usize> {
    tap.read(frame).ok()
}

/// A cable loses what its end does not take.
fn send(mut tap: &File, frame: &[u8]) {
    if let Err(error) = tap.write_all(frame)
        && error.kind() != ErrorKind::WouldBlock
    {
        eprintln!("the tagged cable lost a frame: {error}");
    }
}

/// Makes a TAP in the calling thread's namespace. It goes when the file is closed.
fn tap(name: &str) -> Result<File> {
    ensure!((1..libc::IFNAMSIZ).contains(&name.len()), "`{name}` is no interface name");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")
        .context("/dev/net/tun")?;
    // SAFETY: `ifreq` is plain data, and all zeros are a valid value of it.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, &from) in request.ifr_name.iter_mut().zip(name.as_bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: `TUNSETIFF` reads and writes an `ifreq`, which outlives the call.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    ensure!(done >= 0, "TAP {name}: {}", std::io::Error::last_os_error());
    Ok(file)
}

//! What a host's interfaces carried, frame by frame.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, anyhow};
use socket2::{Domain, Protocol, Socket, Type};

use crate::netns::Netns;

/// Every EtherType, in network byte order, as a packet socket wants it.
pub const EVERYTHING: i32 = 0x0003_u16.to_be() as i32;

/// A running capture of all interfaces of a host, both directions.
pub struct Capture {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Vec<u8>>>,
}

impl Capture {
    /// Starts it; every frame after the return is seen.
    pub fn start(host: &Netns) -> Result<Self> {
        let mut socket =
            host.run(|| Ok(Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(EVERYTHING)))?))?;
        socket.set_recv_buffer_size(8 << 20)?;
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut frames = Vec::new();
            let mut block = vec![0; 65536];
            loop {
                match socket.read(&mut block) {
                    Ok(count) => frames.push(block[..count].to_vec()),
                    // Nothing for 20 ms: only now may it end, so that what was queued is not lost.
                    Err(_) if asked.load(Ordering::Relaxed) => return frames,
                    Err(_) => {}
                }
            }
        });
        Ok(Self { stop, thread })
    }

    /// Ends it and gives the frames.
    pub fn finish(self) -> Result<Vec<Vec<u8>>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the capture thread panicked"))
    }
}

/// The maximum segment size announced by a TCP SYN over IPv4 or IPv6 without extension headers, if the frame is one.
pub fn syn_mss(frame: &[u8]) -> Option<u16> {
    let tcp = match frame.get(12..14)? {
        [0x08, 0x00] if *frame.get(23)? == 6 => 14 + usize::from(frame.get(14)? & 15) * 4,
        [0x86, 0xdd] if *frame.get(20)? == 6 => 54,
        _ => return None,
    };
    const SYN: u8 = 2;
    let header = frame.get(tcp..)?;
    if header.get(13)? & SYN == 0 {
        return None;
    }
    let end = usize::from(header.get(12)? >> 4) * 4;
    let mut options = header.get(20..end)?;
    loop {
        match options {
            [2, 4, high, low, ..] => return Some(u16::from_be_bytes([*high, *low])),
            [1, rest @ ..] => options = rest,
            [0, ..] | [] => return None,
            [_, length, ..] => options = options.get(usize::from(*length).max(2)..)?,
            [_] => return None,
        }
    }
}

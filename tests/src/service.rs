//! A TCP and UDP peer on a host: it says whom it saw, takes and gives bulk data, and echoes.
//!
//! TCP, one request a connection, first byte: `W` answers with the client's address as text; `U` and a length (8 bytes) takes that
//! many bytes and answers `ok` or what was wrong; `D` and a length gives that many; `E` echoes until the client closes; `M` answers with the
//! maximum segment size that the kernel uses towards the client. UDP: `who?` is answered with the client's address, `big:N` with N
//! bytes, anything else is echoed.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use socket2::SockRef;

use crate::netns::Netns;

const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(10);

/// The running peer; dropping it closes its sockets.
pub struct Service {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Service {
    /// Starts it on a host; TCP and UDP use the same port.
    pub fn start(host: &Netns, address: SocketAddr) -> Result<Self> {
        let (listener, datagrams) = host
            .run(|| Ok((TcpListener::bind(address)?, UdpSocket::bind(address)?)))
            .with_context(|| format!("service on {address} in {}", host.name()))?;
        listener.set_nonblocking(true)?;
        datagrams.set_read_timeout(Some(POLL))?;
        let stop = Arc::new(AtomicBool::new(false));
        let (tcp_stop, udp_stop) = (Arc::clone(&stop), Arc::clone(&stop));
        let threads = vec![
            std::thread::spawn(move || accept(&listener, &tcp_stop)),
            std::thread::spawn(move || answer(&datagrams, &udp_stop)),
        ];
        Ok(Self { address, stop, threads })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic of a serving thread shows up as a missing answer in the test.
            let _ = thread.join();
        }
    }
}

/// The byte at a position of every bulk transfer: what is lost, repeated or out of order is found at once.
pub fn pattern(position: u64) -> u8 {
    (position.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 37) as u8
}

/// Writes `length` bytes of the pattern.
pub fn give(stream: &mut TcpStream, length: u64) -> Result<()> {
    let mut sent = 0;
    let mut block = vec![0; 16 * 1024];
    while sent < length {
        let count = block.len().min((length - sent) as usize);
        for (offset, byte) in block[..count].iter_mut().enumerate() {
            *byte = pattern(sent + offset as u64);
        }
        stream.write_all(&block[..count]).with_context(|| format!("after {sent} of {length} bytes"))?;
        sent += count as u64;
    }
    Ok(())
}

/// Reads `length` bytes and compares them with the pattern.
pub fn take(stream: &mut TcpStream, length: u64) -> Result<()> {
    let mut got = 0;
    let mut block = vec![0; 16 * 1024];
    while got < length {
        let count = stream.read(&mut block).with_context(|| format!("after {got} of {length} bytes"))?;
        if count == 0 {
            bail!("the stream ended after {got} of {length} bytes");
        }
        for (offset, byte) in block[..count].iter().enumerate() {
            if *byte != pattern(got + offset as u64) {
                bail!("byte {} differs from what was sent", got + offset as u64);
            }
        }
        got += count as u64;
    }
    Ok(())
}

fn accept(listener: &TcpListener, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            // A client that breaks off is the client's finding, not the service's. The thread ends with its connection.
            Ok((stream, client)) => drop(std::thread::spawn(move || serve(stream, client))),
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(POLL),
            Err(_) => return,
        }
    }
}

fn serve(mut stream: TcpStream, client: SocketAddr) -> Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut request = [0];
    stream.read_exact(&mut request)?;
    match request[0] {
        b'W' => stream.write_all(client.to_string().as_bytes())?,
        b'M' => {
            let mss = SockRef::from(&stream).tcp_mss()?;
            stream.write_all(mss.to_string().as_bytes())?;
        }
        b'U' => {
            let length = length(&mut stream)?;
            let answer = match take(&mut stream, length) {
                Ok(()) => "ok".to_owned(),
                Err(error) => format!("{error:#}"),
            };
            stream.write_all(answer.as_bytes())?;
        }
        b'D' => {
            let length = length(&mut stream)?;
            give(&mut stream, length)?;
        }
        b'E' => {
            let mut block = [0; 4096];
            loop {
                let count = stream.read(&mut block)?;
                if count == 0 {
                    break;
                }
                stream.write_all(&block[..count])?;
            }
        }
        other => bail!("request {other}"),
    }
    Ok(())
}

fn length(stream: &mut TcpStream) -> Result<u64> {
    let mut bytes = [0; 8];
    stream.read_exact(&mut bytes)?;
    Ok(u64::from_be_bytes(bytes))
}

fn answer(socket: &UdpSocket, stop: &AtomicBool) {
    let mut block = vec![0; 65536];
    while !stop.load(Ordering::Relaxed) {
        // Timeouts, and ICMP errors about earlier answers, are both just a reason to look at `stop` again.
        let Ok((count, client)) = socket.recv_from(&mut block) else { continue };
        let request = &block[..count];
        let reply = if request == b"who?" {
            client.to_string().into_bytes()
        } else if let Some(size) = size_wanted(request) {
            vec![b'x'; size]
        } else {
            request.to_vec()
        };
        // Too big for the path: the client asks again, and then the kernel knows the path's MTU.
        let _ = socket.send_to(&reply, client);
    }
}

fn size_wanted(request: &[u8]) -> Option<usize> {
    std::str::from_utf8(request).ok()?.strip_prefix("big:")?.parse().ok()
}

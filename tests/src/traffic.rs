//! Connections and datagrams of a client. Sockets are made on the client's host and used from the test's thread.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use socket2::{Domain, Protocol, Socket, Type};

use crate::lab::PREFIX64;
use crate::netns::Netns;
use crate::service::{give, take};

/// How long a client waits for anything.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The IPv6 form of an IPv4 address under the lab's translation prefix.
pub fn embed(address: Ipv4Addr) -> Ipv6Addr {
    let [a, b, c, d, e, f] = PREFIX64;
    let [w, x, y, z] = address.octets();
    Ipv6Addr::new(a, b, c, d, e, f, u16::from_be_bytes([w, x]), u16::from_be_bytes([y, z]))
}

/// Opens a TCP connection from a host, from `local` if given.
pub fn connect(
    host: &Netns,
    local: Option<SocketAddr>,
    remote: SocketAddr,
    limit: Duration,
) -> Result<TcpStream> {
    let socket = host.run(|| {
        let socket = Socket::new(Domain::for_address(remote), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if let Some(local) = local {
            socket.bind(&local.into())?;
        }
        Ok(socket)
    })?;
    socket
        .connect_timeout(&remote.into(), limit)
        .with_context(|| format!("TCP from {} to {remote}", host.name()))?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Asks a [`Service`](crate::service::Service) one thing over TCP and gives its whole answer.
pub fn ask(host: &Netns, local: Option<SocketAddr>, remote: SocketAddr, request: u8) -> Result<String> {
    let mut stream = connect(host, local, remote, PATIENCE)?;
    stream.write_all(&[request])?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// The address and port that the service sees when this host connects by TCP.
pub fn seen_as(host: &Netns, local: Option<SocketAddr>, remote: SocketAddr) -> Result<SocketAddr> {
    let answer = ask(host, local, remote, b'W')?;
    answer.parse().with_context(|| format!("the service answered {answer:?}"))
}

/// Sends `length` bytes to the service, which checks every one.
pub fn upload(host: &Netns, remote: SocketAddr, length: u64) -> Result<()> {
    let mut stream = connect(host, None, remote, PATIENCE)?;
    stream.write_all(b"U")?;
    stream.write_all(&length.to_be_bytes())?;
    give(&mut stream, length)?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer == "ok", "the server says: {answer:?}");
    Ok(())
}

/// Fetches `length` bytes from the service and checks every one.
pub fn download(host: &Netns, remote: SocketAddr, length: u64) -> Result<()> {
    let mut stream = connect(host, None, remote, PATIENCE)?;
    stream.write_all(b"D")?;
    stream.write_all(&length.to_be_bytes())?;
    take(&mut stream, length)
}

/// One round of an echoing TCP connection.
pub fn echo_once(stream: &mut TcpStream, text: &[u8]) -> Result<()> {
    stream.write_all(text)?;
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer)?;
    ensure!(answer == text, "echo differs");
    Ok(())
}

/// Opens an echoing TCP connection.
pub fn echo_stream(host: &Netns, remote: SocketAddr) -> Result<TcpStream> {
    let mut stream = connect(host, None, remote, PATIENCE)?;
    stream.write_all(b"E")?;
    echo_once(&mut stream, b"first")?;
    Ok(stream)
}

/// A connected UDP socket of a host. Port 0 of `local` lets the kernel choose.
pub fn datagrams(host: &Netns, local: SocketAddr, remote: SocketAddr) -> Result<UdpSocket> {
    let socket = host.run(|| {
        let socket = Socket::new(Domain::for_address(remote), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&local.into())?;
        socket.connect(&remote.into())?;
        Ok(UdpSocket::from(socket))
    })?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    Ok(socket)
}

/// Sends one datagram and gives the answer.
pub fn exchange(socket: &UdpSocket, request: &[u8]) -> Result<Vec<u8>> {
    socket.send(request).context("sending a datagram")?;
    let mut answer = vec![0; 65536];
    let count = socket.recv(&mut answer).context("waiting for the answer to a datagram")?;
    answer.truncate(count);
    Ok(answer)
}

/// Sends one datagram that nobody may answer: an error if something comes back within 300 ms.
pub fn expect_silence(socket: &UdpSocket, request: &[u8]) -> Result<()> {
    socket.set_read_timeout(Some(Duration::from_millis(300)))?;
    socket.send(request).context("sending a datagram")?;
    let mut answer = [0; 2048];
    match socket.recv(&mut answer) {
        Ok(count) => bail!("{count} bytes came back, expected none"),
        Err(error)
            if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
        {
            Ok(())
        }
        Err(error) => Err(error).context("expected silence"),
    }
}

/// An unspecified local address of the family of `remote`, any port.
pub fn any(remote: SocketAddr) -> SocketAddr {
    let address: IpAddr =
        if remote.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    SocketAddr::new(address, 0)
}

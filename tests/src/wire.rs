//! Frames as a test writes them: a packet socket on one interface of a host, and builders for what goes through it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use etherparse::{
    IcmpEchoHeader, Icmpv4Type, Icmpv6Type, IpHeaders, IpNumber, PacketBuilder, PacketBuilderStep,
};
use serde_json::Value;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::capture::EVERYTHING;
use crate::gateway::Gateway;
use crate::netns::Netns;

/// A hardware address.
pub type Mac = [u8; 6];

/// A packet socket on one interface.
pub struct Wire {
    socket: Socket,
    /// Address of the interface.
    pub mac: Mac,
    /// Address of the gateway's port on the same link.
    pub gateway: Mac,
}

impl Wire {
    /// On an interface of a host, towards the gateway's interface of the given name.
    pub fn open(host: &Netns, interface: &str, gateway: &Gateway<'_>, towards: &str) -> Result<Self> {
        let links: Value = serde_json::from_str(&host.ip(&["-j", "link", "show", interface])?)?;
        let link = &links[0];
        let index = link["ifindex"].as_i64().context("an interface index")?;
        let mac = link["address"].as_str().context("an address")?;
        let mac: Vec<u8> =
            mac.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<_, _>>()?;
        let socket = host.run(|| bound(i32::try_from(index)?))?;
        socket.set_recv_buffer_size(8 << 20)?;
        Ok(Self {
            socket,
            mac: mac.try_into().ok().context("six bytes")?,
            gateway: mac_of(gateway, towards)?,
        })
    }

    /// Puts a frame on the wire.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        (&self.socket).write_all(frame).context("sending a frame")
    }

    /// The first frame, of either direction, of which `wanted` holds.
    pub fn expect(&self, what: &str, limit: Duration, wanted: impl Fn(&[u8]) -> bool) -> Result<Vec<u8>> {
        let deadline = Instant::now() + limit;
        let mut block = vec![0; 65536];
        while let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
        {
            self.socket.set_read_timeout(Some(left))?;
            if let Ok(count) = (&self.socket).read(&mut block)
                && wanted(&block[..count])
            {
                return Ok(block[..count].to_vec());
            }
        }
        bail!("within {limit:?} came no {what}")
    }

    /// The beginning of an IPv4 packet to the gateway.
    pub fn v4(&self, source: Ipv4Addr, destination: Ipv4Addr) -> PacketBuilderStep<IpHeaders> {
        PacketBuilder::ethernet2(self.mac, self.gateway).ipv4(source.octets(), destination.octets(), 64)
    }

    /// The beginning of an IPv6 packet to the gateway.
    pub fn v6(&self, source: Ipv6Addr, destination: Ipv6Addr) -> PacketBuilderStep<IpHeaders> {
        PacketBuilder::ethernet2(self.mac, self.gateway).ipv6(source.octets(), destination.octets(), 64)
    }
}

/// A frame of UDP.
pub fn udp(step: PacketBuilderStep<IpHeaders>, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    step.udp(ports.0, ports.1).write(&mut frame, payload).expect("a UDP frame");
    frame
}

/// A TCP segment with these flags, in the order FIN, SYN, RST, PSH, ACK of the header's bits.
pub fn tcp(step: PacketBuilderStep<IpHeaders>, ports: (u16, u16), flags: u8) -> Vec<u8> {
    let mut segment = step.tcp(ports.0, ports.1, 1000, 4096);
    for (bit, set) in [1_u8, 2, 4, 8, 16].into_iter().map(|bit| (bit, flags & bit != 0)) {
        segment = match (bit, set) {
            (1, true) => segment.fin(),
            (2, true) => segment.syn(),
            (4, true) => segment.rst(),
            (8, true) => segment.psh(),
            (16, true) => segment.ack(2000),
            _ => segment,
        };
    }
    let mut frame = Vec::new();
    segment.write(&mut frame, &[]).expect("a TCP frame");
    frame
}

/// An echo request.
pub fn echo(step: PacketBuilderStep<IpHeaders>, v6: bool, id: u16) -> Vec<u8> {
    let header = IcmpEchoHeader { id, seq: 1 };
    let mut frame = Vec::new();
    if v6 {
        step.icmpv6(Icmpv6Type::EchoRequest(header)).write(&mut frame, b"echo").expect("an ICMPv6 frame");
    } else {
        step.icmpv4(Icmpv4Type::EchoRequest(header)).write(&mut frame, b"echo").expect("an ICMP frame");
    }
    frame
}

/// An ICMP or ICMPv6 message of any type, quoting or not.
pub fn icmp(step: PacketBuilderStep<IpHeaders>, v6: bool, kind: (u8, u8), body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    if v6 {
        let message = Icmpv6Type::Unknown { type_u8: kind.0, code_u8: kind.1, bytes5to8: [0; 4] };
        step.icmpv6(message).write(&mut frame, body).expect("an ICMPv6 frame");
    } else {
        let message = Icmpv4Type::Unknown { type_u8: kind.0, code_u8: kind.1, bytes5to8: [0; 4] };
        step.icmpv4(message).write(&mut frame, body).expect("an ICMP frame");
    }
    frame
}

/// An IPv6 packet with any next header, extension headers included, and what follows it.
pub fn other6(step: PacketBuilderStep<IpHeaders>, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = other(step, payload);
    frame[14 + 6] = next;
    frame
}

/// An IPv4 packet of a protocol that is not translated.
pub fn other(step: PacketBuilderStep<IpHeaders>, payload: &[u8]) -> Vec<u8> {
    // For experiments, RFC 3692.
    const EXPERIMENT: IpNumber = IpNumber(253);
    let mut frame = Vec::new();
    step.write(&mut frame, EXPERIMENT, payload).expect("a frame");
    frame
}

/// The port's address, as `sluice status` has it.
pub fn mac_of(gateway: &Gateway<'_>, interface: &str) -> Result<Mac> {
    let status = gateway.json(&["status"])?;
    let interfaces = status["interfaces"].as_array().context("interfaces in the status")?;
    let mine = interfaces.iter().find(|one| one["name"] == interface).context("the interface")?;
    let mac = mine["mac"].as_array().context("its MAC address")?;
    let bytes: Vec<u8> = mac.iter().filter_map(|byte| u8::try_from(byte.as_u64()?).ok()).collect();
    bytes.try_into().ok().context("six bytes")
}

fn bound(index: i32) -> Result<Socket> {
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(EVERYTHING)))?;
    // SAFETY: the closure writes a whole `sockaddr_ll` and says how long it is.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, length| {
            storage.cast::<libc::sockaddr_ll>().write(libc::sockaddr_ll {
                sll_family: libc::AF_PACKET as libc::sa_family_t,
                sll_protocol: EVERYTHING as u16,
                sll_ifindex: index,
                sll_hatype: 0,
                sll_pkttype: 0,
                sll_halen: 0,
                sll_addr: [0; 8],
            });
            *length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            Ok(())
        })
    }?;
    socket
        .bind(&address)
        .with_context(|| format!("packet socket {} on interface {index}", socket.as_raw_fd()))?;
    Ok(socket)
}

//! The command line, and what it means.

use std::net::IpAddr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;
use sluice_dpdk::device::PcapSource;
use sluice_dpdk::{Device, Hugepages};
use sluice_packet::{Family, Prefix64};

use crate::hosts::Hosts;
use crate::plan::{Plan, PlanError, Station, Translation, family_name};

/// Where IPv4 is found in IPv6, unless told otherwise: the well-known prefix may not carry test addresses.
//= conformance BENCH-11
const DEFAULT_PREFIX: &str = "2001:2:0:64::/96";

/// Send UDP flows through a NAT64 or NAT44 device and verify every frame that comes out
#[derive(Debug, Parser)]
#[command(
    name = "sluice-pktgen",
    version,
    after_help = "Examples:
  sluice-pktgen selftest
  sluice-pktgen quick --inside packet:in0 --outside packet:out0 --nat64
  sluice-pktgen quick --inside xdp:in0 --outside xdp:out0 --nat44 --flows 1000 --hosts 8 --rate max --json

Exit status: 0 passed, 1 failed (wrong frames, or more loss than allowed), 2 not run."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure a device under test between two ports of this machine
    #[command(after_help = "Examples:
  sluice-pktgen quick --inside packet:in0 --outside packet:out0 --nat64
  sluice-pktgen quick --inside packet:in0 --outside packet:out0 --nat44 --rate 50k --seconds 30
  sluice-pktgen quick --inside pci:0000:01:00.0 --outside pci:0000:01:00.1 --nat64 2001:db8:64::/96 \\
      --inside-address 2001:db8:501::10 --inside-gateway 2001:db8:501::1 \\
      --outside-address 192.0.2.1 --outside-gateway 192.0.2.2 --rate max --allow-loss 0.1

The defaults are addresses for benchmarks (RFC 2544, RFC 5180). A Sluice that fits them:
  interfaces:
    inside:  { device: \"packet:lan0\", addresses: [198.18.0.1/24, 2001:2::1/64] }
    outside: { device: \"packet:wan0\", addresses: [198.19.0.1/24] }
  pools: { public: { prefixes: [198.19.64.0/30] } }
  nat64: [{ prefix: 2001:2:0:64::/96, pool: public }]
  nat44: [{ sources: [198.18.0.0/24], pool: public }]

First every flow is opened: one frame each way, at --open-rate, up to five times. Then all flows are sent in turn
for --seconds; the responder on the outside answers every frame that it gets, to the address and port it came from.
With --new-flows or --unsolicited a flood comes beside them, and the tester stays for all of --linger after it.")]
    Quick(Box<Quick>),
    /// Connect the two ports to each other, without a device, and verify that the tester loses nothing by itself
    #[command(after_help = "Examples:
  sluice-pktgen selftest
  sluice-pktgen selftest --ports memif --family 6 --rate max --seconds 10 --json")]
    Selftest(Selftest),
}

/// `quick`.
#[derive(Debug, Args)]
pub struct Quick {
    /// Port on the inside of the device: pci:, xdp:, packet:, tap: or memif:
    #[arg(long, value_name = "DEVICE", value_parser = Device::parse)]
    pub inside: Device,
    /// Port on its outside
    #[arg(long, value_name = "DEVICE", value_parser = Device::parse)]
    pub outside: Device,
    #[command(flatten)]
    kind: Kind,
    /// Tester's address inside [default: 2001:2::2 or 198.18.0.2]
    #[arg(long, value_name = "ADDRESS")]
    inside_address: Option<IpAddr>,
    /// Device's address inside [default: 2001:2::1 or 198.18.0.1]
    #[arg(long, value_name = "ADDRESS")]
    inside_gateway: Option<IpAddr>,
    /// Tester's address outside
    #[arg(long, value_name = "ADDRESS", default_value = "198.19.0.2")]
    outside_address: IpAddr,
    /// Device's address outside
    #[arg(long, value_name = "ADDRESS", default_value = "198.19.0.1")]
    outside_gateway: IpAddr,
    /// MAC address of the device, one for both sides or INSIDE,OUTSIDE [default: found by ARP and ND]
    #[arg(long, value_name = "MAC", value_parser = parse_mac, value_delimiter = ',', num_args = 1..=2)]
    pub gateway_mac: Vec<[u8; 6]>,
    /// Inside hosts that flows come from. IPv6 hosts get a /64 each if --sources has room for that
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    hosts: u32,
    /// Prefix of the hosts, routed to the tester or on its link [default: from the tester's address on]
    #[arg(long, value_name = "PREFIX")]
    sources: Option<IpNet>,
    /// Responder's address [default: the tester's outside]
    #[arg(long, value_name = "ADDRESS")]
    remote: Option<IpAddr>,
    /// Beside the flows, first frames of new ones from the same hosts, so many a second; they are counted, not measured
    #[arg(long, value_name = "PPS", value_parser = parse_rate)]
    new_flows: Option<Rate>,
    /// Beside the flows, frames to their external addresses that nobody asked for, so many a second
    #[arg(long, value_name = "PPS", value_parser = parse_rate)]
    unsolicited: Option<Rate>,
    #[command(flatten)]
    load: Load,
    /// Output, memory and cores.
    #[command(flatten)]
    pub machine: Machine,
}

/// Which device it is.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Kind {
    /// IPv6 inside, IPv4 outside, under this translation prefix
    #[arg(long, value_name = "PREFIX", num_args = 0..=1, default_missing_value = DEFAULT_PREFIX, value_parser = parse_prefix64)]
    nat64: Option<Prefix64>,
    /// IPv4 on both sides
    #[arg(long)]
    nat44: bool,
}

/// `selftest`.
#[derive(Debug, Args)]
pub struct Selftest {
    /// What connects the ports
    #[arg(long, value_enum, default_value_t = Cable::Ring)]
    pub ports: Cable,
    /// Address family of the frames
    #[arg(long, value_name = "4|6", default_value_t = 4, value_parser = clap::value_parser!(u8).range(4..=6))]
    family: u8,
    #[command(flatten)]
    load: Load,
    /// Output, memory and cores.
    #[command(flatten)]
    pub machine: Machine,
}

/// Software that connects two ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Cable {
    /// Two rings in memory, the fastest there is
    Ring,
    /// Shared memory with a copy, as between two processes
    Memif,
}

/// What is sent.
#[derive(Debug, Args)]
#[command(next_help_heading = "Load")]
struct Load {
    /// UDP flows
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    flows: u32,
    /// Frames a second, all flows together: a number, with k or M behind it, or max
    #[arg(long, value_name = "PPS", default_value = "10k", value_parser = parse_rate)]
    rate: Rate,
    /// Bytes of an inside frame, FCS included [default: the smallest, 84 for IPv6, 64 for IPv4]
    #[arg(long, value_name = "BYTES")]
    size: Option<usize>,
    /// How long to send
    #[arg(long, value_name = "N", default_value = "5", value_parser = parse_seconds)]
    seconds: Duration,
    /// How long to wait for the last frames, in seconds
    #[arg(long, value_name = "N", default_value = "2", value_parser = parse_seconds)]
    linger: Duration,
    /// Frames a second while flows are opened
    #[arg(long, value_name = "PPS", default_value_t = 400, value_parser = clap::value_parser!(u64).range(1..))]
    open_rate: u64,
    /// Port of the responder
    #[arg(long, value_name = "N", default_value_t = 5001, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// Chooses the source ports
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

/// What is reported, and what the machine gives.
#[derive(Debug, Args)]
#[command(next_help_heading = "Report and machine")]
pub struct Machine {
    /// Frames of each direction that may be lost, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, value_parser = parse_percent)]
    pub allow_loss: f64,
    /// Write the report as JSON
    #[arg(long)]
    pub json: bool,
    /// Whether packet memory is taken from hugepages
    #[arg(long, value_enum, default_value_t = HugepagesArgument::Auto)]
    hugepages: HugepagesArgument,
    /// Memory for packets, in MiB
    #[arg(long, value_name = "MB", default_value_t = 128, value_parser = clap::value_parser!(u32).range(64..))]
    pub memory: u32,
    /// Pin the tester to this core
    #[arg(long, value_name = "CPU")]
    pub core: Option<u16>,
    /// Further arguments for DPDK's EAL, after `--`
    #[arg(last = true, value_name = "EAL")]
    pub eal: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum HugepagesArgument {
    /// If enough are free, else ordinary pages
    Auto,
    /// Or fail
    Require,
    /// Ordinary pages
    Never,
}

/// Frames a second; `None` is as fast as possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rate(Option<u64>);

/// Why the arguments make no sense together.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum UsageError {
    /// The plan does not work out.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The same port twice.
    #[error("--inside and --outside are both {0}: two ports are needed, one on each side of the device")]
    SamePort(Device),
    /// A port that no device can be connected to.
    #[error("{0} cannot be connected to a device: expected pci:, xdp:, packet:, tap:, memif: or pcap:iface=")]
    NoCable(Device),
    /// IPv4 where IPv6 belongs, or the other way.
    #[error("{option} {found}: the {side} of this translation is {expected}")]
    Family {
        /// The option.
        option: &'static str,
        /// Its value.
        found: String,
        /// Inside or outside.
        side: &'static str,
        /// The family that belongs there.
        expected: &'static str,
    },
    /// A selftest of neither family.
    #[error("--family 5: expected 4 or 6")]
    NoFamily,
}

impl Quick {
    /// What to measure.
    ///
    /// # Errors
    /// If the arguments do not fit together.
    pub fn plan(&self, run: u8) -> Result<Plan, UsageError> {
        for device in [&self.inside, &self.outside] {
            if matches!(
                device,
                Device::Ring { .. } | Device::Null { .. } | Device::Pcap(PcapSource::Files { .. })
            ) {
                return Err(UsageError::NoCable(device.clone()));
            }
        }
        let shared = self.inside.kernel_interface().zip(self.outside.kernel_interface());
        if self.inside == self.outside || shared.is_some_and(|(one, other)| one == other) {
            return Err(UsageError::SamePort(self.inside.clone()));
        }
        let translation = match self.kind.nat64 {
            Some(prefix) => Translation::Nat64(prefix),
            None => Translation::Nat44,
        };
        let (inside, outside) = translation.families();
        let (own, gateway) = default_inside(inside);
        let bits = |option, side, family, address: IpAddr| match (family, address) {
            (Family::V4, IpAddr::V4(v4)) => Ok(u128::from(v4.to_bits())),
            (Family::V6, IpAddr::V6(v6)) => Ok(v6.to_bits()),
            _ => Err(UsageError::Family {
                option,
                found: address.to_string(),
                side,
                expected: family_name(family),
            }),
        };
        let given = |option, address: Option<IpAddr>, default| {
            address.map_or(Ok(default), |address| bits(option, "inside", inside, address))
        };
        let inside_station = Station {
            family: inside,
            address: given("--inside-address", self.inside_address, own)?,
            gateway: given("--inside-gateway", self.inside_gateway, gateway)?,
        };
        let outside_station = Station {
            family: outside,
            address: bits("--outside-address", "outside", outside, self.outside_address)?,
            gateway: bits("--outside-gateway", "outside", outside, self.outside_gateway)?,
        };
        let remote = self.remote.unwrap_or(self.outside_address);
        let remote = bits("--remote", "outside", outside, remote)?;
        let hosts = match self.sources {
            None => Hosts { first: inside_station.address, step: 1, count: self.hosts, family: inside },
            Some(prefix) => {
                bits("--sources", "inside", inside, prefix.addr())?;
                hosts_of(prefix, self.hosts)?
            }
        };
        let mut plan = self.load.plan(translation, inside_station, outside_station, hosts, remote, run);
        plan.strangers = [self.new_flows, self.unsolicited].map(|rate| rate.map(|Rate(pps)| pps));
        plan.check()?;
        Ok(plan)
    }
}

impl Selftest {
    /// What to measure.
    ///
    /// # Errors
    /// If the arguments do not fit together.
    pub fn plan(&self, run: u8) -> Result<Plan, UsageError> {
        let family = match self.family {
            4 => Family::V4,
            6 => Family::V6,
            _ => return Err(UsageError::NoFamily),
        };
        let (address, _) = default_inside(family);
        // The ports are each other's gateway.
        let far = match family {
            Family::V4 => 0xc613_0002,
            Family::V6 => address + (1 << 64),
        };
        let inside = Station { family, address, gateway: far };
        let outside = Station { family, address: far, gateway: address };
        let hosts = Hosts::one(address, family);
        let plan = self.load.plan(Translation::Nothing(family), inside, outside, hosts, far, run);
        plan.check()?;
        Ok(plan)
    }
}

impl Load {
    fn plan(
        &self,
        translation: Translation,
        inside: Station,
        outside: Station,
        hosts: Hosts,
        remote: u128,
        run: u8,
    ) -> Plan {
        let mut plan = Plan {
            translation,
            inside,
            outside,
            hosts,
            remote,
            port: self.port,
            flows: self.flows,
            size: 0,
            rate: self.rate.0,
            open_rate: self.open_rate,
            duration: self.seconds,
            linger: self.linger,
            strangers: [None; 2],
            seed: self.seed,
            run,
        };
        plan.size = self.size.unwrap_or(plan.smallest());
        plan
    }
}

impl Machine {
    /// Kind of memory.
    pub fn hugepages(&self) -> Hugepages {
        match self.hugepages {
            HugepagesArgument::Auto => Hugepages::Auto,
            HugepagesArgument::Require => Hugepages::Require,
            HugepagesArgument::Never => Hugepages::Never,
        }
    }
}

/// Tester's address and gateway inside.
//= conformance BENCH-10
fn default_inside(family: Family) -> (u128, u128) {
    match family {
        Family::V4 => (0xc612_0002, 0xc612_0001),
        Family::V6 => (0x2001_0002 << 96 | 2, 0x2001_0002 << 96 | 1),
    }
}

/// Hosts in a prefix: addresses from its third on, so that the network's own and a router's are left alone, and in IPv4 the
/// broadcast address; in IPv6 each in a /64, if the prefix is shorter than that, as a subscriber is a /64.
fn hosts_of(prefix: IpNet, count: u32) -> Result<Hosts, PlanError> {
    let (first, length, width, family) = match prefix {
        IpNet::V4(net) => (u128::from(net.network().to_bits()), net.prefix_len(), 32, Family::V4),
        IpNet::V6(net) => (net.network().to_bits(), net.prefix_len(), 128, Family::V6),
    };
    let step_bits = if family == Family::V6 && length < 64 { 64 } else { 0 };
    let room = 1u128.checked_shl(width - u32::from(length)).unwrap_or(u128::MAX);
    let skipped = if room > 2 { 2 } else { 0 };
    let hosts = Hosts { first: first + skipped, step: 1 << step_bits, count, family };
    let kept = if family == Family::V4 && room > 2 { 1 } else { 0 };
    let last_offset = skipped + hosts.step * u128::from(count - 1);
    if last_offset >= room - kept {
        let first = crate::plan::ip(family, hosts.first);
        return Err(PlanError::Hosts { count, first, within: format!(" in {prefix}") });
    }
    Ok(hosts)
}

fn parse_prefix64(text: &str) -> Result<Prefix64, String> {
    let net: ipnet::Ipv6Net =
        text.parse().map_err(|_| format!("expected an IPv6 prefix such as {DEFAULT_PREFIX}"))?;
    Prefix64::new(net.addr().to_bits(), net.prefix_len()).map_err(|error| error.to_string())
}

fn parse_mac(text: &str) -> Result<[u8; 6], String> {
    let bytes: Option<Vec<u8>> = text
        .split(':')
        .map(|part| u8::from_str_radix(part, 16).ok().filter(|_| part.len() == 2 && !part.starts_with('+')))
        .collect();
    let mac = bytes.and_then(|bytes| <[u8; 6]>::try_from(bytes).ok());
    // The lowest bit of the first byte makes a group of it.
    mac.filter(|mac| mac[0] & 1 == 0 && *mac != [0; 6])
        .ok_or_else(|| "expected the address of one station, such as 02:00:00:00:00:01".to_owned())
}

fn parse_rate(text: &str) -> Result<Rate, String> {
    if text == "max" {
        return Ok(Rate(None));
    }
    let (digits, unit) = match text.as_bytes() {
        [.., b'k' | b'K'] => (&text[..text.len() - 1], 1e3),
        [.., b'M'] => (&text[..text.len() - 1], 1e6),
        _ => (text, 1.0),
    };
    match digits.parse::<f64>() {
        Ok(number) if (1.0..=1e9).contains(&(number * unit)) => Ok(Rate(Some((number * unit) as u64))),
        _ => Err("expected 1 to 1000M frames a second, such as 500, 20k or 1.5M, or max".to_owned()),
    }
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=86_400.0).contains(&seconds) && seconds > 0.0 => {
            Ok(Duration::from_secs_f64(seconds))
        }
        _ => Err("expected seconds, above 0 and up to 86400".to_owned()),
    }
}

fn parse_percent(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("expected 0 to 100".to_owned()),
    }
}

#[cfg(test)]
mod tests;

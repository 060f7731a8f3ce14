//! The configuration file of a test: the lab's gateway, with what a test wants different.

use std::fmt::Write;

/// Kind of the gateway's ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// AF_PACKET sockets.
    Packet,
    /// AF_XDP sockets.
    Xdp,
}

impl Device {
    fn prefix(self) -> &'static str {
        match self {
            Self::Packet => "packet",
            Self::Xdp => "xdp",
        }
    }
}

/// What a test may choose. `Default` is the ordinary gateway: `packet:` ports and one worker.
#[derive(Clone, Debug)]
pub struct Site {
    /// Kind of the ports.
    pub device: Device,
    /// Number of workers; they share cores when there are fewer.
    pub workers: usize,
    /// MTU of the inside interface.
    pub inside_mtu: u16,
    /// `mss-clamp` of both interfaces.
    pub mss_clamp: &'static str,
    /// `filtering` of all rules.
    pub filtering: &'static str,
    /// External addresses.
    pub pool: &'static str,
    /// Ports of the pool.
    pub ports: &'static str,
    /// Lines under `static-bindings`.
    pub static_bindings: Vec<String>,
    /// More lines under `routes`.
    pub routes: Vec<String>,
    /// More top-level lines.
    pub more: String,
}

impl Default for Site {
    fn default() -> Self {
        Self {
            device: Device::Packet,
            workers: 1,
            inside_mtu: 1500,
            mss_clamp: "auto",
            filtering: "endpoint-independent",
            pool: "198.51.100.0/30",
            ports: "1024-65535",
            static_bindings: Vec::new(),
            routes: Vec::new(),
            more: String::new(),
        }
    }
}

impl Site {
    /// With these ports and this many workers.
    pub fn with(device: Device, workers: usize) -> Self {
        Self { device, workers, ..Self::default() }
    }

    /// The file's text. NAT64 serves the lower half of the inside link only, so that there are hosts on the link that it does not serve.
    pub fn yaml(&self) -> String {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let cores: Vec<String> = (0..self.workers).map(|worker| (worker % cores).to_string()).collect();
        let Self { inside_mtu, mss_clamp, filtering, pool, ports, more, .. } = self;
        let (device, cores) = (self.device.prefix(), cores.join(", "));
        let mut text = format!(
            "interfaces:
  inside:
    device: {device}:lan0
    addresses: [10.0.0.1/24, 2001:db8:501::1/64]
    mtu: {inside_mtu}
    mss-clamp: {mss_clamp}
  outside:
    device: {device}:wan0
    addresses: [192.0.2.2/30]
    mss-clamp: {mss_clamp}
workers: {{ cores: [{cores}] }}
pools:
  public: {{ prefixes: [{pool}], ports: {ports} }}
nat64:
  - {{ prefix: 2001:db8:64::/96, sources: [2001:db8:501::/65], pool: public, filtering: {filtering} }}
nat44:
  - {{ sources: [10.0.0.0/24], pool: public, filtering: {filtering} }}
routes:
  - {{ to: 0.0.0.0/0, via: 192.0.2.1 }}
"
        );
        let lines = |text: &mut String, lines: &[String]| {
            for line in lines {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "  - {line}");
            }
        };
        lines(&mut text, &self.routes);
        if !self.static_bindings.is_empty() {
            text.push_str("static-bindings:\n");
            lines(&mut text, &self.static_bindings);
        }
        text.push_str(more);
        text
    }
}

//! The configuration file of a test: the lab's gateway, with what a test wants different.

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
    /// Device strings of the inside and the outside port, where they are not the lab's cables by `device`.
    pub devices: [Option<String>; 2],
    /// Number of workers; they share cores when there are fewer.
    pub workers: usize,
    /// Core of the first worker; the others follow.
    pub first_core: usize,
    /// More lines under `interfaces`.
    pub interfaces: Vec<String>,
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
    /// More lines under `nat64`.
    pub nat64: Vec<String>,
    /// More lines under `nat44`.
    pub nat44: Vec<String>,
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
            devices: [None, None],
            workers: 1,
            first_core: 0,
            interfaces: Vec::new(),
            inside_mtu: 1500,
            mss_clamp: "auto",
            filtering: "endpoint-independent",
            pool: "198.51.100.0/30",
            ports: "1024-65535",
            nat64: Vec::new(),
            nat44: Vec::new(),
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

    /// With an interface `guests` on VLAN 20 of the inside port, for the lab's host `tagged`.
    pub fn and_guests(mut self) -> Self {
        self.interfaces.push(format!(
            "guests: {{ device: \"{}\", vlan: 20, addresses: [10.0.20.1/24, 2001:db8:520::1/64] }}",
            self.device_of(0)
        ));
        self.nat64
            .push("{ prefix: 2001:db8:64::/96, sources: [2001:db8:520::/64], pool: public }".to_owned());
        self.nat44.push("{ sources: [10.0.20.0/24], pool: public }".to_owned());
        self
    }

    fn device_of(&self, side: usize) -> String {
        let cable = || format!("{}:{}", self.device.prefix(), ["lan0", "wan0"][side]);
        self.devices[side].clone().unwrap_or_else(cable)
    }

    /// The file's text. NAT64 serves the lower half of the inside link only, so that there are hosts on the link that it
    /// does not serve.
    pub fn yaml(&self) -> String {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let cores: Vec<String> =
            (0..self.workers).map(|worker| ((self.first_core + worker) % cores).to_string()).collect();
        let Self { inside_mtu, mss_clamp, filtering, pool, ports, .. } = self;
        let (inside, outside, cores) = (self.device_of(0), self.device_of(1), cores.join(", "));
        let mut text = format!(
            "interfaces:
  inside:
    device: {inside}
    addresses: [10.0.0.1/24, 2001:db8:501::1/64]
    mtu: {inside_mtu}
    mss-clamp: {mss_clamp}
  outside:
    device: {outside}
    addresses: [192.0.2.2/30]
    mss-clamp: {mss_clamp}
"
        );
        section(&mut text, "", "  ", &self.interfaces);
        text.push_str(&format!(
            "workers: {{ cores: [{cores}] }}
pools:
  public: {{ prefixes: [{pool}], ports: {ports} }}
nat64:
  - {{ prefix: 2001:db8:64::/96, sources: [2001:db8:501::/65], pool: public, filtering: {filtering} }}
"
        ));
        section(&mut text, "", "  - ", &self.nat64);
        text.push_str(&format!(
            "nat44:
  - {{ sources: [10.0.0.0/24], pool: public, filtering: {filtering} }}
"
        ));
        section(&mut text, "", "  - ", &self.nat44);
        text.push_str("routes:\n  - { to: 0.0.0.0/0, via: 192.0.2.1 }\n");
        section(&mut text, "", "  - ", &self.routes);
        section(&mut text, "static-bindings:\n", "  - ", &self.static_bindings);
        text.push_str(&self.more);
        text
    }
}

/// Lines of a section, each behind `mark`; nothing at all without lines.
fn section(text: &mut String, head: &str, mark: &str, lines: &[String]) {
    if !lines.is_empty() {
        text.push_str(head);
    }
    for line in lines {
        text.extend([mark, line, "\n"]);
    }
}

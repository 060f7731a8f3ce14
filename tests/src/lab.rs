//! The network around one gateway, and its removal whatever happens.
//!
//! ```text
//! client6 (IPv6 only) ─┐
//! client4 (IPv4 only) ─┼─ lan (switch) ── gw ── router ── server4 (IPv4 only)
//! tagged (VLAN 20) ────┘              lan0    wan0
//! ```
//!
//! A shell waits at the other end of a pipe. When the pipe closes (the lab is dropped, the test panics, is interrupted or
//! killed) it ends what runs in the lab's namespaces and removes them. So there is one way of cleaning up, not one per way of failing.

use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail, ensure};

use crate::netns::Netns;
use crate::process::tail;
use crate::vlan::TaggedCable;

/// The server's address.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// The router's address on the gateway's outside link.
pub const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The first bits of the translation prefix, a /96.
pub const PREFIX64: [u16; 6] = [0x2001, 0xdb8, 0x64, 0, 0, 0];

/// Hosts of every lab.
const HOSTS: [&str; 7] = ["client6", "client4", "tagged", "lan", "gw", "router", "server4"];

/// One lab per test process at a time; see the crate's documentation.
static ONE_LAB: Mutex<()> = Mutex::new(());
static NEXT: AtomicU32 = AtomicU32::new(0);

/// Ends everything in the namespaces named by its arguments, removes them and the folder `$0`. Ctrl-C goes to a whole process
/// group and must not end the cleaner before it has cleaned.
const CLEANER: &str = r#"
trap '' INT TERM HUP
read -r _
for signal in TERM KILL; do
    for name in "$@"; do
        for pid in $(ip netns pids "$name" 2>/dev/null); do kill -$signal "$pid" 2>/dev/null; done
    done
    for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        left=
        for name in "$@"; do left="$left$(ip netns pids "$name" 2>/dev/null)"; done
        [ -z "$left" ] && break
        sleep 0.05
    done
done
for name in "$@"; do ip netns del "$name" 2>/dev/null; done
[ -n "$KEEP" ] || rm -rf "$0"
"#;

/// The network. Dropping it removes everything.
pub struct Lab {
    id: String,
    directory: PathBuf,
    hosts: Vec<Netns>,
    tagged: Option<TaggedCable>,
    cleaner: Child,
    _one: MutexGuard<'static, ()>,
}

impl Lab {
    /// Makes the hosts, cables, addresses and routes.
    pub fn new() -> Result<Self> {
        ensure!(
            rustix::process::geteuid().is_root(),
            "whole-system tests need root (network namespaces, raw ports): run them with sudo, or scripts/test --quick"
        );
        // A test that failed while it held the lab leaves nothing behind that the next one would meet.
        let one = ONE_LAB.lock().unwrap_or_else(PoisonError::into_inner);
        let id = format!("{:x}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let directory = std::env::temp_dir().join(format!("sluice-test-{id}"));
        std::fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
        let names: Vec<String> = HOSTS.iter().map(|host| format!("slt{id}-{host}")).collect();
        let cleaner = Command::new("sh")
            .args(["-c", CLEANER])
            .arg(&directory)
            .args(&names)
            .env("KEEP", std::env::var_os("SLUICE_KEEP_LOGS").unwrap_or_default())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("starting the lab's cleaner")?;
        let mut lab = Self { id, directory, hosts: Vec::new(), tagged: None, cleaner, _one: one };
        for name in &names {
            lab.hosts.push(Netns::create(name)?);
        }
        lab.tagged = Some(lab.connect().context("building the lab's network")?);
        Ok(lab)
    }

    fn connect(&self) -> Result<TaggedCable> {
        for host in ["client4", "router", "server4"] {
            for scope in ["all", "default"] {
                self.host(host).sysctl(&format!("net.ipv6.conf.{scope}.disable_ipv6=1"))?;
            }
        }
        let lan = self.host("lan");
        lan.ip(&["link", "add", "br0", "type", "bridge", "mcast_snooping", "0"])?;
        plain_bridges(lan);
        lan.ip(&["link", "set", "br0", "up"])?;
        for host in ["client6", "client4"] {
            self.cable(host, "eth0", "lan", host)?;
            lan.ip(&["link", "set", host, "master", "br0"])?;
        }
        self.plug()?;
        let tagged = self.host("tagged");
        let cable = TaggedCable::new(tagged, lan, "tagged", 20)?;
        lan.ip(&["link", "set", "tagged", "master", "br0"])?;
        self.cable("gw", "wan0", "router", "eth0")?;
        self.cable("router", "eth1", "server4", "eth0")?;

        for (host, interface, address) in [
            ("tagged", "vlan20", "2001:db8:520::10/64"),
            ("tagged", "vlan20", "10.0.20.10/24"),
            ("client6", "eth0", "2001:db8:501::10/64"),
            ("client6", "eth0", "2001:db8:501::11/64"),
            ("client4", "eth0", "10.0.0.10/24"),
            ("client4", "eth0", "10.0.0.11/24"),
            ("router", "eth0", "192.0.2.1/30"),
            ("router", "eth1", "203.0.113.1/24"),
            ("server4", "eth0", "203.0.113.10/24"),
        ] {
            let flags: &[&str] = if address.contains(':') { &["nodad"] } else { &[] };
            self.host(host).ip(&[&["address", "add", address, "dev", interface], flags].concat())?;
        }
        self.host("client6").ip(&["-6", "route", "add", "default", "via", "2001:db8:501::1"])?;
        self.host("client4").ip(&["route", "add", "default", "via", "10.0.0.1"])?;
        tagged.ip(&["-6", "route", "add", "default", "via", "2001:db8:520::1"])?;
        tagged.ip(&["route", "add", "default", "via", "10.0.20.1"])?;
        self.host("server4").ip(&["route", "add", "default", "via", "203.0.113.1"])?;
        self.host("router").sysctl("net.ipv4.ip_forward=1")?;
        // Who asks for a host that is not there hears so after a third of a second, not after three.
        self.host("router").sysctl("net.ipv4.neigh.eth1.retrans_time_ms=100")?;
        // The gateway's kernel would forward as well, if the fences let it: no frame may come out twice.
        self.host("gw").sysctl("net.ipv4.ip_forward=1")?;
        self.host("gw").sysctl("net.ipv6.conf.all.forwarding=1")?;
        self.host("router").ip(&["route", "add", "198.51.100.0/30", "via", "192.0.2.2"])?;
        Ok(cable)
    }

    /// A cable between two hosts. Offloads are off at both ends: a peer that leaves checksums, segmentation and VLAN tags to
    /// a NIC that does not exist sends what no wire carries.
    fn cable(&self, host: &str, interface: &str, peer: &str, peer_interface: &str) -> Result<()> {
        let (a, b) = (self.host(host), self.host(peer));
        a.ip(&["link", "add", interface, "type", "veth", "peer", "name", peer_interface, "netns", b.name()])?;
        for (netns, interface) in [(a, interface), (b, peer_interface)] {
            netns.exec(&[
                "ethtool", "-K", interface, "tx", "off", "rx", "off", "gso", "off", "tso", "off", "gro",
                "off", "txvlan", "off",
            ])?;
            netns.ip(&["link", "set", interface, "up"])?;
        }
        Ok(())
    }

    /// Takes the gateway's inside cable away, device and all.
    pub fn unplug(&self) -> Result<()> {
        self.host("lan").ip(&["link", "delete", "gw"]).map(drop)
    }

    /// Lays the inside cable again.
    pub fn plug(&self) -> Result<()> {
        self.cable("gw", "lan0", "lan", "gw")?;
        self.host("lan").ip(&["link", "set", "gw", "master", "br0"]).map(drop)
    }

    /// A host by its name.
    pub fn host(&self, name: &str) -> &Netns {
        let index = HOSTS.iter().position(|host| *host == name);
        index.and_then(|index| self.hosts.get(index)).unwrap_or_else(|| panic!("no host {name} in the lab"))
    }

    /// Folder of this lab's files: configuration, run directory, logs.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Removes everything and checks that nothing is left.
    pub fn finish(mut self) -> Result<()> {
        self.clean()?;
        let left = std::fs::read_dir("/run/netns")?
            .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
            .filter(|name| name.starts_with(&format!("slt{}-", self.id)))
            .collect::<Vec<_>>();
        ensure!(left.is_empty(), "namespaces left behind: {left:?}");
        Ok(())
    }

    fn clean(&mut self) -> Result<()> {
        drop(self.cleaner.stdin.take());
        let status = self.cleaner.wait()?;
        if !status.success() && self.directory.exists() {
            bail!("the lab's cleaner ended with {status}");
        }
        Ok(())
    }

    fn show_logs(&self) {
        let Ok(entries) = std::fs::read_dir(&self.directory) else { return };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            if path.extension().is_some_and(|extension| extension == "log") {
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                eprintln!("--- end of {}\n{}", path.display(), tail(&text));
            }
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() || self.cleaner.stdin.is_some() {
            self.show_logs();
        }
        // A failure to clean up has no better place to go than the test's output.
        if let Err(error) = self.clean() {
            eprintln!("{error:#}");
        }
    }
}

/// A switch looks at no IP header. The kernel's may: it drops what is malformed and cuts padding off.
fn plain_bridges(host: &Netns) {
    for family in ["ip", "ip6", "arp"] {
        // A kernel without bridge netfilter has no such setting, and does not look either.
        let _ = host.sysctl(&format!("net.bridge.bridge-nf-call-{family}tables=0"));
    }
}

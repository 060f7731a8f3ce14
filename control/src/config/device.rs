//! Device strings: which DPDK port stands behind an interface.
//!
//! Syntax only. The dataplane has the full parser, but control does not link DPDK, and whether a device exists is known only
//! on the machine that runs the file, while `sluice check` works anywhere.

use super::reader::{Expected, list, nearest};

/// A device string that has been checked.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct Device(String);

/// Scheme and what follows it.
const SCHEMES: &[(&str, &str)] = &[
    ("pci", "pci:0000:01:00.1"),
    ("xdp", "xdp:enp1s0f0"),
    ("packet", "packet:eth1"),
    ("tap", "tap:lab0"),
    ("memif", "memif:/run/sluice/lab.sock,role=server,id=0"),
    ("ring", "ring:loop0"),
    ("null", "null:sink"),
    ("pcap", "pcap:rx=in.pcap,tx=out.pcap"),
];

impl Device {
    /// Checks a device string.
    pub(crate) fn parse(text: &str) -> Result<Self, Expected> {
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(bare(text));
        };
        let Some((_, example)) = SCHEMES.iter().find(|(name, _)| *name == scheme) else {
            let names = || SCHEMES.iter().map(|(name, _)| *name);
            if is_pci(text) {
                return Err(Expected::new("a device").hint(format!("write `pci:{text}`")));
            }
            let expected = Expected::new(format!("a device that begins with {}", list(names())));
            return Err(match nearest(scheme, names()) {
                Some(near) => expected.hint(format!("did you mean `{near}:{rest}`?")),
                None => expected.hint("for example `xdp:enp1s0f0`"),
            });
        };
        let fine = match scheme {
            "pci" => is_pci(rest),
            "xdp" => is_interface(rest, |option| {
                option == "copy" || number(option, "queues=", 1, 64) || number(option, "budget=", 0, 1024)
            }),
            "packet" => is_interface(rest, |option| number(option, "queues=", 1, 16)),
            "tap" => is_kernel_name(rest),
            "memif" => is_memif(rest),
            "ring" => is_word(rest),
            "null" => is_null(rest),
            _ => is_pcap(rest),
        };
        if !fine || text.chars().any(char::is_control) || text.len() > 255 {
            let hint = match scheme {
                "xdp" => {
                    "an interface name of at most 15 characters, then perhaps `,queues=4`, `,budget=64` or `,copy`"
                }
                "packet" => "an interface name of at most 15 characters, then perhaps `,queues=4`",
                "tap" => "a kernel interface name has 1 to 15 characters without `/` and blanks",
                "pci" => "see `lspci -D` for the address",
                _ => "see the operator's guide for the parameters of this device",
            };
            return Err(Expected::new(format!("a device such as `{example}`")).hint(hint));
        }
        Ok(Self(text.to_owned()))
    }

    /// Stands in for a device that could not be read, so that one mistake does not make others of every reference to its interface.
    pub(crate) fn unreadable() -> Self {
        Self(String::new())
    }

    /// As written in the file, and as handed to the dataplane.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// How many queues of its interface an `xdp:` device polls.
    pub fn xdp_queues(&self) -> Option<usize> {
        let mut options = self.0.strip_prefix("xdp:")?.split(',').skip(1);
        let number = options.find_map(|option| option.strip_prefix("queues="));
        Some(number.and_then(|number| number.parse().ok()).unwrap_or(1))
    }

    /// The kernel interface below an `xdp:` or `packet:` device: the one that is fenced.
    pub fn lower(&self) -> Option<&str> {
        let rest = self.0.strip_prefix("xdp:").or_else(|| self.0.strip_prefix("packet:"))?;
        rest.split(',').next()
    }
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

fn bare(text: &str) -> Expected {
    let expected = Expected::new("a device such as `xdp:enp1s0f0` or `pci:0000:01:00.1`");
    if is_kernel_name(text) {
        return expected
            .hint(format!("for a kernel interface write `xdp:{text}`, or `packet:{text}` without XDP"));
    }
    expected
}

/// A name that the kernel accepts for an interface, less what separates options.
pub(crate) fn is_kernel_name(name: &str) -> bool {
    (1..=15).contains(&name.len())
        && name != "."
        && name != ".."
        && !name.contains(|c: char| "/:%,".contains(c) || c.is_whitespace() || c.is_control())
}

/// An interface and the options behind it.
fn is_interface(text: &str, is_option: impl Fn(&str) -> bool) -> bool {
    let mut parts = text.split(',');
    is_kernel_name(parts.next().unwrap_or_default()) && parts.all(is_option)
}

/// An option with a number.
fn number(option: &str, key: &str, least: u16, most: u16) -> bool {
    option.strip_prefix(key).and_then(|n| n.parse().ok()).is_some_and(|n| (least..=most).contains(&n))
}

/// `domain:bus:device.function`, hexadecimal, the domain in four digits as `lspci -D` prints it.
fn is_pci(text: &str) -> bool {
    let hex = |t: &str, n: usize| t.len() == n && t.bytes().all(|b| b.is_ascii_hexdigit());
    let Some((slot, function)) = text.rsplit_once('.') else { return false };
    let parts: Vec<&str> = slot.split(':').collect();
    let [domain, bus, device] = parts.as_slice() else { return false };
    hex(domain, 4)
        && hex(bus, 2)
        && hex(device, 2)
        && u8::from_str_radix(device, 16).is_ok_and(|d| d < 32)
        && matches!(function.as_bytes(), [b'0'..=b'7'])
}

fn is_word(text: &str) -> bool {
    (1..=24).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

fn is_memif(text: &str) -> bool {
    let mut parts = text.split(',');
    let path = parts.next().unwrap_or_default();
    !path.is_empty()
        && path.len() < 108
        && parts.all(|part| match part.split_once('=') {
            Some(("role", role)) => matches!(role, "server" | "client"),
            Some(("id", id)) => id.parse::<u32>().is_ok(),
            _ => false,
        })
}

fn is_null(text: &str) -> bool {
    let mut parts = text.split(',');
    is_word(parts.next().unwrap_or_default())
        && parts.all(|part| {
            part == "copy"
                || part.strip_prefix("size=").is_some_and(|n| n.parse::<u16>().is_ok_and(|n| n >= 60))
        })
}

fn is_pcap(text: &str) -> bool {
    let mut any = false;
    text.split(',').all(|part| {
        any = true;
        match part.split_once('=') {
            Some(("rx" | "tx" | "iface", value)) => !value.is_empty(),
            Some(_) => false,
            None => is_kernel_name(part),
        }
    }) && any
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_told_from_slips() {
        for (_, example) in SCHEMES {
            assert!(Device::parse(example).is_ok(), "{example}");
        }
        for good in ["null:n0,size=64,copy", "pcap:eth0", "memif:/a,id=3", "xdp:enp1s0f0.5"] {
            assert!(Device::parse(good).is_ok(), "{good}");
        }
        for good in ["xdp:e,queues=4,budget=64,copy", "packet:e,queues=16", "xdp:e"] {
            assert_eq!(Device::parse(good).ok().as_ref().and_then(Device::lower), Some("e"), "{good}");
        }
        let bad = [
            ("eth0", "write `xdp:eth0`"),
            ("0000:01:00.1", "write `pci:0000:01:00.1`"),
            ("xpd:eth0", "did you mean `xdp:eth0`?"),
            ("pci:01:00.1", "lspci -D"),
            ("pci:0000:01:20.0", "lspci -D"),
            ("xdp:an-interface-too-long", "at most 15 characters"),
            ("xdp:e,queues=0", "queues=4"),
            ("xdp:e,queues=65", "queues=4"),
            ("packet:e,copy", "queues=4"),
            ("tap:e,queues=2", "1 to 15 characters"),
            ("tap:", "1 to 15 characters"),
            ("memif:/x,role=boss", "parameters"),
            ("null:n,size=1", "parameters"),
        ];
        for (text, hint) in bad {
            let expected = Device::parse(text).err().unwrap_or_else(|| panic!("{text} passed"));
            assert!(
                expected.hint.as_deref().unwrap_or_default().contains(hint),
                "{text}: {:?}",
                expected.hint
            );
        }
    }
}

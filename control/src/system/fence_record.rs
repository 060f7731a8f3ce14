//! What a fence has to put back, in a form that survives the process.

use ipnet::IpNet;
use rtnetlink::packet_core::NetlinkMessage;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::AddressMessage;
use rtnetlink::packet_route::route::RouteMessage;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{Result, SystemError, address};

/// Raised when a field changes its meaning.
pub(crate) const VERSION: u32 = 1;

/// What was different before the fence, and nothing else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) version: u32,
    /// The fenced device.
    pub(crate) interface: String,
    /// Its index: a device of the same name that was made later was never fenced.
    pub(crate) index: u32,
    /// Device flags (`IFF_*`) that were off.
    pub(crate) flags_off: u32,
    /// `disable_ipv6` as it was, if it was not 1.
    pub(crate) disable_ipv6: Option<String>,
    /// The ingress hook was not there.
    pub(crate) no_qdisc: bool,
    /// The filter was not there.
    pub(crate) no_filter: bool,
    /// Offloads that were on.
    pub(crate) offloads: Vec<String>,
    /// Addresses that were there, without those that the kernel makes by itself.
    pub(crate) addresses: Vec<Kept>,
    /// Routes that were there, without those that the kernel makes by itself.
    pub(crate) routes: Vec<Kept>,
}

impl Record {
    /// Adds what a later look has found to what was remembered first, which has precedence.
    pub(crate) fn absorb(&mut self, later: Self) {
        self.flags_off |= later.flags_off;
        self.no_qdisc |= later.no_qdisc;
        self.no_filter |= later.no_filter;
        self.disable_ipv6 = self.disable_ipv6.take().or(later.disable_ipv6);
        extend(&mut self.offloads, later.offloads);
        extend(&mut self.addresses, later.addresses);
        extend(&mut self.routes, later.routes);
    }

    pub(crate) fn from_json(text: &str) -> Result<Self> {
        // The version first: another one may have fields that this one cannot read.
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let Version { version } = serde_json::from_str(text)?;
        if version != VERSION {
            return Err(SystemError::RecordVersion { found: version, expected: VERSION });
        }
        Ok(serde_json::from_str(text)?)
    }
}

fn extend<T: PartialEq>(list: &mut Vec<T>, more: Vec<T>) {
    for item in more {
        if !list.contains(&item) {
            list.push(item);
        }
    }
}

/// An address or a route: the kernel's own message, so that scope, label, metric, lifetime and whatever a later kernel
/// adds are kept, and for the person who opens the file, the prefix.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Kept {
    prefix: Option<IpNet>,
    #[serde(serialize_with = "to_hex", deserialize_with = "from_hex")]
    message: Vec<u8>,
}

impl PartialEq for Kept {
    fn eq(&self, other: &Self) -> bool {
        self.message == other.message
    }
}

impl Kept {
    pub(crate) fn address(message: AddressMessage) -> Self {
        Self { prefix: address::network(&message), message: bytes(RouteNetlinkMessage::NewAddress(message)) }
    }

    pub(crate) fn route(message: RouteMessage) -> Self {
        Self { prefix: None, message: bytes(RouteNetlinkMessage::NewRoute(message)) }
    }

    /// The message as it was. `None` if the file was tampered with.
    pub(crate) fn message(&self) -> Option<RouteNetlinkMessage> {
        match NetlinkMessage::<RouteNetlinkMessage>::deserialize(&self.message).ok()?.payload {
            rtnetlink::packet_core::NetlinkPayload::InnerMessage(message) => Some(message),
            _ => None,
        }
    }
}

fn bytes(message: RouteNetlinkMessage) -> Vec<u8> {
    let mut message = NetlinkMessage::from(message);
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

fn to_hex<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    serializer.serialize_str(&text)
}

fn from_hex<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| {
            let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2);
            pair.and_then(|pair| u8::from_str_radix(pair, 16).ok())
        })
        .collect::<Option<_>>()
        .ok_or_else(|| de::Error::custom("an even number of hexadecimal digits was expected"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let mut message = AddressMessage::default();
        message.header.family = rtnetlink::packet_route::AddressFamily::Inet;
        message.header.prefix_len = 24;
        let local = rtnetlink::packet_route::address::AddressAttribute::Local([192, 0, 2, 1].into());
        message.attributes.push(local);
        Record {
            version: VERSION,
            interface: "eth0".into(),
            index: 3,
            flags_off: 0x180,
            disable_ipv6: Some("0".into()),
            no_qdisc: true,
            no_filter: true,
            offloads: vec!["rx-gro".into()],
            addresses: vec![Kept::address(message)],
            routes: vec![],
        }
    }

    #[test]
    fn there_and_back() {
        let text = serde_json::to_string(&record()).unwrap();
        assert!(text.contains("192.0.2.1/24"), "a person can read it: {text}");
        let back = Record::from_json(&text).unwrap();
        assert_eq!(back, record());
        assert!(matches!(back.addresses[0].message(), Some(RouteNetlinkMessage::NewAddress(_))));
    }

    #[test]
    fn another_version_and_broken_digits_are_refused() {
        let text = serde_json::to_string(&record()).unwrap();
        let other = text.replace("\"version\":1", "\"version\":2");
        assert!(matches!(Record::from_json(&other), Err(SystemError::RecordVersion { found: 2, .. })));
        let broken = text.replacen("\"message\":\"", "\"message\":\"x", 1);
        assert!(matches!(Record::from_json(&broken), Err(SystemError::Record { .. })));
    }

    #[test]
    fn what_was_remembered_first_has_precedence() {
        let mut first = record();
        let mut later = record();
        later.disable_ipv6 = None;
        later.offloads = vec!["rx-gro".into(), "rx-lro".into()];
        later.flags_off = 1;
        first.absorb(later);
        assert_eq!(first.disable_ipv6.as_deref(), Some("0"));
        assert_eq!(first.offloads, ["rx-gro", "rx-lro"]);
        assert_eq!(first.flags_off, 0x181);
        assert_eq!(first.addresses.len(), 1);
    }
}

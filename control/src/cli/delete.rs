//! `sluice sessions delete`: the operator takes mappings away.
//!
//! An inside address has to be named: without it a slip would cut everybody off.

use std::net::{IpAddr, SocketAddr};

use clap::Args;

use super::client::{Client, unexpected};
use super::output::{Output, grouped};
use super::sessions::ProtocolName;
use super::{CliError, Global};
use crate::api::{DeleteRequest, Request, Response};

#[derive(Args)]
#[command(
    after_help = "The next packet of a deleted mapping is dropped, or opens a new one with another port; the port itself rests as long as the pool's hold-down says, TCP ports as well. Of static bindings only the sessions go.\n\nExamples:\n  sluice sessions delete --inside 10.0.0.5                          (all of a host)\n  sluice sessions delete --inside 10.0.0.5:4000 --protocol udp\n  sluice sessions delete --inside '[2001:db8:500::1]:4000' --json"
)]
pub(crate) struct DeleteSessions {
    /// Inside address, alone or with a port or ICMP identifier
    #[arg(long, value_name = "ADDRESS[:PORT]", value_parser = inside)]
    inside: Inside,
    /// Only mappings of this protocol
    #[arg(long)]
    protocol: Option<ProtocolName>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Inside {
    address: IpAddr,
    port: Option<u16>,
}

fn inside(text: &str) -> Result<Inside, String> {
    if let Ok(address) = text.parse() {
        return Ok(Inside { address, port: None });
    }
    match text.parse::<SocketAddr>() {
        Ok(end) => Ok(Inside { address: end.ip(), port: Some(end.port()) }),
        Err(_) => Err(
            "expected one address, such as 10.0.0.5 or 2001:db8::5, perhaps with a port: 10.0.0.5:4000, [2001:db8::5]:4000"
                .to_owned(),
        ),
    }
}

impl DeleteSessions {
    //= conformance MAP-15
    pub(crate) fn run(self, global: &Global, out: &mut Output) -> Result<(), CliError> {
        let Inside { address, port } = self.inside;
        let protocol = self.protocol.map(ProtocolName::protocol);
        let request = DeleteRequest { inside: address, port, protocol };
        let answer = Client::connect(&global.run())?.ask(Request::DeleteSessions(request))?;
        let Response::Deleted { sessions } = answer else { return Err(unexpected()) };
        if sessions == 0 {
            let port = port.map(|port| format!(", port {port}")).unwrap_or_default();
            let protocol = protocol.map(|protocol| format!(", {protocol}")).unwrap_or_default();
            return Err(CliError::Nothing(format!(
                "there is no session of {address}{port}{protocol}; `sluice sessions --inside {address}` lists what there is"
            )));
        }
        if out.json {
            return out.json(&serde_json::json!({ "deleted": sessions }));
        }
        out.line(format!("{} session{} deleted", grouped(sessions), if sessions == 1 { "" } else { "s" }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inside_is_an_address_with_or_without_a_port() {
        let parsed = |text: &str| inside(text).map(|inside| (inside.address.to_string(), inside.port)).ok();
        for (text, address, port) in [
            ("10.0.0.5", "10.0.0.5", None),
            ("10.0.0.5:4000", "10.0.0.5", Some(4000)),
            ("2001:db8::5", "2001:db8::5", None),
            ("[2001:db8::5]:0", "2001:db8::5", Some(0)),
        ] {
            assert_eq!(parsed(text), Some((address.to_owned(), port)), "{text}");
        }
        for text in ["", "10.0.0.0/24", "10.0.0.5:", "10.0.0.5:70000", "host:80", "[2001:db8::5]"] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }
}

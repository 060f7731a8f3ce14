//! Syslog messages (RFC 5424): one record each, all of it in one element of structured data.
//!
//! ```text
//! <134>1 2026-11-21T19:38:11.250Z gw1 sluice 812 NAT64-BIB-CREATE [nat@32473 natEvent="10" sourceIPv6Address="2001:db8::1" …]
//! ```
//!
//! No RFC fixes how a NAT logs by syslog: names are those of IPFIX. The time of the message is the time of the event.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use sluice_nat::{Event, Kind};

use super::record::{Element, Options, Record, Shape, Value};
use crate::config::logging::Facility;

/// RFC 5424, section 6.2.1.
const WARNING: u8 = 4;
const INFORMATIONAL: u8 = 6;
const SECONDS_A_DAY: u64 = 86_400;

/// Makes messages, one at a time.
#[derive(Debug)]
pub(crate) struct Writer {
    facility: Facility,
    enterprise: u32,
    hostname: String,
    options: Options,
    message: String,
    /// The date of a day since 1970: most messages are of the same.
    date: (u64, String),
}

impl Writer {
    pub(crate) fn new(facility: Facility, enterprise: u32, hostname: String, options: Options) -> Self {
        Self {
            facility,
            enterprise,
            hostname,
            options,
            message: String::with_capacity(480),
            date: (0, date(0)),
        }
    }

    /// The message that was made last.
    pub(crate) fn message(&self) -> &[u8] {
        self.message.as_bytes()
    }

    /// Makes the message of a record.
    //= conformance LOG-28, LOG-29, LOG-30
    pub(crate) fn record(&mut self, record: &Record) {
        let severity = if record.is_limit() { WARNING } else { INFORMATIONAL };
        let day = record.time_ms / 1000 / SECONDS_A_DAY;
        if self.date.0 != day {
            self.date = (day, date(day));
        }
        let (seconds, ms) = (record.time_ms / 1000 % SECONDS_A_DAY, record.time_ms % 1000);
        let (_, name) = record.kind();
        self.message.clear();
        // Writing to a string cannot fail.
        let _ = write!(
            self.message,
            "<{}>1 {}T{:02}:{:02}:{:02}.{ms:03}Z {} sluice {} {name} [nat@{}",
            self.facility.0 * 8 + severity,
            self.date.1,
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60,
            self.hostname,
            std::process::id(),
            self.enterprise,
        );
        match record.shape() {
            Some(shape) => {
                for element in shape.elements(self.options) {
                    // The header has the time, and what is not translated need not be told twice.
                    if !matches!(
                        element,
                        Element::Time | Element::DestinationV4 | Element::PostNaptDestinationPort
                    ) {
                        self.parameter(element.name(), record.value(element, self.options));
                    }
                }
            }
            None => self.without_shape(record),
        }
        self.message.push(']');
    }

    /// What IPFIX has no words for.
    fn without_shape(&mut self, record: &Record) {
        match record.event {
            Event::Refused { reason, kind_realm, .. } => {
                let v6 = kind_realm.kind() == Some(Kind::Nat64);
                let source = if v6 { Element::SourceV6 } else { Element::SourceV4 };
                self.parameter(source.name(), record.value(source, self.options));
                self.parameter("reason", Value::Text(reason.name()));
            }
            // As of a session with its remote side, which is what the record is for.
            //= conformance LOG-32
            Event::ChecksumMissing(_) => {
                let options = Options { destinations: true, instance: None };
                let told = |element: &Element| !matches!(element, Element::Time | Element::NatEvent);
                for element in Shape::Session64.elements(options).filter(told) {
                    if element != Element::PostNaptDestinationPort {
                        self.parameter(element.name(), record.value(element, self.options));
                    }
                }
            }
            _ => return,
        }
        if let Some(instance) = self.options.instance {
            self.parameter(Element::Instance.name(), Value::Number(instance.into()));
        }
    }

    fn parameter(&mut self, name: &str, value: Value<'_>) {
        let _ = match value {
            Value::Number(number) => write!(self.message, " {name}=\"{number}\""),
            Value::V4(address) => write!(self.message, " {name}=\"{}\"", Ipv4Addr::from_bits(address)),
            Value::V6(address) => write!(self.message, " {name}=\"{}\"", Ipv6Addr::from_bits(address)),
            Value::Text(text) => {
                let _ = write!(self.message, " {name}=\"");
                for letter in text.chars() {
                    if matches!(letter, '"' | '\\' | ']') {
                        self.message.push('\\');
                    }
                    self.message.push(letter);
                }
                self.message.write_char('"')
            }
        };
    }
}

/// The date of a day since 1970, as RFC 3339 writes it.
fn date(day: u64) -> String {
    let every = |year: u64, years: u64| year.is_multiple_of(years);
    let leap = |year| every(year, 4) && (!every(year, 100) || every(year, 400));
    let (mut year, mut left) = (1970, day);
    loop {
        let days = if leap(year) { 366 } else { 365 };
        if left < days || year == 9999 {
            break;
        }
        (year, left) = (year + 1, left - days);
    }
    let february = if leap(year) { 29 } else { 28 };
    let mut month = 1;
    for days in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if left < days {
            break;
        }
        (month, left) = (month + 1, left - days);
    }
    format!("{year:04}-{month:02}-{:02}", left % 31 + 1)
}

//! A collector of a log on a host: it keeps every message, and reads them with parsers that know nothing of the gateway.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netflow_parser::variable_versions::ipfix::{FlowSetBody, Template};
use netflow_parser::{DataNumber, FieldValue, NetflowPacket, NetflowParser};
use socket2::{Domain, Socket, Type};
use syslog_loose::{Protocol, Variant, parse_message};

use crate::netns::Netns;

const POLL: Duration = Duration::from_millis(20);

/// What a record says, by the names of IANA's registry in lower case.
pub type Record = BTreeMap<String, String>;

/// A running collector; dropping it closes its sockets, as a crash of the real one would.
pub struct Collector {
    messages: Arc<Mutex<Vec<Vec<u8>>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What a collector of IPFIX has understood.
#[derive(Debug, Default)]
pub struct Decoded {
    /// Data records, in order.
    pub records: Vec<Record>,
    /// Numbers of all elements that templates announced.
    pub elements: BTreeSet<u16>,
    /// Observation domains of all messages.
    pub domains: BTreeSet<u32>,
}

impl Collector {
    /// Takes datagrams.
    pub fn udp(host: &Netns, address: SocketAddr) -> Result<Self> {
        let socket = host
            .run(|| Ok(UdpSocket::bind(address)?))
            .with_context(|| format!("collector on {address} in {}", host.name()))?;
        socket.set_read_timeout(Some(POLL))?;
        Ok(Self::run(move |messages, stop| {
            let mut buffer = [0; 65_536];
            while !stop.load(Ordering::Relaxed) {
                if let Ok(length) = socket.recv(&mut buffer) {
                    push(messages, buffer[..length].to_vec());
                }
            }
        }))
    }

    /// Takes connections, one after the other, and cuts their streams into IPFIX messages.
    pub fn tcp(host: &Netns, address: SocketAddr) -> Result<Self> {
        let listener = host.run(|| {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
            // The one before may have left connections in TIME-WAIT.
            socket.set_reuse_address(true)?;
            socket.bind(&address.into())?;
            socket.listen(4)?;
            Ok(TcpListener::from(socket))
        })?;
        listener.set_nonblocking(true)?;
        Ok(Self::run(move |messages, stop| {
            while !stop.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => cut(stream, messages, stop),
                    Err(_) => std::thread::sleep(POLL),
                }
            }
        }))
    }

    fn run(work: impl FnOnce(&Mutex<Vec<Vec<u8>>>, &AtomicBool) + Send + 'static) -> Self {
        let messages = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let stop = Arc::<AtomicBool>::default();
        let (theirs, their_stop) = (Arc::clone(&messages), Arc::clone(&stop));
        let thread = std::thread::spawn(move || work(&theirs, &their_stop));
        Self { messages, stop, thread: Some(thread) }
    }

    /// All messages so far.
    pub fn messages(&self) -> Vec<Vec<u8>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All IPFIX messages so far, decoded. Sequence numbers must be what they should.
    pub fn ipfix(&self) -> Result<Decoded> {
        let mut decoder = NetflowParser::default();
        let mut decoded = Decoded::default();
        // The next sequence number of a domain, if it is known; a session that begins anew begins at 0.
        let mut next: BTreeMap<u32, u32> = BTreeMap::new();
        for message in self.messages() {
            let result = decoder.parse_bytes(&message);
            ensure!(result.error.is_none(), "{:?}", result.error);
            let [NetflowPacket::IPFix(packet)] = &result.packets[..] else {
                anyhow::bail!("{} octets are no message of IPFIX", message.len());
            };
            let header = &packet.header;
            ensure!(header.version == 10 && usize::from(header.length) == message.len(), "{header:?}");
            let expected = next.remove(&header.observation_domain_id).unwrap_or(header.sequence_number);
            ensure!([0, expected].contains(&header.sequence_number), "expected {expected}: {header:?}");
            let before = decoded.records.len();
            let mut complete = true;
            for set in &packet.flowsets {
                match &set.body {
                    FlowSetBody::Template(template) => decoded.learn(template),
                    FlowSetBody::Templates(all) => all.iter().for_each(|template| decoded.learn(template)),
                    FlowSetBody::Data(data) => decoded.records.extend(data.fields.iter().map(|record| {
                        record.iter().map(|(name, value)| (plain(name), text(value))).collect::<Record>()
                    })),
                    // This collector came after the templates; they will come again.
                    FlowSetBody::NoTemplate(_) => complete = false,
                    other => anyhow::bail!("unexpected set {other:?}"),
                }
            }
            if complete {
                let count = (decoded.records.len() - before) as u32;
                next.insert(header.observation_domain_id, header.sequence_number + count);
            }
            decoded.domains.insert(header.observation_domain_id);
        }
        Ok(decoded)
    }

    /// All syslog messages so far: MSGID and time in milliseconds, and the parameters of the one element of structured data.
    pub fn syslog(&self) -> Result<Vec<Record>> {
        self.messages()
            .iter()
            .map(|message| {
                let text = std::str::from_utf8(message)?;
                let message = parse_message(text, Variant::RFC5424);
                ensure!(message.protocol == Protocol::RFC5424(1) && text.len() <= 480, "{text}");
                let [element] = &message.structured_data[..] else { anyhow::bail!("{text}") };
                let mut record: Record =
                    element.params().map(|(name, value)| (name.to_lowercase(), value)).collect();
                record.insert("msgid".into(), message.msgid.unwrap_or_default().to_owned());
                let time = message.timestamp.with_context(|| text.to_owned())?;
                record.insert("observationtimemilliseconds".into(), time.timestamp_millis().to_string());
                Ok(record)
            })
            .collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread shows up as missing messages.
            let _ = thread.join();
        }
    }
}

impl Decoded {
    fn learn(&mut self, template: &Template) {
        self.elements.extend(template.fields.iter().map(|field| field.field_type_number));
    }
}

fn push(messages: &Mutex<Vec<Vec<u8>>>, message: Vec<u8>) {
    messages.lock().unwrap_or_else(PoisonError::into_inner).push(message);
}

/// Messages of one connection, until it ends.
fn cut(mut stream: TcpStream, messages: &Mutex<Vec<Vec<u8>>>, stop: &AtomicBool) {
    let (mut pending, mut buffer) = (Vec::new(), [0; 16_384]);
    if stream.set_nonblocking(false).and_then(|()| stream.set_read_timeout(Some(POLL))).is_err() {
        return;
    }
    while !stop.load(Ordering::Relaxed) {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => pending.extend_from_slice(&buffer[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(_) => return,
        }
        while let [_, _, high, low, ..] = pending[..] {
            let length = usize::from(u16::from_be_bytes([high, low]));
            if length < 16 || pending.len() < length {
                break;
            }
            push(messages, pending.drain(..length).collect());
        }
    }
}

/// The decoder's name of an element.
fn plain(field: &impl std::fmt::Debug) -> String {
    format!("{field:?}").trim_start_matches("IANA(").trim_end_matches(')').to_lowercase()
}

fn text(value: &FieldValue) -> String {
    match value {
        FieldValue::DataNumber(DataNumber::U8(number)) => number.to_string(),
        FieldValue::DataNumber(DataNumber::U16(number)) => number.to_string(),
        FieldValue::DataNumber(DataNumber::U32(number)) => number.to_string(),
        FieldValue::Duration(time) => time.as_duration().as_millis().to_string(),
        FieldValue::Ip4Addr(address) => address.to_string(),
        FieldValue::Ip6Addr(address) => address.to_string(),
        FieldValue::NatEvent(event) => u8::from(*event).to_string(),
        FieldValue::ProtocolType(protocol) => u8::from(*protocol).to_string(),
        FieldValue::String(text) => text.value.clone(),
        other => format!("{other:?}"),
    }
}

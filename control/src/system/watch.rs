//! Following the kernel's neighbour tables.
//!
//! A socket of its own, not the shared connection: a dump is only worth something if its lines keep their place
//! among the notifications. `rtnetlink` hands out answers and notifications through two channels, so after an overrun
//! nobody could tell which notification is older than the dump that repairs it. Here everything is read from one
//! socket in the kernel's order.
//!
//! Memory is bounded by the neighbour tables themselves (`gc_thresh3`): a reader that is behind is told the last
//! state of each neighbour, not every step on the way.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::os::fd::AsRawFd;

use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::{NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::packet_route::neighbour::NeighbourMessage;
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE};
use tokio::sync::mpsc;

use super::neighbour::{self, Entry, Key, NeighbourEvent, NeighbourState};
use super::{Result, System, SystemError};

/// Events that may wait for the reader inside the channel.
const CHANNEL: usize = 1024;
/// Bytes of notifications that the kernel may hold for us; beyond, it drops and we dump again.
const RECEIVE_BUFFER: libc::c_int = 4 << 20;
/// The largest datagram that the kernel makes of a dump.
const DATAGRAM: usize = 64 << 10;

impl System {
    /// Reports every neighbour the kernel knows, then every change, until the receiver is dropped.
    ///
    /// Entries of all interfaces are reported, IPv4 and IPv6, without groups and broadcasts. If notifications were
    /// lost (`ENOBUFS`) the tables are read again and the differences reported, deletions included.
    ///
    /// # Errors
    /// [`SystemError::Netlink`] if the socket is refused.
    pub fn watch_neighbours(&self) -> Result<mpsc::Receiver<NeighbourEvent>> {
        let socket = open().map_err(|source| SystemError::Netlink { source })?;
        let (sender, receiver) = mpsc::channel(CHANNEL);
        tokio::spawn(async move {
            if let Err(error) = run(socket, sender).await {
                tracing::error!(%error, "neighbours are no longer followed");
            }
        });
        Ok(receiver)
    }
}

fn open() -> io::Result<TokioSocket> {
    let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
    let groups = [MulticastGroup::Neigh, MulticastGroup::Link].map(|group| 1 << (group as u32 - 1));
    socket.socket_mut().bind(&SocketAddr::new(0, groups[0] | groups[1]))?;
    // The plain option is capped by net.core.rmem_max; being refused the larger one is not fatal.
    let size = RECEIVE_BUFFER;
    // SAFETY: the option takes a pointer to one c_int and its size; `size` lives until the call returns.
    let result = unsafe {
        libc::setsockopt(
            socket.socket_ref().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            (&raw const size).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result < 0 {
        socket.socket_ref().set_rx_buf_sz(size)?;
    }
    Ok(socket)
}

async fn run(socket: TokioSocket, sender: mpsc::Sender<NeighbourEvent>) -> io::Result<()> {
    let mut tables = Tables::default();
    let mut dump = Dump::default();
    let mut datagram = Vec::with_capacity(DATAGRAM);
    dump.start(&socket).await?;
    loop {
        let received = tokio::select! {
            permit = sender.reserve(), if tables.has_events() => {
                let Ok(permit) = permit else { return Ok(()) };
                if let Some(event) = tables.next_event() {
                    permit.send(event);
                }
                continue;
            }
            () = sender.closed() => return Ok(()),
            received = socket.recv_from(&mut datagram) => received,
        };
        match received {
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                tracing::debug!("neighbour notifications were lost, reading the tables again");
                dump.again = true;
                if dump.stage == Stage::Idle {
                    dump.start(&socket).await?;
                }
                continue;
            }
            Err(error) => return Err(error),
        }
        for message in split(&datagram) {
            if dump.take(&mut tables, message) {
                dump.advance(&socket, &mut tables).await?;
            }
        }
        datagram.clear();
    }
}

/// The messages of a datagram. What cannot be read is left out: it is of a kind that is not asked for.
fn split(mut datagram: &[u8]) -> impl Iterator<Item = NetlinkMessage<RouteNetlinkMessage>> + '_ {
    std::iter::from_fn(move || {
        loop {
            let length = u32::from_ne_bytes(*datagram.first_chunk()?) as usize;
            if length < 16 || length > datagram.len() {
                return None;
            }
            let (message, _) = datagram.split_at(length);
            datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
            match NetlinkMessage::deserialize(message) {
                Ok(message) => return Some(message),
                Err(error) => tracing::debug!(%error, "a netlink message was not understood"),
            }
        }
    })
}

/// What is being dumped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Idle,
    Links,
    Neighbours,
}

/// The dump in progress. Links come first, so that neighbours have names.
#[derive(Debug, Default)]
struct Dump {
    stage: Stage,
    sequence: u32,
    /// Something was lost or changed meanwhile: once more when this one is through.
    again: bool,
    /// Neighbours heard of since the dump of neighbours began.
    seen: HashSet<Key>,
}

impl Dump {
    async fn start(&mut self, socket: &TokioSocket) -> io::Result<()> {
        self.again = false;
        self.ask(socket, Stage::Links, RouteNetlinkMessage::GetLink(LinkMessage::default())).await
    }

    async fn ask(
        &mut self,
        socket: &TokioSocket,
        stage: Stage,
        message: RouteNetlinkMessage,
    ) -> io::Result<()> {
        self.stage = stage;
        self.sequence = self.sequence.wrapping_add(1).max(1);
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        request.header.sequence_number = self.sequence;
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        socket.send_to(&bytes, &SocketAddr::new(0, 0)).await.map(drop)
    }

    /// Takes one message. True if it ended the part of the dump in progress.
    fn take(&mut self, tables: &mut Tables, message: NetlinkMessage<RouteNetlinkMessage>) -> bool {
        let answer = self.stage != Stage::Idle && message.header.sequence_number == self.sequence;
        self.again |= answer && message.header.flags & NLM_F_DUMP_INTR != 0;
        match message.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => tables.name(&link),
            // A port that leaves a bridge is announced in the same way, under the bridge's family.
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link))
                if link.header.interface_family == AddressFamily::Unspec =>
            {
                tables.forget(link.header.index);
            }
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(message)) => {
                if let Some((key, entry)) = neighbour::read(&message) {
                    self.seen.insert(key);
                    tables.update(key, Some(entry));
                }
            }
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelNeighbour(message)) => {
                if let Some(key) = key_of(&message) {
                    self.seen.remove(&key);
                    tables.update(key, None);
                }
            }
            NetlinkPayload::Error(error) if answer => {
                // Ends without deleting what was not listed; the next overrun tries again.
                tracing::warn!(error = %error.to_io(), "the kernel refused to list neighbours");
                self.stage = Stage::Idle;
            }
            NetlinkPayload::Done(_) if answer => return true,
            _ => {}
        }
        false
    }

    /// Goes on to the next part of the dump, or ends it.
    async fn advance(&mut self, socket: &TokioSocket, tables: &mut Tables) -> io::Result<()> {
        match self.stage {
            Stage::Links => {
                self.seen.clear();
                let message = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
                self.ask(socket, Stage::Neighbours, message).await
            }
            Stage::Neighbours if self.again => self.start(socket).await,
            Stage::Neighbours => {
                tables.keep_only(&self.seen);
                self.stage = Stage::Idle;
                self.seen = HashSet::new();
                Ok(())
            }
            Stage::Idle => Ok(()),
        }
    }
}

/// The identity of a deleted entry, whatever state the kernel says it was in.
fn key_of(message: &NeighbourMessage) -> Option<Key> {
    let mut message = message.clone();
    message.header.state = rtnetlink::packet_route::neighbour::NeighbourState::Failed;
    neighbour::read(&message).map(|(key, _)| key)
}

/// What is known, and what the reader has not been told yet.
#[derive(Debug, Default)]
struct Tables {
    names: HashMap<u32, String>,
    known: HashMap<Key, Entry>,
    events: HashMap<Key, NeighbourEvent>,
    /// The keys of `events` in the order in which they were first changed.
    order: VecDeque<Key>,
}

impl Tables {
    fn name(&mut self, link: &LinkMessage) {
        for attribute in &link.attributes {
            if let LinkAttribute::IfName(name) = attribute {
                self.names.insert(link.header.index, name.clone());
            }
        }
    }

    /// An interface is gone, and every neighbour on it; the kernel says so of each only while somebody listens.
    fn forget(&mut self, index: u32) {
        let gone: Vec<Key> = self.known.keys().filter(|key| key.0 == index).copied().collect();
        for key in gone {
            self.update(key, None);
        }
        self.names.remove(&index);
    }

    fn update(&mut self, key: Key, entry: Option<Entry>) {
        let before = match entry {
            Some(entry) => self.known.insert(key, entry),
            None => self.known.remove(&key),
        };
        if before == entry {
            return;
        }
        let event = NeighbourEvent {
            interface: self.names.get(&key.0).cloned().unwrap_or_default(),
            index: key.0,
            address: key.1,
            mac: entry.and_then(|entry| entry.mac),
            state: entry.map_or(NeighbourState::Deleted, |entry| entry.state),
        };
        if self.events.insert(key, event).is_none() {
            self.order.push_back(key);
        }
    }

    fn keep_only(&mut self, seen: &HashSet<Key>) {
        let gone: Vec<Key> = self.known.keys().filter(|key| !seen.contains(key)).copied().collect();
        for key in gone {
            self.update(key, None);
        }
    }

    fn has_events(&self) -> bool {
        !self.order.is_empty()
    }

    fn next_event(&mut self) -> Option<NeighbourEvent> {
        let key = self.order.pop_front()?;
        self.events.remove(&key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(state: NeighbourState) -> Option<Entry> {
        Some(Entry { mac: None, state })
    }

    #[test]
    fn a_slow_reader_is_told_the_last_state_only() {
        let mut tables = Tables::default();
        let (a, b) = ((1, [192, 0, 2, 1].into()), (1, [192, 0, 2, 2].into()));
        tables.update(a, entry(NeighbourState::Incomplete));
        tables.update(b, entry(NeighbourState::Incomplete));
        tables.update(a, entry(NeighbourState::Reachable));
        tables.update(b, None);
        let events: Vec<_> =
            std::iter::from_fn(|| tables.next_event()).map(|e| (e.address, e.state)).collect();
        assert_eq!(events, [(a.1, NeighbourState::Reachable), (b.1, NeighbourState::Deleted)]);
        tables.update(a, entry(NeighbourState::Reachable));
        assert!(!tables.has_events(), "nothing changed");
    }

    #[test]
    fn what_a_new_dump_lacks_is_deleted() {
        let mut tables = Tables::default();
        let (a, b) = ((1, [192, 0, 2, 1].into()), (2, [192, 0, 2, 2].into()));
        tables.update(a, entry(NeighbourState::Stale));
        tables.update(b, entry(NeighbourState::Stale));
        while tables.next_event().is_some() {}
        tables.keep_only(&HashSet::from([a]));
        let event = tables.next_event().unwrap();
        assert_eq!((event.index, event.state), (2, NeighbourState::Deleted));
        assert!(!tables.has_events());
    }

    #[test]
    fn a_datagram_that_lies_about_its_length_ends() {
        assert_eq!(split(&[0xff; 40]).count(), 0);
        assert_eq!(split(&[0; 40]).count(), 0);
        assert_eq!(split(&[16, 0]).count(), 0);
    }
}

//! One request to rtnetlink and all of its answer.
//!
//! The typed request builders of `rtnetlink` lose the flags and attributes that matter here (`IFA_F_NODAD`,
//! `NTF_USE`, `IFF_NOARP` with its change mask), so its connection is used with messages written by this module.

use std::io;

use futures::StreamExt;
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;

use super::{Result, SystemError};

/// How often a dump is repeated that the kernel says was changed under its hands.
const DUMP_ATTEMPTS: usize = 5;

/// A connection to rtnetlink. Clones share it; it ends with the last one.
#[derive(Clone, Debug)]
pub(crate) struct Netlink(rtnetlink::Handle);

impl Netlink {
    pub(crate) fn open() -> Result<Self> {
        let (mut connection, handle, _unsolicited) =
            rtnetlink::new_connection().map_err(|source| SystemError::Netlink { source })?;
        // Otherwise an answer that is through and a connection that is lost look alike.
        connection.set_forward_ack(true);
        connection.set_forward_done(true);
        tokio::spawn(connection);
        Ok(Self(handle))
    }

    /// Asks for a change and waits until the kernel says that it is made.
    pub(crate) async fn change(
        &self,
        asked: &str,
        interface: &str,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<()> {
        self.exchange(asked, interface, message, NLM_F_ACK | flags).await.map(drop)
    }

    /// Asks for one object, by a request that is not a dump.
    pub(crate) async fn fetch(
        &self,
        asked: &str,
        interface: &str,
        message: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>> {
        Ok(self.exchange(asked, interface, message, NLM_F_ACK).await?.0)
    }

    /// Asks for all objects of a kind; the caller picks.
    pub(crate) async fn dump(
        &self,
        asked: &str,
        interface: &str,
        message: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>> {
        let mut attempt = 1;
        loop {
            let (objects, interrupted) = self.exchange(asked, interface, message.clone(), NLM_F_DUMP).await?;
            if !interrupted || attempt == DUMP_ATTEMPTS {
                return Ok(objects);
            }
            attempt += 1;
        }
    }

    async fn exchange(
        &self,
        asked: &str,
        interface: &str,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<(Vec<RouteNetlinkMessage>, bool)> {
        let closed = || SystemError::Closed { asked: asked.to_owned() };
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | flags;
        let mut answers = self.0.clone().request(request).map_err(|_| closed())?;
        let mut objects = Vec::new();
        let mut interrupted = false;
        while let Some(answer) = answers.next().await {
            interrupted |= answer.header.flags & NLM_F_DUMP_INTR != 0;
            match answer.payload {
                NetlinkPayload::InnerMessage(object) => objects.push(object),
                NetlinkPayload::Error(error) if error.code.is_some() => {
                    return Err(SystemError::refused(asked, interface, error.to_io()));
                }
                NetlinkPayload::Done(done) if done.code < 0 => {
                    let source = io::Error::from_raw_os_error(-done.code);
                    return Err(SystemError::refused(asked, interface, source));
                }
                NetlinkPayload::Error(_) | NetlinkPayload::Done(_) => return Ok((objects, interrupted)),
                _ => {}
            }
        }
        // The stream ended without acknowledgement: the connection task is gone.
        Err(closed())
    }
}

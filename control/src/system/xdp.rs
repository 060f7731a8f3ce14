//! Removing an XDP program that a killed dataplane has left behind.

use std::os::fd::RawFd;

use rtnetlink::packet_route::link::{LinkAttribute, LinkXdp};

use super::link;
use super::{Result, System};

/// The descriptor that stands for "no program".
const NONE: RawFd = -1;

/// A program can be attached in three places; the flag says from which it is removed.
const SKB_MODE: u32 = 1 << 1;
const DRIVER_MODE: u32 = 1 << 2;
const HARDWARE_MODE: u32 = 1 << 3;

impl System {
    /// How many queues an interface receives on; 0 if the kernel does not say.
    pub fn receive_queues(&self, interface: &str) -> usize {
        let Ok(queues) = std::fs::read_dir(format!("/sys/class/net/{interface}/queues")) else { return 0 };
        queues.flatten().filter(|queue| queue.file_name().to_string_lossy().starts_with("rx-")).count()
    }

    /// Removes the XDP programs of an interface, whoever attached them. Only for when no dataplane runs: a program
    /// that redirects into the sockets of a dead process swallows every frame. Says how many were removed.
    ///
    /// # Errors
    /// `EBUSY` comes for a program that is held by a BPF link, which means that its owner is alive.
    pub async fn clear_xdp(&self, interface: &str) -> Result<usize> {
        let link = link::get(&self.netlink, interface).await?;
        let mut removed = 0;
        for attached in &link.xdp {
            let mode = match attached {
                LinkXdp::SkbProgId(_) => SKB_MODE,
                LinkXdp::DrvProgId(_) => DRIVER_MODE,
                LinkXdp::HwProgId(_) => HARDWARE_MODE,
                _ => continue,
            };
            let attribute = LinkAttribute::Xdp(vec![LinkXdp::Fd(NONE), LinkXdp::Flags(mode)]);
            link::set_attribute(&self.netlink, &link, "remove the XDP program", attribute).await?;
            removed += 1;
        }
        Ok(removed)
    }
}

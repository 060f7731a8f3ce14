//! Dropping what comes in on a device, behind the taps.
//!
//! The kernel hands a received frame first to XDP, then to packet sockets, then to the ingress filters of traffic
//! control, and only then to its own protocols. A filter there takes from the kernel what the dataplane receives
//! already. It is a classifier of two BPF instructions: `matchall` or `u32` with the action `gact` would do, but those
//! are two kernel modules that small kernels lack, and BPF has to be there for `xdp:` ports anyway.

use std::os::fd::AsRawFd;

use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::tc::{
    TcAttribute, TcBpfFlags, TcFilterBpfOption, TcHandle, TcMessage, TcOption,
};

use super::link::Link;
use super::netlink::Netlink;
use super::{Result, SystemError, bpf};

/// By this name the filter of a control that was killed is recognised.
const NAME: &str = "sluice-fence";
/// Before all other filters.
const PREFERENCE: u32 = 1;
/// Any number that is not zero; ours alone under this preference.
const HANDLE: u32 = 0x51_0ce0;

/// What was there before, or what was added: the queueing discipline that carries ingress filters, and the filter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) qdisc: bool,
    pub(crate) filter: bool,
}

/// What of the two is on the device.
pub(crate) async fn find(netlink: &Netlink, link: &Link) -> Result<Parts> {
    let asked = "list the queueing disciplines";
    let message = TcMessage::with_index(link.index as i32);
    let qdiscs = netlink.dump(asked, &link.name, RouteNetlinkMessage::GetQueueDiscipline(message)).await?;
    let qdisc = qdiscs.iter().any(|answer| match answer {
        RouteNetlinkMessage::NewQueueDiscipline(found) => {
            found.header.index == link.index as i32 && found.header.parent == TcHandle::INGRESS
        }
        _ => false,
    });
    if !qdisc {
        return Ok(Parts::default());
    }
    let request = RouteNetlinkMessage::GetTrafficFilter(filter_message(link));
    let filters = netlink.dump("list the ingress filters", &link.name, request).await?;
    let filter = filters.iter().any(|answer| match answer {
        RouteNetlinkMessage::NewTrafficFilter(found) => found.attributes.iter().any(is_ours),
        _ => false,
    });
    Ok(Parts { qdisc, filter })
}

/// Adds what is missing of the two.
pub(crate) async fn add(netlink: &Netlink, link: &Link) -> Result<()> {
    let present = find(netlink, link).await?;
    if !present.qdisc {
        let request = RouteNetlinkMessage::NewQueueDiscipline(qdisc_message(link));
        netlink
            .change(
                "add an ingress hook (the kernel's NET_SCH_INGRESS)",
                &link.name,
                request,
                NLM_F_CREATE | NLM_F_EXCL,
            )
            .await?;
    }
    if present.filter {
        return Ok(());
    }
    let program = bpf::load_drop_all()
        .map_err(|source| SystemError::refused("load the BPF program that drops", &link.name, source))?;
    let mut message = filter_message(link);
    message.header.handle = HANDLE.into();
    message.header.info = PREFERENCE << 16 | u32::from((libc::ETH_P_ALL as u16).to_be());
    message.attributes.push(TcAttribute::Kind("bpf".into()));
    message.attributes.push(TcAttribute::Options(vec![
        TcOption::Bpf(TcFilterBpfOption::ProgFd(program.as_raw_fd() as u32)),
        TcOption::Bpf(TcFilterBpfOption::ProgName(NAME.into())),
        TcOption::Bpf(TcFilterBpfOption::Flags(TcBpfFlags::DirectAction)),
    ]));
    let asked = "add the ingress filter that drops at preference 1 (the kernel's NET_CLS_BPF)";
    let request = RouteNetlinkMessage::NewTrafficFilter(message);
    netlink.change(asked, &link.name, request, NLM_F_CREATE | NLM_F_EXCL).await
}

/// Removes what is named; what is gone already is no error. The qdisc takes every filter on it along.
pub(crate) async fn remove(netlink: &Netlink, link: &Link, parts: Parts) -> Result<()> {
    let request = if parts.qdisc {
        RouteNetlinkMessage::DelQueueDiscipline(qdisc_message(link))
    } else if parts.filter {
        let mut message = filter_message(link);
        message.header.handle = HANDLE.into();
        message.header.info = PREFERENCE << 16 | u32::from((libc::ETH_P_ALL as u16).to_be());
        message.attributes.push(TcAttribute::Kind("bpf".into()));
        RouteNetlinkMessage::DelTrafficFilter(message)
    } else {
        return Ok(());
    };
    match netlink.change("remove the ingress filter", &link.name, request, 0).await {
        Err(error) if matches!(error.errno(), Some(libc::ENOENT | libc::EINVAL)) => {
            let left = find(netlink, link).await?;
            if (parts.qdisc && left.qdisc) || (parts.filter && left.filter) { Err(error) } else { Ok(()) }
        }
        result => result,
    }
}

fn qdisc_message(link: &Link) -> TcMessage {
    let mut message = TcMessage::with_index(link.index as i32);
    message.header.parent = TcHandle::CLSACT;
    message.header.handle = TcHandle { major: TcHandle::CLSACT.major, minor: 0 };
    message.attributes.push(TcAttribute::Kind("clsact".into()));
    message
}

fn filter_message(link: &Link) -> TcMessage {
    let mut message = TcMessage::with_index(link.index as i32);
    message.header.parent = TcHandle { major: TcHandle::CLSACT.major, minor: TcHandle::MIN_INGRESS };
    message
}

fn is_ours(attribute: &TcAttribute) -> bool {
    let TcAttribute::Options(options) = attribute else { return false };
    options
        .iter()
        .any(|option| matches!(option, TcOption::Bpf(TcFilterBpfOption::ProgName(name)) if name == NAME))
}

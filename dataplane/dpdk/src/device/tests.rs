use super::*;

/// Text, text as displayed (empty: the same), virtual device with index 3 (empty: none), kernel interface.
const GOOD: &[(&str, &str, &str, &str)] = &[
    ("pci:0000:01:00.1", "", "", ""),
    ("pci:0000:AF:00.0", "pci:0000:af:00.0", "", ""),
    ("pci:01:00.1", "pci:0000:01:00.1", "", ""),
    ("xdp:enp1s0f0", "", "net_af_xdp3 iface=enp1s0f0,start_queue=0,queue_count=1,busy_budget=0", "enp1s0f0"),
    ("xdp:eth0,queues=4", "", "net_af_xdp3 iface=eth0,start_queue=0,queue_count=4,busy_budget=0", "eth0"),
    (
        "xdp:eth0,copy,queues=1",
        "xdp:eth0,copy",
        "net_af_xdp3 iface=eth0,start_queue=0,queue_count=1,busy_budget=0,force_copy=1",
        "eth0",
    ),
    ("xdp:eth0,budget=64", "", "net_af_xdp3 iface=eth0,start_queue=0,queue_count=1,busy_budget=64", "eth0"),
    ("packet:eth1", "", "net_af_packet3 iface=eth1,qpairs=1", "eth1"),
    ("packet:eth1.100,queues=4", "", "net_af_packet3 iface=eth1.100,qpairs=4", "eth1.100"),
    ("tap:tap0", "", "net_tap3 iface=tap0", "tap0"),
    ("memif:/run/m.sock", "", "net_memif3 role=client,id=0,socket=/run/m.sock,socket-abstract=no", ""),
    (
        "memif:/run/m.sock,id=7,role=server",
        "memif:/run/m.sock,role=server,id=7",
        "net_memif3 role=server,id=7,socket=/run/m.sock,socket-abstract=no",
        "",
    ),
    ("ring:a", "", "net_ring_a ", ""),
    ("null:sink", "", "net_null_sink size=64,copy=0", ""),
    ("null:sink,size=1500,copy", "", "net_null_sink size=1500,copy=1", ""),
    ("pcap:rx=/a.pcap,tx=/b.pcap", "", "net_pcap3 rx_pcap=/a.pcap,tx_pcap=/b.pcap", ""),
    ("pcap:tx=/b.pcap", "", "net_pcap3 tx_pcap=/b.pcap", ""),
    ("pcap:iface=eth0", "", "net_pcap3 iface=eth0", "eth0"),
];

const BAD: &[(&str, &str)] = &[
    ("", "is no device"),
    ("eth0", "is no device"),
    ("dpdk:eth0", "is no device"),
    ("pci:0000:01:00", "PCI address"),
    ("pci:0000:01:00.8", "PCI address"),
    ("pci:0000.01.00.1", "PCI address"),
    ("pci:0000:01:00:1", "PCI address"),
    ("pci:0000:01:00.1,x", "no option"),
    ("xdp:", "interface name"),
    ("xdp:a-name-that-is-too-long", "interface name"),
    ("xdp:eth0,queues=0", "queues=1"),
    ("xdp:eth0,queues=x", "queues=1"),
    ("xdp:eth0,fast", "queues=1"),
    ("xdp:eth0,budget=1025", "budget=0"),
    ("packet:eth 0", "interface name"),
    ("packet:eth0,copy", "no option"),
    ("packet:eth0,queues=17", "no option"),
    ("memif:", "path"),
    ("memif:/a,role=master", "role=server"),
    ("memif:/a,id=-1", "id=NUMBER"),
    ("ring:", "name"),
    ("ring:a/b", "name"),
    ("null:a,size=13", "size=14"),
    ("pcap:", "rx=FILE"),
    ("pcap:/a.pcap", "rx=FILE"),
    ("pcap:iface=eth0,tx=/a", "rx=FILE"),
    ("pcap:rx=/a\"b", "path"),
];

#[test]
fn good_devices() {
    for (text, shown, vdev, interface) in GOOD {
        let device = Device::parse(text).unwrap_or_else(|error| panic!("{error}"));
        let shown = if shown.is_empty() { text } else { shown };
        assert_eq!(device.to_string(), *shown);
        assert_eq!(shown.parse(), Ok(device.clone()), "{text}: display is read back");
        let found = device.vdev(3).map(|(name, arguments)| format!("{name} {arguments}"));
        assert_eq!(found.unwrap_or_default(), *vdev, "{text}");
        assert_eq!(device.kernel_interface().unwrap_or_default(), *interface, "{text}");
    }
}

#[test]
fn bad_devices_say_what_was_expected() {
    for (text, expected) in BAD {
        let error = Device::parse(text).expect_err(text).to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn only_tap_may_be_missing_before_it_is_attached() {
    assert_eq!(Device::parse("tap:t0").unwrap().needs_interface(), None);
    assert_eq!(Device::parse("xdp:t0").unwrap().needs_interface(), Some("t0"));
}

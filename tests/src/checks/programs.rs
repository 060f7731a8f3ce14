//! What programs that people use make of the gateway: STUN discovery, traceroute, DNS, keep-alive, a CLAT.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Scene;
use crate::lab::{Lab, ROUTER, SERVER};
use crate::process::Process;
use crate::traffic::{connect, echo_once, embed};
use crate::wait;

/// A second address of the server, which STUN discovery needs.
const SECOND: &str = "203.0.113.11";

/// A real STUN server with two addresses and two ports each (RFC 5780).
pub fn stun_server(lab: &Lab) -> Result<Process> {
    let host = lab.host("server4");
    host.ip(&["address", "replace", &format!("{SECOND}/24"), "dev", "eth0"])?;
    let folder = lab.directory();
    let mut command = host.command("turnserver");
    command.args(["--stun-only", "--no-cli", "--no-tls", "--no-dtls", "-n", "-v"]);
    command.args(["-L", &SERVER.to_string(), "-L", SECOND, "-p", "3478", "--alt-listening-port", "3479"]);
    command.arg("--log-file=stdout").arg("--pidfile").arg(folder.join("turnserver.pid"));
    command.arg("--userdb").arg(folder.join("turndb"));
    Process::spawn("turnserver", command, &folder.join("turnserver.log"))
}

/// What a real client finds out about mapping and filtering.
//= conformance N44-01, MAP-01, MAP-07, MAP-08, MAP-09
pub fn discovery(scene: &Scene, filtering: &str) -> Result<()> {
    let _server = stun_server(scene.lab)?;
    let client = scene.lab.host("client4");
    let server = SERVER.to_string();
    for (option, expected) in [("-m", "NAT with Endpoint Independent Mapping!"), ("-f", filtering)] {
        let arguments = ["turnutils_natdiscovery", option, "-L", "10.0.0.10", &server];
        let text = wait::until(Duration::from_secs(10), "STUN discovery", || {
            let text = client.exec(&arguments)?;
            wait::require(text.contains("NAT with"), &text)?;
            Ok(text)
        })?;
        ensure!(text.contains(expected), "{option}: no {expected:?} in {text}");
    }
    Ok(())
}

/// traceroute by UDP, TCP and ICMP shows the same path: the gateway, the router, the server.
//= conformance XLT-14, N44-05, ICMP-92
pub fn traceroutes(scene: &Scene) -> Result<()> {
    let (six, four) = (embed(SERVER).to_string(), SERVER.to_string());
    let router = embed(ROUTER).to_string();
    for (host, family, path) in [
        ("client6", "-6", ["2001:db8:501::1", &router, &six]),
        ("client4", "-4", ["10.0.0.1", "192.0.2.1", &four]),
    ] {
        for method in ["-U", "-T", "-I"] {
            let text = scene.lab.host(host).exec(&[
                "traceroute",
                family,
                method,
                "-n",
                "-q",
                "1",
                "-N",
                "1",
                "-w",
                "2",
                "-m",
                "5",
                path[2],
            ])?;
            let hops: Vec<&str> =
                text.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
            ensure!(hops == path, "{host} {method}: hops {hops:?}:\n{text}");
        }
    }
    Ok(())
}

/// A real name server with an answer that fills several fragments, asked by UDP and by TCP.
//= conformance FRAG-17, FRAG-24
pub fn dns(scene: &Scene) -> Result<()> {
    let lab = scene.lab;
    let folder = lab.directory();
    let long: String = (0..14).map(|n| format!(" \\\"{}\\\"", format!("{n:x}").repeat(240))).collect();
    let config = folder.join("unbound-programs.conf");
    let text = format!(
        "server:\n  interface: {SERVER}\n  access-control: 0.0.0.0/0 allow\n  do-daemonize: no\n  chroot: \"\"\n  username: \"\"\n  \
         pidfile: \"{0}/unbound-programs.pid\"\n  directory: \"{0}\"\n  use-syslog: no\n  edns-buffer-size: 4096\n  \
         max-udp-size: 4096\n  ip-transparent: no\n  local-zone: \"example.\" static\n  \
         local-data: 'big.example. 60 IN TXT{1}'\n  local-data: 'www.example. 60 IN A 203.0.113.10'\nremote-control:\n  control-enable: no\n",
        folder.display(),
        long.replace("\\\"", "\"")
    );
    std::fs::write(&config, text)?;
    let mut command = lab.host("server4").command("unbound");
    command.arg("-d").arg("-c").arg(&config);
    let mut server = Process::spawn("unbound", command, &folder.join("unbound-programs.log"))?;
    for (host, address) in [("client6", embed(SERVER).to_string()), ("client4", SERVER.to_string())] {
        let client = lab.host(host);
        let at = format!("@{address}");
        let dig = |more: &[&str]| {
            client.exec(
                &[&["dig", &at, "+tries=1", "+time=2", "+noall", "+answer", "+comments", "+stats"], more]
                    .concat(),
            )
        };
        wait::until(Duration::from_secs(10), "the name server", || {
            server.alive()?;
            let text = dig(&["www.example", "A", "+short"])?;
            wait::require(text.trim() == "203.0.113.10", &text)
        })?;
        for transport in [&["+notcp", "+ignore", "+bufsize=4096"][..], &["+tcp"]] {
            let text = dig(&[&["big.example", "TXT"], transport].concat())?;
            let size = text.lines().find_map(|line| line.strip_prefix(";; MSG SIZE  rcvd: "));
            let size: usize = size.with_context(|| format!("{host}: {text}"))?.trim().parse()?;
            ensure!(size > 3300, "{host} {transport:?}: an answer of {size} bytes:\n{text}");
            ensure!(!text.contains(" tc"), "{host} {transport:?}: truncated:\n{text}");
        }
    }
    Ok(())
}

/// A connection that says nothing for a while but keeps itself alive: its session stays young, and it still works.
//= conformance N64-TCP-20
pub fn keep_alive(scene: &Scene) -> Result<()> {
    let mut streams = Vec::new();
    for (host, server) in [("client6", super::server6()), ("client4", super::server4())] {
        let mut stream = connect(scene.lab.host(host), None, server, crate::traffic::PATIENCE)?;
        let keepalive = socket2::TcpKeepalive::new()
            .with_time(Duration::from_secs(1))
            .with_interval(Duration::from_secs(1));
        socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
        std::io::Write::write_all(&mut stream, b"E")?;
        echo_once(&mut stream, b"before")?;
        let local = stream.local_addr()?;
        streams.push((stream, local));
    }
    std::thread::sleep(Duration::from_secs(5));
    for (stream, local) in &mut streams {
        let rows = scene.gateway.json_lines(&["sessions", "--inside", &local.ip().to_string()])?;
        let port = u64::from(local.port());
        let row = rows.iter().find(|row| row["inside_port"].as_u64() == Some(port));
        let row = row.with_context(|| format!("no session of {local} in {rows:?}"))?;
        let idle = row["idle"].as_u64().with_context(|| format!("no idle time in {row}"))?;
        ensure!(idle <= 2, "{local} has been idle: {row}");
        echo_once(stream, b"after")?;
    }
    Ok(())
}

/// The IPv4 address of programs behind the CLAT, and what it is on the inside link.
const BEHIND_CLAT: [&str; 2] = ["192.0.0.2", "2001:db8:501::c2"];

/// 464XLAT: programs that know only IPv4, on a host that has only IPv6, through a stateless translator on that host (a real one:
/// tayga) and the gateway.
//= conformance DISC-06, DISC-07, DISC-08, FRAG-08, MAP-05
pub fn clat(scene: &Scene) -> Result<()> {
    let (lab, host) = (scene.lab, scene.lab.host("client6"));
    let [four, six] = BEHIND_CLAT;
    let config = lab.directory().join("tayga.conf");
    std::fs::write(
        &config,
        format!(
            "tun-device clat\nipv4-addr 192.0.0.1\nipv6-addr 2001:db8:501::c1\nprefix 2001:db8:64::/96\nmap {four} {six}\n\
             data-dir {}\n",
            lab.directory().display()
        ),
    )?;
    let path = config.display().to_string();
    host.exec(&["tayga", "-c", &path, "--mktun"])?;
    for setting in ["net.ipv6.conf.all.forwarding=1", "net.ipv6.conf.eth0.proxy_ndp=1"] {
        host.sysctl(setting)?;
    }
    host.ip(&["link", "set", "clat", "up"])?;
    host.ip(&["address", "add", &format!("{four}/29"), "dev", "clat"])?;
    host.ip(&["route", "add", "default", "dev", "clat", "mtu", "1480"])?;
    host.ip(&["-6", "route", "add", six, "dev", "clat"])?;
    host.ip(&["-6", "neighbour", "add", "proxy", six, "dev", "eth0"])?;
    let mut command = host.command("tayga");
    command.args(["-c", &path, "-d"]);
    let mut tayga = Process::spawn("tayga", command, &lab.directory().join("tayga.log"))?;
    let result = through_clat(scene, &mut tayga);
    drop(tayga);
    host.ip(&["link", "delete", "clat"])?;
    host.ip(&["-6", "neighbour", "delete", "proxy", six, "dev", "eth0"])?;
    host.sysctl("net.ipv6.conf.all.forwarding=0")?;
    result
}

fn through_clat(scene: &Scene, tayga: &mut Process) -> Result<()> {
    let (lab, host, server) = (scene.lab, scene.lab.host("client6"), super::server4());
    wait::until(Duration::from_secs(10), "a ping through the CLAT", || {
        tayga.alive()?;
        host.exec(&["ping", "-4", "-c", "1", "-W", "1", &SERVER.to_string()])
    })?;
    let _nginx = super::web_server(lab)?;
    let url = format!("http://{SERVER}:8080/");
    let page = wait::until(Duration::from_secs(10), "the web page", || {
        host.exec(&["curl", "-4", "-sS", "--max-time", "5", &url])
    })?;
    ensure!(page.contains("198.51.100."), "the web server saw: {page}");
    let capture = crate::capture::Capture::start(lab.host("server4"))?;
    let local = std::net::SocketAddr::new(BEHIND_CLAT[0].parse()?, 0);
    let socket = crate::traffic::datagrams(host, local, server)?;
    for size in [100_usize, 1400, 4000] {
        let request: Vec<u8> = (0..size).map(|n| crate::service::pattern(n as u64)).collect();
        let answer = crate::traffic::exchange(&socket, &request).with_context(|| format!("{size} bytes"))?;
        ensure!(answer == request, "{size} bytes came back changed");
    }
    let seen = |socket: &std::net::UdpSocket| -> Result<std::net::SocketAddr> {
        Ok(String::from_utf8(crate::traffic::exchange(socket, b"who?")?)?.parse()?)
    };
    let native = crate::traffic::datagrams(host, "[2001:db8:501::10]:0".parse()?, super::server6())?;
    let (clat, native) = (seen(&socket)?, seen(&native)?);
    ensure!(clat.ip() == native.ip(), "one subscriber, two external addresses: {clat} and {native}");
    // Whole datagrams to the server: what may still be fragmented is so small that it need not be.
    let sizes = capture.finish()?.into_iter().filter_map(|frame| whole_udp(&frame)).collect::<Vec<_>>();
    ensure!(sizes.contains(&(128, false)) && sizes.contains(&(1428, true)), "length and DF: {sizes:?}");
    Ok(())
}

/// Total length and DF of a whole UDP datagram to the service.
fn whole_udp(frame: &[u8]) -> Option<(u16, bool)> {
    let header = frame.get(14..34).filter(|_| frame[12..14] == [8, 0])?;
    let whole = header[6] & 0x3f == 0 && header[7] == 0;
    let to_server = header[9] == 17 && header[16..20] == SERVER.octets();
    (whole && to_server).then(|| (u16::from_be_bytes([header[2], header[3]]), header[6] & 0x40 != 0))
}

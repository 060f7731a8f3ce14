//! The configuration file at work: what it changes, what it must not disturb, and what it refuses.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sluice_tests::checks::{
    PORT, box_itself, errors, nat44, nat64, refused, run_all, server4, server6, with_gateway,
};
use sluice_tests::service::Service;
use sluice_tests::site::{Device, Site};
use sluice_tests::traffic::{
    any, ask, datagrams, download, echo_once, echo_stream, embed, exchange, seen_as, upload,
};

/// A changed file is applied while a connection runs that it does not concern.
#[test]
fn an_unaffected_flow_survives_a_change() -> Result<()> {
    with_gateway(&Site::default(), |scene| {
        let mut stream = echo_stream(scene.lab.host("client6"), server6())?;
        let changed = Site {
            routes: vec!["{ to: 198.18.0.0/15, blackhole: true }".to_owned()],
            static_bindings: vec![
                r#"{ protocol: tcp, inside: "[2001:db8:501::10]:2222", external: "198.51.100.1:2222" }"#
                    .to_owned(),
            ],
            ..Site::default()
        };
        scene.gateway.write_config(&changed.yaml())?;
        let said = scene.gateway.apply()?;
        ensure!(said.contains("198.18.0.0/15"), "apply did not print the difference: {said}");
        for round in 0..20 {
            echo_once(&mut stream, format!("after the change {round}").as_bytes())?;
        }
        // And the change is in force.
        let service = Service::start(scene.lab.host("client6"), "[2001:db8:501::10]:2222".parse()?)?;
        ask(scene.lab.host("server4"), None, "198.51.100.1:2222".parse()?, b'W')
            .context("the new static binding")?;
        drop(service);
        Ok(())
    })
}

/// How workers rest changes under a connection, and a worker that may sleep does.
#[test]
fn the_idle_mode_changes_live() -> Result<()> {
    with_gateway(&Site::default(), |scene| {
        let mut stream = echo_stream(scene.lab.host("client6"), server6())?;
        let loops = || scene.gateway.counters()?.total("loops");
        for mode in ["pause", "sleep", "poll", "auto"] {
            let text = Site::default().yaml().replace("] }\npools:", &format!("], idle: {mode} }}\npools:"));
            scene.gateway.write_config(&text)?;
            let said = scene.gateway.apply()?;
            ensure!(said.contains("idle: ") && !said.contains("rebuild"), "apply to {mode}: {said}");
            for round in 0..5 {
                echo_once(&mut stream, format!("{mode} {round}").as_bytes())?;
            }
            run_all(scene, &[("nat64 UDP echo", nat64::udp), ("nat44 ping", nat44::ping)])?;
            if mode == "sleep" {
                let before = loops()?;
                thread::sleep(Duration::from_secs(2));
                let turned = loops()? - before;
                // A thousand naps a second; a packet now and then is followed by two thousand loops without one.
                ensure!(turned < 100_000, "{turned} loops in two seconds without traffic");
            }
        }
        Ok(())
    })
}

/// A file with a mistake is refused with line and column, and nothing changes.
#[test]
fn a_bad_file_is_refused_by_line_and_column() -> Result<()> {
    with_gateway(&Site::default(), |scene| {
        let good = Site::default().yaml();
        let bad = good.replace("pools:", "pols:");
        let line = 1 + good.lines().position(|line| line.starts_with("pools:")).context("a line of pools")?;
        scene.gateway.write_config(&bad)?;
        let path = scene.gateway.config().display().to_string();
        for arguments in [["check", path.as_str()].as_slice(), &["apply", "--yes", &path]] {
            let output = scene.gateway.command(arguments)?.output()?;
            let text = String::from_utf8_lossy(&output.stderr).into_owned()
                + &String::from_utf8_lossy(&output.stdout);
            ensure!(output.status.code() == Some(1), "{arguments:?} ended with {}: {text}", output.status);
            ensure!(text.contains(&format!("{line}:1")), "no position {line}:1 in: {text}");
            ensure!(text.contains("pools"), "the nearest key is not named: {text}");
        }
        run_all(scene, &[("nat64 UDP echo", nat64::udp), ("nat44 UDP echo", nat44::udp)])
    })
}

/// Static bindings let the outside in, to exactly these.
#[test]
//= conformance N44-29
fn static_bindings() -> Result<()> {
    let site = Site {
        static_bindings: vec![
            r#"{ protocol: tcp, inside: "[2001:db8:501::10]:2222", external: "198.51.100.1:2222" }"#
                .to_owned(),
            r#"{ protocol: udp, inside: "10.0.0.10:5353", external: "198.51.100.1:5353" }"#.to_owned(),
        ],
        ..Site::default()
    };
    with_gateway(&site, |scene| {
        let server = scene.lab.host("server4");
        let _six = Service::start(scene.lab.host("client6"), "[2001:db8:501::10]:2222".parse()?)?;
        let _four = Service::start(scene.lab.host("client4"), "10.0.0.10:5353".parse()?)?;
        let seen = seen_as(server, None, "198.51.100.1:2222".parse()?)?;
        let expected = sluice_tests::traffic::embed(sluice_tests::lab::SERVER);
        ensure!(seen.ip() == expected, "the inside host saw {seen}, expected {expected}");
        upload(server, "198.51.100.1:2222".parse()?, 500_000)?;
        let socket = datagrams(server, "0.0.0.0:0".parse()?, "198.51.100.1:5353".parse()?)?;
        ensure!(exchange(&socket, b"ping")? == b"ping", "UDP through a static binding");
        Ok(())
    })
}

/// An inside host reaches another by that one's external address, and hears of a narrow link behind it: the error about the
/// second half of a hairpin finds the sender.
fn hairpin(workers: usize) -> Result<()> {
    let mut site = Site { workers, mss_clamp: "off", ..Site::default() }.and_guests();
    site.interfaces[0] = site.interfaces[0].replace("vlan: 20,", "vlan: 20, mtu: 1400, mss-clamp: off,");
    for binding in ["[2001:db8:520::10]:2222", "10.0.20.10:2223"] {
        let port = binding.rsplit(':').next().context("a port")?;
        for protocol in ["tcp", "udp"] {
            site.static_bindings.push(format!(
                r#"{{ protocol: {protocol}, inside: "{binding}", external: "198.51.100.1:{port}" }}"#
            ));
        }
    }
    with_gateway(&site, |scene| {
        let tagged = scene.lab.host("tagged");
        let _six = Service::start(tagged, "[2001:db8:520::10]:2222".parse()?)?;
        let _four = Service::start(tagged, "10.0.20.10:2223".parse()?)?;
        let external: std::net::Ipv4Addr = "198.51.100.1".parse()?;
        let checks: &[(&str, &str, SocketAddr)] = &[
            ("NAT64 to NAT64", "client6", (embed(external), 2222).into()),
            ("NAT64 to NAT44", "client6", (embed(external), 2223).into()),
            ("NAT44 to NAT64", "client4", (external, 2222).into()),
            ("NAT44 to NAT44", "client4", (external, 2223).into()),
        ];
        for &(what, client, remote) in checks {
            let before = scene.gateway.settled()?;
            // What an earlier case has taught it about the path.
            for family in ["-4", "-6"] {
                scene.lab.host(client).ip(&[family, "route", "flush", "cache"])?;
            }
            let client = scene.lab.host(client);
            let seen = seen_as(client, None, remote).with_context(|| format!("{what}: TCP"))?;
            let address = seen.ip().to_string();
            ensure!(
                address.starts_with("198.51.100.") || address.starts_with("2001:db8:64::c633:64"),
                "{what}: seen as {seen}, not by an external address"
            );
            let socket = datagrams(client, any(remote), remote)?;
            ensure!(exchange(&socket, b"hairpin")? == b"hairpin", "{what}: UDP");
            upload(client, remote, 500_000).with_context(|| format!("{what}: into the narrow link"))?;
            download(client, remote, 500_000).with_context(|| format!("{what}: out of it"))?;
            let after = scene.gateway.settled()?;
            ensure!(after.total("hairpins")? > before.total("hairpins")?, "{what}: nothing was hairpinned");
            let narrow = after.drops_since(&before).get("packet_too_big").copied();
            ensure!(narrow > Some(0), "{what}: the link was not too narrow");
        }
        Ok(())
    })
}

#[test]
//= conformance HAIR-01
//= conformance HAIR-02
//= conformance HAIR-05
//= conformance HAIR-09
fn hairpin_with_1_worker() -> Result<()> {
    hairpin(1)
}

#[test]
fn hairpin_with_4_workers() -> Result<()> {
    hairpin(4)
}

/// An interface that receives on more queues than the port polls is refused, with the way out: packets of the others would
/// reach nobody.
#[test]
fn queues_that_nobody_polls() -> Result<()> {
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        eprintln!("one core only: a virtual cable has as many queues as there are cores");
        return Ok(());
    }
    with_gateway(&Site::default(), |scene| {
        scene.lab.host("gw").exec(&["ethtool", "-L", "wan0", "rx", "2"])?;
        scene.gateway.write_config(&Site::with(Device::Xdp, 1).yaml())?;
        let Err(error) = scene.gateway.apply() else { anyhow::bail!("it was applied") };
        ensure!(error.to_string().contains("xdp:wan0,queues=2"), "{error}");
        run_all(scene, &[("nat64 UDP echo", nat64::udp), ("nat44 UDP echo", nat44::udp)])
    })
}

/// Filtering by address refuses strangers by name, and only strangers.
#[test]
fn address_dependent_filtering() -> Result<()> {
    let site = Site { filtering: "address-dependent", ..Site::default() };
    with_gateway(&site, |scene| {
        run_all(scene, &[("filtered", refused::filtered), ("nat64 UDP echo", nat64::udp)])
    })
}

/// A narrow inside: segments are clamped to it, and bulk passes.
#[test]
fn narrow_inside() -> Result<()> {
    let site = Site { inside_mtu: 1400, ..Site::default() };
    with_gateway(&site, |scene| {
        for client in ["client4", "client6"] {
            scene.lab.host(client).ip(&["link", "set", "eth0", "mtu", "1400"])?;
        }
        run_all(scene, &[("MSS", |scene| errors::mss_clamped(scene, 1400)), ("nat64 bulk", nat64::bulk)])
    })
}

/// A pool on the gateway's own outside address: translated ports are of the range, other ports stay with the kernel.
#[test]
fn masquerade() -> Result<()> {
    let site = Site { pool: "192.0.2.2/32", ports: "32768-60999", ..Site::default() };
    with_gateway(&site, |scene| {
        let seen = seen_as(scene.lab.host("client6"), None, server6())?;
        ensure!(
            seen.ip().to_string() == "192.0.2.2" && (32768..61000).contains(&seen.port()),
            "seen as {seen}"
        );
        box_itself::route_of_the_box(scene)?;
        let local: SocketAddr = "192.0.2.2:2200".parse()?;
        let _service = Service::start(scene.lab.host("gw"), local)?;
        upload(scene.lab.host("server4"), local, 100_000)
            .context("a service of the box on the pool's address")?;
        scene.lab.host("server4").exec(&["ping", "-c", "2", "-i", "0.1", "-W", "2", "192.0.2.2"])?;
        run_all(scene, &[("nat64 UDP echo", nat64::udp), ("nat44 TCP bulk", nat44::bulk)])
    })
}

/// What the commands write with --json is JSON, and says what happened.
#[test]
//= conformance MAP-19
fn json_of_every_command() -> Result<()> {
    with_gateway(&Site::default(), |scene| {
        let gateway = scene.gateway;
        let local: SocketAddr = "[2001:db8:501::10]:41000".parse()?;
        let socket = datagrams(scene.lab.host("client6"), local, server6())?;
        exchange(&socket, b"make a session")?;

        let status = gateway.json(&["status"])?;
        ensure!(status.is_object(), "status {status}");
        let counters = gateway.counters()?;
        ensure!(counters.total("sessions")? >= 1, "no session is counted");
        let sessions = gateway.json_lines(&["sessions", "--inside", "2001:db8:501::10"])?;
        let mine = sessions.iter().find(|session| session.to_string().contains("41000"));
        let mine = mine.with_context(|| format!("no session of port 41000 in {sessions:?}"))?.to_string();
        ensure!(mine.contains("203.0.113.10") && mine.contains(&PORT.to_string()), "the session says {mine}");
        ensure!(
            gateway.json_lines(&["sessions", "--inside", "2001:db8:999::1"])?.is_empty(),
            "the filter lets all pass"
        );

        let mut trace =
            gateway.command(&["trace", "--count", "2", "--port", "41000", "--timeout", "10", "--json"])?;
        let trace = trace.stdout(std::process::Stdio::piped()).spawn()?;
        // The trace needs a moment to reach the workers; packets go on until it has what it wants.
        let stop = std::sync::atomic::AtomicBool::new(false);
        let output = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    // Lost answers do not matter here.
                    let _ = exchange(&socket, b"trace me");
                    std::thread::sleep(std::time::Duration::from_millis(20));
                }
            });
            let output = trace.wait_with_output();
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            output
        })?;
        ensure!(output.status.success(), "trace ended with {}", output.status);
        let text = String::from_utf8_lossy(&output.stdout);
        let records =
            text.lines().map(serde_json::from_str).collect::<Result<Vec<serde_json::Value>, _>>()?;
        ensure!(records.len() == 2, "2 packets asked for, {} came: {text}", records.len());
        ensure!(text.contains("transmit"), "no packet was transmitted: {text}");
        Ok(())
    })
}

/// The same flow over and over makes one session: the table does not grow with packets.
#[test]
fn packets_do_not_make_sessions() -> Result<()> {
    with_gateway(&Site::default(), |scene| {
        let client = scene.lab.host("client4");
        let socket = datagrams(client, "10.0.0.10:42000".parse()?, server4())?;
        exchange(&socket, b"first")?;
        let before = scene.gateway.settled()?.total("sessions_created")?;
        for _ in 0..200 {
            exchange(&socket, b"again")?;
        }
        ensure!(
            scene.gateway.settled()?.total("sessions_created")? == before,
            "packets of one flow made sessions"
        );
        Ok(())
    })
}

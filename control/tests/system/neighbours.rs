//! Following, provoking and keeping neighbours.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};
use std::time::Duration;

use sluice_control::system::{KeepAlive, NeighbourEvent, NeighbourState, System, TapTwin, TwinPlan};
use tokio::sync::mpsc::Receiver;

use crate::dataplane::{Frames, answer, asks_for, solicits};
use crate::world::{in_namespace, run};

const SOON: Duration = Duration::from_secs(3);
const MAC: [u8; 6] = [0x02, 0, 0x5e, 0x10, 0, 1];
const OTHER: [u8; 6] = [0x02, 0, 0x5e, 0x10, 0, 2];
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

async fn twin(system: &System) -> TapTwin {
    let twin = system.tap("outside", 1500).await.unwrap();
    let plan = TwinPlan {
        name: "outside".into(),
        mac: MAC,
        mtu: 1500,
        addresses: vec!["192.0.2.1/24".parse().unwrap(), "2001:db8:ff::1/64".parse().unwrap()],
        lower: None,
    };
    system.configure_twin(&plan).await.unwrap();
    twin
}

/// The next event of a neighbour that has this state.
async fn wait(
    events: &mut Receiver<NeighbourEvent>,
    address: IpAddr,
    state: NeighbourState,
) -> NeighbourEvent {
    let search = async {
        loop {
            let event = events.recv().await.expect("the watcher goes on");
            if event.address == address && event.state == state {
                return event;
            }
        }
    };
    let event = tokio::time::timeout(Duration::from_secs(10), search).await;
    event.unwrap_or_else(|_| panic!("no event {state:?} of {address}"))
}

#[test]
fn what_is_known_comes_first_then_every_change() {
    in_namespace(|system| async move {
        let twin = twin(&system).await;
        run("ip neigh add 192.0.2.2 lladdr 02:00:5e:10:00:02 dev outside nud permanent");
        run("ip neigh add 2001:db8:ff::2 lladdr 02:00:5e:10:00:02 dev outside nud stale");
        let mut events = system.watch_neighbours().unwrap();
        let v4 = wait(&mut events, NEIGHBOUR.into(), NeighbourState::Reachable).await;
        assert_eq!((v4.interface.as_str(), v4.index, v4.mac), ("outside", twin.index(), Some(OTHER)));
        let v6: IpAddr = "2001:db8:ff::2".parse().unwrap();
        assert_eq!(wait(&mut events, v6, NeighbourState::Stale).await.mac, Some(OTHER));

        run("ip neigh replace 192.0.2.2 lladdr 02:00:5e:10:00:03 dev outside nud permanent");
        let moved = wait(&mut events, NEIGHBOUR.into(), NeighbourState::Reachable).await;
        assert_eq!(moved.mac, Some([0x02, 0, 0x5e, 0x10, 0, 3]));
        run("ip neigh del 192.0.2.2 dev outside");
        let gone = wait(&mut events, NEIGHBOUR.into(), NeighbourState::Deleted).await;
        assert_eq!((gone.interface.as_str(), gone.mac), ("outside", None));

        // A new name is used from the next event on.
        run("ip link set dev outside down");
        run("ip link set dev outside name renamed");
        run("ip link set dev renamed up");
        run("ip neigh add 192.0.2.3 lladdr 02:00:5e:10:00:02 dev renamed nud permanent");
        let third: IpAddr = "192.0.2.3".parse().unwrap();
        assert_eq!(wait(&mut events, third, NeighbourState::Reachable).await.interface, "renamed");
        // With its interface a neighbour goes.
        twin.remove().await.unwrap();
        wait(&mut events, third, NeighbourState::Deleted).await;
    });
}

#[test]
fn a_request_goes_out_of_the_tap_and_the_answer_comes_as_an_event() {
    in_namespace(|system| async move {
        let _twin = twin(&system).await;
        let dataplane = Frames::of_tap("outside");
        let mut events = system.watch_neighbours().unwrap();

        system.resolve_neighbour("outside", NEIGHBOUR.into()).await.unwrap();
        let request = dataplane.receive(SOON, |frame| asks_for(frame, NEIGHBOUR)).expect("an ARP request");
        assert_eq!((&request[6..12], &request[28..32]), (&MAC[..], &[192, 0, 2, 1][..]), "from whom");
        dataplane.send(&answer(&request, OTHER));
        let event = wait(&mut events, NEIGHBOUR.into(), NeighbourState::Reachable).await;
        assert_eq!(event.mac, Some(OTHER));
        // Asking again does not take away what is known.
        system.resolve_neighbour("outside", NEIGHBOUR.into()).await.unwrap();
        assert!(run("ip neigh show to 192.0.2.2").contains("REACHABLE"));

        let v6: IpAddr = "2001:db8:ff::2".parse().unwrap();
        system.resolve_neighbour("outside", v6).await.unwrap();
        assert!(dataplane.receive(SOON, solicits).is_some(), "a neighbour solicitation");
        // Nobody answers.
        assert_eq!(wait(&mut events, v6, NeighbourState::Failed).await.mac, None);
        // A failed neighbour is asked anew.
        system.resolve_neighbour("outside", v6).await.unwrap();
        assert!(dataplane.receive(SOON, solicits).is_some(), "once more");
    });
}

#[test]
fn lost_notifications_are_made_up_for() {
    in_namespace(|system| async move {
        let _twin = twin(&system).await;
        let mut events = system.watch_neighbours().unwrap();
        run("ip neigh add 192.0.2.2 lladdr 02:00:5e:10:00:02 dev outside nud permanent");
        wait(&mut events, NEIGHBOUR.into(), NeighbourState::Reachable).await;

        // The runtime of this thread does not run while `ip` does, so all this overruns the socket.
        run("ip addr add 10.0.0.1/8 dev outside");
        let address = |n: u32| Ipv4Addr::from(0x0a01_0000 + n);
        let count = 24_000;
        let mut batch = String::new();
        for n in 0..count {
            let _ = writeln!(
                batch,
                "neigh add {} lladdr 02:00:5e:10:00:02 dev outside nud permanent",
                address(n)
            );
        }
        for n in (0..count).step_by(2) {
            let _ = writeln!(batch, "neigh del {} dev outside", address(n));
        }
        let _ = writeln!(batch, "neigh del {NEIGHBOUR} dev outside");
        let mut child = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(batch.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());

        let mut known: HashMap<IpAddr, NeighbourState> = HashMap::new();
        known.insert(NEIGHBOUR.into(), NeighbourState::Reachable);
        while let Ok(Some(event)) = tokio::time::timeout(Duration::from_secs(2), events.recv()).await {
            match event.state {
                NeighbourState::Deleted => drop(known.remove(&event.address)),
                state => drop(known.insert(event.address, state)),
            }
        }
        known.retain(|address, _| address.is_ipv4());
        assert_eq!(known.len(), count as usize / 2);
        assert!((1..count).step_by(2).all(|n| known.contains_key(&address(n).into())));
    });
}

#[test]
fn kept_neighbours_are_asked_again_by_the_kernel() {
    in_namespace(|system| async move {
        let _twin = twin(&system).await;
        let dataplane = Frames::of_tap("outside");
        let gateway = ("outside".to_owned(), IpAddr::V4(NEIGHBOUR));
        let other = ("outside".to_owned(), "2001:db8:ff::2".parse().unwrap());
        let kept = system.keep_alive(&[gateway.clone(), other.clone()]).await.unwrap();
        assert_eq!(kept, KeepAlive::ByKernel, "this kernel knows NTF_EXT_MANAGED");
        let managed = |address: IpAddr| run(&format!("ip neigh show to {address}")).contains("managed");
        assert!(managed(gateway.1) && managed(other.1));

        // Nobody answers, and still the kernel asks on, beyond the three requests of one attempt. The next attempt
        // comes 5 s after the first, by a timer of the whole machine (interval_probe_time_ms), which may be late when the
        // machine is busy: how soon it comes is the kernel's, that it comes is what we asked for.
        for n in 0..4 {
            let request = dataplane.receive(20 * SOON, |frame| asks_for(frame, NEIGHBOUR));
            assert!(request.is_some(), "request {n}");
        }
        system.resolve_neighbour("outside", NEIGHBOUR.into()).await.unwrap();
        assert!(managed(gateway.1), "resolving does not end it");
        system.keep_alive(std::slice::from_ref(&other)).await.unwrap();
        assert!(!managed(gateway.1), "no longer named");
        assert!(managed(other.1));

        let wrong = system.keep_alive(&[("nowhere".into(), gateway.1), other.clone()]).await;
        assert!(wrong.unwrap_err().to_string().contains("no interface nowhere"));
        assert!(managed(other.1), "the others are kept all the same");
    });
}

#[test]
fn a_neighbour_that_the_operator_named_stays_as_it_is() {
    in_namespace(|system| async move {
        let _twin = twin(&system).await;
        let _dataplane = Frames::of_tap("outside");
        for state in ["permanent", "noarp"] {
            run(&format!("ip neigh replace {NEIGHBOUR} lladdr 02:00:00:00:00:09 dev outside nud {state}"));
            let gateway = ("outside".to_owned(), IpAddr::V4(NEIGHBOUR));
            system.keep_alive(std::slice::from_ref(&gateway)).await.unwrap();
            system.resolve_neighbour("outside", gateway.1).await.unwrap();
            let shown = run(&format!("ip neigh show to {NEIGHBOUR} nud {state}"));
            assert!(shown.contains("02:00:00:00:00:09") && !shown.contains("managed"), "{state}: {shown}");
            system.keep_alive(&[]).await.unwrap();
            assert!(run(&format!("ip neigh show to {NEIGHBOUR} nud {state}")).contains("02:00:00:00:00:09"));
        }
    });
}

#[test]
fn limits_of_the_machine_are_none_of_a_namespace() {
    in_namespace(|system| async move { system.set_gc_thresh().unwrap() });
}

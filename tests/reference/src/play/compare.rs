//! The comparison of all state.

use sluice_nat::{ExternalOwner, Protocol, Session, WorkerId};

use super::Game;
use crate::dice::Dice;
use crate::hash::HashSet;
use crate::nat::{External, Inside, Key};
use crate::tcp;

/// Flag of a session that was opened from outside, as in its record.
const FROM_OUTSIDE: u16 = 2;
impl<D: Dice> Game<'_, D> {
    /// All state: every session with its TCP state and deadline, every binding, every log line.
    pub(super) fn compare(&mut self) {
        self.tally.compared += 1;
        let mut seen: HashSet<Key> = HashSet::default();
        let timers = self.nat.rules.spec.timers;
        for view in self.records.iter().filter_map(Session::read) {
            let flow = self.flow(&view.fixed, true).unwrap_or_else(|| panic!("{view:?} of no prefix"));
            let key = (flow.inside, flow.prefix, flow.remote);
            let Some(known) = self.nat.sessions.get(&key) else {
                panic!(
                    "{view:?} is over at {:?} with {timers:?}, calm until {:?}",
                    self.rig.now, self.calm_until
                )
            };
            assert!(seen.insert(key), "{view:?} twice");
            assert_eq!(flow.external, self.nat.bindings[&known.binding].external, "{view:?}");
            let deadline = known.last.after(tcp::life(flow.inside.protocol, known.state, &timers));
            let hot = view.hot;
            let state = sluice_nat::TcpState::from_number(hot.tcp_state);
            assert_eq!((state, hot.last_seen), (known.state, known.last), "{view:?}, deadline {deadline:?}");
            assert_eq!(hot.timer_class, class(flow.inside.protocol, known.state), "{view:?}");
            assert_eq!(hot.flags & FROM_OUTSIDE != 0, known.from_outside, "{view:?}");
        }
        assert_eq!(seen.len(), self.nat.sessions.len(), "sessions that nobody else sees");
        let mut dynamic = 0;
        for binding in self.nat.bindings.values() {
            if binding.home.is_some() {
                dynamic += 1;
                assert_eq!(self.logged.get(&binding.external), Some(&binding.inside), "the log of a binding");
            }
            if !binding.retired {
                self.check_owner(binding.external, &binding.inside);
            }
        }
        assert_eq!(dynamic, self.logged.len(), "bindings that the log has, and nobody else");
        self.nat.blocks.check(self.rig.now);
    }

    fn check_owner(&self, (protocol, external, port): External, inside: &Inside) {
        let owner = self.rig.shared.external_owner(&self.rig.config, protocol, external, port);
        let worker = self.rig.shared.subscriber_worker(&self.rig.config, inside.kind_realm, inside.address);
        match owner {
            ExternalOwner::Worker(found) | ExternalOwner::Static(found) => assert_eq!(found, worker),
            other => panic!("port {port} of {inside:?} is {other:?}, not of {:?}", WorkerId(worker.0)),
        }
    }
}

/// The timer of a state, as a record has it.
fn class(protocol: Protocol, state: sluice_nat::TcpState) -> u8 {
    use sluice_nat::{TcpState, TimerClass};
    let class = match (protocol, state) {
        (Protocol::Udp, _) => TimerClass::Udp,
        (Protocol::Icmp, _) => TimerClass::Icmp,
        (_, TcpState::InsideInit | TcpState::OutsideInit) => TimerClass::TcpOpening,
        (_, TcpState::BothFin | TcpState::Transitory) => TimerClass::TcpTransitory,
        _ => TimerClass::TcpEstablished,
    };
    class as u8
}

//! New sessions: which rule serves a packet, whether it may open one, and with which binding.

use sluice_packet::{DropReason, is_global_v4};

use crate::arena::prefetch;
use crate::binding::{Binding, ExternalKey, InsideKey, STATIC};
use crate::blocks::Rest;
use crate::config::{Config, Rule};
use crate::engine::Flow;
use crate::event::{Event, Events, SessionEnds};
use crate::key::{InboundTuple, OutboundTuple};
use crate::record::Fixed;
use crate::reports::Refusal;
use crate::spec::Filtering;
use crate::tables::{Opening, Tables};
use crate::tcp::Segment;
use crate::types::{Direction, Kind, Protocol, SessionIndex, Tick};

/// An outbound packet and what its flow needs.
#[derive(Clone, Copy)]
struct Service<'a> {
    rule: &'a Rule,
    binding: Option<u32>,
}

impl Tables {
    /// A packet from inside that no session knew.
    pub(crate) fn new_outbound(
        &mut self,
        config: &Config,
        tuple: &OutboundTuple,
        interface: u16,
        tcp_flags: u8,
        now: Tick,
        events: &mut impl Events,
    ) -> Result<Flow, DropReason> {
        self.now = now;
        self.flush(events);
        let segment = Segment::from_flags(tcp_flags);
        let is_tcp = tuple.protocol == Protocol::Tcp;
        //= conformance N64-TCP-36
        if is_tcp && segment == Segment::Illegal {
            return Err(DropReason::TcpFlagsIllegal);
        }
        // An earlier packet of the same batch may have made the session.
        if let Some(number) = self.find_outbound(tuple) {
            self.touch(config, number, Direction::Outbound, tcp_flags, now)?;
            return Ok(Flow { session: SessionIndex(number), fixed: self.record(number).fixed() });
        }
        let service = self.serve(config, tuple, interface)?;
        let remote = (tuple.remote, tuple.remote_port);
        if is_tcp && segment != Segment::Syn {
            //= conformance N64-TCP-08, N64-TCP-09, N64-TCP-44
            let binding = service.binding.ok_or(DropReason::TcpNoSession)?;
            let fixed =
                self.fixed(config, &self.bindings.get(binding), (tuple.prefix64, service.rule.id), remote);
            return Ok(Flow { session: SessionIndex::NONE, fixed });
        }
        let made = self.open_outbound(config, tuple, service, now, events);
        if let Err((reason, subscriber)) = made {
            let refusal = Refusal {
                reason,
                kind_realm: tuple.kind_realm,
                inside: tuple.inside,
                protocol: tuple.protocol,
                pool: service.rule.pool,
                subscriber: subscriber.filter(|&number| !self.subscribers.get(number).is_idle()),
            };
            self.report(config, &refusal, now, events);
        }
        if let Err((_, Some(subscriber))) = made {
            self.subscribers.drop_if_idle(subscriber);
        }
        made.map_err(|(reason, _)| reason)
    }

    /// Makes the session. An error comes with the subscriber, once that is known.
    //= conformance N64-UDP-01
    fn open_outbound(
        &mut self,
        config: &Config,
        tuple: &OutboundTuple,
        service: Service<'_>,
        now: Tick,
        events: &mut impl Events,
    ) -> Result<Flow, (DropReason, Option<u32>)> {
        let known = service.binding.map(|number| self.bindings.get(number));
        let subscriber = match &known {
            Some(binding) => self.subscriber_of(binding),
            None => {
                let prefix = config.subscriber(tuple.kind_realm, tuple.inside);
                let (rate, most) = (config.limits.new_sessions_per_second, config.limits.max_subscribers);
                //= conformance LIM-14
                self.subscribers
                    .find_or_add(tuple.kind_realm, prefix, rate, most, now)
                    .ok_or((DropReason::SubscriberTableFull, None))?
            }
        };
        let with = |reason| (reason, Some(subscriber));
        self.admit(config, subscriber, Direction::Outbound, now).map_err(with)?;
        let number = self.take_record().map_err(with)?;
        let binding = match known {
            Some(binding) => {
                // Its first prefix may have been taken out of the configuration: strangers come under this one then.
                if config.prefix64(binding.prefix64).is_none() {
                    self.bindings.set_prefix64(binding.number, tuple.prefix64);
                }
                Ok(binding)
            }
            None => self.allot(config, service.rule, subscriber, tuple, now, events),
        };
        let binding = match binding {
            Ok(binding) => binding,
            Err(reason) => {
                self.give_back_record(number);
                return Err(with(reason));
            }
        };
        let opening = Opening {
            binding: &binding,
            subscriber,
            rule: service.rule.id,
            prefix64: tuple.prefix64,
            remote: tuple.remote,
            remote_port: tuple.remote_port,
            direction: Direction::Outbound,
        };
        match self.open(config, number, &opening, now) {
            Ok(fixed) => {
                if !binding.is_made() {
                    self.subscribers.get_mut(subscriber).mappings[tuple.protocol.index()] += 1;
                }
                if !binding.is_made() && self.log.bindings {
                    events.event(binding.ends.created());
                }
                self.session_made(&fixed, events);
                Ok(Flow { session: SessionIndex(number), fixed })
            }
            Err(reason) => {
                self.give_back_record(number);
                //= conformance MAP-14
                if !binding.is_made() {
                    self.give_port_back(&binding, now, Rest::Never);
                }
                Err(with(reason))
            }
        }
    }

    /// The rule that serves an outbound packet, and the binding that its source has already.
    fn serve<'a>(
        &mut self,
        config: &'a Config,
        tuple: &OutboundTuple,
        interface: u16,
    ) -> Result<Service<'a>, DropReason> {
        let inside = (tuple.inside, tuple.inside_port);
        let key = |pool| InsideKey::new(tuple.kind_realm, tuple.protocol, inside, pool);
        let fixed = if self.statics == 0 { None } else { self.bindings.by_inside(&key(STATIC)) };
        if let Some(binding) = fixed {
            let rule = static_rule(config, &self.bindings.get(binding)).ok_or(DropReason::NoRule)?;
            check_remote(config, rule, tuple.prefix64, tuple.remote)?;
            return Ok(Service { rule, binding: Some(binding) });
        }
        let rule = config
            .rule(tuple.kind_realm, tuple.prefix64, tuple.inside, tuple.remote, Some(interface))
            .ok_or(DropReason::NoRule)?;
        check_remote(config, rule, tuple.prefix64, tuple.remote)?;
        let pool = config.pools[usize::from(rule.pool)].id;
        //= conformance MAP-01, N64-UDP-02, N44-01, N44-02, N64-ICMP-04
        let mut binding = self.bindings.by_inside(&key(pool));
        if let Some(number) = binding
            && !self.fits(config, &self.bindings.get(number))
        {
            // Its address left the pool; the sessions follow when they are looked at.
            self.bindings.retire(number);
            binding = None;
        }
        Ok(Service { rule, binding })
    }

    /// Whether a dynamic binding could be made under the current configuration.
    #[inline(always)]
    pub(crate) fn fits(&self, config: &Config, binding: &Binding) -> bool {
        let block = self.blocks.get(binding.home);
        let ends = &binding.ends;
        let Some((pool, slot)) = config.locate(ends.external) else { return false };
        pool.id == binding.pool
            && slot == block.slot
            && pool.offers(ends.external_port)
            && config.static_at(ends.protocol, ends.external, ends.external_port).is_none()
    }

    /// The rule that serves a session of a binding with a remote address, if its binding still stands.
    pub(crate) fn rule_of<'a>(
        &self,
        config: &'a Config,
        binding: &Binding,
        prefix64: u8,
        remote: u32,
    ) -> Option<&'a Rule> {
        if binding.retired {
            return None;
        }
        if binding.is_static() {
            let v6 = binding.ends.kind_realm.kind() == Some(Kind::Nat64);
            return static_rule(config, binding).filter(|_| !v6 || config.prefix64(prefix64).is_some());
        }
        let rule = config.rule(binding.ends.kind_realm, prefix64, binding.ends.inside, remote, None)?;
        (config.pools[usize::from(rule.pool)].id == binding.pool && self.fits(config, binding))
            .then_some(rule)
    }

    /// Limits of the subscriber: sessions, then rate.
    //= conformance LIM-10
    fn admit(
        &mut self,
        config: &Config,
        number: u32,
        direction: Direction,
        now: Tick,
    ) -> Result<(), DropReason> {
        let subscriber = self.subscribers.get_mut(number);
        //= conformance LIM-04, LIM-11, LIM-15
        if subscriber.sessions >= config.limits.max_sessions_from(direction) {
            return Err(DropReason::SubscriberSessions);
        }
        //= conformance LIM-03
        if !subscriber.may_open(direction, config.limits.new_sessions_per_second, now) {
            return Err(DropReason::SubscriberRate);
        }
        Ok(())
    }

    /// A free record, if this worker may have more sessions.
    fn take_record(&mut self) -> Result<u32, DropReason> {
        //= conformance MAP-12, LIM-05, LIM-09, N64-TCP-39
        if self.live >= self.max_sessions {
            return Err(DropReason::SessionTableFull);
        }
        let number = self.records.take(&self.shared).ok_or(DropReason::SessionTableFull)?;
        if let Some(next) = self.records.next() {
            prefetch(self.record(next));
        }
        Ok(number)
    }

    fn give_back_record(&mut self, number: u32) {
        self.records.give_back(&self.shared, number);
    }

    /// A packet from outside that no session knew.
    pub(crate) fn new_inbound(
        &mut self,
        config: &Config,
        tuple: &InboundTuple,
        tcp_flags: u8,
        now: Tick,
        events: &mut impl Events,
    ) -> Result<Flow, DropReason> {
        self.now = now;
        self.flush(events);
        let segment = Segment::from_flags(tcp_flags);
        let is_tcp = tuple.protocol == Protocol::Tcp;
        //= conformance N64-TCP-36
        if is_tcp && segment == Segment::Illegal {
            return Err(DropReason::TcpFlagsIllegal);
        }
        if let Some(number) = self.find_inbound(tuple) {
            self.touch(config, number, Direction::Inbound, tcp_flags, now)?;
            return Ok(Flow { session: SessionIndex(number), fixed: self.record(number).fixed() });
        }
        //= conformance N64-UDP-09, N64-ICMP-06, N64-TCP-02, N64-TCP-09, N64-TCP-40, MAP-03
        let unknown = match (is_tcp, segment) {
            (true, Segment::Syn) => DropReason::UnsolicitedSyn,
            (true, _) => DropReason::TcpNoSession,
            _ => DropReason::NoBinding,
        };
        let key = ExternalKey {
            protocol: tuple.protocol,
            external: tuple.external,
            external_port: tuple.external_port,
        };
        let binding = self.bindings.get(self.bindings.by_external(&key).ok_or(unknown)?);
        if let Some(flow) = self.under_other_prefix(config, &binding, tuple, tcp_flags, now)? {
            return Ok(flow);
        }
        let rule = self.rule_of(config, &binding, binding.prefix64, tuple.remote).ok_or(unknown)?;
        check_remote(config, rule, binding.prefix64, tuple.remote)?;
        let allowed = match rule.filtering[tuple.protocol.index()] {
            //= conformance N64-UDP-10, N64-ICMP-08, MAP-07
            Filtering::EndpointIndependent => true,
            //= conformance N64-UDP-11, N64-ICMP-07, N64-TCP-06, MAP-08
            Filtering::AddressDependent => self.permissions.allows(binding.number, tuple.remote),
            //= conformance MAP-09
            // A session to that address and port would have been found.
            Filtering::AddressAndPortDependent => false,
        };
        //= conformance N64-UDP-14, MAP-20
        if !allowed {
            return Err(DropReason::Filtered);
        }
        if is_tcp && segment != Segment::Syn {
            //= conformance N64-TCP-08
            let to = (tuple.remote, tuple.remote_port);
            let fixed = self.fixed(config, &binding, (binding.prefix64, rule.id), to);
            return Ok(Flow { session: SessionIndex::NONE, fixed });
        }
        let subscriber = self.subscriber_of(&binding);
        let opening = Opening {
            binding: &binding,
            subscriber,
            rule: rule.id,
            prefix64: binding.prefix64,
            remote: tuple.remote,
            remote_port: tuple.remote_port,
            direction: Direction::Inbound,
        };
        let made = self.open_inbound(config, &opening, now, events);
        if let Err(reason) = made {
            let refusal = Refusal {
                reason,
                kind_realm: binding.ends.kind_realm,
                inside: binding.ends.inside,
                protocol: tuple.protocol,
                pool: rule.pool,
                subscriber: Some(subscriber),
            };
            self.report(config, &refusal, now, events);
        }
        made
    }

    fn open_inbound(
        &mut self,
        config: &Config,
        opening: &Opening<'_>,
        now: Tick,
        events: &mut impl Events,
    ) -> Result<Flow, DropReason> {
        self.admit(config, opening.subscriber, Direction::Inbound, now)?;
        let number = self.take_record()?;
        // The inside port may have spoken to the same remote one from another external port, before it got a static
        // binding. Its answers can leave from one of them only: the one that is spoken to now.
        if let Some(before) = self.find_outbound(&opening.outbound_tuple()) {
            self.close(before, now, events);
        }
        match self.open(config, number, opening, now) {
            Ok(fixed) => {
                self.session_made(&fixed, events);
                Ok(Flow { session: SessionIndex(number), fixed })
            }
            Err(reason) => {
                self.give_back_record(number);
                Err(reason)
            }
        }
    }

    //= conformance LOG-07, LOG-08
    fn session_made(&self, fixed: &Fixed, events: &mut impl Events) {
        if self.log.sessions {
            events.event(Event::SessionCreated(SessionEnds::of(fixed)));
        }
    }

    /// With several prefixes, now or before, a session may have lost its inbound entry to one that is now gone: it gets it
    /// back.
    //= conformance ADDR-18
    fn under_other_prefix(
        &mut self,
        config: &Config,
        binding: &Binding,
        tuple: &InboundTuple,
        tcp_flags: u8,
        now: Tick,
    ) -> Result<Option<Flow>, DropReason> {
        if binding.ends.kind_realm.kind() != Some(Kind::Nat64) {
            return Ok(None);
        }
        for entry in &config.prefixes {
            let outbound = OutboundTuple {
                kind_realm: binding.ends.kind_realm,
                protocol: binding.ends.protocol,
                inside: binding.ends.inside,
                inside_port: binding.ends.inside_port,
                remote: tuple.remote,
                remote_port: tuple.remote_port,
                prefix64: entry.id,
            };
            let Some(number) = self.find_outbound(&outbound) else { continue };
            let fixed = self.record(number).fixed();
            if (fixed.external, fixed.external_port) != (tuple.external, tuple.external_port) {
                continue;
            }
            self.enter_inbound(number);
            self.touch(config, number, Direction::Inbound, tcp_flags, now)?;
            return Ok(Some(Flow { session: SessionIndex(number), fixed }));
        }
        Ok(None)
    }
}

/// The rule of a static binding.
fn static_rule<'a>(config: &'a Config, binding: &Binding) -> Option<&'a Rule> {
    let ends = &binding.ends;
    let made = config.static_at(ends.protocol, ends.external, ends.external_port)?;
    config.rule_by_id(made.rule)
}

/// The well-known prefix stands for global addresses only, in both directions.
//= conformance ADDR-13, ADDR-14, ADDR-15
pub(crate) fn check_remote(
    config: &Config,
    rule: &Rule,
    prefix64: u8,
    remote: u32,
) -> Result<(), DropReason> {
    let well_known = config.prefix64(prefix64).is_some_and(sluice_packet::Prefix64::is_well_known);
    if well_known && !rule.any_remote && !is_global_v4(remote) {
        return Err(DropReason::WellKnownPrefixNonGlobal);
    }
    Ok(())
}

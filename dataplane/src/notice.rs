//! Events of the engine in the form in which they travel to control.

use sluice_nat::Event;
use sluice_shm::NatEvent;

/// The wire form of an event; `None` for one that is not for control.
pub fn from_event(event: &Event) -> Option<NatEvent> {
    Some(match *event {
        Event::BlockAllocated { kind_realm, subscriber, external, first, last } => {
            NatEvent::BlockAllocated { kind_realm, subscriber, external, first, last }
        }
        Event::BlockReleased { kind_realm, subscriber, external, first, last } => {
            NatEvent::BlockReleased { kind_realm, subscriber, external, first, last }
        }
        Event::BindingCreated { kind_realm, protocol, inside, inside_port, external, external_port } => {
            NatEvent::BindingCreated { kind_realm, protocol, inside, inside_port, external, external_port }
        }
        Event::BindingDeleted { kind_realm, protocol, inside, inside_port, external, external_port } => {
            NatEvent::BindingDeleted { kind_realm, protocol, inside, inside_port, external, external_port }
        }
        Event::Refused { reason, kind_realm, inside } => NatEvent::Refused { reason, kind_realm, inside },
        Event::ProbeInside(_) => return None,
    })
}

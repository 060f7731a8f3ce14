//! The packet path: one receive or transmit queue, one owner.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;

use sluice_dpdk_sys as sys;

use crate::burst::Burst;
use crate::port::Shared;

/// What makes a queue `Send` and not `Sync`: drivers allow one thread at a time per queue, whichever it is.
type OneThread = PhantomData<Cell<()>>;

/// A receive queue. One owner; it keeps the port alive and started.
#[derive(Debug)]
pub struct RxQueue {
    port: u16,
    queue: u16,
    shared: Arc<Shared>,
    _one_thread: OneThread,
}

/// A transmit queue. One owner; it keeps the port alive and started.
#[derive(Debug)]
pub struct TxQueue {
    port: u16,
    queue: u16,
    shared: Arc<Shared>,
    _one_thread: OneThread,
}

impl RxQueue {
    pub(crate) fn new(shared: Arc<Shared>, queue: u16) -> Self {
        Self { port: shared.id(), queue, shared, _one_thread: PhantomData }
    }

    /// Receives packets behind those in `burst`, as many as there is room for; returns how many came.
    ///
    /// Give it an empty burst: vector drivers receive in multiples of 4 or 8 and nothing into less room. A return value
    /// below the room means that the queue was empty.
    #[inline]
    pub fn rx<const N: usize>(&mut self, burst: &mut Burst<N>) -> usize {
        let room = (Burst::<N>::CAPACITY - burst.len()) as u16;
        // SAFETY: the port is started and has this queue, which no other object stands for. The tail has `room` slots,
        // and what the driver writes there are mbufs that it gives up.
        unsafe {
            let got = usize::from(sys::sluice_rx_burst(self.port, self.queue, burst.tail(), room));
            burst.grow(got);
            got
        }
    }

    /// The port's id.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The queue's index on the port.
    pub fn index(&self) -> u16 {
        self.queue
    }

    /// The port's name in DPDK.
    pub fn port_name(&self) -> &str {
        self.shared.name()
    }
}

impl TxQueue {
    pub(crate) fn new(shared: Arc<Shared>, queue: u16) -> Self {
        Self { port: shared.id(), queue, shared, _one_thread: PhantomData }
    }

    /// Sends packets from the front of `burst`; returns how many the driver took. The rest stays, in order.
    ///
    /// Taken is not sent: software drivers may take and drop, and count it in [`crate::PortStats::tx_errors`].
    #[inline]
    pub fn tx<const N: usize>(&mut self, burst: &mut Burst<N>) -> usize {
        if burst.is_empty() {
            return 0;
        }
        // SAFETY: the port is started and has this queue, which no other object stands for. The first `len` pointers are
        // owned mbufs; the driver owns those that it took, and they are forgotten here.
        unsafe {
            let taken =
                usize::from(sys::sluice_tx_burst(self.port, self.queue, burst.head(), burst.len() as u16));
            burst.forget_front(taken);
            taken
        }
    }

    /// The port's id.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The queue's index on the port.
    pub fn index(&self) -> u16 {
        self.queue
    }

    /// The port's name in DPDK.
    pub fn port_name(&self) -> &str {
        self.shared.name()
    }
}

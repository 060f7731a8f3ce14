//! The generator: opens flows, then sends packets of them as fast as the device under test takes them.
//!
//! One thread with both ports. It never waits for the device: a port that takes nothing is asked again after the other was
//! read, so the device always finds full rings, and how often it was asked in vain says who of the two was the slower.

use std::time::{Duration, Instant};

use sluice_nat::Direction;

use super::error::IoError;
use super::frame::{self, Duty, Ends, External, Macs, Reading, Room, Seen, Template};
use super::watch::Watch;
use super::window::{SLICE, Slice, Window};
use super::wire::{BURST, Source, Wire};
use crate::flows::{Flows, POOL, PORTS};
use crate::frames;
use crate::random::Random;

/// Frames of which the answer is not there yet, while flows are opened: less than any port's ring holds.
const WINDOW: usize = 256;
/// What was not answered for so long is lost.
const QUIET: Duration = Duration::from_millis(5);
/// How long the first answer may take, and how long the device may take to open flows or to take a frame of each.
const PATIENCE: Duration = Duration::from_secs(60);
/// One frame in so many is looked at.
const SAMPLE: usize = 64;
/// Bursts between two looks at the clock, and at what comes back on the port that frames are sent on.
const ROUNDS: usize = 8;
/// Until rings and caches are as they are under load.
const FILL: Duration = Duration::from_millis(10);

/// A generator on two ports.
#[derive(Debug)]
pub struct Generator<W> {
    inside: W,
    outside: W,
    duty: Duty,
    flows: Flows,
    macs: [Macs; 2],
    external: Vec<External>,
    random: Random,
}

/// Frames of flows in an order.
struct Stream<'a, F> {
    template: Template,
    flows: Flows,
    direction: Direction,
    external: &'a [External],
    next: F,
}

impl<F: FnMut() -> u32> Source for Stream<'_, F> {
    #[inline(always)]
    fn write(&mut self, room: &mut Room) -> usize {
        let flow = (self.next)();
        let ends = match self.direction {
            Direction::Outbound => Ends::outbound(&self.flows, flow),
            Direction::Inbound => Ends::inbound(&self.flows, flow, self.external[flow as usize]),
        };
        self.template.write(room, &ends, flow);
        self.template.len()
    }
}

/// Counts frames that are looked at, and keeps the first that is wrong.
struct Judge<'a> {
    duty: Duty,
    flows: Flows,
    direction: Direction,
    external: &'a [External],
    right: u64,
    wrong: Option<String>,
}

impl Judge<'_> {
    fn look(&mut self, bytes: &[u8]) {
        match frame::read(bytes) {
            Reading::Other => {}
            Reading::Broken(why) => self.blame(format!("{why}: {bytes:02x?}")),
            Reading::Ours(seen) => {
                let external = self.external.get(seen.flow as usize).copied().unwrap_or_default();
                match frame::expected(self.duty, &self.flows, self.direction, &seen, external) {
                    Some(wanted) if wanted == seen.ends => self.right += 1,
                    wanted => self.blame(format!("flow {}: {:?}, expected {wanted:?}", seen.flow, seen.ends)),
                }
            }
        }
    }

    fn blame(&mut self, what: String) {
        self.wrong.get_or_insert(what);
    }
}

impl<W: Wire> Generator<W> {
    /// A generator for flows; `macs` are those of the inside and of the outside port.
    pub fn new([inside, outside]: [W; 2], duty: Duty, flows: Flows, macs: [Macs; 2]) -> Self {
        let external = externals(duty, &flows);
        Self { inside, outside, duty, flows, macs, external, random: Random::new(0x696f) }
    }

    /// Other flows from now on, of which none is open.
    pub fn set_flows(&mut self, flows: Flows) {
        self.external = externals(self.duty, &flows);
        self.flows = flows;
    }

    /// Waits for the first frame to come through.
    ///
    /// # Errors
    /// [`IoError::Silent`].
    pub fn reach(&mut self) -> Result<(), IoError> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let template = Template::new(frames::family(self.flows.kind, Direction::Outbound), self.macs[0]);
            let (flows, direction) = (self.flows, Direction::Outbound);
            let mut stream = Stream { template, flows, direction, external: &self.external, next: || 0 };
            self.inside.send(1, &mut stream);
            std::thread::sleep(Duration::from_millis(10));
            let mut ours = 0;
            self.outside
                .receive(1, |bytes| ours += u32::from(matches!(frame::read(bytes), Reading::Ours(_))));
            if ours > 0 {
                return Ok(());
            }
            self.inside.receive(SAMPLE, |_| ());
        }
        Err(IoError::Silent)
    }

    /// Opens flows up to `count`, and learns their external addresses and ports. Returns how long it took.
    ///
    /// # Errors
    /// [`IoError::Unopened`], [`IoError::Wrong`].
    pub fn open(&mut self, count: u32) -> Result<Duration, IoError> {
        let start = Instant::now();
        let Self { inside, outside, duty, flows, macs, external, .. } = self;
        let mut missing: Vec<u32> = (0..count).collect();
        loop {
            missing.retain(|&flow| !external[flow as usize].is_known());
            if missing.is_empty() {
                return Ok(start.elapsed());
            }
            if start.elapsed() > PATIENCE {
                return Err(IoError::Unopened { missing: missing.len(), wanted: count });
            }
            let template = Template::new(frames::family(flows.kind, Direction::Outbound), macs[0]);
            let mut left = missing.iter().copied().peekable();
            let (mut waiting, mut heard) = (0, Instant::now());
            while left.peek().is_some() || waiting > 0 {
                let count = BURST.min(WINDOW - waiting).min(left.len());
                let mut stream = Stream {
                    template: template.clone(),
                    flows: *flows,
                    direction: Direction::Outbound,
                    external: &[],
                    // As many are taken as are sent, and no more are sent than there are.
                    next: || left.next().unwrap_or_default(),
                };
                let sent = if count > 0 { inside.send(count, &mut stream) } else { 0 };
                waiting += sent;
                let mut fault = None;
                let mut learnt = 0;
                outside.receive(1, |bytes| match learn(*duty, flows, external, bytes) {
                    Ok(known) => learnt += usize::from(known),
                    Err(wrong) => fault = fault.take().or(Some(wrong)),
                });
                if let Some(wrong) = fault {
                    return Err(IoError::Wrong(wrong));
                }
                waiting = waiting.saturating_sub(learnt);
                if learnt > 0 || sent > 0 {
                    heard = Instant::now();
                } else if heard.elapsed() > QUIET {
                    waiting = 0;
                    heard = Instant::now();
                    if start.elapsed() > PATIENCE {
                        break;
                    }
                }
                inside.receive(SAMPLE, |_| ());
            }
        }
    }

    /// Sends a frame of each of the first `count` flows, so that sessions know their way.
    pub fn lap(&mut self, direction: Direction, count: u32) {
        let deadline = Instant::now() + PATIENCE;
        let (mut sent, mut next) = (0, 0);
        let (from, to, mut stream) = self.course(direction, |_| {
            next += 1;
            (next - 1) % count
        });
        while sent < count as usize && Instant::now() < deadline {
            sent += from.send(BURST, &mut stream);
            to.receive(SAMPLE, |_| ());
        }
    }

    /// Sends packets of the first `count` flows at random, as fast as they are taken, and counts after a moment in which rings
    /// fill. `None` if somebody else had a core too often; `watch` is of this thread and of the one that forwards.
    ///
    /// # Errors
    /// [`IoError::Wrong`].
    pub fn window(
        &mut self,
        direction: Direction,
        count: u32,
        length: Duration,
        watch: &Watch,
    ) -> Result<Option<Window>, IoError> {
        let (duty, flows) = (self.duty, self.flows);
        let (from, to, mut stream) = self.course(direction, |random| random.below(count));
        let mut judge = Judge { duty, flows, direction, external: stream.external, right: 0, wrong: None };
        let start = Instant::now();
        while start.elapsed() < FILL {
            from.send(BURST, &mut stream);
            to.receive(SAMPLE, |_| ());
            from.receive(SAMPLE, |_| ());
        }
        let mut slices = Vec::with_capacity(length.div_duration_f64(SLICE) as usize + 1);
        let (window, mut start, mut waited) = (Instant::now(), Instant::now(), watch.waited());
        while window.elapsed() < length {
            let mut slice = Slice::default();
            judge.right = 0;
            while start.elapsed() < SLICE {
                for _ in 0..ROUNDS {
                    slice.asked += BURST as u64;
                    slice.sent += from.send(BURST, &mut stream) as u64;
                    slice.received += to.receive(SAMPLE, |bytes| judge.look(bytes)) as u64;
                }
                slice.returned += from.receive(SAMPLE, |_| ()) as u64;
            }
            let (end, so_far) = (Instant::now(), watch.waited());
            (slice.took, slice.waited) = (end - start, so_far.since(waited));
            (start, waited) = (end, so_far);
            slice.right = judge.right;
            slices.push(slice);
            if let Some(wrong) = judge.wrong.take() {
                return Err(IoError::Wrong(wrong));
            }
        }
        Ok(Window::of(&slices))
    }

    /// The port that frames of a direction are sent on, the one where they come out, and the frames.
    fn course<F: FnMut(&mut Random) -> u32>(
        &mut self,
        direction: Direction,
        mut next: F,
    ) -> (&mut W, &mut W, Stream<'_, impl FnMut() -> u32>) {
        let Self { inside, outside, flows, macs, external, random, .. } = self;
        let (from, to, macs) = match direction {
            Direction::Outbound => (inside, outside, macs[0]),
            Direction::Inbound => (outside, inside, macs[1]),
        };
        let template = Template::new(frames::family(flows.kind, direction), macs);
        (from, to, Stream { template, flows: *flows, direction, external, next: move || next(random) })
    }
}

/// What is known of external addresses and ports at first: nothing. Where nobody translates, any will do.
fn externals(duty: Duty, flows: &Flows) -> Vec<External> {
    let external = |flow: u32| match duty {
        Duty::Translate => External::UNKNOWN,
        Duty::Pass => {
            let (address, port) = (POOL + flow % flows.addresses, 65_536 - PORTS + flow % PORTS);
            External::new(flows, address.into(), port as u16).unwrap_or_default()
        }
    };
    (0..flows.count).map(external).collect()
}

/// Takes note of the external address and port of the flow that a frame is of; `false` if they are known.
fn learn(duty: Duty, flows: &Flows, external: &mut [External], bytes: &[u8]) -> Result<bool, String> {
    let seen: Seen = match frame::read(bytes) {
        Reading::Other => return Ok(false),
        Reading::Broken(why) => return Err(format!("{why}: {bytes:02x?}")),
        Reading::Ours(seen) => seen,
    };
    let wrong = |wanted: Option<Ends>| format!("flow {}: {:?}, expected {wanted:?}", seen.flow, seen.ends);
    let Some(known) = external.get_mut(seen.flow as usize) else { return Err(wrong(None)) };
    let wanted = frame::expected(duty, flows, Direction::Outbound, &seen, *known);
    if wanted != Some(seen.ends) {
        return Err(wrong(wanted));
    }
    let new = !known.is_known();
    if new {
        *known = External::new(flows, seen.ends.source, seen.ends.source_port).unwrap_or_default();
    }
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flows::{DIRECTIONS, KINDS};
    use std::cell::RefCell;
    use std::collections::VecDeque;
    use std::rc::Rc;

    const MACS: [Macs; 2] = [Macs { source: [2, 0, 0, 0, 0, 1], destination: [2, 0, 0, 0, 0, 2] }; 2];

    type Queue = Rc<RefCell<VecDeque<Vec<u8>>>>;

    /// A port of a device that works at once.
    struct Short {
        to: Queue,
        from: Queue,
        work: fn(&[u8]) -> Option<Vec<u8>>,
        until_shown: usize,
    }

    impl Wire for Short {
        fn send(&mut self, count: usize, source: &mut impl Source) -> usize {
            let mut room = [0; frame::ROOM];
            let free = count.min(128_usize.saturating_sub(self.to.borrow().len()));
            for _ in 0..free {
                let length = source.write(&mut room);
                self.to.borrow_mut().extend((self.work)(&room[..length]));
            }
            free
        }

        fn receive(&mut self, stride: usize, mut show: impl FnMut(&[u8])) -> usize {
            let frames = self.from.take();
            for bytes in &frames {
                if self.until_shown == 0 {
                    self.until_shown = stride;
                    show(bytes);
                }
                self.until_shown -= 1;
            }
            frames.len()
        }
    }

    fn ports(work: fn(&[u8]) -> Option<Vec<u8>>) -> [Short; 2] {
        let (out, back) = (Queue::default(), Queue::default());
        let port = |to: &Queue, from: &Queue| Short {
            to: Rc::clone(to),
            from: Rc::clone(from),
            work,
            until_shown: 0,
        };
        [port(&out, &back), port(&back, &out)]
    }

    /// A translator of 1024 flows of NAT44 with a fixed mapping, which loses one new flow in seven the first time.
    fn translate(bytes: &[u8]) -> Option<Vec<u8>> {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        if NUMBER.fetch_add(1, Ordering::Relaxed) < 1000 && bytes[45].is_multiple_of(7) {
            return None;
        }
        let Reading::Ours(seen) = frame::read(bytes) else { return None };
        let flows = Flows::udp(sluice_nat::Kind::Nat44, 1024);
        let external = External::new(&flows, (POOL + 3).into(), 2000 + seen.flow as u16)?;
        let ends = if seen.ends.source == Ends::outbound(&flows, seen.flow).source {
            Ends::inbound(&flows, seen.flow, external).reversed()
        } else {
            Ends::outbound(&flows, seen.flow).reversed()
        };
        let mut room = [0; frame::ROOM];
        Template::new(ends.family, MACS[0]).write(&mut room, &ends, seen.flow);
        Some(room[..60].to_vec())
    }

    /// Nobody is watched: a test does not depend on how busy the machine is. If nothing but the last slice fitted a window,
    /// the next may be better.
    fn window(generator: &mut Generator<Short>, direction: Direction, count: u32) -> Result<Window, IoError> {
        loop {
            if let Some(window) = generator.window(direction, count, 10 * SLICE, &Watch::default())? {
                return Ok(window);
            }
        }
    }

    #[test]
    fn flows_are_opened_learnt_and_sent_in_both_directions() {
        let flows = Flows::udp(sluice_nat::Kind::Nat44, 1024);
        let mut generator = Generator::new(ports(translate), Duty::Translate, flows, MACS);
        generator.reach().unwrap();
        generator.open(1024).unwrap();
        assert!(generator.external.iter().all(|external| external.is_known()));
        for direction in DIRECTIONS {
            generator.lap(direction, 1024);
            let window = window(&mut generator, direction, 1024).unwrap();
            assert!(window.received > 0 && window.right > 0 && window.asked >= window.sent, "{window:?}");
            assert_eq!(window.returned, 0);
        }
    }

    #[test]
    fn frames_that_pass_are_held_to_what_was_sent() {
        for flows in KINDS.map(|kind| Flows::udp(kind, 4096)) {
            let mut generator = Generator::new(ports(|bytes| Some(bytes.to_vec())), Duty::Pass, flows, MACS);
            generator.reach().unwrap();
            for direction in DIRECTIONS {
                assert!(window(&mut generator, direction, 4096).unwrap().right > 0);
            }
        }
    }

    #[test]
    fn a_wrong_frame_ends_the_measurement() {
        let flows = Flows::udp(sluice_nat::Kind::Nat44, 1024);
        let spoil = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            bytes[29] ^= 1;
            Some(bytes)
        };
        let mut generator = Generator::new(ports(spoil), Duty::Pass, flows, MACS);
        let found = window(&mut generator, Direction::Outbound, 1024);
        assert!(matches!(found, Err(IoError::Wrong(_))), "{found:?}");
        // What passes is not translated.
        let pass = ports(|bytes| Some(bytes.to_vec()));
        let found = Generator::new(pass, Duty::Translate, flows, MACS).open(64);
        assert!(matches!(found, Err(IoError::Wrong(_))), "{found:?}");
    }
}

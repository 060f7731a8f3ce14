//! The tries against a naive list of routes, on random changes that overlap as much as possible.

use proptest::prelude::*;
use sluice_fib::{Address, BATCH, Config, Fib, Prefix, Target, Writer};

fn size(chunks: usize) -> Config {
    Config { chunks, ..Config::default() }
}

/// The reference: the longest of all routes that contain the address.
#[derive(Default)]
struct Naive<A>(Vec<(Prefix<A>, Target)>);

impl<A: Address> Naive<A> {
    fn insert(&mut self, prefix: Prefix<A>, target: Target) {
        self.remove(prefix);
        self.0.push((prefix, target));
    }

    fn remove(&mut self, prefix: Prefix<A>) -> bool {
        let before = self.0.len();
        self.0.retain(|(other, _)| *other != prefix);
        self.0.len() < before
    }

    fn lookup(&self, address: A) -> Option<Target> {
        let matching = self.0.iter().filter(|(prefix, _)| prefix.contains(address));
        matching.max_by_key(|(prefix, _)| prefix.len()).map(|(_, target)| *target)
    }
}

#[derive(Clone, Debug)]
enum Step<A: Address> {
    Insert(Prefix<A>, Target),
    Remove(Prefix<A>),
    Reclaim,
}

/// Two prefixes of two hundred steps hardly meet in 2^32 addresses: each byte is one of three values, and the lengths
/// that end on, before and behind a stride come often.
fn address<A: Address>(assemble: fn(&[u8]) -> A) -> impl Strategy<Value = A> {
    let byte = prop_oneof![Just(0_u8), Just(1), Just(0x80), Just(0xff)];
    prop::collection::vec(byte, usize::from(A::WIDTH) / 8).prop_map(move |bytes| assemble(&bytes))
}

fn prefix<A: Address>(assemble: fn(&[u8]) -> A, shortest: u8) -> impl Strategy<Value = Prefix<A>> {
    let edges: Vec<u8> =
        (24..=A::WIDTH).step_by(8).flat_map(|len| [len - 1, len, (len + 1).min(A::WIDTH)]).collect();
    let len = prop_oneof![
        1 => Just(0_u8),
        4 => shortest..=A::WIDTH,
        4 => prop::sample::select(edges),
    ];
    (address(assemble), len)
        .prop_map(|(address, len)| Prefix::truncated(address, len).expect("length in range"))
}

fn steps<A: Address>(assemble: fn(&[u8]) -> A, shortest: u8) -> impl Strategy<Value = Vec<Step<A>>> {
    let target = (0..8_u32).prop_map(|value| Target::new(value).expect("30 bits"));
    let step = prop_oneof![
        6 => (prefix(assemble, shortest), target).prop_map(|(prefix, target)| Step::Insert(prefix, target)),
        4 => prefix(assemble, shortest).prop_map(Step::Remove),
        1 => Just(Step::Reclaim),
    ];
    prop::collection::vec(step, 1..200)
}

/// What is asked after every step: both ends of each route, and their neighbours outside.
fn probes<A: Address>(naive: &Naive<A>, step: &[A], around: fn(Prefix<A>) -> [A; 4]) -> Vec<A> {
    naive.0.iter().flat_map(|(prefix, _)| around(*prefix)).chain(step.iter().copied()).collect()
}

fn agree<A: Address>(
    steps: Vec<Step<A>>,
    extra: &[A],
    around: fn(Prefix<A>) -> [A; 4],
) -> Result<(), TestCaseError> {
    let mut writer = Writer::new(Fib::<A>::new(size(4096)));
    let fib = writer.fib();
    let mut naive = Naive(Vec::new());
    for step in steps {
        let mut asked = extra.to_vec();
        match step {
            Step::Insert(prefix, target) => {
                prop_assert_eq!(writer.insert(prefix, target), Ok(()));
                naive.insert(prefix, target);
            }
            Step::Remove(prefix) => {
                prop_assert_eq!(writer.remove(prefix), naive.remove(prefix));
                prop_assert_eq!(writer.get(prefix), None);
                asked.extend(around(prefix));
            }
            Step::Reclaim => writer.reclaim(),
        }
        let asked = probes(&naive, &asked, around);
        let mut batch = vec![Target::new(99); asked.len() + 1];
        fib.lookup_batch(&asked, &mut batch);
        prop_assert_eq!(batch[asked.len()], Target::new(99), "written behind the batch");
        for (address, found) in asked.into_iter().zip(batch) {
            let expected = naive.lookup(address);
            prop_assert_eq!(fib.lookup(address), expected, "{:?}", address.to_text().to_string());
            prop_assert_eq!(found, expected, "in a batch: {:?}", address.to_text().to_string());
        }
    }
    naive.0.sort();
    prop_assert!(writer.iter().eq(naive.0.iter().copied()));
    prop_assert_eq!(writer.len(), naive.0.len());
    // Nothing may be left behind: what was built for a route goes with it.
    for (prefix, _) in naive.0 {
        prop_assert!(writer.remove(prefix));
    }
    prop_assert_eq!(writer.stats().chunks_used, 0);
    writer.reclaim();
    prop_assert_eq!(writer.stats().chunks_free, 4096);
    Ok(())
}

fn assemble4(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |address, byte| address << 8 | u32::from(*byte))
}

fn assemble6(bytes: &[u8]) -> u128 {
    bytes.iter().fold(0, |address, byte| address << 8 | u128::from(*byte))
}

fn around4(prefix: Prefix<u32>) -> [u32; 4] {
    let (first, last) =
        (prefix.address(), prefix.address() | u32::MAX.checked_shr(prefix.len().into()).unwrap_or(0));
    [first.wrapping_sub(1), first, last, last.wrapping_add(1)]
}

fn around6(prefix: Prefix<u128>) -> [u128; 4] {
    let (first, last) =
        (prefix.address(), prefix.address() | u128::MAX.checked_shr(prefix.len().into()).unwrap_or(0));
    [first.wrapping_sub(1), first, last, last.wrapping_add(1)]
}

proptest! {
    // Routes of /1 to /7 are seldom worth their painting time; /8 shows the same and the next test has them.
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn ipv4_agrees_with_a_list(
        steps in steps(assemble4, 12),
        extra in prop::collection::vec(address(assemble4), 0..2 * BATCH),
    ) {
        agree(steps, &extra, around4)?;
    }

    #[test]
    fn ipv6_agrees_with_a_list(
        steps in steps(assemble6, 12),
        extra in prop::collection::vec(address(assemble6), 0..2 * BATCH),
    ) {
        agree(steps, &extra, around6)?;
    }

    /// Uniform addresses, for the bits that the three byte values above leave out.
    #[test]
    fn deep_ipv6_routes_agree_with_a_list(
        routes in prop::collection::vec((any::<u128>(), 60..=128_u8, 0..9_u32), 1..40),
        low in any::<u128>(),
    ) {
        let steps = routes.into_iter().flat_map(|(address, len, value)| {
            // One /60, so that they share paths.
            let address = (0x2001_0db8 << 96) | (address >> 60);
            let prefix = Prefix::truncated(address, len).expect("length in range");
            let target = Target::new(value).expect("30 bits");
            let wider = Prefix::truncated(address, len - 5).expect("length in range");
            [Step::Insert(prefix, target), Step::Insert(wider, target), Step::Remove(prefix)].into_iter().take(2 + value as usize % 2)
        });
        agree(steps.collect(), &[(0x2001_0db8 << 96) | (low >> 60)], around6)?;
    }
}

#[test]
fn the_widest_routes_nest() {
    let mut writer = Writer::new(Fib::<u32>::new(size(16)));
    let fib = writer.fib();
    let target = |value| Target::new(value);
    let route = |address: u32, len| Prefix::truncated(address, len).unwrap();
    for len in [8, 32, 1, 25, 0, 24, 4] {
        writer.insert(route(0x8000_0000, len), Target::new(u32::from(len)).unwrap()).unwrap();
    }
    let cases = [
        (0x8000_0000, 32),
        (0x8000_0001, 25),
        (0x8000_0080, 24),
        (0x8000_0100, 8),
        (0x8100_0000, 4),
        (0x9000_0000, 1),
        (0x7fff_ffff, 0),
    ];
    for (address, len) in cases {
        assert_eq!(fib.lookup(address), target(len), "{address:x}");
    }
    // Withdrawn from the middle, each uncovers the next wider one.
    assert!(writer.remove(route(0x8000_0000, 24)));
    assert!(writer.remove(route(0x8000_0000, 4)));
    assert_eq!(fib.lookup(0x8000_0080), target(8));
    assert_eq!(fib.lookup(0x8100_0000), target(1));
    assert!(writer.remove(route(0, 0)));
    assert_eq!(fib.lookup(0x7fff_ffff), None);
    assert_eq!(writer.len(), 4);
}

#[test]
fn a_second_writer_starts_with_an_empty_table() {
    let mut writer = Writer::new(Fib::<u32>::new(size(1)));
    let fib = writer.fib();
    writer.insert(Prefix::host(1), Target::new(1).unwrap()).unwrap();
    drop(writer);
    let fib = std::sync::Arc::into_inner(fib).unwrap();
    let writer = Writer::new(fib);
    assert!(writer.is_empty());
    assert_eq!(writer.fib().lookup(1), None);
    assert_eq!(writer.fib().config().chunks, 1);
}

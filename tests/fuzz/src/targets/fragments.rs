//! The fragment store: the bytes are fragments and time. Nothing is lost, nothing comes twice, every bound holds, and what
//! goes on is of one datagram and in order.

use std::collections::HashSet;
use std::sync::Arc;

use sluice_nat::{
    Arrival, Chain, DatagramKey, Fate, FragmentSpec, Fragments, Geometry, Piece, Shared, TICKS_PER_SECOND,
    Tick,
};
use sluice_packet::{Family, Fragment, Meta};
use sluice_reference::dice::{Dice, Script};

/// Fragments of an input at most.
const MOST: usize = 2000;

/// A fragment as it was put in.
#[derive(Clone, Copy)]
struct Sent {
    datagram: (u128, u32),
    begin: u32,
    end: u32,
    at: Tick,
}

/// Sends.
pub fn run(data: &[u8]) {
    let mut script = Script(data);
    let spec = FragmentSpec {
        datagrams: script.pick(&[0, 1, 4, 64]),
        waiting: script.pick(&[0, 1, 8, 64]),
        per_source: script.pick(&[1, 4, 100]),
        ..FragmentSpec::default()
    };
    let seed = [u64::from(script.roll(256)), 3, 5, 7];
    let shared: Arc<Shared> = Shared::new(&[], Geometry { seed, ..Geometry::default() });
    let mut store: Fragments<usize> = Fragments::new(spec, &shared);
    let mut now = Tick(u32::MAX - 100);
    let mut sent: Vec<Sent> = Vec::new();
    let mut inside: HashSet<usize> = HashSet::new();
    while !script.is_over() && sent.len() < MOST {
        if script.one_in(8) {
            now = now.after(script.roll(12));
        }
        while let Some(chain) = store.expire(now) {
            let over = take(&mut store, chain);
            // The time is that of the datagram, which began with the first of them.
            let late = |item: &usize| now.since(sent[*item].at) > spec.timeout * TICKS_PER_SECOND;
            assert!(over.is_empty() || over.iter().any(late), "too early");
            assert!(over.iter().all(|item| inside.remove(item)));
        }
        let (source, identification) = (u128::from(script.roll(6)) << 64, script.roll(3));
        let (offset, units) = (script.roll(16) as u16, 1 + script.roll(4) as u16);
        let last = script.one_in(3);
        let together = identification == 2;
        let meta = Meta {
            source,
            identification,
            fragment_offset: offset,
            more_fragments: !last,
            l4: 62,
            end: 62 + units * 8 - u16::from(last) * script.roll(8) as u16,
            fragment: if offset == 0 { Fragment::First } else { Fragment::Later },
            source_port: 5000,
            ..Meta::blank(Family::V6, 14)
        };
        let piece = Piece::of(&meta, together);
        let item = sent.len();
        let datagram = (source, identification);
        let begin = u32::from(offset) * 8;
        sent.push(Sent { datagram, begin, end: begin + u32::from(piece.len), at: now });
        let arrival = store.arrive(&DatagramKey::of(&meta), piece, now, item);
        let Arrival { fate, item: own, released, evicted } = arrival;
        inside.insert(item);
        for item in take(&mut store, evicted) {
            assert!(inside.remove(&item), "evicted, and not there");
        }
        let out: Vec<usize> = own.into_iter().chain(take(&mut store, released)).collect();
        for item in &out {
            assert!(inside.remove(item), "out, and not there");
            assert_eq!(sent[*item].datagram, datagram, "of another datagram");
        }
        match fate {
            Fate::Waits => assert!(out.is_empty() && inside.contains(&item)),
            Fate::Drop(_) => assert!(out.contains(&item)),
            Fate::Ready { head, total } => {
                assert_eq!(head.source_port, 5000);
                assert!(out.contains(&item) && (together || total == 0));
                // In order, but for this one if there was no room to put it among the others.
                let others = out.iter().filter(|&&n| n != item);
                let offsets: Vec<u32> = others.map(|&n| sent[n].begin).collect();
                assert!(offsets.is_sorted(), "{offsets:?}");
                if total > 0 {
                    let sum: u32 = out.iter().map(|&n| sent[n].end - sent[n].begin).sum();
                    assert_eq!(sum, u32::from(total), "all of it");
                }
            }
        }
        assert_eq!(store.waiting(), inside.len());
        assert!(store.waiting() <= spec.waiting as usize && store.datagrams() <= spec.datagrams as usize);
    }
    while let Some(chain) = store.drain() {
        for item in take(&mut store, chain) {
            assert!(inside.remove(&item));
        }
    }
    assert!(inside.is_empty() && store.datagrams() == 0 && store.waiting() == 0);
}

fn take(store: &mut Fragments<usize>, mut chain: Chain) -> Vec<usize> {
    std::iter::from_fn(|| store.take(&mut chain)).collect()
}

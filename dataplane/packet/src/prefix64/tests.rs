//! RFC 6052, its table, its refusals, and the addresses that are not translated.

use proptest::prelude::*;

use super::*;
use crate::testing::{a4, a6};

const LENGTHS: [u8; 6] = [32, 40, 48, 56, 64, 96];

fn prefix(text: &str, len: u8) -> Prefix64 {
    Prefix64::new(a6(text), len).unwrap()
}

//= conformance ADDR-01, ADDR-02, ADDR-03, ADDR-04, ADDR-05, ADDR-06
#[test]
fn published_table() {
    for (address, len, embedded) in [
        ("2001:db8::", 32, "2001:db8:c000:221::"),
        ("2001:db8:100::", 40, "2001:db8:1c0:2:21::"),
        ("2001:db8:122::", 48, "2001:db8:122:c000:2:2100::"),
        ("2001:db8:122:300::", 56, "2001:db8:122:3c0:0:221::"),
        ("2001:db8:122:344::", 64, "2001:db8:122:344:c0:2:2100::"),
        ("2001:db8:122:344::", 96, "2001:db8:122:344::192.0.2.33"),
    ] {
        let prefix = prefix(address, len);
        let v4 = a4("192.0.2.33") as u32;
        assert_eq!(prefix.embed(v4), a6(embedded), "/{len}");
        assert_eq!(prefix.extract(a6(embedded)), Ok(v4), "/{len}");
        assert!(prefix.contains(a6(embedded)));
        assert!(!prefix.contains(a6("2001:db9::")));
    }
}

//= conformance ADDR-07, ADDR-09, ADDR-12
#[test]
fn refusals() {
    for len in 0..=255 {
        let refused = Prefix64::new(0, len) == Err(Prefix64Error::Length);
        assert_eq!(refused, !LENGTHS.contains(&len), "/{len}");
    }
    for (address, len, error) in [
        ("2001:db8::1", 32, Prefix64Error::HostBits),
        ("2001:db8:1:2:ab00::", 96, Prefix64Error::UOctet),
        ("64:ff9b::", 64, Prefix64Error::WellKnownLength),
        ("64:ff9b::", 32, Prefix64Error::WellKnownLength),
    ] {
        assert_eq!(Prefix64::new(a6(address), len), Err(error), "{address}/{len}");
    }
    assert!(Prefix64Error::Length.to_string().starts_with("the length of a translation prefix"));
}

#[test]
fn the_well_known_prefix_is_known() {
    assert!(Prefix64::WELL_KNOWN.is_well_known());
    assert_eq!(Prefix64::new(a6("64:ff9b::"), 96), Ok(Prefix64::WELL_KNOWN));
    assert_eq!(Prefix64::WELL_KNOWN.to_string(), "64:ff9b::/96");
    //= conformance ADDR-15
    let local = prefix("64:ff9b:1:1::", 96);
    assert!(!local.is_well_known());
    assert_eq!(local.extract(local.embed(0x0a00_0001)), Ok(0x0a00_0001));
}

//= conformance ADDR-10, ADDR-11
#[test]
fn suffix_is_ignored_and_u_octet_is_not() {
    let prefix = prefix("2001:db8:122:344::", 64);
    let embedded = prefix.embed(0xc000_0221);
    assert_eq!(prefix.extract(embedded | 0x55), Ok(0xc000_0221));
    for len in [32, 40, 48, 56, 64] {
        let prefix = Prefix64::new(0, len).unwrap();
        let with_u = prefix.embed(0xc000_0221) | 1 << 56;
        assert_eq!(prefix.extract(with_u), Err(DropReason::EmbeddedAddressIllegal), "/{len}");
    }
    assert_eq!(prefix.extract(0), Err(DropReason::EmbeddedAddressIllegal), "not in the prefix");
}

//= conformance ADDR-13
#[test]
fn blocks_that_are_not_global() {
    for (first, last) in [
        ("0.0.0.0", "0.255.255.255"),
        ("10.0.0.0", "10.255.255.255"),
        ("100.64.0.0", "100.127.255.255"),
        ("127.0.0.0", "127.255.255.255"),
        ("169.254.0.0", "169.254.255.255"),
        ("172.16.0.0", "172.31.255.255"),
        ("192.0.0.0", "192.0.0.255"),
        ("192.0.2.0", "192.0.2.255"),
        ("192.88.99.0", "192.88.99.255"),
        ("192.168.0.0", "192.168.255.255"),
        ("198.18.0.0", "198.19.255.255"),
        ("198.51.100.0", "198.51.100.255"),
        ("203.0.113.0", "203.0.113.255"),
        ("224.0.0.0", "255.255.255.255"),
    ] {
        let (first, last) = (a4(first) as u32, a4(last) as u32);
        assert!(!is_global_v4(first) && !is_global_v4(last));
        assert!(first == 0 || first == 0xe000_0000 || is_global_v4(first - 1), "{first:#x}");
        assert!(last == u32::MAX || is_global_v4(last.wrapping_add(1)), "{last:#x}");
    }
    assert!(is_global_v4(0x0808_0808));
}

//= conformance ADDR-19
#[test]
fn routable_unicast() {
    for (address, routable) in [
        ("0.1.2.3", false),
        ("127.0.0.1", false),
        ("169.254.1.1", false),
        ("224.0.0.1", false),
        ("240.0.0.1", false),
        ("255.255.255.255", false),
        ("10.0.0.1", true),
        ("169.253.1.1", true),
        ("223.255.255.255", true),
    ] {
        assert_eq!(is_routable_unicast_v4(a4(address) as u32), routable, "{address}");
    }
}

//= conformance XLT-26
#[test]
fn illegal_v4_sources() {
    for (address, illegal) in [
        ("0.0.0.0", true),
        ("127.0.0.1", true),
        ("224.0.0.1", true),
        ("240.0.0.1", true),
        ("255.255.255.255", true),
        ("10.9.9.9", false),
        ("169.254.0.1", false),
        ("198.51.100.9", false),
    ] {
        assert_eq!(source_illegal_v4(a4(address) as u32), illegal, "{address}");
    }
}

//= conformance XLT-19
#[test]
fn illegal_v6_sources() {
    for (address, illegal) in [
        ("::", true),
        ("::1", true),
        ("::2", false),
        ("ff00::", true),
        ("ff02::1", true),
        ("fe80::1", true),
        ("febf:ffff::1", true),
        ("fec0::1", false),
        ("fe7f::1", false),
        ("::ffff:192.0.2.1", true),
        ("::fffe:192.0.2.1", false),
        ("fd00::1", false),
        ("2001:db8::1", false),
    ] {
        assert_eq!(source_illegal_v6(a6(address)), illegal, "{address}");
    }
}

proptest! {
    //= conformance ADDR-08, ADDR-16
    #[test]
    fn embedding_is_reversible(bits: u128, len in prop::sample::select(&LENGTHS[..]), address: u32) {
        let bits = bits & !U_OCTET & (u128::MAX << (128 - u32::from(len)));
        let prefix = Prefix64::new(bits, len).unwrap();
        let embedded = prefix.embed(address);
        prop_assert_eq!(embedded & U_OCTET, 0);
        prop_assert!(prefix.contains(embedded));
        prop_assert_eq!(prefix.extract(embedded), Ok(address));
    }
}

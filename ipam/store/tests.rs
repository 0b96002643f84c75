//! The folder, against what the Go plugin writes and against a table in memory.

use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;

use super::*;

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("ipam-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name).join("net");
        Store::open(&folder).unwrap();
        Folder(folder)
    }

    fn store(&self) -> Store {
        Store::open(&self.0).unwrap()
    }

    fn put(&self, name: &str, text: &[u8]) {
        fs::write(self.0.join(name), text).unwrap();
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap()
    }

    fn has(&self, name: &str) -> bool {
        self.0.join(name).exists()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.0.parent().unwrap());
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn holder(container: &str) -> Holder {
    Holder { container: container.into(), ifname: Some("eth0".into()) }
}

#[test]
fn a_lease_is_the_file_that_the_go_plugin_writes() {
    let folder = Folder::new();
    folder.store().claim(ip("2001:db8:1::2"), &holder("c1")).unwrap().unwrap();
    assert_eq!(folder.text("2001:db8:1::2"), "c1\r\neth0");
    let mode = |name: &str| fs::metadata(folder.0.join(name)).unwrap().mode() & 0o7777;
    assert_eq!((mode("2001:db8:1::2"), mode("lock")), (0o600, 0o750));
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 2);
}

#[test]
fn a_taken_address_stays_with_its_holder() {
    let folder = Folder::new();
    folder.store().claim(ip("10.0.0.2"), &holder("c1")).unwrap().unwrap();
    assert!(folder.store().claim(ip("10.0.0.2"), &holder("c2")).unwrap().is_none());
    // One that appears after we have read the folder, from somebody who asks for no lock.
    let mut store = folder.store();
    folder.put("10.0.0.3", b"c3\r\neth0");
    assert!(store.claim(ip("10.0.0.3"), &holder("c2")).unwrap().is_none() && store.is_taken(ip("10.0.0.3")));
    drop(store);
    assert_eq!(
        (folder.text("10.0.0.2"), folder.text("10.0.0.3")),
        ("c1\r\neth0".into(), "c3\r\neth0".into())
    );
}

#[test]
fn leases_are_found_by_what_is_in_them() {
    let folder = Folder::new();
    folder.put("10.0.0.2", b"c1\r\neth0");
    folder.put("10.0.0.3", b" c1\r\neth0\n");
    folder.put("10.0.0.4", b"c1\r\neth1");
    folder.put("10.0.0.5", b"c1");
    folder.put("10.0.0.6", b"c2\n");
    folder.put("notes", b"c1\r\neth0");
    folder.put("10.0.0.7", format!("{}\r\neth0", "f".repeat(2000)).as_bytes());
    folder.put("last_reserved_ip.0", b"10.0.0.6");
    let store = folder.store();
    assert_eq!(store.held_by(&holder("c1")), [ip("10.0.0.2"), ip("10.0.0.3")]);
    assert_eq!(store.held_by(&holder("c2")), [ip("10.0.0.6")]);
    assert!(store.held_by(&holder("c3")).is_empty());
    assert_eq!(store.held_by(&holder(&"f".repeat(2000))), [ip("10.0.0.7")]);
    assert_eq!(store.leases().count(), 6);
}

#[test]
fn rubbish_of_a_crash_makes_room_and_what_is_not_ours_stays() {
    let folder = Folder::new();
    folder.put("10.0.0.2", b"");
    folder.put("10.0.0.3", &[0; 12]);
    folder.put("10.0.0.4", b"reserved for the printer\n");
    fs::create_dir(folder.0.join("10.0.0.5")).unwrap();
    let mut store = folder.store();
    for (address, free) in [("10.0.0.2", true), ("10.0.0.3", true), ("10.0.0.4", false), ("10.0.0.5", false)]
    {
        assert_eq!(store.is_taken(ip(address)), !free, "{address}");
        assert_eq!(store.claim(ip(address), &holder("c1")).unwrap().is_some(), free, "{address}");
    }
    drop(store);
    assert_eq!(folder.text("10.0.0.2"), "c1\r\neth0");
    assert_eq!(folder.text("10.0.0.4"), "reserved for the printer\n");
}

#[test]
fn a_claim_gives_back_its_own_file_and_no_later_one() {
    let folder = Folder::new();
    let claim = |address| folder.store().claim(ip(address), &holder("c1")).unwrap().unwrap();
    claim("10.0.0.2").give_back().unwrap();
    assert!(!folder.has("10.0.0.2"));
    let first = claim("10.0.0.3");
    folder.store().release(ip("10.0.0.3")).unwrap();
    claim("10.0.0.3");
    first.give_back().unwrap();
    assert!(folder.has("10.0.0.3"));
}

#[test]
fn the_address_given_last_is_a_shorter_text_in_a_longer_ones_place() {
    let folder = Folder::new();
    let store = folder.store();
    assert_eq!(store.last_given(1), None);
    for address in ["192.168.100.200", "10.0.0.2"] {
        store.remember(1, ip(address)).unwrap();
        assert_eq!(store.last_given(1), Some(ip(address)));
    }
    assert_eq!(folder.text("last_reserved_ip.1"), "10.0.0.2");
    folder.put("last_reserved_ip.1", b"");
    assert_eq!(store.last_given(1), None);
}

#[test]
fn a_folder_that_is_not_there_is_not_made_by_looking() {
    let folder = Folder::new();
    let absent = folder.0.join("absent");
    assert!(Store::open_existing(&absent).unwrap().is_none() && !absent.exists());
    is_writable(&absent).unwrap();
    assert!(is_writable(Path::new("/proc/1/absent")).is_err());
}

#[derive(Clone, Debug)]
enum Deed {
    Claim(u8, u8),
    ClaimAndGiveBack(u8, u8),
    Release(u8),
    TearOff(u8),
    GoClaims(u8, u8),
}

fn deed() -> impl Strategy<Value = Deed> {
    let (address, container) = (0_u8..6, 0_u8..3);
    prop_oneof![
        (address.clone(), container.clone()).prop_map(|(a, c)| Deed::Claim(a, c)),
        (address.clone(), container.clone()).prop_map(|(a, c)| Deed::ClaimAndGiveBack(a, c)),
        address.clone().prop_map(Deed::Release),
        address.clone().prop_map(Deed::TearOff),
        (address, container).prop_map(|(a, c)| Deed::GoClaims(a, c)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_folder_says_what_a_table_would(deeds in prop::collection::vec(deed(), 1..40)) {
        let folder = Folder::new();
        let mut table: BTreeMap<IpAddr, Holder> = BTreeMap::new();
        let at = |address: u8| IpAddr::from([10, 0, 0, address]);
        let by = |container: u8| holder(&format!("c{container}"));
        for deed in deeds {
            match deed {
                Deed::Claim(a, c) => {
                    let claim = folder.store().claim(at(a), &by(c)).unwrap();
                    prop_assert_eq!(claim.is_some(), !table.contains_key(&at(a)));
                    table.entry(at(a)).or_insert(by(c));
                }
                Deed::ClaimAndGiveBack(a, c) => {
                    let claim = folder.store().claim(at(a), &by(c)).unwrap();
                    if let Some(claim) = claim {
                        claim.give_back().unwrap();
                    }
                }
                Deed::Release(a) => {
                    folder.store().release(at(a)).unwrap();
                    table.remove(&at(a));
                }
                Deed::TearOff(a) => {
                    folder.put(&at(a).to_string(), b"");
                    table.remove(&at(a));
                }
                Deed::GoClaims(a, c) => if !folder.has(&at(a).to_string()) {
                    folder.put(&at(a).to_string(), by(c).text().as_bytes());
                    table.insert(at(a), by(c));
                }
            }
            let store = folder.store();
            for a in 0..6 {
                prop_assert_eq!(store.is_taken(at(a)), table.contains_key(&at(a)));
            }
            for c in 0..3 {
                let expected: Vec<_> = table.iter().filter(|(_, h)| **h == by(c)).map(|(ip, _)| *ip).collect();
                prop_assert_eq!(store.held_by(&by(c)), expected);
            }
        }
    }
}

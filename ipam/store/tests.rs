//! The folder, against what the Go plugin writes and against a table in memory.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;

use super::*;

/// A folder that goes with the test, and a place for its index beside it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        Folder::below(&std::env::temp_dir())
    }

    fn below(parent: &Path) -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("ipam-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = parent.join(name).join("net");
        fs::create_dir_all(&folder).unwrap();
        Folder(folder)
    }

    fn store(&self) -> Store {
        Store::locked(&self.machine(), &self.0, lock(&self.0)).unwrap()
    }

    fn machine(&self) -> Machine {
        Machine { indexes: self.indexes(), ..Machine::this() }
    }

    fn indexes(&self) -> PathBuf {
        self.0.with_file_name("indexes")
    }

    /// The index as it lies there, if one does.
    fn index(&self) -> Option<PathBuf> {
        fs::read_dir(self.indexes()).ok()?.next().map(|file| file.unwrap().path())
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

impl Store {
    fn is_taken(&mut self, ip: IpAddr) -> bool {
        self.first_free(ip, ip).unwrap().is_none()
    }

    fn holds(&mut self, holder: &Holder) -> Vec<IpAddr> {
        self.written_for(holder, &[]).unwrap().into_iter().map(|(ip, _)| ip).collect()
    }

    fn free(&mut self, ip: IpAddr) {
        if let Some(lease) = self.read_one(ip).unwrap() {
            self.release(ip, &lease).unwrap();
        }
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
    // Read from the folder, then from the index.
    for _ in 0..2 {
        let mut store = folder.store();
        assert_eq!(store.holds(&holder("c1")), [ip("10.0.0.2"), ip("10.0.0.3")]);
        assert_eq!(store.holds(&holder("c2")), [ip("10.0.0.6")]);
        assert!(store.holds(&holder("c3")).is_empty());
        assert_eq!(store.holds(&holder(&"f".repeat(2000))), [ip("10.0.0.7")]);
        assert_eq!(store.index.all().unwrap().len(), 6);
    }
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
    folder.store().free(ip("10.0.0.3"));
    claim("10.0.0.3");
    first.give_back().unwrap();
    assert!(folder.has("10.0.0.3"));
}

#[test]
fn what_is_named_like_an_address_and_is_no_file_is_in_the_way() {
    let folder = Folder::new();
    std::os::unix::fs::symlink("/dev/zero", folder.0.join("10.0.0.2")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        folder.0.join("10.0.0.3"),
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    drop(std::os::unix::net::UnixListener::bind(folder.0.join("10.0.0.4")).unwrap());
    // Not the spelling of either plugin, so nobody's lease.
    folder.put("010.0.0.5", b"c1\r\neth0");
    folder.put("::ffff:10.0.0.5", b"c1\r\neth0");
    for _ in 0..2 {
        let mut store = folder.store();
        for taken in ["10.0.0.2", "10.0.0.3", "10.0.0.4"] {
            assert!(
                store.is_taken(ip(taken)) && store.claim(ip(taken), &holder("c1")).unwrap().is_none(),
                "{taken}"
            );
        }
        assert!(!store.is_taken(ip("10.0.0.5")));
    }
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
    assert!(Store::open_existing(&folder.machine(), &absent).unwrap().is_none() && !absent.exists());
    is_writable(&absent).unwrap();
    assert!(is_writable(Path::new("/proc/1/absent")).is_err());
}

/// How a store came to know its folder: nothing was read if the index fitted.
fn is_found(folder: &Folder) -> bool {
    folder.store().done == Done::Nothing
}

#[test]
fn the_next_call_finds_the_index_and_reads_no_folder() {
    let folder = Folder::new();
    assert!(folder.index().is_none());
    folder.store().claim(ip("10.0.0.2"), &holder("c1")).unwrap().unwrap();
    assert!(is_found(&folder));
    folder.store().claim(ip("fd00::2"), &holder("c1")).unwrap().unwrap();
    assert!(is_found(&folder));
    assert_eq!(folder.store().holds(&holder("c1")), [ip("10.0.0.2"), ip("fd00::2")]);
    folder.store().free(ip("10.0.0.2"));
    assert!(is_found(&folder) && folder.index().is_some());
    // With the last lease goes the index.
    folder.store().free(ip("fd00::2"));
    assert!(folder.index().is_none() && fs::read_dir(&folder.0).unwrap().count() == 1);
}

#[test]
fn whatever_others_make_or_remove_is_noticed_in_the_same_instant() {
    noticed_in_the_same_instant(&Folder::new());
    // The folder's own time misses most of it on a tmpfs.
    let shm = Path::new("/dev/shm");
    if shm.is_dir() {
        noticed_in_the_same_instant(&Folder::below(shm));
    }
}

fn noticed_in_the_same_instant(folder: &Folder) {
    folder.store().claim(ip("10.0.0.2"), &holder("c1")).unwrap().unwrap();
    for n in 0..200_u32 {
        let mut store = folder.store();
        let own = ip(&format!("10.0.1.{}", n % 250));
        store.claim(own, &holder("c1")).unwrap().unwrap();
        drop(store);
        folder.put("10.0.0.3", b"c2\r\neth0");
        assert!(folder.store().is_taken(ip("10.0.0.3")), "made behind our back, round {n}");
        folder.store().free(own);
        fs::remove_file(folder.0.join("10.0.0.3")).unwrap();
        assert!(!folder.store().is_taken(ip("10.0.0.3")), "removed behind our back, round {n}");
    }
}

#[test]
fn what_changes_while_we_hold_the_lock_makes_the_index_void() {
    let folder = Folder::new();
    folder.store().claim(ip("10.0.0.2"), &holder("c1")).unwrap().unwrap();
    let mut store = folder.store();
    folder.put("10.0.0.3", b"a person asks for no lock");
    store.claim(ip("10.0.0.4"), &holder("c1")).unwrap().unwrap();
    drop(store);
    assert!(folder.index().is_none() && folder.store().is_taken(ip("10.0.0.3")));
    let store = folder.store();
    assert_eq!(store.done, Done::Nothing);
    // While the folder is read as a whole, too.
    drop(store);
    folder.put("10.0.0.5", b"");
    let store = folder.store();
    folder.put("10.0.0.6", b"c9");
    drop(store);
    assert!(folder.store().is_taken(ip("10.0.0.6")));
}

#[test]
fn an_index_that_was_left_in_the_middle_of_a_change_is_thrown_away() {
    let folder = Folder::new();
    folder.store().claim(ip("10.0.0.2"), &holder("c1")).unwrap().unwrap();
    let mut store = folder.store();
    store.begin();
    // As if killed here: the lock goes, and nobody puts the stamp on again.
    store.shelf = None;
    drop(store);
    assert!(!is_found(&folder) && is_found(&folder));
}

#[test]
fn an_index_that_makes_no_sense_is_made_anew() {
    let folder = Folder::new();
    for n in 2..200 {
        folder.put(&format!("10.0.0.{n}"), format!("c{}\r\neth0", n % 99).as_bytes());
    }
    drop(folder.store());
    let path = folder.index().unwrap();
    let whole = fs::read(&path).unwrap();
    let spoilt = |range: std::ops::Range<usize>| {
        let mut bytes = whole.clone();
        bytes[range].fill(0xa5);
        bytes
    };
    for bytes in [
        Vec::new(),
        whole[..7].to_vec(),
        whole[..whole.len() - 1].to_vec(),
        spoilt(0..8),
        spoilt(8..24),
        spoilt(24..40),
        spoilt(56..60),
    ] {
        fs::write(&path, bytes).unwrap();
        let mut store = folder.store();
        assert_eq!(store.done, Done::Learnt);
        assert_eq!(store.holds(&holder("c1")), [ip("10.0.0.100"), ip("10.0.0.199")]);
        drop(store);
        assert!(is_found(&folder));
    }
    // A place that cannot be written to means no index, and nothing worse.
    fs::remove_dir_all(folder.indexes()).unwrap();
    fs::write(folder.indexes(), "in the way").unwrap();
    folder.store().claim(ip("10.0.0.200"), &holder("c1")).unwrap().unwrap();
    assert_eq!(folder.store().holds(&holder("c1")).len(), 3);
}

#[test]
fn what_somebody_wrote_into_a_lease_is_found_by_whoever_touches_it() {
    let folder = Folder::new();
    folder.store().claim(ip("10.0.0.2"), &holder("c1")).unwrap().unwrap();
    folder.put("10.0.0.2", b"c2\r\neth0");
    assert!(is_found(&folder));
    assert!(folder.store().holds(&holder("c1")).is_empty());
    assert_eq!(folder.store().holds(&holder("c2")), [ip("10.0.0.2")]);
    // The caller may know more than the index.
    folder.put("10.0.0.2", b"c3\r\neth0");
    assert!(is_found(&folder) && folder.store().holds(&holder("c3")).is_empty());
    assert_eq!(
        folder.store().written_for(&holder("c3"), &[ip("10.0.0.2"), ip("10.0.0.9")]).unwrap().len(),
        1
    );
}

#[test]
fn before_a_range_is_called_full_the_folder_is_read_once_a_minute() {
    let folder = Folder::new();
    folder.store().claim(ip("10.0.0.2"), &holder("c1")).unwrap().unwrap();
    folder.put("10.0.0.2", b"");
    let mut store = folder.store();
    assert!(store.is_taken(ip("10.0.0.2")) && !store.look_again().unwrap());
    store.read = 0;
    assert!(store.look_again().unwrap() && !store.is_taken(ip("10.0.0.2")));
    assert!(!store.look_again().unwrap());
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
                    folder.store().free(at(a));
                    table.remove(&at(a));
                }
                Deed::TearOff(a) => {
                    // A crash leaves a new file torn; nobody writes into one that is there.
                    let _ = fs::remove_file(folder.0.join(at(a).to_string()));
                    folder.put(&at(a).to_string(), b"");
                    table.remove(&at(a));
                }
                Deed::GoClaims(a, c) => if !folder.has(&at(a).to_string()) {
                    folder.put(&at(a).to_string(), by(c).text().as_bytes());
                    table.insert(at(a), by(c));
                }
            }
            let mut store = folder.store();
            for a in 0..6 {
                prop_assert_eq!(store.is_taken(at(a)), table.contains_key(&at(a)));
            }
            for c in 0..3 {
                let expected: Vec<_> = table.iter().filter(|(_, h)| **h == by(c)).map(|(ip, _)| *ip).collect();
                prop_assert_eq!(store.holds(&by(c)), expected);
            }
        }
    }
}

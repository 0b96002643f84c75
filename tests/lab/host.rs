//! The host of a test's world: it starts programs, makes pods and keeps the stubs.

use std::cell::{Cell, OnceCell};
use std::ops::Deref;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::attach::Attach;
use super::call::Call;
use super::differences;
use super::place::Place;
use super::stub::Stub;
use super::world;

/// Every program of this build, as the tests reach it.
const PROGRAMS: &[(&str, &str)] = &[
    ("bridge", env!("CARGO_BIN_EXE_bridge")),
    ("veth", env!("CARGO_BIN_EXE_veth")),
    ("ptp", env!("CARGO_BIN_EXE_ptp")),
    ("loopback", env!("CARGO_BIN_EXE_loopback")),
    ("portmap", env!("CARGO_BIN_EXE_portmap")),
    ("firewall", env!("CARGO_BIN_EXE_firewall")),
    ("bandwidth", env!("CARGO_BIN_EXE_bandwidth")),
    ("tuning", env!("CARGO_BIN_EXE_tuning")),
    ("host-local", env!("CARGO_BIN_EXE_host-local")),
    ("static", env!("CARGO_BIN_EXE_static")),
    ("netns", env!("CARGO_BIN_EXE_netns")),
    ("cnitool", env!("CARGO_BIN_EXE_cnitool")),
];

/// Every version of the specification.
const SPECS: [&str; 7] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// Where a world collects the programs, so that one folder serves as CNI_PATH.
const PROGRAM_FOLDER: &str = "/run/lab/bin";

/// The host of this world. Dereferences to its `Place`.
#[derive(Debug)]
pub struct Host {
    place: Place,
    pods: Cell<u32>,
    newest: OnceCell<&'static str>,
}

impl Deref for Host {
    type Target = Place;
    fn deref(&self) -> &Place {
        &self.place
    }
}

impl Host {
    /// The host of the world that this process is in.
    pub fn here() -> Host {
        std::fs::create_dir_all(PROGRAM_FOLDER).expect("a folder for the programs");
        collect_programs(Path::new(PROGRAM_FOLDER));
        Host { place: Place::host(), pods: Cell::new(0), newest: OnceCell::new() }
    }

    /// The folder that holds every program under test: the ordinary CNI_PATH.
    pub fn bin(&self) -> PathBuf {
        PROGRAM_FOLDER.into()
    }

    /// The path of a program under test.
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin().join(name)
    }

    /// Whether the Go plugins are under test, not ours, and are not held to what ours promise.
    pub fn is_reference(&self) -> bool {
        world::expects_theirs()
    }

    /// The newest version of the specification that the programs under test know.
    pub fn newest(&self) -> &'static str {
        let [.., newest] = SPECS;
        if world::reference().is_none() {
            return newest;
        }
        self.newest.get_or_init(|| {
            let version = self.call("bridge", "VERSION", &json!({"cniVersion": "1.0.0"})).run().result();
            let known = |spec: &&str| version["supportedVersions"].as_array().unwrap().contains(&json!(spec));
            SPECS.into_iter().rfind(known).expect("a version that the tests know")
        })
    }

    /// The versions of the specification that the programs under test know.
    pub fn versions(&self) -> Vec<&'static str> {
        let newest = self.newest();
        SPECS.into_iter().filter(|version| *version <= newest).collect()
    }

    /// A new pod: a network namespace under /run/netns with `lo` down, as a runtime hands it over.
    pub fn pod(&self) -> Pod {
        self.pods.set(self.pods.get() + 1);
        self.pod_named(&format!("pod{}", self.pods.get()))
    }

    /// A new pod under a name of its own.
    pub fn pod_named(&self, name: &str) -> Pod {
        self.sh(&format!("ip netns add {name}"));
        let path = Path::new("/run/netns").join(name);
        Pod { place: Place::at(&path), path }
    }

    /// One call of a program, its environment and stdin complete; change what the test is about, then `run`.
    pub fn call(&self, program: &str, verb: &str, conf: &Value) -> Call {
        Call::new(self.program(program), verb, conf, &self.bin())
    }

    /// A container's attachment, on which the verbs can be called one after another.
    pub fn attach(&self, program: &str, conf: Value, pod: &Pod) -> Attach<'_> {
        Attach::new(self, program, conf, pod.path())
    }

    /// A recording delegate called `name` in a folder of its own (see `Stub`).
    pub fn stub(&self, name: &str) -> Stub {
        Stub::install(name)
    }

    /// Two answers to one question: ours, and theirs where the reference is under test.
    pub fn differs<T>(&self, key: &str, ours: impl FnOnce() -> T, theirs: impl FnOnce() -> T) -> T {
        if differences::is_theirs(key) { theirs() } else { ours() }
    }
}

/// A pod's network namespace. Dereferences to its `Place`.
#[derive(Debug)]
pub struct Pod {
    place: Place,
    path: PathBuf,
}

impl Deref for Pod {
    type Target = Place;
    fn deref(&self) -> &Place {
        &self.place
    }
}

impl Pod {
    /// What CNI_NETNS says.
    pub fn path(&self) -> &str {
        self.path.to_str().expect("a plain path")
    }

    /// The name below /run/netns.
    pub fn name(&self) -> &str {
        self.path.file_name().and_then(|name| name.to_str()).expect("a plain name")
    }

    /// Ends the namespace as `ip netns delete` does; the path is gone afterwards.
    pub fn delete(&self) {
        Place::host().sh(&format!("ip netns delete {}", self.name()));
    }
}

/// The two tools are ours even where the reference's plugins are under test: it has none.
fn collect_programs(folder: &Path) {
    let reference = world::reference().map(PathBuf::from);
    let elsewhere = world::variable("JACKFIELD_BIN").map(PathBuf::from);
    for entry in
        reference.iter().flat_map(|reference| std::fs::read_dir(reference).expect("CNI_REFERENCE")).flatten()
    {
        link(&entry.path(), &folder.join(entry.file_name()));
    }
    for (name, built) in PROGRAMS {
        let installed = elsewhere.as_ref().map(|folder| folder.join(name)).filter(|path| path.exists());
        let ours = installed.unwrap_or_else(|| PathBuf::from(built));
        match &reference {
            Some(reference) if *name == "veth" => link(&reference.join("ptp"), &folder.join(name)),
            Some(reference) if reference.join(name).exists() => {}
            _ => link(&ours, &folder.join(name)),
        }
    }
}

fn link(program: &Path, name: &Path) {
    symlink(program, name).unwrap_or_else(|e| panic!("collect {}: {e}", program.display()));
}

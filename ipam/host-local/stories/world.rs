//! A folder beside its model: deeds are done to both, and then they are compared.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use cni::env::{Env, Verb};
use cni::error::Error;
use cni::request::Request;
use serde_json::{Value, json};

use super::Deed;
use super::model::{Asked, File, Keys, Model, Refusal, Shape, Text, Who, ip};
use crate::boot::{Here, Id};
use crate::conf::Raw;
use crate::host_local::verbs;
use crate::store::Machine;
use crate::store::look::look;

/// A folder with its model, below a folder that goes with the test.
pub(super) struct World {
    shape: &'static Shape,
    keys: Keys,
    top: PathBuf,
    pub(super) model: Model,
    kept: Vec<(PathBuf, Vec<u8>)>,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.top);
    }
}

impl World {
    pub(super) fn new(shape: &'static Shape, keys: Keys) -> World {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("ipam-story-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let top = std::env::temp_dir().join(name);
        fs::create_dir_all(top.join("net")).unwrap();
        let marks = keeps_marks(&top);
        World { shape, keys, model: Model::of(shape, marks), top, kept: Vec::new() }
    }

    fn machine(&self) -> Machine {
        let id = |n: u32| Id::read(&format!("{n:032}"));
        let here = Here { machine: id(self.model.machine), boot: id(self.model.boot) };
        Machine { here, indexes: self.top.join("indexes") }
    }

    fn folder(&self) -> PathBuf {
        self.top.join("net")
    }

    fn file(&self, ip: IpAddr) -> PathBuf {
        self.folder().join(ip.to_string())
    }

    fn named(&self, place: usize) -> IpAddr {
        ip(self.shape.named[place % self.shape.named.len()])
    }

    fn all_named(&self, places: &[usize]) -> Vec<IpAddr> {
        places.iter().map(|place| self.named(*place)).collect()
    }

    /// What a runtime sends: `more` are keys beside those of the network.
    fn request(&self, verb: Verb, who: Who, keys: Keys, pod: Option<u8>, more: &Value) -> (Request, Raw) {
        let mut ipam = json!({"type": "host-local", "dataDir": self.top});
        ipam["ranges"] = serde_json::from_str(self.shape.ranges).unwrap();
        if keys.exclude {
            ipam["exclude"] = serde_json::from_str(self.shape.exclude).unwrap();
        }
        if keys.cooldown {
            ipam["cooldownSeconds"] = json!(1_000_000);
        }
        if keys.sticky {
            ipam["sticky"] = json!(true);
        }
        if keys.random {
            ipam["allocation"] = json!("random");
        }
        let mut conf = json!({"cniVersion": "1.1.0", "name": "net", "type": "bridge", "ipam": ipam});
        conf.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let pod = pod.map(|pod| format!(";K8S_POD_NAMESPACE=default;K8S_POD_NAME=pod-{pod}"));
        let env = Env::of([
            ("CNI_CONTAINERID", format!("c{}", who.0)),
            ("CNI_IFNAME", format!("eth{}", who.1)),
            ("CNI_NETNS", "/nowhere".into()),
            ("CNI_PATH", "/nowhere".into()),
            ("CNI_ARGS", format!("IgnoreUnknown=1{}", pod.unwrap_or_default())),
        ]);
        let request = Request::read(verb, &env, conf.to_string().into(), false).unwrap();
        let call = match &request {
            Request::Add(add) => &add.call,
            Request::Del(del) => &del.call,
            Request::Check(check) => &check.call,
            Request::Gc(gc) => &gc.call,
            Request::Status(call) => call,
        };
        let raw = cni::decode::decode(&call.config).unwrap();
        (request, raw)
    }

    /// Does it; whatever is asked has to be answered as the model answers.
    pub(super) fn act(&mut self, deed: &Deed) -> Result<(), String> {
        match deed {
            Deed::Add { who, asks, but, pod, is_told } => {
                let asked = Asked {
                    who: *who,
                    requested: self.all_named(asks),
                    keys: self.keys.but(*but),
                    pod: *pod,
                };
                self.add(&asked, *is_told)
            }
            Deed::Del { who, result, but, pod } => {
                let keys = self.keys.but(*but);
                let prev = json!({"prevResult": result_of(&self.all_named(result))});
                let (request, raw) = self.request(Verb::Del, *who, keys, *pod, &prev);
                let Request::Del(del) = request else { unreachable!() };
                self.model.del(*who, keys, *pod);
                expect(None, verbs::del(&self.machine(), &del, raw))
            }
            Deed::Gc { living, but } => {
                let keys = self.keys.but(*but);
                let list = living.as_ref().map(|living| {
                    let one =
                        |(c, i): &Who| json!({"containerID": format!("c{c}"), "ifname": format!("eth{i}")});
                    json!({"cni.dev/valid-attachments": living.iter().map(one).collect::<Vec<_>>()})
                });
                let (request, raw) = self.request(Verb::Gc, (0, 0), keys, None, &list.unwrap_or(json!({})));
                let Request::Gc(gc) = request else { unreachable!() };
                self.model.gc(living.as_deref(), keys);
                expect(None, verbs::gc(&self.machine(), &gc, raw))
            }
            Deed::Check { who, others } => {
                let result = [self.model.held_by(*who), self.all_named(others)].concat();
                let prev = json!({"prevResult": result_of(&result)});
                let (request, raw) = self.request(Verb::Check, *who, Keys::default(), None, &prev);
                let Request::Check(check) = request else { unreachable!() };
                expect(self.model.check(*who, &result), verbs::check(&self.machine(), &check, raw))
            }
            Deed::Status { but } => {
                let keys = self.keys.but(*but);
                let (request, raw) = self.request(Verb::Status, (0, 0), keys, None, &json!({}));
                let Request::Status(call) = request else { unreachable!() };
                expect(self.model.status(keys), verbs::status(&self.machine(), &call, raw))
            }
            other => {
                self.happens(other);
                Ok(())
            }
        }
    }

    fn add(&mut self, asked: &Asked, is_told: bool) -> Result<(), String> {
        let ips: Vec<String> = asked.requested.iter().map(IpAddr::to_string).collect();
        let more = json!({"args": {"cni": {"ips": ips}}});
        let (request, raw) = self.request(Verb::Add, asked.who, asked.keys, asked.pod, &more);
        let Request::Add(add) = request else { unreachable!() };
        let answer = verbs::add(&self.machine(), &add, raw);
        let given = |attached: &cni::attach::Attached| {
            attached.result().ips.iter().map(|ip| ip.address.ip()).collect::<Vec<_>>()
        };
        let said = answer.as_ref().map(given).map_err(said);
        let fits =
            self.model.add(asked, &said, is_told).map_err(|why| format!("{why}; the answer was {said:?}"));
        if let Ok(attached) = answer
            && is_told
        {
            attached.keep();
        }
        fits
    }

    /// What others do to the folder and to /run.
    fn happens(&mut self, deed: &Deed) {
        match deed {
            Deed::GoAdds { who: (container, ifname), at } => {
                let ip = self.named(*at);
                if self.puts(ip, Text::Lease(*container, Some(*ifname)))
                    && let Some(set) = self.model.set_of(ip)
                {
                    fs::write(self.mark_of(set), ip.to_string()).unwrap();
                    self.model.last[set] = Some(ip);
                }
            }
            Deed::GoDeletes { who: (container, ifname) } => {
                if !self.go_removes(Text::Lease(*container, Some(*ifname))) {
                    self.go_removes(Text::Lease(*container, None));
                }
            }
            Deed::OldPluginAdds { container, at } => {
                self.puts(self.named(*at), Text::Lease(*container, None));
            }
            Deed::SomebodyReserves { at, is_folder } => {
                self.puts(self.named(*at), if *is_folder { Text::Folder } else { Text::Reserved });
            }
            Deed::SomebodyRemoves { at } => self.removes(self.named(*at)),
            Deed::CrashTears { at, has_zeros } => {
                let ip = self.named(*at);
                self.removes(ip);
                fs::write(self.file(ip), if *has_zeros { &[0; 8][..] } else { b"" }).unwrap();
                self.model.files.insert(ip, File { text: Text::Torn, mark: None });
            }
            Deed::CrashTearsTheMarkOfASet { set } => {
                let set = set % self.model.last.len();
                fs::write(self.mark_of(set), "").unwrap();
                self.model.last[set] = None;
            }
            Deed::Reboot { is_other_machine, is_run_kept } => {
                self.model.boot += 1;
                self.model.machine ^= u32::from(*is_other_machine) * 3;
                self.model.resting.clear();
                if !is_run_kept {
                    let _ = fs::remove_dir_all(self.top.join("indexes"));
                }
            }
            other => self.happens_to_run(other),
        }
    }

    fn happens_to_run(&mut self, deed: &Deed) {
        match deed {
            Deed::RunIsLost => {
                let _ = fs::remove_dir_all(self.top.join("indexes"));
                self.model.resting.clear();
            }
            // Bytes 24 to 39 are the stamp.
            Deed::CallIsKilled => {
                self.change(".index", |bytes| bytes.iter_mut().skip(24).take(16).for_each(|b| *b = 0))
            }
            Deed::IndexIsCut { length } => {
                self.change(".index", |bytes| bytes.truncate(usize::try_from(*length).unwrap()));
            }
            // A record begins with the time until which it rests, in eight bytes; the first one stands at 16.
            Deed::RestsEnd => {
                self.change(".resting", |bytes| {
                    bytes[16..].chunks_mut(32).for_each(|record| record[..8].fill(0));
                });
                self.model.resting.clear();
            }
            Deed::IndexIsKept => self.kept = self.in_run(".index"),
            Deed::KeptIndexComesBack => {
                for (path, bytes) in &self.kept {
                    let _ = fs::create_dir_all(path.parent().unwrap());
                    fs::write(path, bytes).unwrap();
                }
            }
            _ => unreachable!(),
        }
    }

    fn mark_of(&self, set: usize) -> PathBuf {
        self.folder().join(format!("last_reserved_ip.{set}"))
    }

    /// A new file; none where there is one.
    fn puts(&mut self, ip: IpAddr, text: Text) -> bool {
        if self.file(ip).exists() {
            return false;
        }
        match text {
            Text::Folder => fs::create_dir(self.file(ip)).unwrap(),
            text => fs::write(self.file(ip), words(text)).unwrap(),
        }
        self.model.files.insert(ip, File { text, mark: None });
        true
    }

    fn removes(&mut self, ip: IpAddr) {
        let path = self.file(ip);
        let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
        self.model.files.remove(&ip);
    }

    fn go_removes(&mut self, text: Text) -> bool {
        let theirs: Vec<IpAddr> =
            self.model.files.iter().filter(|(_, file)| file.text == text).map(|(ip, _)| *ip).collect();
        theirs.iter().for_each(|ip| self.removes(*ip));
        !theirs.is_empty()
    }

    /// Every file in /run whose name ends like this.
    fn in_run(&self, end: &str) -> Vec<(PathBuf, Vec<u8>)> {
        let files =
            fs::read_dir(self.top.join("indexes")).into_iter().flatten().flatten().map(|file| file.path());
        let files = files.filter(|path| path.to_str().is_some_and(|path| path.ends_with(end)));
        files.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }

    fn change(&self, end: &str, change: impl Fn(&mut Vec<u8>)) {
        for (path, mut bytes) in self.in_run(end) {
            change(&mut bytes);
            fs::write(path, bytes).unwrap();
        }
    }

    /// The folder holds what the model holds, and nothing else; whoever looks at it sees the same.
    pub(super) fn compare(&mut self) -> Result<(), String> {
        let gone: Vec<IpAddr> =
            self.model.shaky.iter().copied().filter(|ip| !self.file(*ip).exists()).collect();
        self.model.shaky.clear();
        self.model.files.retain(|ip, _| !gone.contains(ip));
        for (ip, file) in &self.model.files {
            let there = fs::read_to_string(self.file(*ip)).unwrap_or_else(|error| format!("({error})"));
            let is_there = match file.text {
                Text::Folder => self.file(*ip).is_dir(),
                Text::Torn => there.trim_matches('\0').is_empty(),
                text => there == words(text),
            };
            if !is_there {
                return Err(format!("{ip} should say {:?} and says {there:?}", file.text));
            }
        }
        for (set, last) in self.model.last.iter().enumerate() {
            let there = fs::read_to_string(self.mark_of(set)).unwrap_or_default();
            if there != last.map(|ip| ip.to_string()).unwrap_or_default() {
                return Err(format!("set {set} gave {last:?} last, and the folder says {there:?}"));
            }
        }
        let seen = look(&self.machine(), &self.folder()).map_err(|error| error.msg())?;
        let held: Vec<_> = seen.leases.iter().map(|seen| (seen.ip, seen.lease.holds())).collect();
        let expected: Vec<_> = self.model.files.keys().map(|ip| (*ip, self.model.is_held(*ip))).collect();
        if held != expected {
            return Err(format!("somebody who looks sees {held:?} instead of {expected:?}"));
        }
        let others = (seen.strangers, seen.misled);
        if others != (vec![], vec![]) {
            Err(format!("strange or in the index alone: {others:?}"))
        } else {
            Ok(())
        }
    }
}

fn words(text: Text) -> String {
    match text {
        Text::Lease(container, Some(ifname)) => format!("c{container}\r\neth{ifname}"),
        Text::Lease(container, None) => format!("c{container}"),
        Text::Reserved => "the printer\n".into(),
        Text::Folder | Text::Torn => String::new(),
    }
}

fn result_of(ips: &[IpAddr]) -> Value {
    let one = |ip: &IpAddr| json!({"address": format!("{ip}/{}", if ip.is_ipv4() { 24 } else { 64 })});
    json!({"cniVersion": "1.1.0", "ips": ips.iter().map(one).collect::<Vec<_>>()})
}

fn said(error: &Error) -> (u32, String) {
    (error.code().0, error.msg())
}

fn expect(refusal: Option<Refusal>, outcome: cni::error::Result<()>) -> Result<(), String> {
    let outcome = outcome.map_err(|error| said(&error));
    let fits = match (refusal, &outcome) {
        (None, Ok(())) => true,
        (Some((code, words)), Err((found, msg))) => code == *found && msg.contains(words),
        _ => false,
    };
    if fits { Ok(()) } else { Err(format!("expected {refusal:?}, and the answer was {outcome:?}")) }
}

/// Whether files in here keep extended attributes (tmpfs does since Linux 6.6).
fn keeps_marks(folder: &Path) -> bool {
    let path = folder.join("probe");
    let file = fs::File::create(&path).unwrap();
    let kept = rustix::fs::fsetxattr(&file, "user.jackfield.probe", b"1", rustix::fs::XattrFlags::empty());
    fs::remove_file(path).unwrap();
    kept.is_ok()
}

//! What a runtime remembers of an attachment between ADD and DEL, in the files of libcni: either reads the other's.
//!
//! A file `results/<network>-<container ID>-<interface>` holds the parameters of the ADD, the list as it was, and the
//! result. Ours is there, without the result, before the first plugin runs: should we die in between, the next ADD,
//! DEL or GC, by us or by anybody on libcni, knows what may have been left.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::base64;
use super::list::List;
use super::lock::Turn;
use super::object::Object;
use crate::call::Attachment;
use crate::error::{Code, Error, Faults, OrFail, Result};
use crate::files;
use crate::name::{ContainerId, NetworkName};
use crate::whole::Draft;

/// What libcni writes into `kind`.
const KIND: &str = "cniCacheV1";

/// The folder of the cache.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
}

/// One attachment, as ADD was asked for it and answered.
#[derive(Clone, Debug)]
pub struct Record {
    /// Who.
    pub attachment: Attachment,
    /// The list as it was. Empty in the oldest files.
    pub config: Vec<u8>,
    /// The path of the container's namespace.
    pub netns: String,
    /// `CNI_ARGS`, in order.
    pub args: Vec<(String, String)>,
    /// What the runtime supplied for capabilities.
    pub capabilities: Object,
    /// The last plugin's result; `None` for an ADD that failed, was killed, or still runs.
    pub result: Option<Box<RawValue>>,
}

/// What a cache holds.
#[derive(Default, Debug)]
pub struct Remembered {
    /// The attachments, in the order of the files' names.
    pub records: Vec<Record>,
    /// Files of which nobody knows what they say.
    pub unreadable: Vec<Unreadable>,
}

/// A file that cannot be read, or makes no sense.
#[derive(Debug)]
pub struct Unreadable {
    path: PathBuf,
    /// Why; the file is named in it.
    pub why: Error,
}

/// The members of a file in libcni's order.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Written {
    kind: String,
    container_id: String,
    config: String,
    if_name: String,
    network_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    netns: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cni_args: Option<Vec<(String, String)>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    capability_args: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Box<RawValue>>,
}

impl Default for Cache {
    /// `/var/lib/cni`, which libcni has compiled in.
    fn default() -> Cache {
        Cache::at("/var/lib/cni")
    }
}

impl Cache {
    /// A cache in another folder; it is made when it is first needed.
    pub fn at(folder: impl Into<PathBuf>) -> Cache {
        Cache { folder: folder.into() }
    }

    /// The record of an attachment, if there is one. A file with the same name that speaks of another attachment
    /// (`a-b` of `c` is called like `a` of `b-c`) is not ours.
    ///
    /// # Errors
    /// Code 5 when the file cannot be read, 6 when it is torn.
    pub fn read(&self, of: &Attachment) -> Result<Option<Record>> {
        let path = self.file(of);
        let Some(record) = read(&path)? else { return Ok(None) };
        let Some(attachment) = record.attachment() else {
            // The files of libcni before cniCacheV1 hold nothing but the result.
            let text = files::read(&path).ok().and_then(|text| String::from_utf8(text).ok());
            let result = text.and_then(|text| RawValue::from_string(text).ok());
            return Ok((record.kind != KIND).then(|| Record { result, ..Record::bare(of.clone()) }));
        };
        Ok((attachment == *of).then(|| record.into_record(attachment)))
    }

    /// Writes a record: readers see the old one or the new one, whole.
    ///
    /// # Errors
    /// Code 5 when that fails, or when the file's name is taken by another attachment.
    pub fn write(&self, record: &Record) -> Result<()> {
        let path = self.file(&record.attachment);
        if let Some(other) = self.other_owner(&record.attachment) {
            let taken = format!("{} already stands for {other}", path.display());
            return Err(Error::new(Code::IO, taken));
        }
        let fresh = self.fresh(&record.attachment);
        let write = || {
            let mut draft = Draft::begin(&self.results())?;
            draft.file().write_all(&serde_json::to_vec(&Written::of(record))?)?;
            // Only a result outlives the boot in any useful way; what an interrupted ADD left in the kernel does not.
            if record.result.is_some() {
                draft.file().sync_data()?;
            }
            match draft.name(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => draft.replace_by(&fresh, &path),
                named => named,
            }
        };
        write().or_fail(Code::IO, || format!("write {}", path.display()))
    }

    /// Forgets an attachment; one that is not known is forgotten already.
    ///
    /// # Errors
    /// Code 5 when the file stays.
    pub fn remove(&self, of: &Attachment) -> Result<()> {
        let path = self.file(of);
        if self.other_owner(of).is_some() {
            return Ok(());
        }
        // Whoever died over a record that was to replace another has left both.
        [self.fresh(of), path].iter().try_for_each(|path| match fs::remove_file(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            answer => answer.or_fail(Code::IO, || format!("remove {}", path.display())),
        })
    }

    /// Every attachment of a network, in the order of the files' names. Foreign files are passed over.
    ///
    /// # Errors
    /// Code 5 when the folder cannot be read; one that is not there holds nothing. As [`Cache::read`] for the first file
    /// that cannot be read and may be of this network, with the others in its details: nobody knows then who lives.
    pub fn of_network(&self, network: &NetworkName) -> Result<Vec<Record>> {
        let mut all = self.all()?;
        let mut faults = Faults::default();
        for torn in all.unreadable.into_iter().filter(|torn| torn.may_be_of(network.as_str())) {
            faults.note::<()>(Err(torn.why));
        }
        faults.verdict()?;
        all.records.retain(|record| record.attachment.network == *network);
        Ok(all.records)
    }

    /// Every attachment, in the order of the files' names, and what cannot be read. Foreign files are passed over.
    ///
    /// # Errors
    /// Code 5 when the folder cannot be read; one that is not there holds nothing.
    pub fn all(&self) -> Result<Remembered> {
        let folder = self.results();
        let unreadable = || format!("read the folder {}", folder.display());
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Remembered::default()),
            entries => entries.or_fail(Code::IO, unreadable)?,
        };
        let paths = entries.map(|entry| entry.map(|entry| entry.path()).or_fail(Code::IO, unreadable));
        let mut paths: Vec<PathBuf> = paths.collect::<Result<_>>()?;
        paths.sort();
        let mut all = Remembered::default();
        for path in paths.into_iter().filter(|path| !is_being_written(path)) {
            match read(&path).and_then(|written| written.map_or(Ok(None), |it| it.recorded(&path))) {
                Ok(Some(record)) if self.file(&record.attachment) == path => all.records.push(record),
                Ok(_) => {}
                Err(why) => all.unreadable.push(Unreadable { path, why }),
            }
        }
        Ok(all)
    }

    /// Waits until nobody else works on this container and no GC runs; the turn lasts until it is dropped.
    pub(super) fn turn(&self, container: &ContainerId) -> Result<Turn> {
        Turn::of_container(&self.folder, container)
    }

    /// Waits until nobody else does anything with this cache.
    pub(super) fn turn_alone(&self) -> Result<Turn> {
        Turn::of_everybody(&self.folder)
    }

    fn other_owner(&self, than: &Attachment) -> Option<Attachment> {
        let written = read(&self.file(than)).ok().flatten()?;
        written.attachment().filter(|owner| owner != than)
    }

    fn results(&self) -> PathBuf {
        self.folder.join("results")
    }

    fn file(&self, of: &Attachment) -> PathBuf {
        self.results().join(file_name(of))
    }

    /// How a record is called for the instant before it is put in the place of the older one.
    fn fresh(&self, of: &Attachment) -> PathBuf {
        self.results().join(format!(".{}.new", file_name(of)))
    }
}

impl Unreadable {
    /// Whether the file's name allows that it is of this network: a name may go on behind a `-`.
    pub fn may_be_of(&self, network: &str) -> bool {
        let name = self.path.file_name().and_then(|name| name.to_str());
        name.and_then(|name| name.strip_prefix(network)).is_some_and(|rest| rest.starts_with('-'))
    }
}

impl Record {
    /// An attachment of which nothing else is known.
    fn bare(attachment: Attachment) -> Record {
        let capabilities = Object::default();
        Record {
            attachment,
            config: Vec::new(),
            netns: String::new(),
            args: Vec::new(),
            capabilities,
            result: None,
        }
    }

    /// The list as it was at ADD; `None` in the oldest files.
    ///
    /// # Errors
    /// As [`List::parse`].
    pub fn list(&self) -> Result<Option<List>> {
        if self.config.is_empty() { Ok(None) } else { List::parse(&self.config).map(Some) }
    }
}

impl Written {
    fn of(record: &Record) -> Written {
        Written {
            kind: KIND.into(),
            container_id: record.attachment.container.to_string(),
            config: base64::encode(&record.config),
            if_name: record.attachment.ifname.to_string(),
            network_name: record.attachment.network.to_string(),
            netns: record.netns.clone(),
            cni_args: Some(record.args.clone()).filter(|args| !args.is_empty()),
            capability_args: (!record.capabilities.is_empty()).then(|| record.capabilities.to_raw()),
            result: record.result.clone(),
        }
    }

    fn attachment(&self) -> Option<Attachment> {
        if self.kind != KIND {
            return None;
        }
        Some(Attachment {
            network: self.network_name.parse().ok()?,
            container: self.container_id.parse().ok()?,
            ifname: self.if_name.parse().ok()?,
        })
    }

    /// A file of another kind holds none; one of this kind has to say whose it is.
    fn recorded(self, path: &Path) -> Result<Option<Record>> {
        match self.attachment() {
            Some(attachment) => Ok(Some(self.into_record(attachment))),
            None if self.kind != KIND => Ok(None),
            None => {
                Err(Error::new(Code::DECODE, format!("read {}: it does not say whose it is", path.display())))
            }
        }
    }

    fn into_record(self, attachment: Attachment) -> Record {
        let capabilities = self.capability_args.and_then(|raw| Object::parse(raw.get().as_bytes()).ok());
        Record {
            attachment,
            config: base64::decode(&self.config).unwrap_or_default(),
            netns: self.netns,
            args: self.cni_args.unwrap_or_default(),
            capabilities: capabilities.unwrap_or_default(),
            result: self.result,
        }
    }
}

fn file_name(of: &Attachment) -> String {
    format!("{}-{}-{}", of.network, of.container, of.ifname)
}

/// A record that is only just being written, by us, has another name.
fn is_being_written(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn read(path: &Path) -> Result<Option<Written>> {
    let bytes = match files::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        bytes => bytes.or_fail(Code::IO, || format!("read {}", path.display()))?,
    };
    decoded(&bytes).map(Some).or_fail(Code::DECODE, || format!("read {}", path.display()))
}

fn decoded(bytes: &[u8]) -> Result<Written> {
    Object::parse(bytes).and_then(|_| serde_json::from_slice(bytes).or_fail(Code::DECODE, || "decode".into()))
}

/// What is done with a file that may be anybody's ([`crate::hostile`]): a record that can be read is written as it was.
#[cfg(any(test, fuzzing))]
pub(crate) fn hostile(bytes: &[u8]) {
    let Ok(written) = decoded(bytes) else { return };
    let Some(attachment) = written.attachment() else { return };
    let record = written.into_record(attachment);
    let text = serde_json::to_vec(&Written::of(&record)).unwrap_or_default();
    let again = decoded(&text).ok().and_then(|it| Some(it.attachment()?).map(|of| it.into_record(of)));
    assert_eq!(format!("{again:?}"), format!("{:?}", Some(&record)));
    if let Some(result) = record.result.as_ref().filter(|_| record.list().is_ok()) {
        for spec in crate::spec::Spec::ALL {
            let to = super::version::Version::parse(spec.as_str());
            let _ = to.and_then(|to| super::answer::convert(result, &to));
        }
    }
}

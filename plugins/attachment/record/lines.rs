//! What stands in a record: the first line says whose it is, each further one what is claimed.

use std::path::Path;

use cni::call::Attachment;
use cni::error::{Error, OrFail, Result};
use cni::name::{ContainerId, IfName, NetworkName};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use super::{Masqueraded, Noted, Record, Written, again};
use crate::attachment::life::Life;
use crate::attachment::mark;

/// The layout of what we write. A reader knows all earlier ones.
const LAYOUT: u32 = 1;

/// The first line of a record. What we write ourselves has no unknown keys.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Whose {
    layout: u32,
    network: String,
    container: String,
    ifname: String,
    host_end: String,
}

#[derive(Deserialize)]
struct Layout {
    layout: u32,
}

/// A further line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Note {
    Masquerade(Masqueraded),
    SpoofCheck(SpoofChecked),
    Life(Living),
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Living {
    pub(super) life: Life,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SpoofChecked {
    pub(super) spoof_check: String,
}

impl Whose {
    /// The line of this attachment.
    ///
    /// # Errors
    /// [`mark::host_end`]'s.
    pub(super) fn of(attachment: &Attachment) -> Result<Whose> {
        Ok(Whose {
            layout: LAYOUT,
            network: attachment.network.to_string(),
            container: attachment.container.to_string(),
            ifname: attachment.ifname.to_string(),
            host_end: mark::host_end(attachment)?.to_string(),
        })
    }

    /// The attachment that it speaks of; `None` if the names are none.
    fn attachment(&self) -> Option<Attachment> {
        Some(Attachment {
            network: self.network.parse::<NetworkName>().ok()?,
            container: self.container.parse::<ContainerId>().ok()?,
            ifname: self.ifname.parse::<IfName>().ok()?,
        })
    }
}

/// A line as it is written.
pub(super) fn line<T: Serialize>(what: &T) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    Ok(line)
}

/// What a new record says behind its first line.
#[derive(Default, Debug)]
pub struct Lines(Vec<u8>);

impl Lines {
    /// What the attachment's life hangs by.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn life(&mut self, life: &Life) -> Result<()> {
        self.own(&Note::Life(Living { life: life.clone() }))
    }

    /// A line of the plugin's own, which [`super::written`] reads.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn own<T: Serialize>(&mut self, what: &T) -> Result<()> {
        self.0.extend(line(what).doing(|| "write into the attachment's record what it claims".into())?);
        Ok(())
    }

    /// There was more, in a record that this one replaces, and only the kernel knows what.
    pub fn torn(&mut self) {
        self.0.extend(b"{\n");
    }

    pub(super) fn text(&self) -> &[u8] {
        &self.0
    }
}

/// What the text of a record says; or why it says nothing.
///
/// # Errors
/// It is of a later version: it does say something.
pub(super) fn understood(text: &[u8], file: &Path) -> Result<Result<Record>> {
    let doing = || format!("read the record {}", file.display());
    let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    // A later version may know further keys.
    if let Ok(Layout { layout }) = serde_json::from_slice(first)
        && layout != LAYOUT
    {
        return Err(Error::internal(format!("the record {} is of layout {layout}", file.display())));
    }
    Ok(serde_json::from_slice::<Whose>(first).doing(doing).and_then(|whose| {
        let attachment = whose.attachment().ok_or_else(|| Error::internal("it is of nobody")).doing(doing)?;
        Ok(further(text).fold(Record::of(attachment), Record::with))
    }))
}

/// What the text of an attachment's record says of the plugin's own; without a first line, that there was more.
///
/// # Errors
/// It is of a later version.
pub(super) fn written<T: DeserializeOwned>(
    text: &[u8],
    file: &Path,
    whose: &Attachment,
) -> Result<Written<T>> {
    let is_theirs = |record: &Record| record.attachment == *whose;
    Ok(match understood(text, file)?.ok().filter(is_theirs) {
        Some(record) => own(record.attachment, text),
        None => Written { attachment: whose.clone(), lines: Vec::new(), is_torn: true },
    })
}

/// The plugin's own lines.
pub(super) fn own<T: DeserializeOwned>(attachment: Attachment, text: &[u8]) -> Written<T> {
    let is_torn = further(text).any(|line| !is_whole(line));
    let lines = further(text).filter_map(|line| serde_json::from_slice(line).ok()).collect();
    Written { attachment, lines, is_torn }
}

/// The lines that say what is claimed.
pub(super) fn further(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = text.split(|byte| *byte == b'\n').skip(1);
    lines.filter(|line| !line.is_empty() && !line.starts_with(again::START))
}

/// Is the line a whole one, whatever it says?
pub(super) fn is_whole(line: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(line).is_ok()
}

impl Record {
    /// One of which nobody can tell what it said.
    pub fn torn(attachment: Attachment) -> Record {
        Record { masquerade: Noted::Torn, spoof_check: Noted::Torn, ..Record::of(attachment) }
    }

    /// What the first line says.
    fn of(attachment: Attachment) -> Record {
        Record { attachment, masquerade: Noted::Nothing, spoof_check: Noted::Nothing, life: None }
    }

    /// With what a further line says. A torn one is the last, and about what none before it was.
    fn with(mut self, line: &[u8]) -> Record {
        match serde_json::from_slice(line) {
            Ok(Note::Masquerade(claimed)) => self.masquerade = Noted::This(claimed),
            Ok(Note::SpoofCheck(SpoofChecked { spoof_check })) => {
                self.spoof_check = spoof_check.parse().map_or(Noted::Torn, Noted::This);
            }
            Ok(Note::Life(Living { life })) => self.life = Some(life),
            // A plugin's own line.
            Err(_) if is_whole(line) => {}
            Err(_) => {
                self.masquerade.tear();
                self.spoof_check.tear();
            }
        }
        self
    }
}

impl<T> Noted<T> {
    fn tear(&mut self) {
        if matches!(self, Noted::Nothing) {
            *self = Noted::Torn;
        }
    }
}

#[cfg(test)]
mod tests {
    use linux::mac::Mac;

    use super::*;
    use crate::attachment::masquerade::Backend;

    fn attachment() -> Attachment {
        let [network, container, ifname] = ["net", "c1", "eth0"];
        Attachment {
            network: network.parse().unwrap(),
            container: container.parse().unwrap(),
            ifname: ifname.parse().unwrap(),
        }
    }

    #[test]
    fn a_torn_line_is_told_from_none() {
        let whose = r#"{"layout":1,"network":"net","container":"c1","ifname":"eth0","hostEnd":"veth0"}"#;
        let addresses = r#""masquerade":["10.0.0.2","fd00::2"]"#;
        let masqueraded = |by| {
            let addresses = vec!["10.0.0.2".parse().unwrap(), "fd00::2".parse().unwrap()];
            Noted::This(Masqueraded { addresses, prefixes: vec![], by })
        };
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        for (rest, masquerade, spoof_check) in [
            (String::new(), Noted::Nothing, Noted::Nothing),
            ("\n".into(), Noted::Nothing, Noted::Nothing),
            (format!("\n{{{addresses}}}\n"), masqueraded(Backend::Nftables), Noted::Nothing),
            (
                format!("\n{{{addresses},\"by\":\"iptables\"}}\n{{\"spoofCheck\":\"{mac}\"}}\n"),
                masqueraded(Backend::Iptables),
                Noted::This(mac),
            ),
            (format!("\n{{\"spoofCheck\":\"{mac}\"}}\n"), Noted::Nothing, Noted::This(mac)),
            ("\n{\"masque".into(), Noted::Torn, Noted::Torn),
            (format!("\n{{{addresses}}}\n{{\"spoof"), masqueraded(Backend::Nftables), Noted::Torn),
            ("\n{\"a plugin's own\":[1]}\n".into(), Noted::Nothing, Noted::Nothing),
            ("\n{\"again\":{\"net".into(), Noted::Nothing, Noted::Nothing),
        ] {
            let record = Record { attachment: attachment(), masquerade, spoof_check, life: None };
            let text = format!("{whose}{rest}");
            assert_eq!(
                understood(text.as_bytes(), Path::new("record")).unwrap().unwrap(),
                record,
                "{rest:?}"
            );
        }
    }

    #[test]
    fn what_a_later_version_says_is_not_nothing() {
        let understood = |text: &str| understood(text.as_bytes(), Path::new("record"));
        for later in [r#"{"layout":2}"#, r#"{"layout":2,"network":"net","of":{"ten":"thousand"}}"#] {
            assert_eq!(understood(later).unwrap_err().msg(), "the record record is of layout 2");
        }
        let nobody = r#"{"layout":1,"network":"","container":"c1","ifname":"eth0","hostEnd":"veth0"}"#;
        for nothing in ["", "{\"lay", "null", r#"{"layout":1}"#, nobody] {
            assert!(understood(nothing).unwrap().is_err(), "{nothing}");
        }
    }
}

//! What was seen in files, for people and for programs.

use cni::plain::plain;
use serde_json::{Value as Json, json};

use super::finding::{Finding, Level};
use super::{Report, Seen};

impl Report {
    /// A line for each finding, in the order of the files, and one for each file.
    pub(crate) fn text(&self) -> String {
        let mut lines: Vec<String> = self.findings.iter().map(ToString::to_string).collect();
        for seen in &self.networks {
            let file = plain(&seen.file.to_string_lossy());
            let of = |level| {
                let here = |found: &&Finding| found.file == seen.file || seen.parts.contains(&found.file);
                self.findings.iter().filter(|found| found.level == level).filter(here).count()
            };
            let verdict = match (of(Level::Error), of(Level::Warning)) {
                (0, 0) => "ok".to_owned(),
                (errors, warnings) => {
                    let counted = [(errors, "error"), (warnings, "warning")];
                    let counted = counted.iter().filter(|(count, _)| *count > 0);
                    let counted: Vec<String> = counted
                        .map(|(count, word)| format!("{count} {word}{}", if *count == 1 { "" } else { "s" }))
                        .collect();
                    counted.join(", ")
                }
            };
            lines.push(match &seen.network {
                Some((name, version, plugins)) => {
                    format!(
                        "{file}: network {name}, version {}: {}: {verdict}",
                        plain(version),
                        plain(&plugins.join(", "))
                    )
                }
                None => format!("{file}: no network: {verdict}"),
            });
        }
        lines.join("\n") + "\n"
    }

    pub(crate) fn json(&self) -> Json {
        let network = |seen: &Seen| {
            let network = seen.network.as_ref();
            json!({
                "file": seen.file.to_string_lossy(),
                "name": network.map(|(name, ..)| name),
                "cniVersion": network.map(|(_, version, _)| version),
                "plugins": network.map(|(.., plugins)| plugins),
            })
        };
        json!({
            "networks": self.networks.iter().map(network).collect::<Vec<_>>(),
            "findings": self.findings.iter().map(Finding::to_json).collect::<Vec<_>>(),
        })
    }
}

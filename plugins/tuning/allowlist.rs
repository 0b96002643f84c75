//! Which sysctls the administrator allows: the Go plugin's file, one regular expression a line.

use std::io::ErrorKind;
use std::path::Path;

use cni::error::{Error, OrFail, Result};
use cni::files;
use regex_lite::Regex;

use crate::tuning::setting::Setting;

/// The Go plugin's place for it. Where it is not there, everything is allowed.
const FILE: &str = "/etc/cni/tuning/allowlist.conf";

/// Every one of these settings is allowed.
///
/// # Errors
/// The first that is not; a line that is no regular expression.
pub fn permit(settings: &[Setting]) -> Result<()> {
    if settings.is_empty() {
        return Ok(());
    }
    match files::read_anybodys(Path::new(FILE)) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        text => {
            let doing = || format!("read {FILE}");
            permitted_by(&String::from_utf8(text.doing(doing)?).doing(doing)?, settings)
        }
    }
}

/// An expression may match any part of the key as it is written, unless it is anchored.
fn permitted_by(text: &str, settings: &[Setting]) -> Result<()> {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let expressions = lines.iter().map(|line| Regex::new(line).doing(|| format!("read {FILE}: {line:?}")));
    let expressions: Vec<Regex> = expressions.collect::<Result<_>>()?;
    let refused = settings.iter().find(|setting| !expressions.iter().any(|it| it.is_match(&setting.key)));
    match refused {
        None => Ok(()),
        Some(Setting { key, .. }) => Err(Error::config(format!(
            "Sysctl {key} is not allowed. Only the following sysctls are allowed: [{}]",
            lines.join(" ")
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(text: &str, key: &str) -> Result<()> {
        permitted_by(text, &[Setting::meant(key, "1", "eth0").unwrap()])
    }

    #[test]
    fn a_line_is_an_expression_and_blank_ones_are_nothing() {
        let text = "\n  ^net\\.ipv4\\.conf\\.IFNAME\\.[a-z_]*$  \n\nsomaxconn\n";
        assert!(asks(text, "net.ipv4.conf.IFNAME.arp_filter").is_ok());
        assert!(asks(text, "net.core.somaxconn").is_ok());
        let error = asks(text, "net.ipv4.ip_forward").unwrap_err();
        assert!(error.msg().starts_with("Sysctl net.ipv4.ip_forward is not allowed."), "{}", error.msg());
        assert!(asks("", "net.core.somaxconn").is_err(), "an empty list allows nothing");
        assert!(asks("(", "net.core.somaxconn").unwrap_err().msg().contains("allowlist.conf"));
    }
}

//! What plugins say of themselves, without a container.

use std::ffi::OsString;

use super::list::List;
use super::{Runtime, answer, failed};
use crate::env::Verb;
use crate::error::{Code, Error, OrFail, Result};
use crate::exec;
use crate::name::PluginName;

impl Runtime {
    /// VERSION: the versions that a plugin speaks.
    ///
    /// # Errors
    /// Code 7 when the plugin is not there, 6 when its answer is none.
    pub fn versions(&self, plugin: &PluginName) -> Result<Vec<String>> {
        let program = exec::find(plugin, &self.path)?;
        let dummy = || OsString::from("dummy");
        let env = [
            ("CNI_COMMAND", OsString::from(Verb::Version.as_str())),
            ("CNI_CONTAINERID", OsString::new()),
            ("CNI_NETNS", dummy()),
            ("CNI_IFNAME", dummy()),
            ("CNI_ARGS", OsString::new()),
            ("CNI_PATH", dummy()),
        ];
        answer::versions(exec::run(&program, &env, br#"{"cniVersion":"1.1.0"}"#)?)
    }

    /// Checks that every plugin is there and speaks the list's version, and answers with the capabilities that any of
    /// them declares.
    ///
    /// # Errors
    /// Code 1 for a plugin that does not speak it; else as [`Runtime::versions`].
    pub fn validate(&self, list: &List) -> Result<Vec<String>> {
        let mut capabilities = Vec::new();
        for plugin in &list.plugins {
            let versions = self.versions(&plugin.program).doing(|| failed(plugin, "version"))?;
            if !versions.iter().any(|version| version == list.version.as_str()) {
                let (program, version) = (&plugin.program, list.version.as_str());
                let why = format!("plugin {program} does not support config version {version:?}");
                return Err(Error::new(Code::INCOMPATIBLE_VERSION, why));
            }
            capabilities.extend(plugin.capabilities.iter().cloned());
        }
        capabilities.sort();
        capabilities.dedup();
        Ok(capabilities)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use super::*;

    /// A folder with one plugin that answers VERSION with this.
    fn plugin(name: &str, answer: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("jackfield-probe-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let script =
            format!("#!/bin/sh\n[ \"$CNI_COMMAND$CNI_PATH\" = VERSIONdummy ] || exit 9\necho '{answer}'\n");
        fs::write(folder.join(name), script).unwrap();
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        folder
    }

    #[test]
    fn a_list_is_valid_where_every_plugin_speaks_its_version() {
        let folder = plugin("speaks", r#"{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}"#);
        let runtime = Runtime::new(vec![folder.clone()]);
        let list = |version: &str, program: &str| {
            let plugin = format!(r#"{{"type":"{program}","capabilities":{{"mac":true,"ips":false}}}}"#);
            let list = format!(r#"{{"cniVersion":"{version}","name":"n","plugins":[{plugin},{plugin}]}}"#);
            List::parse(list.as_bytes()).unwrap()
        };
        assert_eq!(runtime.validate(&list("1.0.0", "speaks")).unwrap(), ["mac"]);
        let error = runtime.validate(&list("1.1.0", "speaks")).unwrap_err();
        assert_eq!(error.code(), Code::INCOMPATIBLE_VERSION);
        assert_eq!(error.msg(), r#"plugin speaks does not support config version "1.1.0""#);
        assert!(runtime.validate(&list("1.0.0", "none")).is_err());
        fs::remove_dir_all(folder).unwrap();
    }
}

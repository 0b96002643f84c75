//! What a plugin said.

use serde_json::value::RawValue;

use super::object::{Object, raw, verbatim};
use super::version::Version;
use crate::error::{Code, Error, OrFail, Result};
use crate::exec::Output;
use crate::result::Success;
use crate::spec::Spec;
use crate::value::Value;

/// The result of an ADD, to the byte, except that one without a version gets the list's.
pub(super) fn result(stdout: &[u8], version: &Version) -> Result<Box<RawValue>> {
    let read = || -> Result<Box<RawValue>> {
        let mut object = Object::parse(stdout)?;
        if own_version(&object).is_empty() {
            object.set("cniVersion", raw(version.as_str()));
        }
        let own = Version::parse(&own_version(&object))?;
        // Only its shape is looked at: what we do not know in it travels on.
        Success::read(&Value::parse(object.text().as_bytes())?, known(&own)?)?;
        Ok(verbatim(object.text()))
    };
    read().or_fail(Code::DECODE, || "failed to read the plugin's result".into())
}

/// A remembered result in another version, for the plugins of a list with that version.
pub(super) fn convert(result: &RawValue, to: &Version) -> Result<Box<RawValue>> {
    let convert = || -> Result<Box<RawValue>> {
        let object = Object::parse(result.get().as_bytes())?;
        let own = Version::parse(&own_version(&object))?;
        if own == *to {
            return Ok(result.to_owned());
        }
        let success = Success::read(&Value::parse(result.get().as_bytes())?, known(&own)?)?;
        Ok(verbatim(success.render(known(to)?)?.to_string()))
    };
    convert().or_fail(Code::DECODE, || {
        format!("failed to convert cached result to config version {:?}", to.as_str())
    })
}

/// The `cniVersion` of a result; empty where it says none.
fn own_version(result: &Object) -> String {
    let own = result.get_folded("cniVersion").and_then(|own| serde_json::from_str(own.get()).ok());
    own.unwrap_or_default()
}

fn known(version: &Version) -> Result<Spec> {
    let unknown = || format!("unsupported CNI result version {:?}", version.as_str());
    version.spec().ok_or_else(|| Error::new(Code::INCOMPATIBLE_VERSION, unknown()))
}

/// The answer to VERSION. A plugin that does not know the question is one of 0.1.0; 0.2.0 had no list yet.
pub(super) fn versions(output: Output) -> Result<Vec<String>> {
    let stdout = match output.verdict() {
        Err(error) if error.msg() == "unknown CNI_COMMAND: VERSION" => {
            return Ok(vec![Spec::V0_1_0.to_string()]);
        }
        verdict => verdict?,
    };
    let missing = |key: &str| Error::new(Code::DECODE, format!("decoding version info: missing field {key}"));
    let object = Object::parse(&stdout).or_fail(Code::DECODE, || "decoding version info".into())?;
    let own = object.get_folded("cniVersion").ok_or_else(|| missing("cniVersion"))?;
    match object.get_folded("supportedVersions") {
        Some(versions) => {
            serde_json::from_str(versions.get()).or_fail(Code::DECODE, || "decoding version info".into())
        }
        None if own.get() == r#""0.2.0""# => Ok(vec![Spec::V0_1_0.to_string(), Spec::V0_2_0.to_string()]),
        None => Err(missing("supportedVersions")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    fn output(code: i32, stdout: &str) -> Output {
        Output {
            program: "/bin/x".into(),
            status: ExitStatus::from_raw(code << 8),
            stdout: stdout.into(),
            stderr: Vec::new(),
        }
    }

    #[test]
    fn a_plugin_without_version_speaks_the_oldest_ones_only() {
        // VSN-09
        let versions = |code, stdout| versions(output(code, stdout));
        let old = versions(1, r#"{"code":4,"msg":"unknown CNI_COMMAND: VERSION"}"#).unwrap();
        assert_eq!(old, ["0.1.0"]);
        assert_eq!(versions(0, r#"{"cniVersion":"0.2.0"}"#).unwrap(), ["0.1.0", "0.2.0"]);
        assert!(versions(0, r#"{"cniVersion":"0.3.0"}"#).unwrap_err().msg().ends_with("supportedVersions"));
        assert!(versions(0, "{}").unwrap_err().msg().ends_with("missing field cniVersion"));
        let new = versions(0, r#"{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}"#).unwrap();
        assert_eq!(new, ["0.4.0", "1.0.0"]);
    }

    #[test]
    fn a_result_without_version_gets_the_lists_and_the_rest_stays() {
        let version = Version::parse("1.0.0").unwrap();
        let result =
            result(br#"{"ips":[{"address":"10.0.0.2/24","interface":-1}],"x":9007199254740993}"#, &version);
        let text =
            r#"{"ips":[{"address":"10.0.0.2/24","interface":-1}],"x":9007199254740993,"cniVersion":"1.0.0"}"#;
        assert_eq!(result.unwrap().get(), text);
    }

    #[test]
    fn what_is_no_result_is_refused() {
        let version = Version::parse("1.0.0").unwrap();
        for bad in
            ["", "[]", r#"{"cniVersion":"9.9.9"}"#, r#"{"ips":"x"}"#, r#"{"cniVersion":"1.0.0","ips":[{}]}"#]
        {
            assert!(result(bad.as_bytes(), &version).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_remembered_result_is_converted_to_the_lists_version() {
        let result =
            RawValue::from_string(r#"{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.2/24"}]}"#.into())
                .unwrap();
        let old = convert(&result, &Version::parse("0.4.0").unwrap()).unwrap();
        assert!(old.get().contains(r#""version":"4""#), "{old}");
        assert_eq!(convert(&result, &Version::parse("1.0.0").unwrap()).unwrap().get(), result.get());
    }
}

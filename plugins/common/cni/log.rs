//! One line of JSON for each call, for an administrator who wants to know what a node does and what takes its time: where
//! `JACKFIELD_LOG`, or the key `jackfieldLog` of a configuration, says so. It goes to a file or to the journal, never to stdout
//! or stderr; and one that cannot be written fails no call.

use std::cell::RefCell;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::fcntl::OFlag;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::env::{Env, Verb};
use crate::error::{Error, Result};
use crate::plain::plain_lines;
use crate::value::Value;

/// The variable that says where lines go.
pub(crate) const VARIABLE: &str = "JACKFIELD_LOG";

/// The variable of a trace that the call is part of (W3C Trace Context).
pub(crate) const TRACEPARENT: &str = "TRACEPARENT";

/// The key of a configuration that says the same. It is more particular than the variable, and wins.
pub(crate) const KEY: &str = "jackfieldLog";

/// Where journald listens (systemd, "Native Journal Protocol").
const JOURNAL: &str = "/run/systemd/journal/socket";

/// More of an error's text than anybody reads: a datagram has to hold it.
const LONGEST: usize = 16 * 1024;

thread_local! {
    /// What has taken how long; nothing is kept where nobody wants to know.
    static STEPS: RefCell<Option<Steps>> = const { RefCell::new(None) };
}

/// Times by names. A name that comes again adds to its time.
#[derive(Default)]
struct Steps {
    taken: Vec<(&'static str, Duration)>,
    is_running: bool,
}

/// A step of a call, from [`step`] until it is dropped.
#[must_use = "a step ends when it is dropped"]
pub struct Step(Option<(&'static str, Instant)>);

/// Begins a step, which the line of this call will name with its time. One within another is part of that. Where no line is
/// written, this is a look at a variable.
pub fn step(name: &'static str) -> Step {
    let is_wanted = STEPS.with_borrow_mut(|steps| match steps {
        Some(steps) => !std::mem::replace(&mut steps.is_running, true),
        None => false,
    });
    Step(is_wanted.then(|| (name, Instant::now())))
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some((name, begun)) = self.0.take() {
            took(name, begun.elapsed());
        }
    }
}

fn took(name: &'static str, time: Duration) {
    STEPS.with_borrow_mut(|steps| {
        let Some(steps) = steps else { return };
        steps.is_running = false;
        match steps.taken.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum += time,
            None => steps.taken.push((name, time)),
        }
    });
}

/// Where lines go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum To {
    File(PathBuf),
    Journal,
}

impl To {
    /// An absolute path, for nobody knows a plugin's working folder; or the word `journald`.
    fn read(setting: &str) -> Option<To> {
        match setting {
            "journald" => Some(To::Journal),
            path if path.starts_with('/') => Some(To::File(path.into())),
            _ => None,
        }
    }
}

/// The line of a call, before it is written.
pub(crate) struct Log {
    begun: Instant,
    to: Option<To>,
}

impl Log {
    /// The call begins.
    pub(crate) fn begin(env: &Env) -> Log {
        let setting = env.get(VARIABLE).and_then(|setting| setting.to_str());
        Log { begun: Instant::now(), to: setting.and_then(To::read) }
    }

    /// stdin has been read, and may say where the line goes.
    ///
    /// # Errors
    /// The key says something that is no place. A verb that takes away is not kept from it.
    pub(crate) fn hear(&mut self, verb: Verb, stdin: &[u8]) -> Result<()> {
        let waited = self.begun.elapsed();
        let place = place(stdin);
        if let Ok(Some(named)) = &place {
            self.to = Some(named.clone());
        }
        if self.to.is_some() {
            STEPS.set(Some(Steps::default()));
            took("stdin", waited);
        }
        if matches!(verb, Verb::Del | Verb::Gc) { Ok(()) } else { place.map(drop) }
    }

    /// The call has ended, and the runtime has its answer.
    pub(crate) fn write(self, verb: Verb, env: &Env, head: &Value, error: Option<&Error>) {
        let Some(to) = self.to else { return };
        let said = |key: &str| env.get(key).map(|value| value.to_string_lossy().into_owned());
        let network = head.get("name").and_then(|name| text(&name).map(String::from));
        let line = Line {
            time: utc(SystemTime::now()),
            plugin: program(),
            verb: verb.as_str(),
            network,
            container: said("CNI_CONTAINERID"),
            ifname: said("CNI_IFNAME"),
            outcome: if error.is_none() { "ok" } else { "failed" },
            code: error.map(|error| error.code().0),
            msg: error.map(|error| cut(error.msg())),
            details: error.and_then(Error::more).map(|details| cut(details.into())),
            ms: milliseconds(self.begun.elapsed()),
            steps: STEPS.take().unwrap_or_default(),
            traceparent: said(TRACEPARENT).filter(|parent| is_traceparent(parent)),
        };
        // There is nobody to tell.
        let _ = match to {
            To::File(path) => line.append(path),
            To::Journal => line.send(),
        };
    }
}

/// Where a configuration wants the lines, if it says so.
///
/// # Errors
/// Code 7 if it says something that is no place.
pub(crate) fn place(stdin: &[u8]) -> Result<Option<To>> {
    let Some(value) = key(stdin) else { return Ok(None) };
    text(&value).and_then(To::read).map(Some).ok_or_else(|| {
        let text = serde_json::to_string(&value).unwrap_or_default();
        Error::config(format!("invalid {KEY} {text}"))
            .details(format!("{KEY} is \"journald\", or the absolute path of a file"))
    })
}

/// What the configuration says; an empty text is nothing. Whoever does not name the key pays for a look at the bytes.
fn key(stdin: &[u8]) -> Option<Value> {
    let is_named = stdin.windows(KEY.len()).any(|bytes| bytes.eq_ignore_ascii_case(KEY.as_bytes()));
    let conf = if is_named { Value::parse(stdin).ok()? } else { return None };
    Some(conf.get(KEY)?.into_owned()).filter(|value| text(value) != Some(""))
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

/// As this program is called here: users rename plugins.
fn program() -> String {
    let name = std::env::args_os().next().unwrap_or_default();
    std::path::Path::new(&name).file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(LONGEST));
    text
}

/// The line.
#[derive(Serialize)]
struct Line {
    time: String,
    plugin: String,
    verb: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ifname: Option<String>,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    msg: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<String>,
    ms: f64,
    steps: Steps,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
}

impl Serialize for Steps {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut object = to.serialize_map(Some(self.taken.len()))?;
        for (name, time) in &self.taken {
            object.serialize_entry(name, &milliseconds(*time))?;
        }
        object.end()
    }
}

impl Line {
    /// One write, so that lines of many calls do not mix. A link that somebody has put there is not followed, and a pipe that
    /// nobody reads is not waited for.
    fn append(&self, path: PathBuf) -> std::io::Result<()> {
        let text = plain_lines(&serde_json::to_string(self)?) + "\n";
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let mut options = File::options();
        options.append(true).create(true).mode(0o600).custom_flags(flags.bits());
        options.open(path)?.write_all(text.as_bytes())
    }

    /// One datagram of `KEY=value` lines. No value has a line end: JSON escapes it, and no name may have one.
    fn send(&self) -> std::io::Result<()> {
        let priority = if self.code.is_none() { "6" } else { "3" };
        let fields = [
            ("MESSAGE", Some(serde_json::to_string(self)?)),
            ("PRIORITY", Some(priority.into())),
            ("SYSLOG_IDENTIFIER", Some(self.plugin.clone())),
            ("CNI_COMMAND", Some(self.verb.into())),
            ("CNI_NETWORK", self.network.clone()),
            ("CNI_CONTAINERID", self.container.clone()),
            ("CNI_IFNAME", self.ifname.clone()),
        ];
        let line = |(key, value): (&str, Option<String>)| {
            value.filter(|value| !value.contains('\n')).map(|value| format!("{key}={value}\n"))
        };
        let datagram: String = fields.into_iter().filter_map(line).collect();
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.send_to(datagram.as_bytes(), JOURNAL).map(drop)
    }
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// RFC 3339, in UTC and to the microsecond.
fn utc(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86400, since.as_secs() % 86400);
    let [hour, minute, second] = [second / 3600, second / 60 % 60, second % 60];
    // Years that begin in March, so that the odd day is the last; 400 of them have 146097 days.
    let (era, day) = ((days + 719_468) / 146_097, (days + 719_468) % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let (year, micros) = (era * 400 + year + next, since.subsec_micros());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

/// `version-trace-parent-flags` of W3C Trace Context, section 3.2: of version 00 nothing else; of later ones there may be more
/// behind a dash.
fn is_traceparent(text: &str) -> bool {
    let is_hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_number = |part: &str, length| is_hex(part, length) && part.bytes().any(|digit| digit != b'0');
    let mut parts = text.splitn(5, '-');
    let [version, trace, parent, flags] = [(); 4].map(|()| parts.next().unwrap_or_default());
    let is_whole = is_hex(version, 2) && is_number(trace, 32) && is_number(parent, 16) && is_hex(flags, 2);
    is_whole && version != "ff" && (version != "00" || parts.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_date_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (951_868_799, "2000-02-29T23:59:59"),
            (951_868_800, "2000-03-01T00:00:00"),
            (1_709_164_800, "2024-02-29T00:00:00"),
            (1_735_689_599, "2024-12-31T23:59:59"),
            (4_107_542_400, "2100-03-01T00:00:00"),
        ] {
            assert_eq!(utc(UNIX_EPOCH + Duration::from_secs(seconds)), format!("{text}.000000Z"));
        }
    }

    #[test]
    fn a_traceparent_is_one_or_is_left_out() {
        let (trace, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        for good in [format!("00-{trace}-{parent}-01"), format!("01-{trace}-{parent}-00-more-and-more")] {
            assert!(is_traceparent(&good), "{good}");
        }
        for bad in [
            String::new(),
            format!("00-{trace}-{parent}"),
            format!("00-{trace}-{parent}-01-more"),
            format!("ff-{trace}-{parent}-01"),
            format!("00-{}-{parent}-01", "0".repeat(32)),
            format!("00-{trace}-{}-01", "0".repeat(16)),
            format!("00-{}-{parent}-01", trace.to_uppercase()),
            format!("00-{trace}-{parent}-1"),
            format!("00-{trace}-{parent}-01\n"),
        ] {
            assert!(!is_traceparent(&bad), "{bad:?}");
        }
    }

    #[test]
    fn steps_add_up_and_cost_nothing_where_nobody_asks() {
        drop(step("rules"));
        assert!(STEPS.with_borrow(Option::is_none));
        STEPS.set(Some(Steps::default()));
        {
            let _rules = step("rules");
            drop(step("within"));
        }
        took("links", Duration::from_micros(1500));
        took("links", Duration::from_micros(1));
        let steps = STEPS.take().unwrap();
        assert_eq!(steps.taken.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["rules", "links"]);
        assert!(serde_json::to_string(&steps).unwrap().ends_with(r#""links":1.501}"#));
    }

    #[test]
    fn the_key_is_an_absolute_path_or_the_journal() {
        let env = Env::of([(VARIABLE, "/var/log/cni")]);
        let mut log = Log::begin(&env);
        log.hear(Verb::Add, br#"{"jackfieldLog":"journald"}"#).unwrap();
        assert_eq!(log.to, Some(To::Journal));
        for other in
            ["{}", r#"{"jackfieldLog":""}"#, r#"{"jackfieldLog":null}"#, r#"{"x":{"jackfieldLog":"y"}}"#]
        {
            let mut log = Log::begin(&env);
            log.hear(Verb::Add, other.as_bytes()).unwrap();
            assert_eq!(log.to, Some(To::File("/var/log/cni".into())), "{other}");
        }
        for bad in [r#"{"jackfieldLog":"cni.log"}"#, r#"{"jackfieldLog":true}"#] {
            let error = Log::begin(&env).hear(Verb::Add, bad.as_bytes()).unwrap_err();
            assert!(error.msg().starts_with("invalid jackfieldLog "), "{}", error.msg());
            Log::begin(&env).hear(Verb::Del, bad.as_bytes()).unwrap();
        }
        assert_eq!(Log::begin(&Env::of([(VARIABLE, "cni.log")])).to, None);
        STEPS.take();
    }
}

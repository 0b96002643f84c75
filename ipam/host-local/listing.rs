//! The leases of a folder as text and as JSON. Pure.

use std::time::{Duration, SystemTime};

use cni::plain::{plain, table};
use serde_json::{Value, json};

use crate::boot::Age;
use crate::lease::Says;
use crate::store::look::{Look, Seen};

/// A line for each lease under a heading.
pub(super) fn text(look: &Look, now: SystemTime) -> String {
    let head = ["ADDRESS", "CONTAINER", "INTERFACE", "AGE", "BOOT"];
    table(head, look.leases.iter().map(|seen| row(seen, now)))
}

fn row(seen: &Seen, now: SystemTime) -> [String; 5] {
    let age = span(since(seen, now));
    let dash = || "-".to_string();
    let (container, ifname) = match &seen.lease.says {
        Says::Held(holder) => (plain(&holder.container), holder.ifname.as_deref().map_or_else(dash, plain)),
        Says::Foreign => ("(no lease)".into(), dash()),
        Says::Torn => ("(rubbish)".into(), dash()),
    };
    [seen.ip.to_string(), container, ifname, age, boot(seen.lease.age).into()]
}

/// One object for each lease.
pub(super) fn objects(folder: &str, look: &Look, now: SystemTime) -> Vec<Value> {
    let object = |seen: &Seen| {
        let (kind, container, ifname) = match &seen.lease.says {
            Says::Held(holder) => ("lease", Some(&holder.container), holder.ifname.as_ref()),
            Says::Foreign => ("foreign", None, None),
            Says::Torn => ("rubbish", None, None),
        };
        json!({
            "folder": folder,
            "address": seen.ip.to_string(),
            "kind": kind,
            "containerID": container,
            "ifname": ifname,
            "ageSeconds": since(seen, now).as_secs(),
            "boot": boot(seen.lease.age),
            "taken": seen.lease.holds(),
        })
    };
    look.leases.iter().map(object).collect()
}

/// A clock that was set back makes nothing younger than new.
fn since(seen: &Seen, now: SystemTime) -> Duration {
    now.duration_since(seen.written).unwrap_or_default()
}

/// In one word, as it stands in both forms.
pub(super) fn boot(age: Age) -> &'static str {
    match age {
        Age::Present => "this",
        Age::Earlier => "earlier",
        Age::Elsewhere => "other-machine",
        Age::Unknown => "unknown",
    }
}

/// `42s`, `7m`, `3h07m`, `12d03h`.
fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m"),
        3600..86_400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::lease::Lease;

    #[test]
    fn a_listing_has_a_row_for_each_file_and_a_value_for_each_question() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let seen = |ip: &str, text: &[u8], age, ago| Seen {
            ip: ip.parse::<IpAddr>().unwrap(),
            lease: Lease { says: Says::read(text), age },
            written: now - Duration::from_secs(ago),
        };
        let leases = vec![
            seen("10.1.1.2", b"web\r\neth0", Age::Present, 42),
            seen("10.1.1.3", "\u{1b}[2J\r\né".as_bytes(), Age::Earlier, 3600 * 27),
            seen("10.1.1.4", b"", Age::Unknown, 60 * 67),
            seen("fd00::2", b"the printer", Age::Unknown, 61),
        ];
        let look = Look { leases, ..Look::default() };
        let expected = "ADDRESS   CONTAINER   INTERFACE  AGE    BOOT\n\
                        10.1.1.2  web         eth0       42s    this\n\
                        10.1.1.3  \\u{1b}[2J   é          1d03h  earlier\n\
                        10.1.1.4  (rubbish)   -          1h07m  unknown\n\
                        fd00::2   (no lease)  -          1m     unknown\n";
        assert_eq!(text(&look, now), expected);
        let objects = objects("/x", &look, now);
        assert_eq!(
            objects[0],
            json!({"folder": "/x", "address": "10.1.1.2", "kind": "lease", "containerID": "web", "ifname": "eth0",
                "ageSeconds": 42, "boot": "this", "taken": true})
        );
        let taken: Vec<_> = objects.iter().map(|object| object["taken"].as_bool().unwrap()).collect();
        assert_eq!(taken, [true, false, false, true]);
    }
}

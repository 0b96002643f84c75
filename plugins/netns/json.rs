//! JSON in iproute2's layout, to the byte (`lib/json_writer.c`). The bytes of a name go out as they are, UTF-8 or not, so
//! that the name can be used; hence no JSON library.

use crate::text::told_json;
use crate::words::Format;

/// A member of an object.
pub(crate) type Member<'a> = (&'static str, Value<'a>);

/// A value.
pub(crate) enum Value<'a> {
    Number(u32),
    Bytes(&'a [u8]),
}

struct Layout {
    open: &'static str,
    close: &'static str,
    member: &'static str,
    colon: &'static str,
    end: &'static str,
}

const COMPACT: Layout = Layout { open: "[", close: "]\n", member: "", colon: ":", end: "" };
const PRETTY: Layout = Layout { open: "[ ", close: "]\n", member: "\n        ", colon: ": ", end: "\n    " };

/// An array of objects, and the end of the line.
pub(crate) fn array(objects: &[Vec<Member<'_>>], format: Format) -> Vec<u8> {
    let layout = if format == Format::PrettyJson { &PRETTY } else { &COMPACT };
    let Layout { open, close, member, colon, end } = layout;
    let written = |(key, value): &Member<'_>| {
        let value = match value {
            Value::Number(number) => number.to_string().into_bytes(),
            Value::Bytes(bytes) => quoted(bytes),
        };
        [format!("{member}\"{key}\"{colon}").as_bytes(), &value].concat()
    };
    let object = |members: &Vec<Member<'_>>| {
        let members: Vec<_> = members.iter().map(written).collect();
        [b"{", members.join(&b',').as_slice(), end.as_bytes(), b"}"].concat()
    };
    let whole: Vec<_> = objects.iter().map(object).collect();
    let space = if whole.is_empty() || open.len() == 1 { "" } else { " " };
    told_json([open.as_bytes(), &whole.join(&b','), space.as_bytes(), close.as_bytes()].concat())
}

/// A JSON string (RFC 8259, section 7).
fn quoted(bytes: &[u8]) -> Vec<u8> {
    let mut text = vec![b'"'];
    for byte in bytes {
        match byte {
            b'"' | b'\\' => text.extend([b'\\', *byte]),
            b'\n' => text.extend(b"\\n"),
            b'\t' => text.extend(b"\\t"),
            b'\r' => text.extend(b"\\r"),
            0x08 => text.extend(b"\\b"),
            0x0c => text.extend(b"\\f"),
            0..0x20 | 0x7f => text.extend(format!("\\u{byte:04x}").bytes()),
            _ => text.push(*byte),
        }
    }
    text.push(b'"');
    text
}

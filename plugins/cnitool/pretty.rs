//! JSON for people: the plugin's own text, to the digit, with the white space changed.

/// Nobody reads more than that in lines, in bytes, nor what is nested more deeply; and its white space alone would fill memories.
const LONGEST: usize = 256 << 10;
const DEEPEST: usize = 24;

/// Indents by four, as the original does. What is too long or too deep for lines stays as it is.
pub(super) fn pretty(json: &str) -> String {
    if json.len() <= LONGEST { lines(json).unwrap_or_else(|| json.to_owned()) } else { json.to_owned() }
}

fn lines(json: &str) -> Option<String> {
    let mut text = String::with_capacity(json.len() * 2);
    let mut depth = 0;
    let mut chars = json.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                text.push(c);
                while let Some(c) = chars.next() {
                    text.push(c);
                    match c {
                        '\\' => text.extend(chars.next()),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            '{' | '[' => {
                text.push(c);
                while chars.next_if(|c| c.is_ascii_whitespace()).is_some() {}
                match chars.next_if(|c| matches!(c, '}' | ']')) {
                    Some(end) => text.push(end),
                    None => {
                        depth += 1;
                        (depth <= DEEPEST).then_some(())?;
                        break_line(&mut text, depth);
                    }
                }
            }
            '}' | ']' => {
                depth = depth.checked_sub(1)?;
                break_line(&mut text, depth);
                text.push(c);
            }
            ',' => {
                text.push(c);
                break_line(&mut text, depth);
            }
            ':' => text.push_str(": "),
            c if c.is_ascii_whitespace() => {}
            c => text.push(c),
        }
    }
    Some(text)
}

fn break_line(text: &mut String, depth: usize) {
    text.push('\n');
    text.extend(std::iter::repeat_n("    ", depth));
}

#[cfg(test)]
mod tests {
    use super::pretty;

    #[test]
    fn only_the_white_space_changes() {
        let written = r#"{ "a":[1,{ }, [ ]] ,"b":"x, {y}: \"z\\" , "c":{"d":1.50e+2,"e":null}}"#;
        let lines = [
            "{",
            "    \"a\": [",
            "        1,",
            "        {},",
            "        []",
            "    ],",
            "    \"b\": \"x, {y}: \\\"z\\\\\",",
            "    \"c\": {",
            "        \"d\": 1.50e+2,",
            "        \"e\": null",
            "    }",
            "}",
        ];
        assert_eq!(pretty(written), lines.join("\n"));
    }

    #[test]
    fn what_nobody_would_read_in_lines_stays_as_it_is() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert!(pretty(&nested(super::DEEPEST)).contains("\n"));
        let long = format!("[{}1]", "1,".repeat(super::LONGEST));
        for text in [nested(super::DEEPEST + 1), nested(100_000), long, "]".into(), "[}]}".into()] {
            assert_eq!(pretty(&text), text);
        }
    }
}

//! JSON for people: the plugin's own text, to the digit, with the white space changed.

/// Indents by four, as the original does.
pub(super) fn pretty(json: &str) -> String {
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
                        break_line(&mut text, depth);
                    }
                }
            }
            '}' | ']' => {
                depth -= 1;
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
    text
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
}

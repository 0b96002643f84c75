//! What completes command lines, and manual pages: both come from what the programs tell of themselves.

use std::path::{Path, PathBuf};

use crate::lab::host::Host;
use crate::lab::lab_with;
use crate::lab::world::Need;

/// A shell, and what makes it tell the candidates for a line: a word of the line to each argument, the last one is under the
/// cursor.
const SHELLS: [(&str, &str); 3] = [
    (
        "bash",
        r#". "$CONF/$1.bash"; compopt() { :; }
           COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); "_$1"; printf '%s\n' "${COMPREPLY[@]}""#,
    ),
    (
        "zsh",
        r#"_describe() { print -rl -- ${${(P)2}%%:*} }
           compadd() { print -rl -- ${(P)2} }
           _files() { : }; _pids() { : }; _command_names() { : }
           fpath=($CONF $fpath); autoload -Uz _$1
           words=("$@") CURRENT=$#; _$1"#,
    ),
    (
        "fish",
        r#"source $CONF/$argv[1].fish; complete -C (string join ' ' -- $argv) | string replace -r '\t.*' ''"#,
    ),
];

/// What a shell offers for this line.
fn offers(host: &Host, (shell, script): (&str, &str), line: &[&str]) -> Vec<String> {
    let mut command = host.command(shell);
    match shell {
        "bash" => command.args(["--norc", "-c", script, "bash"]),
        "zsh" => command.args(["-f", "-c", script, "zsh"]),
        _ => command.args(["--no-config", "-c", script]),
    };
    let conf = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/completions");
    let programs = host.program("netns").parent().unwrap().display().to_string();
    command.args(line).env("CONF", conf).env("NETCONFPATH", "/run/lab/net.d").env("HOME", "/run/lab");
    command.env("PATH", format!("{programs}:{}", crate::lab::call::PATH));
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.stderr.is_empty(), "{shell} {line:?}: {}", String::from_utf8_lossy(&output.stderr));
    let mut offered: Vec<String> = said.split_whitespace().map(str::to_owned).collect();
    offered.sort();
    offered
}

/// The words in the first column of a part of a page, such as its commands.
fn first_words(page: &str, part: &str) -> Vec<String> {
    let rows = page.lines().skip_while(|line| *line != part).skip(1).take_while(|line| !line.is_empty());
    let rows = rows.filter(|row| row.starts_with("  ") && !row.starts_with("        "));
    let words = rows.filter_map(|row| match part {
        "Options:" => {
            row.split_whitespace().map(|word| word.trim_end_matches(',')).find(|it| it.starts_with("--"))
        }
        _ => row.split_whitespace().next(),
    });
    let mut words: Vec<String> = words.map(str::to_owned).collect();
    words.sort();
    words
}

/// What a program says of itself, or of one of its commands. `-h` is a name where `ip netns` takes one.
fn page(host: &Host, program: &str, command: &[&str]) -> String {
    let output = host
        .command(&host.program(program).display().to_string())
        .args(command)
        .arg(if program == "netns" { "--help" } else { "-h" })
        .output()
        .unwrap();
    assert!(output.status.success(), "{program} {command:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_shell_offers_what_the_programs_tell_of_themselves() {
    lab_with(&[Need::Program("fish"), Need::Program("zsh"), Need::Ours("tools")], |host| {
        for shell in SHELLS {
            for program in ["netns", "cnitool"] {
                let first = page(host, program, &[]);
                let commands = first_words(&first, "Commands:");
                assert!(commands.len() > 8, "{first}");
                assert_eq!(offers(host, shell, &[program, ""]), commands, "{shell:?}");
                assert_eq!(
                    offers(host, shell, &[program, "--"]),
                    first_words(&first, "Options:"),
                    "{shell:?}"
                );
                let beginning = if program == "netns" { "li" } else { "re" };
                let fits: Vec<String> = offers(host, shell, &[program, beginning]);
                let all = commands.iter().filter(|it| it.starts_with(beginning)).cloned().collect::<Vec<_>>();
                // zsh and its own completion system sort out what does not fit.
                assert!(fits == all || shell.0 == "zsh", "{shell:?}: {fits:?}");
                for command in commands.iter().filter(|it| *it != "help") {
                    let options = first_words(&page(host, program, &[command]), "Options:");
                    assert_eq!(
                        offers(host, shell, &[program, command, "--"]),
                        options,
                        "{shell:?} {command}"
                    );
                }
            }
        }
    });
}

#[test]
fn every_shell_offers_the_namespaces_and_networks_that_are_there() {
    lab_with(&[Need::Program("fish"), Need::Program("zsh"), Need::Ours("tools")], |host| {
        host.sh("for name in black blue red; do ip netns add $name; done; ip netns set blue 4; mkdir /run/lab/net.d");
        for name in ["alpha", "beta"] {
            let list = format!(
                r#"{{"cniVersion": "1.0.0", "name": "{name}", "plugins": [{{"type": "loopback"}}]}}"#
            );
            std::fs::write(format!("/run/lab/net.d/{name}.conflist"), list).unwrap();
        }
        let (namespaces, networks) = (["black", "blue", "red"], ["alpha", "beta"]);
        for shell in SHELLS {
            let offers = |line: &[&str]| offers(host, shell, line);
            for before in [
                &["netns", "delete"][..],
                &["netns", "del"],
                &["netns", "exec"],
                &["netns", "-n"],
                &["netns", "-n", "red", "pids"],
                &["netns", "graph"],
                &["netns", "-j", "graph", "--routes", "red"],
            ] {
                assert_eq!(offers(&[before, &[""]].concat()), namespaces, "{shell:?} {before:?}");
            }
            assert_eq!(offers(&["netns", "set", "red", ""]), ["auto"]);
            assert_eq!(offers(&["netns", "list-id", ""]), ["nsid", "target-nsid"]);
            assert!(offers(&["netns", "graph", "--format", ""]).contains(&"svg".to_owned()));
            assert!(
                offers(&["netns", "add", ""]).is_empty() && offers(&["netns", "no-command", ""]).is_empty()
            );
            for before in [
                &["cnitool", "add"][..],
                &["cnitool", "trace", "add"],
                &["cnitool", "--conf", "x", "del"],
                &["cnitool", "-i", "eth1", "check"],
            ] {
                assert_eq!(offers(&[before, &[""]].concat()), networks, "{shell:?} {before:?}");
            }
            let verbs = ["add", "check", "del", "gc", "status"];
            assert_eq!(offers(&["cnitool", "trace", ""]), verbs);
            assert_eq!(offers(&["cnitool", "explain", "--verb", ""]), verbs);
            let paths = offers(&["cnitool", "add", "alpha", "/run/netns/"]);
            assert!(
                namespaces.iter().all(|name| paths.contains(&format!("/run/netns/{name}"))),
                "{shell:?} {paths:?}"
            );
            assert!(offers(&["cnitool", "purge", ""]).is_empty());
        }
    });
}

#[test]
fn the_manual_pages_are_well_formed_and_have_every_command_and_option() {
    lab_with(&[Need::Program("mandoc"), Need::Ours("tools")], |host| {
        let script: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/man/page");
        for program in ["netns", "cnitool"] {
            let mut writer = host.command(&script.display().to_string());
            let output = writer
                .arg(host.program(program))
                .args(["1.2.3", "2026-01-02", "ip-netns(8)"])
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let file = format!("/run/lab/{program}.8");
            std::fs::write(&file, &output.stdout).unwrap();
            assert_eq!(host.sh(&format!("mandoc -T lint -W warning {file}")), "");
            let text = host.sh(&format!("mandoc -T ascii {file} | sed 's/.\x08//g'"));
            for part in
                ["NAME", "SYNOPSIS", "OPTIONS", "COMMANDS", "EXAMPLES", "SEE ALSO", "1.2.3", "2026-01-02"]
            {
                assert!(text.contains(part), "{part}");
            }
            let first = page(host, program, &[]);
            for command in first_words(&first, "Commands:").iter().filter(|it| *it != "help") {
                assert!(text.contains(&format!("   {program} {command}\n")), "{command}: {text}");
                let options = first_words(&page(host, program, &[command]), "Options:");
                let part = text.split(&format!("   {program} {command}\n")).nth(1).unwrap();
                for option in options.iter().filter(|it| *it != "--help") {
                    assert!(part.contains(option.as_str()), "{command} {option}");
                }
            }
        }
    });
}

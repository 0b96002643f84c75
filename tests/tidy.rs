//! The house rules that no compiler holds: who may import whom, which files may do what, how large a program may be.
//!
//! A rule is a function from a file to its faults, so that one test can show each of them something it must refuse.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::lab::world;

/// A source file of the repository: its path from the top, and its text.
struct File {
    path: String,
    text: String,
}

/// A rule looks at one file and names what is wrong with it.
type Rule = fn(&File) -> Vec<String>;

const RULES: &[(&str, Rule)] = &[
    ("a plugin never imports another plugin", imports_no_other_plugin),
    ("only the listed files may do the listed things", does_only_what_it_may),
    ("tests use the programs, never our libraries of deeds", tests_have_a_second_witness),
    ("a file is read in a sitting", is_short),
    ("an exception to a lint says why", exceptions_have_reasons),
    ("the repository speaks of the project alone", names_no_foreign_place),
    ("a plugin reads its configuration into types", reads_no_key_by_hand),
];

/// What only some files may do: the words that show it, who may, and why nobody else. A name that ends in `/` is a folder.
struct Privilege {
    words: &'static [&'static str],
    files: &'static [&'static str],
    why: &'static str,
}

const PRIVILEGES: &[Privilege] = &[
    Privilege {
        words: &["unsafe"],
        files: &[
            "plugins/common/linux/errand/child.rs", // fork, and a child that makes plain system calls alone
            "plugins/netns/sigpipe.rs", // SIGPIPE as it was before Rust's runtime, for the program that exec runs
        ],
        why: "an exception is one small file with its argument",
    },
    Privilege {
        words: &["setns(", "unshare(", "mount("],
        files: &[
            "plugins/common/linux/netns.rs",
            "plugins/common/linux/named.rs",
            "plugins/common/linux/named/",
            "examples/toy_container.rs", // a container is what enters its namespaces for good
        ],
        why: "a namespace is visited, never entered: linux::netns does it in one place",
    },
    Privilege {
        words: &["fsmount("],
        files: &["plugins/common/linux/sysctl.rs"],
        why: "what is mounted in no place is the one proc that is quick to search",
    },
    Privilege {
        words: &["tokio::"],
        files: &["plugins/common/linux/rtnl/"],
        why: "async ends in linux::rtnl; everything else is straight-line code",
    },
    Privilege {
        words: &["clap::"],
        files: &["plugins/netns/", "plugins/cnitool/"],
        why: "a plugin takes no arguments",
    },
    Privilege {
        words: &["println!", "print!", "eprintln!", "eprint!", "io::stdout", "io::stderr"],
        files: &[
            "plugins/common/cni/serve.rs",
            "plugins/common/cni/delegate.rs", // passes on what the delegate wrote there
            "ipam/host-local/by_hand.rs",     // somebody who looks at leases without a runtime
            "plugins/netns/",
            "plugins/cnitool/",
            "examples/",
            "benches/",
        ],
        why: "stdout is a wire; only serve and the two tools speak",
    },
];

fn imports_no_other_plugin(file: &File) -> Vec<String> {
    let Some(own) =
        file.path.strip_prefix("plugins/").and_then(|rest| rest.split_once('/')).map(|(own, _)| own)
    else {
        return Vec::new();
    };
    let others = plugins().into_iter().filter(|other| !["common", "cnitool"].contains(&own) && other != own);
    let mentions = |other: &String| {
        code(&file.text).any(|line| {
            [format!("crate::{other}::"), format!("plugins::{other}::")].iter().any(|m| line.contains(m))
        })
    };
    others.filter(mentions).map(|other| format!("imports the plugin {other}")).collect()
}

fn does_only_what_it_may(file: &File) -> Vec<String> {
    if !file.path.ends_with(".rs") || file.path.starts_with("tests/") {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for privilege in PRIVILEGES {
        let allowed =
            privilege.files.iter().any(|f| file.path == *f || (f.ends_with('/') && file.path.starts_with(f)));
        let used = privilege.words.iter().find(|word| code(&file.text).any(|line| has_word(line, word)));
        if let (false, Some(word)) = (allowed, used) {
            faults.push(format!("uses `{word}`: {}", privilege.why));
        }
    }
    faults
}

fn tests_have_a_second_witness(file: &File) -> Vec<String> {
    let ours = ["linux::", "rtnetlink::", "netlink_packet_route::", "ipam::"];
    let used =
        |name: &&&str| code(&file.text).any(|line| line.trim_start().starts_with(&format!("use {name}")));
    if !file.path.starts_with("tests/") {
        return Vec::new();
    }
    ours.iter().filter(used).map(|name| format!("uses {name}: one bug would hide in both")).collect()
}

/// Unit tests at the end of a file are not counted: who reads the file stops before them.
fn is_short(file: &File) -> Vec<String> {
    let lines = file.text.lines().take_while(|line| *line != "#[cfg(test)]").count();
    let long = file.path.ends_with(".rs") && lines > 450;
    if long { vec![format!("has {lines} lines, more than 450")] } else { Vec::new() }
}

/// A reason is an attribute's `reason = "..."`, or the comment right above it.
fn exceptions_have_reasons(file: &File) -> Vec<String> {
    if !file.path.ends_with(".rs") {
        return Vec::new();
    }
    let mut before = "";
    let mut faults = Vec::new();
    for line in file.text.lines().map(str::trim) {
        let opens =
            ["#[allow(", "#![allow(", "#[expect(", "#![expect("].iter().any(|start| line.starts_with(start));
        let whole = line.ends_with(")]") && !line.contains("reason = ");
        if opens && whole && !before.starts_with("//") {
            faults.push(format!("`{line}` gives no reason"));
        }
        before = line;
    }
    faults
}

/// `cnitool validate` asks the types which keys there are: of one that is read beside them it would not know.
fn reads_no_key_by_hand(file: &File) -> Vec<String> {
    let is_a_plugins = file.path.starts_with("plugins/") && !file.path.starts_with("plugins/common/");
    if !(is_a_plugins || file.path.starts_with("ipam/")) {
        return Vec::new();
    }
    let words = ["config.get(", "config.members_except("];
    let used = words.iter().filter(|word| code(&file.text).any(|line| line.contains(*word)));
    used.map(|word| format!("uses `{word}`, so that nobody knows of the key")).collect()
}

/// The folders that one machine has and the next one lacks.
fn names_no_foreign_place(file: &File) -> Vec<String> {
    const SOMEBODYS: &[&str] = &["home", "work", "farm", "mnt", "srv", "Users"];
    let names = |line: &&str| {
        line.match_indices('/').any(|(at, _)| {
            let before = line.get(..at).and_then(|l| l.chars().last());
            let after = line.get(at + 1..).and_then(|rest| rest.split_once('/')).map(|(top, _)| top);
            before.is_none_or(|c| !c.is_alphanumeric() && !"/>}".contains(c))
                && after.is_some_and(|top| SOMEBODYS.contains(&top))
        })
    };
    file.text.lines().filter(names).map(|line| format!("names somebody's folder: {}", line.trim())).collect()
}

/// The lines of a text without their comments.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(|line| line.split_once("//").map_or(line, |(code, _)| code))
}

/// Whether `word` stands in `line` as a word of its own, not as the end of a longer one (`umount(` is not `mount(`).
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).and_then(|l| l.chars().last());
        let after = line.get(at + word.len()..).and_then(|l| l.chars().next());
        let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        let open_end = word.ends_with(char::is_alphanumeric);
        let longer = part(before) || (open_end && part(after));
        !longer
    })
}

/// The programs, and how many bytes each may have as it is shipped.
const PROGRAMS: &[(&str, &str, u64)] = &[
    ("bridge", env!("CARGO_BIN_EXE_bridge"), 2_000_000), // it speaks nf_tables, and iptables to take down the Go plugins' rules
    ("veth", env!("CARGO_BIN_EXE_veth"), 1_800_000),     // so does it
    ("ptp", env!("CARGO_BIN_EXE_ptp"), 1_800_000),
    ("loopback", env!("CARGO_BIN_EXE_loopback"), 1_500_000),
    ("portmap", env!("CARGO_BIN_EXE_portmap"), 2_050_000), // and this; and iptables to write them
    ("firewall", env!("CARGO_BIN_EXE_firewall"), 1_750_000), // and this
    ("bandwidth", env!("CARGO_BIN_EXE_bandwidth"), 1_500_000),
    ("tuning", env!("CARGO_BIN_EXE_tuning"), 1_500_000),
    ("host-local", env!("CARGO_BIN_EXE_host-local"), 1_050_000), // no netlink in it, but it looks at leases by hand, too
    ("static", env!("CARGO_BIN_EXE_static"), 750_000),           // no files either
    ("netns", env!("CARGO_BIN_EXE_netns"), 2_100_000), // it draws the whole machine, and `run` is a runtime
    ("cnitool", env!("CARGO_BIN_EXE_cnitool"), 2_700_000), // it knows the plugins' rules, their configurations and their leases
];

/// The top of the repository.
fn top() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The plugins and tools: the folders of `plugins/` with a main.rs.
fn plugins() -> Vec<String> {
    let folders = std::fs::read_dir(top().join("plugins")).unwrap().map(Result::unwrap);
    let programs = folders.filter(|folder| folder.path().join("main.rs").exists());
    programs.map(|folder| folder.file_name().into_string().unwrap()).collect()
}

/// Every text file of the repository, what is built and what git keeps for itself left out.
fn files() -> Vec<File> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let built =
                folder == top() && ["target", "dist", ".git"].iter().any(|name| entry.file_name() == *name);
            match entry.file_type().unwrap().is_dir() {
                _ if built => {} // `.git` is a file in a worktree
                true => walk(&entry.path(), found),
                false => found.push(entry.path()),
            }
        }
    }
    let mut paths = Vec::new();
    walk(&top(), &mut paths);
    let ours = |path: &PathBuf| !["LICENSE", "Cargo.lock"].iter().any(|name| path.ends_with(name));
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).ok()?;
        Some(File { path: path.strip_prefix(top()).unwrap().to_str().unwrap().to_owned(), text })
    };
    paths.into_iter().filter(ours).filter_map(read).collect()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(top().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

#[test]
fn every_file_keeps_the_rules() {
    let mut faults = String::new();
    for file in files() {
        for (rule, check) in RULES {
            for fault in check(&file) {
                writeln!(faults, "{}: {fault}  [{rule}]", file.path).unwrap();
            }
        }
    }
    assert!(faults.is_empty(), "\n{faults}");
}

#[test]
fn every_rule_refuses_what_it_is_made_for() {
    let bad = [
        ("plugins/bridge/add.rs", "use crate::veth::plan;".to_owned()),
        ("plugins/bridge/add.rs", "    nix::sched::setns(fd, flags)?;".to_owned()),
        ("tests/bridge.rs", "use linux::netns::NetNs;".to_owned()),
        ("ipam/choose.rs", "//\n".repeat(451)),
        ("ipam/range.rs", "#[allow(clippy::unwrap_used)]".to_owned()),
        ("docs/bridge.md", ["see `/", "home", "/me/notes`"].concat()),
        ("plugins/veth/add.rs", "let mtu = call.config.get(\"mtu\");".to_owned()),
    ];
    for ((path, text), (rule, check)) in bad.into_iter().zip(RULES) {
        let faults = check(&File { path: path.into(), text });
        assert_eq!(faults.len(), 1, "{rule}: {faults:?}");
    }
    let harmless =
        File { path: "ipam/store.rs".into(), text: "let umount = (); // unsafe setns( in words".into() };
    assert!(does_only_what_it_may(&harmless).is_empty());
}

/// A privilege that nobody uses any more would let the next one in unseen.
#[test]
fn every_privilege_is_used() {
    for privilege in PRIVILEGES {
        for listed in privilege.files.iter().filter(|f| !["examples/", "benches/"].contains(f)) {
            let mut users = files().into_iter().filter(|file| file.path.starts_with(listed));
            let uses = |file: File| {
                code(&file.text).any(|line| privilege.words.iter().any(|word| has_word(line, word)))
            };
            assert!(users.any(uses), "{listed} no longer uses any of {:?}", privilege.words);
        }
    }
}

#[test]
fn the_libraries_know_only_whom_they_may() {
    let forbidden = [
        ("plugins/common/cni/Cargo.toml", ["linux", "ipam", "clap", "tokio", "rtnetlink"].as_slice()),
        ("plugins/common/linux/Cargo.toml", &["cni", "ipam", "clap", "serde", "serde_json"]),
        ("ipam/Cargo.toml", &["linux", "clap", "tokio", "rtnetlink"]),
    ];
    for (manifest, names) in forbidden {
        let text = read(manifest);
        let depends = |name: &str| text.lines().any(|line| line.split([' ', '.', '=']).next() == Some(name));
        assert!(depends("ipnetwork"), "{manifest} is not read as it should be");
        assert_eq!(names.iter().find(|name| depends(name)), None, "{manifest}");
    }
}

#[test]
fn rustfmt_has_nothing_to_say() {
    if world::variable("JACKFIELD_GUEST").is_some() {
        return world::skip("rustfmt_has_nothing_to_say", "the second kernel has no Rust");
    }
    let fmt =
        Command::new(env!("CARGO")).args(["fmt", "--all", "--check"]).current_dir(top()).output().unwrap();
    assert!(
        fmt.status.success(),
        "{}{}",
        String::from_utf8_lossy(&fmt.stdout),
        String::from_utf8_lossy(&fmt.stderr)
    );
}

#[test]
fn readme_and_makefile_name_the_same_targets() {
    let (readme, makefile) = (read("README.md"), read("Makefile"));
    let targets: Vec<&str> = makefile
        .lines()
        .filter_map(|line| line.trim().strip_prefix("@echo 'make ")?.split([' ', '\'']).next())
        .collect();
    assert!(targets.contains(&"demo") && targets.contains(&"test"), "{targets:?}");
    for target in &targets {
        assert!(
            makefile.contains(&format!("\n{target}:")),
            "`make help` offers {target}, which is not there"
        );
        assert!(
            readme.contains(&format!("make {target}")) || *target == "clean",
            "README does not name make {target}"
        );
    }
    for target in readme.split("`make ").skip(1).filter_map(|rest| rest.split(['`', ' ']).next()) {
        assert!(targets.contains(&target), "README names make {target}, which `make help` does not");
    }
}

#[test]
fn the_documentation_leads_somewhere() {
    // Also for whoever has nothing but what is handed out.
    let makefile = std::fs::read_to_string(top().join("Makefile")).unwrap();
    let copied = makefile.lines().filter(|line| line.contains("cp ") && line.contains(" dist/$(name);"));
    let words = copied.flat_map(str::split_whitespace).map(|word| top().join(word));
    let packed: Vec<PathBuf> = words.filter_map(|path| path.canonicalize().ok()).collect();
    let is_packed = |path: &Path| packed.iter().any(|it| path.canonicalize().unwrap().starts_with(it));
    for page in files().into_iter().filter(|file| file.path.ends_with(".md")) {
        let folder = top().join(Path::new(&page.path).parent().unwrap());
        for target in page.text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            let elsewhere = target.is_empty() || target.starts_with("http");
            assert!(elsewhere || folder.join(target).exists(), "{} links to {target}", page.path);
            let follows = elsewhere || !is_packed(&top().join(&page.path)) || is_packed(&folder.join(target));
            assert!(follows, "{} links to {target}, which `make dist` leaves out", page.path);
        }
    }
    for plugin in plugins() {
        assert!(top().join(format!("docs/{plugin}.md")).exists(), "docs/{plugin}.md is missing");
    }
}

/// A page may show a part of a configuration: then it starts with a key.
#[test]
fn every_configuration_of_the_documentation_can_be_copied() {
    let mut shown = 0;
    for page in files().into_iter().filter(|file| file.path.ends_with(".md")) {
        for block in page.text.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            let whole = if block.starts_with('{') { block.to_owned() } else { format!("{{{block}}}") };
            let parsed = serde_json::from_str::<serde_json::Value>(&whole);
            assert!(parsed.is_ok(), "{}: {parsed:?}\n{block}", page.path);
            shown += 1;
        }
    }
    assert!(shown >= 5, "only {shown} configurations found");
}

#[test]
fn no_program_exceeds_its_budget() {
    let shipped = cfg!(target_env = "musl") && !cfg!(debug_assertions);
    for (name, path, budget) in PROGRAMS {
        let size = std::fs::metadata(path).unwrap().len();
        println!("{name:12} {size:>9} bytes of {budget}");
        assert!(!shipped || size <= *budget, "{name} has {size} bytes, more than {budget}");
    }
    if !shipped {
        println!("not judged: this is not the build that is shipped");
    }
}

/// A static program names no interpreter. `ldd` says the same in more words, where there is an `ldd`.
#[test]
fn every_program_is_static() {
    for (name, path, _) in PROGRAMS {
        assert!(!cfg!(target_env = "musl") || !names_an_interpreter(&std::fs::read(path).unwrap()), "{name}");
    }
    let ours = std::fs::read("/proc/self/exe").unwrap();
    assert_eq!(names_an_interpreter(&ours), cfg!(target_env = "gnu"), "the judge itself");
}

/// Whether a 64-bit ELF file has a program header of the type PT_INTERP; elf(5).
fn names_an_interpreter(elf: &[u8]) -> bool {
    assert_eq!(elf.get(..5), Some(b"\x7fELF\x02".as_slice()), "a 64-bit ELF file");
    let number = |at: usize, bytes: usize| {
        elf.get(at..at + bytes)
            .unwrap()
            .iter()
            .rev()
            .fold(0_usize, |sum, byte| (sum << 8) | usize::from(*byte))
    };
    let (start, each, count) = (number(0x20, 8), number(0x36, 2), number(0x38, 2));
    (0..count).any(|header| number(start + header * each, 4) == 3)
}

#[test]
fn every_program_runs_in_an_empty_chroot() {
    if !cfg!(target_env = "musl") {
        return println!("not judged: this is not the build that is shipped");
    }
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("empty-{}", std::process::id()));
    std::fs::create_dir_all(&root).unwrap();
    for (name, path, _) in PROGRAMS {
        std::fs::copy(path, root.join(name)).unwrap();
        let mut alone = Command::new("unshare");
        alone
            .args(["--user", "--map-root-user", "--root"])
            .arg(&root)
            .arg(format!("/{name}"))
            .env("CNI_COMMAND", "VERSION");
        if ["netns", "cnitool"].contains(name) {
            alone.arg("--help");
        }
        let said = alone.output().unwrap();
        assert!(said.status.success(), "{name}: {}", String::from_utf8_lossy(&said.stderr));
        assert!(!said.stdout.is_empty(), "{name} says nothing");
    }
    std::fs::remove_dir_all(&root).unwrap();
}

//! resolv.conf(5), read into the `dns` of a result.

use cni::result::Dns;

/// Reads what the Go plugin reads: `nameserver` and `domain` have one value, `search` and `options` many; the last
/// `domain` counts, everything else adds up. Comments and other keywords are passed over.
pub fn read(text: &str) -> Dns {
    let mut dns = Dns::default();
    for line in text.lines().filter(|line| !line.trim_start().starts_with(['#', ';'])) {
        let mut words = line.split_whitespace();
        let (keyword, first) = (words.next(), words.next());
        let Some((keyword, first)) = keyword.zip(first) else { continue };
        let all = std::iter::once(first).chain(words).map(String::from);
        match keyword {
            "nameserver" => dns.nameservers.push(first.into()),
            "domain" => dns.domain = Some(first.into()),
            "search" => dns.search.extend(all),
            "options" => dns.options.extend(all),
            _ => {}
        }
    }
    dns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolver_configuration_is_read_as_the_go_plugin_reads_it() {
        let dns = read(
            "# comment\n; another\nnameserver 10.0.0.1 ignored\n  nameserver fd00::1\n\ndomain first\ndomain last x\n\
             search a.b c.d\nsearch e.f\noptions ndots:2 rotate\nsortlist 1.2.3.4\nsearch\n",
        );
        assert_eq!(dns.nameservers, ["10.0.0.1", "fd00::1"]);
        assert_eq!(dns.domain.as_deref(), Some("last"));
        assert_eq!(dns.search, ["a.b", "c.d", "e.f"]);
        assert_eq!(dns.options, ["ndots:2", "rotate"]);
    }
}

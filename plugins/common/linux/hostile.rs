//! What is done with bytes that come over netlink, as functions for tests/fuzz (docs/fuzzing.md): truncated, with lying lengths,
//! of the wrong kind, in answer to somebody else. Each panics where a promise is broken; that it returns at all is the first.

/// A datagram of rtnetlink.
pub fn rtnl(bytes: &[u8]) {
    crate::rtnl::hostile::datagram(bytes);
}

/// What a socket of rtnetlink gives for an answer: datagrams, each behind its length in two bytes.
pub fn rtnl_line(bytes: &[u8]) {
    crate::rtnl::hostile::conversation(bytes);
}

/// The attributes of one message of nf_tables or of connection tracking.
pub fn nft(bytes: &[u8]) {
    crate::nft::hostile::objects(bytes);
    crate::conntrack::hostile(bytes);
}

/// What a socket of nf_tables gives for an answer, in the same way.
pub fn nft_line(bytes: &[u8]) {
    crate::nft::hostile::conversation(bytes);
}

/// Datagrams out of one input; one that is longer than what is left is what is left.
pub(crate) fn datagrams(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let (datagram, rest) = rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()));
        found.push(datagram.to_vec());
        bytes = rest;
    }
    found
}

#[cfg(test)]
mod tests {
    #[test]
    fn whatever_comes_over_a_route_socket_is_read_or_refused() {
        fuzz::attack("rtnl", super::rtnl);
    }

    #[test]
    fn a_conversation_over_a_route_socket_comes_to_an_end() {
        fuzz::attack("rtnl_line", super::rtnl_line);
    }

    #[test]
    fn an_object_of_nf_tables_that_was_read_can_be_written() {
        fuzz::attack("nft", super::nft);
    }

    #[test]
    fn a_conversation_with_nf_tables_comes_to_an_end() {
        fuzz::attack("nft_line", super::nft_line);
    }
}

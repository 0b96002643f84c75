//! nf_tables as somebody might play it ([`crate::hostile`]).

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;

use crate::hostile::datagrams;
use crate::nft::attribute::{Attributes, Read};
use crate::nft::expression::{self, Expression};
use crate::nft::object::{Element, FoundChain, FoundRule, FoundTable, Set};
use crate::nft::wire::{Kernel, Line, Message, Part};

/// Everything that may be read out of attributes is: a rule that could be read is written as one that is read alike.
pub(crate) fn objects(bytes: &[u8]) {
    let what = Read(bytes);
    let told: usize = what.map(|(_, value)| value.len() + 4).sum();
    assert!(told <= bytes.len(), "{told} bytes out of {}", bytes.len());
    let _ = (FoundTable::read(what), FoundChain::read(what), Set::read(what));
    if let Some(FoundRule { rule, .. }) = FoundRule::read(what) {
        let known = |step: &&Expression| !matches!(step, Expression::Other(_));
        let steps: Vec<Expression> = rule.expressions.iter().filter(known).cloned().collect();
        assert_eq!(expression::read(Read(expression::write(&steps).as_slice())), steps);
    }
    let elements = what.nest(3).unwrap_or(what).filter_map(|(_, one)| Element::read(Read(one)));
    assert!(elements.count() * 4 <= bytes.len());
}

/// Answers with what was written for it, whatever it is asked.
struct Script {
    datagrams: VecDeque<Vec<u8>>,
    asked: Cell<usize>,
}

impl Kernel for Script {
    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.asked.set(self.asked.get() + bytes.len());
        Ok(())
    }

    fn receive(&mut self, datagram: &mut Vec<u8>) -> io::Result<bool> {
        let next = self.datagrams.pop_front();
        datagram.extend(next.iter().flatten());
        Ok(next.is_some())
    }
}

/// Each sort of question gets the same answer, and comes to an end with it.
pub(crate) fn conversation(bytes: &[u8]) {
    let script = datagrams(bytes);
    let length: usize = script.iter().map(Vec::len).sum();
    let line = || {
        let kernel = Script { datagrams: script.clone().into(), asked: Cell::new(0) };
        Line::to(kernel, Part::Tables, 0)
    };
    let question =
        Message { kind: 1, flags: 0, family: 1, attributes: Attributes::new(), doing: "ask".into() };

    let found = line().look_up(&question, |what| Some(what.0.len()));
    assert!(found.ok().flatten().is_none_or(|found| found <= length));
    let _ = line().order(&question);
    let batch = [question.clone(), question.clone()];
    let _ = (line().commit(&batch, Some(7)), line().rehearse(&batch));

    for enough in [1, usize::MAX] {
        let (mut line, mut heard, mut read) = (line(), 0, 0);
        let mut keep = |what: Read<'_>| {
            heard += 1;
            read += what.0.len();
            if heard < enough { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        let first = line.dump(&question, &mut keep);
        // What was broken off is heard out, or there is an end of it.
        let second = line.dump(&question, &mut keep);
        assert!(first.is_err() || second.is_err() || script.len() > 1, "one datagram is two answers");
        assert!(read <= 2 * length, "{read} bytes out of {length}");
    }
}

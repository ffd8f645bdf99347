//! Every text and address of the evidence once, behind a number.
//!
//! Apart because the numbers come twice: in the order of reading, and, once all is read, in the
//! order of content, so that no conclusion depends on which file came first.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use super::trial::Trial;
use crate::catalog::{addresses_named, normalise};

/// A text: a host name, a mailbox, a run's id.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Name(NonZeroU32);

/// An address.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Addr(NonZeroU32);

/// What a reply says; the same number for replies that differ in queue ids and times alone.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Said(NonZeroU32);

/// The words of replies that are the same once normalised and that name the same addresses.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Words {
    /// The code and the normalised text.
    pub(crate) normal: Arc<str>,
    /// The addresses it names.
    pub(crate) named: Vec<IpAddr>,
    /// One such reply, word for word: the first in alphabetical order. Raw lines.
    pub(crate) sample: Arc<str>,
    /// The same reply without its codes, lines joined by a space.
    pub(crate) text: Arc<str>,
}

/// The texts, addresses and replies behind the numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    texts: Vec<Arc<str>>,
    text_of: HashMap<Arc<str>, u32>,
    addrs: Vec<IpAddr>,
    addr_of: HashMap<IpAddr, u32>,
    replies: Vec<Words>,
    /// The first of the replies that agree once normalised; of an ordered set only.
    same: Vec<u32>,
    reply_of: HashMap<(Arc<str>, Vec<IpAddr>), u32>,
    /// By the hash of the raw lines, of the latest: a queue id in each reply must not cost a string
    /// each.
    raw: HashMap<u64, Option<Said>>,
    /// How many more texts and replies are taken in of those that there may be any number of.
    room: Option<usize>,
    /// A text on its way to being looked up.
    draft: String,
}

/// Replies of which the raw lines are known again.
const RAW: usize = 1 << 16;
/// Texts and replies that are still taken in after [`Names::close`].
const LATER: usize = 4096;

impl Names {
    /// From now on only so many more texts and replies get a number, whoever says how many different
    /// ones: what is new after that has none.
    pub(super) fn close(&mut self) {
        self.room = Some(LATER);
    }

    /// The number of a text; an empty one has none.
    pub(super) fn name(&mut self, text: &str) -> Option<Name> {
        if text.is_empty() {
            return None;
        }
        self.find(text).or_else(|| {
            let (text, index): (Arc<str>, _) = (text.into(), count(self.texts.len()));
            self.texts.push(Arc::clone(&text));
            self.text_of.insert(text, index);
            number(index).map(Name)
        })
    }

    /// The number of a text that may be another in every session.
    pub(super) fn any(&mut self, text: &str) -> Option<Name> {
        let known = self.find(text);
        if known.is_some() || text.is_empty() || !self.takes_more() { known } else { self.name(text) }
    }

    /// The number of a host name: case and a final dot do not matter.
    pub(super) fn host(&mut self, text: &str) -> Option<Name> {
        self.drafted(&[text], Self::name)
    }

    /// The number of host names that may be others in every session.
    pub(super) fn any_hosts(&mut self, names: &[impl AsRef<str>]) -> Option<Name> {
        self.drafted(names, Self::any)
    }

    fn drafted(&mut self, names: &[impl AsRef<str>], number: impl Fn(&mut Self, &str) -> Option<Name>) -> Option<Name> {
        let mut draft = std::mem::take(&mut self.draft);
        draft.clear();
        for name in names {
            draft.push_str(if draft.is_empty() { "" } else { " " });
            draft.push_str(name.as_ref());
        }
        draft.make_ascii_lowercase();
        let name = number(self, draft.trim_end_matches('.'));
        self.draft = draft;
        name
    }

    fn takes_more(&mut self) -> bool {
        match &mut self.room {
            None => true,
            Some(0) => false,
            Some(room) => {
                *room -= 1;
                true
            }
        }
    }

    pub(super) fn addr(&mut self, addr: IpAddr) -> Addr {
        let next = count(self.addrs.len());
        let index = *self.addr_of.entry(addr).or_insert(next);
        if index == next {
            self.addrs.push(addr);
        }
        Addr(number(index).unwrap_or(NonZeroU32::MAX))
    }

    /// The number of a reply, given as raw lines.
    pub(super) fn said(&mut self, lines: &[impl AsRef<str>]) -> Option<Said> {
        let mut hasher = DefaultHasher::new();
        for line in lines {
            line.as_ref().hash(&mut hasher);
        }
        let hash = hasher.finish();
        if let Some(&said) = self.raw.get(&hash) {
            return said;
        }
        let said = self.new_reply(lines);
        if self.raw.len() >= RAW {
            self.raw.clear();
        }
        self.raw.insert(hash, said);
        said
    }

    fn new_reply(&mut self, lines: &[impl AsRef<str>]) -> Option<Said> {
        let sample = lines.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(" / ");
        let text = lines.iter().map(|l| behind_code(l.as_ref())).collect::<Vec<_>>().join(" ");
        let code = lines.first().and_then(|l| l.as_ref().get(..3)).unwrap_or_default();
        let normal: Arc<str> = format!("{code} {}", normalise(&text)).into();
        let mut named = addresses_named(&text);
        named.sort_unstable();
        named.dedup();
        let key = (Arc::clone(&normal), named.clone());
        let index = if let Some(&index) = self.reply_of.get(&key) {
            let words = self.replies.get_mut(index as usize)?;
            if *sample < *words.sample {
                words.sample = sample.into();
                words.text = text.into();
            }
            index
        } else if self.takes_more() {
            let index = count(self.replies.len());
            self.reply_of.insert(key, index);
            self.replies.push(Words { normal, named, sample: sample.into(), text: text.into() });
            index
        } else {
            return None;
        };
        number(index).map(Said)
    }

    pub(crate) fn text(&self, name: Name) -> &str {
        self.texts.get(index(name.0)).map_or("", |t| t)
    }

    pub(crate) fn address(&self, addr: Addr) -> IpAddr {
        self.addrs.get(index(addr.0)).copied().unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED))
    }

    /// The words of a reply, if they were read.
    pub(crate) fn words(&self, said: Said) -> Option<&Words> {
        self.replies.get(index(said.0))
    }

    /// Two replies are the same when these are.
    pub(crate) fn same(&self, said: Said) -> u32 {
        self.same.get(index(said.0)).copied().unwrap_or_else(|| said.0.get())
    }

    /// The number of a text that is known.
    pub(crate) fn find(&self, text: &str) -> Option<Name> {
        number(*self.text_of.get(text)?).map(Name)
    }

    /// The same texts numbered in the order of content, and gives the trials those numbers.
    pub(super) fn in_order(&self, trials: &mut [Trial]) -> Self {
        let (texts, text_rank) = sorted(&self.texts);
        let (addrs, addr_rank) = sorted(&self.addrs);
        let (replies, reply_rank) = sorted(&self.replies);
        let name = |n: Name| Name(ranked(&text_rank, n.0));
        let addr = |a: Addr| Addr(ranked(&addr_rank, a.0));
        let said = |s: Said| Said(ranked(&reply_rank, s.0));
        for t in trials {
            *t = Trial {
                run: t.run.map(name),
                source: t.source.map(addr),
                address: t.address.map(addr),
                domain: t.domain.map(name),
                mx: t.mx.map(name),
                backend: t.backend.map(name),
                greeting: t.greeting.map(name),
                certificate: t.certificate.map(name),
                seen_as: t.seen_as.map(addr),
                from: t.from.map(name),
                to: t.to.map(name),
                tag: t.tag.map(name),
                said: t.said.map(said),
                detail: t.detail.map(name),
                ..*t
            };
        }
        let text_of = texts.iter().zip(0..).map(|(t, i)| (Arc::clone(t), i)).collect();
        let mut same: Vec<u32> = Vec::with_capacity(replies.len());
        for (i, words) in replies.iter().enumerate() {
            let before = i.checked_sub(1).filter(|&j| replies[j].normal == words.normal);
            same.push(before.map_or_else(|| count(i), |j| same[j]));
        }
        Self { texts, text_of, addrs, replies, same, ..Self::default() }
    }
}

/// The text of a reply line behind code and separator.
fn behind_code(line: &str) -> &str {
    let coded = line.len() >= 3 && line.bytes().take(3).all(|b| b.is_ascii_digit());
    if coded { line.get(4..).unwrap_or_default() } else { line }
}

/// Four thousand million texts do not fit into memory.
fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX - 1)
}

fn number(index: u32) -> Option<NonZeroU32> {
    NonZeroU32::new(index.saturating_add(1))
}

fn index(number: NonZeroU32) -> usize {
    number.get() as usize - 1
}

fn sorted<T: Clone + Ord>(items: &[T]) -> (Vec<T>, Vec<u32>) {
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_unstable_by(|&a, &b| items[a].cmp(&items[b]));
    let mut rank = vec![0; items.len()];
    for (new, &old) in order.iter().enumerate() {
        rank[old] = count(new);
    }
    (order.iter().map(|&i| items[i].clone()).collect(), rank)
}

fn ranked(rank: &[u32], old: NonZeroU32) -> NonZeroU32 {
    rank.get(index(old)).and_then(|&r| number(r)).unwrap_or(old)
}

//! Chooses the cheapest way to write a block as literals and matches.
//!
//! From place to place the cheapest way there is kept, with the distances that can be named by then. What a code costs
//! follows from a guess and from what has been chosen so far in the block.

use std::ops::Range;

use super::finder::{Finder, HASHED, Match, SPREAD};
use super::literals;
use super::numbers::{BIT, BYTE, narrow};
use super::sequences::{
    CodePrices, Counts, MATCH_MIN, Recent, Sequence, literals_code, match_code, prices,
};
use crate::bytes::to_u64;
use crate::codec::compare::{equal_bytes, load32};

/// A match so long is taken without a look at others.
const NICE: usize = 192;
/// Bytes after which a way is chosen, even where matches reach across.
const SEGMENT: usize = 4096;
/// Bytes after which prices are made anew.
const PRICED: usize = 2048;
/// A guess counts one in so many of what is chosen.
const GUESS_WEIGHT: u32 = 8;
/// Numbers of literals whose prices are looked up.
const LITERALS: usize = 64;
/// A shorter block is always parsed: the guess says little of it.
const GUESSED_MIN: usize = 32 << 10;

/// Prices in 256ths of a bit.
struct Prices {
    literal: [u32; 256],
    /// By how many literals there are.
    literals: [u32; LITERALS],
    /// By the length of a match.
    matches: [u32; NICE + 1],
    codes: CodePrices,
}

impl Prices {
    fn of(guess: &Tally) -> Self {
        /// The least for a literal: codes are of whole bits, but a few may become an RLE section.
        const LEAST: u32 = 190;
        let codes = CodePrices::of(&guess.counts);
        Self {
            literal: prices(&guess.literals).map(|price| price.max(LEAST)),
            literals: std::array::from_fn(|literals| {
                codes.literals[literals_code(narrow(literals))]
            }),
            matches: std::array::from_fn(|length| {
                codes.matches[match_code(narrow(length).max(MATCH_MIN))]
            }),
            codes,
        }
    }

    #[inline(always)]
    fn literals(&self, literals: u32) -> u32 {
        match self.literals.get(literals as usize) {
            Some(&price) => price,
            None => self.codes.literals[literals_code(literals)],
        }
    }

    #[inline(always)]
    fn offset(&self, value: u32) -> u32 {
        self.codes.offsets[value.ilog2() as usize]
    }
}

/// How often literals and codes occur, or are thought to.
pub(super) struct Tally {
    literals: literals::Counts,
    counts: Counts,
}

impl Tally {
    /// Nothing yet, but for codes that are taken to have occurred.
    pub fn beginning_with(counts: Counts) -> Self {
        Self {
            literals: [0; 256],
            counts,
        }
    }

    /// Counts sequences that write `data` from its start, and returns how many bytes of it; `recent` moves on.
    pub fn add(&mut self, data: &[u8], sequences: &[Sequence], recent: &mut Recent) -> usize {
        let mut len = 0;
        for sequence in sequences {
            let literals = &data[len..][..sequence.literals as usize];
            literals::add(&mut self.literals, literals);
            self.counts.add(sequence, recent);
            len += sequence.len();
        }
        len
    }

    /// About what it comes to in one block, in 256ths of a bit.
    pub fn cost(&self) -> u64 {
        literals::estimate(&self.literals) + self.counts.estimate()
    }

    /// Makes room for what is known better.
    fn fade(&mut self) {
        let counts = &mut self.counts;
        let codes = counts.literals.iter_mut().chain(&mut counts.matches);
        for count in codes.chain(&mut counts.offsets).chain(&mut self.literals) {
            *count /= GUESS_WEIGHT;
        }
    }
}

/// What is likely in programs and texts, before anything is known of a block.
const LIKELY: Counts = {
    let mut counts = Counts::NONE;
    let mut code = 0;
    while code < 24 {
        let likely = if code < 16 { 24 >> (code / 4) } else { 1 };
        counts.literals[code] = likely;
        counts.matches[code] = likely;
        code += 1;
    }
    counts.offsets[0] = 20;
    counts.offsets[1] = 8;
    let mut code = 8;
    while code < 16 {
        counts.offsets[code] = 6;
        code += 1;
    }
    counts
};

/// The cheapest way to a place.
#[derive(Debug, Clone, Copy)]
struct Node {
    price: u32,
    /// Of the match that ends here; 0: a literal does.
    length: u32,
    distance: u32,
    /// How many literals end here.
    literals: u32,
    recent: Recent,
}

/// No way yet.
const NOWHERE: Node = Node {
    price: u32::MAX,
    length: 0,
    distance: 0,
    literals: 0,
    recent: Recent::FIRST,
};
/// The price of the first place, so that differences of prices never go below 0.
const START: u32 = 1 << 24;

pub(super) struct Parser {
    finder: Finder,
    matches: Vec<Match>,
    nodes: Vec<Node>,
    sequences: Vec<Sequence>,
    /// The last place of each hash, for the guess.
    places: Vec<u32>,
}

impl Parser {
    /// One that compares up to `depth` earlier places with each place.
    pub fn new(depth: u32) -> Self {
        Self {
            finder: Finder::new(depth, NICE),
            matches: Vec::new(),
            nodes: vec![NOWHERE; SEGMENT + NICE + 2],
            sequences: Vec::new(),
            places: Vec::new(),
        }
    }

    /// Begins a frame of `len` bytes.
    pub fn begin(&mut self, len: usize) {
        self.finder.begin(len);
    }

    /// The sequences of a block of the frame's `data`; literals are left over at its end. Blocks come in order, `recent` is
    /// what the last one left behind.
    pub fn parse(&mut self, data: &[u8], block: Range<usize>, mut recent: Recent) -> &[Sequence] {
        let Range { start: mut at, end } = block;
        let mut guess = self.guess(data, block, recent);
        self.sequences.clear();
        if end - at >= GUESSED_MIN && guess.cost() >= to_u64(end - at) * BYTE {
            return &self.sequences;
        }
        let mut prices = Prices::of(&guess);
        let mut priced = at;
        guess.fade();
        let mut literals = 0;
        while at < end {
            if at - priced >= PRICED {
                prices = Prices::of(&guess);
                priced = at;
            }
            let known = self.sequences.len();
            let from = at - literals as usize;
            self.nodes[0] = Node {
                price: START,
                literals,
                recent,
                ..NOWHERE
            };
            let mut segment = Segment {
                data,
                start: at,
                end,
                prices: &prices,
                finder: &mut self.finder,
                matches: &mut self.matches,
                nodes: &mut self.nodes,
                reach: 0,
            };
            let (last, long) = segment.explore();
            segment.walk_back(last, &mut self.sequences);
            let node = self.nodes[last];
            literals = node.literals;
            at += last;
            if let Some(distance) = long {
                let length = equal_bytes(data, at - distance as usize, at, end - at);
                self.sequences.push(Sequence {
                    literals,
                    length: narrow(length),
                    distance,
                });
                literals = 0;
                at += length;
            }
            guess.add(&data[from..], &self.sequences[known..], &mut recent);
        }
        &self.sequences
    }

    /// Counts what taking the first match everywhere would give.
    fn guess(&mut self, data: &[u8], block: Range<usize>, mut recent: Recent) -> Tally {
        const HASH_LOG: u32 = 13;
        let mut guess = Tally::beginning_with(LIKELY);
        self.places.clear();
        self.places.resize(1 << HASH_LOG, 0);
        let Range { start: mut at, end } = block;
        let mut literals = 0;
        while at + HASHED <= end {
            let word = load32(data, at);
            let hash = (word.wrapping_mul(SPREAD) >> (32 - HASH_LOG)) as usize;
            let number = narrow(at) + 1;
            let place = std::mem::replace(&mut self.places[hash], number);
            let [again, ..] = recent.named(literals);
            let is_same = |place: usize| load32(data, place) == word;
            let distance = if again as usize <= at && is_same(at - again as usize) {
                again
            } else if place != 0 && is_same(place as usize - 1) {
                number - place
            } else {
                guess.literals[usize::from(data[at])] += 1;
                literals += 1;
                at += 1;
                continue;
            };
            let length = equal_bytes(data, at - distance as usize, at, end - at);
            let sequence = Sequence {
                literals,
                length: narrow(length),
                distance,
            };
            guess.counts.add(&sequence, &mut recent);
            literals = 0;
            at += length;
        }
        guess
    }
}

/// A stretch of a block whose ways are looked at together.
struct Segment<'a> {
    data: &'a [u8],
    start: usize,
    /// Where the block ends.
    end: usize,
    prices: &'a Prices,
    finder: &'a mut Finder,
    matches: &'a mut Vec<Match>,
    /// By the distance from the start; those up to `reach` are set.
    nodes: &'a mut [Node],
    reach: usize,
}

impl Segment<'_> {
    /// Finds the cheapest ways on until all of them meet. Returns how far that is, and the distance of a long match that
    /// is taken there.
    fn explore(&mut self) -> (usize, Option<u32>) {
        let mut place = 0;
        loop {
            let at = self.start + place;
            let node = self.arrive(place);
            if at >= self.end || place >= SEGMENT || (place > 0 && place == self.reach) {
                return (place, None);
            }
            if self.literal(place, &node)
                && at + HASHED <= self.end
                && let Some(distance) = self.matches(place, &node)
            {
                return (place, Some(distance));
            }
            place += 1;
        }
    }

    /// The way to `place`, with the distances that can be named there.
    #[inline(always)]
    fn arrive(&mut self, place: usize) -> Node {
        let mut node = self.nodes[place];
        if place > 0 {
            if node.length == 0 {
                node.recent = self.nodes[place - 1].recent;
            } else {
                let before = &self.nodes[place - node.length as usize];
                node.recent = before.recent;
                node.recent.value(node.distance, before.literals);
            }
            self.nodes[place].recent = node.recent;
        }
        node
    }

    /// Goes on by a literal. Whether matches are worth a look: they are not where a match that spans this place costs
    /// hardly more than coming here.
    #[inline(always)]
    fn literal(&mut self, place: usize, node: &Node) -> bool {
        self.extend(place + 1);
        let literals = node.literals + 1;
        let byte = usize::from(self.data[self.start + place]);
        let price = node.price + self.prices.literal[byte] + self.prices.literals(literals)
            - self.prices.literals(node.literals);
        let next = &mut self.nodes[place + 1];
        if price < next.price {
            *next = Node {
                price,
                literals,
                ..NOWHERE
            };
            return true;
        }
        next.price > node.price + BIT / 2
    }

    /// Goes on by every match; returns the distance of one that is long enough to be taken at once.
    #[inline(always)]
    fn matches(&mut self, place: usize, node: &Node) -> Option<u32> {
        let at = self.start + place;
        let most = (self.end - at).min(NICE);
        let price = node.price + self.prices.literals[0];
        let word = load32(self.data, at);
        for (value, distance) in (1..).zip(node.recent.named(node.literals)) {
            let back = distance as usize;
            if back == 0 || back > at || (load32(self.data, at - back) ^ word) << 8 != 0 {
                continue;
            }
            let length = equal_bytes(self.data, at - back, at, most);
            if length >= NICE {
                return Some(distance);
            }
            let price = price + self.prices.offset(value);
            self.copy(place, price, distance, MATCH_MIN as usize..=length);
        }
        self.finder.find(self.data, at, self.matches);
        let mut shortest = MATCH_MIN as usize;
        for number in 0..self.matches.len() {
            let Match { length, distance } = self.matches[number];
            let length = (length as usize).min(most);
            if length >= NICE {
                return Some(distance);
            }
            let price = price + self.prices.offset(distance + 3);
            self.copy(place, price, distance, shortest..=length);
            shortest = length + 1;
        }
        None
    }

    /// Enters matches of these lengths where they are cheaper, the longest first.
    #[inline(always)]
    fn copy(
        &mut self,
        place: usize,
        price: u32,
        distance: u32,
        lengths: std::ops::RangeInclusive<usize>,
    ) {
        self.extend(place + lengths.end());
        for length in lengths.rev() {
            let price = price + self.prices.matches[length];
            let node = &mut self.nodes[place + length];
            // Shorter ones hardly ever are where this one is not.
            if price >= node.price {
                break;
            }
            *node = Node {
                price,
                length: narrow(length),
                distance,
                literals: 0,
                recent: Recent::FIRST,
            };
        }
    }

    #[inline(always)]
    fn extend(&mut self, reach: usize) {
        while self.reach < reach {
            self.reach += 1;
            self.nodes[self.reach].price = u32::MAX;
        }
    }

    /// Appends the sequences of the way to `place`.
    fn walk_back(&self, mut place: usize, sequences: &mut Vec<Sequence>) {
        let first = sequences.len();
        while place > 0 {
            let node = &self.nodes[place];
            if node.length == 0 {
                place -= 1;
                continue;
            }
            place -= node.length as usize;
            sequences.push(Sequence {
                literals: self.nodes[place].literals,
                length: node.length,
                distance: node.distance,
            });
        }
        sequences[first..].reverse();
    }
}

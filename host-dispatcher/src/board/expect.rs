//! Finds several fixed texts in a stream, byte by byte: Aho and Corasick's automaton (CACM 18, 1975).
//!
//! The patterns are built once and can be shared by many boards; one [`Matcher`] for each stream is a single number.
//! Bytes that have passed are not kept, so it does not matter how they were split into reads.

/// A set of texts to find.
#[derive(Clone, Debug)]
pub struct Patterns {
    nodes: Vec<Node>,
    /// Children of the root by byte: most bytes of a console match nothing and cost one look here.
    root: Box<[u16; 256]>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    byte: u8,
    first_child: u16,
    next_sibling: u16,
    /// Node of the longest proper suffix that is the beginning of a pattern.
    suffix: u16,
    /// Pattern that ends here, or at a suffix of it; the longest.
    found: Option<u16>,
}

/// How far a stream has matched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Matcher {
    node: u16,
}

impl Patterns {
    /// Builds the automaton. Empty texts never match; texts behind the first [`BYTES_MAX`] bytes in all are left out,
    /// which the file readers' own bounds make impossible.
    pub fn new<'p>(patterns: impl IntoIterator<Item = &'p [u8]>) -> Self {
        let mut this = Self { nodes: vec![Node::default()], root: Box::new([0; 256]) };
        for (index, pattern) in patterns.into_iter().enumerate() {
            if !pattern.is_empty() && this.nodes.len() + pattern.len() <= BYTES_MAX {
                let end = pattern.iter().fold(0, |node, byte| this.child_or_new(node, *byte));
                this.nodes[usize::from(end)].found.get_or_insert(index as u16);
            }
        }
        this.link_suffixes();
        this
    }

    /// Takes the next byte of a stream; the index of the pattern that ends with it, the longest if there are several.
    pub fn step(&self, matcher: &mut Matcher, byte: u8) -> Option<usize> {
        matcher.node = self.target(matcher.node, byte);
        self.nodes[usize::from(matcher.node)].found.map(usize::from)
    }

    fn target(&self, mut node: u16, byte: u8) -> u16 {
        loop {
            if node == 0 {
                return self.root[usize::from(byte)];
            }
            match self.child(node, byte) {
                Some(child) => return child,
                None => node = self.nodes[usize::from(node)].suffix,
            }
        }
    }

    fn child(&self, node: u16, byte: u8) -> Option<u16> {
        let mut child = self.nodes[usize::from(node)].first_child;
        while child != 0 {
            let at = &self.nodes[usize::from(child)];
            if at.byte == byte {
                return Some(child);
            }
            child = at.next_sibling;
        }
        None
    }

    fn child_or_new(&mut self, node: u16, byte: u8) -> u16 {
        if let Some(child) = self.child(node, byte) {
            return child;
        }
        let new = self.nodes.len() as u16;
        let parent = &mut self.nodes[usize::from(node)];
        let next_sibling = std::mem::replace(&mut parent.first_child, new);
        self.nodes.push(Node { byte, next_sibling, ..Node::default() });
        if node == 0 {
            self.root[usize::from(byte)] = new;
        }
        new
    }

    /// Breadth first, so that a node's suffix, which is shorter, is ready before it.
    fn link_suffixes(&mut self) {
        let mut queue = vec![0u16];
        let mut at = 0;
        while let Some(&node) = queue.get(at) {
            at += 1;
            let mut child = self.nodes[usize::from(node)].first_child;
            while child != 0 {
                let Node { byte, next_sibling, .. } = self.nodes[usize::from(child)];
                let suffix = if node == 0 {
                    0
                } else {
                    self.target(self.nodes[usize::from(node)].suffix, byte)
                };
                let inherited = self.nodes[usize::from(suffix)].found;
                let this = &mut self.nodes[usize::from(child)];
                this.suffix = suffix;
                this.found = this.found.or(inherited);
                queue.push(child);
                child = next_sibling;
            }
        }
    }
}

/// All patterns of a board type together: 32 errors, panics and banners of at most 128 bytes.
pub const BYTES_MAX: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn find(patterns: &[&[u8]], text: &[u8]) -> Vec<(usize, usize)> {
        let patterns = Patterns::new(patterns.iter().copied());
        let mut matcher = Matcher::default();
        text.iter()
            .enumerate()
            .filter_map(|(at, byte)| {
                patterns.step(&mut matcher, *byte).map(|found| (at + 1, found))
            })
            .collect()
    }

    #[test]
    fn beginnings_that_overlap() {
        assert_eq!(find(&[b"aab"], b"aaab"), [(4, 0)]);
        assert_eq!(find(&[b"abab", b"bc"], b"abababc"), [(4, 0), (6, 0), (7, 1)]);
        assert_eq!(find(&[b"he", b"she", b"hers"], b"ushers"), [(4, 1), (6, 2)]);
        assert_eq!(find(&[b"", b"x"], b"axb"), [(2, 1)]);
        assert_eq!(find(&[], b"abc"), []);
    }

    proptest! {
        #[test]
        fn finds_what_a_search_finds(
            patterns in prop::collection::vec(prop::collection::vec(0u8..3, 1..5), 1..6),
            text in prop::collection::vec(0u8..3, 0..60),
        ) {
            let slices: Vec<&[u8]> = patterns.iter().map(Vec::as_slice).collect();
            let found = find(&slices, &text);
            for end in 1..=text.len() {
                let longest = slices.iter().filter(|p| text[..end].ends_with(p)).max_by_key(|p| p.len());
                let got = found.iter().find(|(at, _)| *at == end).map(|(_, index)| slices[*index]);
                prop_assert_eq!(got, longest.copied());
            }
        }
    }
}

//! The set of answered operations that are placed already, small however long the history is.
//!
//! Operations are numbered in the order of their calls. Those placed are nearly a beginning of that order, so only
//! the words behind the all-placed beginning are kept. Two equal sets have equal words: the form is canonical.

/// A set of operation numbers.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Linearized {
    /// So many words of 64 are full and not kept.
    full: usize,
    /// The words after them; the first is not full, the last is not empty.
    words: Vec<u64>,
}

const BITS: usize = 64;

impl Linearized {
    /// Whether an operation is placed.
    pub(crate) fn contains(&self, number: usize) -> bool {
        match (number / BITS).checked_sub(self.full) {
            None => true,
            Some(word) => self.words.get(word).is_some_and(|bits| bits >> (number % BITS) & 1 == 1),
        }
    }

    /// Places an operation that is not placed.
    pub(crate) fn insert(&mut self, number: usize) {
        assert!(!self.contains(number), "an operation is placed once");
        let word = number / BITS - self.full;
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (number % BITS);
        let full = self.words.iter().take_while(|bits| **bits == u64::MAX).count();
        self.words.drain(..full);
        self.full += full;
    }

    /// Every operation below this one is placed.
    pub(crate) fn start(&self) -> usize {
        self.full * BITS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_does_not_depend_on_the_order() {
        let mut numbers: Vec<usize> = (0..130).chain([140, 200]).collect();
        let set = |numbers: &[usize]| {
            let mut set = Linearized::default();
            for number in numbers {
                set.insert(*number);
            }
            set
        };
        let forward = set(&numbers);
        numbers.reverse();
        assert_eq!(set(&numbers), forward);
        assert_eq!((forward.start(), forward.words.len()), (128, 2));
        assert!(forward.contains(5) && forward.contains(200) && !forward.contains(130));
        assert!(!forward.contains(10_000));
    }
}

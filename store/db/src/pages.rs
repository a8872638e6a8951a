//! The structure of LMDB's file, checked page by page before LMDB maps it.
//!
//! LMDB believes its pages. One whose header is damaged can end the process that looks at it, or keep it for ever: in 0.9.24
//! `NUMKEYS` of a page whose `mp_lower` is smaller than its header (a page of zeros with a leaf's flag, say) is two thousand
//! million, and the halving of `mdb_node_search` then overflows and never meets. So what its searches, walks and allocations
//! rely on is read and compared here first: the newer meta page, every tree from its root (page numbers, flags, bounds of the
//! space in a page, nodes within it, keys in order, large values, the counts that the tree says of itself), no page in two
//! places, and the list of free pages.
//!
//! Promises: reads each page once, without a map, and at most [`READS_MAX`] leaves and beginnings of large values; changes
//! nothing.
//!
//! Leaves out: what the values are; the leaves of a larger table beyond that bound (branches and free pages are all read); that
//! keys of one page lie between those of the branches above it (a key that is not found, no more); pages that are damaged
//! later, while the table is open: a process that ends then is counted ([`crate::trust`]).
//!
//! Layouts: `MDB_page`, `MDB_node`, `MDB_db` and `MDB_meta` of LMDB's mdb.c, data version 1, in this machine's byte order.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// Leaves, and first pages of large values, read at most: 256 MiB of them, a tenth of a second from the page cache.
pub const READS_MAX: u64 = 65_536;

const HEADER: usize = 16;
const NODE_HEADER: usize = 8;
const TREE: usize = 48;
/// Of a page: a power of two between these.
const PAGE_BYTES: std::ops::RangeInclusive<usize> = 512..=32_768;
/// `mdb_env_get_maxkeysize`.
const KEY_MAX: usize = 511;
/// `CURSOR_STACK`.
const DEPTH_MAX: u16 = 32;
const MAGIC: u32 = 0xBEEF_C0DE;
const DATA_VERSION: u32 = 1;
/// `P_INVALID`: the root of an empty tree.
const NO_PAGE: u64 = u64::MAX;
/// Meta pages: the first two.
const METAS: u64 = 2;

const P_BRANCH: u16 = 0x01;
const P_LEAF: u16 = 0x02;
const P_OVERFLOW: u16 = 0x04;
const P_META: u16 = 0x08;

const F_BIGDATA: u16 = 0x01;
const F_SUBDATA: u16 = 0x02;

/// `MDB_INTEGERKEY`: the flag of the tree of free pages.
const INTEGER_KEYS: u16 = 0x08;

/// What is wrong with a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unsound {
    /// Its number; it begins at so many page sizes.
    pub page: u64,
    /// What its content contradicts.
    pub fault: &'static str,
}

impl fmt::Display for Unsound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "its page {}: {}", self.page, self.fault)
    }
}

/// Why a check ended early.
#[derive(Debug)]
pub enum Failure {
    /// The file contradicts itself.
    Unsound(Unsound),
    /// It ends before the last page that LMDB ever took.
    Short,
    /// It could not be read.
    Unread(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Unread(error)
    }
}

/// Checks a file that has content.
///
/// # Errors
/// [`Failure`] has the first page that is wrong.
pub fn check(data: &File) -> Result<(), Failure> {
    let meta = Meta::newest(data)?;
    let words = usize::try_from(meta.pages.div_ceil(64)).map_err(|_| unsound(0, "more pages than memory"))?;
    let mut walk = Walk {
        data,
        pages: meta.pages,
        page_bytes: meta.page_bytes,
        taken: vec![0; words],
        reads_left: READS_MAX,
        is_partial: false,
        free: Vec::new(),
        named: Vec::new(),
    };
    for page in 0..METAS {
        walk.take(page, page)?;
    }
    walk.tree(Kind::Free, meta.free)?;
    walk.tree(Kind::Names, meta.names)?;
    // The small ones first: what there is of leaves to read goes to whole trees as long as it lasts.
    let mut named = std::mem::take(&mut walk.named);
    named.sort_by_key(|tree| tree.leaves);
    for tree in named {
        walk.tree(Kind::Named, tree)?;
    }
    for page in std::mem::take(&mut walk.free) {
        walk.take(page, page)?;
    }
    Ok(())
}

fn unsound(page: u64, fault: &'static str) -> Failure {
    Failure::Unsound(Unsound { page, fault })
}

fn ensure(holds: bool, page: u64, fault: &'static str) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(unsound(page, fault)) }
}

/// `N` bytes of a page. The caller has compared their place with the page's end.
fn bytes<const N: usize>(page: &[u8], at: usize) -> [u8; N] {
    let mut part = [0; N];
    part.copy_from_slice(&page[at..at + N]);
    part
}

fn u16_at(page: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes(bytes(page, at))
}

fn u32_at(page: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes(page, at))
}

fn u64_at(page: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes(page, at))
}

/// What a meta page says.
#[derive(Clone, Copy, Debug)]
struct Meta {
    page_bytes: usize,
    /// Pages that were ever taken.
    pages: u64,
    free: Tree,
    names: Tree,
    transaction: u64,
}

impl Meta {
    /// The one of the two that LMDB takes.
    fn newest(data: &File) -> Result<Meta, Failure> {
        let first = Meta::read(data, 0, 0)?;
        let second = Meta::read(data, 1, first.page_bytes as u64)?;
        ensure(first.page_bytes == second.page_bytes, 1, "another size of pages than in page 0")?;
        let newest = if first.transaction < second.transaction { second } else { first };
        let length = data.metadata()?.len();
        let end = newest.pages.checked_mul(newest.page_bytes as u64);
        if end.is_some_and(|end| end <= length) { Ok(newest) } else { Err(Failure::Short) }
    }

    fn read(data: &File, page: u64, at: u64) -> Result<Meta, Failure> {
        let mut meta = [0; HEADER + 24 + 2 * TREE + 16];
        match data.read_exact_at(&mut meta, at) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(Failure::Short);
            }
            other => other?,
        }
        let says = |holds, fault| ensure(holds, page, fault);
        says(u16_at(&meta, 10) & P_META != 0, "no flag of a meta page")?;
        let meta = &meta[HEADER..];
        says(u32_at(meta, 0) == MAGIC, "no magic number of LMDB")?;
        says(u32_at(meta, 4) == DATA_VERSION, "a format of LMDB that is not known here")?;
        let (free, names) = (Tree::read(&meta[24..]), Tree::read(&meta[24 + TREE..]));
        let page_bytes = free.pad as usize;
        says(PAGE_BYTES.contains(&page_bytes) && page_bytes.is_power_of_two(), "no size of a page")?;
        says(free.flags == INTEGER_KEYS && names.flags == 0, "flags of a tree that are not ours")?;
        let (page_last, transaction) = (u64_at(meta, 24 + 2 * TREE), u64_at(meta, 32 + 2 * TREE));
        says((METAS - 1..NO_PAGE - 1).contains(&page_last), "no number of pages")?;
        // By this LMDB chooses the page of a transaction, whichever is newer.
        says(
            transaction == 0 || transaction % METAS == page,
            "a transaction that belongs on the other page",
        )?;
        Ok(Meta { page_bytes, pages: page_last + 1, free, names, transaction })
    }
}

/// What a file says of one of its trees (`MDB_db`).
#[derive(Clone, Copy, Debug)]
struct Tree {
    pad: u32,
    flags: u16,
    depth: u16,
    branches: u64,
    leaves: u64,
    large: u64,
    entries: u64,
    root: u64,
}

impl Tree {
    fn read(tree: &[u8]) -> Tree {
        Tree {
            pad: u32_at(tree, 0),
            flags: u16_at(tree, 4),
            depth: u16_at(tree, 6),
            branches: u64_at(tree, 8),
            leaves: u64_at(tree, 16),
            large: u64_at(tree, 24),
            entries: u64_at(tree, 32),
            root: u64_at(tree, 40),
        }
    }
}

/// What a tree's leaves have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// The free pages of each transaction, by its number.
    Free,
    /// The other trees by name.
    Names,
    /// Keys and values.
    Named,
}

/// What was counted in a tree.
#[derive(Clone, Copy, Default, Debug)]
struct Counts {
    branches: u64,
    leaves: u64,
    large: u64,
    entries: u64,
}

/// A page to be read, at its height above the leaves.
#[derive(Clone, Copy, Debug)]
struct Step {
    page: u64,
    height: u16,
}

#[derive(Debug)]
struct Walk<'f> {
    data: &'f File,
    pages: u64,
    page_bytes: usize,
    /// One bit a page: it has a place already.
    taken: Vec<u64>,
    /// Of [`READS_MAX`].
    reads_left: u64,
    /// Something was not read for that.
    is_partial: bool,
    /// The free pages.
    free: Vec<u64>,
    /// The trees with names.
    named: Vec<Tree>,
}

impl Walk<'_> {
    /// `page` has its place, which `by` names.
    fn take(&mut self, page: u64, by: u64) -> Result<(), Failure> {
        ensure(page < self.pages, by, "it names a page beyond the last")?;
        // Checked: there are as many bits as pages.
        #[allow(clippy::cast_possible_truncation)]
        let (word, bit) = ((page / 64) as usize, 1 << (page % 64));
        ensure(self.taken[word] & bit == 0, page, "it is in two places")?;
        self.taken[word] |= bit;
        Ok(())
    }

    fn read(&self, page: u64, buffer: &mut [u8]) -> Result<u16, Failure> {
        self.data.read_exact_at(buffer, page * self.page_bytes as u64)?;
        ensure(u64_at(buffer, 0) == page, page, "its header has another number")?;
        Ok(u16_at(buffer, 10))
    }

    /// Whether another leaf or large value may be read. The trees of free pages and of names are read whole.
    fn may_read(&mut self, kind: Kind) -> bool {
        let may = kind != Kind::Named || self.reads_left > 0;
        self.reads_left = self.reads_left.saturating_sub(1);
        self.is_partial |= !may;
        may
    }

    fn tree(&mut self, kind: Kind, tree: Tree) -> Result<(), Failure> {
        if tree.root == NO_PAGE {
            return ensure(tree.depth == 0 && tree.entries == 0, 0, "an empty tree that has entries");
        }
        ensure((1..=DEPTH_MAX).contains(&tree.depth), tree.root, "no depth of a tree")?;
        self.take(tree.root, tree.root)?;
        let mut counts = Counts::default();
        self.is_partial = false;
        let mut steps = vec![Step { page: tree.root, height: tree.depth - 1 }];
        let mut buffer = vec![0; self.page_bytes];
        // The last key of the leaf before: allocations rely on the order of free pages over all leaves.
        let mut transaction: Option<Vec<u8>> = None;
        while let Some(Step { page, height }) = steps.pop() {
            if height == 0 && !self.may_read(kind) {
                continue;
            }
            let flags = self.read(page, &mut buffer)?;
            let nodes = Nodes::of(page, &buffer)?;
            if height > 0 {
                ensure(flags == P_BRANCH, page, "no branch where one must be")?;
                ensure(nodes.count >= 2, page, "a branch of one page")?;
                counts.branches += 1;
                // So that the leaves come in the order of their keys.
                for child in nodes.children(kind)?.into_iter().rev() {
                    self.take(child, page)?;
                    steps.push(Step { page: child, height: height - 1 });
                }
            } else {
                ensure(flags == P_LEAF, page, "no leaf where one must be")?;
                if kind == Kind::Free {
                    let (first, last) = (nodes.key(0)?, nodes.key(nodes.count - 1)?);
                    nodes.ensure_order(kind, transaction.as_deref(), first)?;
                    transaction = Some(last.to_owned());
                }
                (counts.leaves, counts.entries) = (counts.leaves + 1, counts.entries + nodes.count as u64);
                for entry in nodes.entries(kind) {
                    counts.large += self.value(kind, page, &entry?)?;
                }
            }
        }
        let said = tree.branches == counts.branches
            && (self.is_partial
                || (tree.leaves, tree.large, tree.entries) == (counts.leaves, counts.large, counts.entries));
        ensure(said, tree.root, "its tree has other counts of pages or entries than it says")
    }

    /// Looks at a leaf's value; how many pages of its own it has.
    fn value(&mut self, kind: Kind, page: u64, entry: &Entry<'_>) -> Result<u64, Failure> {
        let Entry { flags, bytes, inline, .. } = *entry;
        match (kind, flags) {
            (Kind::Names, F_SUBDATA) => {
                ensure(inline.len() == TREE, page, "a tree of another length")?;
                let tree = Tree::read(inline);
                ensure(tree.flags == 0 && tree.pad == 0, page, "flags of a tree that are not ours")?;
                self.named.push(tree);
                Ok(0)
            }
            (Kind::Free, 0) => self.free_pages(page, inline).map(|()| 0),
            (Kind::Named, 0) => Ok(0),
            (Kind::Free | Kind::Named, F_BIGDATA) => {
                let first = u64_at(inline, 0);
                if !self.may_read(kind) {
                    return Ok(0);
                }
                let pages = self.large(first, bytes, page)?;
                if kind == Kind::Free {
                    let mut list = vec![0; bytes];
                    self.data.read_exact_at(&mut list, first * self.page_bytes as u64 + HEADER as u64)?;
                    self.free_pages(first, &list)?;
                }
                Ok(pages)
            }
            _ => Err(unsound(page, "flags of an entry that are not ours")),
        }
    }

    /// Takes the pages of a large value.
    fn large(&mut self, first: u64, bytes: usize, by: u64) -> Result<u64, Failure> {
        ensure(first < self.pages, by, "it names a page beyond the last")?;
        let mut header = [0; HEADER];
        let flags = self.read(first, &mut header)?;
        ensure(flags == P_OVERFLOW, first, "no page of a large value where one must be")?;
        let pages = u64::from(u32_at(&header, 12));
        // A value that became shorter may keep its pages.
        let needed = (HEADER + bytes).div_ceil(self.page_bytes) as u64;
        ensure(pages >= needed, first, "fewer pages than its value is long")?;
        ensure(pages <= self.pages - first, first, "a large value beyond the last page")?;
        for page in first..first + pages {
            self.take(page, first)?;
        }
        Ok(pages)
    }

    /// A list of free pages (`MDB_IDL`): its length, then the pages, falling.
    fn free_pages(&mut self, page: u64, list: &[u8]) -> Result<(), Failure> {
        let mut numbers = list.chunks_exact(8).map(|number| u64_at(number, 0));
        let length = numbers.next().ok_or_else(|| unsound(page, "a list of free pages without a length"))?;
        ensure(length < (list.len() / 8) as u64, page, "a list of free pages that is longer than its room")?;
        let mut before = self.pages;
        for (_, free) in (0..length).zip(numbers) {
            ensure(free < before && free >= METAS, page, "a list of free pages that is not in order")?;
            self.free.push(free);
            before = free;
        }
        Ok(())
    }
}

/// One entry of a leaf.
#[derive(Clone, Copy, Debug)]
struct Entry<'p> {
    flags: u16,
    /// The length of its value.
    bytes: usize,
    /// The value, or where its pages begin.
    inline: &'p [u8],
}

/// The nodes of a branch or a leaf, within their page.
#[derive(Clone, Copy, Debug)]
struct Nodes<'p> {
    page: u64,
    content: &'p [u8],
    count: usize,
    /// Where the space that is free ends, and the nodes begin.
    upper: usize,
}

impl<'p> Nodes<'p> {
    fn of(page: u64, content: &'p [u8]) -> Result<Nodes<'p>, Failure> {
        let (lower, upper) = (usize::from(u16_at(content, 12)), usize::from(u16_at(content, 14)));
        let holds = (HEADER..=upper).contains(&lower) && lower.is_multiple_of(2) && upper <= content.len();
        ensure(holds, page, "bounds of its free space that cannot be")?;
        let count = (lower - HEADER) / 2;
        ensure(count > 0, page, "no entry")?;
        Ok(Nodes { page, content, count, upper })
    }

    fn ensure(&self, holds: bool, fault: &'static str) -> Result<(), Failure> {
        ensure(holds, self.page, fault)
    }

    /// A node from its header on, and its key.
    fn node(&self, index: usize) -> Result<(&'p [u8], &'p [u8]), Failure> {
        let at = usize::from(u16_at(self.content, HEADER + 2 * index));
        let is_within = at >= self.upper && at.is_multiple_of(2) && at + NODE_HEADER <= self.content.len();
        self.ensure(is_within, "an entry outside its page")?;
        let node = &self.content[at..];
        let key = usize::from(u16_at(node, 6));
        self.ensure(key <= KEY_MAX && NODE_HEADER + key <= node.len(), "a key outside its page")?;
        Ok((node, &node[NODE_HEADER..NODE_HEADER + key]))
    }

    fn key(&self, index: usize) -> Result<&'p [u8], Failure> {
        self.node(index).map(|(_, key)| key)
    }

    /// Keys rise.
    fn ensure_order(&self, kind: Kind, before: Option<&[u8]>, key: &[u8]) -> Result<(), Failure> {
        let is_number = key.len() == 8;
        self.ensure(kind != Kind::Free || is_number, "a transaction's number of another length")?;
        let rises = match before {
            None => true,
            Some(before) if kind == Kind::Free => u64_at(before, 0) < u64_at(key, 0),
            Some(before) => before < key,
        };
        self.ensure(rises && !key.is_empty(), "keys that are not in order")
    }

    fn ensure_filled(&self, bytes: usize) -> Result<(), Failure> {
        self.ensure(bytes == self.content.len() - self.upper, "entries that do not fill their space")
    }

    fn children(&self, kind: Kind) -> Result<Vec<u64>, Failure> {
        let (mut children, mut filled, mut before) = (Vec::with_capacity(self.count), 0, None);
        for index in 0..self.count {
            let (node, key) = self.node(index)?;
            // The first child has what is before the second one's key; its own means nothing.
            if index > 0 {
                self.ensure_order(kind, before, key)?;
                before = Some(key);
            }
            filled += (NODE_HEADER + key.len()).next_multiple_of(2);
            let low = u64::from(u16_at(node, 0)) | u64::from(u16_at(node, 2)) << 16;
            children.push(low | u64::from(u16_at(node, 4)) << 32);
        }
        self.ensure_filled(filled)?;
        Ok(children)
    }

    fn entries(&self, kind: Kind) -> impl Iterator<Item = Result<Entry<'p>, Failure>> + use<'p> {
        let (nodes, mut filled, mut before) = (*self, 0, None);
        (0..self.count).map(move |index| {
            let (node, key) = nodes.node(index)?;
            nodes.ensure_order(kind, before, key)?;
            before = Some(key);
            let bytes = usize::from(u16_at(node, 0)) | usize::from(u16_at(node, 2)) << 16;
            let flags = u16_at(node, 4);
            let inline = if flags & F_BIGDATA == 0 { bytes } else { 8 };
            let from = NODE_HEADER + key.len();
            nodes.ensure(inline <= node.len() - from, "a value outside its page")?;
            filled += (from + inline).next_multiple_of(2);
            if index + 1 == nodes.count {
                nodes.ensure_filled(filled)?;
            }
            Ok(Entry { flags, bytes, inline: &node[from..from + inline] })
        })
    }
}

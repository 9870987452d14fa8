//! The wanted paths, as a tree of keys.

use std::borrow::Cow;
use std::sync::Arc;

/// A compiled set of wanted paths. A path is written with dots, as `response.usage`, so keys that hold a dot cannot be
/// wanted. One path may lead through another (`usage` and `usage.input_tokens`). If a path is given twice, the first counts.
///
/// Cheap to clone; meant to be built once, in a `LazyLock`.
#[derive(Clone, Debug)]
pub struct Paths {
    nodes: Arc<[Node]>,
    count: usize,
    longest_key: usize,
}

/// A key of the tree. The first node is the document itself.
#[derive(Debug, Default)]
pub(super) struct Node {
    children: Vec<(Box<[u8]>, usize)>,
    /// The index of the path that ends here.
    pub(super) path: Option<usize>,
}

impl Node {
    pub(super) fn is_leaf(&self) -> bool {
        self.children.is_empty()
    }

    fn child(&self, key: &[u8]) -> Option<usize> {
        self.children.iter().find(|(name, _)| **name == *key).map(|(_, node)| *node)
    }
}

impl Paths {
    pub(super) const ROOT: usize = 0;

    pub fn new(paths: &[&str]) -> Self {
        let mut nodes = vec![Node::default()];
        let mut longest_key = 0;
        for (index, path) in paths.iter().enumerate() {
            let mut at = Self::ROOT;
            for key in path.split('.').map(str::as_bytes) {
                longest_key = longest_key.max(key.len());
                at = nodes[at].child(key).unwrap_or_else(|| {
                    let new = nodes.len();
                    nodes.push(Node::default());
                    nodes[at].children.push((key.into(), new));
                    new
                });
            }
            nodes[at].path.get_or_insert(index);
        }
        Self { nodes: nodes.into(), count: paths.len(), longest_key }
    }

    /// How many paths were given.
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn node(&self, node: usize) -> &Node {
        &self.nodes[node]
    }

    /// The node below `node` for a key as it is written, without its quotes. `escapes`: it has any.
    #[inline]
    pub(super) fn child(&self, node: usize, key: &[u8], escapes: bool) -> Option<usize> {
        match escapes {
            false if key.len() > self.longest_key => None,
            false => self.nodes[node].child(key),
            true => self.escaped_child(node, key),
        }
    }

    fn escaped_child(&self, node: usize, key: &[u8]) -> Option<usize> {
        if key.len() > self.longest_written_key() {
            return None;
        }
        let quoted = [b"\"", key, b"\""].concat();
        let text: Cow<'_, str> = super::string(&quoted)?;
        self.nodes[node].child(text.as_bytes())
    }

    /// The most bytes that a wanted key can take in JSON: six for each of its own (`\u0061`).
    pub(super) fn longest_written_key(&self) -> usize {
        6 * self.longest_key
    }
}

//! What the scanners promise for every input and every chunking, held against independent and simpler readers.

mod edits;
mod json;
mod recordings;
mod sse;
mod tree;

/// Cuts `bytes` into chunks, their sizes taken from `sizes` over and over.
fn cut<'a>(bytes: &'a [u8], sizes: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = bytes;
    let mut sizes = sizes.iter().cycle();
    std::iter::from_fn(move || {
        let size = (*sizes.next()?).clamp(1, rest.len().max(1)).min(rest.len());
        let (chunk, after) = rest.split_at(size);
        rest = after;
        (!chunk.is_empty()).then_some(chunk)
    })
}

/// Chunk sizes, mostly small.
fn sizes() -> impl proptest::strategy::Strategy<Value = Vec<usize>> {
    proptest::collection::vec(proptest::prop_oneof![4 => 1..4_usize, 1 => 1..200_usize], 1..8)
}

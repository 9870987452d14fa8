//! Editing bytes at found places, so that everything else stays as it was to the byte.

use std::ops::Range;

/// Edits that are not sorted, overlap, or reach beyond the end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("edit {index} of bytes {}..{} does not fit: edits must be in order, apart from each other and within {len} bytes", range.start, range.end)]
pub struct BadEdit {
    /// Which edit, from 0.
    pub index: usize,
    pub range: Range<usize>,
    /// The length of what was to be edited.
    pub len: usize,
}

/// Replaces each range by its text. Ranges are sorted and do not overlap; an empty range inserts, and several insertions at
/// one place come out in their order.
///
/// ```
/// use pool_core::scan::splice::apply;
///
/// let edits = [(1..4, &b"one"[..]), (6..6, &b"!"[..])];
/// assert_eq!(apply(b"(two) ", edits.iter().cloned()), Ok(b"(one) !".to_vec()));
/// ```
pub fn apply<'a, E>(bytes: &[u8], edits: E) -> Result<Vec<u8>, BadEdit>
where
    E: IntoIterator<Item = (Range<usize>, &'a [u8]), IntoIter: Clone>,
{
    let edits = edits.into_iter();
    let mut done = 0;
    let mut kept = bytes.len();
    let mut added = 0;
    for (index, (range, with)) in edits.clone().enumerate() {
        if range.start < done || range.end < range.start || range.end > bytes.len() {
            return Err(BadEdit { index, range, len: bytes.len() });
        }
        done = range.end;
        kept -= range.len();
        added += with.len();
    }

    let mut out = Vec::with_capacity(kept + added);
    let mut from = 0;
    for (range, with) in edits {
        out.extend_from_slice(&bytes[from..range.start]);
        out.extend_from_slice(with);
        from = range.end;
    }
    out.extend_from_slice(&bytes[from..]);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Edits<'a> = &'a [(Range<usize>, &'a [u8])];

    #[test]
    fn replaces_inserts_and_removes() {
        let cases: [(Edits, &str); 6] = [
            (&[], "abcdef"),
            (&[(0..0, b"<"), (6..6, b">")], "<abcdef>"),
            (&[(1..3, b""), (3..4, b"D")], "aDef"),
            (&[(2..2, b"1"), (2..2, b"2"), (2..3, b"C")], "ab12Cdef"),
            (&[(0..6, b"")], ""),
            (&[(5..6, b"longer than before")], "abcdelonger than before"),
        ];
        for (edits, expected) in cases {
            assert_eq!(apply(b"abcdef", edits.iter().cloned()), Ok(expected.into()), "{edits:?}");
        }
    }

    #[test]
    #[expect(clippy::reversed_empty_ranges, reason = "one of the cases")]
    fn refuses_what_does_not_fit() {
        let cases: [(Edits, usize); 5] = [
            (&[(5..7, b"")], 0),
            (&[(7..7, b"")], 0),
            (&[(4..2, b"")], 0),
            (&[(0..3, b""), (2..4, b"")], 1),
            (&[(3..4, b""), (0..1, b"")], 1),
        ];
        for (edits, index) in cases {
            let refused = apply(b"abcdef", edits.iter().cloned()).expect_err("must not fit");
            assert_eq!((refused.index, refused.len), (index, 6), "{edits:?}");
        }
    }
}

//! The output of an attempt that goes on, for who follows it: its end, as far as memory goes.
//! Invariant: what does not fit is shed from the front, and whoever reads sees by the numbers that it is missing.

/// Bytes that are kept for followers.
pub const KEEP: usize = 64 << 10;
/// Bytes that go in one piece.
pub const PIECE: usize = 32 << 10;
/// Attempts of one worker that are followed at a time.
pub const MOST_FOLLOWED: usize = 16;

/// The end of what an attempt has printed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutputTail {
    end: u64,
    bytes: Vec<u8>,
}

impl OutputTail {
    /// Bytes in all, with those that are shed.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.end
    }

    /// What is kept.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Takes more.
    pub fn push(&mut self, bytes: &[u8]) {
        self.end = self.end.saturating_add(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    /// Sheds what is before the last [`KEEP`] bytes, once there are twice as many.
    pub fn trim(&mut self) {
        if self.bytes.len() > 2 * KEEP {
            self.bytes.drain(..self.bytes.len() - KEEP);
        }
    }

    /// Takes a piece that begins at byte `from`; what lies before a gap is forgotten, and what is known already is not taken again.
    pub fn put(&mut self, from: u64, bytes: &[u8]) {
        if from > self.end {
            *self = Self { end: from, bytes: Vec::new() };
        }
        let known = usize::try_from(self.end - from).unwrap_or(usize::MAX);
        self.push(bytes.get(known..).unwrap_or_default());
        self.trim();
    }

    /// What is there from byte `from` on, and where it begins: later, if that was shed. It ends with a whole character where it can.
    #[must_use]
    pub fn since(&self, from: u64) -> (u64, &[u8]) {
        let begin = self.end - self.bytes.len() as u64;
        let from = from.clamp(begin, self.end);
        let rest =
            usize::try_from(from - begin).ok().and_then(|skip| self.bytes.get(skip..)).unwrap_or_default();
        let piece = &rest[..rest.len().min(PIECE)];
        (from, &piece[..whole(piece)])
    }
}

/// Bytes of `piece` before a character that is not all there.
fn whole(piece: &[u8]) -> usize {
    for back in 1..=piece.len().min(3) {
        let at = piece.len() - back;
        let length = match piece[at] {
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf7 => 4,
            0x80..=0xbf => continue,
            _ => break,
        };
        return if length > back { at } else { piece.len() };
    }
    piece.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_follower_reads_on_and_sees_what_was_shed() {
        let mut tail = OutputTail::default();
        tail.push(b"hello ");
        assert_eq!(tail.since(0), (0, &b"hello "[..]));
        tail.push(b"world");
        assert_eq!(tail.since(6), (6, &b"world"[..]));
        assert_eq!(tail.since(11), (11, &b""[..]));
        assert_eq!(tail.since(u64::MAX), (11, &b""[..]), "nobody is ahead");
        tail.push(&[b'x'; 3 * KEEP]);
        tail.trim();
        let (from, piece) = tail.since(11);
        assert_eq!((from, piece.len()), (11 + 2 * KEEP as u64, PIECE));
        assert_eq!(tail.end(), 11 + 3 * KEEP as u64);
    }

    #[test]
    fn pieces_that_come_twice_or_after_a_gap_are_put_where_they_belong() {
        let mut tail = OutputTail::default();
        tail.put(0, b"abc");
        tail.put(1, b"bcd");
        tail.put(0, b"ab");
        assert_eq!((tail.end(), tail.bytes()), (4, &b"abcd"[..]));
        tail.put(10, b"k");
        assert_eq!(tail.since(0), (10, &b"k"[..]));
        tail.put(u64::MAX, b"zz");
        assert_eq!(tail.end(), u64::MAX, "a number that is none ends nothing");
        assert!(tail.since(0).1.len() <= 2);
    }

    #[test]
    fn g55_a_piece_ends_with_a_whole_character_and_what_is_none_does_not_hold_it_up() {
        for (bytes, taken) in [
            ("a\u{e9}".as_bytes(), 3),
            (b"a\xc3", 1),
            ("\u{1f600}".as_bytes(), 4),
            (b"a\xf0\x9f\x98", 1),
            (b"\x80\x80\x80\x80", 4),
            (b"a\xff", 2),
            (b"", 0),
        ] {
            assert_eq!(whole(bytes), taken, "{bytes:?}");
        }
    }
}

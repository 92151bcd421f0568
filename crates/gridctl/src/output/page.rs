//! What trainers wrote, piece by piece.
//! Invariant: a terminal gets text that moves nothing, wherever the pieces were cut; a pipe gets what the trainer wrote.

use std::io::{self, Write};

use super::sanitise;

/// Where it is printed.
pub(crate) struct TextPage<W> {
    out: W,
    is_terminal: bool,
    /// Bytes whose character, or whose line's end, may go on in the next piece.
    rest: Vec<u8>,
    last: Option<u8>,
}

impl<W: Write> TextPage<W> {
    /// An empty page of a terminal, or of anything else.
    pub(crate) fn new(is_terminal: bool, out: W) -> Self {
        Self { out, is_terminal, rest: Vec::new(), last: None }
    }

    /// The next piece.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.last = bytes.last().copied().or(self.last);
        if !self.is_terminal {
            return self.out.write_all(bytes);
        }
        self.rest.extend_from_slice(bytes);
        let open = match self.rest.utf8_chunks().last() {
            Some(chunk) if chunk.invalid().is_empty() => usize::from(chunk.valid().ends_with('\r')),
            chunk => chunk.map_or(0, |chunk| chunk.invalid().len()),
        };
        let rest = self.rest.split_off(self.rest.len() - open);
        let text = std::mem::replace(&mut self.rest, rest);
        self.show(&text)
    }

    /// Shows what was pushed, now.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Ends the last line.
    pub(crate) fn end(mut self) -> io::Result<()> {
        let rest = std::mem::take(&mut self.rest);
        self.show(&rest)?;
        if self.last.is_some_and(|last| last != b'\n' && !(self.is_terminal && last == b'\r')) {
            writeln!(self.out)?;
        }
        self.out.flush()
    }

    fn show(&mut self, bytes: &[u8]) -> io::Result<()> {
        let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n").replace('\r', "\n");
        self.out.write_all(sanitise::lines(&text).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(pieces: &[&[u8]], is_terminal: bool) -> Vec<u8> {
        let mut out = Vec::new();
        let mut page = TextPage::new(is_terminal, &mut out);
        pieces.iter().for_each(|piece| page.push(piece).unwrap());
        page.end().unwrap();
        out
    }

    #[test]
    fn however_it_is_cut_a_terminal_gets_the_same_text() {
        for (text, expected) in [
            (&b"a\r\nb\rc\n\xc3\xa9\xf0\x9f\x98\x80\x1b[2J"[..], "a\nb\nc\n\u{e9}\u{1f600}\\u{1b}[2J\n"),
            (b"\xff\xc3", "\u{fffd}\u{fffd}\n"),
            (b"end\r", "end\n"),
            (b"\n", "\n"),
            (b"", ""),
        ] {
            for size in 1..=text.len().max(1) {
                let pieces: Vec<&[u8]> = text.chunks(size).collect();
                assert_eq!(String::from_utf8(shown(&pieces, true)).unwrap(), expected, "pieces of {size}");
            }
        }
    }

    #[test]
    fn a_pipe_gets_every_byte_and_a_last_line_that_ends() {
        assert_eq!(shown(&[b"a\r\n\xff", b"\x1b[2J"], false), b"a\r\n\xff\x1b[2J\n");
        assert_eq!(shown(&[b"a\n", b""], false), b"a\n");
        assert_eq!(shown(&[], false), b"");
    }
}

//! Copies of files in which stretches of zeros take no room, as they took none in the original.
//! Invariant: the copy has the same bytes and the same length.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

/// Zeros are looked for in pieces of this length, which is that of a file system's blocks.
const BLOCK: usize = 4 << 10;

/// Writes to a new, empty file, and leaves holes where blocks of zeros would be.
#[derive(Debug)]
pub(crate) struct SparseWriter<'f> {
    file: &'f mut File,
    /// Zeros that come next and have not been written.
    hole: u64,
}

impl<'f> SparseWriter<'f> {
    pub(crate) fn new(file: &'f mut File) -> Self {
        Self { file, hole: 0 }
    }

    /// Gives the file its length. Without it, zeros at the end are missing.
    ///
    /// # Errors
    /// As the system says.
    pub(crate) fn finish(self) -> io::Result<()> {
        if self.hole == 0 {
            return Ok(());
        }
        let end = self.file.stream_position()? + self.hole;
        self.file.set_len(end)?;
        self.file.seek(SeekFrom::Start(end)).map(drop)
    }
}

impl Write for SparseWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut blocks = bytes.chunks(BLOCK).map(|block| (is_zero(block), block.len())).peekable();
        let mut at = 0;
        while let Some((zero, mut length)) = blocks.next() {
            while let Some((_, more)) = blocks.next_if(|(next, _)| *next == zero) {
                length += more;
            }
            if zero {
                self.hole += length as u64;
            } else {
                if self.hole > 0 {
                    let position = self.file.stream_position()?;
                    self.file.seek(SeekFrom::Start(position + std::mem::take(&mut self.hole)))?;
                }
                self.file.write_all(&bytes[at..at + length])?;
            }
            at += length;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn is_zero(block: &[u8]) -> bool {
    block.iter().fold(0, |all, byte| all | byte) == 0
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn zeros_take_no_room_and_every_byte_is_as_it_was() {
        let mut original = vec![0_u8; 1 << 20];
        original[5_000] = 1;
        original[(512 << 10)..(600 << 10)].fill(7);
        for length in [0, 1, 4_095, 4_096, 5_001, 700 << 10, 1 << 20] {
            for piece in [1_000, 4_096, 64 << 10, 1 << 20] {
                let mut file = tempfile::tempfile().unwrap();
                let mut writer = SparseWriter::new(&mut file);
                original[..length].chunks(piece).for_each(|piece| writer.write_all(piece).unwrap());
                writer.finish().unwrap();
                assert_eq!(file.stream_position().unwrap(), length as u64);
                file.rewind().unwrap();
                let mut copy = Vec::new();
                file.read_to_end(&mut copy).unwrap();
                assert!(copy == original[..length], "{length} in pieces of {piece}");
                let room = file.metadata().unwrap().blocks() * 512;
                assert!(piece < BLOCK || room <= 128 << 10, "{length} in pieces of {piece}: {room}");
            }
        }
    }
}

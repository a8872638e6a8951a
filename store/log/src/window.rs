//! Reading a file front to back in large pieces, with any stretch of it at hand as one slice. Promises memory of
//! one chunk, or of the longest requested stretch. Leaves checks to its callers.

use crate::disk::DiskFile;
use crate::error::Error;
use crate::limits::CHUNK_BYTES;

/// A sliding view of a file.
pub(crate) struct Window<'a, F> {
    /// What is read.
    file: &'a F,
    /// Its name, for errors.
    name: &'a str,
    /// Its length when the view was made.
    length: u64,
    /// Bytes `start..start + buffer.len()` of it.
    buffer: Vec<u8>,
    /// Where the buffer stands.
    start: u64,
}

impl<'a, F: DiskFile> Window<'a, F> {
    /// A view of the file as long as it is now.
    pub(crate) fn new(file: &'a F, name: &'a str) -> Result<Window<'a, F>, Error> {
        let length = file.len().map_err(|e| Error::of("measure", name, e))?;
        Ok(Window { file, name, length, buffer: Vec::new(), start: 0 })
    }

    /// The file's length.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Up to `bytes` bytes at `at`: fewer only at the end of the file.
    pub(crate) fn get(&mut self, at: u64, bytes: usize) -> Result<&[u8], Error> {
        let left = usize::try_from(self.length.saturating_sub(at)).unwrap_or(usize::MAX);
        let want = bytes.min(left);
        let inside = at >= self.start && at + want as u64 <= self.start + self.buffer.len() as u64;
        if !inside {
            self.buffer.clear();
            self.buffer.resize(want.max(CHUNK_BYTES.min(left)), 0);
            let read =
                self.file.read_at(at, &mut self.buffer).map_err(|e| Error::of("read", self.name, e))?;
            self.buffer.truncate(read);
            self.start = at;
        }
        let from = usize::try_from(at - self.start).expect("inside the buffer");
        let to = (from + want).min(self.buffer.len());
        Ok(&self.buffer[from.min(to)..to])
    }

    /// The place after the last byte from `at` on that is not zero; `at` if there is none.
    pub(crate) fn data_end(&mut self, at: u64) -> Result<u64, Error> {
        let (mut end, mut place) = (at, at);
        while place < self.length {
            let chunk = self.get(place, CHUNK_BYTES)?;
            if chunk.is_empty() {
                break;
            }
            if let Some(last) = chunk.iter().rposition(|byte| *byte != 0) {
                end = place + last as u64 + 1;
            }
            place += chunk.len() as u64;
        }
        Ok(end)
    }
}

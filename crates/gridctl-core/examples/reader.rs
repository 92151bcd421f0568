//! Reads output, or a metrics file with `--file`, as a worker does: what `bench/reader` measures.

use std::error::Error;
use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use gridctl_core::metrics::{Extractor, FileReader, Patterns, Stream};
use gridctl_core::spec;

fn main() -> Result<(), Box<dyn Error>> {
    let usage = "usage: reader SWEEP.yaml LOG [--file]";
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (sweep, log, is_file) = match arguments.as_slice() {
        [sweep, log] => (sweep, log, false),
        [sweep, log, flag] if flag == "--file" => (sweep, log, true),
        _ => return Err(usage.into()),
    };
    let sweep =
        spec::parse(&std::fs::read(sweep)?, &spec::Context { file_stem: "reader", count: None })?.spec;
    let patterns = Arc::new(Patterns::new(&sweep)?);
    let (mut output, mut file) = (Extractor::new(Arc::clone(&patterns)), FileReader::new(patterns));
    let mut log = File::open(log)?;
    // As much as a pipe holds.
    let mut chunk = vec![0; 64 << 10];
    loop {
        match log.read(&mut chunk)? {
            0 => break,
            n if is_file => file.feed(&chunk[..n]),
            n => output.feed(Stream::Stdout, &chunk[..n], &|| 0),
        }
    }
    println!("{:?}", output.finish(file).objective);
    Ok(())
}

//! `lossy_disk DIR`: for tests, a disk mounted at DIR that loses what was not synced. A line `cut SEED OTHER` on standard input
//! mounts at OTHER what would be left of it if its power were cut now; each mount is answered by a line. Ends with its input.
//!
//! It is a process of its own because the kernel must never wait for it while it waits for the kernel: whoever maps a file of the
//! disk into its memory may not serve the disk.

mod disk;

use std::io::{self, BufRead as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use disk::Disk;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

fn main() -> ExitCode {
    let Some(dir) = std::env::args_os().nth(1) else {
        eprintln!("usage: lossy_disk DIR");
        return ExitCode::from(2);
    };
    let disk = Disk::new();
    let mut mounts = Vec::new();
    let mut mount = |disk: &Disk, dir: &Path| {
        let mounted = disk.mount(dir);
        let answer = if mounted.is_ok() { "mounted" } else { "not mounted" };
        mounts.push(mounted);
        writeln!(io::stdout(), "{answer}")
    };
    let mut served = mount(&disk, Path::new(&dir));
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        let mut words = line.splitn(3, ' ');
        if let (Some("cut"), Some(Ok(seed)), Some(dir)) =
            (words.next(), words.next().map(str::parse), words.next())
        {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            served = served.and_then(|()| mount(&disk.cut(&mut rng), Path::new(dir)));
        }
    }
    if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

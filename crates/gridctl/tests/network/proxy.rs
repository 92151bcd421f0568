//! A link that delays, cuts, and falls silent while it stays open: each trial has one outcome all the same.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use super::expired::{check_sweep, joined};
use super::nodes::Master;
use super::{SWEEP, expected};

/// What goes either way is this late.
const DELAY: Duration = Duration::from_millis(30);

const OPEN: u8 = 0;
/// Nothing goes either way, and nobody hangs up.
const SILENT: u8 = 1;

/// A proxy of TCP.
#[derive(Clone, Default)]
struct Proxy {
    mode: Arc<AtomicU8>,
    /// Connections from before a cut end.
    cuts: Arc<AtomicU64>,
}

impl Proxy {
    /// Listens, as long as the process lives.
    fn start(&self, to: &str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = listener.local_addr().unwrap();
        let (proxy, to) = (self.clone(), to.to_owned());
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let Ok(far) = TcpStream::connect(&to) else { continue };
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let proxy = proxy.clone();
                    std::thread::spawn(move || proxy.carry(from, to));
                }
            }
        });
        place
    }

    fn carry(&self, mut from: TcpStream, mut to: TcpStream) {
        let cuts = self.cuts.load(Ordering::SeqCst);
        from.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut bytes = [0; 16 << 10];
        while self.cuts.load(Ordering::SeqCst) == cuts {
            if self.mode.load(Ordering::SeqCst) == SILENT {
                std::thread::sleep(DELAY);
                continue;
            }
            match from.read(&mut bytes) {
                Ok(0) => break,
                Ok(count) => {
                    std::thread::sleep(DELAY);
                    // In two pieces, so that a cut falls between them at times.
                    let (first, second) = bytes[..count].split_at(count / 2);
                    if to.write_all(first).is_err() || to.write_all(second).is_err() {
                        break;
                    }
                }
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock) => {}
                Err(_) => break,
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }

    fn cut(&self) {
        self.cuts.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_link_that_is_slow_cut_again_and_again_and_then_half_open_changes_no_result() {
    let mut master = Master::start(&["--lease-ttl", "3s"]);
    master.lab.write("sweep.yaml", SWEEP);
    let expected = expected(&master.lab);
    let proxy = Proxy::default();
    let place = proxy.start(&master.place).to_string();
    let join = std::fs::read_to_string(master.join_file()).unwrap().replace(&master.place, &place);
    let file = master.lab.path().join("via");
    std::fs::write(&file, join).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    master.worker("worker", &["--join-file", "../via"]);
    master.lab.until("it joins", || joined(&master, "worker") == 1);
    let mut submit = master.lab.command(&["submit", "sweep.yaml"]);
    let done = master.lab.finish(submit.env("LEDGER", master.lab.path().join("ledger")));
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    for count in [3, 6, 9, 12] {
        master.lab.until("more trials", || master.lab.ledger("ledger").len() > count);
        proxy.cut();
    }
    master.lab.until("more trials", || master.lab.ledger("ledger").len() > 16);
    proxy.mode.store(SILENT, Ordering::SeqCst);
    master.lab.until("the worker notices", || master.said_by("worker").contains("it is silent"));
    let workers = || master.lab.run(&["workers", "ls", "-o", "json"]).stdout;
    master.lab.until("the master notices", || !workers().contains("\"connected\": true"));
    proxy.mode.store(OPEN, Ordering::SeqCst);
    check_sweep(&master, &expected);
    assert_eq!(joined(&master, "worker"), 1, "{}", master.said_by("worker"));
}

//! A registry that knows one image: what `docker pull` asks of it, and whether that was asked with a
//! login. It can be busy, and claim layers of any size.
#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its ground fails")]

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How it answers.
#[derive(Clone, Default)]
pub(crate) struct Registry {
    /// Blobs and manifests, by what stands after the repository's name.
    pub(crate) content: HashMap<String, (&'static str, Vec<u8>)>,
    /// What `Authorization` has to be.
    pub(crate) login: Option<String>,
    /// It has no time.
    pub(crate) is_busy: bool,
    /// What each blob claims to have, where that is not its size.
    pub(crate) claims: Option<u64>,
}

/// It answers as long as this is there.
pub(crate) struct Served {
    /// `127.0.0.1:port`.
    pub(crate) address: String,
    ends: Arc<AtomicBool>,
}

impl Registry {
    pub(crate) fn serve(self) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let ends = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ends);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if told.load(Ordering::Relaxed) {
                    return;
                }
                let registry = self.clone();
                std::thread::spawn(move || while registry.answer(&stream).is_some() {});
            }
        });
        Served { address, ends }
    }

    /// Answers one request; `None` ends the connection.
    fn answer(&self, stream: &TcpStream) -> Option<()> {
        let mut lines = BufReader::new(stream).lines();
        let first = lines.next()?.ok()?;
        let mut login = None;
        while let Some(Ok(line)) = lines.next().filter(|line| !matches!(line, Ok(line) if line.is_empty())) {
            let (name, value) = line.split_once(": ")?;
            login = login.or_else(|| name.eq_ignore_ascii_case("authorization").then(|| value.to_owned()));
        }
        let mut words = first.split(' ');
        let (method, path) = (words.next()?, words.next()?);
        let mut to = stream;
        if self.login.is_some() && login != self.login {
            let head = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"test\"\r\nContent-Length: 0\r\n\r\n";
            return to.write_all(head.as_bytes()).ok();
        }
        if self.is_busy && path != "/v2/" {
            let body = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"you have reached your pull rate limit"}]}"#;
            let head =
                format!("HTTP/1.1 429 Too Many Requests\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            return to.write_all(head.as_bytes()).ok();
        }
        let key = path.split_once("/env/").map_or("", |(_, key)| key);
        let Some((kind, body)) = self.content.get(key) else {
            let code = if path == "/v2/" { "200 OK" } else { "404 Not Found" };
            return to.write_all(format!("HTTP/1.1 {code}\r\nContent-Length: 0\r\n\r\n").as_bytes()).ok();
        };
        let size = self
            .claims
            .filter(|_| key.starts_with("blobs") && *kind != "config")
            .unwrap_or(body.len() as u64);
        let kind = if *kind == "config" { "application/octet-stream" } else { kind };
        let digest = key.split_once("sha256:").map_or(String::new(), |(_, hex)| format!("sha256:{hex}"));
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\nDocker-Content-Digest: {digest}\r\n\r\n"
        );
        to.write_all(head.as_bytes()).ok()?;
        if method == "HEAD" { Some(()) } else { to.write_all(body).ok() }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(&self.address));
    }
}

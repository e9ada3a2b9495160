//! A web application small enough to be a target: its one page is its node's name, everything else it does not have. It
//! can die, and it can fail at whatever it is asked for.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Result;

/// How long a connection may be silent.
const SILENCE: Duration = Duration::from_secs(60);

/// What it says to anybody who wants something else than its page.
pub const NOT_FOUND: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\nConnection: close\r\n\r\nNot here.";

/// The application of one node. Stops listening when dropped.
pub struct Web {
    name: String,
    address: SocketAddr,
    failing: Arc<AtomicBool>,
    listening: Mutex<Option<Listening>>,
}

/// The thread that takes connections.
struct Listening {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Web {
    /// Listens on a free loopback port and answers `200` with `name`.
    ///
    /// # Errors
    /// If no port can be had.
    pub fn start(name: &str) -> Result<Self> {
        Self::start_at(Ipv4Addr::LOCALHOST, name)
    }

    /// The same on another address of this machine.
    ///
    /// # Errors
    /// As [`start`](Self::start), or this machine has no such address.
    pub fn start_at(address: Ipv4Addr, name: &str) -> Result<Self> {
        let listener = TcpListener::bind((address, 0))?;
        let (name, address) = (name.to_owned(), listener.local_addr()?);
        let web = Self { name, address, failing: Arc::default(), listening: Mutex::default() };
        web.listen(listener)?;
        Ok(web)
    }

    /// `HOST:PORT` for a node's `--target`.
    pub fn target(&self) -> String {
        self.address.to_string()
    }

    /// Dies: its port is closed when this returns.
    pub fn pause(&self) {
        let listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Listening { stop, thread }) = listening {
            stop.store(true, Ordering::SeqCst);
            // Wakes `incoming`.
            let _wake = TcpStream::connect(self.address);
            let _panicked = thread.join();
        }
    }

    /// Lives again, on the same port.
    ///
    /// # Errors
    /// If the port cannot be had.
    pub fn resume(&self) -> Result<()> {
        self.listen(TcpListener::bind(self.address)?)
    }

    /// Answers everything with 500 from now on, or no more.
    pub fn fail(&self, fails: bool) {
        self.failing.store(fails, Ordering::SeqCst);
    }

    fn listen(&self, listener: TcpListener) -> Result<()> {
        let stop = Arc::new(AtomicBool::new(false));
        let (name, failing, stopped) = (self.name.clone(), Arc::clone(&self.failing), Arc::clone(&stop));
        let thread = thread::Builder::new().name(format!("web {name}")).spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (name, failing) = (name.clone(), Arc::clone(&failing));
                // A thread each: a slow visitor must not hold up the others.
                thread::spawn(move || stream.and_then(|stream| answer(&stream, &name, &failing)));
            }
        })?;
        *self.listening.lock().unwrap_or_else(PoisonError::into_inner) = Some(Listening { stop, thread });
        Ok(())
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.pause();
    }
}

/// Answers request after request, for as long as the visitor wants the connection to stay.
fn answer(mut stream: &TcpStream, name: &str, failing: &AtomicBool) -> std::io::Result<()> {
    stream.set_read_timeout(Some(SILENCE))?;
    let mut lines = BufReader::new(stream).lines();
    let mut stays = true;
    while stays && let Some(request) = lines.next() {
        let (request, mut stay) = (request?, "close");
        for line in lines.by_ref() {
            match line?.as_str() {
                "" => break,
                "Connection: keep-alive" => stay = "keep-alive",
                _ => {}
            }
        }
        stays = stay == "keep-alive";
        let (status, body) = match request.starts_with("GET / ") {
            _ if failing.load(Ordering::SeqCst) => ("500 Internal Server Error", "Broken."),
            true => ("200 OK", name),
            false => return write!(stream, "{NOT_FOUND}"),
        };
        let length = body.len();
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: {stay}\r\n\r\n{body}")?;
    }
    Ok(())
}

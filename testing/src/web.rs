//! A web application small enough to be a target: its one page is its node's name, everything else it does not have.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Result;

/// What it says to anybody who wants something else than its page.
pub const NOT_FOUND: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\nConnection: close\r\n\r\nNot here.";

/// The application of one node. Stops listening when dropped.
pub struct Web {
    name: String,
    address: SocketAddr,
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
        let web = Self { name: name.to_owned(), address: listener.local_addr()?, listening: Mutex::default() };
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

    fn listen(&self, listener: TcpListener) -> Result<()> {
        let stop = Arc::new(AtomicBool::new(false));
        let (name, stopped) = (self.name.clone(), Arc::clone(&stop));
        let thread = thread::Builder::new().name(format!("web {name}")).spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let name = name.clone();
                // A thread each: a slow visitor must not hold up the others.
                thread::spawn(move || stream.and_then(|stream| answer(stream, &name)));
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

fn answer(mut stream: TcpStream, name: &str) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut lines = BufReader::new(&stream).lines();
    let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    if !request.starts_with("GET / ") {
        return write!(stream, "{NOT_FOUND}");
    }
    let length = name.len();
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{name}")
}

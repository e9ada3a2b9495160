//! A web application small enough to be a target: it answers every request with its node's name.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;

/// The application of one node. Stops listening when dropped.
pub struct Web {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
}

impl Web {
    /// Listens on a free loopback port and answers `200` with `name`.
    ///
    /// # Errors
    /// If no port can be had.
    pub fn start(name: &str) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let (name, stopped) = (name.to_owned(), Arc::clone(&stop));
        thread::Builder::new().name(format!("web {name}")).spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let name = name.clone();
                // A thread each: a slow visitor must not hold up the others.
                thread::spawn(move || stream.and_then(|stream| answer(stream, &name)));
            }
        })?;
        Ok(Self { address, stop })
    }

    /// `HOST:PORT` for a node's `--target`.
    pub fn target(&self) -> String {
        self.address.to_string()
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes `incoming`, so that the port is closed.
        let _wake = TcpStream::connect(self.address);
    }
}

fn answer(mut stream: TcpStream, name: &str) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    for line in BufReader::new(&stream).lines() {
        if line?.is_empty() {
            break;
        }
    }
    let length = name.len();
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{name}")
}

//! A control connection's bytes, over a unix socket or a port of this machine.

use std::io;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_io::Async;
use smol::io::{AsyncRead, AsyncWrite};

use crate::settings::ControlAddress;

/// The connection. Like a socket it can be read and written at the same time through shared references.
pub(super) enum Stream {
    Unix(Async<UnixStream>),
    Tcp(Async<TcpStream>),
}

impl Stream {
    pub(super) async fn connect(address: &ControlAddress) -> io::Result<Self> {
        match address {
            ControlAddress::Unix(path) => Async::<UnixStream>::connect(path).await.map(Self::Unix),
            ControlAddress::Tcp(address) => Async::<TcpStream>::connect(*address).await.map(Self::Tcp),
        }
    }
}

impl AsyncRead for &Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match **self {
            Stream::Unix(ref stream) => Pin::new(&mut &*stream).poll_read(cx, buffer),
            Stream::Tcp(ref stream) => Pin::new(&mut &*stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for &Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match **self {
            Stream::Unix(ref stream) => Pin::new(&mut &*stream).poll_write(cx, bytes),
            Stream::Tcp(ref stream) => Pin::new(&mut &*stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

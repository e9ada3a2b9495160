//! For tests: a client whose bytes are read in just the pieces that it sends.

use std::io::{self, Write as _};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::pin::pin;

use async_io::Async;
use smol::future::{poll_once, yield_now};
use socket2::Socket;

/// What `receive` makes of a client that sends `parts`, each of them once all before it was read, and then its end.
pub(super) fn fed<T>(parts: &[&[u8]], receive: impl AsyncFnOnce(&Async<Socket>) -> io::Result<T>) -> T {
    let (mut client, ours) = UnixStream::pair().unwrap();
    let ours = Async::new(Socket::from(OwnedFd::from(ours))).unwrap();
    smol::block_on(async {
        let mut receiving = pin!(receive(&ours));
        for part in parts {
            client.write_all(part).unwrap();
            while rustix::io::ioctl_fionread(&ours).unwrap() > 0 {
                if let Some(received) = poll_once(&mut receiving).await {
                    return received.unwrap();
                }
                yield_now().await;
            }
        }
        client.shutdown(Shutdown::Write).unwrap();
        receiving.await.unwrap()
    })
}

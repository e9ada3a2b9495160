//! The only reader of clocks.

use core::time::Duration;
use std::time::SystemTime;

use rustbalance_core::time::{Mono, Now, Wall};
use rustix::time::{ClockId, Timespec, clock_gettime};
use smol::future::FutureExt as _;

/// Both clocks: boot time, which runs on while the machine sleeps, and wall time, where one before 1970 counts as 1970.
pub fn now() -> Now {
    // Unlike rustix the standard library asks the C library, which a test can have say something else.
    let wall = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    Now { mono: mono(), wall: Wall::from_ms(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)) }
}

/// Boot time.
pub fn mono() -> Mono {
    Mono::from_ms(milliseconds(clock_gettime(ClockId::Boottime)))
}

/// Waits until `deadline`; for ever if there is none.
pub async fn sleep_until(deadline: Option<Mono>) {
    match deadline {
        Some(deadline) => sleep(deadline.since(mono())).await,
        None => core::future::pending().await,
    }
}

/// Waits for `duration`.
pub async fn sleep(duration: Duration) {
    async_io::Timer::after(duration).await;
}

/// What `work` comes to, or nothing if that takes longer than `limit`; then it is dropped.
pub(crate) async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    let late = async {
        sleep(limit).await;
        None
    };
    async { Some(work.await) }.or(late).await
}

fn milliseconds(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1000).saturating_add(nanoseconds / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_time_is_this_century_and_boot_time_does_not_go_back() {
        let first = now();
        assert!(first.wall > Wall::from_secs(1_700_000_000));
        assert!(now().mono >= first.mono);
    }

    #[test]
    fn what_is_done_in_time_is_handed_over_and_what_is_late_is_dropped() {
        // Done at once, it wins over a limit that is over already.
        assert_eq!(smol::block_on(within(Duration::ZERO, async { 7 })), Some(7));
        let (held, dropped) = smol::channel::bounded::<()>(1);
        let never = async move { held.closed().await };
        assert_eq!(smol::block_on(within(Duration::ZERO, never)), None);
        assert!(dropped.is_closed());
    }
}

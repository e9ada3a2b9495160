//! Waiting for facts: a question asked again and again until it is answered or a deadline passes.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a fact is asked for.
const POLL: Duration = Duration::from_millis(100);
/// The same where an instant counts, and the question costs little.
const CLOSE_POLL: Duration = Duration::from_millis(2);

/// Asks `question` until it answers `Ready`; an `Err` ends the wait at once.
///
/// # Errors
/// After `limit`, naming `what` and the last reason why not yet.
pub fn until<T>(what: &str, limit: Duration, question: impl FnMut() -> Result<Answer<T>>) -> Result<T> {
    every(POLL, what, limit, question)
}

/// The same, for what is to be known at once.
///
/// # Errors
/// As [`until`].
pub fn closely<T>(what: &str, limit: Duration, question: impl FnMut() -> Result<Answer<T>>) -> Result<T> {
    every(CLOSE_POLL, what, limit, question)
}

/// As [`until`], for a question whose every failure means that it does not hold yet.
///
/// # Errors
/// As [`until`].
pub fn until_ok<T>(what: &str, limit: Duration, question: impl Fn() -> Result<T>) -> Result<T> {
    until(what, limit, || Ok(question().map_or_else(|error| Answer::NotYet(format!("{error:#}")), Answer::Ready)))
}

fn every<T>(
    pause: Duration,
    what: &str,
    limit: Duration,
    mut question: impl FnMut() -> Result<Answer<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        match question()? {
            Answer::Ready(value) => return Ok(value),
            Answer::NotYet(why) if start.elapsed() > limit => {
                bail!("{what}: not within {:.1} s; {why}", limit.as_secs_f32())
            }
            Answer::NotYet(_) => thread::sleep(pause),
        }
    }
}

/// What a question may answer.
pub enum Answer<T> {
    /// It holds.
    Ready(T),
    /// It does not hold yet, and why.
    NotYet(String),
}

impl<T> Answer<T> {
    /// `Ready` if there is a value, else the reason.
    pub fn from_option(value: Option<T>, why: impl FnOnce() -> String) -> Self {
        value.map_or_else(|| Self::NotYet(why()), Self::Ready)
    }
}

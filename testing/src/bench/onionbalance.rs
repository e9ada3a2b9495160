//! Onionbalance as a peer: its ring of HSDirs.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;

use crate::onionbalance;

const PROGRAM: &str = include_str!("onionbalance.py");

/// A running Onionbalance; killed on drop.
pub struct Onionbalance {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Onionbalance {
    /// Installs it below `directory`, which holds `consensus` and `microdescs`, and starts it.
    ///
    /// # Errors
    /// No Python, no registry, or a package that does not start.
    pub fn start(directory: &Path, blinded: [u8; 32]) -> anyhow::Result<Self> {
        let python = onionbalance::install(directory)?.join("python");
        let blinded: String = blinded.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut child = Command::new(&python)
            .args(["-c", PROGRAM])
            .arg(directory)
            .arg(blinded)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = child.stdin.take().context("its input")?;
        let answers = BufReader::new(child.stdout.take().context("its output")?);
        Ok(Self { child, orders, answers })
    }

    /// Reads consensus and microdescriptors; returns how long it took.
    ///
    /// # Errors
    /// It has ended.
    pub fn load(&mut self) -> anyhow::Result<Duration> {
        self.order("load").map(|(time, _)| time)
    }

    /// Computes the HSDirs of both descriptors; returns them in order, and how long it took.
    ///
    /// # Errors
    /// It has ended.
    pub fn ring(&mut self) -> anyhow::Result<(Duration, [String; 2])> {
        let (time, hsdirs) = self.order("ring")?;
        let [first, second] = hsdirs.try_into().ok().context("two descriptors")?;
        Ok((time, [first, second]))
    }

    fn order(&mut self, order: &str) -> anyhow::Result<(Duration, Vec<String>)> {
        writeln!(self.orders, "{order}")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        let mut words = answer.split_whitespace();
        let seconds = words.next().context("Onionbalance ended, see above")?.parse()?;
        Ok((Duration::from_secs_f64(seconds), words.map(str::to_owned).collect()))
    }
}

impl Drop for Onionbalance {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

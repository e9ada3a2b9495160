//! `rustbalance descriptor`.

mod difference;
mod page;
mod source;

use std::path::Path;

use rustbalance_core::hsdesc::{Examination, examine};

use super::secret::refuse_two_from_stdin;
use crate::args::{Common, Descriptor, Reading};
use crate::failure::{Exit, Failure};
use crate::output;
use serde::Serialize;
use source::{Decoder, Source};

/// A descriptor that was looked at; `--json` prints it as it is.
#[derive(Serialize)]
struct Shown {
    /// File, `standard input`, or `HSDir FINGERPRINT`.
    source: String,
    /// With `.onion`.
    address: String,
    /// A client would use all of it.
    good: bool,
    #[serde(flatten)]
    examination: Examination,
}

/// Shows one, or compares two.
///
/// # Errors
/// It cannot be had, or (exit codes 7 and 6) it is bad, or they differ.
pub fn descriptor(common: &Common, args: &Descriptor) -> Result<(), Failure> {
    match args {
        Descriptor::Show { file, live: _, reading } => {
            refuse_two_from_stdin(&[("FILE", file.as_deref()), passphrase(reading)])?;
            let decoder = Decoder::new(common, reading)?;
            let shown = decoder.look_at(&Source::of(file.as_deref()))?;
            output::line(&if reading.json { output::to_json(&shown)? } else { page::page(&shown, &decoder) })?;
            if shown.good { Ok(()) } else { Err(bad(&shown)) }
        }
        Descriptor::Diff { first, second, live: _, reading } => {
            let files = [("FIRST", Some(&**first)), ("SECOND", second.as_deref()), passphrase(reading)];
            refuse_two_from_stdin(&files)?;
            let decoder = Decoder::new(common, reading)?;
            let first = decoder.look_at(&Source::of(Some(first)))?;
            let second = decoder.look_at(&Source::of(second.as_deref()))?;
            let differences = difference::between(&first.examination, &second.examination);
            let text = if reading.json {
                output::to_json(&differences)?
            } else {
                difference::page(&first.source, &second.source, &differences)
            };
            output::line(&text)?;
            // Two that cannot be read to their end are not known to be equal.
            match [&first, &second].into_iter().find(|shown| !shown.examination.complete) {
                Some(shown) => Err(bad(shown)),
                None if differences.is_empty() => Ok(()),
                None => Err(Failure::new(Exit::No, format!("{} and {} differ", first.source, second.source))),
            }
        }
    }
}

fn passphrase(reading: &Reading) -> (&'static str, Option<&Path>) {
    ("--passphrase-file", reading.unlock.passphrase_file.as_deref())
}

impl Decoder {
    fn look_at(&self, source: &Source<'_>) -> Result<Shown, Failure> {
        let (source, text) = self.read(source)?;
        let mut examination = examine(&text, self.address.id(), &self.periods, self.client(), self.now);
        if let Some(master) = &self.master {
            examination.count_seconds(master);
        }
        Ok(Shown { source, address: self.address.to_string(), good: examination.is_good(), examination })
    }
}

/// Everything wrong, a line each.
fn bad(shown: &Shown) -> Failure {
    let Shown { source, examination, .. } = shown;
    let points = examination.inner.iter().filter_map(|inner| inner.content.as_ref()).flat_map(|inner| &inner.points);
    let left_out = points.filter_map(|point| point.refused.as_ref());
    let faults = examination.faults.iter().map(|fault| format!("{source}: {}", fault.text));
    let lines = faults.chain(left_out.map(|fault| format!("{source}: {}; clients leave this point out", fault.text)));
    Failure::with_lines(Exit::Descriptor, lines.collect())
}

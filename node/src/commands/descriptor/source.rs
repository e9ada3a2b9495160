//! Where descriptors come from, and what is needed to decode them.

use std::io::Read as _;
use std::path::Path;

use rustbalance_core::hsdesc::ClientKey;
use rustbalance_core::id::RelayFingerprint;
use rustbalance_core::onion::address::OnionAddress;
use rustbalance_core::onion::client::HsClientDescEncKeypair;
use rustbalance_core::onion::key::HsIdKeypair;
use rustbalance_core::onion::period::TimePeriod;
use rustbalance_core::status::Status;
use rustbalance_core::time::Wall;
use rustbalance_io::keys::{self, MasterKey};
use rustbalance_io::settings::TorSettings;
use rustbalance_io::store::{Store, check_secret_file};
use rustbalance_io::tor::fetch::{FetchError, Fetched, fetch};
use rustbalance_io::{clock, status};
use std::path::PathBuf;

use crate::args::{Common, Reading};
use crate::commands::encrypted;
use crate::config_file;
use crate::failure::{Exit, Failure};

/// Longest descriptor that is read, bytes: much longer than any HSDir takes, so that its fault can be shown.
const TEXT_MAX: u64 = 1 << 20;
/// Length of a time period on the public network, minutes.
const PERIOD_LENGTH: u32 = 1440;
/// The public network's rotation offset as a share of the period: half of it, on test networks too.
const OFFSET_SHARE: u64 = 2;
/// Time periods tried before the current one: a file may be some weeks old.
const PERIODS_BEFORE: u64 = 60;
/// And after it.
const PERIODS_AFTER: u64 = 2;

/// One descriptor's place.
pub enum Source<'a> {
    File(&'a Path),
    StandardInput,
    Live,
}

impl<'a> Source<'a> {
    /// As the command line names it.
    pub fn of(file: Option<&'a Path>) -> Self {
        match file {
            Some(file) if file == Path::new("-") => Self::StandardInput,
            Some(file) => Self::File(file),
            None => Self::Live,
        }
    }
}

/// What is needed to decode.
pub struct Decoder {
    pub address: OnionAddress,
    /// Tried in this order.
    pub periods: Vec<TimePeriod>,
    pub now: Wall,
    /// Where the address is this node's own.
    pub master: Option<HsIdKeypair>,
    client: Option<ClientKey>,
    own_client: Option<HsClientDescEncKeypair>,
    hsdir: Option<RelayFingerprint>,
    dir: PathBuf,
    tor: TorSettings,
    /// Of the node that runs here, if one does.
    status: Option<Status>,
}

impl Decoder {
    /// From the flags, this node's key, and what the running node knows.
    ///
    /// # Errors
    /// A flag that is wrong; no address.
    pub fn new(common: &Common, reading: &Reading) -> Result<Self, Failure> {
        let client = reading.client_key.as_deref().map(client_key).transpose()?;
        let own = own(common, reading)?;
        let address = address(reading, client.as_ref(), own.as_ref())?;
        let own = own.filter(|key| key.address() == address);
        let hsdir = reading.hsdir.as_deref().map(fingerprint).transpose()?;
        let status = status::status(&common.dir).ok();
        let now = clock::now().wall;
        let master = own.map(|key| key.keypair()).transpose()?;
        Ok(Self {
            address,
            periods: periods(reading, status.as_ref(), now),
            now,
            own_client: master.as_ref().map(HsIdKeypair::own_client),
            master,
            client,
            hsdir,
            dir: common.dir.clone(),
            tor: tor(common),
            status,
        })
    }

    /// The client's keys: those named, else those of the service itself, which is a client of its own.
    pub fn client(&self) -> Option<&HsClientDescEncKeypair> {
        self.client.as_ref().map(ClientKey::keypair).or(self.own_client.as_ref())
    }

    /// The text of `source`, and its name.
    ///
    /// # Errors
    /// It cannot be read or fetched.
    pub fn read(&self, source: &Source<'_>) -> Result<(String, Vec<u8>), Failure> {
        match source {
            Source::File(path) => {
                let read = || {
                    let mut text = Vec::new();
                    std::fs::File::open(path)?.take(TEXT_MAX).read_to_end(&mut text).map(|_| text)
                };
                let name = path.display().to_string();
                match read() {
                    Ok(text) => Ok((name, text)),
                    Err(error) => Err(Failure::usage(format!("{name}: {error}; name a file with a descriptor, or -"))),
                }
            }
            Source::StandardInput => {
                let mut text = Vec::new();
                let read = std::io::stdin().lock().take(TEXT_MAX).read_to_end(&mut text);
                read.map_err(|error| Failure::new(Exit::Runtime, format!("standard input: {error}; try a file")))?;
                Ok(("standard input".to_owned(), text))
            }
            Source::Live => {
                let Fetched { hsdir, text } = self.fetch()?;
                let name = hsdir.map_or_else(|| "an HSDir".to_owned(), |hsdir| format!("HSDir {hsdir}"));
                Ok((name, text))
            }
        }
    }

    fn fetch_from(&self, hsdir: Option<RelayFingerprint>) -> Result<Fetched, FetchError> {
        fetch(&self.dir, &self.tor, self.address, hsdir)
    }

    /// Asks the HSDir that was named, else one after the other of those that the node knows to be responsible for its
    /// own address, else whomever tor asks. Tor asks an HSDir that it chooses but once in a quarter of an hour.
    fn fetch(&self) -> Result<Fetched, Failure> {
        if self.hsdir.is_some() {
            return Ok(self.fetch_from(self.hsdir)?);
        }
        let own = self.status.iter().filter(|status| status.address == self.address.to_string());
        let slots = own.flat_map(|status| &status.publication.slots).filter(|slot| slot.current);
        let known = slots.flat_map(|slot| &slot.hsdirs).filter_map(|hsdir| RelayFingerprint::from_hex(&hsdir.relay));
        let mut failed = None;
        for hsdir in known {
            match self.fetch_from(Some(hsdir)) {
                Ok(fetched) => return Ok(fetched),
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(error) => Err(error.into()),
            None => Ok(self.fetch_from(None)?),
        }
    }
}

/// This node's key. One that is encrypted is not asked for where another says the address.
fn own(common: &Common, reading: &Reading) -> Result<Option<MasterKey>, Failure> {
    let store = Store::new(&common.dir);
    let is_asked_for = reading.unlock.passphrase_file.is_none();
    let is_needless = is_asked_for && (reading.address.is_some() || reading.client_key.is_some());
    if !store.is_occupied() || (store.is_encrypted() && is_needless) {
        return Ok(None);
    }
    Ok(Some(encrypted::open(common, &reading.unlock)?.master_key()?))
}

fn client_key(path: &Path) -> Result<ClientKey, Failure> {
    check_secret_file(path)?;
    let mut file = std::fs::File::open(path).map_err(|error| {
        Failure::new(Exit::State, format!("{}: {error}; name tor's .auth_private file", path.display()))
    })?;
    let bytes = keys::read_secret(&mut file, path)?;
    let text = core::str::from_utf8(&bytes).unwrap_or_default();
    ClientKey::parse(text).map_err(|error| {
        Failure::new(Exit::State, format!("{}: {error}; name the .auth_private file of tor's client", path.display()))
    })
}

fn address(reading: &Reading, client: Option<&ClientKey>, own: Option<&MasterKey>) -> Result<OnionAddress, Failure> {
    let of_client = client.map(ClientKey::address);
    let Some(text) = &reading.address else {
        return of_client.or(own.map(MasterKey::address)).ok_or_else(|| {
            Failure::usage(
                "no node is set up here; say whose descriptor it is with --address, or name the right --dir".to_owned(),
            )
        });
    };
    let address = text.parse().map_err(|error| Failure::usage(format!("--address: {error}")))?;
    match of_client {
        Some(other) if other != address => {
            Err(Failure::usage("--client-key is for another address than --address; name the one that belongs to it"))
        }
        Some(_) | None => Ok(address),
    }
}

fn fingerprint(text: &str) -> Result<RelayFingerprint, Failure> {
    RelayFingerprint::from_hex(text).ok_or_else(|| {
        Failure::usage("--hsdir: not a relay's fingerprint; it has 40 hexadecimal digits, as `status` shows it")
    })
}

/// The periods that the descriptor may be of, the likeliest first.
fn periods(reading: &Reading, status: Option<&Status>, now: Wall) -> Vec<TimePeriod> {
    let known = status.and_then(|status| status.publication.period);
    let length = reading.period_length.or(known.map(|period| period.length_minutes)).unwrap_or(PERIOD_LENGTH).max(1);
    let of = |number| TimePeriod { number, length_minutes: length };
    if let Some(number) = reading.period {
        return vec![of(number)];
    }
    let seconds = u64::from(length) * 60;
    let current = match known.filter(|period| period.length_minutes == length) {
        Some(period) => period.number,
        None => now.as_secs().saturating_sub(seconds / OFFSET_SHARE) / seconds,
    };
    let after = (0..=PERIODS_AFTER).map(|ahead| current.saturating_add(ahead));
    let before = (1..=PERIODS_BEFORE).map_while(|behind| current.checked_sub(behind));
    after.chain(before).map(of).collect()
}

/// Whose tor the node here uses; a file that is wrong says so elsewhere.
fn tor(common: &Common) -> TorSettings {
    let settings = config_file::load(&common.config_file(), &common.dir).ok().flatten();
    settings.map(|settings| settings.tor).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Unlock;

    fn reading(period: Option<u64>, period_length: Option<u32>) -> Reading {
        Reading {
            address: None,
            client_key: None,
            period,
            period_length,
            hsdir: None,
            unlock: Unlock { passphrase_file: None },
            json: false,
        }
    }

    #[test]
    fn periods_around_now_are_tried_unless_one_is_named() {
        // rend-spec [TIME-PERIODS]: 2016-04-13 11:15 UTC lies in period 16903.
        let now = Wall::from_secs(1_460_546_101);
        let tried = periods(&reading(None, None), None, now);
        assert_eq!((tried[0].number, tried[0].length_minutes), (16_903, 1440));
        assert!(tried.iter().any(|period| period.number == 16_904));
        assert!(tried.iter().any(|period| period.number == 16_873));
        assert_eq!(periods(&reading(Some(5), Some(8)), None, now), [TimePeriod { number: 5, length_minutes: 8 }]);
    }
}

//! For fuzzing and for ordinary tests: any bytes as a layer of a descriptor, past the signatures and MACs that would keep
//! them out.

use rand_core::SeedableRng as _;

use super::client::{Authorisation, random};
use super::middle::Middle;
use super::{
    BuildError, Content, Descriptor, DescriptorError, InnerHeader, IntroPoint, Layers, SigningKeys, build, examine,
    inner, open, outer, peek_revision,
};
use crate::onion::key::HsIdKeypair;
use crate::onion::period::TimePeriod;
use crate::onion::revision::RevisionCounter;
use crate::rng::Rng;
use crate::time::Wall;

const PERIOD: TimePeriod = TimePeriod { number: 20_780, length_minutes: 1440 };
const NOW: Wall = Wall::from_secs(1_795_446_825);
const REVISION: RevisionCounter = RevisionCounter(1_795_446_825);

/// A service whose keys never change, so that what was once made for it can be read again.
pub struct Sealer {
    master: HsIdKeypair,
    keys: SigningKeys,
}

impl Default for Sealer {
    fn default() -> Self {
        let mut rng = Rng::seed_from_u64(1);
        let master = HsIdKeypair::generate(&mut rng);
        let keys = SigningKeys::new(&master.blind(PERIOD), &mut rng, NOW);
        Self { master, keys }
    }
}

impl Sealer {
    /// The service.
    pub fn master(&self) -> &HsIdKeypair {
        &self.master
    }

    /// The period that its descriptors are for.
    pub const fn period(&self) -> TimePeriod {
        PERIOD
    }

    /// When its certificates hold.
    pub const fn now(&self) -> Wall {
        NOW
    }

    /// `text`, whatever it is, with the service's signature as its last line.
    pub fn signed(&self, text: &[u8]) -> Vec<u8> {
        let signature = outer::signature_line(&self.keys, text, &[text]);
        [text, signature.as_bytes()].concat()
    }

    /// An outer layer around `middle`, whatever that is.
    pub fn with_middle(&self, middle: &[u8]) -> String {
        let superencrypted = self.layers().middle().encrypt([7; 16], middle);
        outer::encode(&self.keys, REVISION, &superencrypted)
    }

    /// Outer and middle layer around `inner`, whatever that is.
    pub fn with_inner(&self, inner: &[u8]) -> String {
        self.with_middle(&self.middle(inner))
    }

    /// `text`, whatever it is, in the place that the byte says: a whole descriptor, all of one but its signature, a middle
    /// or an inner layer.
    pub fn sealed(&self, layer: u8, text: &[u8]) -> Vec<u8> {
        match layer % 4 {
            0 => text.to_vec(),
            1 => self.signed(text),
            2 => self.with_middle(text).into_bytes(),
            _ => self.with_inner(text).into_bytes(),
        }
    }

    /// A middle layer, open to everybody, around `inner`, whatever that is.
    pub fn middle(&self, inner: &[u8]) -> Vec<u8> {
        let layers = self.layers();
        let mut rng = Rng::seed_from_u64(2);
        let authorisation = Authorisation::new(&[], layers.subcredential, &mut rng);
        let middle = Middle {
            ephemeral_key: authorisation.ephemeral_key,
            ephemeral_key_line: 0,
            clients: authorisation.lines,
            encrypted: layers.inner(None).encrypt(random(&mut rng), inner),
            encrypted_line: 0,
        };
        middle.encode()
    }

    /// An inner layer with `points`, certified by the service, to begin from.
    ///
    /// # Errors
    /// A point's key is none.
    pub fn inner(&mut self, header: &InnerHeader, points: &[IntroPoint]) -> Result<String, BuildError> {
        Ok(inner::encode(header, None, self.keys.certify(points, NOW)?.into_iter()))
    }

    /// Reads `text` as a descriptor of the service.
    ///
    /// # Errors
    /// As [`open`].
    pub fn open(&self, text: &[u8]) -> Result<Descriptor, DescriptorError> {
        open(text, self.master.public(), &[PERIOD], None, NOW)
    }

    /// Reads `text` in every way we have.
    ///
    /// # Panics
    /// If these ways disagree, or if what was read cannot be built and read again: that would be a bug of ours.
    pub fn exercise(&self, text: &[u8]) {
        let opened = self.open(text);
        let shown = examine(text, self.master.public(), &[PERIOD], None, NOW);
        match &opened {
            Ok(descriptor) => {
                assert!(shown.complete && shown.faults.is_empty(), "{:?}", shown.faults);
                assert_eq!(shown.is_good(), descriptor.refused.is_empty());
                assert_eq!(peek_revision(text), Some(descriptor.revision));
                self.build_again(descriptor);
            }
            Err(error) => assert_eq!(shown.faults.first().map(|first| &first.text), Some(&error.to_string())),
        }
    }

    fn build_again(&self, read: &Descriptor) {
        let mut points: Vec<IntroPoint> = Vec::new();
        for point in read.points.iter().filter(|point| point.has_sound_keys()) {
            if points.iter().all(|listed| listed.relay() != point.relay()) {
                points.push(point.clone());
            }
        }
        let (blind, mut rng) = (self.master.blind(PERIOD), Rng::seed_from_u64(3));
        let content = Content {
            blind: &blind,
            subcredential: self.master.public().subcredential(blind.public()),
            revision: read.revision,
            header: &read.header,
            pow: read.pow.as_ref(),
            points: &points,
            clients: &[],
            now: NOW,
        };
        let mut keys = SigningKeys::new(&blind, &mut rng, NOW);
        match build(&mut keys, &content, &mut rng) {
            Ok(text) => {
                let again =
                    self.open(text.as_bytes()).map(|again| (again.revision, again.header, again.pow, again.points));
                assert_eq!(again, Ok((read.revision, read.header.clone(), read.pow, points)));
            }
            Err(BuildError::NoPoints) => assert!(points.is_empty()),
            // A header may take all the room, or what was read stood in fewer bytes than we write.
            Err(BuildError::TooLarge(_)) => {}
            Err(error) => panic!("{error}: {:?}", read.header),
        }
    }

    fn layers(&self) -> Layers {
        let blind = self.keys.blind();
        Layers { blind, subcredential: self.master.public().subcredential(blind), revision: REVISION }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hsdesc::{DescriptorFault, Layer};

    fn fault(sealer: &Sealer, text: &[u8]) -> Option<(Layer, DescriptorFault)> {
        sealer.exercise(text);
        sealer.open(text).err().map(|error| (error.layer, error.fault))
    }

    #[test]
    fn whatever_is_sealed_is_read_as_far_as_the_layer_it_was_put_into() {
        let sealer = Sealer::default();
        let syntax = |layer, fault: DescriptorFault| Some((layer, fault));
        assert_eq!(
            fault(&sealer, &sealer.with_middle(b"\xFF").into_bytes()),
            syntax(Layer::Middle, DescriptorFault::NotUtf8)
        );
        assert_eq!(
            fault(&sealer, &sealer.with_inner(b"\xFF").into_bytes()),
            syntax(Layer::Inner, DescriptorFault::NotUtf8)
        );
        assert_eq!(fault(&sealer, &sealer.with_inner(b"create2-formats 2").into_bytes()), None);
        let good = sealer.with_inner(b"create2-formats 2\n");
        let (unsigned, _) = good.split_at(good.rfind("signature ").unwrap());
        assert_eq!(fault(&sealer, &sealer.signed(unsigned.as_bytes())), None);
    }
}

//! Recorded control connections (`testdata/ctor/control`), for tests.

use std::path::PathBuf;

use super::reply::{Reader, Reply};

/// One recorded connection.
pub struct Transcript {
    /// What the controller sent.
    pub client: Vec<u8>,
    /// What tor sent.
    pub server: Vec<u8>,
    index: serde_json::Value,
}

impl Transcript {
    /// Reads `testdata/ctor/control/NAME`.
    pub fn load(name: &str) -> Self {
        let directory = directory().join(name);
        let read =
            |file: &str| std::fs::read(directory.join(file)).unwrap_or_else(|error| panic!("{name}/{file}: {error}"));
        let index = serde_json::from_slice(&read("index.json")).unwrap();
        Self { client: read("client.bin"), server: read("server.bin"), index }
    }

    /// All of them, by name.
    pub fn all() -> Vec<(String, Self)> {
        let entries = std::fs::read_dir(directory()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut all: Vec<_> = names.map(|name| (name.clone(), Self::load(&name))).collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all
    }

    /// A text of `index.json`.
    pub fn text(&self, key: &str) -> String {
        self.index[key].as_str().unwrap().to_owned()
    }

    /// A count of `index.json`.
    pub fn count(&self, key: &str) -> usize {
        self.index[key].as_u64().unwrap().try_into().unwrap()
    }

    /// The server's bytes as they arrived.
    pub fn chunks(&self) -> Vec<&[u8]> {
        let chunks = self.index["chunks"].as_array().unwrap().iter().filter(|chunk| chunk["dir"] == "S");
        let number = |value: &serde_json::Value| usize::try_from(value.as_u64().unwrap()).unwrap();
        chunks.map(|chunk| &self.server[number(&chunk["off"])..][..number(&chunk["len"])]).collect()
    }

    /// Everything the server said.
    pub fn replies(&self) -> Vec<Reply> {
        read([self.server.as_slice()])
    }
}

/// Everything in `chunks`, which must end where a reply ends.
pub fn read<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Reply> {
    let (mut reader, mut replies) = (Reader::default(), Vec::new());
    for chunk in chunks {
        reader.push(chunk);
        while let Some(reply) = reader.next_reply().unwrap() {
            replies.push(reply);
        }
    }
    replies
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/ctor/control")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// The counts of `index.json`: replies without events, events, wire lines, data blocks, status codes.
    fn check_counts(name: &str, transcript: &Transcript, replies: &[Reply]) {
        let (events, answers): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.is_event());
        let lines = || replies.iter().flat_map(|reply| &reply.lines);
        let codes: BTreeSet<_> = replies.iter().map(|reply| reply.status.to_string()).collect();
        assert_eq!(answers.len(), transcript.count("server_replies"), "{name}: replies");
        assert_eq!(events.len(), transcript.count("server_events"), "{name}: events");
        assert_eq!(lines().count(), transcript.count("server_lines"), "{name}: lines");
        assert_eq!(
            lines().filter(|line| line.data.is_some()).count(),
            transcript.count("server_data_blocks"),
            "{name}: blocks"
        );
        let expected = transcript.index["reply_codes"].as_array().unwrap().iter();
        assert_eq!(codes, expected.map(|code| code.as_str().unwrap().to_owned()).collect(), "{name}: codes");
    }

    #[test]
    fn every_transcript_reads_as_recorded_and_byte_by_byte() {
        let all = Transcript::all();
        assert_eq!(all.len(), 17);
        for (name, transcript) in all {
            let replies = read(transcript.chunks());
            check_counts(&name, &transcript, &replies);
            assert_eq!(replies, read(transcript.server.chunks(1)), "{name}: byte by byte");
        }
    }

    /// Two chunks, cut at every place.
    #[test]
    fn short_transcripts_read_the_same_at_every_cut() {
        for (name, transcript) in Transcript::all().into_iter().filter(|(_, transcript)| transcript.server.len() < 3000)
        {
            let replies = transcript.replies();
            for cut in 0..=transcript.server.len() {
                let (head, tail) = transcript.server.split_at(cut);
                assert_eq!(replies, read([head, tail]), "{name} cut at {cut}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn every_transcript_reads_the_same_at_random_cuts(mut cuts in prop::collection::vec(any::<prop::sample::Index>(), 1..60)) {
            for (name, transcript) in Transcript::all() {
                let mut offsets: Vec<_> = cuts.iter_mut().map(|cut| cut.index(transcript.server.len())).collect();
                offsets.extend([0, transcript.server.len()]);
                offsets.sort_unstable();
                let chunks = offsets.windows(2).map(|pair| &transcript.server[pair[0]..pair[1]]);
                prop_assert_eq!(transcript.replies(), read(chunks), "{}", name);
            }
        }
    }

    #[test]
    fn descriptors_in_replies_and_events_are_what_was_posted() {
        let transcript = Transcript::load("hsfetch-getinfo");
        let posted = transcript.text("descriptor").into_bytes();
        let replies = transcript.replies();
        let blocks = || replies.iter().flat_map(|reply| &reply.lines).filter_map(|line| line.data.as_deref());
        assert_eq!(blocks().filter(|data| *data == posted).count(), 3, "HS_DESC_CONTENT and two GETINFO");
        assert_eq!(blocks().filter(|data| *data == b"\n").count(), 2, "NOT_FOUND");
    }
}

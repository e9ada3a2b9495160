//! For fuzzing and for ordinary tests: any bytes as what an application answers.

use super::http::{INTERIM_MAX, STATUS_LINE_MAX, final_status};

/// Into how many parts an answer is cut at most, about.
const PARTS: usize = 256;
/// An interim answer.
const INTERIM: &[u8] = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";

/// `bytes` as an answer, at once and in parts, and behind an interim one; and as what follows a status.
///
/// # Panics
/// If the status depends on how much has come, or there is no end of waiting for one: that would be a bug of ours.
pub fn answer(bytes: &[u8]) {
    let whole = final_status(bytes);
    assert!(whole.is_some() || bytes.len() <= INTERIM_MAX, "no end of interim answers");
    assert!(whole.flatten().is_none_or(|status| status == 101 || !(100..200).contains(&status)), "{whole:?}");
    let bytes = bytes.get(..INTERIM_MAX - INTERIM.len()).unwrap_or(bytes);
    let whole = final_status(bytes);
    for end in (0..bytes.len()).step_by(1 + bytes.len() / PARTS) {
        let part = bytes.get(..end).and_then(final_status);
        assert!(part.is_none() || part == whole, "{part:?} of {end} bytes, {whole:?} of all");
    }
    assert_eq!(final_status(&[INTERIM, bytes].concat()), whole, "behind an interim answer");
    let line = [b"HTTP/1.1 204 ", bytes, b"\n"].concat();
    let end = line.iter().position(|byte| *byte == b'\n').unwrap_or(line.len());
    assert_eq!(final_status(&line), Some((end <= STATUS_LINE_MAX).then_some(204)));
}

/// Answers to begin from.
pub fn answer_samples() -> [Vec<u8>; 3] {
    let answer = b"HTTP/1.1 200 OK\r\nServer: a\r\n\r\nbody";
    let begun = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 Switching Protocols\r\n";
    [answer.to_vec(), [INTERIM, answer].concat(), begun.to_vec()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_samples_are_good_and_damaged_ones_do_no_harm() {
        let samples = answer_samples();
        let statuses: Vec<_> = samples.iter().map(|sample| final_status(sample)).collect();
        assert_eq!(statuses, [Some(Some(200)), Some(Some(200)), Some(Some(101))]);
        for bytes in samples {
            for at in 0..bytes.len() {
                let mut damaged = bytes.clone();
                damaged[at] ^= 0x03;
                answer(&damaged);
            }
        }
        answer(&[b'x'; INTERIM_MAX + 1]);
        answer(&INTERIM.repeat(INTERIM_MAX / INTERIM.len() + 1));
    }
}

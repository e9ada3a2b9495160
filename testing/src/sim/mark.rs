//! Situations that a campaign must really have reached: a checker that never met them has shown nothing.

use serde::Serialize;

/// A situation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "`about` says what each is")]
pub enum Mark {
    DuelingClaim,
    EqualCounter,
    CounterFarBehind,
    HandoverCut,
    Preempted,
    DeafHolderReplaced,
    ClaimCancelled,
    MinorityQuiet,
    MinorityUnion,
    RecordConflict,
    StallDiscarded,
    DuplicateIdentity,
    NativeAndBack,
    RotationWithoutPublisher,
    AdmissionUnderFire,
    ChunksAskedAgain,
    MutualDown,
    Released,
    HolderWithoutTor,
    DiskRefused,
    AbsurdEpochRefused,
    StrangerRefused,
    ForgeryRefused,
    OldTokenRefused,
    UnknownKindRefused,
    OtherVersionRefused,
    HolderDrained,
    TokenRotated,
    RivalTokens,
    RemovedHolderQuiet,
    DistinctContents,
    HsDirLeft,
    SessionsOutlived,
    PathTooNarrow,
    UploadBrokenOff,
}

impl Mark {
    /// All of them.
    pub const ALL: [Self; 35] = [
        Self::DuelingClaim,
        Self::EqualCounter,
        Self::CounterFarBehind,
        Self::HandoverCut,
        Self::Preempted,
        Self::DeafHolderReplaced,
        Self::ClaimCancelled,
        Self::MinorityQuiet,
        Self::MinorityUnion,
        Self::RecordConflict,
        Self::StallDiscarded,
        Self::DuplicateIdentity,
        Self::NativeAndBack,
        Self::RotationWithoutPublisher,
        Self::AdmissionUnderFire,
        Self::ChunksAskedAgain,
        Self::MutualDown,
        Self::Released,
        Self::HolderWithoutTor,
        Self::DiskRefused,
        Self::AbsurdEpochRefused,
        Self::StrangerRefused,
        Self::ForgeryRefused,
        Self::OldTokenRefused,
        Self::UnknownKindRefused,
        Self::OtherVersionRefused,
        Self::HolderDrained,
        Self::TokenRotated,
        Self::RivalTokens,
        Self::RemovedHolderQuiet,
        Self::DistinctContents,
        Self::HsDirLeft,
        Self::SessionsOutlived,
        Self::PathTooNarrow,
        Self::UploadBrokenOff,
    ];

    /// In a sentence.
    pub const fn about(self) -> &'static str {
        match self {
            Self::DuelingClaim => "two nodes held one epoch at the same time",
            Self::EqualCounter => "an HSDir refused a counter equal to the stored one",
            Self::CounterFarBehind => "an HSDir refused a counter more than a minute behind the stored one",
            Self::HandoverCut => "a fault struck between the offer of a lease and the claim",
            Self::Preempted => "a node of better priority took an offered lease",
            Self::DeafHolderReplaced => "a holder that heard nobody was replaced while its beacons went on",
            Self::ClaimCancelled => "the answer to its question kept a node from claiming",
            Self::MinorityQuiet => "a publisher that saw a minority looked at the HSDirs and left them alone",
            Self::MinorityUnion => "a publisher that saw a minority uploaded the points of those it did not see, too",
            Self::RecordConflict => "two different records of one node had the same order",
            Self::StallDiscarded => "a publisher threw away a descriptor that it had built before a stall",
            Self::DuplicateIdentity => "a node noticed that another runs with its keys",
            Self::NativeAndBack => "tor's own publishing went on again in a cluster that shrank to one, and off again",
            Self::RotationWithoutPublisher => "the publisher was struck within a minute of a rotation",
            Self::AdmissionUnderFire => "a node was admitted while faults struck",
            Self::ChunksAskedAgain => "lost chunks of an item were asked for again",
            Self::MutualDown => "two nodes that held each other for down came together again",
            Self::Released => "a publisher that was stopped passed the lease on at once",
            Self::HolderWithoutTor => "a publisher that lost its tor gave the lease up",
            Self::DiskRefused => "a disk refused what a node had to remember",
            Self::AbsurdEpochRefused => "a beacon of an absurd epoch was refused",
            Self::StrangerRefused => "a datagram of a node outside the roster was refused",
            Self::ForgeryRefused => "a bad signature was refused",
            Self::OldTokenRefused => "an admission under a wrong token was refused",
            Self::UnknownKindRefused => "a message of an unknown kind was refused",
            Self::OtherVersionRefused => "a message of another protocol version was refused",
            Self::HolderDrained => "a publisher that was drained passed the lease on",
            Self::TokenRotated => "a node took over a new cluster token that another had made",
            Self::RivalTokens => "two cluster tokens of one generation were made, and one of them was dropped",
            Self::DistinctContents => "every HSDir confirmed its own one of different descriptors",
            Self::SessionsOutlived => "a partition outlived the tunnels' sessions",
            Self::PathTooNarrow => "a datagram was lost since it was longer than what the path carries",
            Self::UploadBrokenOff => "a tor broke uploads off, since its own descriptor had changed",
            Self::HsDirLeft => "a responsible HSDir left the consensus",
            Self::RemovedHolderQuiet => "a publisher that was removed was told, and stopped publishing",
        }
    }

    /// As in JSON.
    pub fn name(self) -> String {
        let name = format!("{self:?}");
        name.char_indices().fold(String::new(), |mut kebab, (at, letter)| {
            if at > 0 && letter.is_uppercase() {
                kebab.push('-');
            }
            kebab.extend(letter.to_lowercase());
            kebab
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_json() {
        let json = serde_json::to_string(&Mark::HolderWithoutTor).unwrap();
        assert_eq!(json, format!("\"{}\"", Mark::HolderWithoutTor.name()));
    }
}

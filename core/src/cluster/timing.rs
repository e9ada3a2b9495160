//! Every duration and bound of the cluster protocol, with its reason, and the relations between them.

use core::time::Duration;

/// Beacon and heartbeat period (`docs/RELIABILITY.md`).
pub const BEAT: Duration = Duration::from_millis(BEAT_MS);
/// The same as a number.
pub const BEAT_MS: u64 = 500;
/// Silence after which a lease is vacant and a member suspect: six beats and a half, so that a beat late by half
/// a period is not a loss.
pub const TTL: Duration = Duration::from_millis(3250);
/// A heartbeat that no newer one has followed for so long is no reason to refuse older ones.
pub const HEARTBEAT_OVER: Duration = Duration::from_secs(10);
/// What a restarted node listens beyond the TTL before it may claim: two beats of whoever holds.
pub const LISTEN_EXTRA: Duration = Duration::from_millis(1000);
/// From the first question to the claim.
pub const QUESTION: Duration = Duration::from_millis(300);
/// When the question is repeated: half-way, so that the second answer has as long as the first.
pub const QUESTION_REPEAT: Duration = Duration::from_millis(150);
/// Peers asked besides the holder.
pub const QUESTION_PEERS: usize = 3;
/// Back-off per rank: longer than a question and a flood, so that the next rank hears the claim before it asks.
pub const RANK_STEP: Duration = Duration::from_millis(400);
/// Ranks beyond this wait no longer than this one.
pub const RANK_MAX: u32 = 8;
/// Random part of the back-off, milliseconds, exclusive.
pub const JITTER_MS: u64 = 100;
/// An epoch further ahead than this of all seen before is an error or an attack, not a takeover. It is believed all the
/// same if the cluster goes on from there, but this many more a beat at most: epochs last for 2^44 beats, 280,000 years.
pub const EPOCH_JUMP_MAX: u64 = 1 << 20;
/// Peers a new beacon is forwarded to. One beacon then misses at most 8 % of the nodes of a large cluster where 10 % of
/// the datagrams are lost, six in a row miss one in four million, and who missed them asks before it claims. With four
/// a large cluster would send half as many bytes per node again as one of five, whose nodes have no more others.
pub const FORWARD_PEERS: usize = 3;
/// Peers a holder sends its own beacons to directly; forwarding reaches the rest.
pub const BEACON_PEERS: usize = 32;

/// A tick later than this is a stall: the process was stopped or starved.
pub const STALL_LATE: Duration = Duration::from_millis(500);
/// What a stall adds to peers' deadlines.
pub const STALL_GRACE: Duration = Duration::from_millis(1000);
/// A stall so soon after one that got its grace gets none, or a machine that is always late would never find a
/// publisher dead; unless it was as long as a TTL.
pub const STALLS_APART: Duration = Duration::from_secs(10);
/// How long uploads wait after a stall for a member to echo our epoch.
pub const STALL_HOLD: Duration = Duration::from_millis(1000);

/// Second direct try and the indirect ones, after the first direct try; multiplied by local health.
pub const PROBE_RETRY: Duration = Duration::from_millis(200);
/// Verdict `Down` after the first try; multiplied by local health.
pub const PROBE_VERDICT: Duration = Duration::from_millis(500);
/// Members asked to probe for us.
pub const PROBE_HELPERS: usize = 3;
/// Members believed down that are asked at once by who begins to judge everyone: after a stall of the holder all begin
/// together, and each would ask all. The rest is called one a beat.
pub const CALLS_MAX: usize = 8;
/// Lifeguard: the worst local health score; waits are multiplied by score + 1.
pub const HEALTH_WORST: u8 = 4;
/// Lifeguard: one point of the score is forgiven after this long.
pub const HEALTH_FORGIVE: Duration = Duration::from_secs(10);

/// How long a member's clock is taken to go on as its last heartbeat said: boot time and wall clock drift apart by some
/// tenths of a second in that time.
pub const CLOCK_KEPT: Duration = Duration::from_secs(3600);

/// How long a rival's claim or beacon slows uploads (`docs/PROTOCOL.md`).
pub const RIVAL: Duration = Duration::from_secs(30);
/// Beacons of the previous lease that were under way when we took over are no rivals.
pub const RIVAL_GRACE: Duration = Duration::from_millis(1000);
/// A hand-over not completed by then is taken back.
pub const HANDOVER: Duration = Duration::from_secs(2);
/// Eligible for this long before a better priority preempts.
pub const PREEMPT_DELAY: Duration = Duration::from_secs(60);
/// Doubling per lost lease ends here.
pub const PREEMPT_DELAY_MAX: Duration = Duration::from_secs(3600);
/// One lost lease is forgiven after this long.
pub const PREEMPT_CALM: Duration = Duration::from_secs(3600);
/// Times a release or a goodbye is sent.
pub const RELEASE_SENDS: u8 = 3;
/// Between them.
pub const RELEASE_GAP: Duration = Duration::from_millis(100);
/// How long a node that stops has its introduction circuits closed before it ends: its tor has yet to tell the relays.
pub const CLOSED_FOR: Duration = Duration::from_millis(500);
/// A node that was told to stop ends, or leaves, after this, though its introduction circuits are not closed yet: they would
/// be after [`OUT_WITHIN`], but its tor may not do as it is told.
pub const GOODBYE_WITHIN: Duration = Duration::from_secs(12);
/// Times a tombstone is sent to each member, [`RELEASE_GAP`] apart. Nobody who heard it can answer: it has closed the
/// tunnel. So it is said often enough to get through a lossy network, and leaving takes about a second.
pub const TOMBSTONE_SENDS: u8 = 10;
/// A holder that cannot publish for this long releases if another can.
pub const INELIGIBLE_GRACE: Duration = Duration::from_millis(1000);
/// Who released does not claim for this long: whatever made it release is not gone at once.
pub const RELEASE_HOLDOFF: Duration = Duration::from_secs(10);

/// First repetition of an unacknowledged push; doubled each time.
pub const PUSH_RETRY: Duration = Duration::from_millis(300);
/// Times a push is sent; the digests do the rest.
pub const PUSH_TRIES: u32 = 5;
/// Pushes under way.
pub const PUSHES_MAX: usize = 8192;
/// Random peers a change is pushed to, besides holder and standbys.
pub const PUSH_PEERS: usize = 2;
/// Roster changes are pushed to this many members at once; gossip reaches the rest.
pub const PUSH_ALL: usize = 32;
/// In a cluster of more members than this, everyone gossips with a few partners only: tunnels between all would cost each
/// node a handshake with every other one every two minutes.
pub const PARTNERS_ABOVE: usize = 32;
/// Partners of a node in such a cluster. As many more have it for a partner.
pub const PARTNERS: usize = 8;
/// One of them is replaced this often, so each stays for two minutes, about as long as a handshake lasts.
pub const PARTNER_CHANGE: Duration = Duration::from_secs(15);
/// Digest to one random peer.
pub const DIGEST: Duration = Duration::from_millis(1000);
/// Datagrams of summaries sent per digest.
pub const SUMMARIES_MAX: usize = 8;
/// Missing chunks are asked for this long after the last one came.
pub const CHUNK_ASK: Duration = Duration::from_millis(100);
/// Times they are asked for.
pub const CHUNK_TRIES: u32 = 5;
/// Chunked items being put together.
pub const ASSEMBLIES_MAX: usize = 64;
/// Largest gossiped item, bytes: a proven plan of several descriptors whose points have the largest link specifiers.
pub const ITEM_MAX: usize = 56 * 1024;
/// Bytes of an item per chunk: a chunk's own fields and the envelope take less than the rest of a datagram.
pub const CHUNK_SIZE: usize = 1100;

/// Roster entries, tombstones included.
pub const ROSTER_MAX: usize = 1024;
/// Tombstones are kept this long at least, seconds.
pub const TOMBSTONE_KEEP_SECS: u64 = 30 * 86_400;
/// Roster entries up to which no tombstone is forgotten: who is gone for good stays so.
pub const ROSTER_KEEP: usize = ROSTER_MAX / 2;
/// Admission requests being worked on.
pub const ADMISSIONS_MAX: usize = 16;
/// An admission not completed by then is dropped; the joiner asks again.
pub const ADMISSION_WAIT: Duration = Duration::from_secs(15);
/// Tombstones of one node, by whoever removed it: both sides of a partition may.
pub const TOMBSTONES_MAX: usize = 8;
/// A member that is down and called is told with every so many beats why we are a member.
pub const INTRODUCE_BEATS: u64 = 4;
/// Admissions shown to it: ours, that of who admitted us, and so on.
pub const INTRODUCTION_ENTRIES: usize = 8;
/// Times a removed node is told, [`RELEASE_GAP`] apart, before its tunnel is closed. Each member tells it.
pub const FAREWELLS: u8 = 3;
/// A generation further ahead than this is an error or an attack.
pub const GENERATION_JUMP_MAX: u32 = 1 << 16;
/// Invites that are remembered, those that expire last: 16 KiB of them, with all who have joined with each.
pub const INVITES_KEPT: usize = 48;
/// Requests of invited nodes that are looked at, one after so long: two signatures each.
pub const INVITE_REQUEST_EVERY: Duration = Duration::from_millis(200);
/// Such requests that are looked at at once.
pub const INVITE_BURST: u32 = 10;
/// A ledger with more changes than this that we have not heard of is an error or an attack.
pub const VERSION_JUMP_MAX: u64 = 1 << 20;
/// A missing token is asked for this often, each time of a member chosen at random.
pub const TOKEN_ASK: Duration = Duration::from_millis(500);
/// The publisher makes a new token when for so long nobody could be admitted with this one, since a removed node may
/// know it, or it cannot be had: a removal, its rotation and the token travel apart. Others wait for their turn after it.
pub const REROTATE: Duration = Duration::from_secs(5);
/// How often each node looks whether the token is too old, if it may become too old.
pub const TOKEN_AGE_LOOK: Duration = Duration::from_secs(60);
/// A node that is out of service for so long closes its introduction circuits, though no proven plan without it has come:
/// one HSDir that takes nothing must not keep clients coming. Points leave all other HSDirs within 6 s.
pub const OUT_WITHIN: Duration = Duration::from_secs(10);
/// An order that another node has not answered is sent again after this long.
pub const ORDER_AGAIN: Duration = Duration::from_millis(500);
/// Times it is sent; together 10 s, in which a silent node is found out.
pub const ORDER_TRIES: u32 = 20;
/// Other nodes whose last order is remembered.
pub const ORDERS_MAX: usize = 64;
/// For longer nobody steps down, seconds.
pub const STEP_DOWN_SECS_MAX: u32 = 86_400;
/// No pause is longer, seconds.
pub const PAUSE_SECS_MAX: u32 = 86_400;
/// Conflicts over our own record within [`DUPLICATE_WINDOW`] that mean a second node runs with our keys.
pub const DUPLICATE_CONFLICTS: usize = 3;
/// See [`DUPLICATE_CONFLICTS`].
pub const DUPLICATE_WINDOW: Duration = Duration::from_secs(60);

const _: () = {
    assert!(TTL.as_millis() >= 6 * BEAT.as_millis(), "six beats must be lost before a takeover");
    assert!(QUESTION_REPEAT.as_millis() * 2 == QUESTION.as_millis());
    assert!(RANK_STEP.as_millis() >= QUESTION.as_millis() + JITTER_MS as u128, "ranks must not claim together");
    assert!(STALL_GRACE.as_millis() == 2 * BEAT.as_millis(), "two beacon periods (`docs/PROTOCOL.md`)");
    assert!(PROBE_RETRY.as_millis() * 2 <= PROBE_VERDICT.as_millis(), "the second try needs time for its answer");
    // Takeover budget: TTL, jitter, question, probes and gate leave time to build and upload.
    assert!(TTL.as_millis() + JITTER_MS as u128 + QUESTION.as_millis() + 1000 <= 5000);
    assert!(TTL.as_millis() + PROBE_VERDICT.as_millis() <= 4000, "a dead node is known before the takeover's upload");
    assert!(ITEM_MAX / CHUNK_SIZE < 64, "missing chunks are named in 64 bits");
    assert!(CHUNK_SIZE + 100 <= crate::output::DATAGRAM_MAX);
    assert!(12 * ROSTER_MAX + 2048 <= ITEM_MAX, "a rotation and a tombstone may name the whole roster in short");
    assert!(FORWARD_PEERS + 2 < PARTNERS, "there is a choice, even if two of them have the beacon");
    assert!(PARTNERS < PARTNERS_ABOVE);
    assert!(RELEASE_HOLDOFF.as_millis() > TTL.as_millis());
};

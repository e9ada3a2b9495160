//! A whole node, its peers, strangers and its tor.

use std::time::Duration;

use rustbalance_core::cluster::exercise::{Pair, heard};
use rustbalance_core::onion::key::HsIdKeypair;
use rustbalance_core::output::RequestId;
use rustbalance_core::rng::Seed;
use rustbalance_core::time::{Mono, Now, Wall};
use rustbalance_core::{Config, ControlInput, Input, Node, Output, TorId, WgPublicKey};

use crate::control::{FakeTor, later};

const START: Now = Now { mono: Mono::from_ms(10_000), wall: Wall::from_secs(1_795_446_825) };
/// More than any one input makes a node of two wish.
const OUTPUTS_MAX: usize = 2000;

/// A node of two with one tor. `bytes` are steps as [`heard`] reads them, whose first byte modulo eight says what happens:
/// the other node says the text (0 to 2, signed where it has to be), a stranger does (3), it is an admission request (4),
/// tor says it (5), tor answers a command with it (6), or the control connection is closed and opened (7).
pub fn node(bytes: &[u8]) {
    let pair = Pair::default();
    let master = HsIdKeypair::generate(&mut Seed::new([1; 32]).fork("fuzz"));
    let config = Config { master, cluster: pair.config(1), points: 20, tors: 1, is_attached: false };
    let started = Node::new(config, &pair.saved(), &Seed::new([2; 32]), START);
    let (mut node, mut fake, mut now) = (started.unwrap_or_else(|error| panic!("{error}")), FakeTor::default(), START);
    take(&mut node, &mut fake, now, Input::Control(TorId(0), ControlInput::Connected));
    for (pause, step) in heard(bytes) {
        let (code, text) = step.split_first().unwrap_or((&0, &[]));
        pass(&mut node, &mut fake, &mut now, pause);
        let (tor, from) = (TorId(0), pair.second());
        match code % 8 {
            3 => take(&mut node, &mut fake, now, Input::Stranger { bytes: text }),
            4 => {
                let (request, wg) = (RequestId(1), WgPublicKey([3; 32]));
                take(&mut node, &mut fake, now, Input::Admit { request, wg, bytes: text });
            }
            5 => take(&mut node, &mut fake, now, Input::Control(tor, ControlInput::Bytes(text))),
            6 => {
                let answer = fake.answer(now.wall, text);
                take(&mut node, &mut fake, now, Input::Control(tor, ControlInput::Bytes(&answer)));
            }
            7 => {
                fake.forgets();
                take(&mut node, &mut fake, now, Input::Control(tor, ControlInput::Closed));
                take(&mut node, &mut fake, now, Input::Control(tor, ControlInput::Connected));
            }
            _ => take(&mut node, &mut fake, now, Input::Peer { from, bytes: &pair.said_by_second(text) }),
        }
    }
    pass(&mut node, &mut fake, &mut now, Duration::from_secs(5));
    let _ = node.status(now);
}

/// Wakes the node whenever it wants to be, until `pause` is over.
fn pass(node: &mut Node, fake: &mut FakeTor, now: &mut Now, pause: Duration) {
    let end = later(*now, pause);
    let mut ticks = 0;
    while now.mono < end.mono {
        let due = node.next_timeout().map_or(end.mono, |(at, _)| at.clamp(now.mono, end.mono));
        ticks = if due == now.mono { ticks + 1 } else { 0 };
        assert!(ticks < 20, "it spins: {:?}", node.next_timeout());
        *now = later(*now, due.since(now.mono));
        take(node, fake, *now, Input::Tick);
    }
}

fn take(node: &mut Node, fake: &mut FakeTor, now: Now, input: Input<'_>) {
    let _refused = node.handle(now, input);
    let mut outputs = 0;
    while let Some(output) = node.poll_output() {
        outputs += 1;
        assert!(outputs < OUTPUTS_MAX, "no end of outputs");
        if let Output::Control(_, command) = output {
            fake.hears(&command);
        } else if let Output::Reconnect(tor) = output {
            fake.forgets();
            let _ = node.handle(now, Input::Control(tor, ControlInput::Closed));
            let _ = node.handle(now, Input::Control(tor, ControlInput::Connected));
        } else if let Output::Persist { id, .. } = output {
            let _ = node.handle(now, Input::Done { id, result: Ok(()) });
        }
    }
}

//! Two meshes on loopback.

use std::net::UdpSocket;
use std::time::Duration;

use boringtun::x25519::{PublicKey, StaticSecret};
use rustbalance_core::time::Mono;
use rustbalance_core::{NodeId, Peer, WgPublicKey};
use rustbalance_io::mesh::{self, Mesh, MeshCommand, MeshEvent};
use smol::future::FutureExt as _;

fn start(seed: u8) -> (Mesh, Peer) {
    let secret = StaticSecret::from([seed; 32]);
    let wg = WgPublicKey(PublicKey::from(&secret).to_bytes());
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let contact = Some(socket.local_addr().expect("bound").to_string());
    let (mesh, task) = mesh::new(socket, secret, 0).expect("a socket that can be polled");
    smol::spawn(task.run()).detach();
    (mesh, Peer { node: NodeId([seed; 32]), wg, contact })
}

fn within_ten_seconds<T>(future: impl Future<Output = T>) -> T {
    let timeout = async {
        async_io::Timer::after(Duration::from_secs(10)).await;
        panic!("nothing came within 10 s");
    };
    smol::block_on(future.or(timeout))
}

/// Has each know the other, and waits until both have met: what is to be sent before the list of members has come goes to
/// nobody.
fn meet(a: (&Mesh, &Peer), b: (&Mesh, &Peer)) {
    for (mesh, peer) in [(a.0, b.1), (b.0, a.1)] {
        mesh.peers.force_send(vec![peer.clone()]).expect("a running mesh");
    }
    for (mesh, peer) in [(a.0, b.1), (b.0, a.1)] {
        let event = within_ten_seconds(mesh.events.recv()).expect("a running mesh");
        assert!(matches!(event, MeshEvent::Met { node, .. } if node == peer.node), "{event:?}");
    }
}

/// The next event but for handshakes.
fn datagram(mesh: &Mesh) -> MeshEvent {
    within_ten_seconds(async {
        loop {
            let event = mesh.events.recv().await.expect("a running mesh");
            if !matches!(event, MeshEvent::Met { .. }) {
                return event;
            }
        }
    })
}

#[test]
fn both_sides_of_a_tunnel_are_told_of_its_handshake_once() {
    let ((a, peer_a), (b, peer_b)) = (start(1), start(2));
    let before = rustbalance_io::clock::mono();
    a.peers.force_send(vec![peer_b.clone()]).unwrap();
    b.peers.force_send(vec![Peer { contact: None, ..peer_a.clone() }]).unwrap();
    for (mesh, peer) in [(&a, &peer_b), (&b, &peer_a)] {
        let event = within_ten_seconds(mesh.events.recv()).unwrap();
        // Boringtun's clock is another one, and both are rounded.
        let is_now = |at: Mono| at.plus(Duration::from_millis(10)) >= before;
        assert!(matches!(event, MeshEvent::Met { node, at } if node == peer.node && is_now(at)), "{event:?}");
    }
    a.commands.try_send(MeshCommand::Send { to: peer_b.node, bytes: b"hello".to_vec() }).unwrap();
    let mut events = Vec::new();
    loop {
        let event = within_ten_seconds(b.events.recv()).unwrap();
        if matches!(event, MeshEvent::Datagram { .. }) {
            break;
        }
        events.push(event);
    }
    // On a machine that stands still for half a second there is another handshake.
    assert!(before.plus(Duration::from_millis(500)) < rustbalance_io::clock::mono() || events.is_empty(), "{events:?}");
}

#[test]
fn members_exchange_datagrams_over_loopback() {
    let ((a, peer_a), (b, peer_b)) = (start(1), start(2));
    meet((&a, &peer_a), (&b, &peer_b));
    for (from, to, peer, sender) in [(&a, &b, &peer_b, &peer_a), (&b, &a, &peer_a, &peer_b)] {
        from.commands.try_send(MeshCommand::Send { to: peer.node, bytes: b"hello".to_vec() }).unwrap();
        let event = datagram(to);
        assert_eq!(event, MeshEvent::Datagram { from: sender.node, bytes: b"hello".to_vec() });
    }
}

#[test]
fn only_one_side_needs_to_know_an_address() {
    let ((a, peer_a), (b, peer_b)) = (start(1), start(2));
    meet((&a, &Peer { contact: None, ..peer_a.clone() }), (&b, &peer_b));
    b.commands.try_send(MeshCommand::Send { to: peer_a.node, bytes: b"hello".to_vec() }).unwrap();
    datagram(&a);
}

#[test]
fn what_was_said_last_still_goes_out() {
    let ((a, peer_a), (b, peer_b)) = (start(1), start(2));
    meet((&a, &peer_a), (&b, &peer_b));
    let say = |text: &str| {
        a.commands.try_send(MeshCommand::Send { to: peer_b.node, bytes: text.as_bytes().to_vec() }).unwrap();
    };
    say("hello");
    datagram(&b);
    (0..20).for_each(|_| say("goodbye"));
    drop(a);
    for _ in 0..20 {
        datagram(&b);
    }
}

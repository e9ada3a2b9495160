//! Nodes that join the test network, by token or invite.

use rustbalance_core::WgPublicKey;
use rustbalance_core::cluster::ClusterToken;
use rustbalance_core::invite::front::{self, Look};
use rustbalance_core::join::{Admitted, JoinError, Joiner};
use rustbalance_core::output::RequestId;

use super::{TOKEN, World, keypair, seed};

impl World {
    /// Joins through the founder, as the shell would do it.
    pub fn join(&mut self, n: u8, priority: u8) -> usize {
        let admitted = self.ask(0, n, TOKEN).expect("admitted");
        self.add(n, priority, TOKEN, admitted)
    }

    /// Joins through `via` with that token.
    pub fn join_with(&mut self, via: usize, n: u8, token: [u8; 32]) -> usize {
        let admitted = self.ask(via, n, token).expect("admitted");
        self.add(n, 100, token, admitted)
    }

    /// Asks `via` for admission and waits for the answer.
    pub fn ask(&mut self, via: usize, n: u8, token: [u8; 32]) -> Result<Admitted, JoinError> {
        self.request(via, n, token);
        self.until(1000, "an answer", |world| world.replies.iter().any(|(id, _)| *id == RequestId(u64::from(n))));
        self.reply(via, n, token).expect("just seen")
    }

    /// Hands the request of `n` to `via`.
    pub fn request(&mut self, via: usize, n: u8, token: [u8; 32]) {
        let request = self.joiner(via, n, token).request();
        let _ = self.command(via, |cluster, now, out| {
            cluster.handle_admit(now, RequestId(u64::from(n)), WgPublicKey([n; 32]), &request, out)
        });
    }

    /// The answer to `n`, if there is one.
    pub fn reply(&mut self, via: usize, n: u8, token: [u8; 32]) -> Option<Result<Admitted, JoinError>> {
        let at = self.replies.iter().position(|(id, _)| *id == RequestId(u64::from(n)))?;
        let (_, datagrams) = self.replies.remove(at);
        let mut joiner = self.joiner(via, n, token);
        datagrams.iter().find_map(|bytes| joiner.handle(bytes).transpose())
    }

    /// Hands what an invited node sends to `via`, as the proxy would; false if that is for the service.
    pub fn show(&mut self, via: usize, request: RequestId, bytes: &[u8]) -> bool {
        let paths = self.hosts[via].paths.clone();
        let Look::Request { path, body } = front::look(bytes, &paths) else { return false };
        let _refused = self.command(via, |cluster, now, out| cluster.handle_invited(now, request, path, body, out));
        true
    }

    pub fn joiner(&self, via: usize, n: u8, token: [u8; 32]) -> Joiner {
        let mut rng = seed(self.seed, n, 1000).fork("joiner");
        let token = ClusterToken::new(token);
        Joiner::new(&keypair(n), WgPublicKey([n; 32]), self.hosts[via].wg, &token, self.master.public(), &mut rng)
    }
}

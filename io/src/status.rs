//! The operators' socket: one line of JSON asks the running node, one line answers.

use core::time::Duration;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use async_io::Async;
use rustbalance_core::NodeId;
use rustbalance_core::cluster::{Access, AccessChange, InviteStatus, NewInvite, Order};
use rustbalance_core::invite::InviteName;
use rustbalance_core::status::Status;
use serde::{Deserialize, Serialize};
use smol::channel::Sender;
use smol::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};

use crate::clock;
use crate::fault::Fault;
use crate::store::Store;

/// Longest request, bytes.
const REQUEST_MAX: u64 = 1024;
/// Longest answer a client reads, bytes: a status of some hundred members.
const ANSWER_MAX: u64 = 16 * 1024 * 1024;
/// Time a client has to say what it wants, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time a client gives the node to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Time a client waits for a node that stops; tor may need some of it.
const STOPPED_WITHIN: Duration = Duration::from_secs(30);

/// What an operator may ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// What the node knows.
    Status,
    /// Leave the cluster for good, then stop.
    Leave,
    /// Stop.
    Shutdown,
    /// Who may connect to the address, by name.
    Access,
    /// What is wrong in the directory where operators write that, too.
    ClientFiles,
    /// Invites.
    Invites,
    /// Let in whoever shows this one.
    Invite {
        /// Which, and for how many.
        new: NewInvite,
    },
    /// Let nobody in with that one any more.
    RevokeInvite {
        /// Which.
        name: InviteName,
    },
    /// Change that, all of it or nothing.
    ChangeAccess {
        /// In this order.
        changes: Vec<AccessChange>,
    },
    /// Have a node follow an order.
    Order {
        /// Which; the one that is asked, if none.
        node: Option<NodeId>,
        /// What.
        order: Order,
    },
    /// Take nobody out for being down or unwell, in the whole cluster; for none: do so again.
    Pause {
        /// For so many seconds.
        secs: u32,
    },
    /// Make a new cluster token.
    Rotate,
    /// Take another node off the roster for good, and make a new cluster token that it does not get.
    Remove {
        /// Which.
        node: NodeId,
    },
}

/// What the node answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// It will be done; after a request to stop, the connection stays open until the node has stopped.
    Accepted(Request),
    /// To [`Request::Access`].
    Access(Access),
    /// To [`Request::ClientFiles`]: each with the way out.
    ClientFiles(Vec<String>),
    /// To [`Request::Leave`]: nobody would be left to join again, so the node goes on.
    OnlyMember,
    /// To [`Request::Invites`].
    Invites(Vec<InviteStatus>),
    /// To a change of who may connect or join: the last change is still being written to disk; ask again.
    Busy,
    /// Why not, in words for the operator. Nothing has changed.
    Refused(String),
    /// In words.
    Error(String),
}

/// Why a running node cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// Nobody listens.
    #[error("{}: no node is running here; start it with `rustbalance run`, or name the right --dir", dir.display())]
    NotRunning {
        /// The state directory.
        dir: PathBuf,
    },
    /// The socket cannot be used.
    #[error("{}: cannot ask the running node: {source}; run this as the user the node runs as", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It did not say what we asked for.
    #[error("the running node answered `{0}`; is it another version of rustbalance?")]
    Answer(String),
    /// It cannot leave.
    #[error(
        "{}: this is the only member of its cluster, and with it the address would be gone; to stop it, stop the process; \
         to move the address, have another machine join first", dir.display()
    )]
    OnlyMember {
        /// The state directory.
        dir: PathBuf,
    },
    /// It says why it does not do what it was asked for.
    #[error("{0}; nothing was changed")]
    Refused(String),
    /// It took the change, and does not get it onto its disk.
    #[error("the node does not get the change onto its disk; look at its log, then list, and see whether it is there")]
    NotInForce,
    /// It should have stopped.
    #[error("the node did not stop within {} s; look at its log", STOPPED_WITHIN.as_secs())]
    StillRunning,
}

impl StatusError {
    /// Whose fault it is.
    pub const fn fault(&self) -> Fault {
        Fault::Runtime
    }
}

/// Asks the node of `dir` for its status.
///
/// # Errors
/// See [`StatusError`].
pub fn status(dir: &Path) -> Result<Status, StatusError> {
    let (answer, _) = ask(dir, &Request::Status)?;
    if let Answer::Status(status) = answer { Ok(*status) } else { Err(unexpected(answer)) }
}

/// Tells the node of `dir` to leave its cluster for good, and waits until it has stopped.
///
/// # Errors
/// See [`StatusError`].
pub fn leave(dir: &Path) -> Result<(), StatusError> {
    stop(dir, Request::Leave)
}

/// Tells the node of `dir` to do what `request` says, which it goes on running after. It has begun to.
///
/// # Errors
/// See [`StatusError`].
pub fn order(dir: &Path, request: Request) -> Result<(), StatusError> {
    let (answer, _) = ask(dir, &request)?;
    if answer == Answer::Accepted(request) { Ok(()) } else { Err(unexpected(answer)) }
}

/// A change is on the node's disk within this, or something is wrong with the disk.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(10);
/// How often to look whether it is.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Tells the node of `dir` to change what `request` says, and waits until that `is_in_force`: on its disk, too.
///
/// # Errors
/// See [`StatusError`]; `NotInForce` leaves open whether it comes.
pub(crate) fn change(
    dir: &Path,
    request: &Request,
    is_in_force: impl Fn() -> Result<bool, StatusError>,
) -> Result<(), StatusError> {
    let by = clock::mono().plus(IN_FORCE_WITHIN);
    let mut accepted = false;
    while !accepted || !is_in_force()? {
        if !accepted {
            let (answer, _) = ask(dir, request)?;
            accepted = matches!(answer, Answer::Accepted(_));
            if !accepted && answer != Answer::Busy {
                return Err(unexpected(answer));
            }
        }
        if clock::mono() >= by {
            return Err(StatusError::NotInForce);
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// Tells the node of `dir` to stop, and waits until it has.
///
/// # Errors
/// See [`StatusError`].
pub fn shut_down(dir: &Path) -> Result<(), StatusError> {
    stop(dir, Request::Shutdown)
}

fn stop(dir: &Path, request: Request) -> Result<(), StatusError> {
    let (answer, mut stream) = ask(dir, &request)?;
    if answer == Answer::OnlyMember {
        return Err(StatusError::OnlyMember { dir: dir.to_owned() });
    }
    if answer != Answer::Accepted(request) {
        return Err(unexpected(answer));
    }
    let closed = stream.set_read_timeout(Some(STOPPED_WITHIN)).and_then(|()| stream.read(&mut [0]));
    match closed {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(StatusError::StillRunning),
        Ok(_) | Err(_) => Ok(()),
    }
}

pub(crate) fn unexpected(answer: Answer) -> StatusError {
    match answer {
        Answer::Refused(why) => StatusError::Refused(why),
        Answer::Error(error) => StatusError::Answer(error),
        Answer::Status(_)
        | Answer::Accepted(_)
        | Answer::Access(_)
        | Answer::ClientFiles(_)
        | Answer::Invites(_)
        | Answer::OnlyMember
        | Answer::Busy => StatusError::Answer("something else than was asked".to_owned()),
    }
}

pub(crate) fn ask(dir: &Path, request: &Request) -> Result<(Answer, UnixStream), StatusError> {
    let path = Store::new(dir).status_socket();
    let exchange = || {
        let mut stream = UnixStream::connect(&path)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(&line(request))?;
        let mut answer = Vec::new();
        BufReader::new((&stream).take(ANSWER_MAX)).read_until(b'\n', &mut answer)?;
        io::Result::Ok((answer, stream))
    };
    match exchange() {
        Ok((answer, stream)) => serde_json::from_slice(&answer)
            .map(|answer| (answer, stream))
            .map_err(|_| StatusError::Answer(String::from_utf8_lossy(&answer).chars().take(100).collect())),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            Err(StatusError::NotRunning { dir: dir.to_owned() })
        }
        Err(source) => Err(StatusError::Socket { path, source }),
    }
}

fn line(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line
}

/// A question on its way to the driver, which answers it once.
pub(crate) struct Question {
    /// What is asked.
    pub request: Request,
    /// Where the answer goes.
    pub answer: Sender<Answer>,
}

/// The node's end of the operators' socket.
pub(crate) struct Server(Async<UnixListener>);

impl Server {
    /// Listens, for our user only. The caller holds the state directory's lock, so a socket that is there is a
    /// leftover.
    pub fn bind(path: &Path) -> io::Result<Self> {
        remove(path)?;
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Async::new(listener).map(Self)
    }

    /// Serves until dropped; one client at a time does for operators, and none can hold the others up for long.
    /// Connections of those who asked for a stop go to `kept`, to be closed at the very end.
    pub async fn run(self, questions: Sender<Question>, kept: Sender<Async<UnixStream>>) {
        loop {
            match self.0.accept().await {
                Ok((stream, _)) => {
                    if let Err(error) = serve(stream, &questions, &kept).await {
                        tracing::debug!(%error, "status socket: client failed");
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "status socket: cannot accept");
                    clock::sleep(PATIENCE).await;
                }
            }
        }
    }
}

async fn serve(
    mut stream: Async<UnixStream>,
    questions: &Sender<Question>,
    kept: &Sender<Async<UnixStream>>,
) -> io::Result<()> {
    let mut request = Vec::new();
    let mut reader = smol::io::BufReader::new((&stream).take(REQUEST_MAX));
    in_time(reader.read_until(b'\n', &mut request)).await?;
    let answer = match serde_json::from_slice(&request) {
        Ok(request) => put(request, questions).await,
        Err(error) => Answer::Error(format!("not a request: {error}")),
    };
    in_time(stream.write_all(&line(&answer))).await?;
    if let Answer::Accepted(Request::Leave | Request::Shutdown) = answer {
        _ = kept.try_send(stream);
    }
    Ok(())
}

/// Asks the driver; also what the shell itself has to ask.
pub(crate) async fn put(request: Request, questions: &Sender<Question>) -> Answer {
    let (to_answer, answer) = smol::channel::bounded(1);
    let answered = async {
        questions.send(Question { request, answer: to_answer }).await.ok()?;
        answer.recv().await.ok()
    };
    answered.await.unwrap_or_else(|| Answer::Error("the node is stopping".to_owned()))
}

async fn in_time<T>(step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    clock::within(PATIENCE, step).await.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
}

/// Removes a socket, if it is there.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Serves `dir` with a driver that answers every question with `reply`; returns what `client` returns.
    fn with_server<T>(reply: Answer, client: impl FnOnce(&Path) -> T) -> T {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("run")).unwrap();
        let server = Server::bind(&Store::new(dir.path()).status_socket()).unwrap();
        let (questions, asked) = smol::channel::bounded::<Question>(1);
        let (kept, _) = smol::channel::bounded(1);
        let serving = smol::spawn(server.run(questions, kept));
        let answering = smol::spawn(async move {
            while let Ok(question) = asked.recv().await {
                question.answer.try_send(reply.clone()).unwrap();
            }
        });
        let result = client(dir.path());
        drop((serving, answering));
        result
    }

    #[test]
    fn without_a_node_the_error_names_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let message = status(dir.path()).unwrap_err().to_string();
        assert!(message.starts_with(&format!("{}: no node is running here", dir.path().display())), "{message}");
    }

    #[test]
    fn a_stop_is_awaited() {
        // Nobody keeps the connection: the node "has stopped" at once.
        with_server(Answer::Accepted(Request::Leave), |dir| leave(dir).unwrap());
    }

    #[test]
    fn what_is_no_request_is_answered_with_an_error() {
        for request in ["{}\n", "{\"command\":\"dance\"}\n", "\n", &"x".repeat(2000)] {
            let answer = with_server(Answer::Accepted(Request::Shutdown), |dir| {
                let mut stream = UnixStream::connect(Store::new(dir).status_socket()).unwrap();
                stream.write_all(request.as_bytes()).unwrap();
                let mut answer = String::new();
                BufReader::new(stream).read_line(&mut answer).unwrap();
                answer
            });
            assert!(answer.starts_with("{\"error\":\"not a request"), "{answer}");
        }
    }

    #[test]
    fn the_socket_is_for_its_owner_only() {
        with_server(Answer::Error(String::new()), |dir| {
            let mode = std::fs::metadata(Store::new(dir).status_socket()).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        });
    }
}

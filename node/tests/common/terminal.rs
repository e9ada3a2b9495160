//! A terminal with somebody who types.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use super::command;

/// Runs it on a terminal of its own and types `lines`, each once something more was asked. Says what the terminal showed.
pub fn on_a_terminal(args: &[&str], lines: &[&str]) -> (bool, String) {
    let program = command([]).get_program().to_owned();
    let words: Vec<_> =
        [program.to_str().expect("a path in UTF-8")].iter().chain(args).map(|word| format!("'{word}'")).collect();
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--echo", "always", "--command", &words.join(" "), "/dev/null"]);
    let mut running = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script of util-linux");
    let (mut keys, mut screen) = (running.stdin.take().expect("piped"), running.stdout.take().expect("piped"));
    let mut shown = Vec::new();
    for line in lines {
        let asked = shown.len();
        while !shown.get(asked..).is_some_and(|new: &[u8]| new.ends_with(b": ")) {
            let mut byte = [0];
            match screen.read(&mut byte) {
                Ok(1) => shown.extend(byte),
                Ok(_) | Err(_) => break,
            }
        }
        keys.write_all(line.as_bytes()).expect("somebody reads");
    }
    screen.read_to_end(&mut shown).expect("readable");
    (running.wait().expect("our own child").success(), String::from_utf8_lossy(&shown).into_owned())
}

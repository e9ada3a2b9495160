//! Draws a run: a lane per node with its health, its role and what it uploaded, and above them what befell the world.

mod canvas;
mod labels;

use rustbalance_core::cluster::Role;

use self::canvas::Canvas;
use self::labels::Label;
use super::clients::Statistics;
use super::history::{Health, History, Lane};
use super::scenario::Outcome;

/// All lengths are pixels.
const WIDTH: f64 = 1200.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 24.0;
const HEAD: f64 = 62.0;
const LABEL: f64 = 15.0;
const LANE: f64 = 50.0;
const CLIENTS: f64 = 30.0;
const FOOT: f64 = 76.0;
/// A label is cut here, characters.
const LABEL_CHARS_MAX: usize = 44;
/// Steps of the time axis, seconds.
const STEPS: [u64; 12] = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1_800, 3_600];
/// Marks on the time axis at most.
const TICKS_MAX: u64 = 16;

const INK: &str = "#222";
const FAINT: &str = "#777";
const FAULT: &str = "#b3261e";
const HOLDER: &str = "#1f4e79";
const ALONE: &str = "#4d7c5f";
const UPLOAD: &str = "#e07b00";
const FAILED: &str = "#d81b60";
const REFUSED: &str = "#b3261e";

/// What is drawn of a run, and where.
struct Picture<'a> {
    outcome: &'a Outcome,
    labels: Vec<Label>,
    canvas: Canvas,
}

/// The picture of a run.
pub fn draw(outcome: &Outcome) -> String {
    let labels = labels::place(&outcome.history.notes, |ms| x(outcome, ms));
    let mut picture = Picture { outcome, labels, canvas: Canvas::default() };
    picture.head();
    picture.axis();
    picture.notes();
    for (node, lane) in outcome.history.lanes.iter().enumerate() {
        picture.lane(node, lane);
    }
    picture.publications();
    picture.clients();
    picture.violation();
    picture.legend();
    let height = picture.bottom() + FOOT;
    picture.canvas.finish(WIDTH, height)
}

/// Where an instant is.
fn x(outcome: &Outcome, ms: u64) -> f64 {
    LEFT + (WIDTH - LEFT - RIGHT) * ms as f64 / outcome.simulated_ms.max(1) as f64
}

const fn colour(health: Health) -> &'static str {
    match health {
        Health::Off => "#e4e4e4",
        Health::Starting => "#f6cf65",
        Health::Serving => "#8cc084",
        Health::TargetDown => "#c59ad0",
        Health::Drained => "#d9c7a3",
        Health::TorFrozen => "#6f7fc7",
        Health::Frozen => "#8fb8de",
    }
}

impl Picture<'_> {
    fn history(&self) -> &History {
        &self.outcome.history
    }

    fn x(&self, ms: u64) -> f64 {
        x(self.outcome, ms)
    }

    /// Where the lanes begin.
    fn top(&self) -> f64 {
        let rows = self.labels.iter().filter_map(|label| label.row).max().map_or(0, |row| row + 1);
        HEAD + LABEL * rows as f64 + 12.0
    }

    fn lane_at(&self, node: usize) -> f64 {
        self.top() + LANE * node as f64
    }

    fn bottom(&self) -> f64 {
        self.lane_at(self.history().lanes.len()) + CLIENTS
    }

    fn head(&mut self) {
        let Outcome { scenario, seed, .. } = self.outcome;
        let about = super::scenario::Scenario::named(scenario).map_or("", |scenario| scenario.about);
        self.canvas.text(16.0, 26.0, 18, INK, "start", &format!("{scenario}, seed {seed}"));
        self.canvas.text(16.0, 45.0, 12, FAINT, "start", about);
    }

    fn axis(&mut self) {
        let (seconds, bottom, top) = (self.outcome.simulated_ms / 1000, self.bottom(), self.top());
        let step = STEPS.into_iter().find(|step| seconds / step <= TICKS_MAX).unwrap_or(7_200);
        for second in (0..=seconds).step_by(step as usize) {
            let x = self.x(second * 1000);
            self.canvas.line((x, top), (x, bottom), "#ececec", 1.0);
            let text = format!("{}:{:02}", second / 60, second % 60);
            self.canvas.text(x, bottom + 16.0, 11, FAINT, "middle", &text);
        }
    }

    /// What befell one machine points to its lane, what befell all crosses all of them.
    fn notes(&mut self) {
        let (top, bottom) = (self.top(), self.bottom());
        for label in &self.labels {
            let until = label.node.map_or(bottom, |node| top + LANE * node as f64 + 4.0);
            let from = label.row.map_or(top, |row| HEAD + LABEL * row as f64 + 3.0);
            let colour = if label.node.is_some() { "#dba7a4" } else { FAULT };
            self.canvas.line((label.x, from), (label.x, until), colour, 0.8);
            if label.row.is_some() {
                self.canvas.text(label.x + 3.0, from + 8.0, 10, FAULT, "start", &label.text);
            }
            if label.node.is_some() {
                self.canvas.dot(label.x, until, 2.2, FAULT);
            }
        }
    }

    fn lane(&mut self, node: usize, lane: &Lane) {
        let (y, end) = (self.lane_at(node), self.outcome.simulated_ms);
        self.canvas.line((LEFT, y), (WIDTH - RIGHT, y), "#d5d5d5", 0.6);
        self.canvas.text(LEFT - 10.0, y + 27.0, 13, INK, "end", &format!("node {node}"));
        for ((from, health), until) in spans(&lane.health, end) {
            let (from, until) = (self.x(from), self.x(until));
            self.canvas.rect(from, y + 8.0, until - from, 8.0, colour(health), "");
        }
        for ((from, role), until) in spans(&lane.roles, end) {
            let (from, width) = (self.x(from), self.x(until) - self.x(from));
            let (fill, text) = match role {
                Role::Holder { epoch } => (HOLDER, format!("publisher, epoch {epoch}")),
                Role::Alone => (ALONE, "alone".to_owned()),
                Role::Follower => continue,
            };
            self.canvas.rect(from, y + 19.0, width, 15.0, fill, &text);
            let short = text.rsplit(' ').next().unwrap_or_default().to_owned();
            let fits = |text: &String| text.len() as f64 * 6.4 + 6.0 < width;
            if let Some(text) = [text, short].into_iter().find(fits) {
                self.canvas.text(from + 4.0, y + 30.5, 11, "#fff", "start", &text);
            }
        }
    }

    fn publications(&mut self) {
        for publication in &self.outcome.history.publications {
            let y = self.lane_at(publication.node) + 41.0;
            let (from, until) = (self.x(publication.from), self.x(publication.until));
            let (colour, taken) = if publication.taken > 0 { (UPLOAD, publication.taken) } else { (REFUSED, 0) };
            let text = format!("{taken} uploads taken, {} refused", publication.refused);
            self.canvas.rect(from, y - 3.0, (until - from).max(2.5), 6.0, colour, &text);
            if publication.taken > 0 && publication.refused > 0 {
                self.canvas.dot(from, y, 2.0, REFUSED);
            }
        }
    }

    /// Visits that failed, as long as there were many.
    fn clients(&mut self) {
        let y = self.lane_at(self.history().lanes.len());
        self.canvas.line((LEFT, y), (WIDTH - RIGHT, y), "#d5d5d5", 0.6);
        self.canvas.text(LEFT - 10.0, y + 20.0, 13, INK, "end", "clients");
        for (at, count) in &self.outcome.history.failures {
            let height = (4.0 + 2.0 * *count as f64).min(CLIENTS - 6.0);
            let x = self.x(*at);
            self.canvas.rect(
                x - 1.5,
                y + CLIENTS - 2.0 - height,
                3.0,
                height,
                FAILED,
                &format!("{count} visits failed"),
            );
        }
        let Statistics { client_fetches, client_failures, .. } = &self.outcome.clients;
        let text = format!("{client_failures} of {client_fetches} visits failed");
        self.canvas.text(WIDTH - RIGHT, self.bottom() + 32.0, 11, FAINT, "end", &text);
    }

    fn violation(&mut self) {
        if let Some(violation) = &self.outcome.violation {
            self.canvas.text(WIDTH - RIGHT, 26.0, 13, FAULT, "end", &format!("violated {violation}"));
        }
    }

    fn legend(&mut self) {
        let y = self.bottom() + 44.0;
        let healths = [
            (Health::Serving, "serving"),
            (Health::Starting, "no introduction point yet"),
            (Health::Frozen, "frozen"),
            (Health::TorFrozen, "tor frozen"),
            (Health::Drained, "out of service"),
            (Health::TargetDown, "application down"),
            (Health::Off, "not running"),
        ];
        let roles = [
            (HOLDER, "publisher, with its epoch"),
            (ALONE, "alone"),
            (UPLOAD, "uploads"),
            (FAULT, "fault"),
            (FAILED, "failed visits"),
        ];
        self.legend_row(y, &healths.map(|(health, text)| (colour(health), text)));
        self.legend_row(y + 17.0, &roles);
    }

    fn legend_row(&mut self, y: f64, entries: &[(&str, &str)]) {
        let mut at = LEFT;
        for (colour, text) in entries {
            self.canvas.rect(at, y - 9.0, 14.0, 9.0, colour, "");
            self.canvas.text(at + 19.0, y, 11, INK, "start", text);
            at += 19.0 + text.len() as f64 * 6.0 + 18.0;
        }
    }
}

/// Every state with its end: the next one's beginning, or that of the run.
fn spans<T: Copy>(states: &[(u64, T)], end: u64) -> impl Iterator<Item = ((u64, T), u64)> {
    let ends = states.iter().skip(1).map(|(at, _)| *at).chain([end]);
    states.iter().copied().zip(ends)
}

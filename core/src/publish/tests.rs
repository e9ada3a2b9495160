//! Publication against HSDirs that keep tor's revision rule, one behaviour per test.

mod access;
mod chaos;
mod counters;
mod distinct;
mod modes;
mod partition;
mod pow;
mod read_back;
mod rotation;
mod rounds;
mod status;
mod uploads;

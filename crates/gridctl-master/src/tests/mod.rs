//! The master as others meet it: a real journal, a real socket, and a worker that is played.

mod api;
mod fake;
mod known;
mod life;
mod peers;
mod people;
mod trouble;

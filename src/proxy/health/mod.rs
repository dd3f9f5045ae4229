//! Answering load balancers, whether clients pass.
//!
//! - `server`: accepts and answers them, over HTTP; `verdict`: what the answer is (pure);
//! - `probe`: tries to reach the upstream for an answer.

mod probe;
pub mod server;
mod verdict;

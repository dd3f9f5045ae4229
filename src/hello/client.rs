//! `hello-world-client`: interactive on a terminal, a filter in a pipe.
//!
//! - [`options`]: the server, and the time limits;
//! - `connect`: connecting, again and again if need be;
//! - `input`: the source of the requests;
//! - `dialogue`, `session`: what is asked and answered (pure); requests out, answers in;
//! - `failure`: failures, as sentences and exit statuses.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use failure::ClientFailure;
use input::Input;
use options::ClientOptions;

use crate::service::{command_line, program};

mod connect;
mod dialogue;
mod failure;
mod input;
pub mod options;
mod session;

/// The program.
pub fn main() -> ExitCode {
    let options: ClientOptions = command_line::read();
    let (name, status) = ("hello-world-client", ClientFailure::exit_status);
    program::run_command(name, run(&options), ClientFailure::System, status)
}

async fn run(options: &ClientOptions) -> Result<u8, ClientFailure> {
    let interactive = io::stdin().is_terminal() && io::stdout().is_terminal();
    let address = options.address()?;
    let stream = connect::connect(&address, options, interactive).await?;
    let input = match interactive {
        true => {
            program::note(format_args!(
                "connected to {address}; the server knows hello and quit, Ctrl-D ends"
            ));
            Input::terminal()?
        }
        false => Input::pipe(),
    };
    session::run(&stream, &address, input, options.answer_timeout.finite()).await?;
    Ok(0)
}

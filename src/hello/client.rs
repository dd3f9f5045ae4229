//! `hello-world-client`: interactive on a terminal, a filter in a pipe.
//!
//! - [`options`]: whom to talk to, and how long to wait;
//! - [`connect`]: getting there;
//! - [`input`]: where the requests come from;
//! - [`session`]: requests out, answers in, and when that is over;
//! - [`failure`]: what can go wrong, as a sentence and as an exit status.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use failure::Failure;
use input::Input;
use options::Options;

use crate::service::command_line;

pub mod connect;
pub mod failure;
pub mod input;
pub mod options;
pub mod session;

/// The program.
pub fn main() -> ExitCode {
    let options: Options = command_line::read();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = runtime.map_err(Failure::System).and_then(|runtime| {
        let result = runtime.block_on(run(&options));
        // A thread that still looks up a name is not waited for.
        runtime.shutdown_background();
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !matches!(failure, Failure::ReaderGone) {
                failure::note(&failure);
            }
            failure.exit_status().into()
        }
    }
}

async fn run(options: &Options) -> Result<(), Failure> {
    let interactive = io::stdin().is_terminal() && io::stdout().is_terminal();
    let address = options.address()?;
    let stream = connect::connect(&address, options, interactive).await?;
    let input = match interactive {
        true => {
            failure::note(format_args!(
                "connected to {address}; the server knows hello and quit, Ctrl-D ends"
            ));
            Input::terminal()?
        }
        false => Input::pipe(),
    };
    session::run(&stream, &address, input, options.answer_timeout.finite()).await
}

//! What every main does: runtime, logging, exit status.

use std::error::Error;
use std::io;
use std::num::{IntErrorKind, ParseIntError};
use std::process::{ExitCode, Termination};

use super::exhausted::{self, is_of_descriptors};
use super::printable::sentence;
use super::{command_line, log, notify, pace};

/// Anything that ends a program, as a sentence for a person.
pub type Failure = Box<dyn Error + Send + Sync>;

/// A failure with an exit status of its own.
#[derive(Debug, thiserror::Error)]
#[error("{failure}")]
pub struct WithStatus {
    /// The exit status.
    pub status: u8,
    /// What went wrong.
    #[source]
    pub failure: Failure,
}

/// A failure for an argument or a variable that makes no sense: with the exit status of one that clap refuses.
pub fn wrong_usage(sentence: &str) -> Failure {
    let failure = WithStatus {
        status: WRONG_USAGE,
        failure: sentence.into(),
    };
    failure.into()
}

/// The exit status of a program whose arguments make no sense, as clap has it.
const WRONG_USAGE: u8 = 2;

/// Descriptors that the runtime and the way to systemd need, with some to spare.
const TO_RUN: usize = 12;

/// Runs a future to its end on a single-threaded runtime. A thread that still looks up a name is not waited for.
///
/// # Errors
///
/// When the runtime cannot be made.
pub fn block_on<T>(body: impl Future<Output = T>) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let output = runtime.block_on(body);
    runtime.shutdown_background();
    Ok(output)
}

/// Runs the daemon `name` on a single-threaded runtime until it ends.
///
/// What it returns is the exit status. When it fails, the error and its causes go to the log and to
/// `systemctl status`, and the exit status is 1, unless the error is [`WithStatus`].
pub fn run<T: Termination + Send + 'static>(
    name: &str,
    level: log::Level,
    body: impl Future<Output = Result<T, Failure>> + Send + 'static,
) -> ExitCode {
    log::start(name, level);
    if let Err(error) = exhausted::make_sure_of(TO_RUN) {
        return fail(&error);
    }
    // From now on a message needs no descriptor. One that cannot be sent ends no program.
    let _ = notify::systemd();
    // As a task of its own: whoever wakes the future that a runtime blocks on has to wake the whole
    // thread, by a system call, even from within.
    let result = match block_on(async { tokio::spawn(body).await }) {
        Ok(result) => result.unwrap_or_else(|panicked| Err(panicked.into())),
        Err(error) => return fail(&error),
    };
    match result {
        Ok(status) => status.report(),
        Err(error) => match error.downcast_ref::<WithStatus>() {
            Some(known) => {
                fail(known.failure.as_ref());
                known.status.into()
            }
            None => fail(error.as_ref()),
        },
    }
}

fn fail(failure: &(dyn Error + 'static)) -> ExitCode {
    let mut sentence = failure.to_string();
    let mut cause = failure.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !sentence.contains(&text) {
            sentence = format!("{sentence}: {text}");
        }
        cause = error.source();
    }
    if is_of_descriptors(failure) && !sentence.contains("LimitNOFILE=") {
        sentence.push_str(" (raise LimitNOFILE=)");
    }
    let sentence = self::sentence(&sentence);
    tracing::error!(ERROR = %sentence, "{sentence}");
    notify::status(&format!("Failed: {sentence}"));
    pace::failed();
    ExitCode::FAILURE
}

/// Has the kernel show the memory of this process to nobody but root, from now on and in what it forks: in no
/// core dump, whatever its size may be (of one that goes to a program, systemd-coredump(8), the limit does not
/// count, core(5)), and not to other processes of its user (`PR_SET_DUMPABLE`, prctl(2)). Others' bytes are in
/// there; and to write them out takes seconds, in which nothing is taken over. What is executed begins anew.
pub fn keep_memory_private() {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    // It fails where a sandbox forbids it; then the memory for payload is left out all the same.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Ends a daemon whose options make no sense, or one that was asked for its help or its version.
pub fn refuse(error: &clap::Error) -> ! {
    let status = command_line::tell(error);
    if error.use_stderr() {
        pace::failed();
    }
    std::process::exit(status)
}

/// Raises the soft limit of open descriptors to the hard one, and tells it: nothing here uses
/// select(2), for whose sake the soft limit is low (systemd.exec(5), `LimitNOFILE=`).
pub fn raise_descriptor_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
    .unwrap_or(u64::MAX)
}

/// How many of what needs `each` descriptors there may be, so that `reserved` ones are left.
pub fn share_descriptors(limit: u64, reserved: u64, each: u64) -> usize {
    usize::try_from(limit.saturating_sub(reserved) / each).unwrap_or(usize::MAX)
}

/// The processors that this process may use: those of its affinity and of its cgroup's `CPUQuota=`.
pub fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Reads a port, for an option.
///
/// # Errors
///
/// A sentence, when it is none.
pub fn port(text: &str) -> Result<u16, String> {
    text.parse()
        .map_err(|_| "a port is a number from 0 to 65535".to_owned())
}

/// Reads the number of a connection, for an option.
///
/// # Errors
///
/// A sentence, when it is no number.
pub fn number(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|error| not_a_number(&error, "a number is needed"))
}

/// Reads a number of at least one, for an option.
///
/// # Errors
///
/// A sentence, when it is not such a number.
pub fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least 1 is needed".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(not_a_number(&error, "a number is needed, of 1 or more")),
    }
}

fn not_a_number(error: &ParseIntError, needed: &str) -> String {
    match error.kind() {
        IntErrorKind::PosOverflow => {
            format!("the number is too large, {} is the largest", u64::MAX)
        }
        _ => needed.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_too_large_is_a_number() {
        let text = "99999999999999999999999";
        for error in [number(text).unwrap_err(), positive(text).unwrap_err()] {
            assert!(error.contains("too large, 18446744073709551615"), "{error}");
        }
        assert_eq!(number("many").unwrap_err(), "a number is needed");
        assert!(positive("-1").unwrap_err().contains("1 or more"));
    }
}

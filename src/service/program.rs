//! What every main function needs: runtime, logging, exit status, limits, and the parsers of numbers.

use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write};
use std::num::{IntErrorKind, ParseIntError};
use std::process::{ExitCode, Termination};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use serde_json::json;

use super::exhausted::{self, is_of_descriptors};
use super::printable::{printable_json, sentence, without_numbers};
use super::{command_line, grammar, log, notify, signals};

/// An error that ends a program, as a sentence for people.
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

/// An error of the kernel, with what was tried: alone it would say neither what was wrong nor what to do.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}")]
pub struct FailedStep {
    what: &'static str,
    source: io::Error,
}

impl FailedStep {
    /// For `map_err`; `what` is a sentence without its end.
    pub(crate) fn of(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { what, source }
    }
}

/// A failure for an argument or a variable that makes no sense, with the exit status that clap has for it.
pub fn wrong_usage(sentence: &str) -> Failure {
    let (status, failure) = (WRONG_USAGE, sentence.into());
    WithStatus { status, failure }.into()
}

const WRONG_USAGE: u8 = 2;

/// Descriptors that the runtime and the channel to systemd need, with some to spare.
const TO_RUN: usize = 12;

/// How long a failed start pauses before the process exits; a signal ends that at once.
///
/// systemd starts a service that has failed again, and so does the next client: at once and without limit,
/// because connections wait for it and an idle exit needs it. A service that cannot start, say for a wrong
/// option, would keep a processor busy.
const FAILED_START: Duration = Duration::from_millis(500);

/// Runs a future to its end on a single-threaded runtime. A thread that still looks up a name is not waited for.
/// Fails when the runtime cannot be made.
fn block_on<T>(body: impl Future<Output = T>) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let output = runtime.block_on(body);
    runtime.shutdown_background();
    Ok(output)
}

/// The program that [`run_command`] runs.
static COMMAND: OnceLock<&str> = OnceLock::new();

/// Whether what it prints to standard error is JSON.
static NOTES_ARE_JSON: AtomicBool = AtomicBool::new(false);

/// Runs the program `name`, which people call, on a single-threaded runtime. Returns its exit status, or `status` of
/// its failure, which is printed unless that is 0. Without a runtime, the failure is `no_runtime`.
pub(crate) fn run_command<F: Display>(
    name: &'static str,
    body: impl Future<Output = Result<u8, F>>,
    no_runtime: impl FnOnce(io::Error) -> F,
    status: impl FnOnce(&F) -> u8,
) -> ExitCode {
    COMMAND.get_or_init(|| name);
    signals::accept_all();
    let result = block_on(body).unwrap_or_else(|error| Err(no_runtime(error)));
    let status = result.unwrap_or_else(|failure| {
        let status = status(&failure);
        if status != 0 {
            note_failure(&failure, status);
        }
        status
    });
    status.into()
}

/// From now on notes and failures are objects of JSON, one a line.
pub(crate) fn note_in_json() {
    NOTES_ARE_JSON.store(true, Relaxed);
}

/// Prints a sentence to standard error.
pub(crate) fn note(text: impl Display) {
    let text = text.to_string();
    print_note(match NOTES_ARE_JSON.load(Relaxed) {
        true => json!({ "note": without_numbers(&text) }).to_string(),
        false => format!("{}: {}", COMMAND.get().unwrap_or(&""), sentence(&text)),
    });
}

/// Prints why the program fails with this exit status, as [`note`] does.
pub(crate) fn note_failure(failure: impl Display, status: u8) {
    if !NOTES_ARE_JSON.load(Relaxed) {
        return note(failure);
    }
    let error = without_numbers(&failure.to_string());
    print_note(json!({ "error": error, "exitStatus": status }).to_string());
}

/// A failure is ignored: there is no place to report it.
fn print_note(line: String) {
    let _ = writeln!(io::stderr().lock(), "{}", printable_json(&line));
}

/// Runs the daemon `name` on a single-threaded runtime until it ends. Returns the exit status.
///
/// A failure and its causes are logged and shown by `systemctl status`. Then the exit status is 1, or that of
/// [`WithStatus`].
pub fn run<T: Termination + Send + 'static>(
    name: &str,
    level: log::Level,
    body: impl Future<Output = Result<T, Failure>> + Send + 'static,
) -> ExitCode {
    log::start(name, level);
    signals::accept_all();
    if let Err(error) = exhausted::make_sure_of(TO_RUN) {
        return fail(&error);
    }
    // Opened now, so that no message needs a descriptor later. Without it the program runs all the same.
    let _ = notify::systemd();
    // In a task of its own: to wake the future that a runtime blocks on takes a system call, even from within.
    let result = match block_on(async { tokio::spawn(body).await }) {
        Ok(result) => result.unwrap_or_else(|panic| Err(panic.into())),
        Err(error) => return fail(&FailedStep::of("no event can be waited for")(error)),
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
    let text = sentence(&describe(failure, notify::was_ready()));
    tracing::error!(ERROR = %text, "{text}");
    notify::status(&format!("Failed: {text}"));
    pause_after_failed_start();
    ExitCode::FAILURE
}

/// What went wrong, with its causes and what helps.
fn describe(failure: &(dyn Error + 'static), has_started: bool) -> String {
    let mut text = failure.to_string();
    let is_of_kernel = |error: &io::Error| error.raw_os_error().is_some();
    if failure.downcast_ref().is_some_and(is_of_kernel) {
        let what = match has_started {
            true => "it cannot go on",
            false => "it cannot start",
        };
        text = format!("{what}: {text}");
    }
    for cause in std::iter::successors(failure.source(), |&error| error.source()) {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
    }
    if is_of_descriptors(failure) && !text.contains("LimitNOFILE=") {
        text.push_str(" (raise LimitNOFILE=)");
    }
    if exhausted::is_of_memory(failure) && !text.contains("LimitAS=") {
        text.push_str(" (raise LimitAS= or MemoryMax=)");
    }
    text
}

fn pause_after_failed_start() {
    if !notify::was_ready() && std::env::var_os("NOTIFY_SOCKET").is_some() {
        std::thread::sleep(FAILED_START);
    }
}

/// Hides the memory of this process and its children from all but root (`PR_SET_DUMPABLE`, prctl(2)): other
/// processes of its user, and core dumps, also those that a program takes and no limit stops
/// (systemd-coredump(8), core(5)). The memory holds payload; and while a dump is written, which takes seconds,
/// nothing is taken over. A program that is executed begins anew.
pub fn keep_memory_private() {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    // It fails where a sandbox forbids it. The memory for payload is left out of dumps all the same.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Ends a daemon whose options make no sense, or that only printed its help or version.
pub fn refuse(error: &clap::Error) -> ! {
    let status = command_line::print(error);
    if error.use_stderr() {
        notify::status(&format!("Failed: {}", command_line::in_brief(error)));
        pause_after_failed_start();
    }
    std::process::exit(status)
}

/// Raises the soft limit of open descriptors to the hard one, and returns it. The soft limit is low for the
/// sake of select(2), which is not used here (systemd.exec(5), `LimitNOFILE=`).
pub fn raise_descriptor_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let hard = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, hard) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
    .unwrap_or(u64::MAX)
}

/// The soft limit of open descriptors, which children inherit.
pub(crate) fn descriptor_limit() -> u64 {
    use rustix::process::{Resource, getrlimit};
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// How many uses of `each` descriptors leave `reserved` of them.
pub fn share_descriptors(limit: u64, reserved: u64, each: u64) -> usize {
    usize::try_from(limit.saturating_sub(reserved) / each).unwrap_or(usize::MAX)
}

/// Reads a port, for an option. The error is a sentence.
pub(crate) fn port(text: &str) -> Result<u16, String> {
    grammar::number(text).ok_or_else(|| "a port is a number from 0 to 65535".to_owned())
}

/// Reads the number of a connection, for an option. The error is a sentence.
pub(crate) fn number(text: &str) -> Result<u64, String> {
    unsigned(text)
        .parse()
        .map_err(|error| not_a_number(&error, "a number is needed"))
}

/// Reads a number of at least one, for an option. The error is a sentence.
pub(crate) fn positive(text: &str) -> Result<usize, String> {
    match unsigned(text).parse() {
        Ok(0) => Err("at least 1 is needed".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(not_a_number(&error, "a number is needed, of 1 or more")),
    }
}

/// The text, or nothing if it has a sign, which `from_str` takes.
fn unsigned(text: &str) -> &str {
    match text.starts_with('+') {
        true => "",
        false => text,
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

    fn of_kernel(number: i32) -> io::Error {
        io::Error::from_raw_os_error(number)
    }

    #[test]
    fn an_error_of_the_kernel_alone_is_a_sentence_and_says_what_helps() {
        for (number, words) in [
            (libc::ENOMEM, "(raise LimitAS= or MemoryMax=)"),
            (libc::EMFILE, "(raise LimitNOFILE=)"),
            (libc::EIO, "(os error 5)"),
        ] {
            let error = of_kernel(number);
            let text = describe(&error, false);
            assert!(
                text.starts_with(&format!("it cannot start: {error}")),
                "{text}"
            );
            assert!(text.ends_with(words), "{text}");
            assert!(describe(&error, true).starts_with("it cannot go on: "));
        }
    }

    #[test]
    fn what_has_a_sentence_keeps_it_and_gets_only_the_advice_that_it_lacks() {
        let step = FailedStep::of("signals cannot be caught")(of_kernel(libc::ENOMEM));
        let memory = of_kernel(libc::ENOMEM);
        let expected = format!("signals cannot be caught: {memory} (raise LimitAS= or MemoryMax=)");
        assert_eq!(describe(&step, false), expected);
        let step = FailedStep::of("raise LimitNOFILE= for it")(of_kernel(libc::EMFILE));
        assert_eq!(describe(&step, false), step.to_string());
        let plain: Failure = "nowhere to listen".into();
        assert_eq!(describe(plain.as_ref(), false), "nowhere to listen");
    }

    #[test]
    fn a_number_that_is_too_large_is_a_number() {
        let text = "99999999999999999999999";
        for error in [number(text).unwrap_err(), positive(text).unwrap_err()] {
            assert!(error.contains("too large, 18446744073709551615"), "{error}");
        }
        assert_eq!(number("many").unwrap_err(), "a number is needed");
        assert!(positive("-1").unwrap_err().contains("1 or more"));
        assert!(port("5000").is_ok() && number("5").is_ok() && positive("5").is_ok());
        assert!(port("+5000").is_err() && number("+5").is_err() && positive("+5").is_err());
    }
}

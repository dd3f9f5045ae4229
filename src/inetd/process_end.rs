//! How a process has ended, in words. Pure.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// How a process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProcessEnd {
    /// With this exit status; 0 is a success.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

impl From<ExitStatus> for ProcessEnd {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Exited(code),
            (None, signal) => Self::Killed(signal.unwrap_or_default()),
        }
    }
}

impl ProcessEnd {
    pub(super) fn is_success(self) -> bool {
        self == Self::Exited(0)
    }
}

impl fmt::Display for ProcessEnd {
    /// What follows the name of the program in a sentence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(0) => f.write_str("has ended"),
            Self::Exited(status) => write!(f, "has ended with the exit status {status}"),
            Self::Killed(signal) => write!(f, "was killed by signal {signal}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exit_status_and_every_signal_is_told_apart() {
        for code in 0..256 {
            let end = ProcessEnd::from(ExitStatus::from_raw(code << 8));
            assert_eq!(end, ProcessEnd::Exited(code));
            assert_eq!(end.is_success(), code == 0);
            let text = end.to_string();
            assert_eq!(text.ends_with(&format!(" {code}")), code != 0, "{text}");
        }
        for signal in 1..65 {
            for core in [0, 0x80] {
                let end = ProcessEnd::from(ExitStatus::from_raw(signal | core));
                assert_eq!(end, ProcessEnd::Killed(signal));
                assert!(!end.is_success());
                assert_eq!(end.to_string(), format!("was killed by signal {signal}"));
            }
        }
    }
}

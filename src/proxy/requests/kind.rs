//! How a request and its reply are recognised.

use std::fmt;
use std::str::FromStr;

/// How a request and its reply are recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum RequestKind {
    /// A request is a line, and so is its reply
    Lines,
    /// HTTP/1.0 and HTTP/1.1
    Http,
}

impl RequestKind {
    /// The number that stands for it where it outlives the process; 0 is none.
    pub fn code(self) -> u8 {
        match self {
            Self::Lines => 1,
            Self::Http => 2,
        }
    }
}

/// A word that is no kind of requests.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("“{0}” is no kind of requests: it is “lines” or “http”")]
pub struct UnknownKind(String);

impl FromStr for RequestKind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        match text {
            "lines" => Ok(Self::Lines),
            "http" => Ok(Self::Http),
            _ => Err(UnknownKind(text.to_owned())),
        }
    }
}

impl fmt::Display for RequestKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lines => "lines",
            Self::Http => "http",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn a_kind_is_read_as_it_is_shown_also_by_the_command_line() {
        for kind in RequestKind::value_variants() {
            assert_eq!(kind.to_string().parse(), Ok(*kind));
            let value = kind.to_possible_value().unwrap();
            assert_eq!(value.get_name(), kind.to_string());
        }
        for text in ["", "HTTP", "none", "line"] {
            let refusal = text.parse::<RequestKind>().unwrap_err().to_string();
            assert!(refusal.contains(&format!("“{text}”")), "{refusal}");
        }
    }
}

//! Where each side of a conversation is: what is expected at its position.

/// What is expected at the position of the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RequestStage {
    /// The next request: this one ends here.
    #[default]
    Whole,
    /// The next part of a body in chunks.
    Chunked(ChunkPart),
}

/// What is expected at the position of the reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyStage {
    /// Nothing until the next request: the reply ends here.
    #[default]
    Complete,
    /// The end: this was the last reply of the connection.
    Closing,
    /// A reply of which nothing has come.
    Awaited,
    /// The reply itself: a provisional one (1xx) has come.
    Interim,
    /// The body, which ends with the connection.
    UntilEnd,
    /// The next part of a body in chunks.
    Chunked(ChunkPart),
}

/// What is expected within a body in chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkPart {
    /// The line with the size of a chunk.
    Size,
    /// The end of line behind the bytes of a chunk.
    DataEnd,
    /// A line behind the last chunk; an empty one ends the body.
    Trailer,
}

impl RequestStage {
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Whole => 0,
            Self::Chunked(part) => 1 + part.code(),
        }
    }

    pub(super) fn of(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Whole),
            _ => ChunkPart::of(code - 1).map(Self::Chunked),
        }
    }
}

impl ReplyStage {
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Complete => 0,
            Self::Closing => 1,
            Self::Awaited => 2,
            Self::Interim => 3,
            Self::UntilEnd => 4,
            Self::Chunked(part) => 5 + part.code(),
        }
    }

    pub(super) fn of(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Complete,
            1 => Self::Closing,
            2 => Self::Awaited,
            3 => Self::Interim,
            4 => Self::UntilEnd,
            _ => Self::Chunked(ChunkPart::of(code - 5)?),
        })
    }

    /// Whether nothing more of the reply will come.
    pub(super) fn is_over(self) -> bool {
        matches!(self, Self::Complete | Self::Closing)
    }
}

impl ChunkPart {
    fn code(self) -> u8 {
        match self {
            Self::Size => 0,
            Self::DataEnd => 1,
            Self::Trailer => 2,
        }
    }

    fn of(code: u8) -> Option<Self> {
        [Self::Size, Self::DataEnd, Self::Trailer]
            .get(usize::from(code))
            .copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_read_as_it_was_written_and_no_other_number_is_one() {
        let requests = (0..=u8::MAX).filter_map(|code| Some((code, RequestStage::of(code)?)));
        assert_eq!(requests.clone().count(), 4);
        assert!({ requests }.all(|(code, stage)| stage.code() == code));
        let replies = (0..=u8::MAX).filter_map(|code| Some((code, ReplyStage::of(code)?)));
        assert_eq!(replies.clone().count(), 8);
        assert!({ replies }.all(|(code, stage)| stage.code() == code));
    }
}

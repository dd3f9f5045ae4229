//! Which thread relieves one that is busy. Pure.
//!
//! As few threads as are enough: one that has several connections hears of several at once, and
//! needs fewer system calls for each. What counts is the processor time that a thread got, not
//! whether it always had something to do: where all processors are busy with other things another
//! thread would not get more.

/// A thread is full that used more than this part of a processor, in thousandths: about half, because
/// whoever comes while it is at work waits.
pub(super) const FULL: u32 = 550;

/// A thread may be given connections if it used that much less than the one that gives.
const MARGIN: u32 = 300;

/// All threads, seen from one of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shares<'a> {
    /// What part of a processor each has used lately, in thousandths.
    pub(super) parts: &'a [u32],
    /// Whether one more may be started now.
    pub(super) may_grow: bool,
}

/// Who can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relief {
    /// That thread.
    Thread(usize),
    /// One that has to be started.
    New,
}

impl Shares<'_> {
    /// Who relieves the thread of this number; `None` if it is not full, or if nobody has time.
    pub(super) fn relief(&self, own: usize) -> Option<Relief> {
        let part = *self.parts.get(own)?;
        if part < FULL {
            return None;
        }
        let others = self.parts.iter().enumerate().filter(|(at, _)| *at != own);
        match others.min_by_key(|(_, part)| **part) {
            Some((at, least)) if least + MARGIN <= part => Some(Relief::Thread(at)),
            _ => self.may_grow.then_some(Relief::New),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn relief(parts: &[u32], may_grow: bool) -> Option<Relief> {
        Shares { parts, may_grow }.relief(0)
    }

    #[test]
    fn one_that_is_not_full_needs_none() {
        assert_eq!(relief(&[FULL - 1, 0], true), None);
    }

    #[test]
    fn a_thread_that_has_time_comes_before_a_new_one() {
        assert_eq!(relief(&[1000, 700, 200], true), Some(Relief::Thread(2)));
        assert_eq!(relief(&[1000, 900], true), Some(Relief::New));
        assert_eq!(relief(&[1000, 900], false), None);
        assert_eq!(relief(&[1000], true), Some(Relief::New));
    }

    proptest! {
        /// Nobody is relieved by itself, or by somebody who has about as much to do.
        #[test]
        fn relief_has_time(
            parts in prop::collection::vec(0_u32..=1000, 1..9),
            may_grow: bool,
            own in 0_usize..9,
        ) {
            let crew = Shares { parts: &parts, may_grow };
            match crew.relief(own) {
                Some(Relief::Thread(at)) => prop_assert!(parts[at] + MARGIN <= parts[own]),
                Some(Relief::New) => prop_assert!(may_grow && parts[own] >= FULL),
                None => {}
            }
        }
    }
}

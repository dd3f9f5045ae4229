//! Which thread relieves one that is busy. Pure.
//!
//! As few threads as are enough: a thread with several connections gets several events at once, and needs
//! fewer system calls for each. What counts is the processor time that a thread got, not whether it always
//! had something to do: where other processes use all processors, another thread would not get more.

/// A thread is full from this part of a processor on, in thousandths: about half, because a client that
/// comes while the thread is at work waits.
pub(super) const FULL: u32 = 550;

/// Where no processor is idle, a thread is overloaded from this part of one on, in thousandths. Below it, its clients wait
/// for the upstream and for each other more than for this thread.
const OVERLOADED: u32 = 800;

/// A thread may get connections of another one if it used that much less, in thousandths.
const MARGIN: u32 = 300;

/// A thread that has time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relief {
    Thread(usize),
    /// A thread that has to be started.
    New,
}

/// The connections that a full thread may give away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Burden {
    Any,
    /// Of others two threads carry no more than one where no processor is idle.
    Interactive,
}

/// What a thread that has used `part` of a processor lately, in thousandths, may give away, if anything.
pub(super) fn burden(part: u32, is_processor_idle: bool) -> Option<Burden> {
    match is_processor_idle {
        true => (part >= FULL).then_some(Burden::Any),
        false => (part >= OVERLOADED).then_some(Burden::Interactive),
    }
}

/// Which thread relieves the one of the number `own`; `None` if that is not full, or if no other has time.
/// `parts` are the parts of a processor that the threads have used lately, in thousandths.
pub(super) fn relief(parts: &[u32], own: usize, may_grow: bool) -> Option<Relief> {
    let part = *parts.get(own)?;
    if part < FULL {
        return None;
    }
    let others = parts.iter().enumerate().filter(|(at, _)| *at != own);
    match others.min_by_key(|(_, part)| **part) {
        Some((at, least)) if least + MARGIN <= part => Some(Relief::Thread(at)),
        _ => may_grow.then_some(Relief::New),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_that_is_not_full_needs_none() {
        assert_eq!(relief(&[FULL - 1, 0], 0, true), None);
    }

    #[test]
    fn a_thread_that_has_time_comes_before_a_new_one() {
        assert_eq!(relief(&[1000, 700, 200], 0, true), Some(Relief::Thread(2)));
        assert_eq!(relief(&[1000, 900], 0, true), Some(Relief::New));
        assert_eq!(relief(&[1000, 900], 0, false), None);
        assert_eq!(relief(&[1000], 0, true), Some(Relief::New));
    }

    #[test]
    fn where_no_processor_is_idle_an_overloaded_thread_gives_away_interactive_connections() {
        assert_eq!(burden(FULL - 1, true), None);
        assert_eq!(burden(FULL, true), Some(Burden::Any));
        assert_eq!(burden(799, false), None);
        assert_eq!(burden(800, false), Some(Burden::Interactive));
    }

    proptest! {
        /// No thread is relieved by itself, or by one that has about as much to do.
        #[test]
        fn relief_has_time(
            parts in prop::collection::vec(0_u32..=1000, 1..9),
            may_grow: bool,
            own in 0_usize..9,
        ) {
            match relief(&parts, own, may_grow) {
                Some(Relief::Thread(at)) => prop_assert!(parts[at] + MARGIN <= parts[own]),
                Some(Relief::New) => prop_assert!(may_grow && parts[own] >= FULL),
                None => {}
            }
        }
    }
}

//! When each address of a name is tried: Happy Eyeballs, RFC 8305. Pure; [`super::connecting`] connects.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

/// The time between two attempts: RFC 8305, section 5, "Connection Attempt Delay".
const DELAY: Duration = Duration::from_millis(250);

/// The least that RFC 8305, section 5, allows.
const SHORTEST_DELAY: Duration = Duration::from_millis(10);

/// A race of the addresses of one name: the first that connects wins.
#[derive(Debug)]
pub struct Race {
    waiting: VecDeque<SocketAddr>,
    /// The number of attempts that have begun and not failed.
    under_way: usize,
    delay: Duration,
    /// When the next attempt is due.
    next: Instant,
}

impl Race {
    /// Begins now. Every address is tried before `until`.
    pub fn new(
        addresses: impl IntoIterator<Item = SocketAddr>,
        now: Instant,
        until: Option<Instant>,
    ) -> Self {
        let waiting = interleaved(addresses);
        let share = until.map_or(DELAY, |until| {
            until.saturating_duration_since(now) / waiting.len().max(1) as u32
        });
        Self {
            waiting,
            under_way: 0,
            delay: share.clamp(SHORTEST_DELAY, DELAY),
            next: now,
        }
    }

    /// Begins the next attempt, if it is due, and returns its address.
    pub fn begin(&mut self, now: Instant) -> Option<SocketAddr> {
        if self.due()? > now {
            return None;
        }
        self.under_way += 1;
        self.next = now + self.delay;
        self.waiting.pop_front()
    }

    /// When the next attempt is due; `None` if all have begun.
    pub fn due(&self) -> Option<Instant> {
        (!self.waiting.is_empty()).then_some(self.next)
    }

    /// An attempt has failed: the next is due at once.
    pub fn failed(&mut self, now: Instant) {
        self.under_way -= 1;
        self.next = now;
    }

    /// The attempt at this address failed for lack of descriptors, and an older one was given up: it is due now.
    pub fn retry_instead(&mut self, address: SocketAddr, now: Instant) {
        self.failed(now);
        self.failed(now);
        self.waiting.push_front(address);
    }

    /// Whether all attempts have failed.
    pub fn is_lost(&self) -> bool {
        self.waiting.is_empty() && self.under_way == 0
    }
}

/// Each address once, the two families in turn, beginning with that of the first address (RFC 8305, section 4).
/// Within a family the order is the resolver's (RFC 6724).
fn interleaved(addresses: impl IntoIterator<Item = SocketAddr>) -> VecDeque<SocketAddr> {
    let mut all: VecDeque<SocketAddr> = VecDeque::new();
    for address in addresses {
        if !all.contains(&address) {
            all.push_back(address);
        }
    }
    let first_is_v6 = all.front().is_some_and(SocketAddr::is_ipv6);
    let is_first = |address: &SocketAddr| address.is_ipv6() == first_is_v6;
    let (first, second): (Vec<_>, Vec<_>) = all.into_iter().partition(is_first);
    let mut second = second.into_iter();
    let mut ordered = VecDeque::new();
    for address in first {
        ordered.push_back(address);
        ordered.extend(second.next());
    }
    ordered.extend(second);
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_have_their_turns_in_the_order_of_the_resolver() {
        let given = addresses(&["[2::1]:1", "[2::2]:1", "[2::1]:1", "[2::3]:1", "1.0.0.1:1"]);
        let wanted = addresses(&["[2::1]:1", "1.0.0.1:1", "[2::2]:1", "[2::3]:1"]);
        assert_eq!(Vec::from(interleaved(given)), wanted);
        let given = addresses(&["1.0.0.1:1", "1.0.0.2:1", "[2::1]:1"]);
        let wanted = addresses(&["1.0.0.1:1", "[2::1]:1", "1.0.0.2:1"]);
        assert_eq!(Vec::from(interleaved(given)), wanted);
    }

    #[test]
    fn the_next_address_is_tried_after_a_quarter_of_a_second_or_when_one_fails() {
        let now = Instant::now();
        let given = addresses(&["1.0.0.1:1", "1.0.0.2:1", "1.0.0.3:1"]);
        let mut race = Race::new(given, now, None);
        assert!(race.begin(now).is_some() && race.begin(now).is_none());
        let later = now + DELAY;
        assert_eq!(race.due(), Some(later));
        assert!(race.begin(later).is_some() && race.begin(later).is_none());
        race.failed(later);
        assert!(race.begin(later).is_some());
        assert_eq!(race.due(), None);
        race.failed(later);
        assert!(!race.is_lost());
        race.failed(later);
        assert!(race.is_lost());
        assert!(Race::new([], now, None).is_lost(), "no address");
    }

    proptest! {
        /// Whatever fails and whenever, every address has its turn once, and in time.
        #[test]
        fn every_address_has_its_turn_in_time(
            count in 1u8..40,
            left_ms in 500u64..10_000,
            events in prop::collection::vec((0u64..300, any::<bool>()), 0..200),
        ) {
            let start = Instant::now();
            let until = start + Duration::from_millis(left_ms);
            let given: Vec<SocketAddr> = (0..count)
                .map(|last| SocketAddr::from(([127, 0, 0, last], 1)))
                .collect();
            let mut race = Race::new(given.clone(), start, Some(until));
            let mut begun = Vec::new();
            let (mut now, mut failed, mut last) = (start, 0, None);
            for (pause, fails) in events {
                let next = now + Duration::from_millis(pause);
                while let Some(due) = race.due().filter(|due| *due <= next) {
                    prop_assert!(due <= until);
                    prop_assert!(last.is_none_or(|last| due - last >= SHORTEST_DELAY || due == now));
                    now = due;
                    last = Some(due);
                    begun.extend(race.begin(due));
                }
                now = next;
                if fails && failed < begun.len() {
                    race.failed(now);
                    failed += 1;
                }
                prop_assert_eq!(race.is_lost(), begun.len() == given.len() && failed == begun.len());
            }
            // None fails any more: the rest begins when it is due.
            while let Some(due) = race.due() {
                prop_assert!(due <= until);
                begun.extend(race.begin(due));
            }
            prop_assert_eq!(begun, given);
        }
    }
}

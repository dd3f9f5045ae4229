//! Which callers have a place, and which one makes room when none is left. Pure.
//!
//! There is always room for one more caller, and for a call that is answered at once: calls that wait have a
//! limit of their own, and a caller without such a call can be evicted. It is one of the user with the most
//! of them, so that no user keeps others out, root least of all.

use std::collections::BTreeMap;

/// The number of the user root.
const ROOT: u32 = 0;

/// What a caller is doing, the first to be evicted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Activity {
    /// It has no call.
    Silent,
    /// It is being answered.
    Answered,
    /// Its call waits for something to happen.
    Waiting,
}

#[derive(Debug)]
struct Occupant<T> {
    user: u32,
    activity: Activity,
    /// The order in which activities have begun.
    since: u64,
    /// Dropped when the caller is evicted.
    _handle: T,
}

/// The callers that are connected, by numbers that are never used again.
#[derive(Debug)]
pub struct Places<T> {
    most: usize,
    time: u64,
    callers: BTreeMap<u64, Occupant<T>>,
}

impl<T> Places<T> {
    pub fn new(most: usize) -> Self {
        Self {
            most: most.max(4),
            time: 0,
            callers: BTreeMap::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.callers.len()
    }

    /// Adds a caller of this user. Returns its number, and that of the caller which is evicted for it.
    pub fn enter(&mut self, user: u32, handle: T) -> (u64, Option<u64>) {
        let evicted = match self.callers.len() < self.most {
            true => None,
            false => self.evict(),
        };
        let since = self.tick();
        let occupant = Occupant {
            user,
            activity: Activity::Silent,
            since,
            _handle: handle,
        };
        self.callers.insert(since, occupant);
        (since, evicted)
    }

    /// Evicts a caller: of the user with the most that do not wait, the one that has been silent for longest,
    /// or else the one that has been answered for longest.
    pub fn evict(&mut self) -> Option<u64> {
        let can_go = |caller: &&Occupant<T>| caller.activity != Activity::Waiting;
        let mut users = BTreeMap::<u32, usize>::new();
        for caller in self.callers.values().filter(can_go) {
            *users.entry(caller.user).or_default() += 1;
        }
        // Of two users with as many it is not root.
        let (user, _) = users.iter().max_by_key(|(user, count)| (**count, **user))?;
        let of_user = self.callers.iter();
        let of_user = of_user.filter(|(_, caller)| caller.user == *user && can_go(caller));
        let (number, _) = of_user.min_by_key(|(_, caller)| (caller.activity, caller.since))?;
        let number = *number;
        self.callers.remove(&number);
        Some(number)
    }

    /// Lets the call of a caller wait. Fails with the limit if as many wait already: of one user a quarter
    /// of all places, of all users but root a half.
    pub fn begin_wait(&mut self, number: u64) -> Result<(), usize> {
        let Some(user) = self.callers.get(&number).map(|caller| caller.user) else {
            return Ok(()); // it was evicted
        };
        let waiting = |whose: &dyn Fn(u32) -> bool| {
            let callers = self.callers.values();
            callers
                .filter(|caller| caller.activity == Activity::Waiting && whose(caller.user))
                .count()
        };
        let (of_one, of_all) = (self.most / 4, self.most / 2);
        if waiting(&|other| other == user) >= of_one {
            return Err(of_one);
        }
        if user != ROOT && waiting(&|other| other != ROOT) >= of_all {
            return Err(of_all);
        }
        self.set(number, Activity::Waiting);
        Ok(())
    }

    pub fn leave(&mut self, number: u64) {
        self.callers.remove(&number);
    }

    pub fn set(&mut self, number: u64, activity: Activity) {
        let since = self.tick();
        if let Some(caller) = self.callers.get_mut(&number) {
            (caller.activity, caller.since) = (activity, since);
        }
    }

    fn tick(&mut self) -> u64 {
        self.time += 1;
        self.time
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Has `count` callers of this user wait. Returns how many may.
    fn wait(places: &mut Places<()>, user: u32, count: usize) -> usize {
        (0..count)
            .filter(|_| {
                let (number, _) = places.enter(user, ());
                places.begin_wait(number).is_ok()
            })
            .count()
    }

    #[test]
    fn calls_that_wait_leave_room_for_others_and_for_root() {
        let mut places = Places::new(256);
        assert_eq!(wait(&mut places, 1, 300), 64);
        assert_eq!(wait(&mut places, 2, 300), 64);
        assert_eq!(wait(&mut places, 3, 300), 0, "all users together");
        assert_eq!(wait(&mut places, ROOT, 300), 64);
        let (unlock, _) = places.enter(ROOT, ());
        assert_eq!(places.begin_wait(unlock), Err(64));
        places.set(unlock, Activity::Answered);
    }

    #[test]
    fn of_many_silent_callers_the_first_of_the_same_user_makes_room() {
        let mut places = Places::new(8);
        let (other, _) = places.enter(2, ());
        let many: Vec<(u64, Option<u64>)> = (0..1000).map(|_| places.enter(1, ())).collect();
        let evicted: Vec<u64> = many.iter().filter_map(|(_, evicted)| *evicted).collect();
        let first: Vec<u64> = many.iter().map(|(number, _)| *number).collect();
        assert_eq!(evicted, first[..evicted.len()]);
        assert_eq!(places.len(), 8);
        assert!(places.callers.contains_key(&other));
    }

    #[test]
    fn a_caller_that_has_its_answer_is_evicted_after_silent_ones() {
        let mut places = Places::new(4);
        let numbers: Vec<u64> = (0..4).map(|_| places.enter(1, ()).0).collect();
        for number in &numbers[..3] {
            places.set(*number, Activity::Answered);
        }
        assert_eq!(places.enter(1, ()).1, Some(numbers[3]));
        places.set(numbers[1], Activity::Answered);
        let (last, evicted) = places.enter(1, ());
        assert!(evicted.is_some_and(|evicted| !numbers.contains(&evicted)));
        places.set(last, Activity::Answered);
        assert_eq!(places.enter(1, ()).1, Some(numbers[0]));
    }

    proptest! {
        #[test]
        fn there_is_always_room_for_one_more_and_waiting_callers_stay(
            acts in prop::collection::vec((0u32..4, 0usize..5), 1..400),
            most in 4usize..20,
        ) {
            let mut places = Places::new(most);
            let mut numbers = Vec::new();
            for (user, act) in acts {
                let number = numbers.get(act * 7 % numbers.len().max(1)).copied().unwrap_or(0);
                match act {
                    0 => places.leave(number),
                    1 => places.set(number, Activity::Silent),
                    2 => places.set(number, Activity::Answered),
                    3 => _ = places.begin_wait(number),
                    _ => {
                        let is_full = places.len() == most;
                        let waiting: Vec<u64> = places
                            .callers
                            .iter()
                            .filter(|(_, place)| place.activity == Activity::Waiting)
                            .map(|(number, _)| *number)
                            .collect();
                        let (number, evicted) = places.enter(user, ());
                        prop_assert_eq!(evicted.is_some(), is_full);
                        prop_assert!(waiting.iter().all(|one| places.callers.contains_key(one)));
                        numbers.push(number);
                    }
                }
                prop_assert!(places.len() <= most);
            }
        }
    }
}

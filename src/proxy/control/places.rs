//! Which callers have a place, and who makes room when none is left. Pure.
//!
//! There is always room for one more caller, and for a call that is answered at once: calls that wait
//! have a limit of their own, and whoever has no such call makes room. It is the user with the most of
//! those who makes it, so that nobody keeps others out, root least of all.

use std::collections::BTreeMap;

/// Root's number.
const ROOT: u32 = 0;

/// What a caller is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Doing {
    /// Nothing: it has yet to call.
    Silent,
    /// It is being answered.
    Answered,
    /// Its call waits for something to happen.
    Waiting,
}

#[derive(Clone, Copy, Debug)]
struct Caller {
    user: u32,
    doing: Doing,
    /// Later than that of everybody whose doing has changed before.
    since: u64,
}

/// The callers that are connected, by numbers that are never used again.
#[derive(Debug)]
pub struct Places {
    most: usize,
    time: u64,
    callers: BTreeMap<u64, Caller>,
}

impl Places {
    /// For at most so many callers.
    pub fn new(most: usize) -> Self {
        Self {
            most: most.max(4),
            time: 0,
            callers: BTreeMap::new(),
        }
    }

    /// The most calls that may wait, of one user.
    fn waiting_of_one(&self) -> usize {
        self.most / 4
    }

    /// The most calls that may wait, of all users together; root's are not among them.
    fn waiting_of_all(&self) -> usize {
        self.most / 2
    }

    /// How many callers are connected.
    pub fn len(&self) -> usize {
        self.callers.len()
    }

    /// Whether nobody is connected.
    pub fn is_empty(&self) -> bool {
        self.callers.is_empty()
    }

    /// A caller of this user has come. Its number, and the one who has to go for it.
    pub fn enter(&mut self, user: u32) -> (u64, Option<u64>) {
        let evicted = match self.callers.len() < self.most {
            true => None,
            false => self.evict(),
        };
        let since = self.tick();
        let doing = Doing::Silent;
        self.callers.insert(since, Caller { user, doing, since });
        (since, evicted)
    }

    /// Takes the place of whoever can best do without it: among the callers of the user with the most of
    /// those who do not wait, one that is silent, and the one that has been it for longest.
    pub fn evict(&mut self) -> Option<u64> {
        let can_go = |caller: &&Caller| caller.doing != Doing::Waiting;
        let mut users = BTreeMap::<u32, usize>::new();
        for caller in self.callers.values().filter(can_go) {
            *users.entry(caller.user).or_default() += 1;
        }
        // Of two with as many it is not root.
        let (user, _) = users.iter().max_by_key(|(user, count)| (**count, **user))?;
        let (number, _) = self
            .callers
            .iter()
            .filter(|(_, caller)| caller.user == *user && can_go(caller))
            .min_by_key(|(_, caller)| (caller.doing, caller.since))?;
        let number = *number;
        self.callers.remove(&number);
        Some(number)
    }

    /// This caller is silent from now on.
    pub fn silent(&mut self, number: u64) {
        self.does(number, Doing::Silent);
    }

    /// This caller is being answered from now on.
    pub fn answered(&mut self, number: u64) {
        self.does(number, Doing::Answered);
    }

    /// The call of this caller is one that waits.
    ///
    /// # Errors
    ///
    /// The limit, when as many wait already.
    pub fn waits(&mut self, number: u64) -> Result<(), usize> {
        let Some(user) = self.callers.get(&number).map(|caller| caller.user) else {
            return Ok(()); // it has to go anyway
        };
        let waiting = |whose: &dyn Fn(u32) -> bool| {
            self.callers
                .values()
                .filter(|caller| caller.doing == Doing::Waiting && whose(caller.user))
                .count()
        };
        if waiting(&|other| other == user) >= self.waiting_of_one() {
            return Err(self.waiting_of_one());
        }
        if user != ROOT && waiting(&|other| other != ROOT) >= self.waiting_of_all() {
            return Err(self.waiting_of_all());
        }
        self.does(number, Doing::Waiting);
        Ok(())
    }

    /// This caller has gone.
    pub fn leave(&mut self, number: u64) {
        self.callers.remove(&number);
    }

    fn does(&mut self, number: u64, doing: Doing) {
        let since = self.tick();
        if let Some(caller) = self.callers.get_mut(&number) {
            (caller.doing, caller.since) = (doing, since);
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

    /// Callers of this user that call what waits; how many do.
    fn wait(places: &mut Places, user: u32, count: usize) -> usize {
        (0..count)
            .filter(|_| {
                let (number, _) = places.enter(user);
                places.waits(number).is_ok()
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
        let (unlock, _) = places.enter(ROOT);
        assert_eq!(places.waits(unlock), Err(64));
        places.answered(unlock);
    }

    #[test]
    fn of_many_silent_ones_the_first_makes_room_and_nobody_elses() {
        let mut places = Places::new(8);
        let (other, _) = places.enter(2);
        let many: Vec<(u64, Option<u64>)> = (0..1000).map(|_| places.enter(1)).collect();
        let evicted: Vec<u64> = many.iter().filter_map(|(_, evicted)| *evicted).collect();
        let first: Vec<u64> = many.iter().map(|(number, _)| *number).collect();
        assert_eq!(evicted, first[..evicted.len()]);
        assert_eq!(places.len(), 8);
        assert!(places.callers.contains_key(&other));
    }

    #[test]
    fn one_that_does_not_take_its_answer_goes_behind_those_who_are_silent() {
        let mut places = Places::new(4);
        let numbers: Vec<u64> = (0..4).map(|_| places.enter(1).0).collect();
        numbers[..3]
            .iter()
            .for_each(|number| places.answered(*number));
        assert_eq!(places.enter(1).1, Some(numbers[3]));
        places.answered(numbers[1]);
        let (last, evicted) = places.enter(1);
        assert!(evicted.is_some_and(|evicted| !numbers.contains(&evicted)));
        places.answered(last);
        assert_eq!(places.enter(1).1, Some(numbers[0]));
    }

    proptest! {
        #[test]
        fn there_is_always_room_for_one_more_and_who_waits_stays(
            acts in prop::collection::vec((0u32..4, 0usize..5), 1..400),
            most in 4usize..20,
        ) {
            let mut places = Places::new(most);
            let mut numbers = Vec::new();
            for (user, act) in acts {
                let number = numbers.get(act * 7 % numbers.len().max(1)).copied().unwrap_or(0);
                match act {
                    0 => places.leave(number),
                    1 => places.silent(number),
                    2 => places.answered(number),
                    3 => _ = places.waits(number),
                    _ => {
                        let is_full = places.len() == most;
                        let waiting: Vec<u64> = places
                            .callers
                            .iter()
                            .filter(|(_, caller)| caller.doing == Doing::Waiting)
                            .map(|(number, _)| *number)
                            .collect();
                        let (number, evicted) = places.enter(user);
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

//! The threads that serve connections.
//!
//! A connection stays on the thread that it was given to, and so do the buffers and pipes that serve
//! it. Each thread is a single-threaded runtime of its own; the first is the one that accepts.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// Threads that are started as they are needed: one client needs one.
#[derive(Debug)]
pub struct Workers {
    most: usize,
    own: Load,
    others: Vec<Worker>,
}

/// How many tasks a thread has.
type Load = Arc<AtomicUsize>;

#[derive(Debug)]
struct Worker {
    runtime: Handle,
    load: Load,
    /// Dropping it ends the thread, and with it what runs there.
    _goes_on: oneshot::Sender<()>,
}

impl Workers {
    /// At most so many threads, at least one; the calling thread, which has to be in a runtime, is
    /// the first of them.
    pub fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            own: Load::default(),
            others: Vec::new(),
        }
    }

    /// Runs `task` on the thread that has fewest.
    pub fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        let others = self.others.iter().map(|worker| &worker.load);
        let loads = std::iter::once(&self.own).chain(others);
        let counts = loads.map(|load| load.load(Relaxed)).enumerate();
        let (mut index, least) = counts.min_by_key(|(_, count)| *count).unwrap_or_default();
        if least > 0 && self.grows() {
            index = self.others.len();
        }
        match index.checked_sub(1).map(|other| &self.others[other]) {
            None => drop(tokio::spawn(counted(&self.own, task))),
            Some(worker) => drop(worker.runtime.spawn(counted(&worker.load, task))),
        }
    }

    /// Starts one more thread, if there may be one more.
    fn grows(&mut self) -> bool {
        if self.others.len() + 1 >= self.most {
            return false;
        }
        match Worker::start(self.others.len() + 1) {
            Ok(worker) => self.others.push(worker),
            Err(error) => {
                let threads = self.others.len() + 1;
                self.most = threads;
                tracing::warn!(
                    ERROR = %error,
                    "no more than {threads} threads can be started, these go on alone: {error} (raise \
                     TasksMax=)"
                );
                return false;
            }
        }
        true
    }
}

/// Counts `task` until it has ended.
fn counted(
    load: &Load,
    task: impl Future<Output = ()> + Send + 'static,
) -> impl Future<Output = ()> + Send + 'static {
    struct Counted(Load);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Relaxed);
        }
    }
    load.fetch_add(1, Relaxed);
    let counted = Counted(Arc::clone(load));
    async move {
        task.await;
        drop(counted);
    }
}

impl Worker {
    fn start(number: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (goes_on, ends) = oneshot::channel();
        thread::Builder::new()
            .name(format!("worker-{number}"))
            .spawn(move || {
                // An error says that the sender was dropped.
                let _ = runtime.block_on(ends);
                // Threads that still look up a name are not waited for.
                runtime.shutdown_background();
            })?;
        Ok(Self {
            runtime: handle,
            load: Load::default(),
            _goes_on: goes_on,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use tokio::sync::mpsc;

    #[tokio::test]
    async fn tasks_go_to_the_thread_that_has_fewest() {
        let mut workers = Workers::new(3);
        let (told, mut telling) = mpsc::unbounded_channel();
        let mut ends = Vec::new();
        for _ in 0..9 {
            let (end, ended) = oneshot::channel::<()>();
            let told = told.clone();
            workers.spawn(async move {
                told.send(thread::current().id()).unwrap();
                let _ = ended.await;
            });
            ends.push(end);
        }
        let mut tasks = BTreeMap::new();
        for _ in 0..9 {
            let thread = telling.recv().await.unwrap();
            *tasks.entry(format!("{thread:?}")).or_insert(0) += 1;
        }
        assert_eq!(tasks.into_values().collect::<Vec<_>>(), [3, 3, 3]);
    }

    #[tokio::test]
    async fn one_task_at_a_time_needs_no_other_thread() {
        let mut workers = Workers::new(8);
        for _ in 0..5 {
            let (end, ended) = oneshot::channel();
            let here = thread::current().id();
            workers.spawn(async move {
                assert_eq!(thread::current().id(), here);
                end.send(()).unwrap();
            });
            ended.await.unwrap();
            while workers.own.load(Relaxed) > 0 {
                tokio::task::yield_now().await;
            }
        }
        assert!(workers.others.is_empty());
    }

    #[tokio::test]
    async fn what_runs_ends_with_the_workers() {
        let mut workers = Workers::new(2);
        let mut waits = Vec::new();
        for _ in 0..2 {
            let (alive, ended) = oneshot::channel::<()>();
            workers.spawn(async move {
                let _alive = alive;
                std::future::pending().await
            });
            waits.push(ended);
        }
        drop(workers);
        assert!(waits.pop().unwrap().await.is_err());
    }
}

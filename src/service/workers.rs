//! The threads that serve connections.
//!
//! A connection stays on the thread that it was given to, and so do the buffers and pipes that serve
//! it. Each thread is a single-threaded runtime of its own; the first is the one that accepts.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use tokio::runtime::Builder;
use tokio::sync::mpsc;

/// Threads that are started as they are needed: one client needs one.
#[derive(Debug)]
pub struct Workers<C> {
    most: usize,
    own: Load,
    others: Vec<Worker<C>>,
}

/// How many connections a thread has.
type Load = Arc<AtomicUsize>;

/// A thread. When this is dropped it ends, and with it what it serves.
#[derive(Debug)]
struct Worker<C> {
    /// What it is given to serve. It is woken by a system call when it had nothing left in here, not
    /// for each one.
    inbox: mpsc::UnboundedSender<Counted<C>>,
    load: Load,
}

/// A connection, counted until this is dropped.
#[derive(Debug)]
struct Counted<C> {
    connection: C,
    place: Place,
}

#[derive(Debug)]
struct Place(Load);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl<C: Send + 'static> Workers<C> {
    /// At most so many threads, at least one; the calling thread, which has to be in a runtime, is
    /// the first of them.
    pub fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            own: Load::default(),
            others: Vec::new(),
        }
    }

    /// Has the thread that has fewest connections serve this one; `serve` is the same each time.
    pub fn serve<F>(&mut self, connection: C, serve: fn(C) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let others = self.others.iter().map(|worker| &worker.load);
        let loads = std::iter::once(&self.own).chain(others);
        let counts = loads.map(|load| load.load(Relaxed)).enumerate();
        let (mut index, least) = counts.min_by_key(|(_, count)| *count).unwrap_or_default();
        if least > 0 && self.grows(serve) {
            index = self.others.len();
        }
        let other = index.checked_sub(1).map(|other| &self.others[other]);
        let load = other.map_or(&self.own, |worker| &worker.load);
        load.fetch_add(1, Relaxed);
        let counted = Counted {
            connection,
            place: Place(Arc::clone(load)),
        };
        // A thread takes what it is given for as long as we have its inbox.
        match other {
            None => start(counted, serve),
            Some(worker) => drop(worker.inbox.send(counted)),
        }
    }

    /// Starts one more thread, if there may be one more.
    fn grows<F>(&mut self, serve: fn(C) -> F) -> bool
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let threads = self.others.len() + 1;
        if threads >= self.most {
            return false;
        }
        match Worker::start(threads, serve) {
            Ok(worker) => self.others.push(worker),
            Err(error) => {
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

/// Serves a connection on this thread.
fn start<C, F>(Counted { connection, place }: Counted<C>, serve: fn(C) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let serving = serve(connection);
    tokio::spawn(async move {
        serving.await;
        drop(place);
    });
}

impl<C: Send + 'static> Worker<C> {
    fn start<F>(number: usize, serve: fn(C) -> F) -> io::Result<Self>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (inbox, mut given) = mpsc::unbounded_channel();
        let takes = async move {
            while let Some(connection) = given.recv().await {
                start(connection, serve);
            }
        };
        thread::Builder::new()
            .name(format!("worker-{number}"))
            .spawn(move || {
                // As a task of its own, see `program::run`. It fails only if it panicked.
                let _ = runtime.block_on(async { tokio::spawn(takes).await });
                // Threads that still look up a name are not waited for.
                runtime.shutdown_background();
            })?;
        Ok(Self {
            inbox,
            load: Load::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::pin::Pin;
    use tokio::sync::oneshot;

    type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

    fn run(task: Task) -> Task {
        task
    }

    #[tokio::test]
    async fn connections_go_to_the_thread_that_has_fewest() {
        let mut workers = Workers::new(3);
        let (told, mut telling) = mpsc::unbounded_channel();
        let mut ends = Vec::new();
        for _ in 0..9 {
            let (end, ended) = oneshot::channel::<()>();
            let told = told.clone();
            let task: Task = Box::pin(async move {
                told.send(thread::current().id()).unwrap();
                let _ = ended.await;
            });
            workers.serve(task, run);
            ends.push(end);
        }
        let mut served = BTreeMap::new();
        for _ in 0..9 {
            let thread = telling.recv().await.unwrap();
            *served.entry(format!("{thread:?}")).or_insert(0) += 1;
        }
        assert_eq!(served.into_values().collect::<Vec<_>>(), [3, 3, 3]);
    }

    #[tokio::test]
    async fn one_connection_at_a_time_needs_no_other_thread() {
        let mut workers = Workers::new(8);
        for _ in 0..5 {
            let (end, ended) = oneshot::channel();
            let here = thread::current().id();
            let task: Task = Box::pin(async move {
                assert_eq!(thread::current().id(), here);
                end.send(()).unwrap();
            });
            workers.serve(task, run);
            ended.await.unwrap();
            while workers.own.load(Relaxed) > 0 {
                tokio::task::yield_now().await;
            }
        }
        assert!(workers.others.is_empty());
    }

    #[tokio::test]
    async fn what_other_threads_serve_ends_with_the_workers() {
        let mut workers = Workers::new(2);
        let mut waits = Vec::new();
        for _ in 0..2 {
            let (alive, ended) = oneshot::channel::<()>();
            let task: Task = Box::pin(async move {
                let _alive = alive;
                std::future::pending().await
            });
            workers.serve(task, run);
            waits.push(ended);
        }
        drop(workers);
        assert!(waits.pop().unwrap().await.is_err());
    }
}

//! Many connections through one proxy, each by its plan.

use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::sync::{Mutex, Semaphore};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::timeout;

use crate::bytes::Random;
use crate::front::Front;
use crate::judge::judge;
use crate::peer::{Between, Peer, Progress, Report};
use crate::plan::Plan;
use crate::socket::{Upstream, accept};
use crate::support::PATIENCE;

/// Longer than for others: the kernel asks for room in a window that was closed after longer and longer pauses.
const HANGS_AFTER: Duration = PATIENCE.saturating_mul(6);

/// So many connections are open at a time.
const AT_ONCE: usize = 64;

/// What all connections through one proxy share.
struct Shared {
    front: Rc<Front>,
    upstream: AsyncFd<Upstream>,
    /// Held from connecting to accepting, so that it is clear which ends belong together.
    pairing: Mutex<()>,
    places: Semaphore,
}

/// The seed of everything: `STREAMS_SEED`, or another one each time.
pub fn seed() -> u64 {
    match std::env::var("STREAMS_SEED") {
        Ok(text) => text.parse().expect("STREAMS_SEED is not a number"),
        Err(_) => RandomState::new().hash_one(0) >> 16,
    }
}

/// Bytes of all connections.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    pub connections: u64,
    /// What the clients wrote, and what of that came to the upstream.
    pub up: (u64, u64),
    /// What the upstream wrote, and what of that came to the clients.
    pub down: (u64, u64),
}

/// Carries out all plans through the proxy, and fails with the first that went wrong.
pub fn run(front: &Rc<Front>, seed: u64, plans: impl Iterator<Item = Plan>) -> Totals {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let all = async {
        let shared = Rc::new(Shared {
            front: Rc::clone(front),
            upstream: front.upstream.watched(),
            pairing: Mutex::new(()),
            places: Semaphore::new(AT_ONCE),
        });
        let mut running = JoinSet::new();
        for (index, plan) in plans.enumerate() {
            let shared = Rc::clone(&shared);
            running.spawn_local(async move {
                let _place = shared.places.acquire().await.unwrap();
                let result = connection(&shared, &plan).await;
                result.map_err(|why| format!("connection {index}: {why}\n{plan:?}"))
            });
        }
        let mut totals = Totals::default();
        while let Some(result) = running.join_next().await {
            let (client, upstream) = result.unwrap().unwrap_or_else(|why| {
                panic!("with STREAMS_SEED={seed}, {:?}: {why}", front.wiring);
            });
            totals.connections += 1;
            totals.up.0 += client.sent;
            totals.up.1 += upstream.received;
            totals.down.0 += upstream.sent;
            totals.down.1 += client.received;
        }
        totals
    };
    LocalSet::new().block_on(&runtime, all)
}

/// `count` plans that follow from a seed.
pub fn plans(seed: u64, count: usize, make: fn(u64) -> Plan) -> impl Iterator<Item = Plan> {
    let mut random = Random::new(seed);
    std::iter::repeat_with(move || make(random.next())).take(count)
}

async fn connection(shared: &Shared, plan: &Plan) -> Result<(Report, Report), String> {
    let pairing = shared.pairing.lock().await;
    let (between, client_progress, upstream_progress) =
        (Between::new(), Progress::default(), Progress::default());
    let client = shared.front.place.connect().unwrap();
    let header = shared.front.header(&client);
    let client = Peer {
        socket: client,
        side: &plan.client,
        other: &plan.upstream,
        is_client: true,
        between: &between,
        header: Vec::new(),
        progress: &client_progress,
    };
    // The client talks before anybody has taken it in.
    let upstream = async {
        let socket = accept(&shared.upstream).await;
        drop(pairing);
        between.paired.tell();
        let peer = Peer {
            socket,
            side: &plan.upstream,
            other: &plan.client,
            is_client: false,
            between: &between,
            header,
            progress: &upstream_progress,
        };
        peer.talk().await
    };
    let both = async { tokio::try_join!(client.talk(), upstream) };
    let Ok(result) = timeout(HANGS_AFTER, both).await else {
        return Err(format!(
            "it does not go on: client {client_progress:?}, upstream {upstream_progress:?}"
        ));
    };
    let (client, upstream) = result?;
    judge(plan, client, upstream, shared.front.wiring.is_tcp())
        .map_err(|why| format!("{why}\nclient {client:?}, upstream {upstream:?}"))?;
    Ok((client, upstream))
}

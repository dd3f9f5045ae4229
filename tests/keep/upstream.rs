//! The service behind the process that is killed: it checks every byte.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex};

use crate::plan::{MESSAGE, Plan, read_stream, write_stream};
use crate::sockets::{Forever, Kind, Place, StreamSocket};

pub struct Upstream {
    target: String,
    corrupt: Arc<Mutex<Vec<String>>>,
    _directory: tempfile::TempDir,
}

impl Upstream {
    pub fn start(kind: Kind) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let corrupt = Arc::<Mutex<Vec<String>>>::default();
        let (listener, place) = kind.listen(directory.path(), "upstream");
        let target = match place {
            Place::Unix(path) => {
                let listener = UnixListener::from(listener);
                serve_all(listener.incoming_forever(), corrupt.clone());
                path.to_string_lossy().into_owned()
            }
            Place::Tcp(address) | Place::Mptcp(address) => {
                let listener = TcpListener::from(listener);
                serve_all(listener.incoming_forever(), corrupt.clone());
                address.to_string()
            }
        };
        Self {
            target,
            corrupt,
            _directory: directory,
        }
    }

    pub fn target(&self) -> String {
        self.target.clone()
    }

    /// What was wrong with the bytes that came.
    pub fn corrupt(&self) -> Vec<String> {
        self.corrupt.lock().unwrap().clone()
    }
}

fn serve_all<S: StreamSocket>(
    mut next: impl FnMut() -> S + Send + 'static,
    corrupt: Arc<Mutex<Vec<String>>>,
) {
    std::thread::spawn(move || {
        loop {
            let stream = next();
            let corrupt = corrupt.clone();
            std::thread::spawn(move || {
                if let Err(why) = serve(stream) {
                    corrupt.lock().unwrap().push(why);
                }
            });
        }
    });
}

/// Serves a connection; one over which nothing comes is no error.
fn serve<S: StreamSocket>(mut stream: S) -> Result<(), String> {
    let mut header = [0; 32];
    if stream.read_exact(&mut header).is_err() {
        return Ok(());
    }
    let plan = Plan::of(header);
    if plan.messages > 0 {
        return echo(stream, &plan);
    }
    let writing = stream.copy();
    let writer = std::thread::spawn(move || {
        let mut writing = writing;
        let written = write_stream(&mut writing, !plan.seed, plan.down);
        written.and_then(|()| writing.end())
    });
    let result = read_stream(&mut stream, plan.seed, plan.up, || ());
    let written = writer.join().unwrap();
    let written = written.map_err(|error| format!("upstream: {error}"));
    result.and(written)
}

fn echo<S: StreamSocket>(mut stream: S, plan: &Plan) -> Result<(), String> {
    let mut at = 0;
    let mut bytes = [0; MESSAGE];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) if at == plan.messages * MESSAGE as u64 => {
                return stream.end().map_err(|error| error.to_string());
            }
            Ok(0) => return Err(format!("upstream: end after {at} bytes")),
            Ok(count) => {
                at += count as u64;
                let wrote = stream.write_all(&bytes[..count]);
                wrote.map_err(|error| format!("upstream: {error}"))?;
            }
            Err(error) => return Err(format!("upstream: after {at} bytes: {error}")),
        }
    }
}

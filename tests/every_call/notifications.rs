//! The messages of the proxy to systemd, and the descriptors in its store.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

pub type Store = Arc<Mutex<Vec<(String, OwnedFd)>>>;

/// A message of the tests themselves: it is answered when all before it are handled.
pub const FLUSH: &str = "FLUSH";

/// Stores what the process sends, and reports `READY=1`: by a signal to the process, or by `ready`.
pub fn listen(
    notify: &UnixDatagram,
    store: &Store,
    when_ready: &AtomicI32,
    process: &AtomicI32,
    ready: &Sender<()>,
) {
    loop {
        let mut buffer = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let Ok(message) = recvmsg(notify, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) else {
            return;
        };
        let fds = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        let fds: Vec<OwnedFd> = fds.flatten().collect();
        let text = String::from_utf8_lossy(&buffer[..message.bytes]).into_owned();
        let name = text.lines().find_map(|line| line.strip_prefix("FDNAME="));
        let name = name.unwrap_or_default().to_owned();
        let mut store = store.lock().unwrap();
        if text == FLUSH {
            if ready.send(()).is_err() {
                return;
            }
        } else if text.contains("FDSTORE=1") {
            store.extend(fds.into_iter().map(|fd| (name.clone(), fd)));
        } else if text.contains("FDSTOREREMOVE=1") {
            store.retain(|(kept, _)| *kept != name);
        } else if text.contains("READY=1") {
            match when_ready.load(SeqCst) {
                0 if ready.send(()).is_err() => return,
                0 => {}
                // SAFETY: kill(2) on a child that was not waited for: it is traced, and has just sent this.
                signal => unsafe {
                    libc::kill(process.load(SeqCst), signal);
                },
            }
        }
    }
}

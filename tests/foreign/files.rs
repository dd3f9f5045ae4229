//! Files, directories and sockets of others.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::support::*;

/// Another user. Only root can act as one: without root these tests do nothing.
const MALLORY: u32 = 4321;

fn can_be_others() -> bool {
    rustix::process::geteuid().is_root()
}

/// A place where everybody can make something, as /tmp.
fn shared_place() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    chmod(place.path(), 0o1777);
    place
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A directory that Mallory has made.
fn mallorys(path: &Path) {
    fs::create_dir(path).unwrap();
    chown(path, Some(MALLORY), Some(MALLORY)).expect("only root can do that");
}

/// A proxy that binds its own sockets and keeps its state beside the control socket.
fn by_itself(control: &Path) -> Unit {
    Unit::new(PROXY)
        .env_remove("RUNTIME_DIRECTORY")
        .env_remove("STATE_DIRECTORY")
        .arg("--listen=127.0.0.1:0")
        .arg("--control")
        .arg(control)
}

#[track_caller]
fn refuses(control: &Path, words: &str) {
    let (status, log) = by_itself(control).fails();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains(words), "{log}");
    assert!(log.contains("mkdir -m 0700"), "what to do instead: {log}");
    assert!(!control.exists());
}

#[test]
fn a_directory_in_the_hands_of_others_is_refused() {
    if !can_be_others() {
        return;
    }
    let place = shared_place();
    let directory = place.path().join("proxy");
    mallorys(&directory);
    let secret = place.path().join("secret");
    fs::write(&secret, "precious").unwrap();
    symlink(&secret, directory.join("lock.new")).unwrap();
    refuses(&directory.join("control"), "belongs to user 4321");
    // Its contents are no safer, whatever their owner.
    fs::create_dir(directory.join("ours")).unwrap();
    refuses(&directory.join("ours/control"), "belongs to user 4321");
    // A link of theirs leads where they want.
    let link = place.path().join("link");
    let ours = tempfile::tempdir().unwrap();
    symlink(ours.path(), &link).unwrap();
    std::os::unix::fs::lchown(&link, Some(MALLORY), Some(MALLORY)).unwrap();
    refuses(&link.join("control"), "the link");
    // Where others can write they can do the same.
    for mode in [0o777, 0o775, 0o1777] {
        chmod(ours.path(), mode);
        refuses(&ours.path().join("control"), "others can write to");
    }
    assert_eq!(fs::read_to_string(&secret).unwrap(), "precious");
    // And where the state alone is kept in such a place.
    chmod(ours.path(), 0o700);
    for option in ["--runtime-directory", "--state-directory"] {
        let unit = by_itself(&ours.path().join("control"));
        let (status, log) = unit.arg(option).arg(&directory).fails();
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(log.contains("belongs to user 4321"), "{log}");
    }
}

#[test]
fn state_is_not_written_through_links() {
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("secret");
    fs::write(&secret, "precious").unwrap();
    for name in ["lock.new", "target.new"] {
        symlink(&secret, directory.path().join(name)).unwrap();
    }
    let control = directory.path().join("control");
    let _proxy = by_itself(&control).ready();
    for verb in [&["set-target", "localhost:5000"][..], &["lock"]] {
        assert_eq!(run_ctl(&control, verb).0, 0);
    }
    assert_eq!(fs::read_to_string(&secret).unwrap(), "precious");
    for name in ["lock", "target"] {
        let meta = fs::symlink_metadata(directory.path().join(name)).unwrap();
        assert!(meta.is_file(), "{name}");
    }
}

#[test]
fn a_record_that_cannot_be_removed_is_reported_and_removed_by_the_next_unlock() {
    let setup = crate::Setup::new();
    let _proxy = setup.unit().arg("localhost:1").ready();
    setup.does(&["lock"]);
    let directory = setup.directory.path();
    chmod(directory, 0o777);
    for _ in ["the first", "again"] {
        let text = setup.does(&["unlock"]);
        assert!(text.contains("warning: the record of the lock"), "{text}");
        assert!(directory.join("lock").exists());
    }
    chmod(directory, 0o700);
    let text = setup.does(&["unlock"]);
    assert!(!text.contains("warning"), "{text}");
    assert!(!directory.join("lock").exists());
}

#[test]
fn the_control_socket_is_for_us_alone_whatever_the_umask() {
    for umask in [0, 0o022, 0o777] {
        let directory = tempfile::tempdir().unwrap();
        let control = directory.path().join("control");
        let unit = by_itself(&control).in_the_child(move || {
            // SAFETY: umask(2) cannot fail.
            unsafe { libc::umask(umask) };
            Ok(())
        });
        let _proxy = unit.ready();
        let mode = fs::metadata(&control).unwrap().mode() & 0o7777;
        assert_eq!(mode, 0o600, "umask {umask:03o}");
    }
}

/// Acts as Mallory, in a thread that ends with it.
fn as_mallory<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::spawn(|| {
        // SAFETY: the bare system calls change only this thread, nptl(7), and read an array of none.
        unsafe {
            let none: [libc::gid_t; 0] = [];
            assert_eq!(libc::syscall(libc::SYS_setgroups, 0, none.as_ptr()), 0);
            let id = MALLORY;
            assert_eq!(libc::syscall(libc::SYS_setresgid, id, id, id), 0);
            assert_eq!(libc::syscall(libc::SYS_setresuid, id, id, id), 0);
        }
        act()
    });
    thread.join().unwrap()
}

/// A socket of Mallory's that listens at this path, for everybody.
fn mallory_listens(path: &Path) -> UnixListener {
    let path = path.to_owned();
    as_mallory(move || {
        let listener = UnixListener::bind(&path).unwrap();
        chmod(&path, 0o777);
        listener
    })
}

#[test]
fn a_process_of_another_user_at_the_control_path_is_neither_taken_over_nor_believed() {
    if !can_be_others() {
        return;
    }
    let victim = tempfile::tempdir().unwrap();
    fs::write(victim.path().join("precious"), "").unwrap();
    let place = shared_place();
    let open = tempfile::tempdir().unwrap();
    chmod(open.path(), 0o755);
    for directory in [place.path().join("proxy"), open.path().join("theirs")] {
        mallorys(&directory);
        let control = directory.join("control");
        let listener = mallory_listens(&control);
        let surplus = mallory_listens(&directory.join("precious"));
        // It was there, and is somewhere else now.
        let moved = directory.with_extension("moved");
        fs::rename(&directory, &moved).unwrap();
        fs::create_dir(&directory).unwrap();
        chown(&directory, Some(MALLORY), Some(MALLORY)).unwrap();
        fs::rename(moved.join("control"), &control).unwrap();
        let false_proxy = std::thread::spawn(move || answer_one(&listener, &surplus));
        let unit = by_itself(&control).arg("--take-over");
        let (status, log) = unit.fails();
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(log.contains("belongs to user 4321"), "{log}");
        assert!(victim.path().join("precious").exists());
        // It was not called and waits: root trusts only itself and the user to whom it has given the directory.
        let (status, text) = run_ctl(&control, &["status"]);
        if directory.starts_with(place.path()) {
            assert_eq!(status, 1, "{text}");
            assert!(text.contains("runs as user 4321"), "{text}");
            drop(UnixStream::connect(&control));
        } else {
            assert!(text.contains("is not a disnix-tcp-proxy"), "{text}");
        }
        let _ = false_proxy.join();
    }
}

/// Answers the first caller as a proxy that hands over does.
fn answer_one(listener: &UnixListener, surplus: &UnixListener) {
    let (mut stream, _) = listener.accept().unwrap();
    let mut call = [0; 4096];
    if stream.read(&mut call).unwrap_or(0) == 0 {
        return;
    }
    let reply = json!({ "parameters": { "pid": 1, "version": "0.1.0", "listeners": ["x"], "control": "x" } });
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = rustix::net::SendAncillaryBuffer::new(&mut space);
    let sockets = [surplus.as_fd(), listener.as_fd()];
    ancillary.push(rustix::net::SendAncillaryMessage::ScmRights(&sockets));
    let bytes = format!("{reply}\0");
    let pieces = [std::io::IoSlice::new(bytes.as_bytes())];
    let flags = rustix::net::SendFlags::NOSIGNAL;
    let _ = rustix::net::sendmsg(&stream, &pieces, &mut ancillary, flags);
    let _ = stream.write_all(b"");
}

#[test]
fn a_socket_of_another_user_at_our_control_path_is_not_taken_over_from() {
    if !can_be_others() {
        return;
    }
    // The directory is ours; the socket was moved there from elsewhere.
    let ours = tempfile::tempdir().unwrap();
    let theirs = shared_place();
    let _listener = mallory_listens(&theirs.path().join("socket"));
    let control: PathBuf = ours.path().join("control");
    fs::rename(theirs.path().join("socket"), &control).unwrap();
    let (status, log) = by_itself(&control).arg("--take-over").fails();
    assert_eq!(status.code(), Some(3), "{log}");
    assert!(log.contains("it runs as user 4321"), "{log}");
    assert!(control.exists());
}

#[test]
fn what_is_removed_at_the_end_is_the_socket_that_was_made() {
    let directory = tempfile::tempdir().unwrap();
    let inner = directory.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let control = inner.join("control");
    let proxy = by_itself(&control)
        .arg(format!("--listen=unix:{}", inner.join("clients").display()))
        .ready();
    fs::rename(&inner, directory.path().join("moved")).unwrap();
    fs::create_dir(&inner).unwrap();
    for name in ["control", "clients"] {
        fs::write(inner.join(name), "precious").unwrap();
    }
    proxy.signal(libc::SIGTERM);
    let (status, log) = proxy.ends();
    assert!(status.success(), "{log}");
    assert!(control.exists() && inner.join("clients").exists());
    let moved = directory.path().join("moved");
    assert!(!moved.join("control").exists() && !moved.join("clients").exists());
}

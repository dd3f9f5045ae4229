//! A program that serves a client on its standard input and output.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal};
use tokio::process::{Child, Command};

/// Starts a program that has a connected socket as its standard input and output, in a process group of its own, so
/// that signals of a terminal are for us alone. It gets SIGTERM when the calling thread ends, in whatever way.
///
/// Its socket blocks, as programs expect; so do all other descriptors of that socket.
///
/// # Errors
///
/// As execve(2) and fork(2): `NotFound` and the like when the program cannot be executed, `WouldBlock` and others
/// when processes, memory or descriptors have run out ([`is_for_lack_of_room`]).
pub fn start(command: &mut Command, socket: BorrowedFd<'_>) -> io::Result<Child> {
    rustix::io::ioctl_fionbio(socket, false)?;
    command
        .stdin(socket.try_clone_to_owned()?)
        .stdout(socket.try_clone_to_owned()?)
        .process_group(0);
    let parent = getpid();
    let prepare = move || end_with(parent);
    // SAFETY: between fork and exec it makes system calls only, and allocates nothing.
    unsafe { command.pre_exec(prepare) };
    command.spawn()
}

/// Has the kernel end this process with its parent (`PR_SET_PDEATHSIG`, prctl(2)). Fails if that has ended before.
fn end_with(parent: Pid) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::TERM))?;
    match getppid() == Some(parent) {
        true => Ok(()),
        false => Err(io::ErrorKind::Interrupted.into()),
    }
}

/// Whether a program could not be started because processes, memory or descriptors have run out: later it can.
pub fn is_for_lack_of_room(error: &io::Error) -> bool {
    let lacks = [libc::EAGAIN, libc::ENOMEM, libc::EMFILE, libc::ENFILE];
    error
        .raw_os_error()
        .is_some_and(|number| lacks.contains(&number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[tokio::test]
    async fn a_program_reads_from_the_socket_and_writes_to_it_and_waits_for_bytes() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let mut child = start(&mut Command::new("cat"), theirs.as_fd()).unwrap();
        drop(theirs);
        ours.write_all(b"words").unwrap();
        ours.shutdown(std::net::Shutdown::Write).unwrap();
        let mut text = String::new();
        ours.read_to_string(&mut text).unwrap();
        assert_eq!(text, "words");
        assert!(child.wait().await.unwrap().success());
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_no_lack_of_room() {
        let (_ours, theirs) = UnixStream::pair().unwrap();
        let error = start(&mut Command::new("/nonexistent"), theirs.as_fd()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(!is_for_lack_of_room(&error));
        assert!(is_for_lack_of_room(&io::Error::from_raw_os_error(
            libc::EAGAIN
        )));
    }
}

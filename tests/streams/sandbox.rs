//! What the kernel refuses to a process: by a filter on its system calls, seccomp(2), or because its
//! user has used up what a user may have.

use std::io;
use std::os::fd::OwnedFd;

use libc::{
    BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO,
    SECCOMP_RET_KILL_PROCESS, sock_filter,
};
use rustix::pipe::{PipeFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with};

use crate::support::Unit;

/// What a pipe holds unless its user has used up the pages, pipe(7).
const DEFAULT_PIPE: usize = 64 * 1024;

/// A system call by its number, and what happens to its caller.
pub type Rule = (libc::c_long, Verdict);

#[derive(Clone, Copy, Debug)]
pub enum Verdict {
    /// It fails with this error.
    Fails(i32),
    /// The process is killed by SIGSYS: no call stays unnoticed.
    Kills,
}

/// Has these rules hold for the new process and for all of its threads.
pub fn restrict(unit: Unit, rules: &[Rule]) -> Unit {
    let statement = |code: u32, k: u32, skip: u8| sock_filter {
        code: u16::try_from(code).unwrap(),
        jt: 0,
        jf: skip,
        k,
    };
    // The number of the call is the first word of what the filter sees, `struct seccomp_data`.
    let mut filter = vec![statement(BPF_LD | BPF_W | BPF_ABS, 0, 0)];
    for (call, verdict) in rules {
        let number = u32::try_from(*call).unwrap();
        let action = match verdict {
            Verdict::Fails(errno) => SECCOMP_RET_ERRNO | *errno as u32,
            Verdict::Kills => SECCOMP_RET_KILL_PROCESS,
        };
        filter.push(statement(BPF_JMP | BPF_JEQ | BPF_K, number, 1));
        filter.push(statement(BPF_RET | BPF_K, action, 0));
    }
    filter.push(statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0));
    unit.in_the_child(move || {
        let program = libc::sock_fprog {
            len: filter.len() as u16,
            filter: filter.as_mut_ptr(),
        };
        // SAFETY: prctl(2) reads the program, which lives until the call has returned.
        let result = unsafe {
            match libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) {
                0 => libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program),
                failed => failed,
            }
        };
        match result {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    })
}

/// A user of its own, so that what one test uses up is not missed by another.
pub fn new_user() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    1_000_000 + std::process::id() % 1_000_000 * 100 + NEXT.fetch_add(1, Relaxed)
}

/// Makes pipes as this user until it has no page left for another one, pipe(7): from then on a new
/// pipe of this user has two pages and cannot grow. It stays so as long as the pipes are held.
pub fn use_up_pipe_pages(user: u32) -> Vec<OwnedFd> {
    let make = move || {
        // SAFETY: the call itself, unlike its wrapper in the C library, changes this thread only,
        // and the thread ends here.
        let result = unsafe { libc::syscall(libc::SYS_setresuid, user, user, user) };
        assert_eq!(result, 0, "only root can become another user");
        let mut pipes = Vec::new();
        loop {
            let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
            let size = fcntl_getpipe_size(&writer).unwrap();
            let grown = fcntl_setpipe_size(&writer, 1 << 20).is_ok();
            pipes.extend([reader, writer]);
            if !grown && size < DEFAULT_PIPE {
                return pipes;
            }
        }
    };
    std::thread::spawn(make).join().unwrap()
}

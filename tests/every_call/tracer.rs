//! Ends a process at a system call of its choosing: ptrace(2).
//!
//! The process is stopped whenever one of its threads, or a process that it has made, enters a system call or
//! returns from one. Those that leave no trace outside of the process ([`TRACELESS`]) are not counted:
//! what the next process finds is the same before and after them. So "at the 17th call" is the same moment
//! in each run as long as only one thread runs, and nothing depends on time.
//!
//! All requests have to come from the thread that has started the process.

use std::collections::BTreeSet;

/// A process that is traced, with all of its threads and children. They are one process group.
pub struct Tracee {
    process: libc::pid_t,
    /// Those that have stopped at least once: the first stop of a new one is not a signal.
    known: BTreeSet<libc::pid_t>,
    counts: bool,
    calls: usize,
    is_struck: bool,
}

/// What to do at the chosen call.
#[derive(Clone, Copy, Debug)]
pub enum Blow {
    /// `kill -9` of the process; what it has made lives on for a while.
    Kill,
    /// SIGTERM to the process and what it has made, as `systemctl stop` sends it.
    Terminate,
}

/// When counting begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// With the start of the program.
    Start,
    /// With the arrival of SIGTERM.
    Term,
}

/// The result of `PTRACE_GET_SYSCALL_INFO`, as far as it is of interest.
#[repr(C)]
struct CallInfo {
    /// 1 at the entry, 2 at the exit.
    op: u8,
    _padding: [u8; 3],
    _arch: u32,
    _instruction_pointer: u64,
    _stack_pointer: u64,
    /// At the entry; and what it was called with.
    number: u64,
    arguments: [u64; 6],
    _rest: [u64; 2],
}

const GET_SYSCALL_INFO: libc::c_uint = 0x420e;

impl CallInfo {
    /// Whether only the process itself could notice the call: memory, signals, time, what only
    /// asks; and what the end of the process does, too, so that nothing changes by doing it before.
    fn leaves_no_trace(&self) -> bool {
        let number = self.number as libc::c_long;
        let peeks = number == libc::SYS_recvmsg && self.arguments[2] & libc::MSG_PEEK as u64 != 0;
        peeks || TRACELESS.contains(&number)
    }
}

/// See [`CallInfo::leaves_no_trace`].
const TRACELESS: &[libc::c_long] = &[
    libc::SYS_close,
    libc::SYS_fcntl,
    libc::SYS_read,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_brk,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_sigaltstack,
    libc::SYS_futex,
    libc::SYS_fstat,
    libc::SYS_statx,
    libc::SYS_newfstatat,
    libc::SYS_lseek,
    libc::SYS_pread64,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getrandom,
    libc::SYS_prlimit64,
    libc::SYS_sched_getaffinity,
    libc::SYS_set_tid_address,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_clock_gettime,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_eventfd2,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
];

/// To be called in the new process, before execve(2).
pub fn trace_me() {
    let nothing = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: nothing is pointed to.
    unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, nothing, nothing) };
}

impl Tracee {
    /// A child that has called [`trace_me`], stopped at its execve(2).
    pub fn new(process: libc::pid_t, from: From) -> Self {
        let mut status = 0;
        // SAFETY: the status is ours.
        let pid = unsafe { libc::waitpid(process, &mut status, libc::__WALL) };
        assert!(
            pid == process && libc::WIFSTOPPED(status),
            "it does not begin: {status:x}"
        );
        let options = libc::PTRACE_O_EXITKILL
            | libc::PTRACE_O_TRACESYSGOOD
            | libc::PTRACE_O_TRACECLONE
            | libc::PTRACE_O_TRACEFORK
            | libc::PTRACE_O_TRACEVFORK;
        request(libc::PTRACE_SETOPTIONS, process, options as usize);
        let tracee = Self {
            process,
            known: BTreeSet::from([process]),
            counts: from == From::Start,
            calls: 0,
            is_struck: false,
        };
        tracee.go_on(process, 0);
        tracee
    }

    /// Lets it run up to the call of this number, deals the blow there, and waits until everybody has ended.
    /// Returns whether it has come so far.
    pub fn strike(mut self, at: usize, blow: Blow) -> bool {
        while let Some((thread, status)) = self.next() {
            let is_new = self.known.insert(thread);
            let signal = libc::WSTOPSIG(status);
            if signal == libc::SIGTRAP | 0x80 {
                if self.counts && !self.is_struck && self.is_counted(thread) {
                    self.calls += 1;
                    if self.calls == at {
                        self.is_struck = true;
                        self.deal(blow);
                    }
                }
                self.go_on(thread, 0);
            } else if status >> 16 != 0 || is_new && signal == libc::SIGSTOP {
                self.go_on(thread, 0);
            } else {
                self.counts |= signal == libc::SIGTERM;
                self.go_on(thread, signal);
            }
        }
        self.is_struck
    }

    fn deal(&self, blow: Blow) {
        // SAFETY: kill(2) on a child that was not waited for, or on its group.
        unsafe {
            match blow {
                Blow::Kill => libc::kill(self.process, libc::SIGKILL),
                Blow::Terminate => libc::kill(-self.process, libc::SIGTERM),
            }
        };
    }

    /// The next one that stops; `None` when all have ended.
    fn next(&self) -> Option<(libc::pid_t, libc::c_int)> {
        loop {
            let mut status = 0;
            // SAFETY: the status is ours.
            let pid = unsafe { libc::waitpid(-self.process, &mut status, libc::__WALL) };
            if pid < 0 {
                return None;
            }
            if libc::WIFSTOPPED(status) {
                return Some((pid, status));
            }
        }
    }

    /// Up to the next system call, or to the end if it was struck. One that is about to die cannot be resumed
    /// like that, and that is all right.
    fn go_on(&self, thread: libc::pid_t, signal: libc::c_int) {
        let how = match self.is_struck {
            true => libc::PTRACE_CONT,
            false => libc::PTRACE_SYSCALL,
        };
        request(how, thread, signal as usize);
    }

    /// Whether it enters a system call that may leave a trace.
    fn is_counted(&self, thread: libc::pid_t) -> bool {
        // SAFETY: zeros are valid, and the kernel writes at most the given number of bytes.
        let info = unsafe {
            let mut info: CallInfo = std::mem::zeroed();
            let size = size_of::<CallInfo>();
            libc::ptrace(GET_SYSCALL_INFO, thread, size, &raw mut info);
            info
        };
        info.op == 1 && !info.leaves_no_trace()
    }
}

fn request(request: libc::c_uint, thread: libc::pid_t, data: usize) {
    // SAFETY: these requests point to nothing.
    unsafe { libc::ptrace(request, thread, std::ptr::null_mut::<libc::c_void>(), data) };
}

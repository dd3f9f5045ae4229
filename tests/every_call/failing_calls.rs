//! System calls that fail, by a filter of seccomp(2).

/// A system call that fails, as on a kernel without it or under a limit.
#[derive(Clone, Copy)]
pub struct FailingCall {
    pub number: libc::c_long,
    /// Only if this is its first argument.
    pub argument: Option<u32>,
    pub errno: libc::c_int,
}

/// A filter in which these calls fail and all others pass.
pub fn filter(refused: &[FailingCall]) -> Vec<libc::sock_filter> {
    let instruction = |code: u32, k: u32, jf: u8| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf,
        k,
    };
    let load =
        |offset: usize| instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset as u32, 0);
    let unless = |value: u32, skip: u8| {
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, value, skip)
    };
    let answer = |what: u32| instruction(libc::BPF_RET | libc::BPF_K, what, 0);
    let mut program = Vec::new();
    for FailingCall {
        number,
        argument,
        errno,
    } in refused
    {
        program.push(load(std::mem::offset_of!(libc::seccomp_data, nr)));
        program.push(unless(
            *number as u32,
            if argument.is_some() { 3 } else { 1 },
        ));
        if let Some(argument) = argument {
            program.push(load(std::mem::offset_of!(libc::seccomp_data, args)));
            program.push(unless(*argument, 1));
        }
        program.push(answer(libc::SECCOMP_RET_ERRNO | *errno as u32));
    }
    program.push(answer(libc::SECCOMP_RET_ALLOW));
    program
}

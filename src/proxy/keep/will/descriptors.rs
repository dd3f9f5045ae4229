//! How many descriptors there may be, found without allocating anything.

use std::os::fd::RawFd;

/// One more than the greatest descriptor that there may be, from `FDSize` in /proc, or else from the
/// limit.
pub(super) fn table_size() -> RawFd {
    let mut text = [0_u8; 1024];
    // SAFETY: the name is a string with its end, and the kernel writes at most as much as there is room
    // for. The last fallback is the size that every process may have.
    unsafe {
        let file = libc::open(c"/proc/self/status".as_ptr(), libc::O_RDONLY);
        let count = libc::read(file, text.as_mut_ptr().cast(), text.len());
        libc::close(file);
        let text = text.get(..usize::try_from(count).unwrap_or(0));
        if let Some(size) = text.and_then(number_behind_fdsize) {
            return size;
        }
        let mut limit = std::mem::zeroed::<libc::rlimit>();
        match libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) {
            0 => RawFd::try_from(limit.rlim_cur).unwrap_or(1 << 20),
            _ => 1024,
        }
    }
}

fn number_behind_fdsize(text: &[u8]) -> Option<RawFd> {
    const KEY: &[u8] = b"FDSize:";
    let start = text.windows(KEY.len()).position(|window| window == KEY)?;
    let rest = text.get(start + KEY.len()..)?;
    let mut number: RawFd = 0;
    for byte in rest.iter().skip_while(|byte| matches!(byte, b'\t' | b' ')) {
        if !byte.is_ascii_digit() {
            break;
        }
        number = number.checked_mul(10)?.checked_add((byte - b'0').into())?;
    }
    (number > 0).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_the_descriptor_table_is_found() {
        let text = b"Name:\tx\nFDSize:\t65536\nGroups:\t0";
        assert_eq!(number_behind_fdsize(text), Some(65_536));
        assert_eq!(number_behind_fdsize(b"Name:\tx\n"), None);
        assert_eq!(number_behind_fdsize(b"FDSize:\tx"), None);
        assert!(table_size() >= 64);
    }
}

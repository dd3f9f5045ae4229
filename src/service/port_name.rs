//! Ports by the names of their services.

use std::ffi::CString;
use std::mem::{MaybeUninit, size_of};
use std::ptr;

/// The port of a TCP service by its name, from services(5) or where else nsswitch.conf(5) says. `None` for a name that is
/// unknown there.
pub(crate) fn tcp_port(name: &str) -> Option<u16> {
    let name = CString::new(name).ok()?;
    // SAFETY: an `addrinfo` of zeros has numbers and null pointers only.
    let mut hints: libc::addrinfo = unsafe { MaybeUninit::zeroed().assume_init() };
    hints.ai_family = libc::AF_INET;
    hints.ai_socktype = libc::SOCK_STREAM;
    let mut found = ptr::null_mut();
    // SAFETY: the strings end with NUL or are absent, and both structs outlive the call, which keeps neither.
    let status = unsafe { libc::getaddrinfo(ptr::null(), name.as_ptr(), &hints, &mut found) };
    if status != 0 || found.is_null() {
        return None;
    }
    // SAFETY: the call has succeeded, so this is the first entry of a list that we own.
    let (family, length, address) =
        unsafe { ((*found).ai_family, (*found).ai_addrlen, (*found).ai_addr) };
    let is_v4 = family == libc::AF_INET && length as usize >= size_of::<libc::sockaddr_in>();
    let port = is_v4.then(|| {
        // SAFETY: an entry of that family and length has such an address.
        unsafe { address.cast::<libc::sockaddr_in>().read_unaligned() }.sin_port
    });
    // SAFETY: the list is ours, and nothing of it is used any more.
    unsafe { libc::freeaddrinfo(found) };
    port.map(u16::from_be).filter(|port| *port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With any list of services: the call takes numbers too.
    #[test]
    fn a_port_is_found_and_an_unknown_name_is_not() {
        assert_eq!(tcp_port("8080"), Some(8080));
        for name in ["no-such-service", "", "a\0b"] {
            assert_eq!(tcp_port(name), None, "{name:?}");
        }
    }

    /// Where there is a list.
    #[test]
    fn services_of_this_machine_have_the_ports_of_its_list() {
        let list = std::fs::read_to_string("/etc/services").unwrap_or_default();
        for line in list.lines() {
            let mut words = line.split_whitespace();
            if let (Some("http"), Some(port)) = (words.next(), words.next()) {
                let known = tcp_port("http").map(|port| format!("{port}/tcp"));
                assert_eq!(known.as_deref(), Some(port));
            }
        }
    }
}

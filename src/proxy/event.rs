//! The proxy's events that an administrator looks for, by their `MESSAGE_ID`; see
//! [`crate::service::event`] for those of any service.

/// The gate has closed: new clients wait.
pub const LOCKED: &str = "91c5f3e7a2d84b60b7e3d9f05c1a486e";
/// The gate is closed, and no connection is open.
pub const DRAINED: &str = "3d7a09e5c81b4f2e96d4b7f3a05e1c98";
/// `Unlock` was called, or the call that held the lock has ended.
pub const UNLOCKED: &str = "b86f2d41e93c47a5802c5e7fd1a9360b";
/// The gate opened because the lease was over.
pub const LEASE_OVER: &str = "c07d5e9f3a1b46848e2fb6d90c7a351e";
/// The lease was over, and the proxy ends because the lock requests that.
pub const LEASE_EXIT: &str = "1b8d5f0e6a934c27b3f9e27c50d8a461";
/// The process has taken over the listening sockets of another one.
pub const TOOK_OVER: &str = "a9e3c7416d0b4f5e92c8f1703b5d6e28";
/// Connections of the process before continue.
pub const CONTINUED: &str = "5d80e2c6f13b4a97b6c8d40e97f25a13";
/// Kept connections could not continue.
pub const NOT_KEPT: &str = "e1a47f9b2c6d4035918be53d07c6f2a8";
/// The process before was killed, and its last will has started this one.
pub const RESPAWNED: &str = "93d4c0b17ae5426f8f1b6e2d7c05a3e9";
/// Whether connections outlive the process.
pub const KEEPS: &str = "84f3b6d07e1a4c29a5d2708c9e4b61f5";
/// The last will could not be started, or has ended too early.
pub const LAST_WILL: &str = "c6f09a3d7b1e4825b94d02e7f18a6c53";
/// Another process has taken over.
pub const RETIRED: &str = "70c2a5d98e1f4b36a4d7b09e6c3f8512";
/// The gate opened because the callers of the lock left or gave up before the drain was complete.
pub const TAKEN_BACK: &str = "d2f8410b7e6c4935a1c87d3e5f09b64a";
/// A client was given up because the upstream could not be reached.
pub const UNREACHABLE: &str = "6e0b9d5a4f2c41738bd7e1c5a39f082d";
/// Clients were reset because their source has as many connections as it may.
pub const REFUSED: &str = "c4e19a7d5b3f4068a2d7f08e6b1c9354";
/// The queue is full: further clients have to try again, which TCP does by itself.
pub const QUEUE_FULL: &str = "f5a2c8e06d7b4193b4e09f8d2c6a175b";
pub const TARGET_CHANGED: &str = "08e3b6d2f7c54a19ad5f1e8b4c0d7293";
/// A connection ended because a peer did not answer for the keepalive time.
pub const PEER_GONE: &str = "47bc1e9d05f84a32863e7f0cd5a92b1f";
pub const LEADS_BACK: &str = "6f1c0a7e42d94b58a3e9c7105d8b26f4";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    /// The identifiers that a file of the project has; `None` if there is no such file.
    fn ids(path: &str) -> Option<BTreeSet<String>> {
        let root = env!("CARGO_MANIFEST_DIR");
        let text = std::fs::read_to_string(format!("{root}/{path}")).ok()?;
        let words = text.split(|c: char| !c.is_ascii_alphanumeric());
        let is_id = |word: &&str| word.len() == 32 && word.chars().all(|c| c.is_ascii_hexdigit());
        Some(words.filter(is_id).map(str::to_owned).collect())
    }

    #[test]
    fn the_catalog_the_page_and_the_integration_tests_have_every_event() {
        let mut events = ids("src/service/event.rs").unwrap();
        events.extend(ids("src/proxy/event.rs").unwrap());
        let [catalog, page] = ["systemd-units/disnix-tcp-proxy.catalog", "doc/journal.md"];
        assert_eq!(ids(catalog).unwrap(), events);
        assert_eq!(ids(page).unwrap(), events);
        // The source of the Nix package has no integration tests.
        if let Some(tested) = ids("integration-tests/lab/journal.py") {
            assert_eq!(tested, events);
        }
    }
}

//! Why connections cannot be kept.

use std::io;

/// Why connections cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// systemd keeps no descriptors for this service.
    #[error("systemd does not keep enough descriptors (set FileDescriptorStoreMax= to 16 or more)")]
    Refused,
    /// systemd cannot be reached.
    #[error(transparent)]
    Store(#[from] crate::service::notify::StoreError),
    /// More connections are kept than this process may have descriptors for.
    #[error("too few descriptors for the connections that were kept (raise LimitNOFILE=)")]
    Descriptors,
    /// The kernel is too old.
    #[error("this kernel has no {0} (Linux 5.4 has it)")]
    Kernel(&'static str),
    /// The kernel.
    #[error("connections cannot be kept: {0}")]
    System(#[from] io::Error),
}

//! The `MESSAGE_ID`s of any service (systemd.journal-fields(7)). `disnix-tcp-proxy.catalog` explains them.

/// The service is ready.
pub const READY: &str = "7f1d6a3c9b5e4d0f8a2b6c4e1f3d5a70";
/// The service was not used for its exit-idle time; it ends, and the next client starts it.
pub const IDLE_EXIT: &str = "2c9e4b7a1d8f4f36b05e9a7c3d1f6e82";
/// The service stops, and lets open connections end.
pub const STOPPING: &str = "5a3e8d1c7b924e6fa0d4c2b8f1e6937d";
/// Descriptors have run out: accepting pauses, and clients wait in the backlog.
pub const NO_DESCRIPTORS: &str = "e4b71f0a6c3d4852930f7d5eab18c264";
